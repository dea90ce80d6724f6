//! What reports say that a reboot goes by, each distinct section read and parsed once: a fleet has
//! thousands of nodes and few different sections.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_plan::fleet::Agent;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Need;
use palisade_plan::request::Reason;
use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::Section;
use palisade_report::SectionName;
use palisade_report::section::boot::Boot;
use palisade_report::section::certificates::Certificates;
use palisade_report::section::kernel::Kernel;
use palisade_report::section::kubelet::Kubelet;
use palisade_report::section::reboot;
use palisade_report::section::reboot::PackageManager;
use palisade_report::section::reboot::Reboot;
use palisade_report::wire::HoldFile;
use serde::de::DeserializeOwned;

use super::clock::TermClock;
use super::returns;
use super::returns::Client;
use crate::chain::Chain;
use crate::snapshot::Node;
use crate::snapshot::Snapshot;
use crate::store::Reader;

/// Sections of one look that are read at most; the rest is read at the next, and unknown until then.
const MAX_READS: usize = 2000;

/// Seconds that a kubelet of which this is not known is given to end its pods. It costs only a later
/// alarm.
const UNKNOWN_GRACE_SECS: u32 = 300;

/// Seconds that a kubelet may be given at most, whatever its node says.
const LONGEST_GRACE_SECS: u32 = 3600;

/// Why nothing is known of what a node's reboot container would tell. It names what to start.
const NO_REBOOTER: &str = "nothing is heard of its reboot container, `palisade-agent reboot`";

/// The sections that are known.
#[derive(Debug, Default)]
pub(super) struct Facts {
    reboots: BTreeMap<Digest, Arc<Known<Reboot>>>,
    kernels: BTreeMap<Digest, Arc<Known<Kernels>>>,
    boots: BTreeMap<Digest, Arc<Known<BootId>>>,
    graces: BTreeMap<Digest, Arc<Known<u32>>>,
    clients: BTreeMap<Digest, Arc<Known<Client>>>,
}

/// The kernels of a node.
#[derive(Debug)]
pub(super) struct Kernels {
    running: Option<String>,
    next: Option<String>,
    /// What would keep the next one from booting, in words.
    lacks: Vec<String>,
}

impl Facts {
    /// Reads what `snapshot` refers to and is not known yet, and forgets the rest. Whose boot a report
    /// is of is read only for nodes with a request, certificates also for those that need a reboot: each node
    /// has its own.
    pub(super) async fn learn(
        &mut self,
        snapshot: &Snapshot,
        reader: &Reader,
        requested: &BTreeSet<palisade_report::NodeUid>,
    ) {
        let mut left = MAX_READS;
        let all = |name| {
            let nodes = snapshot.nodes.iter().filter(|node| node.state.is_live());
            nodes.filter_map(move |node| node.section(name)).collect::<BTreeSet<Digest>>()
        };
        learn(&mut self.reboots, all(SectionName::Reboot), reader, &mut left, Ok).await;
        learn(&mut self.kernels, all(SectionName::Kernel), reader, &mut left, |it: Kernel| {
            Ok(Kernels {
                running: it.release.value().cloned(),
                next: it.boot_default.value().or_else(|| it.newest.value()).cloned(),
                lacks: returns::lacks(&it),
            })
        })
        .await;
        let is_requested =
            |node: &&Arc<Node>| node.uid.as_ref().is_some_and(|uid| requested.contains(uid));
        let of_them = |name| {
            let nodes = snapshot.nodes.iter().filter(is_requested);
            nodes.filter_map(move |node| node.section(name)).collect::<BTreeSet<Digest>>()
        };
        learn(&mut self.boots, of_them(SectionName::Boot), reader, &mut left, |it: Boot| {
            it.boot_id.value().cloned().ok_or_else(|| "the report does not say its boot".to_owned())
        })
        .await;
        learn(&mut self.graces, of_them(SectionName::Kubelet), reader, &mut left, |it: Kubelet| {
            grace_secs(&it).ok_or_else(|| "the report does not say it".to_owned())
        })
        .await;
        let live = snapshot.nodes.iter().filter(|node| node.state.is_live());
        let asks = |node: &&Arc<Node>| self.is_needed(node) || is_requested(node);
        let clients = live.filter(asks).filter_map(|node| node.section(SectionName::Certificates));
        let clients = clients.collect();
        let read = |it: Certificates| returns::client(&it);
        learn(&mut self.clients, clients, reader, &mut left, read).await;
    }

    fn is_needed(&self, node: &Node) -> bool {
        let facts = node.section(SectionName::Reboot).and_then(|it| self.reboots.get(&it)?.known());
        facts.is_some_and(|it| it.need == reboot::Need::Needed)
    }

    /// Until when the kubelet's client certificate lets a node that needs a reboot, or has a request, come
    /// back from one. None where reports say nothing of certificates.
    pub(super) fn certificate(&self, node: &Node, is_requested: bool) -> Option<Known<Client>> {
        if !is_requested && !self.is_needed(node) {
            return None;
        }
        let digest = node.section(SectionName::Certificates)?;
        let unread = || Known::Unknown("its report has not been read yet".to_owned());
        Some(self.clients.get(&digest).map_or_else(unread, |it| Known::clone(it)))
    }

    /// The kernels that this section of a report speaks of, or why that cannot be told.
    fn kernels(&self, section: Option<Digest>) -> Result<&Kernels, &str> {
        let digest = section.ok_or("its report has no kernel")?;
        match self.kernels.get(&digest).map(|it| &**it) {
            Some(Known::Known(kernels)) => Ok(kernels),
            Some(Known::Unknown(why)) => Err(why),
            None => Err("its report has not been read yet"),
        }
    }

    /// What an agent says, but for the times that the fleet keeps: since when a reboot is needed, and
    /// since when nothing changes.
    pub(super) fn agent(&self, node: &Node, is_in_flight: bool, clock: &TermClock) -> Agent {
        let of_boot = if is_in_flight { self.of_this_boot(node) } else { Ok(()) };
        let reboot = of_boot.and_then(|()| {
            let digest = node.section(SectionName::Reboot).ok_or("it has no report yet")?;
            let facts = self.reboots.get(&digest).ok_or("its report has not been read yet")?;
            match &**facts {
                Known::Known(facts) => Ok(facts),
                Known::Unknown(why) => Err(why.as_str()),
            }
        });
        let kernels = of_boot.and_then(|()| self.kernels(node.section(SectionName::Kernel)));
        let lacks = lacks(kernels);
        let kernels = kernels.ok();
        Agent {
            // By the clock of the term: the engine's own may be stepped between two heartbeats.
            heard_at: node.boot_id.as_ref().and_then(|_| Some(clock.at(node.seen.boot_ms()?))),
            boot: node.boot_id.clone(),
            kernel: kernels.and_then(|it| it.running.clone()),
            next_kernel: kernels.and_then(|it| it.next.clone()),
            need: match &reboot {
                Ok(facts) => need(facts, node.first_seen_at),
                Err(why) => Need::Unknown { why: (*why).to_owned() },
            },
            stable_since: None,
            package_manager: match &reboot {
                Ok(facts) => package_manager(facts),
                Err(why) => Known::Unknown((*why).to_owned()),
            },
            reboot_method: match node.seen.rebooter() {
                Some(state) => match state.can.means() {
                    Ok(means) => Known::Known(means.to_owned()),
                    Err(why) => Known::Unknown(why.to_owned()),
                },
                None => Known::Unknown(NO_REBOOTER.to_owned()),
            },
            hold_file: match node.seen.rebooter().map(|state| state.hold) {
                Some(HoldFile::Absent) => Known::Known(None),
                Some(HoldFile::Present) => Known::Known(Some("its operator holds it".to_owned())),
                Some(HoldFile::Unknown) => Known::Unknown("the node could not look".to_owned()),
                None => Known::Unknown(NO_REBOOTER.to_owned()),
            },
            unsafe_to_reboot: lacks,
            due_by: None,
            report: node.report.filter(|_| of_boot.is_ok()),
        }
    }

    /// Seconds that the kubelet of a node in flight gives its pods when the machine goes down, on top of
    /// what systemd gives its services.
    pub(super) fn shutdown_grace_secs(&self, node: Option<&Node>) -> u32 {
        let digest = node.and_then(|it| it.section(SectionName::Kubelet));
        let known = digest.and_then(|it| self.graces.get(&it)?.known().copied());
        known.unwrap_or(UNKNOWN_GRACE_SECS)
    }

    /// Whether the stored report was made in the boot that the node speaks of.
    fn of_this_boot(&self, node: &Node) -> Result<(), &str> {
        if node.pending.is_some() {
            return Err("a newer report is on its way");
        }
        let digest = node.section(SectionName::Boot).ok_or("it has no report yet")?;
        match self.boots.get(&digest).map(|it| &**it) {
            Some(Known::Known(boot)) if Some(boot) == node.boot_id.as_ref() => Ok(()),
            Some(Known::Known(_)) => Err("its report is of the boot before"),
            Some(Known::Unknown(why)) => Err(why),
            None => Err("its report has not been read yet"),
        }
    }
}

/// What keeps the kernel that boots next from booting, in words; what cannot be told keeps it too.
fn lacks(kernels: Result<&Kernels, &str>) -> Vec<String> {
    match kernels {
        Ok(kernels) => kernels.lacks.clone(),
        Err(why) => vec![format!("whether the kernel that boots next is whole: {why}")],
    }
}

async fn learn<S: DeserializeOwned, T>(
    known: &mut BTreeMap<Digest, Arc<Known<T>>>,
    wanted: BTreeSet<Digest>,
    reader: &Reader,
    left: &mut usize,
    turn: impl Fn(S) -> Result<T, String>,
) {
    known.retain(|digest, _| wanted.contains(digest));
    for digest in wanted {
        if known.contains_key(&digest) || *left == 0 {
            continue;
        }
        *left = left.saturating_sub(1);
        let body = match reader.section(digest).await {
            Ok(Some(body)) => body,
            // Released meanwhile; the next snapshot does not refer to it.
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(cause = %Chain(&error), "a section cannot be read; tried again");
                return;
            }
        };
        let facts = match serde_json::from_slice::<Section<S>>(&body) {
            Ok(Section::Known(facts)) => match turn(facts) {
                Ok(facts) => Known::Known(facts),
                Err(why) => Known::Unknown(why),
            },
            Ok(Section::Unknown { why }) => Known::Unknown(why.to_string()),
            Err(_) => Known::Unknown("the section is not of the form that is known".to_owned()),
        };
        known.insert(digest, Arc::new(facts));
    }
}

/// `shutdownGracePeriod`, the whole of what the kubelet takes; `None` if it is not known. Source:
/// `KubeletConfiguration` v1beta1.
fn grace_secs(facts: &Kubelet) -> Option<u32> {
    let text = facts.effective.get("shutdownGracePeriod")?.value()?.as_str()?;
    let nanos = u64::try_from(palisade_rules::duration::parse(text)?).ok()?;
    let secs = nanos.div_ceil(1_000_000_000);
    Some(u32::try_from(secs).map_or(LONGEST_GRACE_SECS, |secs| secs.min(LONGEST_GRACE_SECS)))
}

fn need(facts: &Reboot, since: Moment) -> Need {
    match &facts.need {
        reboot::Need::NotNeeded => Need::NotNeeded,
        reboot::Need::Unknown { why } => Need::Unknown { why: why.to_string() },
        reboot::Need::Needed => {
            let reasons: BTreeSet<Reason> = facts.reasons.iter().map(reason).collect();
            match facts.reason_digest {
                Some(digest) if !reasons.is_empty() => Need::Needed { reasons, digest, since },
                Some(_) | None => Need::Unknown {
                    why: "a reboot is needed for no reason that is told".to_owned(),
                },
            }
        }
    }
}

fn reason(reason: &reboot::Reason) -> Reason {
    let kind = match reason.source {
        reboot::Source::DebianFlag | reboot::Source::RpmCore => "package",
        reboot::Source::DeletedFiles => "file",
        reboot::Source::Kernel => "kernel",
        reboot::Source::SuseFlag => "flag",
        reboot::Source::Other => "other",
    };
    let source = match serde_json::to_value(reason.source) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => "other".to_owned(),
    };
    let subject = if reason.subject.is_empty() { kind.to_owned() } else { reason.subject.clone() };
    Reason { source, kind: kind.to_owned(), subject, target: reason.target.clone() }
}

fn package_manager(facts: &Reboot) -> Known<Option<String>> {
    use palisade_report::Reading;
    match &facts.package_manager {
        Reading::Known { value: PackageManager::Idle, .. } => Known::Known(None),
        Reading::Known { value: PackageManager::Active { evidence }, .. } => {
            Known::Known(Some(format!("works: {evidence}")))
        }
        Reading::Known { value: PackageManager::HalfDone { packages }, .. } => {
            let some: Vec<_> = packages.iter().take(5).map(String::as_str).collect();
            Known::Known(Some(format!("was interrupted: {}", some.join(", "))))
        }
        // There is none on this host, which is how an image-based one looks.
        Reading::Absent { .. } => Known::Known(None),
        Reading::Unknown { why, .. } => Known::Unknown(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use palisade_report::Origin;
    use palisade_report::Reading;

    use super::*;

    fn kubelet(period: Option<Reading<serde_json::Value>>) -> Kubelet {
        let period = period.map(|it| ("shutdownGracePeriod".to_owned(), it));
        Kubelet {
            process: Reading::absent(Origin::words("no process")),
            sources: Vec::new(),
            effective: period.into_iter().collect(),
            flags: BTreeMap::new(),
            refused: Vec::new(),
        }
    }

    #[test]
    fn a_kernel_that_cannot_be_told_is_not_taken_for_a_whole_one() {
        let [whole, broken, unknown, unread] = [0_u8, 1, 2, 3].map(|number| Digest::of(&[number]));
        let kernels = |lacks: &[&str]| {
            let lacks = lacks.iter().map(|it| (*it).to_owned()).collect();
            Arc::new(Known::Known(Kernels { running: None, next: None, lacks }))
        };
        let mut facts = Facts::default();
        facts.kernels.insert(whole, kernels(&[]));
        facts.kernels.insert(broken, kernels(&["no modules"]));
        facts.kernels.insert(unknown, Arc::new(Known::Unknown("/boot: timeout".to_owned())));
        let words = |section: Option<Digest>| lacks(facts.kernels(section)).join("; ");
        assert_eq!(words(Some(whole)), "");
        assert_eq!(words(Some(broken)), "no modules");
        let cannot = "whether the kernel that boots next is whole: ";
        assert_eq!(words(Some(unknown)), format!("{cannot}/boot: timeout"));
        assert_eq!(words(Some(unread)), format!("{cannot}its report has not been read yet"));
        assert_eq!(words(None), format!("{cannot}its report has no kernel"));
    }

    #[test]
    fn the_time_of_a_kubelet_is_what_it_says_within_bounds() {
        let known = |text: &str| {
            let value = serde_json::Value::from(text);
            grace_secs(&kubelet(Some(Reading::known(value, Origin::words("a file")))))
        };
        assert_eq!(known("0s"), Some(0));
        assert_eq!(known("1m30s"), Some(90));
        assert_eq!(known("1.5s"), Some(2), "rounded up");
        assert_eq!(known("2000h"), Some(LONGEST_GRACE_SECS));
        assert_eq!(known("-5s"), None);
        assert_eq!(known("soon"), None);
        assert_eq!(grace_secs(&kubelet(None)), None);
        assert_eq!(Facts::default().shutdown_grace_secs(None), UNKNOWN_GRACE_SECS);
    }
}
