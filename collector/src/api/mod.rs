//! What answers a call: from the published snapshot, the store's readers, or the engine.
//!
//! Nothing here knows HTTP. A call that arrives before the stored state is loaded is told to come
//! back; `/livez` is answered at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Instant;

use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_rules::Profile;
use tokio::sync::Semaphore;
use tokio::sync::watch as signal;

pub mod answer;
pub mod audit;
pub mod certificates;
pub mod facts;
pub mod findings;
pub mod history;
pub mod index;
pub mod intake;
pub mod metrics;
pub mod nodes;
pub mod page;
pub mod rules;
pub mod sheet;
pub mod summary;
pub mod watch;

use crate::audit::Decision;
use crate::audit::Happening;
use crate::audit::recorder::Recorder;
use crate::auth::Caller;
use crate::auth::Refusal;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::figures::Figures;
use crate::http::Call;
use crate::http::limits::Buckets;
use crate::http::limits::Connections;
use crate::http::limits::Limits;
use crate::http::limits::gain;
use crate::snapshot::Readiness;
use crate::store::CertificateFilter;
use crate::store::ReadError;
use crate::store::Reader;
use answer::Answer;
use answer::Kind;
use answer::Media;
use answer::Refused;
use intake::Sender;

/// What calls are answered from.
#[derive(Debug)]
pub struct App {
    /// Counts of the HTTP side.
    pub figures: Figures,
    /// Bounds.
    pub limits: Limits,
    loaded: OnceLock<Loaded>,
    feeds: signal::Sender<bool>,
    watchers: Arc<Semaphore>,
    connections: Arc<Connections>,
    /// Log lines about refused sections, which a peer causes.
    complaints: Buckets<()>,
    /// What of the refusals is kept.
    recorder: Recorder,
}

/// What there is once the stored state is loaded.
pub struct Loaded {
    /// The engine.
    pub engine: Engine,
    /// Reads beside it.
    pub reader: Reader,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The rules in force, for their documentation.
    pub profile: Arc<Profile>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loaded")
    }
}

/// Log lines about refused sections at once: all of one upload.
const MAX_COMPLAINTS: u32 = 32;

impl App {
    /// An app that answers `/livez` and nothing else until [`Self::load`].
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            figures: Figures::default(),
            loaded: OnceLock::new(),
            feeds: signal::Sender::new(true),
            watchers: Arc::new(Semaphore::new(limits.watchers)),
            connections: Arc::default(),
            complaints: Buckets::new(MAX_COMPLAINTS, gain(1), 1),
            recorder: Recorder::default(),
            limits,
        }
    }

    /// Open connections, counted by the server.
    #[must_use]
    pub const fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Ends all change feeds, which would never end by themselves.
    pub fn stop_feeds(&self) {
        self.feeds.send_replace(false);
    }

    /// From now on calls are answered. A second call changes nothing.
    pub fn load(&self, loaded: Loaded) {
        if self.loaded.set(loaded).is_err() {
            tracing::error!("the stored state was loaded twice");
        }
    }

    /// A tag for what follows from the published snapshot and this question alone.
    #[must_use]
    pub fn tag(&self, question: &str) -> Option<String> {
        let snapshot = self.loaded.get()?.engine.snapshot();
        let question = Digest::of(question.as_bytes()).short();
        Some(format!("\"{}-{}-{question}\"", snapshot.started_at.unix(), snapshot.version))
    }

    fn loaded(&self) -> Result<&Loaded, Refused> {
        self.loaded.get().ok_or_else(|| {
            Refused::new(Kind::NotReady, "the stored state is being loaded").retry_after(1)
        })
    }

    /// Counts a refusal and puts it into the audit, as far as its source has not filled it.
    pub fn refused(&self, refusal: &Refusal, object: String, node: Option<NodeName>, from: IpAddr) {
        let Refusal { denied, caller, claimed } = refusal;
        self.figures.count_denied(denied.reason());
        let (Some(kind), Some(loaded)) = (denied.kind(), self.loaded.get()) else { return };
        let Some(suppressed) = self.recorder.admit(kind, from, Instant::now()) else { return };
        let happening = Happening {
            kind,
            actor: audit::actor(caller, claimed.clone()),
            source: Some(from),
            object,
            node,
            decision: Decision::Refused,
            reason: denied.to_string(),
            before: None,
            after: None,
            suppressed,
        };
        if let Err(refusal) = loaded.engine.audit(happening) {
            tracing::warn!(cause = %refusal, "a refusal is not in the audit");
        }
    }

    /// Answers a call of somebody who may make it.
    pub async fn answer(&self, call: Call, caller: &Caller, from: IpAddr) -> Answer {
        self.try_answer(call, caller, from).await.unwrap_or_else(Answer::Refused)
    }

    async fn try_answer(
        &self,
        call: Call,
        caller: &Caller,
        from: IpAddr,
    ) -> Result<Answer, Refused> {
        let uid = caller.node().map(|node| node.uid.clone());
        match call {
            Call::Audit(query) => audit::list(&self.loaded()?.reader, query).await,
            Call::Live => Ok(Answer::text(Media::Text, "ok\n")),
            Call::Heartbeat { node, heartbeat } => {
                let loaded = self.loaded()?;
                self.figures.count_heartbeat();
                let now = loaded.clock.now();
                Ok(Answer::json(&loaded.engine.heartbeat(node, uid, *heartbeat, now).await?))
            }
            Call::Sections { node, upload } => {
                let Self { figures, complaints, .. } = self;
                let sender = Sender { name: node, uid };
                intake::sections(self.loaded()?, figures, complaints, sender, upload).await
            }
            Call::Retire(node) => {
                let loaded = self.loaded()?;
                let by = Happening {
                    actor: audit::actor(caller, None),
                    source: Some(from),
                    ..Happening::own(
                        audit::Kind::NodeRetired,
                        format!("node {node}"),
                        "somebody asked for it",
                    )
                };
                loaded.engine.retire_by(node.clone(), by).await?;
                tracing::info!(%node, "a node was retired by an operator");
                Ok(Answer::Done)
            }
            Call::Ready => self.ready(),
            Call::Index => Ok(index::page()),
            Call::OpenApi => Ok(Answer::text(Media::Json, OPENAPI)),
            Call::Rules => Ok(rules::list(&self.loaded()?.profile)),
            Call::Summary => {
                let loaded = self.loaded()?;
                Ok(summary::of(&loaded.engine.snapshot(), &loaded.profile))
            }
            Call::Nodes(query) => {
                let snapshot = self.loaded()?.engine.snapshot();
                apart(move || Ok(nodes::list(&snapshot, &query))).await
            }
            Call::Node { node, facts } => {
                let Loaded { engine, reader, profile, clock: _ } = self.loaded()?;
                nodes::one(&engine.snapshot(), reader, profile, &node, &facts).await
            }
            Call::NodeSheet(node) => {
                let Loaded { engine, reader, profile, clock } = self.loaded()?;
                sheet::of(&engine.snapshot(), reader, profile, &node, clock.now()).await
            }
            Call::Findings(query) => {
                let Loaded { engine, profile, reader: _, clock: _ } = self.loaded()?;
                let (snapshot, profile) = (engine.snapshot(), Arc::clone(profile));
                apart(move || findings::list(&snapshot, &profile, &query)).await
            }
            Call::Facts(path) => {
                let Loaded { engine, reader, profile: _, clock: _ } = self.loaded()?;
                facts::list(engine.snapshot(), reader, path).await
            }
            Call::Certificates(query) => {
                let loaded = self.loaded()?;
                certificates::list(&loaded.reader, query, loaded.clock.now()).await
            }
            Call::History(query) => history::list(&self.loaded()?.reader, query).await,
            Call::Metrics => self.metrics().await,
            Call::Watch { after } => self.watch(after),
        }
    }

    fn ready(&self) -> Result<Answer, Refused> {
        // The reason is in the log and in the summary; whoever may ask this need not say who.
        let engine = &self.loaded()?.engine;
        if !engine.is_running() {
            return Err(Refused::new(Kind::NotReady, "the engine has stopped").retry_after(5));
        }
        match engine.snapshot().readiness {
            Readiness::Ready => Ok(Answer::text(Media::Text, "ready\n")),
            Readiness::Failing { .. } => {
                Err(Refused::new(Kind::NotReady, "the store takes no writes").retry_after(5))
            }
        }
    }

    async fn metrics(&self) -> Result<Answer, Refused> {
        let Loaded { engine, reader, profile: _, clock: _ } = self.loaded()?;
        let first = reader.certificates(CertificateFilter::default(), None, 1).await;
        let earliest_end = match first {
            Ok(page) => page.rows.first().and_then(|row| row.not_after),
            Err(error) => {
                // The other figures are worth having while the disk is ill.
                tracing::error!(cause = %Chain(&error), "the certificates cannot be read");
                None
            }
        };
        let open = self.connections.open();
        metrics::text(&engine.snapshot(), &self.figures, open, earliest_end)
    }

    fn watch(&self, after: Option<i64>) -> Result<Answer, Refused> {
        let Loaded { engine, reader, profile: _, clock: _ } = self.loaded()?;
        let Ok(permit) = Arc::clone(&self.watchers).try_acquire_owned() else {
            return Err(Refused::new(Kind::Busy, "too many change feeds").retry_after(30));
        };
        let feed = watch::Feed {
            changes: engine.changes(),
            reader: reader.clone(),
            keep_alive: self.limits.keep_alive,
            open: self.feeds.subscribe(),
            permit,
        };
        Ok(watch::start(feed, after))
    }
}

/// The description of the API, kept by hand and compared with the routes by a test.
const OPENAPI: &str = include_str!("../openapi.json");

/// Walks many nodes beside the workers that answer heartbeats.
async fn apart(
    walk: impl FnOnce() -> Result<Answer, Refused> + Send + 'static,
) -> Result<Answer, Refused> {
    let walked = tokio::task::spawn_blocking(walk).await;
    walked.unwrap_or_else(|_| Err(Refused::new(Kind::Internal, "the question was given up")))
}

/// What people hear when the store cannot be read; the log has the causes.
fn read_failed(error: &ReadError) -> Refused {
    tracing::error!(cause = %Chain(error), "the store cannot be read");
    Refused::new(Kind::Internal, "the store cannot be read")
}

#[cfg(test)]
mod tests;
