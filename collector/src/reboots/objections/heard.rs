//! What the newest answers say about nodes, under any policy: a question that it asks and that nobody
//! asked yet shuts its gate, and one that only another policy asks counts nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_plan::gate::Blocker;
use palisade_plan::gate::Gate;
use palisade_plan::policy::AlertSource;
use palisade_plan::policy::PodGate;
use palisade_plan::policy::PodScope;
use palisade_plan::policy::Policy;
use palisade_plan::policy::Pool;
use palisade_report::Moment;

use super::ASK_ALERTS_EVERY;
use super::ASK_EVERY;
use crate::alerts::Firing;
use crate::alerts::Question;
use crate::kube::workloads::Standing;
use crate::reboots::fleet::shut;

/// Pods that a gate names; the others are counted.
const MAX_NAMED: usize = 3;

/// What is shown of a question that only another policy asks. Also of one that was just written down.
pub(in crate::reboots) const NOT_ASKED: &str = "not asked under this policy yet";

/// One answer by the clock of a term.
#[derive(Clone, Debug)]
pub(super) struct Answer<T> {
    /// When it was asked for.
    pub(super) asked_at: Moment,
    /// Since when nothing but this kind of answer came.
    pub(super) since: Moment,
    /// What was found, or why that cannot be told.
    pub(super) found: Result<Arc<T>, String>,
}

/// The newest answers at one moment.
#[derive(Clone, Debug, Default)]
pub(in crate::reboots) struct Heard {
    pub(super) pods: BTreeMap<String, Answer<Vec<Standing>>>,
    pub(super) alerts: BTreeMap<(AlertSource, Question), Answer<Firing>>,
    /// Seconds for which answers are believed.
    pub(super) pods_secs: i64,
    pub(super) alerts_secs: i64,
}

/// What speaks against reboots in one pool.
#[derive(Debug, Default)]
pub(in crate::reboots) struct Against {
    /// On each of its nodes.
    everywhere: Vec<Blocker>,
    /// On these, by name.
    on: BTreeMap<String, Vec<Blocker>>,
}

impl Against {
    /// The gates that are shut for a node.
    pub(in crate::reboots) fn of(&self, node: &str) -> impl Iterator<Item = &Blocker> {
        self.everywhere.iter().chain(self.on.get(node).into_iter().flatten())
    }
}

impl Heard {
    /// What speaks against reboots under this policy, by the name of the pool. `pools`: the pool of each
    /// node, by the node's name.
    pub(in crate::reboots) fn against(
        &self,
        policy: &Policy,
        pools: &BTreeMap<&str, &Pool>,
        now: Moment,
    ) -> BTreeMap<String, Against> {
        let mut against: BTreeMap<String, Against> = BTreeMap::new();
        let asks = |pool: &&Pool| !pool.blocking_pods.is_empty() || pool.alerts.is_some();
        for pool in policy.pools.iter().filter(asks) {
            let is_here = |node: &str| pools.get(node).is_some_and(|it| it.name == pool.name);
            let mut found = Found::default();
            for gate in &pool.blocking_pods {
                let selector = gate.selector.to_string();
                match told(self.pods.get(&selector), self.pods_secs, now) {
                    Ok(pods) => found.sort(gate, &pods.found, is_here, now),
                    Err((why, since)) => {
                        let value = format!("pods with {selector} cannot be told: {why}");
                        found.blockers.push(shut(Gate::Pod, value, since));
                    }
                }
            }
            if let Some(gate) = &pool.alerts {
                let source = policy.cluster.alert_source.clone();
                let asked = (source.unwrap_or_default(), Question::from(gate));
                found.hear(told(self.alerts.get(&asked), self.alerts_secs, now), now);
            }
            against.insert(pool.name.clone(), found.against(now));
        }
        against
    }
}

/// An answer that is believed.
struct Told<T> {
    found: Arc<T>,
    /// Since when there is one.
    since: Moment,
}

/// What an answer says now; or why it says nothing, and since when.
fn told<T>(
    answer: Option<&Answer<T>>,
    old_secs: i64,
    now: Moment,
) -> Result<Told<T>, (String, Moment)> {
    let Some(Answer { asked_at, since, found }) = answer else {
        return Err((NOT_ASKED.to_owned(), now));
    };
    match found {
        Err(why) => Err((why.clone(), *since)),
        Ok(_) if now.since(*asked_at) > old_secs => {
            Err((format!("nobody has answered since {asked_at}"), *asked_at))
        }
        Ok(found) => Ok(Told { found: Arc::clone(found), since: *since }),
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
    fn hear(&mut self, told: Result<Told<Firing>, (String, Moment)>, now: Moment) {
        let every = ASK_ALERTS_EVERY.as_secs();
        let (value, since) = match told {
            Ok(Told { found, .. }) if found.count == 0 => return,
            Ok(Told { found, since }) => {
                (found.shown.clone(), found.since.unwrap_or(since).min(now))
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
