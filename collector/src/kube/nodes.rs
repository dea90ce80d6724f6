//! What exists: watches of the Nodes and of our own agents' pods, kept small in memory.
//!
//! ```text
//! API server ──watch──> Directory (what is used of each object, and nothing else)
//!                          ├──> identity: is this still the node, is this still a pod?
//!                          └──> roll: the engine hears of nodes that come, change and go
//! ```
//!
//! A watch that breaks off is taken up again where it was, after 410 with a whole new list, always
//! with a growing pause: an API server that is away costs one attempt in half a minute. Until the
//! new list is complete nothing counts as gone. A connection that leads nowhere is noticed within a
//! minute and a half; what a watch does not have is asked for by name before it is retired.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::api::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::bound::clean_text;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::client::CALL_TIMEOUT;
use super::client::Clients;
use super::client::WATCH_SECS;
use super::client::call;
use super::directory::AgentPod;
use super::directory::NodeDirectory;
use super::directory::PodUid;
use super::directory::Sighting;
use crate::snapshot::ClusterNode;

pub mod last_reboot;
mod object;
mod roll;
#[cfg(test)]
mod tests;
pub mod upkeep;

pub use last_reboot::LastReboot;
pub use object::NodeObject;
pub use object::Worn;
pub use roll::call_the_roll;
pub use upkeep::Upkeep;

/// Quiet after which a watch that broke off is taken to go on if the API server answers: longer than
/// the longest pause between two attempts, which is 30 s and jitter.
const QUIET_FOR: Duration = Duration::from_secs(65);

/// Nodes by their names; copied when changed while somebody holds it.
pub type Members = Arc<BTreeMap<NodeName, Arc<ClusterNode>>>;

/// What the watches have seen.
pub struct Directory {
    nodes: RwLock<Watched<NodeName, Arc<ClusterNode>>>,
    pods: RwLock<Watched<PodUid, ()>>,
    /// Apart from the nodes: our own writes are no news of a node.
    worn: RwLock<BTreeMap<NodeName, Worn>>,
    /// Apart for the same reason.
    upkeep: RwLock<BTreeMap<NodeName, Arc<Upkeep>>>,
    /// Grows with every change of it.
    kept_up: watch::Sender<u64>,
    /// Grows with every change of the nodes.
    changed: watch::Sender<u64>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = read(&self.nodes);
        write!(f, "Directory({} nodes, {:?})", nodes.known.len(), nodes.view)
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            nodes: RwLock::default(),
            pods: RwLock::default(),
            worn: RwLock::default(),
            upkeep: RwLock::default(),
            kept_up: watch::Sender::new(0),
            changed: watch::Sender::new(0),
        }
    }
}

/// Whether what is not in a list does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// The list is complete and follows every change.
    Whole,
    /// The first list is not complete, a new one is on its way, or the watch broke off.
    #[default]
    Partial,
}

/// A list that a watch keeps.
#[derive(Debug)]
struct Watched<K, V> {
    view: View,
    known: Arc<BTreeMap<K, V>>,
    /// The new list, as far as it has come.
    coming: Option<BTreeMap<K, V>>,
    /// Whether there ever was a complete list.
    is_listed: bool,
}

impl<K, V> Default for Watched<K, V> {
    fn default() -> Self {
        Self { view: View::Partial, known: Arc::default(), coming: None, is_listed: false }
    }
}

/// Whether something became different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    None,
    Some,
}

impl<K: Ord + Clone, V: Clone + PartialEq> Watched<K, V> {
    /// Takes in an event; `None` as the object is one that cannot be used.
    fn take(&mut self, event: Event<Option<(K, V)>>) -> Difference {
        match event {
            Event::Init => {
                self.view = View::Partial;
                self.coming = Some(BTreeMap::new());
                Difference::None
            }
            Event::InitApply(object) => {
                if let (Some(coming), Some((key, value))) = (&mut self.coming, object) {
                    coming.insert(key, value);
                }
                Difference::None
            }
            Event::InitDone => {
                let coming = self.coming.take().unwrap_or_default();
                self.is_listed = true;
                let difference =
                    if *self.known == coming { Difference::None } else { Difference::Some };
                self.known = Arc::new(coming);
                // That it is complete is news, too.
                let was = std::mem::replace(&mut self.view, View::Whole);
                if was == View::Whole { difference } else { Difference::Some }
            }
            Event::Apply(object) => {
                self.view = View::Whole;
                let Some((key, value)) = object else { return Difference::None };
                if self.known.get(&key) == Some(&value) {
                    return Difference::None;
                }
                Arc::make_mut(&mut self.known).insert(key, value);
                Difference::Some
            }
            Event::Delete(object) => {
                self.view = View::Whole;
                let Some((key, _)) = object else { return Difference::None };
                if !self.known.contains_key(&key) {
                    return Difference::None;
                }
                Arc::make_mut(&mut self.known).remove(&key);
                Difference::Some
            }
        }
    }

    /// The watch broke off, or goes on. A list that is on its way, or was never complete, is not
    /// made whole by that.
    fn see(&mut self, view: View) {
        if view == View::Partial {
            self.view = View::Partial;
        } else if self.coming.is_none() && self.is_listed {
            self.view = View::Whole;
        }
    }

    fn sight(&self, key: &K) -> Sighting<&V> {
        match (self.known.get(key), self.view) {
            (Some(value), _) => Sighting::Known(value),
            (None, View::Whole) => Sighting::Absent,
            (None, View::Partial) => Sighting::NotYetKnown,
        }
    }
}

impl NodeDirectory for Directory {
    fn uid_of(&self, node: &NodeName) -> Sighting<NodeUid> {
        match read(&self.nodes).sight(node) {
            Sighting::Absent => Sighting::Absent,
            Sighting::Known(member) => Sighting::Known(member.uid.clone()),
            Sighting::NotYetKnown => Sighting::NotYetKnown,
        }
    }

    /// The pod's node is not kept: tokens name it on every version that is supported, and the
    /// metadata of a pod, which is all that is watched, does not.
    fn agent_pod(&self, pod: &PodUid) -> Sighting<AgentPod> {
        match read(&self.pods).sight(pod) {
            Sighting::Absent => Sighting::Absent,
            Sighting::Known(()) => Sighting::Known(AgentPod { node: None }),
            Sighting::NotYetKnown => Sighting::NotYetKnown,
        }
    }
}

impl Directory {
    /// All nodes, and whether that is really all of them.
    #[must_use]
    pub fn members(&self) -> (Members, View) {
        let nodes = read(&self.nodes);
        (Arc::clone(&nodes.known), nodes.view)
    }

    /// The conditions of ours that a node has; `None` if there is no such node, as far as is known.
    #[must_use]
    pub fn worn(&self, node: &NodeName) -> Option<Worn> {
        read(&self.worn).get(node).cloned()
    }

    /// What of all nodes a reboot goes by; of a node that [`Self::members`] does not have, nothing
    /// counts.
    #[must_use]
    pub fn upkeep(&self) -> BTreeMap<NodeName, Arc<Upkeep>> {
        read(&self.upkeep).clone()
    }

    /// The same of one node.
    #[must_use]
    pub fn upkeep_of(&self, name: &NodeName) -> Option<Arc<Upkeep>> {
        read(&self.upkeep).get(name).cloned()
    }

    /// Grows with every change of that.
    #[must_use]
    pub fn kept_up(&self) -> watch::Receiver<u64> {
        self.kept_up.subscribe()
    }

    /// Grows with every change of the nodes.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn take_node(&self, event: Event<NodeObject>, labels: &mut Labels) {
        let is_listed = matches!(event, Event::InitDone);
        self.take_worn(&event);
        self.take_upkeep(&event);
        let event = convert(event, |object| object.member(&mut labels.0));
        if matches!(event, Event::Init) {
            labels.0.clear();
        }
        let difference = write(&self.nodes).take(event);
        if is_listed {
            let (members, _) = self.members();
            write(&self.worn).retain(|name, _| members.contains_key(name));
            write(&self.upkeep).retain(|name, _| members.contains_key(name));
        }
        if difference == Difference::Some {
            self.changed.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    fn take_worn(&self, event: &Event<NodeObject>) {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let Some((name, worn)) = object.worn() else { return };
                let mut all = write(&self.worn);
                if all.get(&name) != Some(&worn) {
                    all.insert(name, worn);
                }
            }
            Event::Delete(object) => {
                if let Some((name, _)) = object.worn() {
                    write(&self.worn).remove(&name);
                }
            }
            Event::Init | Event::InitDone => {}
        }
    }

    fn take_upkeep(&self, event: &Event<NodeObject>) {
        let is_news = match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let Some((name, upkeep)) = object.upkeep() else { return };
                let mut all = write(&self.upkeep);
                let is_news = all.get(&name).is_none_or(|known| **known != upkeep);
                if is_news {
                    all.insert(name, Arc::new(upkeep));
                }
                is_news
            }
            Event::Delete(object) => {
                object.upkeep().is_some_and(|(name, _)| write(&self.upkeep).remove(&name).is_some())
            }
            Event::Init | Event::InitDone => false,
        };
        if is_news {
            self.kept_up.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    fn take_pod(&self, event: Event<PartialObjectMeta<Pod>>) {
        let key = |pod: PartialObjectMeta<Pod>| Some((pod.metadata.uid?.parse().ok()?, ()));
        write(&self.pods).take(convert(event, key));
    }

    fn see_nodes(&self, view: View) {
        write(&self.nodes).see(view);
    }

    fn see_pods(&self, view: View) {
        write(&self.pods).see(view);
    }
}

#[cfg(test)]
impl Directory {
    /// As if the watch had listed these Node objects.
    pub(crate) fn is_listed(&self, nodes: Vec<serde_json::Value>) {
        let mut labels = Labels::default();
        self.take_node(Event::Init, &mut labels);
        for node in nodes {
            let node = serde_json::from_value(node).unwrap();
            self.take_node(Event::InitApply(node), &mut labels);
        }
        self.take_node(Event::InitDone, &mut labels);
    }
}

/// Sets of labels, each kept once.
#[derive(Debug, Default)]
struct Labels(BTreeSet<Arc<BTreeMap<String, String>>>);

fn convert<A, B>(event: Event<A>, mut to: impl FnMut(A) -> Option<B>) -> Event<Option<B>> {
    match event {
        Event::Apply(object) => Event::Apply(to(object)),
        Event::Delete(object) => Event::Delete(to(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(to(object)),
        Event::InitDone => Event::InitDone,
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Watches the nodes for as long as it is polled.
pub async fn watch_nodes(clients: Clients, directory: Arc<Directory>) {
    let api: Api<NodeObject> = Api::all(clients.reading);
    let mut labels = Labels::default();
    let take = |event| directory.take_node(event, &mut labels);
    let config = watcher::Config::default().timeout(WATCH_SECS);
    follow("nodes", api, config, take, |view| directory.see_nodes(view)).await;
}

/// Watches the pods of our agents' ServiceAccount, whatever their labels, for as long as it is
/// polled: the account is what their tokens speak for.
pub async fn watch_pods(
    clients: Clients,
    namespace: String,
    service_account: String,
    directory: Arc<Directory>,
) {
    let api: Api<PartialObjectMeta<Pod>> = Api::namespaced(clients.reading, &namespace);
    let config = watcher::Config::default()
        .fields(&format!("spec.serviceAccountName={service_account}"))
        .timeout(WATCH_SECS);
    let take = |event| directory.take_pod(event);
    follow("pods", api, config, take, |view| directory.see_pods(view)).await;
}

/// Follows one watch. What breaks off goes on without a word when nothing has happened meanwhile;
/// so after a quiet while one question tells that it does.
pub(super) async fn follow<K>(
    what: &'static str,
    api: Api<K>,
    config: watcher::Config,
    mut take: impl FnMut(Event<K>),
    see: impl Fn(View),
) where
    K: kube::Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
{
    let probe =
        ListParams { field_selector: config.field_selector.clone(), ..ListParams::default() }
            .limit(1);
    let mut trouble = Trouble::new(what);
    let mut stream = pin!(watcher(api.clone(), config).default_backoff());
    loop {
        match tokio::time::timeout(QUIET_FOR, stream.next()).await {
            Ok(Some(Ok(event))) => {
                trouble.over();
                take(event);
            }
            Ok(Some(Err(error))) => {
                see(View::Partial);
                trouble.tell(&error);
            }
            Ok(None) => return,
            Err(_) if trouble.told.is_some() => {
                if call(CALL_TIMEOUT, api.list_metadata(&probe)).await.is_ok() {
                    trouble.over();
                    see(View::Whole);
                }
            }
            Err(_) => {}
        }
    }
}

/// What is wrong with a watch, told once for as long as it is the same.
#[derive(Debug)]
struct Trouble {
    what: &'static str,
    told: Option<String>,
}

impl Trouble {
    const fn new(what: &'static str) -> Self {
        Self { what, told: None }
    }

    fn tell(&mut self, error: &watcher::Error) {
        // kube's errors name their causes themselves.
        let cause = clean_text(&error.to_string());
        if self.told.as_ref() != Some(&cause) {
            tracing::warn!(what = self.what, %cause, "a watch broke off; it is taken up again");
            self.told = Some(cause);
        }
    }

    fn over(&mut self) {
        if self.told.take().is_some() {
            tracing::info!(what = self.what, "the watch goes on");
        }
    }
}
