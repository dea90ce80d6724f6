//! Whether the pods of a node that is about to be drained fit elsewhere, beside all that is moving
//! already: pods without a node, those of drains under way, those of nodes that are claimed in this look.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_plan::drain;
use palisade_plan::fleet::Asks;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Pod;
use palisade_plan::policy::DrainPolicy;
use palisade_plan::policy::NoRoom;
use palisade_plan::policy::Policy;
use palisade_plan::request::State;
use palisade_report::NodeUid;

use super::coordinator::Coordinator;
use crate::chain::Chain;
use crate::kube::workloads::Room;

/// What is free on each node that stays, less what is about to be taken; or why that is not known.
#[derive(Debug)]
pub(super) struct Rooms(Result<BTreeMap<NodeUid, Asks>, String>);

impl Coordinator {
    /// The room on nodes that do not start now, if a policy asks for it.
    pub(super) async fn rooms(
        &self,
        start: &[NodeUid],
        fleet: &Fleet,
        policy: &Policy,
    ) -> Option<Rooms> {
        let asks = |uid: &NodeUid| {
            let node = fleet.nodes.get(uid);
            node.is_some_and(|it| policy.pool_of(&it.labels).drain.no_room == NoRoom::Block)
        };
        if !start.iter().any(asks) {
            return None;
        }
        let room = match self.workloads.rooms().await {
            Ok(room) => room,
            Err(error) => return Some(Rooms(Err(Chain(&error).to_string()))),
        };
        let mut rooms = Rooms::of(room, start);
        for (uid, request) in &fleet.requests {
            let state = request.progress.state;
            if !matches!(state, State::Claimed | State::Cordoning | State::Draining) {
                continue;
            }
            // Whatever its object says yet, nobody goes there.
            rooms.leave(uid);
            let Some(node) = fleet.nodes.get(uid) else { continue };
            let pool = policy.pool(&request.progress.placement.pool);
            let drain = &pool.unwrap_or_else(|| policy.pool_of(&node.labels)).drain;
            let known = fleet.pods.known().and_then(|pods| pods.get(uid));
            match (known, &self.around) {
                (Some(pods), _) => rooms.take(pods, drain),
                (None, Some(around)) => match self.workloads.pods_of(&node.name, around).await {
                    Ok(pods) => rooms.take(&pods, drain),
                    Err(error) => {
                        let why = Chain(&error);
                        rooms = Rooms(Err(format!("{} is drained: {why}", node.name)));
                    }
                },
                (None, None) => {
                    let why = "budgets and DaemonSets could not be listed";
                    rooms = Rooms(Err(why.to_owned()));
                }
            }
        }
        Some(rooms)
    }
}

impl Rooms {
    /// What is known if it takes longer than that.
    pub(super) fn late(within: Duration) -> Self {
        Self(Err(format!("the pods of the cluster were not listed within {} s", within.as_secs())))
    }

    /// Without the nodes that start now, and without what waiting pods will take. One that fits nowhere
    /// takes nothing.
    fn of(room: Room, start: &[NodeUid]) -> Self {
        let Room { mut free, waiting } = room;
        free.retain(|uid, _| !start.contains(uid));
        for asks in waiting {
            drain::take_room(&asks, &mut free);
        }
        Self(Ok(free))
    }

    /// Why pods of a node fit nowhere else, or why that cannot be told.
    pub(super) fn homeless(&self, pods: &[Pod], drain: &DrainPolicy) -> Option<String> {
        match &self.0 {
            Ok(free) => {
                let homeless = drain::homeless(pods, drain, free);
                let names = homeless.join(", ");
                (!homeless.is_empty()).then(|| format!("no other node has room for {names}"))
            }
            Err(why) => Some(format!("the room on other nodes is not known: {why}")),
        }
    }

    /// This node takes no pods.
    fn leave(&mut self, uid: &NodeUid) {
        if let Ok(free) = &mut self.0 {
            free.remove(uid);
        }
    }

    /// The pods of this node are to go elsewhere.
    pub(super) fn take(&mut self, pods: &[Pod], drain: &DrainPolicy) {
        if let Ok(free) = &mut self.0 {
            drain::settle(pods, drain, free);
        }
    }
}
