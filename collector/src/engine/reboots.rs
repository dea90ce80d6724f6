//! What the coordinator of a collector without a cluster keeps: its epoch, and the requests.
//!
//! What the audit says of a change is durable with the change, or neither is: there is no moment in
//! which a request has gone on and nobody was told.

use palisade_report::NodeUid;

use super::core::Core;
use super::core::Now;
use super::core::Outcome;
use crate::audit::Happening;
use crate::store::RebootRow;
use crate::store::Write;

/// One thing that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The epoch in which this process coordinates.
    Epoch(u64),
    /// A request, in place of the one of that node.
    Request(RebootRow),
    /// That the request of this node has gone.
    Gone(NodeUid),
}

impl Core {
    /// Keeps it, with what the audit says of it.
    pub(super) fn keep(&mut self, kept: Kept, told: Vec<Happening>, now: Now) -> Outcome<()> {
        if !self.is_durable(now) {
            return Self::not_durable();
        }
        self.batch.writes.push(match kept {
            Kept::Epoch(epoch) => Write::Epoch(epoch),
            Kept::Request(row) => Write::Reboot(row),
            Kept::Gone(uid) => Write::DropReboot(uid),
        });
        told.into_iter().for_each(|happening| self.note_done(happening, now));
        Outcome::Durable(Ok(()))
    }
}
