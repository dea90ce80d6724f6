//! Effects, carried out without a cluster. Each may be repeated, and none is decided here.
//!
//! The cordon is a word in the row of the request. The hook `before` is asked while the request drains,
//! and `after` before that word is taken back: so whatever interrupts this, the row tells that the node is
//! still to be given back.

use std::time::Duration;

use palisade_plan::fleet::Known;
use palisade_plan::request::Request;
use palisade_plan::request::Schedulability;
use palisade_plan::seen::DrainSeen;
use palisade_plan::step::Effect;
use palisade_report::grant::RequestUid;

use super::coordinator::Coordinator;
use super::hook::Phase;
use super::hook::Word;
use super::register::Emptied;
use super::register::Entry;
use super::register::Trace;
use crate::grants::Offer;
use crate::reboots::carry_out::Outcome;
use crate::reboots::tell;

impl Coordinator {
    /// Carries out one effect.
    pub(super) async fn carry_out(&mut self, effect: &Effect, request: &Request) -> Outcome {
        match effect {
            Effect::Cordon { before } => self.cordon(request, *before).await,
            Effect::Uncordon { marker: _, restore: _ } => self.uncordon(request).await,
            Effect::Drain => self.drain(request).await,
            // Without a cluster nobody shares a node by Leases, and hooks know their load balancers.
            Effect::TakeLease | Effect::ReleaseLease | Effect::LeaveLoadBalancers => {
                Outcome::UnderWay
            }
            Effect::Offer { grant, until } => {
                let Ok(request_uid) = request.id.parse::<RequestUid>() else {
                    return Outcome::Failed(format!("request id {} is no UUID", request.id));
                };
                let lasts_for = u64::try_from(until.since(self.clock.now())).unwrap_or(0);
                let offer = Offer {
                    id: grant.id,
                    request: request_uid,
                    boot: grant.boot.clone(),
                    report: grant.report,
                    epoch: self.epoch,
                };
                let lasts_for = Duration::from_secs(lasts_for);
                self.offers.open(request.uid.clone(), offer, lasts_for, None);
                Outcome::UnderWay
            }
            Effect::Forget(_) => {
                self.offers.withdraw(&request.uid);
                Outcome::UnderWay
            }
            Effect::Delete => self.delete(request).await,
        }
    }

    /// What is left of emptying a node.
    pub(super) fn left(&self, request: &Request) -> Known<DrainSeen> {
        let trace = self.register.find(&request.uid).and_then(|it| it.trace.as_ref());
        let is_done = trace.is_some_and(|trace| trace.emptied == Emptied::Done);
        if is_done || !self.calls.has(Phase::Before) {
            return Known::Known(DrainSeen::default());
        }
        let (left, failed) = match self.calls.last(request, Phase::Before) {
            None => ("is asked to empty the node".to_owned(), None),
            Some(Word::Done) => ("has emptied the node, which is being written".to_owned(), None),
            Some(Word::NotYet(why)) => (format!("waits: {why}"), None),
            Some(Word::Failed(why)) => (format!("failed: {why}"), Some(why.clone())),
        };
        Known::Known(DrainSeen {
            left: vec![format!("hook before: {left}")],
            failed: failed.map(|why| format!("hook before: {why}")),
            ..DrainSeen::default()
        })
    }

    async fn cordon(&mut self, request: &Request, before: Schedulability) -> Outcome {
        let trace = Trace { before, emptied: Emptied::Untouched };
        self.mark(request, Some(trace)).await
    }

    /// Asks for the node to be emptied, after it is written that this may have begun.
    async fn drain(&mut self, request: &Request) -> Outcome {
        let trace = self.register.find(&request.uid).and_then(|it| it.trace.clone());
        let Some(trace) = trace else { return Outcome::UnderWay };
        let emptied = match (trace.emptied, self.calls.last(request, Phase::Before)) {
            (Emptied::Done, _) => return Outcome::UnderWay,
            (Emptied::Begun, Some(Word::Done)) => Emptied::Done,
            (Emptied::Begun, _) => {
                self.calls.call(request, Phase::Before, self.clock.now());
                return Outcome::UnderWay;
            }
            (Emptied::Untouched, _) => Emptied::Begun,
        };
        self.mark(request, Some(Trace { emptied, ..trace })).await
    }

    /// Has the node given back, and takes the word of it back when that is done. What nobody was asked
    /// to empty needs nobody to give it back.
    async fn uncordon(&mut self, request: &Request) -> Outcome {
        let trace = self.register.find(&request.uid).and_then(|it| it.trace.as_ref());
        let Some(trace) = trace else { return Outcome::Done };
        if trace.emptied != Emptied::Untouched && self.calls.has(Phase::After) {
            match self.calls.last(request, Phase::After).cloned() {
                Some(Word::Done) => {}
                last => {
                    // One that still empties the node is not crossed: it ends in its time.
                    self.calls.call(request, Phase::After, self.clock.now());
                    return match last {
                        Some(Word::Failed(why)) => Outcome::Failed(format!("hook after: {why}")),
                        Some(Word::NotYet(_) | Word::Done) | None => Outcome::UnderWay,
                    };
                }
            }
        } else if self.calls.is_running(&request.uid) {
            return Outcome::UnderWay;
        }
        let outcome = self.mark(request, None).await;
        if outcome == Outcome::Done {
            self.calls.forget(&request.uid);
        }
        outcome
    }

    async fn mark(&mut self, request: &Request, trace: Option<Trace>) -> Outcome {
        let entry = Entry { request: request.clone(), trace };
        match self.register.put(entry, Vec::new()).await {
            Ok(_) => Outcome::Done,
            Err(refusal) => Outcome::Failed(refusal.to_string()),
        }
    }

    async fn delete(&mut self, request: &Request) -> Outcome {
        let now = self.clock.now();
        let forgiven = self.history.as_ref().and_then(|it| it.forgiven(request, now));
        let told = forgiven.iter().filter_map(|record| tell::recorded(request, record)).collect();
        match self.register.remove(&request.uid, told).await {
            Ok(()) => {
                self.calls.forget(&request.uid);
                if let (Some(history), Some(record)) = (&mut self.history, forgiven) {
                    history.add(record);
                }
                Outcome::UnderWay
            }
            Err(refusal) => Outcome::Failed(refusal.to_string()),
        }
    }
}
