//! What speaks against reboots from outside of the nodes, by the policy: pods that run, alerts that fire.
//!
//! ```text
//! policy ─> wanted ─┐                             ┌─> heard(): what shuts gates, under any policy
//!                   └─> follow(): asks, remembers ┘
//! ```
//!
//! A task of its own asks, again and again, so that nobody who does not answer holds a look up. A look
//! goes by the newest answer. None yet, an error, and an answer that is too old are the same: whether
//! something speaks against it cannot be told, and the gate is shut.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use palisade_plan::policy::AlertSource;
use palisade_plan::policy::Policy;
use palisade_report::bound::clean_text;
use tokio::sync::watch;

pub(super) use self::heard::Heard;
pub(super) use self::heard::NOT_ASKED;
use super::clock::TermClock;
use crate::alerts;
use crate::alerts::Firing;
use crate::alerts::Question;
use crate::chain::Chain;
use crate::kube::fence::BootClock;
use crate::kube::workloads::Standing;
use crate::kube::workloads::Workloads;

mod heard;

/// Between two rounds of questions about pods, and seconds after which an answer is none: three rounds.
const ASK_EVERY: Duration = Duration::from_secs(10);
const OLD_SECS: i64 = 30;

/// The same for alerts, whose source has more to do than to answer us.
const ASK_ALERTS_EVERY: Duration = Duration::from_secs(15);
const OLD_ALERTS_SECS: i64 = 60;

/// What is to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Label selectors, as the API server takes them.
    pods: BTreeSet<String>,
    /// What is asked about alerts, and where: an answer is that of its source.
    alerts: BTreeSet<(AlertSource, Question)>,
}

impl Wanted {
    /// Everything that some pool of this policy asks for.
    pub(super) fn of(policy: &Policy) -> Self {
        let gates = policy.pools.iter().flat_map(|pool| &pool.blocking_pods);
        let pods = gates.map(|gate| gate.selector.to_string()).collect();
        let gates = policy.pools.iter().filter_map(|pool| pool.alerts.as_ref());
        let source = policy.cluster.alert_source.as_ref();
        let alerts = gates.filter_map(|gate| Some((source?.clone(), Question::from(gate))));
        Self { pods, alerts: alerts.collect() }
    }
}

/// The newest answer to one question.
#[derive(Debug)]
struct Answer<T> {
    /// When it was asked for, on the machine's clock since its boot.
    asked_ms: i64,
    /// Since when nothing but this kind of answer came.
    since_ms: i64,
    /// What was found, or why that cannot be told.
    found: Result<Arc<T>, String>,
}

impl<T> Answer<T> {
    /// The same by the clock of a term.
    fn by(&self, clock: &TermClock) -> heard::Answer<T> {
        let Self { asked_ms, since_ms, found } = self;
        heard::Answer {
            asked_at: clock.at(*asked_ms),
            since: clock.at(*since_ms),
            found: found.clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Answers {
    pods: BTreeMap<String, Answer<Vec<Standing>>>,
    alerts: BTreeMap<(AlertSource, Question), Answer<Firing>>,
}

/// Questions and answers.
pub(super) struct Objections {
    wanted: watch::Sender<Wanted>,
    answers: Mutex<Answers>,
    clock: Arc<dyn BootClock>,
}

impl Objections {
    /// Nothing is wanted yet.
    pub(super) fn new(clock: Arc<dyn BootClock>) -> Self {
        Self { wanted: watch::Sender::default(), answers: Mutex::default(), clock }
    }

    /// Says what is to be asked from now on.
    pub(super) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|before| {
            let is_new = *before != wanted;
            *before = wanted;
            is_new
        });
    }

    /// Asks for as long as it is polled.
    pub(super) async fn follow(&self, workloads: &Workloads) {
        tokio::join!(self.follow_pods(workloads), self.follow_alerts());
    }

    /// The same without a cluster. Whoever lets pods keep nodes from rebooting there is mistaken, and told
    /// so by the gate, which stays shut.
    pub(super) async fn follow_alone(&self) {
        let pods = async {
            let mut changed = self.wanted.subscribe();
            loop {
                let wanted = changed.borrow_and_update().clone().pods;
                self.answers().pods.retain(|selector, _| wanted.contains(selector));
                let asked_ms = self.clock.boot_ms();
                for selector in &wanted {
                    let nobody = Err("there is no cluster that could be asked".to_owned());
                    remember(&mut self.answers().pods, selector, asked_ms, nobody);
                }
                wait(ASK_EVERY, &mut changed).await;
            }
        };
        tokio::join!(pods, self.follow_alerts());
    }

    async fn follow_pods(&self, workloads: &Workloads) {
        let mut changed = self.wanted.subscribe();
        loop {
            let wanted = changed.borrow_and_update().clone().pods;
            self.answers().pods.retain(|selector, _| wanted.contains(selector));
            let mut cause = None;
            for selector in &wanted {
                let asked_ms = self.clock.boot_ms();
                let found = match &cause {
                    Some(cause) => Err(String::clone(cause)),
                    None => workloads.unfinished(selector).await.map_err(|error| {
                        let said = Chain(&error).to_string();
                        // Whoever does not answer is not asked again at this round.
                        cause = Some(said.clone());
                        said
                    }),
                };
                remember(&mut self.answers().pods, selector, asked_ms, found);
            }
            wait(ASK_EVERY, &mut changed).await;
        }
    }

    async fn follow_alerts(&self) {
        let mut changed = self.wanted.subscribe();
        loop {
            let wanted = changed.borrow_and_update().clone().alerts;
            self.answers().alerts.retain(|asked, _| wanted.contains(asked));
            let mut cause = None;
            for asked in &wanted {
                let asked_ms = self.clock.boot_ms();
                let (source, question) = asked;
                let found = match &cause {
                    Some(cause) => Err(String::clone(cause)),
                    None => alerts::ask(source, question).await.map_err(|error| {
                        let said = clean_text(&Chain(&error).to_string());
                        cause = error.is_of_source().then(|| said.clone());
                        said
                    }),
                };
                remember(&mut self.answers().alerts, asked, asked_ms, found);
            }
            wait(ASK_ALERTS_EVERY, &mut changed).await;
        }
    }

    /// The newest answers, by the clock of a term.
    pub(super) fn heard(&self, clock: &TermClock) -> Heard {
        let answers = self.answers();
        let pods = answers.pods.iter().map(|(asked, it)| (asked.clone(), it.by(clock)));
        let alerts = answers.alerts.iter().map(|(asked, it)| (asked.clone(), it.by(clock)));
        Heard { pods: pods.collect(), alerts: alerts.collect() }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until the next round, or until something else is wanted.
async fn wait(pace: Duration, changed: &mut watch::Receiver<Wanted>) {
    tokio::select! {
        () = tokio::time::sleep(pace) => {}
        _ = changed.changed() => {}
    }
}

/// Keeps an answer, and since when there are only ones like it.
fn remember<K: Ord + Clone, T>(
    answers: &mut BTreeMap<K, Answer<T>>,
    question: &K,
    asked_ms: i64,
    found: Result<T, String>,
) {
    let before = answers.get(question).filter(|it| it.found.is_err() == found.is_err());
    let since_ms = before.map_or(asked_ms, |it| it.since_ms);
    let answer = Answer { asked_ms, since_ms, found: found.map(Arc::new) };
    answers.insert(question.clone(), answer);
}

#[cfg(test)]
mod tests;
