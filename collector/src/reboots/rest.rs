//! What is not asked again: while nothing changes and nothing is to be done, a request is looked at as
//! the watches have its node, and the API server hears of it once in a while.
//!
//! ```text
//! drive ─> rests? ── the same record, node and answers; no step by what is watched ──> next look
//!            └─ no ─> see (quorum) ─> step ─> ... ─> nothing to do: it rests from now on
//! ```
//!
//! What is decided is always decided by what the quorum says: a rest only puts off a look.

use std::sync::Arc;

use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::policy::Pool;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_plan::seen::LeaseSeen;
use palisade_plan::step;
use palisade_plan::step::Effect;
use palisade_plan::step::Step;
use palisade_report::Moment;

use super::coordinator::Coordinator;
use super::seen::Object;
use crate::kube::nodes::Upkeep;

/// Seconds after which a node that is away, or waits for a person, is read from the quorum whatever the
/// watches say. Its Lease is renewed by the third of an hour.
const REST_SECS: i64 = 30;

/// Seconds between two looks at the pods of a node that is being emptied, and at the gates of one that
/// is offered a permission: nothing watches pods.
const DRAIN_SECS: i64 = 2;

/// A request as it was when there was nothing to do for it.
#[derive(Debug)]
pub(super) struct Rest {
    version: String,
    at: Moment,
    upkeep: Option<Arc<Upkeep>>,
    answers: usize,
}

impl Coordinator {
    /// Lets a request rest from now on, or has it looked at again at the next look.
    pub(super) fn rest(&mut self, request: &Request, may_rest: bool) {
        if !may_rest {
            self.rests.remove(&request.uid);
            return;
        }
        let rest = Rest {
            version: request.version.clone(),
            at: self.clock.now(),
            upkeep: self.watched(request),
            answers: self.offers.arrived(&request.uid).len(),
        };
        self.rests.insert(request.uid.clone(), rest);
    }

    /// Whether nothing is to be asked for a request at this look.
    pub(super) fn may_rest(
        &self,
        request: &Request,
        fleet: &Fleet,
        pool: &Pool,
        epoch: u64,
    ) -> bool {
        let Some(rest) = self.rests.get(&request.uid).filter(|_| self.is_fresh) else {
            return false;
        };
        let upkeep = self.watched(request);
        let is_same = rest.version == request.version
            && rest.upkeep == upkeep
            && rest.answers == self.offers.arrived(&request.uid).len();
        let (Some(upkeep), Some(node)) = (upkeep, fleet.nodes.get(&request.uid)) else {
            return false;
        };
        if !is_same {
            return false;
        }
        // The clock of a term may be set back: nobody rests until it is there again.
        let secs = self.clock.now().since(rest.at);
        match request.progress.state {
            State::Draining => (0..DRAIN_SECS).contains(&secs),
            State::Granted => {
                let boot = request.progress.grant.as_ref().map(|grant| &grant.boot);
                (0..DRAIN_SECS).contains(&secs) && node.agent.boot.as_ref() == boot
            }
            State::Rebooting
            | State::NotReturned
            | State::Booted
            | State::Verifying
            | State::Quarantined => {
                let object = Object {
                    node: Known::Known(Some(node.clone())),
                    upkeep: Some(Upkeep::clone(&upkeep)),
                };
                let drain = Known::Unknown("not read in this state".to_owned());
                let lease = Known::Known(LeaseSeen::Unused);
                let seen = self.seen(request, fleet, pool, epoch, (&object, drain, lease));
                (0..REST_SECS).contains(&secs)
                    && is_nothing(&step::step(request, &seen, pool, self.clock.now()))
            }
            State::Needed
            | State::Blocked
            | State::Ready
            | State::Claimed
            | State::Cordoning
            | State::Uncordoning
            | State::RollingBack
            | State::Backoff
            | State::Done
            | State::NodeGone
            | State::Cancelled => false,
        }
    }

    /// The node of a request as it is watched.
    fn watched(&self, request: &Request) -> Option<Arc<Upkeep>> {
        let upkeep = self.directory.upkeep();
        upkeep.get(&request.node).filter(|it| it.uid == request.uid).cloned()
    }
}

/// Whether a step does nothing that was not done when the request began to rest.
fn is_nothing(step: &Step) -> bool {
    match step {
        Step::Wait => true,
        Step::Do(effects) => effects.iter().all(|effect| matches!(effect, Effect::Forget(_))),
        Step::Persist(_) => false,
    }
}
