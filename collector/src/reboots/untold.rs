//! What was left untold: a transition is written first and told then, and in between the answer of the
//! API server may be lost, or the collector die. So what was written after all is told when it is seen,
//! and whoever begins a term tells once more where each request is.
//!
//! ```text
//! Event:  its name follows from the transition, so that the API server refuses it a second time
//! audit:  only what this store's own collector wrote and does not have; what another one wrote is in
//!         the audit of that one, as far as anybody can know
//! ```

use palisade_plan::fleet::Fleet;
use palisade_plan::request::Entered;
use palisade_plan::request::Request;
use palisade_plan::request::State;
use palisade_report::Moment;

use super::coordinator::Coordinator;
use crate::audit::Kind;
use crate::chain::Chain;
use crate::store::AuditFilter;
use crate::store::ReadError;

/// Seconds after which nothing is told any more. API servers keep Events for an hour by default
/// (`--event-ttl`), and one that has gone would be told twice.
const NEWS_SECS: i64 = 1_800;

/// Terms of this store that are looked at: a request is written to again and again.
const MAX_TERMS: usize = 100;

/// Entries about one node that are looked at: those of a reboot are a dozen.
const MAX_ENTRIES: usize = 100;

/// A term of this store's collector.
struct Term {
    epoch: u64,
    began_at: Moment,
}

impl Coordinator {
    /// Tells of transitions whose writing got no answer, and which were written as is seen now.
    pub(super) async fn tell_doubtful(&mut self, fleet: &Fleet) {
        for (uid, (before, next)) in std::mem::take(&mut self.doubtful) {
            let Some(found) = fleet.requests.get(&uid) else { continue };
            let is_step = before.progress.state != next.progress.state;
            // Of the rest of an entry an API server keeps what its CRD knows.
            let entered = |it: &Request| (it.entered().state, it.entered().at);
            if !is_step || entered(found) != entered(&next) {
                continue;
            }
            // What it adds to the history is told by whoever finds it missing there.
            self.teller.step(before.progress.state, found);
            self.teller.event(found, found.progress.since).await;
        }
    }

    /// Tells where each request is, as far as that was not told.
    pub(super) async fn tell_left_behind(&self, fleet: &Fleet) {
        let terms = match self.own_terms().await {
            Ok(terms) => terms,
            Err(error) => {
                tracing::warn!(cause = %Chain(&error), "which reboots were told is not known");
                return;
            }
        };
        let now = self.clock.now();
        for request in fleet.requests.values() {
            // The first entry is that it was made, which is no transition.
            let [.., before, last] = request.progress.history.as_slice() else { continue };
            if now.since(last.at) > NEWS_SECS {
                continue;
            }
            self.teller.event(request, last.at).await;
            if !is_own(request, last, &terms) {
                continue;
            }
            match self.is_in_audit(request, last).await {
                Ok(true) => {}
                Ok(false) => self.teller.step(before.state, request),
                Err(error) => {
                    tracing::warn!(cause = %Chain(&error), "whether a step is told is not known");
                }
            }
        }
    }

    /// Terms in which a collector over this store led, the newest first.
    async fn own_terms(&self) -> Result<Vec<Term>, ReadError> {
        let filter = AuditFilter { kind: Some(Kind::Leadership), ..AuditFilter::default() };
        let page = self.reader.audit(filter, None, MAX_TERMS).await?;
        let terms = page.rows.into_iter().filter_map(|row| {
            let (_, epoch) = row.entry.object.rsplit_once(" epoch ")?;
            Some(Term { epoch: epoch.parse().ok()?, began_at: row.entry.at })
        });
        Ok(terms.collect())
    }

    async fn is_in_audit(&self, request: &Request, last: &Entered) -> Result<bool, ReadError> {
        let node = Some(request.node.clone());
        let filter = AuditFilter { kind: Some(Kind::Reboot), node, ..AuditFilter::default() };
        let page = self.reader.audit(filter, None, MAX_ENTRIES).await?;
        Ok(page.rows.iter().any(|row| {
            let is_it = row.entry.after.as_deref() == Some(&*word(last.state));
            is_it && row.entry.at >= last.at
        }))
    }
}

/// Whether the last transition of a request was written in one of these terms.
fn is_own(request: &Request, last: &Entered, terms: &[Term]) -> bool {
    let epoch = request.progress.epoch;
    terms.iter().any(|term| term.epoch == epoch && term.began_at <= last.at)
}

/// A state as the audit has it.
pub(super) fn word(state: State) -> String {
    format!("{state:?}")
}

#[cfg(test)]
mod tests {
    use palisade_plan::step;

    use super::*;
    use crate::reboots::errand;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    #[test]
    fn what_another_collector_wrote_is_not_told_by_this_one() {
        let wish = errand::asked(None, None, "anna", NOW);
        let (node, uid) = ("worker-1".parse().unwrap(), "u-1".parse().unwrap());
        let mut request = step::requested(node, uid, wish, 1, NOW);
        request.progress.epoch = 7;
        let last = Entered { state: State::Draining, at: NOW.plus(60), after_release: None };
        let term = |epoch, began_at| vec![Term { epoch, began_at }];
        assert!(is_own(&request, &last, &term(7, NOW)));
        assert!(!is_own(&request, &last, &term(6, NOW)));
        // Written before that term, and in that term only written to.
        assert!(!is_own(&request, &last, &term(7, NOW.plus(61))));
        assert!(!is_own(&request, &last, &[]));
    }
}
