//! What speaks against reboots from outside of the nodes, by the policy: pods that run.
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
use palisade_plan::policy::PodGate;
use palisade_plan::policy::PodScope;
use palisade_plan::policy::Policy;
use palisade_report::Moment;
use palisade_report::NodeName;
use tokio::sync::watch;

use super::clock::TermClock;
use super::fleet::shut;
use crate::chain::Chain;
use crate::kube::fence::BootClock;
use crate::kube::workloads::Standing;
use crate::kube::workloads::Workloads;
use crate::snapshot::ClusterNode;

/// Between two rounds of questions.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// Seconds after which an answer is none: three rounds.
const OLD_SECS: i64 = 30;

/// Pods that a gate names; the others are counted.
const MAX_NAMED: usize = 3;

/// What is to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Label selectors, as the API server takes them.
    pods: BTreeSet<String>,
}

impl Wanted {
    /// Everything that some pool of this policy asks for.
    pub(super) fn of(policy: &Policy) -> Self {
        let gates = policy.pools.iter().flat_map(|pool| &pool.blocking_pods);
        Self { pods: gates.map(|gate| gate.selector.to_string()).collect() }
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
        let mut changed = self.wanted.subscribe();
        loop {
            let wanted = changed.borrow_and_update().clone();
            self.answers().pods.retain(|selector, _| wanted.pods.contains(selector));
            self.ask_for_pods(&wanted.pods, workloads).await;
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                _ = changed.changed() => {}
            }
        }
    }

    async fn ask_for_pods(&self, selectors: &BTreeSet<String>, workloads: &Workloads) {
        for selector in selectors {
            let asked_ms = self.clock.boot_ms();
            let found = workloads.unfinished(selector).await;
            let found = found.map_err(|error| Chain(&error).to_string());
            remember(&mut self.answers().pods, selector, asked_ms, found);
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
        for pool in policy.pools.iter().filter(|pool| !pool.blocking_pods.is_empty()) {
            let is_here = |node: &str| {
                let member = node.parse::<NodeName>().ok().and_then(|name| members.get(&name));
                member.is_some_and(|it| policy.pool_of(&it.labels).name == pool.name)
            };
            let mut found = Found::default();
            for gate in &pool.blocking_pods {
                let selector = gate.selector.to_string();
                match told(answers.pods.get(&selector), clock, now) {
                    Ok(pods) => found.sort(gate, &pods, is_here, now),
                    Err((why, since)) => {
                        let value = format!("pods with {selector} cannot be told: {why}");
                        found.unknown.push(shut(Gate::Pod, value, since));
                    }
                }
            }
            against.insert(pool.name.clone(), found.against(now));
        }
        against
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
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
    clock: &TermClock,
    now: Moment,
) -> Result<Arc<T>, (String, Moment)> {
    let Some(Answer { asked_ms, since_ms, found }) = answer else {
        return Err(("nobody was asked yet".to_owned(), now));
    };
    let asked_at = clock.at(*asked_ms);
    match found {
        Err(why) => Err((why.clone(), clock.at(*since_ms))),
        Ok(_) if now.since(asked_at) > OLD_SECS => {
            Err((format!("nobody has answered since {asked_at}"), asked_at))
        }
        Ok(found) => Ok(Arc::clone(found)),
    }
}

/// Pods that speak against reboots in one pool, by where they do.
#[derive(Default)]
struct Found {
    unknown: Vec<Blocker>,
    everywhere: Named,
    on: BTreeMap<String, Named>,
}

/// Some pods by name, each once.
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

    fn against(self, now: Moment) -> Against {
        let Self { unknown, everywhere, on } = self;
        let words = |named: &Named| named.blocker(now);
        let everywhere = unknown.into_iter().chain(words(&everywhere)).collect();
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
