//! Serving a cluster: stand by, lead, stand by again, until the process is asked to end.
//!
//! ```text
//! stand by (503, watches run) ──lease──> open the store ──> answer, run the leader's tasks
//!      ^                                                            │
//!      └── close the store <── cut off the tasks <── lease lost ────┘
//! ```
//!
//! The store is open only while this collector leads, so two of them may even share its disk. What
//! agents reported to the other one meanwhile they are asked for again by digest, at the usual pace.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::RunError;
use super::Running;
use crate::api::App;
use crate::audit::Happening;
use crate::audit::Kind;
use crate::judge::ProfileJudge;
use crate::kube::Cluster;
use crate::kube::Epoch;
use crate::kube::Leadership;
use crate::kube::Standing;
use crate::kube::tasks;
use crate::settings::KubernetesSettings;
use crate::settings::Settings;

/// Serves until `shutdown` is done. Everything is closed then, and the Lease is let go.
///
/// # Errors
/// [`RunError`] if the stored state cannot be loaded, or the engine panicked.
pub(super) async fn serve(
    cluster: Cluster,
    app: &App,
    settings: &Settings,
    judge: &Arc<ProfileJudge>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    app.stand_by();
    let mut watches = JoinSet::new();
    cluster.watch(&mut watches);
    let (fence, clock) = (cluster.fence.clone(), Arc::clone(&cluster.clock));
    let leadership = Leadership::seek(&cluster.clients, &cluster.settings, fence, clock);
    let mut shutdown = pin!(shutdown);
    let mut standing = leadership.standing();
    let outcome = loop {
        // What a term that is over asked for does not end the next one.
        cluster.hand_over.settle();
        tokio::select! {
            () = &mut shutdown => break Ok(()),
            () = until_leading(&mut standing, app) => {}
        }
        let side = cluster.alert_side().await;
        let running = match Running::open(app, settings, judge, side).await {
            Ok(running) => running,
            Err(error) => break Err(error),
        };
        let mut term = Term { cluster: &cluster, app, leadership: &leadership, running };
        let end = tokio::select! {
            () = &mut shutdown => End::Asked,
            () = cluster.hand_over.asked() => End::HandedOver,
            end = term.lead(&mut standing) => end,
        };
        app.stand_by();
        term.note(match end {
            End::Asked => "it lets the lease go",
            End::Died => "its engine panicked",
            End::HandedOver => "another collector is to lead",
            End::Lost => "the lease was lost",
        });
        term.running.close().await;
        match end {
            End::Asked => {
                tracing::info!("the collector stops");
                break Ok(());
            }
            End::Died => break Err(RunError::EngineDied),
            End::HandedOver => leadership.stand_back().await,
            End::Lost => {}
        }
    };
    app.stand_by();
    leadership.resign().await;
    watches.shutdown().await;
    outcome
}

/// Until this collector leads; calls are told who does meanwhile.
async fn until_leading(standing: &mut watch::Receiver<Standing>, app: &App) {
    loop {
        let now = standing.borrow_and_update().clone();
        app.follow(now.clone());
        if matches!(now, Standing::Leading { .. }) {
            return;
        }
        if standing.changed().await.is_err() {
            // The election has ended, which it says itself. Nobody leads from here any more.
            std::future::pending::<()>().await;
        }
    }
}

/// How a term ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The process is to end.
    Asked,
    /// The engine panicked.
    Died,
    /// Another collector is to lead; the Lease is still ours.
    HandedOver,
    /// Another collector leads, or may.
    Lost,
}

/// A term of leadership, and the terms that follow it without a break.
struct Term<'a> {
    cluster: &'a Cluster,
    app: &'a App,
    leadership: &'a Leadership,
    running: Running,
}

impl Term<'_> {
    /// Leads until that is lost. The tasks are cut off with this future.
    async fn lead(&mut self, standing: &mut watch::Receiver<Standing>) -> End {
        // The Lease was deleted since this store's collector led: its epochs must not come again.
        self.leadership.raise(Epoch(self.running.epoch));
        let mut tasks = JoinSet::new();
        loop {
            let now = standing.borrow_and_update().clone();
            self.app.follow(now.clone());
            match now {
                Standing::Leading { epoch, .. } => {
                    if epoch.0 > self.running.epoch {
                        self.running.epoch = epoch.0;
                        self.begin(&mut tasks, epoch);
                    }
                }
                Standing::Standby { .. } => return End::Lost,
                Standing::Suspended { .. } => {}
            }
            tokio::select! {
                changed = standing.changed() => {
                    if changed.is_err() {
                        return End::Lost;
                    }
                }
                () = self.running.thread.ended() => return End::Died,
            }
        }
    }

    /// Puts a change of leadership into the audit.
    fn note(&self, reason: &'static str) {
        let KubernetesSettings { namespace, lease, .. } = &self.cluster.settings;
        let object = format!("lease {namespace}/{lease} epoch {}", self.running.epoch);
        let happening = Happening::own(Kind::Leadership, object, reason);
        if let Err(refusal) = self.running.engine.audit(happening) {
            tracing::warn!(cause = %refusal, "a change of leadership is not in the audit");
        }
    }

    /// Starts the tasks of a term; those of the one before are cut off.
    fn begin(&self, tasks: &mut JoinSet<()>, epoch: Epoch) {
        if let Err(refusal) = self.running.engine.lead(epoch.0) {
            tracing::warn!(cause = %refusal, "the store does not know the epoch");
        }
        self.note("it holds the lease");
        *tasks = JoinSet::new();
        tasks::spawn(tasks, self.cluster, &self.running.engine, &self.running.reader);
    }
}
