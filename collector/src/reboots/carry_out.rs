//! Effects, carried out. Each may be repeated, and none is decided here: an effect that fails is asked
//! for again by the next step, for as long as the record says so.

use std::time::Duration;

use palisade_plan::policy::Pool;
use palisade_plan::request::Request;
use palisade_plan::step::Effect;
use palisade_report::grant::RequestUid;

use super::coordinator::Coordinator;
use super::past::Record;
use super::tell;
use crate::chain::Chain;
use crate::grants::Offer;
use crate::kube::CallError;
use crate::kube::cordon::CordonError;
use crate::kube::fence::NotLeader;
use crate::kube::node_lease::NodeLeaseError;

/// How an effect went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is so now, and the next step may be taken at once.
    Done,
    /// It is under way; what comes of it the next look tells.
    UnderWay,
    /// It is not so. The rest of the effects must wait.
    Failed(String),
}

impl Coordinator {
    /// Carries out one effect.
    pub(super) async fn carry_out(
        &mut self,
        effect: &Effect,
        request: &Request,
        pool: &Pool,
        epoch: u64,
    ) -> Result<Outcome, NotLeader> {
        let Request { node, uid, id, .. } = request;
        let now = self.clock.now();
        match effect {
            Effect::TakeLease => match &self.leases {
                // One that is ours is only kept, which leads nowhere by itself.
                Some(leases) => lease_outcome(
                    leases
                        .take(node, now)
                        .await
                        .map(|was_free| if was_free { Outcome::Done } else { Outcome::UnderWay }),
                ),
                None => Ok(Outcome::UnderWay),
            },
            Effect::ReleaseLease => match &self.leases {
                // The Lease goes by name, and the name may be another node's by now.
                Some(_) if self.is_named_anew(request) => Ok(Outcome::Done),
                Some(leases) => {
                    let released = leases.release(node, now).await.map(|()| Outcome::Done);
                    lease_outcome(released.map_err(NodeLeaseError::Call))
                }
                None => Ok(Outcome::Done),
            },
            Effect::Cordon { before } => {
                cordon_outcome(self.cordons.cordon(node, uid, id, *before).await)
            }
            Effect::Uncordon { marker, restore } => {
                let last = self.reboot_of(request);
                let last = last.as_ref();
                cordon_outcome(self.cordons.uncordon(node, uid, marker, *restore, last).await)
            }
            Effect::LeaveLoadBalancers => {
                cordon_outcome(self.cordons.leave_load_balancers(node, uid, id).await)
            }
            Effect::Drain => {
                let budgets = self.budgets();
                let work = self.works.entry(uid.clone()).or_default();
                work.go_on(&self.evictions, &budgets, &pool.drain, now).await?;
                Ok(Outcome::UnderWay)
            }
            Effect::Offer { grant, until } => {
                let Ok(request_uid) = id.parse::<RequestUid>() else {
                    return Ok(Outcome::Failed(format!("request id {id} is no UUID")));
                };
                let lasts_for = u64::try_from(until.since(now)).unwrap_or(0);
                let offer = Offer {
                    id: grant.id,
                    request: request_uid,
                    boot: grant.boot.clone(),
                    report: grant.report,
                    epoch,
                };
                let lasts_for = Duration::from_secs(lasts_for);
                self.offers.open(uid.clone(), offer, lasts_for, Some(self.fence.clone()));
                Ok(Outcome::UnderWay)
            }
            Effect::Forget(_) => {
                self.offers.withdraw(uid);
                Ok(Outcome::UnderWay)
            }
            Effect::Delete => self.delete(request).await,
        }
    }

    /// Whether another node of the same name is in flight.
    fn is_named_anew(&self, request: &Request) -> bool {
        self.book.all().unwrap_or_default().iter().any(|other| {
            other.request.as_ref().is_ok_and(|other| {
                other.uid != request.uid
                    && other.node == request.node
                    && other.progress.state.holds_slot()
            })
        })
    }

    async fn delete(&mut self, request: &Request) -> Result<Outcome, NotLeader> {
        // The words of its boot, of its release and of its end may have been lost with a collector.
        let now = self.clock.now();
        if let Some(history) = &mut self.history {
            let known = history.past.reboots.get(&request.uid).map(|known| known.at);
            let node = request.uid.clone();
            let booted = tell::rebooted(request)
                .filter(|last| known.is_none_or(|known| known < last.at))
                .map(|last| Record::Booted { node, last });
            let ended = tell::record(request, request.progress.since);
            let reboot = booted.into_iter().chain(ended);
            let reboot: Vec<Record> = reboot.filter(|_| !history.is_ended(&request.uid)).collect();
            for record in reboot.into_iter().chain(history.forgiven(request, now)) {
                self.teller.keep(request, &record);
                history.add(record);
            }
        }
        if let Err(why) = self.keep_in_mind(request).await? {
            return Ok(Outcome::Failed(why));
        }
        match self.requests.delete(request).await {
            Ok(()) => {
                self.book.deleted(request);
                self.works.remove(&request.uid);
                Ok(Outcome::UnderWay)
            }
            Err(CallError::NotLeader) => Err(NotLeader),
            Err(error) => Ok(Outcome::Failed(Chain(&error).to_string())),
        }
    }
}

fn cordon_outcome(result: Result<(), CordonError>) -> Result<Outcome, NotLeader> {
    match result {
        Ok(()) => Ok(Outcome::Done),
        Err(CordonError::Call(CallError::NotLeader)) => Err(NotLeader),
        Err(error) => Ok(Outcome::Failed(Chain(&error).to_string())),
    }
}

fn lease_outcome(result: Result<Outcome, NodeLeaseError>) -> Result<Outcome, NotLeader> {
    match result {
        Ok(outcome) => Ok(outcome),
        Err(NodeLeaseError::Call(CallError::NotLeader)) => Err(NotLeader),
        Err(error) => Ok(Outcome::Failed(Chain(&error).to_string())),
    }
}
