//! Effects, carried out without a cluster. Each may be repeated, and none is decided here.
//!
//! The cordon is a word in the row of the request. The hook `before` is asked while the request drains,
//! and `after` before that word is taken back: so whatever interrupts this, the row tells that the node is
//! still to be given back.

use std::time::Duration;

use palisade_plan::fleet::Known;
use palisade_plan::request::Request;
use palisade_plan::request::Schedulability;
use palisade_plan::request::State;
use palisade_plan::seen::DrainSeen;
use palisade_plan::step::Effect;
use palisade_report::Moment;
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
        let asked_at = believed_at(request, self.clock.now());
        if trace.is_some_and(|it| it.is_empty(asked_at)) || !self.calls.has(Phase::Before) {
            return Known::Known(DrainSeen::default());
        }
        let is_done = trace.is_some_and(|it| it.emptied == Emptied::Done);
        let (left, failed) = match self.calls.last(request, Phase::Before) {
            _ if is_done => ("has to say once more that the node is empty".to_owned(), None),
            None => ("is asked to empty the node".to_owned(), None),
            Some((_, Word::Done)) => {
                ("has emptied the node, which is being written".to_owned(), None)
            }
            Some((_, Word::NotYet(why))) => (format!("waits: {why}"), None),
            Some((_, Word::Failed(why))) => (format!("failed: {why}"), Some(why.clone())),
        };
        Known::Known(DrainSeen {
            left: vec![format!("hook before: {left}")],
            failed: failed.map(|why| format!("hook before: {why}")),
            ..DrainSeen::default()
        })
    }

    async fn cordon(&mut self, request: &Request, before: Schedulability) -> Outcome {
        let trace = Trace { before, emptied: Emptied::Untouched, emptied_at: None };
        self.mark(request, Some(trace)).await
    }

    /// Asks for the node to be emptied, after it is written that this may have begun: and again when
    /// nobody may go by the last answer any more.
    async fn drain(&mut self, request: &Request) -> Outcome {
        let trace = self.register.find(&request.uid).and_then(|it| it.trace.clone());
        let Some(trace) = trace else { return Outcome::UnderWay };
        let now = self.clock.now();
        match onward(&trace, self.calls.last(request, Phase::Before), now) {
            Onward::Stay => Outcome::UnderWay,
            Onward::Ask => {
                self.calls.call(request, Phase::Before, now);
                Outcome::UnderWay
            }
            Onward::Begin => {
                self.calls.forget(&request.uid);
                let begun = Trace { emptied: Emptied::Begun, emptied_at: None, ..trace };
                self.mark(request, Some(begun)).await
            }
            Onward::Done(at) => {
                let done = Trace { emptied: Emptied::Done, emptied_at: Some(at), ..trace };
                self.mark(request, Some(done)).await
            }
        }
    }

    /// Has the node given back, and takes the word of it back when that is done. What nobody was asked
    /// to empty needs nobody to give it back.
    async fn uncordon(&mut self, request: &Request) -> Outcome {
        let trace = self.register.find(&request.uid).and_then(|it| it.trace.as_ref());
        let Some(trace) = trace else { return Outcome::Done };
        if trace.emptied != Emptied::Untouched && self.calls.has(Phase::After) {
            match self.calls.last(request, Phase::After).map(|(_, word)| word.clone()) {
                Some(Word::Done) => {}
                last => {
                    // One that still empties the node is not crossed: it ends in its time.
                    self.calls.call(request, Phase::After, self.clock.now());
                    return match last {
                        Some(Word::Failed(why)) => Outcome::Failed(format!("hook after: {why}")),
                        Some(Word::NotYet(why)) => {
                            Outcome::Failed(format!("hook after: waits: {why}"))
                        }
                        Some(Word::Done) | None => Outcome::UnderWay,
                    };
                }
            }
        } else {
            match self.calls.is_quiet(&request.uid).await {
                Ok(true) => {}
                Ok(false) => return Outcome::Failed("hook before: still runs".to_owned()),
                Err(error) => {
                    let what = "nobody can tell whether a hook still runs";
                    return Outcome::Failed(format!("{what}: {error}"));
                }
            }
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

/// What comes next of emptying a node.
#[derive(Debug, PartialEq, Eq)]
enum Onward {
    /// Nothing: it is empty.
    Stay,
    /// It is written that somebody may be asked, and nothing of what was said before counts.
    Begin,
    /// Somebody is asked.
    Ask,
    /// It is written that it is empty, which was said at this moment.
    Done(Moment),
}

fn onward(trace: &Trace, last: Option<&(Moment, Word)>, now: Moment) -> Onward {
    match trace.emptied {
        Emptied::Untouched => Onward::Begin,
        Emptied::Begun => match last {
            // Perhaps long ago, if a gate was shut since.
            Some((at, Word::Done)) => Onward::Done(*at),
            Some((_, Word::NotYet(_) | Word::Failed(_))) | None => Onward::Ask,
        },
        Emptied::Done if trace.is_empty(now) => Onward::Stay,
        Emptied::Done => Onward::Begin,
    }
}

/// The moment for which the node has to be empty: that at which a permission was given, for as long as
/// that may be in use.
fn believed_at(request: &Request, now: Moment) -> Moment {
    let progress = &request.progress;
    let grant = progress.grant.as_ref().filter(|_| progress.state == State::Granted);
    grant.filter(|it| now <= it.void_after).map_or(now, |it| it.at)
}

#[cfg(test)]
mod tests {
    use palisade_plan::request::GrantRecord;
    use palisade_plan::step;

    use std::time::Duration;

    use super::*;
    use crate::reboots::alone::lock::NodeLock;
    use crate::reboots::alone::stand::Stand;
    use crate::reboots::errand;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    #[test]
    fn what_was_said_long_ago_is_asked_once_more() {
        let trace = |emptied, emptied_at| Trace {
            before: Schedulability::Schedulable,
            emptied,
            emptied_at,
        };
        let (begun, said) = (trace(Emptied::Begun, None), |word| Some((NOW, word)));
        assert_eq!(onward(&trace(Emptied::Untouched, None), None, NOW), Onward::Begin);
        assert_eq!(onward(&begun, None, NOW), Onward::Ask);
        let waits = said(Word::NotYet("two jobs run".to_owned()));
        assert_eq!(onward(&begun, waits.as_ref(), NOW), Onward::Ask);
        let later = NOW.plus(3_600);
        assert_eq!(onward(&begun, said(Word::Done).as_ref(), later), Onward::Done(NOW));
        let done = trace(Emptied::Done, Some(NOW));
        assert_eq!(onward(&done, None, NOW.plus(60)), Onward::Stay);
        assert_eq!(onward(&done, said(Word::Done).as_ref(), later), Onward::Begin);
    }

    #[tokio::test]
    async fn a_node_that_is_still_being_emptied_is_not_given_back_without_a_word() {
        let mut stand = Stand::start(NOW, Duration::ZERO).await;
        let wish = errand::asked(None, None, "anna", NOW);
        let request =
            step::requested("db-1".parse().unwrap(), "db-1".parse().unwrap(), wish, 1, NOW);
        let before = Schedulability::Schedulable;
        let trace = Some(Trace { before, emptied: Emptied::Begun, emptied_at: None });
        let entry = Entry { request: request.clone(), trace };
        stand.coordinator.register.put(entry, Vec::new()).await.unwrap();
        let lock = NodeLock::take(&stand.locks, &request.uid).unwrap().unwrap();
        let Outcome::Failed(why) = stand.coordinator.uncordon(&request).await else {
            panic!("it is given back, or nothing is said")
        };
        assert_eq!(why, "hook before: still runs");
        assert!(stand.coordinator.register.find(&request.uid).unwrap().trace.is_some());
        drop(lock);
        assert_eq!(stand.coordinator.uncordon(&request).await, Outcome::Done);
        assert!(stand.coordinator.register.find(&request.uid).unwrap().trace.is_none());
    }

    #[test]
    fn a_permission_goes_by_what_was_so_when_it_was_given_and_only_while_it_may_be_used() {
        let wish = errand::asked(None, None, "anna", NOW);
        let mut request =
            step::requested("db-1".parse().unwrap(), "db-1".parse().unwrap(), wish, 1, NOW);
        request.progress.grant = Some(GrantRecord {
            id: "0a000000-0000-4000-8000-000000000001".parse().unwrap(),
            boot: "33333333-0000-4000-8000-000000000001".parse().unwrap(),
            report: palisade_report::Digest::of(b"a report"),
            expected_kernel: None,
            at: NOW,
            void_after: NOW.plus(180),
            answer: None,
            answered_at: None,
        });
        request.progress.state = State::Granted;
        assert_eq!(believed_at(&request, NOW.plus(180)), NOW);
        assert_eq!(believed_at(&request, NOW.plus(181)), NOW.plus(181));
        request.progress.state = State::Draining;
        assert_eq!(believed_at(&request, NOW.plus(60)), NOW.plus(60), "an earlier one");
    }
}
