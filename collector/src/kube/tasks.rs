//! What a leader does beside answering: one line for each task. They run while a term runs and are
//! cut off with it, at any point; whatever they change goes through the acting client, which asks
//! the fence.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::authority::keeper::Role;
use super::cluster::Cluster;
use super::cluster::Own;
use super::conditions::Ground;
use super::conditions::Publisher;
use super::nodes;
use crate::engine::Engine;
use crate::reboots;
use crate::store::Reader;

/// Starts a leader's tasks.
pub fn spawn(tasks: &mut JoinSet<()>, cluster: &Cluster, engine: &Engine, reader: &Reader) {
    tasks.spawn(nodes::call_the_roll(
        engine.clone(),
        Arc::clone(&cluster.directory),
        Arc::new(cluster.reviewer()),
        cluster.fence.clone(),
        Arc::clone(&cluster.clock),
        cluster.settings.gone_after,
    ));
    if let Some(keeper) = cluster.keeper(Role::Lead(engine.clone())) {
        tasks.spawn(keeper.run());
    }
    match cluster.key_keeper(engine.clone()) {
        Some(keeper) => {
            tasks.spawn(keeper.run());
        }
        None => tracing::warn!(
            "no reboot can be granted: the Secret of the certificate is not ours, so there is no place for a signing key"
        ),
    }
    let Own { tls: _, figures, offers, planned, clock, profile } = cluster.own.clone();
    if let Some(policy) = &cluster.settings.reboot_policy {
        let ground = reboots::Ground {
            clients: cluster.clients.clone(),
            fence: cluster.fence.clone(),
            boot_clock: Arc::clone(&cluster.clock),
            clock: Arc::new(clock),
            directory: Arc::clone(&cluster.directory),
            engine: engine.clone(),
            reader: reader.clone(),
            offers,
            planned,
            hand_over: Arc::clone(&cluster.hand_over),
            identity: cluster.settings.identity.clone(),
            namespace: cluster.settings.namespace.clone(),
            events: cluster.settings.outputs.events,
            policy: policy.clone(),
        };
        tasks.spawn(reboots::Coordinator::new(ground).run());
    }
    let ground = Ground {
        clients: cluster.clients.clone(),
        fence: cluster.fence.clone(),
        directory: Arc::clone(&cluster.directory),
        engine: engine.clone(),
        identity: cluster.settings.identity.clone(),
        profile,
    };
    let outputs = cluster.settings.outputs;
    tasks.spawn(Publisher::new(ground, outputs, Arc::new(clock), figures).run());
}
