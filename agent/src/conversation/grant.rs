//! Grants on their way to the process that can reboot this node, and what it says on its way back.
//!
//! ```text
//! reply with a grant ─> package manager idle? ─> rebooter ─┬─ accepted ──┐
//!                                                          ├─ refused ───┼─> POST .../grants/{id}
//!                                                          ├─ executing ─┤   (it waits for this one,
//!                                                          └─ failed ────┘    some seconds at most)
//! ```
//!
//! What a grant is worth is decided by the rebooter alone. What could not be reported is reported
//! before the next heartbeat; a reboot in between is told by the boot id.

use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use hyper::Method;
use palisade_report::Grant;
use palisade_report::Reading;
use palisade_report::Sealed;
use palisade_report::Section;
use palisade_report::SectionName;
use palisade_report::bound::clean;
use palisade_report::grant::GrantId;
use palisade_report::section::reboot::PackageManager;
use palisade_report::section::reboot::Reboot;
use palisade_report::wire::CanReboot;
use palisade_report::wire::GrantReport;
use palisade_report::wire::GrantText;
use palisade_report::wire::GrantWord;
use palisade_report::wire::HoldFile;
use palisade_report::wire::MAX_WORDS;
use palisade_report::wire::RebooterState;
use tokio::sync::mpsc;
use tracing::error;
use tracing::info;
use tracing::warn;

use super::Conversation;
use super::EncodeError;
use super::Setback;
use super::answered;
use crate::reaction::Reaction;
use crate::rebooter;
use crate::rebooter::HandOverError;
use crate::rebooter::Status;
use crate::send::Encoding;
use crate::verb::Chain;

/// For the rebooter to say how things stand: it looks at some files and asks logind.
const STATUS_WITHIN: Duration = Duration::from_secs(5);

/// For each answer to a grant: logind may first be asked, for up to 25 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// For one report of an answer. The rebooter waits a little longer than this.
const REPORT_WITHIN: Duration = Duration::from_secs(4);

/// Answers that wait for a collector; one grant has two, and none is handed over while any waits
/// longer than that.
const MAX_UNREPORTED: usize = 8;

/// What a conversation knows of the process that can reboot this node.
#[derive(Debug, Default)]
pub(super) struct Rebooting {
    /// Its socket; `None`: there is no such process.
    socket: Option<PathBuf>,
    /// What it said last, for the log.
    last: Option<Status>,
    /// What the collector has not taken yet, oldest first.
    unreported: Vec<(GrantId, GrantReport)>,
}

impl Conversation {
    /// Grants are handed to the rebooter behind `socket`.
    #[must_use]
    pub fn with_rebooter(mut self, socket: Option<PathBuf>) -> Self {
        self.rebooting.socket = socket;
        self
    }

    /// What the rebooter says of itself; `None` if there is none.
    pub(super) async fn look_at_rebooter(&mut self) -> Option<RebooterState> {
        let socket = self.rebooting.socket.clone()?;
        let asked = tokio::task::spawn_blocking(move || rebooter::status(&socket, STATUS_WITHIN));
        let status = match asked.await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => silent(Chain::of(&error).to_string()),
            Err(error) => silent(Chain::of(&error).to_string()),
        };
        if self.rebooting.last.as_ref() != Some(&status) {
            let Status { state, words } = &status;
            let can = state.can.means().is_ok() && state.hold == HoldFile::Absent;
            if can {
                info!(%state, words, "this node can be rebooted");
            } else {
                warn!(%state, words, "this node cannot be rebooted now");
            }
            self.rebooting.last = Some(status.clone());
        }
        Some(status.state)
    }

    /// Hands a grant to the rebooter and reports what it says.
    pub(super) async fn carry(&mut self, sealed: &Sealed, text: &GrantText) {
        let id = match Grant::decode(text.as_bytes()) {
            Ok(grant) => grant.id,
            Err(why) => {
                warn!(%why, "the collector sent no grant");
                return;
            }
        };
        info!(grant = %id, "got a grant");
        if let Some((code, words)) = unready(sealed) {
            return self.tell(id, refusal(code, words)).await;
        }
        let Some(socket) = self.rebooting.socket.clone() else {
            return self.tell(id, refusal("no-rebooter", "no rebooter on this node")).await;
        };
        let (said, mut heard) = mpsc::unbounded_channel();
        let grant = text.clone();
        let handing = tokio::task::spawn_blocking(move || hand_over(&socket, &grant, &said));
        while let Some((answer, passed_on)) = heard.recv().await {
            self.tell(id, report(&answer)).await;
            // The rebooter waits for this end to be gone.
            drop::<std::sync::mpsc::Sender<()>>(passed_on);
        }
        match handing.await {
            Ok(Ok(_)) => {}
            Ok(Err(error @ HandOverError::Connect { .. })) => {
                self.tell(id, refusal("unreachable", &Chain::of(&error).to_string())).await;
            }
            // Whether it was used nobody knows; the collector counts on the worse.
            Ok(Err(error)) => {
                error!(grant = %id, cause = %Chain::of(&error), "what became of a grant is unknown");
            }
            Err(error) => error!(cause = %Chain::of(&error), "handing over a grant was cut off"),
        }
    }

    /// Reports what could not be reported when it was said.
    pub(super) async fn catch_up(&mut self) {
        for (id, report) in std::mem::take(&mut self.rebooting.unreported) {
            if self.rebooting.unreported.is_empty() {
                self.tell(id, report).await;
            } else {
                // The one before did not get through; the heartbeat must not wait for all of them.
                self.rebooting.unreported.push((id, report));
            }
        }
    }

    /// Reports one answer, now or later.
    async fn tell(&mut self, id: GrantId, report: GrantReport) {
        let answer = report.answer.as_str();
        let GrantReport { answer: _, code, words } = &report;
        info!(grant = %id, answer, code, words, "a grant was answered");
        let sent = tokio::time::timeout(REPORT_WITHIN, self.post(id, &report)).await;
        let setback = match sent {
            Ok(Ok(())) => return,
            Ok(Err(setback)) => Chain::of(&setback).to_string(),
            Err(elapsed) => Chain::of(&elapsed).to_string(),
        };
        warn!(grant = %id, answer, cause = setback, "an answer to a grant does not get through");
        if self.rebooting.unreported.len() < MAX_UNREPORTED {
            self.rebooting.unreported.push((id, report));
        }
    }

    /// One report. A collector that does not want it will not want it later either.
    async fn post(&mut self, id: GrantId, report: &GrantReport) -> Result<(), Setback> {
        let body = serde_json::to_vec(report)
            .map_err(|error| Setback::Encode(EncodeError::Json(error)))?;
        let path = format!("/v1/nodes/{}/grants/{id}", self.node);
        let answer = self.ask(Method::POST, &path, body.into(), Encoding::Identity).await?;
        match Reaction::to(answer.status) {
            Reaction::BackOff | Reaction::Reauthenticate | Reaction::Refused => {
                Err(answered(&answer))
            }
            Reaction::Continue => Ok(()),
            Reaction::DropBody
            | Reaction::OlderCollector
            | Reaction::OtherEncoding
            | Reaction::Overtaken
            | Reaction::Split => {
                let cause = answered(&answer);
                warn!(grant = %id, cause = %Chain::of(&cause), "an answer to a grant is not wanted");
                Ok(())
            }
        }
    }
}

/// An answer, and what the sender drops when it was passed on.
type Heard = (rebooter::Answer, std::sync::mpsc::Sender<()>);

/// Hands over on a thread of its own and waits with each answer until it was passed on.
fn hand_over(
    socket: &Path,
    grant: &GrantText,
    said: &mpsc::UnboundedSender<Heard>,
) -> Result<rebooter::Answer, HandOverError> {
    rebooter::hand_over(socket, grant.as_bytes(), ANSWER_WITHIN, |answer| {
        let (passing_on, passed_on) = std::sync::mpsc::channel();
        if said.send((answer.clone(), passing_on)).is_ok() {
            // Nothing is sent: it ends when the other end is dropped, or when it takes too long.
            if passed_on.recv_timeout(REPORT_WITHIN) == Err(RecvTimeoutError::Timeout) {
                warn!(?answer, "an answer was not passed on in time");
            }
        }
    })
}

/// Why this host should not go down, by the report that was just made; what cannot be told counts.
fn unready(sealed: &Sealed) -> Option<(&'static str, &'static str)> {
    let section = sealed.section(SectionName::Reboot)?;
    let Ok(Section::Known(reboot)) = serde_json::from_str::<Section<Reboot>>(section.get()) else {
        return Some(("unreadable", "whether the package manager works cannot be told"));
    };
    match reboot.package_manager {
        Reading::Known { value: PackageManager::Idle, .. } | Reading::Absent { .. } => None,
        Reading::Known { value: PackageManager::Active { .. }, .. } => {
            Some(("package-manager", "the package manager works"))
        }
        Reading::Known { value: PackageManager::HalfDone { .. }, .. } => {
            Some(("package-manager", "packages are unpacked and not configured"))
        }
        Reading::Unknown { .. } => {
            Some(("package-manager", "whether the package manager works cannot be told"))
        }
    }
}

/// What is reported of an answer. A grant that is used was used by this very node: it is being acted
/// upon, whoever failed to say so before.
fn report(answer: &rebooter::Answer) -> GrantReport {
    let (answer, code, words) = match answer {
        rebooter::Answer::Accepted => (GrantWord::Accepted, "", ""),
        rebooter::Answer::Executing => (GrantWord::Executing, "", ""),
        rebooter::Answer::Failed { words } => (GrantWord::Failed, "", words.as_str()),
        rebooter::Answer::Refused { code, words } if code == rebooter::USED => {
            (GrantWord::Executing, code.as_str(), words.as_str())
        }
        rebooter::Answer::Refused { code, words } => {
            (GrantWord::Refused, code.as_str(), words.as_str())
        }
    };
    GrantReport { answer, code: code.to_owned(), words: clean(words.as_bytes(), MAX_WORDS) }
}

fn refusal(code: &str, words: &str) -> GrantReport {
    let words = clean(words.as_bytes(), MAX_WORDS);
    GrantReport { answer: GrantWord::Refused, code: code.to_owned(), words }
}

fn silent(words: String) -> Status {
    Status { state: RebooterState { can: CanReboot::Silent, hold: HoldFile::Unknown }, words }
}

#[cfg(test)]
mod tests {
    use palisade_report::Report;

    use super::*;

    #[test]
    fn a_used_grant_is_reported_as_being_acted_upon() {
        let refused = |code: &str| rebooter::Answer::Refused {
            code: code.to_owned(),
            words: "x".repeat(2 * MAX_WORDS),
        };
        assert_eq!(report(&refused("used")).answer, GrantWord::Executing);
        let held = report(&refused("hold"));
        assert_eq!((held.answer, held.code.as_str()), (GrantWord::Refused, "hold"));
        assert_eq!(held.words.len(), MAX_WORDS);
    }

    #[test]
    fn a_host_whose_package_manager_cannot_be_told_does_not_go_down() {
        let unknown = Report {
            reboot: Some(Section::Unknown {
                why: palisade_report::Why::new(palisade_report::WhyKind::Io, "x"),
            }),
            ..Report::default()
        };
        assert_eq!(unready(&unknown.seal().unwrap()).map(|it| it.0), Some("unreadable"));
    }
}
