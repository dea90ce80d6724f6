//! A machine with its agent: what really is, where the cluster and the collector know only what they
//! were told.
//!
//! The rooms of truth are apart on purpose: `boot` and `power` are the machine, `reasons` is what its
//! detector would find, `lie` is what becomes of that on the way out.

use std::collections::BTreeSet;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;

use crate::fleet::Need;
use crate::law::Handed;
use crate::request::Answer;
use crate::request::Reason;

/// Seconds between two heartbeats of an agent.
pub(super) const HEARTBEAT_SECS: i64 = 60;

/// Seconds that a machine must be up before its rebooter acts.
const LEAST_UPTIME_SECS: i64 = 600;

/// A machine.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// The node that it is.
    pub(super) uid: NodeUid,
    /// The boot that runs, or ran last.
    pub(super) boot: BootId,
    /// When that boot began.
    pub(super) booted_at: Moment,
    /// Whether it runs.
    pub(super) power: Power,
    /// Whether its kubelet does.
    pub(super) kubelet: Life,
    /// Whether its agent runs and reaches a collector.
    pub(super) agent: Life,
    /// Since when the agent is heard without a pause; `None` as long as it has not spoken since it was
    /// silent last.
    pub(super) speaks_since: Option<Moment>,
    /// When within a minute it sends its heartbeats, in seconds.
    pub(super) phase: i64,
    /// The kernel that runs.
    pub(super) kernel: String,
    /// The kernel that the boot loader would start.
    pub(super) next_kernel: String,
    /// Why it really needs a reboot; empty if it does not.
    pub(super) reasons: BTreeSet<Reason>,
    /// Since when.
    pub(super) since: Moment,
    /// What its agent makes of the truth.
    pub(super) lie: Lie,
    /// What the next reboot will be like.
    pub(super) fate: Fate,
    /// The highest epoch that its rebooter has seen.
    pub(super) epoch: u64,
    /// Grants that it used up.
    pub(super) consumed: BTreeSet<GrantId>,
    /// What it has to say of grants.
    pub(super) answers: Vec<(GrantId, Answer)>,
    /// The file that holds it.
    pub(super) hold_file: Option<String>,
    /// What was said last.
    pub(super) said: Option<(BootId, Need)>,
}

/// Whether a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// Whether a process runs and is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It does.
    Running,
    /// It does not.
    Stopped,
}

/// What an agent makes of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// It tells it.
    None,
    /// It always needs a reboot.
    AlwaysNeeded,
    /// It never does.
    NeverNeeded,
    /// It cannot tell.
    Unsure,
    /// It gives a boot id that never was, another one each hour.
    FalseBoot,
}

/// What the next reboot is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It comes back after so many seconds.
    Back(i64),
    /// It never does.
    Never,
    /// It comes back under the kernel that it had.
    SameKernel(i64),
    /// It comes back, and the reasons are still there.
    ReasonStays(i64),
    /// It comes back without a kubelet.
    NoKubelet(i64),
    /// It comes back, and its kubelet comes and goes.
    Flaps(i64),
    /// The call that should reboot it does nothing.
    CallFails,
    /// The call that should reboot it says that it failed.
    CallSaysSo,
}

impl Machine {
    /// The moment of the next heartbeat after `now`.
    pub(super) const fn next_heartbeat(&self, now: Moment) -> Moment {
        let past = now.plus(-self.phase).unix().rem_euclid(HEARTBEAT_SECS);
        now.plus(HEARTBEAT_SECS - past)
    }

    /// The moment of the last heartbeat at `now`, if the agent is heard.
    pub(super) fn last_heartbeat(&self, now: Moment) -> Option<Moment> {
        if self.power == Power::Down || self.agent == Life::Stopped {
            return None;
        }
        // Its first word after a boot or a silence is the one that tells of them.
        let since = self.speaks_since?;
        let last = now.plus(-now.plus(-self.phase).unix().rem_euclid(HEARTBEAT_SECS));
        Some(last.max(since))
    }

    /// It is heard no more from now on; when it was heard last.
    pub(super) fn stops_speaking(&mut self, now: Moment) -> Option<Moment> {
        let last = self.last_heartbeat(now);
        self.speaks_since = None;
        last
    }

    /// What its agent says of its boot and of its need.
    pub(super) fn word(&self, now: Moment) -> (BootId, Need) {
        let need = match self.lie {
            Lie::NeverNeeded => Need::NotNeeded,
            Lie::Unsure => Need::Unknown { why: String::from("the package database is locked") },
            Lie::AlwaysNeeded | Lie::FalseBoot | Lie::None if !self.reasons.is_empty() => {
                Need::Needed {
                    digest: digest(&self.reasons),
                    reasons: self.reasons.clone(),
                    since: self.since,
                }
            }
            Lie::AlwaysNeeded => {
                let reasons = BTreeSet::from([pretended()]);
                Need::Needed { digest: digest(&reasons), reasons, since: self.since }
            }
            Lie::FalseBoot | Lie::None => Need::NotNeeded,
        };
        let boot = match self.lie {
            Lie::FalseBoot => {
                let hour = now.unix().div_euclid(3600);
                let mut bytes = [0xff; 16];
                for (to, from) in bytes.iter_mut().zip(hour.to_be_bytes()) {
                    *to = from;
                }
                BootId::from_bytes(&bytes)
            }
            Lie::AlwaysNeeded | Lie::NeverNeeded | Lie::Unsure | Lie::None => self.boot.clone(),
        };
        (boot, need)
    }

    /// What its rebooter makes of a grant: the order of its checks is that of the specification.
    pub(super) fn consider(&mut self, grant: &Handed, now: Moment) -> Answer {
        let refused = |why: &str| Answer::Refused(String::from(why));
        if grant.node != self.uid {
            return refused("another node");
        }
        if grant.boot != self.boot {
            return refused("another boot");
        }
        if grant.epoch < self.epoch {
            return refused("a lower epoch");
        }
        self.epoch = grant.epoch;
        if self.consumed.contains(&grant.id) {
            return refused("used already");
        }
        if now >= grant.until {
            return refused("expired");
        }
        if self.hold_file.is_some() {
            return refused("a hold file");
        }
        if now.since(self.booted_at) < LEAST_UPTIME_SECS {
            return refused("booted not long ago");
        }
        if self.lie == Lie::None && digest(&self.reasons) != grant.digest {
            return refused("other reasons");
        }
        self.consumed.insert(grant.id);
        Answer::Executing
    }
}

/// The digest of reasons: equal for equal reasons, and of nothing else.
pub(super) fn digest(reasons: &BTreeSet<Reason>) -> Digest {
    let mut text = String::new();
    for Reason { source, kind, subject, target } in reasons {
        for part in [source, kind, subject, target] {
            text.push_str(part);
            text.push('\0');
        }
    }
    Digest::of(text.as_bytes())
}

/// The reason that a lying agent gives.
pub(super) fn pretended() -> Reason {
    Reason {
        source: String::from("sentinel"),
        kind: String::from("package"),
        subject: String::from("anything"),
        target: String::new(),
    }
}
