//! The long-running agent: inspect, seal, talk, wait for the slot; until it is told to stop.
//!
//! ```text
//! ┌─> inspect (own thread, bounded wait) ─> seal ─> conversation ─> wait ─┐
//! └───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! An inspection that hangs in the kernel (a dead NFS mount) does not stop the heartbeats: they go
//! on with the last report while it is waited for.

use std::io;
use std::time::Duration;
use std::time::Instant;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Report;
use palisade_report::Sealed;
use palisade_report::SectionName;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::canonical::CanonicalError;
use palisade_report::wire::MAX_SECTION;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::task::JoinHandle;
use tracing::error;
use tracing::info;
use tracing::warn;

use crate::Inspector;
use crate::clock;
use crate::conversation::Conversation;
use crate::conversation::Occasion;
use crate::inspection::INSPECTION_TIMEOUT;
use crate::load;
use crate::verb::Chain;

/// Time beyond its own limit that an inspection is waited for before it counts as hung.
const GRACE: Duration = Duration::from_secs(2);

/// Wait before the next try while there is no report at all.
const NO_REPORT_WAIT: Duration = Duration::from_secs(5);

/// What is said in the place of a section that is larger than the collector takes.
const TOO_LARGE: &str = "the facts of this area are too large to be sent";

/// Signals could not be listened to. At fault: the system.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen for the signals that stop the agent")]
pub struct ListenError(#[source] io::Error);

/// Reports until SIGTERM or SIGINT.
///
/// # Errors
/// [`ListenError`] at the start; nothing that happens later ends it.
pub async fn run(
    inspector: Inspector,
    conversation: Conversation,
    wait: Duration,
) -> Result<(), ListenError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ListenError)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ListenError)?;
    tokio::select! {
        () = report_for_ever(inspector, conversation, wait) => {}
        _ = terminate.recv() => info!("stops: told to terminate"),
        _ = interrupt.recv() => info!("stops: interrupted"),
    }
    Ok(())
}

/// The last report and the boot that it tells of.
struct Current {
    sealed: Sealed,
    boot_id: BootId,
}

async fn report_for_ever(inspector: Inspector, mut conversation: Conversation, mut wait: Duration) {
    let mut inspections = Inspections::Idle(Box::new(inspector));
    let mut current: Option<Current> = None;
    loop {
        let started = Instant::now();
        // Unchanged facts need no new bytes, unless a section was found to be too large since.
        let whole = conversation.takes_new_mark() || current.is_none();
        if let Some(fresh) = inspections.next(whole).await {
            let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            note(fresh, &conversation, &mut current, took_ms);
        }
        let occasion = Occasion { now: clock::now(), since_boot: clock::since_boot() };
        wait = match &current {
            Some(Current { sealed, boot_id }) => conversation.hold(sealed, boot_id, occasion).await,
            None => wait.min(NO_REPORT_WAIT),
        };
        tokio::time::sleep(wait).await;
    }
}

/// Seals a fresh report and logs what changed.
fn note(
    fresh: Inspected,
    conversation: &Conversation,
    current: &mut Option<Current>,
    took_ms: u64,
) {
    let Some(boot_id) = fresh.boot_id else {
        error!("this boot has no readable id; without it nothing can be reported");
        return;
    };
    if current.as_ref().is_some_and(|it| it.boot_id != boot_id) {
        info!(boot = %boot_id, "the host's boot id changed");
    }
    let Some(report) = fresh.report else {
        if let Some(current) = current {
            current.boot_id = boot_id;
        }
        return;
    };
    let is_too_large = |digest| conversation.is_too_large(digest);
    let sealed = match seal(report, is_too_large) {
        Ok(sealed) => sealed,
        Err(error) => {
            error!(cause = %Chain::of(&error), "the report has no bytes; the last one stands");
            return;
        }
    };
    let digest = sealed.manifest().digest();
    let before = current.as_ref().map(|it| it.sealed.manifest());
    if before.is_none_or(|manifest| manifest.digest() != digest) {
        let changed = SectionName::ALL
            .into_iter()
            .filter(|name| before.and_then(|it| it.get(*name)) != sealed.manifest().get(*name))
            .map(SectionName::as_str)
            .collect::<Vec<_>>()
            .join(" ");
        let load::Load { resident_kib, average } = load::look();
        info!(report = %digest.short(), changed, took_ms, resident_kib, load = average,
            "the host's facts changed");
    }
    *current = Some(Current { sealed, boot_id });
}

/// The report in bytes, with a marker in the place of each section that is too large.
fn seal(
    mut report: Report,
    is_too_large: impl Fn(Digest) -> bool,
) -> Result<Sealed, CanonicalError> {
    let sealed = report.seal()?;
    let mut marked = false;
    for name in SectionName::ALL {
        let Some(entry) = sealed.manifest().get(name) else { continue };
        if entry.size as usize <= MAX_SECTION && !is_too_large(entry.digest) {
            continue;
        }
        report.mark_unknown(name, Why::new(WhyKind::TooLarge, TOO_LARGE));
        marked = true;
    }
    if marked { report.seal() } else { Ok(sealed) }
}

/// What an inspection found.
struct Inspected {
    /// `None` if every section is as it was.
    report: Option<Report>,
    boot_id: Option<BootId>,
}

/// Inspections, one at a time, on a thread where they may hang.
enum Inspections {
    Idle(Box<Inspector>),
    Running(JoinHandle<(Box<Inspector>, Inspected)>),
    /// The thread died, and the inspector with it.
    Lost,
}

impl Inspections {
    /// The outcome of the next inspection; `None` if it does not come in time. `whole` asks for
    /// the report also when it did not change.
    async fn next(&mut self, whole: bool) -> Option<Inspected> {
        let mut running = match std::mem::replace(self, Self::Lost) {
            Self::Idle(mut inspector) => tokio::task::spawn_blocking(move || {
                let report =
                    if whole { Some(inspector.inspect()) } else { inspector.inspect_again() };
                let boot_id = inspector.boot_id();
                (inspector, Inspected { report, boot_id })
            }),
            Self::Running(running) => running,
            Self::Lost => return None,
        };
        match tokio::time::timeout(INSPECTION_TIMEOUT + GRACE, &mut running).await {
            Ok(Ok((inspector, inspected))) => {
                *self = Self::Idle(inspector);
                Some(inspected)
            }
            Ok(Err(error)) => {
                error!(cause = %Chain::of(&error), "the inspector crashed; restart the agent");
                None
            }
            Err(_) => {
                warn!("an inspection hangs in the kernel; the last report stands meanwhile");
                *self = Self::Running(running);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_report::Section;

    use super::*;

    #[test]
    fn a_section_that_is_too_large_is_replaced_by_a_marker() {
        let why = Why::new(WhyKind::Io, "x");
        let report = Report {
            kernel: Some(Section::Unknown { why: why.clone() }),
            files: Some(Section::Unknown { why: Why::new(WhyKind::Io, "y") }),
            ..Report::default()
        };
        let plain = seal(report.clone(), |_| false).unwrap();
        let kernel = plain.manifest().get(SectionName::Kernel).unwrap().digest;
        let marked = seal(report, |digest| digest == kernel).unwrap();
        let text = |sealed: &Sealed, name| sealed.section(name).unwrap().get().to_owned();
        let unknown = r#"{"state":"unknown","why":{"detail":"the facts of this area are too large to be sent","kind":"too-large"}}"#;
        assert_eq!(text(&marked, SectionName::Kernel), unknown);
        assert_eq!(text(&marked, SectionName::Files), text(&plain, SectionName::Files));
        assert_ne!(marked.manifest().digest(), plain.manifest().digest());
    }
}
