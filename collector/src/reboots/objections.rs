//! What speaks against reboots from outside of the nodes, by the policy: pods that run, alerts that fire.
//!
//! ```text
//! policy ─> wanted ─┐                             ┌─> against(): shut gates by pool and node
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

use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::policy::AlertSource;
use palisade_plan::policy::PodGate;
use palisade_plan::policy::PodScope;
use palisade_plan::policy::Policy;
use palisade_plan::policy::Pool;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::bound::clean_text;
use tokio::sync::watch;

use super::clock::TermClock;
use super::fleet::shut;
use crate::alerts;
use crate::alerts::Firing;
use crate::alerts::Question;
use crate::chain::Chain;
use crate::kube::fence::BootClock;
use crate::kube::workloads::Standing;
use crate::kube::workloads::Workloads;
use crate::snapshot::ClusterNode;

/// Between two rounds of questions about pods, and seconds after which an answer is none: three rounds.
const ASK_EVERY: Duration = Duration::from_secs(10);
const OLD_SECS: i64 = 30;

/// The same for alerts, whose source has more to do than to answer us.
const ASK_ALERTS_EVERY: Duration = Duration::from_secs(15);
const OLD_ALERTS_SECS: i64 = 60;

/// Pods that a gate names; the others are counted.
const MAX_NAMED: usize = 3;

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
#[derive(Clone, Debug)]
struct Answer<T> {
    /// When it was asked for, on the machine's clock since its boot.
    asked_ms: i64,
    /// Since when nothing but this kind of answer came.
    since_ms: i64,
    /// What was found, or why that cannot be told.
    found: Result<Arc<T>, String>,
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

/// What speaks against reboots in one pool.
#[derive(Debug, Default)]
pub(super) struct Against {
    /// On each of its nodes.
    everywhere: Vec<Blocker>,
    /// On these, by name.
    on: BTreeMap<String, Vec<Blocker>>,
}

impl Against {
    /// The gates that are shut for a node.
    pub(super) fn of(&self, node: &str) -> impl Iterator<Item = &Blocker> {
        self.everywhere.iter().chain(self.on.get(node).into_iter().flatten())
    }
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

    /// What the newest answers say, by the name of the pool.
    pub(super) fn against(
        &self,
        policy: &Policy,
        members: &BTreeMap<NodeName, Arc<ClusterNode>>,
        clock: &TermClock,
    ) -> BTreeMap<String, Against> {
        let now = clock.now();
        let mut against: BTreeMap<String, Against> = BTreeMap::new();
        let answers = self.answers();
        let asks = |pool: &&Pool| !pool.blocking_pods.is_empty() || pool.alerts.is_some();
        for pool in policy.pools.iter().filter(asks) {
            let is_here = |node: &str| {
                let member = node.parse::<NodeName>().ok().and_then(|name| members.get(&name));
                member.is_some_and(|it| policy.pool_of(&it.labels).name == pool.name)
            };
            let mut found = Found::default();
            for gate in &pool.blocking_pods {
                let selector = gate.selector.to_string();
                match told(answers.pods.get(&selector), OLD_SECS, clock, now) {
                    Ok(pods) => found.sort(gate, &pods, is_here, now),
                    Err((why, since)) => {
                        let value = format!("pods with {selector} cannot be told: {why}");
                        found.blockers.push(shut(Gate::Pod, value, since));
                    }
                }
            }
            if let Some(gate) = &pool.alerts {
                let source = policy.cluster.alert_source.clone();
                let asked = (source.unwrap_or_default(), Question::from(gate));
                found.hear(answers.alerts.get(&asked), clock, now);
            }
            against.insert(pool.name.clone(), found.against(now));
        }
        against
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

/// What an answer says now; or why it says nothing, and since when.
fn told<T>(
    answer: Option<&Answer<T>>,
    old_secs: i64,
    clock: &TermClock,
    now: Moment,
) -> Result<Arc<T>, (String, Moment)> {
    let Some(Answer { asked_ms, since_ms, found }) = answer else {
        return Err(("nobody was asked yet".to_owned(), now));
    };
    let asked_at = clock.at(*asked_ms);
    match found {
        Err(why) => Err((why.clone(), clock.at(*since_ms))),
        Ok(_) if now.since(asked_at) > old_secs => {
            Err((format!("nobody has answered since {asked_at}"), asked_at))
        }
        Ok(found) => Ok(Arc::clone(found)),
    }
}

/// What speaks against reboots in one pool, by where it does.
#[derive(Default)]
struct Found {
    /// What fires, and what cannot be told.
    blockers: Vec<Blocker>,
    everywhere: Named,
    on: BTreeMap<String, Named>,
}

/// Some pods by name, each once, and since when they are there.
#[derive(Default)]
struct Named(BTreeMap<String, Moment>);

impl Found {
    /// Sorts the pods of one gate; `is_here`: whether a node is of this pool.
    fn sort(
        &mut self,
        gate: &PodGate,
        pods: &[Standing],
        is_here: impl Fn(&str) -> bool,
        now: Moment,
    ) {
        for pod in pods {
            let node = pod.node.as_deref();
            let named = match (gate.scope, node) {
                (PodScope::Cluster, _) => &mut self.everywhere,
                (PodScope::Pool, Some(node)) if is_here(node) => &mut self.everywhere,
                (PodScope::Node, Some(node)) => self.on.entry(node.to_owned()).or_default(),
                // What waits for a node runs on none.
                (PodScope::Pool, Some(_)) | (PodScope::Pool | PodScope::Node, None) => continue,
            };
            let (name, since) = (&pod.name, pod.since.unwrap_or(now).min(now));
            let shown = node.map_or_else(
                || format!("{name}, which waits for a node"),
                |node| format!("{name} on {node}"),
            );
            named.0.insert(shown, since);
        }
    }

    /// Takes what fires, or that nobody can tell.
    fn hear(&mut self, answer: Option<&Answer<Firing>>, clock: &TermClock, now: Moment) {
        let every = ASK_ALERTS_EVERY.as_secs();
        let (value, since) = match told(answer, OLD_ALERTS_SECS, clock, now) {
            Ok(firing) if firing.count == 0 => return,
            Ok(firing) => {
                let began = answer.map_or(now, |it| clock.at(it.since_ms));
                (firing.shown.clone(), firing.since.unwrap_or(began).min(now))
            }
            Err((why, since)) => (format!("what fires cannot be told: {why}"), since),
        };
        self.blockers.push(shut(Gate::Alert, format!("{value} (asked every {every} s)"), since));
    }

    fn against(self, now: Moment) -> Against {
        let Self { blockers, everywhere, on } = self;
        let words = |named: &Named| named.blocker(now);
        let everywhere = blockers.into_iter().chain(words(&everywhere)).collect();
        let on = on.iter().map(|(node, named)| (node.clone(), words(named).into_iter().collect()));
        Against { everywhere, on: on.collect() }
    }
}

impl Named {
    fn blocker(&self, now: Moment) -> Option<Blocker> {
        let since = self.0.values().min().copied().unwrap_or(now);
        let some: Vec<&str> = self.0.keys().take(MAX_NAMED).map(String::as_str).collect();
        let others = self.0.len().saturating_sub(some.len());
        if some.is_empty() {
            return None;
        }
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        let value = format!("{}{more} (asked every {} s)", some.join("; "), ASK_EVERY.as_secs());
        Some(shut(Gate::Pod, value, since))
    }
}

#[cfg(test)]
mod tests;
