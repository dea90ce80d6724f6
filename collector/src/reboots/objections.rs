//! What speaks against reboots from outside of the nodes, by the policy: pods that run, alerts that fire.
//!
//! ```text
//! policy ─> wanted ─┐                             ┌─> heard(): what shuts gates, under any policy
//!                   └─> follow(): asks, remembers ┘
//! ```
//!
//! A task of its own asks, again and again, so that nobody who does not answer holds a look up; what an
//! answer is like is the matter of its own question, and only silence that of all who are asked there. A
//! look goes by the newest answer. None yet, an error, and an answer that is too old are the same: whether
//! something speaks against it cannot be told, and the gate is shut.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use palisade_plan::plan::Place;
use palisade_plan::plan::Plan;
use palisade_plan::plan::Verdict;
use palisade_plan::policy::AlertSource;
use palisade_plan::policy::Mode;
use palisade_plan::policy::Policy;
use palisade_plan::policy::Pool;
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

/// Seconds of a round that add to how long its answers are believed; who needs longer than that answers
/// too late for anybody.
const MAX_ROUND_SECS: i64 = 60;

/// What is to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Label selectors, as the API server takes them.
    pods: BTreeSet<String>,
    /// What is asked about alerts, and where: an answer is that of its source.
    alerts: BTreeSet<(AlertSource, Question)>,
}

impl Wanted {
    /// What the pools of this policy ask for. About pods, which costs the API server a list of all of
    /// them, only those whose nodes may be rebooted, and are waiting or under way: for others the answer
    /// would decide nothing.
    pub(super) fn of(policy: &Policy, plan: &Plan) -> Self {
        let is_busy = |place: &&Place| match place.verdict {
            Verdict::InFlight(_) | Verdict::Start | Verdict::Waits => true,
            Verdict::NotNeeded | Verdict::Unknown => false,
        };
        let busy: BTreeSet<&str> =
            plan.places.values().filter(is_busy).map(|place| &*place.pool).collect();
        let asks = |pool: &&Pool| match pool.mode {
            Mode::Approve | Mode::Auto => busy.contains(pool.name.as_str()),
            Mode::Report | Mode::Plan => false,
        };
        let gates = policy.pools.iter().filter(asks).flat_map(|pool| &pool.blocking_pods);
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
    /// Since when nothing but this kind of answer came: of none, of nothing, of something.
    since_ms: i64,
    /// What was found, or why that cannot be told.
    found: Result<Arc<T>, String>,
}

/// What may speak against a reboot.
trait Found {
    /// Whether it does.
    fn is_something(&self) -> bool;
}

impl Found for Firing {
    fn is_something(&self) -> bool {
        self.count > 0
    }
}

impl Found for Vec<Standing> {
    fn is_something(&self) -> bool {
        !self.is_empty()
    }
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
    /// How long the last rounds took.
    pods_round_ms: i64,
    alerts_round_ms: i64,
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
        let mut last = None;
        loop {
            let wanted = changed.borrow_and_update().clone().pods;
            self.answers().pods.retain(|selector, _| wanted.contains(selector));
            let began_ms = self.clock.boot_ms();
            let mut cause = None;
            for selector in round(&wanted, last.take().as_ref()) {
                let asked_ms = self.clock.boot_ms();
                let found = match &cause {
                    Some(cause) => Err(String::clone(cause)),
                    None => workloads.unfinished(selector).await.map_err(|error| {
                        let said = Chain(&error).to_string();
                        if error.is_of_source() {
                            cause = Some(said.clone());
                            last = Some(selector.clone());
                        }
                        said
                    }),
                };
                remember(&mut self.answers().pods, selector, asked_ms, found);
            }
            self.answers().pods_round_ms = self.clock.boot_ms().saturating_sub(began_ms);
            wait(ASK_EVERY, &mut changed).await;
        }
    }

    async fn follow_alerts(&self) {
        let mut changed = self.wanted.subscribe();
        let mut last = None;
        let mut complaints = BTreeMap::new();
        loop {
            let wanted = changed.borrow_and_update().clone().alerts;
            self.answers().alerts.retain(|asked, _| wanted.contains(asked));
            complaints.retain(|asked, _| wanted.contains(asked));
            let began_ms = self.clock.boot_ms();
            let mut silent: BTreeMap<String, String> = BTreeMap::new();
            for asked in round(&wanted, last.take().as_ref()) {
                let asked_ms = self.clock.boot_ms();
                let (source, question) = asked;
                let cause = question.addresses(source).find_map(|address| silent.get(address));
                let found = match cause {
                    Some(cause) => Err(cause.clone()),
                    None => alerts::ask(source, question).await.map_err(|error| {
                        let said = clean_text(&Chain(&error).to_string());
                        complain(&mut complaints, asked, &said, error.said());
                        if let Some(address) = error.silent() {
                            silent.insert(address.to_owned(), said.clone());
                            last = Some(asked.clone());
                        }
                        said
                    }),
                };
                if found.is_ok() {
                    complaints.remove(asked);
                }
                remember(&mut self.answers().alerts, asked, asked_ms, found);
            }
            self.answers().alerts_round_ms = self.clock.boot_ms().saturating_sub(began_ms);
            wait(ASK_ALERTS_EVERY, &mut changed).await;
        }
    }

    /// The newest answers, by the clock of a term.
    pub(super) fn heard(&self, clock: &TermClock) -> Heard {
        let answers = self.answers();
        let pods = answers.pods.iter().map(|(asked, it)| (asked.clone(), it.by(clock)));
        let alerts = answers.alerts.iter().map(|(asked, it)| (asked.clone(), it.by(clock)));
        Heard {
            pods: pods.collect(),
            alerts: alerts.collect(),
            pods_secs: believed(OLD_SECS, answers.pods_round_ms),
            alerts_secs: believed(OLD_ALERTS_SECS, answers.alerts_round_ms),
        }
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

/// The questions of a round. Whoever did not answer is not asked again at the same round, so the question
/// that found that out comes last at the next one: it may be what was too much.
fn round<'w, K: Ord>(wanted: &'w BTreeSet<K>, last: Option<&K>) -> Vec<&'w K> {
    let mut round: Vec<&K> = wanted.iter().collect();
    let next = round.partition_point(|asked| last.is_some_and(|last| *asked <= last));
    round.rotate_left(next);
    round
}

/// Seconds for which answers are believed if a round takes so long: the first one is asked again only
/// after the last.
fn believed(secs: i64, round_ms: i64) -> i64 {
    secs.saturating_add(round_ms.div_euclid(1000).clamp(0, MAX_ROUND_SECS))
}

/// Says why a question has no answer, when that is another reason than before; what was said instead of
/// an answer is in the log only.
fn complain(
    complaints: &mut BTreeMap<(AlertSource, Question), String>,
    asked: &(AlertSource, Question),
    cause: &str,
    said: Option<&str>,
) {
    if complaints.get(asked).is_none_or(|it| it != cause) {
        tracing::warn!(%cause, said, "what fires cannot be told");
        complaints.insert(asked.clone(), cause.to_owned());
    }
}

/// Keeps an answer, and since when there are only ones like it.
fn remember<K: Ord + Clone, T: Found>(
    answers: &mut BTreeMap<K, Answer<T>>,
    question: &K,
    asked_ms: i64,
    found: Result<T, String>,
) {
    let is_like = |it: &&Answer<T>| match (&it.found, &found) {
        (Ok(before), Ok(found)) => before.is_something() == found.is_something(),
        (Err(_), Err(_)) => true,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    };
    let before = answers.get(question).filter(is_like);
    let since_ms = before.map_or(asked_ms, |it| it.since_ms);
    let answer = Answer { asked_ms, since_ms, found: found.map(Arc::new) };
    answers.insert(question.clone(), answer);
}

#[cfg(test)]
mod tests;
