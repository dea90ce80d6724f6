//! Whether the pods of a node fit elsewhere, as far as their requests tell.
//!
//! This is a look ahead, not a scheduler: affinity, ports and volumes of a zone are not weighed, so
//! "fits" may be wrong. "Fits nowhere" is right whenever what is free was told right.

use std::collections::BTreeMap;

use palisade_report::NodeUid;

use super::Class;
use super::class::classify;
use crate::fleet::Asks;
use crate::fleet::Pod;
use crate::policy::DrainPolicy;

/// Pods that are named; a person needs an example, not a list.
const MAX_NAMED: usize = 5;

/// Names of pods of a node that fit on no node of `free`, largest first; `free` is what is not asked
/// for yet on each other node that takes pods.
///
/// Each pod goes to the node with the least room that is enough, largest pods first: about as dense
/// as any scheduler packs, so that a warning means something.
#[must_use]
pub fn homeless<'a>(
    pods: &'a [Pod],
    policy: &DrainPolicy,
    free: &BTreeMap<NodeUid, Asks>,
) -> Vec<&'a str> {
    settle(pods, policy, &mut free.clone())
}

/// The same, and those that fit have taken their room.
pub fn settle<'a>(
    pods: &'a [Pod],
    policy: &DrainPolicy,
    free: &mut BTreeMap<NodeUid, Asks>,
) -> Vec<&'a str> {
    let mut moving: Vec<&Pod> =
        pods.iter().filter(|pod| classify(pod, policy) == Class::Evicted).collect();
    moving.sort_by_key(|pod| {
        let Asks { milli_cpu, memory } = pod.asks;
        (std::cmp::Reverse((memory, milli_cpu)), &pod.name)
    });
    moving.retain(|pod| !take_room(&pod.asks, free));
    moving.into_iter().map(|pod| pod.name.as_str()).take(MAX_NAMED).collect()
}

/// Takes room for one pod, where it fits at all.
pub fn take_room(asks: &Asks, free: &mut BTreeMap<NodeUid, Asks>) -> bool {
    let Asks { milli_cpu, memory } = *asks;
    let best = free
        .values_mut()
        .filter(|room| room.milli_cpu >= milli_cpu && room.memory >= memory)
        .min_by_key(|room| (room.memory, room.milli_cpu));
    let Some(room) = best else { return false };
    room.milli_cpu = room.milli_cpu.saturating_sub(milli_cpu);
    room.memory = room.memory.saturating_sub(memory);
    true
}
