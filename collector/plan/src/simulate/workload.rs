//! Applications: pods, the controllers that make new ones elsewhere, their disruption budgets and the
//! volumes that they use. As much of them as a drain meets, and no more.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Moment;
use palisade_report::NodeUid;

use super::chance::Chance;
use crate::fleet::Deleting;
use crate::fleet::DisruptionBudget;
use crate::fleet::Phase;
use crate::fleet::Pod;

/// Grace period of every pod, in seconds.
const GRACE_SECS: i64 = 30;

/// Pods and what rules them.
#[derive(Clone, Debug, Default)]
pub(super) struct Workload {
    /// Applications, by their place in pods' records.
    pub(super) apps: Vec<App>,
    /// Pods by node, then by UID.
    pods: BTreeMap<NodeUid, BTreeMap<String, Running>>,
    /// The pods of each node as lists hand them out; built when asked for.
    lists: BTreeMap<NodeUid, Arc<[Pod]>>,
    /// Volumes that are attached to each node.
    pub(super) attached: BTreeMap<NodeUid, BTreeSet<String>>,
    /// Pods made so far.
    made: u64,
}

/// Pods that belong together.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// `namespace/name`, also of its disruption budget.
    pub(super) name: String,
    /// Pods that it wants.
    pub(super) replicas: u32,
    /// Pods that may be missing by its disruption budget; without one, any number.
    pub(super) may_miss: Option<u32>,
    /// Whether its budget lets nothing go for now.
    spent: bool,
    /// Pods that are ready and not being deleted.
    healthy: u32,
    /// What its budget allowed when that was told last.
    told: Option<u32>,
}

/// A pod and its application; pods of a snapshot have none.
#[derive(Clone, Debug)]
struct Running {
    pod: Pod,
    app: Option<usize>,
}

/// What became of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evicted {
    /// The pod goes; after so many seconds it is gone.
    Going(i64),
    /// There is no pod of this UID.
    Gone,
    /// Its disruption budget does not allow it.
    Refused,
}

impl Workload {
    /// One more application.
    pub(super) fn add_app(&mut self, name: String, replicas: u32, may_miss: Option<u32>) -> usize {
        self.apps.push(App { name, replicas, may_miss, spent: false, healthy: 0, told: None });
        self.apps.len().saturating_sub(1)
    }

    /// A pod that runs on a node.
    pub(super) fn adopt(&mut self, node: &NodeUid, pod: Pod, app: Option<usize>) {
        for volume in &pod.volumes {
            self.attached.entry(node.clone()).or_default().insert(volume.clone());
        }
        self.insert(node, Running { pod, app });
    }

    /// The pod that takes the place of one that is gone: of a StatefulSet with the same name, of
    /// others with a new one, and always with a UID of its own.
    pub(super) fn replace(&mut self, app: Option<usize>, node: &NodeUid, gone: &Pod) -> Pod {
        self.made = self.made.saturating_add(1);
        let number = self.made;
        let stays = gone.owner.as_ref().is_some_and(|owner| owner.kind == "StatefulSet");
        let stem = gone.name.split('~').next().unwrap_or_default();
        let pod = Pod {
            name: if stays { gone.name.clone() } else { format!("{stem}~{number}") },
            uid: format!("pod-{number}"),
            phase: Phase::Running,
            ready: false,
            deleting: None,
            ..gone.clone()
        };
        self.adopt(node, pod.clone(), app);
        pod
    }

    fn insert(&mut self, node: &NodeUid, running: Running) {
        self.count(running.app, is_healthy(&running.pod), true);
        self.lists.remove(node);
        self.pods.entry(node.clone()).or_default().insert(running.pod.uid.clone(), running);
    }

    fn count(&mut self, app: Option<usize>, counts: bool, comes: bool) {
        let Some(app) = app.filter(|_| counts).and_then(|app| self.apps.get_mut(app)) else {
            return;
        };
        app.healthy =
            if comes { app.healthy.saturating_add(1) } else { app.healthy.saturating_sub(1) };
    }

    /// Changes a pod; the pod afterwards, if there is one.
    fn change(
        &mut self,
        node: &NodeUid,
        pod: &str,
        how: impl FnOnce(&mut Pod),
    ) -> Option<(Option<usize>, Pod)> {
        let running = self.pods.get_mut(node)?.get_mut(pod)?;
        let was = is_healthy(&running.pod);
        how(&mut running.pod);
        let (app, after) = (running.app, running.pod.clone());
        self.lists.remove(node);
        self.count(app, was, false);
        self.count(app, is_healthy(&after), true);
        Some((app, after))
    }

    /// The pods of a node turn ready, or not; those that changed.
    pub(super) fn turn(&mut self, node: &NodeUid, ready: bool) -> Vec<Pod> {
        let uids: Vec<String> = self
            .pods
            .get(node)
            .map(|pods| {
                let other = |running: &&Running| running.pod.ready != ready;
                pods.values().filter(other).map(|running| running.pod.uid.clone()).collect()
            })
            .unwrap_or_default();
        uids.iter()
            .filter_map(|uid| self.change(node, uid, |pod| pod.ready = ready))
            .map(|(_, pod)| pod)
            .collect()
    }

    /// A pod turns ready, if it is still there.
    pub(super) fn ready(&mut self, node: &NodeUid, pod: &str) -> Option<Pod> {
        self.change(node, pod, |pod| pod.ready = pod.deleting.is_none()).map(|(_, pod)| pod)
    }

    /// An eviction with the UID as precondition, as `policy/v1` answers it.
    pub(super) fn evict(
        &mut self,
        node: &NodeUid,
        uid: &str,
        now: Moment,
        chance: &mut Chance,
    ) -> Evicted {
        let Some(running) = self.pods.get(node).and_then(|pods| pods.get(uid)) else {
            return Evicted::Gone;
        };
        if running.pod.deleting.is_some() {
            return Evicted::Going(GRACE_SECS);
        }
        let counts = is_healthy(&running.pod);
        if counts && running.pod.budgets.iter().any(|name| self.allowed(name) == Some(0)) {
            return Evicted::Refused;
        }
        let deleting = Deleting { at: now.plus(GRACE_SECS), finalizers: BTreeSet::new() };
        self.change(node, uid, |pod| pod.deleting = Some(deleting));
        Evicted::Going(chance.secs(1, GRACE_SECS))
    }

    /// A pod is gone; its application and the pod.
    pub(super) fn remove(&mut self, node: &NodeUid, uid: &str) -> Option<(Option<usize>, Pod)> {
        let running = self.pods.get_mut(node)?.remove(uid)?;
        self.lists.remove(node);
        self.count(running.app, is_healthy(&running.pod), false);
        Some((running.app, running.pod))
    }

    /// All pods of a node that is gone, with their applications.
    pub(super) fn remove_all(&mut self, node: &NodeUid) -> Vec<(Option<usize>, Pod)> {
        let uids: Vec<String> =
            self.pods.get(node).map(|pods| pods.keys().cloned().collect()).unwrap_or_default();
        self.attached.remove(node);
        uids.iter().filter_map(|uid| self.remove(node, uid)).collect()
    }

    /// How many pods a budget lets go; `None` if there is no such budget.
    pub(super) fn allowed(&self, name: &str) -> Option<u32> {
        self.apps.iter().find(|app| app.name == name).and_then(App::allowed)
    }

    /// The pods of a node as a list gives them.
    pub(super) fn list(&mut self, node: &NodeUid) -> Arc<[Pod]> {
        if let Some(list) = self.lists.get(node) {
            return Arc::clone(list);
        }
        let list: Arc<[Pod]> = self
            .pods
            .get(node)
            .map(|pods| pods.values().map(|running| running.pod.clone()).collect())
            .unwrap_or_default();
        self.lists.insert(node.clone(), Arc::clone(&list));
        list
    }

    /// The budget of an application lets nothing go.
    pub(super) fn spend(&mut self, at: usize) {
        if let Some(app) = self.apps.get_mut(at) {
            app.spent = true;
        }
    }

    /// All budgets are as they were.
    pub(super) fn restore(&mut self) {
        for app in &mut self.apps {
            app.spent = false;
        }
    }

    /// Budgets that allow another number than when they were asked last.
    pub(super) fn changed_budgets(&mut self) -> Vec<(String, u32)> {
        let mut changed = Vec::new();
        for app in &mut self.apps {
            let allowed = app.allowed();
            if allowed != app.told {
                app.told = allowed;
                changed.extend(allowed.map(|allowed| (app.name.clone(), allowed)));
            }
        }
        changed
    }

    /// All disruption budgets, as their controller last saw them.
    pub(super) fn budgets(&self) -> BTreeMap<String, DisruptionBudget> {
        self.apps.iter().filter_map(|app| Some((app.name.clone(), app.budget()?))).collect()
    }
}

impl App {
    /// How many pods its budget lets go; `None` without a budget.
    pub(super) fn allowed(&self) -> Option<u32> {
        self.budget().map(|budget| budget.allowed)
    }

    fn budget(&self) -> Option<DisruptionBudget> {
        let may_miss = if self.spent { self.may_miss.map(|_| 0)? } else { self.may_miss? };
        let desired = self.replicas.saturating_sub(may_miss);
        Some(DisruptionBudget {
            allowed: self.healthy.saturating_sub(desired),
            current_healthy: self.healthy,
            desired_healthy: desired,
            expected: self.replicas,
            is_current: true,
            always_allow_unhealthy: true,
        })
    }
}

fn is_healthy(pod: &Pod) -> bool {
    pod.ready && pod.deleting.is_none()
}

/// Whether a controller makes a pod anew when it is gone, on some node.
pub(super) fn comes_back(pod: &Pod) -> bool {
    pod.owner.as_ref().is_some_and(|owner| owner.kind != "DaemonSet" && owner.kind != "Job")
}
