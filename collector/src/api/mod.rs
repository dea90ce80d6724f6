//! What answers a call: from the published snapshot, the store's readers, or the engine.
//!
//! Nothing here knows HTTP. A call that arrives before the stored state is loaded, or while another
//! collector leads, is told to come back; `/livez` and `/metrics` are answered at any time. Figures of
//! nodes and certificates are nobody's while another collector leads.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Instant;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_rules::Profile;
use tokio::sync::Semaphore;
use tokio::sync::watch as signal;

mod alerts;
pub mod answer;
pub mod audit;
pub mod certificates;
pub mod explain;
pub mod facts;
pub mod findings;
pub mod history;
pub mod index;
pub mod intake;
pub mod metrics;
pub mod nodes;
pub mod page;
pub mod plan;
pub mod reboots;
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
use crate::grants::OfferBook;
use crate::http::Call;
use crate::http::limits::Buckets;
use crate::http::limits::Connections;
use crate::http::limits::Limits;
use crate::http::limits::gain;
use crate::http::route::RouteName;
use crate::kube::Standing;
use crate::notify::owner::Notifier;
use crate::planned::Planned;
use crate::snapshot::Readiness;
use crate::store::CertificateFilter;
use crate::store::ReadError;
use crate::store::Reader;
use answer::Answer;
use answer::Kind;
use answer::Media;
use answer::Refused;
use intake::Sender;
use metrics::kept::Kept;
use metrics::notifications::Board;

/// What calls are answered from.
#[derive(Debug)]
pub struct App {
    /// Counts of the HTTP side.
    pub figures: Arc<Figures>,
    /// Grants that may be handed out, and what nodes said of them.
    pub offers: Arc<OfferBook>,
    /// What the coordinator of reboots plans, and where it is asked for something.
    pub planned: Arc<Planned>,
    /// Where the notifier shows its figures.
    pub notified: Arc<Board>,
    /// Bounds.
    pub limits: Limits,
    service: RwLock<Service>,
    /// What this collector is among its replicas; `None`: it has none.
    standing: RwLock<Option<Standing>>,
    watchers: Arc<Semaphore>,
    connections: Arc<Connections>,
    /// Log lines about refused sections, which a peer causes.
    complaints: Buckets<()>,
    /// What of the refusals is kept.
    recorder: Recorder,
    /// Figures of nodes and certificates as they were told last.
    kept: Kept,
}

/// What calls are answered from at this moment.
#[derive(Debug)]
enum Service {
    /// Nothing yet: the stored state is being loaded.
    Loading,
    /// The state; its feeds run until the signal turns false.
    Open { loaded: Arc<Loaded>, feeds: signal::Sender<bool> },
    /// Nothing: another collector leads.
    Standby,
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
    /// Alerts.
    pub notifier: Notifier,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loaded")
    }
}

/// When to come back to a collector that stands by: the Service leads to another one as soon as its
/// endpoints follow, which takes a probe or two.
const STANDBY_RETRY_SECS: u64 = 3;

/// Log lines about refused sections at once: all of one upload.
const MAX_COMPLAINTS: u32 = 32;

impl App {
    /// An app that answers `/livez` and nothing else until [`Self::load`].
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            figures: Arc::default(),
            offers: Arc::default(),
            planned: Arc::default(),
            notified: Arc::default(),
            service: RwLock::new(Service::Loading),
            standing: RwLock::new(None),
            watchers: Arc::new(Semaphore::new(limits.watchers)),
            connections: Arc::default(),
            complaints: Buckets::new(MAX_COMPLAINTS, gain(1), 1),
            recorder: Recorder::default(),
            kept: Kept::default(),
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
        let service = self.service.read().unwrap_or_else(PoisonError::into_inner);
        if let Service::Open { feeds, .. } = &*service {
            feeds.send_replace(false);
        }
    }

    /// From now on calls are answered from this.
    pub fn load(&self, loaded: Loaded) {
        let feeds = signal::Sender::new(true);
        self.serve_by(Service::Open { loaded: Arc::new(loaded), feeds });
    }

    /// From now on calls wait for the state that is being loaded.
    pub fn await_load(&self) {
        self.serve_by(Service::Loading);
    }

    /// From now on calls are for another collector. Ends all change feeds.
    pub fn stand_by(&self) {
        self.stop_feeds();
        self.serve_by(Service::Standby);
    }

    fn serve_by(&self, service: Service) {
        *self.service.write().unwrap_or_else(PoisonError::into_inner) = service;
    }

    /// Takes note of what this collector is among its replicas.
    pub fn follow(&self, standing: Standing) {
        *self.standing.write().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }

    fn standing(&self) -> Option<Standing> {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a call is not for this collector; asked before it is known who calls.
    #[must_use]
    pub fn unavailable(&self, name: RouteName) -> Option<Refused> {
        if matches!(
            name,
            RouteName::Live
                | RouteName::Metrics
                | RouteName::MetricsOfCertificates
                | RouteName::MetricsOfNodes
        ) {
            return None;
        }
        let service = self.service.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*service, Service::Standby).then(|| {
            let message = match self.standing() {
                Some(Standing::Standby { leader: Some(leader) }) => {
                    format!("standby: {leader} leads")
                }
                Some(
                    Standing::Leading { .. }
                    | Standing::Standby { leader: None }
                    | Standing::Suspended { .. },
                )
                | None => "standby: nobody is known to lead yet".to_owned(),
            };
            Refused::new(Kind::Standby, message).retry_after(STANDBY_RETRY_SECS)
        })
    }

    /// A tag for what follows from the published snapshot and this question alone.
    #[must_use]
    pub fn tag(&self, question: &str) -> Option<String> {
        let snapshot = self.loaded().ok()?.engine.snapshot();
        let question = Digest::of(question.as_bytes()).short();
        Some(format!("\"{}-{}-{question}\"", snapshot.started_at.unix(), snapshot.version))
    }

    fn loaded(&self) -> Result<Arc<Loaded>, Refused> {
        let service = self.service.read().unwrap_or_else(PoisonError::into_inner);
        match &*service {
            Service::Loading => {
                let message = "the stored state is being loaded";
                Err(Refused::new(Kind::NotReady, message).retry_after(1))
            }
            Service::Open { loaded, .. } => Ok(Arc::clone(loaded)),
            Service::Standby => {
                Err(Refused::new(Kind::Standby, "standby").retry_after(STANDBY_RETRY_SECS))
            }
        }
    }

    /// Counts a refusal and puts it into the audit, as far as its source has not filled it.
    pub fn refused(&self, refusal: &Refusal, object: String, node: Option<NodeName>, from: IpAddr) {
        let Refusal { denied, caller, claimed } = refusal;
        self.figures.count_denied(denied.reason());
        let (Some(kind), Ok(loaded)) = (denied.kind(), self.loaded()) else { return };
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
            Call::Alerts(call) => {
                alerts::answer(&*self.loaded()?, call, alerts::Asker { caller, from }).await
            }
            Call::Audit(query) => audit::list(&self.loaded()?.reader, query).await,
            Call::Errand { node, errand } => {
                let loaded = self.loaded()?;
                let by = match caller {
                    Caller::Person(person) => person.user.clone(),
                    Caller::Agent(_) | Caller::Anybody => audit::actor(caller, None).to_string(),
                };
                let happening = Happening {
                    actor: audit::actor(caller, None),
                    source: Some(from),
                    ..Happening::own(audit::Kind::Reboot, format!("node {node}"), errand.about())
                };
                let now = loaded.clock.now();
                let wish = happening.about(node.clone());
                reboots::ask(&loaded.engine, &self.planned, node, errand, by, wish, now).await
            }
            Call::ReleasePool(pool) => {
                let loaded = self.loaded()?;
                let object = format!("pool {}", palisade_report::bound::clean_text(&pool));
                let about = "a person released the pool";
                let wish = Happening {
                    actor: audit::actor(caller, None),
                    source: Some(from),
                    ..Happening::own(audit::Kind::Reboot, object, about)
                };
                reboots::release_pool(&loaded.engine, &self.planned, pool, wish).await
            }
            Call::Explain { node, prose } => {
                let (planned, now) = (Arc::clone(&self.planned), self.loaded()?.clock.now());
                apart(move || explain::of(&planned, &node, prose, now)).await
            }
            Call::Live => Ok(Answer::text(Media::Text, "ok\n")),
            Call::GrantAnswer { node, id, report } => {
                let by = Happening {
                    actor: audit::actor(caller, None),
                    source: Some(from),
                    ..Happening::own(
                        audit::Kind::GrantAnswered,
                        format!("grant {id} of node {node}"),
                        "",
                    )
                };
                self.loaded()?.engine.grant_answered(node, uid, id, report, by).await?;
                Ok(Answer::Done)
            }
            Call::Heartbeat { node, heartbeat } => {
                let loaded = self.loaded()?;
                self.figures.count_heartbeat();
                let now = loaded.clock.now();
                Ok(Answer::json(&loaded.engine.heartbeat(node, uid, *heartbeat, now).await?))
            }
            Call::Sections { node, upload } => {
                let Self { figures, complaints, .. } = self;
                let sender = Sender { name: node, uid };
                intake::sections(&*self.loaded()?, figures, complaints, sender, upload).await
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
                let told = loaded.notifier.board().seen();
                Ok(summary::of(&loaded.engine.snapshot(), &loaded.profile, &told))
            }
            Call::Nodes(query) => {
                let snapshot = self.loaded()?.engine.snapshot();
                apart(move || Ok(nodes::list(&snapshot, &query))).await
            }
            Call::Node { node, facts } => {
                let loaded = self.loaded()?;
                let Loaded { engine, reader, profile, .. } = &*loaded;
                nodes::one(&engine.snapshot(), reader, profile, &node, &facts).await
            }
            Call::NodeSheet(node) => {
                let loaded = self.loaded()?;
                let Loaded { engine, reader, profile, clock, .. } = &*loaded;
                sheet::of(&engine.snapshot(), reader, profile, &node, clock.now()).await
            }
            Call::Findings(query) => {
                let loaded = self.loaded()?;
                let Loaded { engine, profile, .. } = &*loaded;
                let (snapshot, profile) = (engine.snapshot(), Arc::clone(profile));
                apart(move || findings::list(&snapshot, &profile, &query)).await
            }
            Call::Facts(path) => {
                let loaded = self.loaded()?;
                let Loaded { engine, reader, .. } = &*loaded;
                facts::list(engine.snapshot(), reader, path).await
            }
            Call::Certificates(query) => {
                let loaded = self.loaded()?;
                certificates::list(&loaded.reader, query, loaded.clock.now()).await
            }
            Call::History(query) => history::list(&self.loaded()?.reader, query).await,
            Call::Metrics => self.metrics().await,
            Call::MetricsOfCertificates => match self.told()? {
                Some(loaded) => self.kept.certificates(&loaded).await,
                None => Ok(metrics::no_certificates()),
            },
            Call::MetricsOfNodes => match self.told()? {
                Some(loaded) => self.kept.nodes(&loaded, &self.planned).await,
                None => Ok(metrics::no_nodes()),
            },
            Call::Plan(query) => {
                let planned = Arc::clone(&self.planned);
                apart(move || plan::list(&planned, &query)).await
            }
            Call::Reboots => reboots::list(&self.planned),
            Call::Watch { after } => self.watch(after),
            Call::WhatIf { policy, query } => {
                let (planned, now) = (Arc::clone(&self.planned), self.loaded()?.clock.now());
                apart(move || plan::what_if(&planned, &policy, &query, now)).await
            }
        }
    }

    fn ready(&self) -> Result<Answer, Refused> {
        // The reason is in the log and in the summary; whoever may ask this need not say who.
        let loaded = self.loaded()?;
        let engine = &loaded.engine;
        if let Some(Standing::Suspended { .. }) = self.standing() {
            let message = "suspended: the lease was not renewed in time";
            return Err(Refused::new(Kind::NotReady, message).retry_after(1));
        }
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

    /// What figures are told from; `None`: another collector tells them, which is no fault of this one.
    fn told(&self) -> Result<Option<Arc<Loaded>>, Refused> {
        match self.loaded() {
            Ok(loaded) => Ok(Some(loaded)),
            Err(refused) if refused.kind == Kind::Standby => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    async fn metrics(&self) -> Result<Answer, Refused> {
        let fleet = match self.loaded() {
            Ok(loaded) => Some(metrics::Fleet {
                snapshot: loaded.engine.snapshot(),
                earliest_end: earliest_end(&loaded.reader).await,
            }),
            // Who stands by, or is loading, has figures of its own.
            Err(_) => None,
        };
        let (open, standing) = (self.connections.open(), self.standing());
        let now = self.loaded().ok().map(|loaded| loaded.clock.now());
        let seen = self.notified.seen();
        let (figures, planned) = (&self.figures, &self.planned);
        metrics::text(fleet.as_ref(), figures, open, standing.as_ref(), planned, (&seen, now))
    }

    fn watch(&self, after: Option<i64>) -> Result<Answer, Refused> {
        let service = self.service.read().unwrap_or_else(PoisonError::into_inner);
        let Service::Open { loaded, feeds } = &*service else {
            return Err(Refused::new(Kind::NotReady, "the state is not loaded").retry_after(1));
        };
        let Loaded { engine, reader, .. } = &**loaded;
        let Ok(permit) = Arc::clone(&self.watchers).try_acquire_owned() else {
            return Err(Refused::new(Kind::Busy, "too many change feeds").retry_after(30));
        };
        let feed = watch::Feed {
            changes: engine.changes(),
            reader: reader.clone(),
            keep_alive: self.limits.keep_alive,
            open: feeds.subscribe(),
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

/// The end of the certificate that ends first; `None`: there is none, or the disk is ill, and the
/// other figures are worth having.
async fn earliest_end(reader: &Reader) -> Option<Moment> {
    match reader.certificates(CertificateFilter::default(), None, 1).await {
        Ok(page) => page.rows.first().and_then(|row| row.not_after),
        Err(error) => {
            tracing::error!(cause = %Chain(&error), "the certificates cannot be read");
            None
        }
    }
}

/// What people hear when the store cannot be read; the log has the causes.
fn read_failed(error: &ReadError) -> Refused {
    tracing::error!(cause = %Chain(error), "the store cannot be read");
    Refused::new(Kind::Internal, "the store cannot be read")
}

#[cfg(test)]
mod tests;
