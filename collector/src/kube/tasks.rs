//! What a leader does beside answering: one line for each task. They run while a term runs and are
//! cut off with it, at any point; whatever they change goes through the acting client, which asks
//! the fence.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::nodes;
use crate::engine::Engine;

/// Starts a leader's tasks.
pub fn spawn(tasks: &mut JoinSet<()>, cluster: &Cluster, engine: &Engine) {
    tasks.spawn(nodes::call_the_roll(
        engine.clone(),
        Arc::clone(&cluster.directory),
        cluster.fence.clone(),
        Arc::clone(&cluster.clock),
        cluster.settings.gone_after,
    ));
}
