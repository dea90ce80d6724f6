//! Whether a grant is one for this node, this boot and now. Pure: what the node knows of itself is an
//! argument.
//!
//! The order is fixed, and the first no ends it: length, version, key, signature, boot id, node UID,
//! epoch, not-after, unused, hold file, floor. So nothing but length, version and key id of bytes is
//! looked at before their signature.

use std::time::Duration;

use palisade_report::BootId;
use palisade_report::Grant;
use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::grant::Envelope;
use palisade_report::grant::GrantId;
use palisade_report::grant::KeyId;
use palisade_report::grant::MAX_AHEAD;
use palisade_report::grant::MalformedGrant;

use super::Keys;
use super::Record;
use super::record::MAX_USED;

/// What is demanded of every reboot, whoever grants it: the bound on what a stolen signing key can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// How long the node must be up.
    pub uptime: Duration,
    /// How long the last attempt to reboot must be past.
    pub interval: Duration,
}

/// The operator's hold file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// There is none.
    Absent,
    /// There is one.
    Present,
    /// Whether there is one cannot be told, and why.
    Unknown(String),
}

/// What the node knows of itself.
#[derive(Clone, Debug)]
pub struct Local {
    /// The boot that it is in, as it read itself.
    pub boot: BootId,
    /// Its node UID, as configured; else the record's.
    pub node: Option<NodeUid>,
    /// `CLOCK_BOOTTIME`.
    pub since_boot: Duration,
    /// The wall clock. Of boots before this one there is no other measure.
    pub now: Moment,
    /// What it did before.
    pub record: Record,
    /// The hold file.
    pub hold: Hold,
    /// What is demanded of every reboot.
    pub floor: Floor,
}

/// The code of [`Refusal::Used`]: the one refusal after which a node may still go down.
pub const USED: &str = "used";

/// A grant that may be carried out, once, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What was granted.
    pub grant: Grant,
}

/// Why a grant is not carried out. In the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Length, version, or a signed field that makes no sense.
    #[error("no grant: {0}")]
    Malformed(MalformedGrant),
    /// Signed with a key that this node was not given.
    #[error("key {0} is none of this node's keys")]
    Key(KeyId),
    /// The signature is not that of the key.
    #[error("the signature is wrong")]
    Signature,
    /// It may end another boot, of this or of another machine.
    #[error("it is for boot {granted}, this is boot {own}")]
    Boot {
        /// The grant's.
        granted: BootId,
        /// This one.
        own: BootId,
    },
    /// It is for another node, or for one of the same machine that was deleted since.
    #[error(
        "it is for node UID {granted}, this machine is {own}; if its node was made anew, give --node-uid or remove the record"
    )]
    Node {
        /// The grant's.
        granted: NodeUid,
        /// This one.
        own: NodeUid,
    },
    /// A later leader was heard of.
    #[error("it is of epoch {granted}, epoch {seen} was seen")]
    Epoch {
        /// The grant's.
        granted: u64,
        /// The highest so far.
        seen: u64,
    },
    /// Its time is over.
    #[error("it expired {} ms ago", .0.as_millis())]
    Expired(Duration),
    /// It is good for longer than the collector may count on.
    #[error("it is good for {} s, more than {} s", .0.as_secs(), MAX_AHEAD.as_secs())]
    Ahead(Duration),
    /// It was used.
    #[error("grant {0} is used")]
    Used(GrantId),
    /// This boot's grants are too many to tell a used one from a new one.
    #[error("{MAX_USED} grants were used in this boot")]
    Many,
    /// The operator holds the node.
    #[error("the node is held by a hold file")]
    Hold,
    /// Whether the operator holds the node cannot be told.
    #[error("whether the node is held cannot be told: {0}")]
    HoldUnknown(String),
    /// It just came up.
    #[error("the node is up for {} s, less than {} s", up.as_secs(), floor.as_secs())]
    Uptime {
        /// For how long it is up.
        up: Duration,
        /// For how long it must be.
        floor: Duration,
    },
    /// It was just rebooted, or that was tried.
    #[error(
        "the last attempt to reboot was at least {} s ago, which may be less than {} s", past.as_secs(), floor.as_secs()
    )]
    Interval {
        /// How long ago the last attempt is, for certain.
        past: Duration,
        /// How long ago it must be.
        floor: Duration,
    },
    /// What the check needs cannot be read or written: keys, record, boot id.
    #[error("it cannot be checked: {0}")]
    Unable(String),
    /// The means of rebooting does not work here.
    #[error("this node cannot be rebooted: {0}")]
    Means(String),
}

impl Refusal {
    /// A word for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Key(_) => "key",
            Self::Signature => "signature",
            Self::Boot { .. } => "boot",
            Self::Node { .. } => "node",
            Self::Epoch { .. } => "epoch",
            Self::Expired(_) => "expired",
            Self::Ahead(_) => "ahead",
            Self::Used(_) => USED,
            Self::Many => "many",
            Self::Hold => "hold",
            Self::HoldUnknown(_) => "hold-unknown",
            Self::Uptime { .. } => "uptime",
            Self::Interval { .. } => "interval",
            Self::Unable(_) => "unable",
            Self::Means(_) => "means",
        }
    }
}

/// A refusal, and the grant if it is a true one of this boot and node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// Which: signed, and for this boot and node. Its epoch was seen.
    pub grant: Option<Box<Grant>>,
}

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Self { why, grant: None }
    }
}

/// Whether `bytes` are a grant that may be carried out.
///
/// # Errors
/// [`Refused`] with the first check that failed.
pub fn check(bytes: &[u8], keys: &Keys, local: &Local) -> Result<Order, Refused> {
    let envelope = Envelope::open(bytes).map_err(Refusal::Malformed)?;
    match keys.verify(&envelope) {
        None => return Err(Refusal::Key(envelope.key()).into()),
        Some(false) => return Err(Refusal::Signature.into()),
        Some(true) => {}
    }
    let grant = envelope.grant().map_err(Refusal::Malformed)?;
    if grant.boot != local.boot {
        return Err(Refusal::Boot { granted: grant.boot, own: local.boot.clone() }.into());
    }
    let own = local.node.as_ref().or(local.record.node.as_ref());
    if let Some(own) = own.filter(|own| **own != grant.node) {
        return Err(Refusal::Node { granted: grant.node, own: own.clone() }.into());
    }
    match use_now(&grant, local) {
        Ok(()) => Ok(Order { grant }),
        Err(why) => Err(Refused { why, grant: Some(Box::new(grant)) }),
    }
}

/// Whether a true grant of this boot and node may be used now.
fn use_now(grant: &Grant, local: &Local) -> Result<(), Refusal> {
    let Local { boot, node: _, since_boot, now, record, hold, floor } = local;
    if grant.epoch < record.epoch {
        return Err(Refusal::Epoch { granted: grant.epoch, seen: record.epoch });
    }
    let ahead = grant.not_after.saturating_sub(*since_boot);
    if ahead.is_zero() {
        return Err(Refusal::Expired(since_boot.saturating_sub(grant.not_after)));
    }
    if ahead > MAX_AHEAD {
        return Err(Refusal::Ahead(ahead));
    }
    let used = record.used(boot);
    if used.contains(&grant.id) {
        return Err(Refusal::Used(grant.id));
    }
    if used.len() >= MAX_USED {
        return Err(Refusal::Many);
    }
    match hold {
        Hold::Absent => {}
        Hold::Present => return Err(Refusal::Hold),
        Hold::Unknown(why) => return Err(Refusal::HoldUnknown(why.clone())),
    }
    if *since_boot < floor.uptime {
        return Err(Refusal::Uptime { up: *since_boot, floor: floor.uptime });
    }
    let past = record.last.as_ref().map(|last| last.past(boot, *since_boot, *now));
    if let Some(past) = past.filter(|past| *past < floor.interval) {
        return Err(Refusal::Interval { past, floor: floor.interval });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
