//! One request: everything about one reboot of one node that must survive the collector.
//!
//! In a cluster it is the custom resource `RebootRequest`, standalone a row of the store; the shell
//! translates. Nothing that decides is kept anywhere else: who reads a request, the node and its pods
//! knows what comes next.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;
use serde::Deserialize;
use serde::Serialize;

use crate::fleet::Role;
use crate::gate::Blocker;
use crate::gate::Gate;

/// A request, its wishes and its progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Name of its node, for people.
    pub node: NodeName,
    /// UID of its node; also the name of the object, so that there is one for each node.
    pub uid: NodeUid,
    /// `metadata.uid` of the object: what our cordon is marked with. Empty until it was created.
    pub id: String,
    /// `metadata.resourceVersion` that this was read at, handed back with the next write.
    pub version: String,
    /// What is asked.
    pub wish: Wish,
    /// How far it has come.
    pub progress: Progress,
}

/// What is asked; changed by people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// Why.
    pub reasons: BTreeSet<Reason>,
    /// SHA-256 over them.
    pub digest: Digest,
    /// Since when this digest is there: the occurrence.
    pub since: Moment,
    /// Who asked.
    pub requested_by: String,
    /// When it should have happened.
    pub must_by: Option<Moment>,
    /// Whether a person approved these reasons.
    pub approval: Option<Approval>,
    /// Gates that a person passes.
    pub overriding: Option<Override>,
    /// Whether it goes on.
    pub intent: Intent,
    /// That a person has looked at what waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
}

/// One reason for a reboot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Who says so: a reader of the agent, or `request`.
    pub source: String,
    /// What kind of thing it is about, such as `kernel`, `package`, `certificate`.
    pub kind: String,
    /// The thing itself.
    pub subject: String,
    /// The version that runs after the reboot; empty if it cannot be told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
}

/// That a person lets these reasons be acted upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When.
    pub at: Moment,
    /// Which reasons: those of this digest.
    pub digest: Digest,
    /// Until when.
    pub until: Moment,
}

/// Gates that a person passes knowingly; a hard gate stays shut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Which.
    pub gates: BTreeSet<Gate>,
    /// For which reasons: those of this digest.
    pub digest: Digest,
    /// Until when.
    pub until: Moment,
}

impl Request {
    /// Its failures: each time that it came to wait for a person, as far as its history goes.
    pub fn failed(&self) -> impl Iterator<Item = Entered> + '_ {
        let history = &self.progress.history;
        let now = Some(self.entered()).filter(|now| history.last() != Some(now));
        let entries = history.iter().copied().chain(now);
        entries.filter(|entered| matches!(entered.state, State::Quarantined | State::NotReturned))
    }

    /// How it came into its state.
    #[must_use]
    pub fn entered(&self) -> Entered {
        let Progress { state, since: at, history, .. } = &self.progress;
        // Of a record that somebody else wrote, the history may say nothing.
        let last = history.last().filter(|last| last.state == *state);
        last.copied().unwrap_or(Entered { state: *state, at: *at, after_release: None })
    }

    /// Whether a person has released what it came into then. A word that was there already is about
    /// something else, and the clocks that stamped the two may not show it.
    #[must_use]
    pub fn has_released(&self, entered: &Entered, now: Moment) -> bool {
        let released = self.released_at(now);
        released.is_some_and(|at| at >= entered.at && entered.after_release != Some(at))
    }

    /// The time that a release bears which is said now: not before the failure that it is about, and not
    /// that of the word before, whichever clocks stamped them. So none is lost; one that bears a later
    /// time counts when that has come.
    #[must_use]
    pub fn release_said(&self, now: Moment) -> Moment {
        let Entered { at, after_release, .. } = self.entered();
        now.max(at).max(after_release.map_or(at, |word| word.plus(1)))
    }

    /// When a person released it, if that has come: what had failed until then is forgiven. A failure
    /// budget reads it here while the request is there; who deletes the request writes it down for the
    /// pool ([`crate::fleet::Past::released`]), or the failure counts again.
    #[must_use]
    pub fn released_at(&self, now: Moment) -> Option<Moment> {
        self.wish.release.as_ref().map(|release| release.at).filter(|at| *at <= now)
    }
}

/// Whether a request goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// It does.
    #[default]
    Reboot,
    /// It ends, and what was done is undone as long as no reboot can happen any more.
    Cancel,
}

/// The word of a person that ends a wait for a person: a quarantine, a node that did not return, a
/// back-off. In a cluster `spec.release`, standalone a call of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When. It counts only for a state that was entered before, and from then on: nothing is released
    /// in advance.
    pub at: Moment,
}

/// How far a request has come; written only by the collector that leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// When the state should have been left. Late is an alert, and never frees a slot.
    pub deadline: Option<Moment>,
    /// The epoch of the leader that wrote this.
    pub epoch: u64,
    /// Where the node counts, as when it was claimed.
    pub placement: Placement,
    /// What it waits for, most important first.
    pub blockers: Vec<Blocker>,
    /// When those were written last: their words may change with every look, a record may not.
    #[serde(default)]
    pub blockers_at: Option<Moment>,
    /// The boot that ran when the node was claimed: another one without a grant is nobody's plan.
    #[serde(default)]
    pub boot_at_claim: Option<BootId>,
    /// Whether the node took pods before our cordon; `None` until that was looked at.
    pub before: Option<Schedulability>,
    /// The marker of a request that is gone, whose cordon this one found and undoes.
    #[serde(default)]
    pub adopts: Option<String>,
    /// The drain.
    pub drain: Drain,
    /// The last permission that was given, and what became of it.
    pub grant: Option<GrantRecord>,
    /// The boot after it.
    pub boot: Option<BootRecord>,
    /// What was proved after the boot, by name, with the value that proves it.
    pub proofs: BTreeMap<Proof, String>,
    /// Since when all proofs hold; the soak time counts from here.
    pub sound_since: Option<Moment>,
    /// How often all proofs held and then one did not any more.
    #[serde(default)]
    pub relapses: u32,
    /// How often a drain was rolled back.
    pub rollbacks: u32,
    /// Where a roll-back leads when everything is restored.
    pub then: AfterRollback,
    /// Why a person is needed, or what failed last.
    pub failure: Option<Fault>,
    /// The names of alerts that were raised and not yet withdrawn.
    pub alerts: BTreeSet<Alert>,
    /// States that were entered, oldest first; at most [`MAX_HISTORY`].
    pub history: Vec<Entered>,
}

/// Entries of the history that are kept; the oldest go first.
pub const MAX_HISTORY: usize = 32;

/// A state that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entered {
    /// Which.
    pub state: State,
    /// When.
    pub at: Moment,
    /// What the release says when it was given, if one was there already: nobody releases in advance.
    /// Whoever led may have had a clock that is hours behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_release: Option<Moment>,
}

/// Where a node counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Its pool.
    pub pool: String,
    /// Its zone (`topology.kubernetes.io/zone`); empty without one.
    pub zone: String,
    /// What it is for the cluster.
    pub role: Role,
}

/// Whether a node took pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedulability {
    /// It did.
    Schedulable,
    /// Somebody had cordoned it, so the end leaves it cordoned.
    Unschedulable,
}

/// What is known of the drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// When the node was cordoned and the first eviction allowed.
    pub began: Option<Moment>,
    /// When nothing was left.
    pub ended: Option<Moment>,
    /// Names of the persistent volumes whose detaching is waited for; recorded before the evictions.
    pub volumes: BTreeSet<String>,
    /// How often somebody uncordoned the node and we cordoned it again.
    pub recordons: u8,
}

/// A permission that was given; the permission itself is nowhere but in the reply to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantRecord {
    /// Its id; a new one for each permission.
    pub id: GrantId,
    /// The boot that it may end.
    pub boot: BootId,
    /// The report that the decision was based on.
    pub report: Digest,
    /// The kernel that should run afterwards, where that could be told.
    pub expected_kernel: Option<String>,
    /// When it was decided.
    pub at: Moment,
    /// After this moment on the collector's clock it can start nothing more; grows with each time
    /// that it is handed out.
    pub void_after: Moment,
    /// What the node said of it.
    pub answer: Option<Answer>,
    /// When that arrived.
    #[serde(default)]
    pub answered_at: Option<Moment>,
}

impl GrantRecord {
    /// The id of a permission that was never given by who records it.
    pub const PRESUMED: GrantId = GrantId::from_bytes([0; 16]);

    /// Whether this stands for the permission that a request which is gone may have given: nobody
    /// offers it, and nobody answered it.
    #[must_use]
    pub fn is_presumed(&self) -> bool {
        self.id == Self::PRESUMED
    }
}

/// What a node said of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is used up and being acted upon: from here on the node may go down at any moment.
    Executing,
    /// It was refused, and why; it can start nothing.
    Refused(String),
    /// The call that should have rebooted failed, and how.
    Failed(String),
}

/// A boot after a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootRecord {
    /// The new boot id: the only proof of a reboot.
    pub boot: BootId,
    /// The kernel that runs.
    pub kernel: Option<String>,
    /// When the first word of this boot arrived.
    pub seen_at: Moment,
}

/// What must be true after a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The boot id is another one.
    BootId,
    /// A whole report of this boot is there.
    Report,
    /// The detector that gave the reasons says that they are gone.
    ReasonGone,
    /// The kernel is the expected one, or none could be told before.
    Kernel,
    /// The node is ready.
    Ready,
    /// Kubelet and container runtime answer, as far as the node object tells.
    Kubelet,
}

impl Proof {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::BootId, Self::Report, Self::ReasonGone, Self::Kernel, Self::Ready, Self::Kubelet];
}

/// Where a roll-back leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterRollback {
    /// It is tried again later.
    #[default]
    Backoff,
    /// It is looked at anew: nothing failed, but what the claim was based on is no longer so.
    Reconsider,
    /// It ends, because somebody wanted that, or because nothing asks for the reboot any more.
    Cancelled,
}

/// Why a request needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// In words, with values.
    pub message: String,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The claim was withdrawn: a cap, a gate or another tool.
    Withdrawn,
    /// The cordon could not be set in time.
    CordonFailed,
    /// The drain did not end in time.
    DrainFailed,
    /// The window ended before the drain.
    Overrun,
    /// What the claim was based on changed: other reasons, another boot.
    Changed,
    /// Nothing asks for the reboot any more.
    ReasonGone,
    /// It was called off after the permission was given, which is too late.
    TooLateToCancel,
    /// The node was not ready in time after its boot.
    NotReadyAfterBoot,
    /// The boot did not end the reasons.
    ReasonPersists,
    /// An older kernel than expected runs.
    KernelOlder,
    /// The proofs come and go.
    Flapping,
    /// Whether the boot brought what it should could not be told in time.
    Unproven,
    /// The node said that it acts, and kept running.
    RebootCommandFailed,
    /// Somebody uncordoned the node again and again.
    Uncordoned,
    /// Grants were refused until the time for it was over.
    GrantNotConsumed,
}

/// Alerts of a request. Each is raised when a deadline passes or a state says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Alert {
    /// Claimed and never cordoned.
    ClaimStuck,
    /// The cordon cannot be set.
    CordonFailed,
    /// The drain takes long.
    DrainSlow,
    /// The drain was given up.
    DrainFailed,
    /// Three drains were rolled back.
    DrainBackoff,
    /// The node does not use its permission.
    GrantNotConsumed,
    /// The node did not come back.
    NodeNotReturned,
    /// A person must look at the node.
    NodeQuarantined,
    /// What was done cannot be undone.
    RollbackFailed,
    /// The cordon cannot be taken back.
    UncordonFailed,
    /// The reboot call did nothing.
    RebootCommandFailed,
    /// The moment by which it should have happened is over.
    RebootOverdue,
    /// A gate has been shut for a day.
    RebootBlocked,
    /// All gates are open for a day and it is never its turn.
    RebootStarved,
    /// Needed for a day.
    RebootPending,
    /// The node booted and nobody here asked for it.
    UnplannedReboot,
}

/// The states, in the order of a reboot that goes well; then the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Asked for; nothing has been decided.
    Needed,
    /// A gate is shut.
    Blocked,
    /// All gates are open and others are first.
    Ready,
    /// It has a place in the budget, if the count confirms it.
    Claimed,
    /// The node is being cordoned.
    Cordoning,
    /// Its pods are being evicted.
    Draining,
    /// The node may reboot.
    Granted,
    /// The node uses its permission, or may do so unseen.
    Rebooting,
    /// It runs under another boot id.
    Booted,
    /// Whether the boot brought what it should is being looked at.
    Verifying,
    /// The cordon is being taken back.
    Uncordoning,
    /// It rebooted, was verified and takes pods as before.
    Done,
    /// What was done is being undone.
    RollingBack,
    /// A drain was rolled back; it is tried again later.
    Backoff,
    /// The node did not come back in time; its place stays taken.
    NotReturned,
    /// A person is needed; place and cordon stay.
    Quarantined,
    /// The node was deleted.
    NodeGone,
    /// It was called off and everything restored.
    Cancelled,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Needed,
        Self::Blocked,
        Self::Ready,
        Self::Claimed,
        Self::Cordoning,
        Self::Draining,
        Self::Granted,
        Self::Rebooting,
        Self::Booted,
        Self::Verifying,
        Self::Uncordoning,
        Self::Done,
        Self::RollingBack,
        Self::Backoff,
        Self::NotReturned,
        Self::Quarantined,
        Self::NodeGone,
        Self::Cancelled,
    ];

    /// Whether it leads to another one by itself, and to an end or a wait in the end.
    #[must_use]
    pub const fn is_under_way(self) -> bool {
        match self {
            Self::Needed
            | Self::Blocked
            | Self::Ready
            | Self::Backoff
            | Self::NotReturned
            | Self::Quarantined
            | Self::Done
            | Self::NodeGone
            | Self::Cancelled => false,
            Self::Claimed
            | Self::Cordoning
            | Self::Draining
            | Self::Granted
            | Self::Rebooting
            | Self::Booted
            | Self::Verifying
            | Self::Uncordoning
            | Self::RollingBack => true,
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::NodeGone | Self::Cancelled)
    }

    /// Whether the node counts against every budget, whatever it looks like.
    #[must_use]
    pub const fn holds_slot(self) -> bool {
        match self {
            Self::Claimed
            | Self::Cordoning
            | Self::Draining
            | Self::Granted
            | Self::Rebooting
            | Self::Booted
            | Self::Verifying
            | Self::Uncordoning
            | Self::RollingBack
            | Self::NotReturned
            | Self::Quarantined => true,
            Self::Needed
            | Self::Blocked
            | Self::Ready
            | Self::Done
            | Self::Backoff
            | Self::NodeGone
            | Self::Cancelled => false,
        }
    }

    /// Whether it may still be called off: no permission was given that could be in use.
    #[must_use]
    pub const fn may_cancel(self) -> bool {
        matches!(
            self,
            Self::Needed
                | Self::Blocked
                | Self::Ready
                | Self::Claimed
                | Self::Cordoning
                | Self::Draining
                | Self::Backoff
        )
    }
}
