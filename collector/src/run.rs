//! Starting, serving and stopping: the order of things, and nothing else.
//!
//! ```text
//! tokens, TLS ─> bind ─> serve (/livez) ─> open store, load state ─> serve all ─> stop: no more
//! connections, running requests end, the engine makes everything durable
//! ```
//!
//! In a cluster the state is opened when this collector comes to lead, and closed when it does not
//! any more: see [`clustered`].

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::api::App;
use crate::api::Loaded;
use crate::api::metrics::notifications::Board;
use crate::auth::Auth;
use crate::auth::Cluster;
use crate::auth::Reach;
use crate::auth::TokenError;
use crate::auth::Tokens;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::engine::Engine;
use crate::engine::EngineSettings;
use crate::engine::EngineThread;
use crate::figures::Figures;
use crate::grants::OfferBook;
use crate::grants::key::SigningKey;
use crate::http::server;
use crate::http::server::Shared;
use crate::judge::LoadJudgeError;
use crate::judge::ProfileJudge;
use crate::kube;
use crate::kube::Clients;
use crate::kube::alert_events::AlertSide;
use crate::kube::authority::make;
use crate::kube::client::ConnectError;
use crate::kube::directory::NodeDirectory;
use crate::kube::review::Account;
use crate::kube::review::ApiReviewer;
use crate::listen::listen;
use crate::notify::file;
use crate::notify::looker::FleetLooker;
use crate::notify::looker::Sight;
use crate::notify::owner;
use crate::notify::owner::Notifier;
use crate::notify::owner::NotifierThread;
use crate::notify::sources::Coordinator;
use crate::planned::Planned;
use crate::reboots::alone;
use crate::settings::KubernetesSettings;
use crate::settings::Settings;
use crate::store::Reader;
use crate::store::Store;
use crate::tls::Reloaded;
use crate::tls::Tls;
use crate::tls::TlsError;

mod clustered;

/// Name of the store's file below the state directory.
const STORE_FILE: &str = "palisade.db";

/// Name of the file of alerts beside it.
const ALERTS_FILE: &str = "alerts.db";

/// How often it is looked what alerts are about: a reboot takes minutes, and people longer.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why the collector cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Rules or waivers cannot be used. At fault: configuration.
    #[error("failed to load rules and waivers")]
    Judge(#[source] LoadJudgeError),
    /// There is no way to the API server. At fault: configuration.
    #[error("failed to set up the way to the cluster")]
    Connect(#[source] ConnectError),
    /// The token files cannot be used. At fault: configuration.
    #[error("failed to read the tokens")]
    Tokens(#[source] TokenError),
    /// Certificate and key cannot be used. At fault: configuration.
    #[error("failed to set up TLS")]
    Tls(#[source] TlsError),
    /// There is nothing to serve with until the Secret has been read. At fault: the machine.
    #[error("failed to make a certificate for the time before there is one")]
    Placeholder(#[source] make::MakeError),
    /// The address cannot be listened on. At fault: configuration, or another process.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The state directory cannot be made. At fault: configuration.
    #[error("failed to make the state directory {path}")]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store cannot be opened. At fault: configuration or the disk.
    #[error("failed to open the store")]
    Open(#[source] crate::store::OpenError),
    /// The engine cannot start. At fault: the disk or the machine.
    #[error("failed to start the engine")]
    Engine(#[source] crate::engine::StartError),
    /// The engine's thread panicked. At fault: us. Everything acknowledged is stored.
    #[error("failed to go on: the engine's thread panicked; start the collector again")]
    EngineDied,
    /// Alerts cannot be kept. At fault: the disk or the machine.
    #[error("failed to start working out alerts")]
    Notifier(#[source] owner::StartNotifierError),
    /// Loading was cut off. At fault: nobody; the process is ending.
    #[error("failed to load the stored state: the process is ending")]
    Interrupted,
}

/// A collector that listens and answers `/livez`; its state is loaded by [`Self::serve`].
#[derive(Debug)]
pub struct Collector {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    shared: Arc<Shared>,
    settings: Settings,
    judge: Arc<ProfileJudge>,
    cluster: Option<kube::Cluster>,
}

impl Collector {
    /// Reads rules, tokens and certificate and binds the address.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn bind(settings: Settings) -> Result<Self, RunError> {
        let tokens =
            settings.tokens.as_ref().map(Tokens::read).transpose().map_err(RunError::Tokens)?;
        let tls = first_tls(&settings)?.map(Arc::new);
        let judge = ProfileJudge::load(settings.profile.as_deref(), settings.waivers.as_deref())
            .map_err(RunError::Judge)?;
        let limits = settings.limits.clone();
        let app = Arc::new(App::new(limits.clone()));
        let cluster = match settings.kubernetes.clone() {
            Some(kubernetes) => {
                let own = kube::Own {
                    tls: tls.clone(),
                    figures: Arc::clone(&app.figures),
                    offers: Arc::clone(&app.offers),
                    planned: Arc::clone(&app.planned),
                    clock: SystemClock::start(),
                    profile: judge.rules().name().to_owned(),
                };
                Some(kube::Cluster::set_up(kubernetes, own).await.map_err(RunError::Connect)?)
            }
            None => None,
        };
        let asked = settings.listen;
        let cannot_listen = |source| RunError::Listen { address: asked, source };
        let listener = listen(asked).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let reach = if address.ip().is_loopback() { Reach::Loopback } else { Reach::Network };
        let auth = Arc::new(match &cluster {
            Some(kube::Cluster { settings, clients, directory, .. }) => {
                let directory: Arc<dyn NodeDirectory> = Arc::clone(directory) as _;
                Auth::cluster(identities(settings, clients, directory), reach, &limits)
            }
            None => Auth::new(tokens, reach, &limits),
        });
        let shared = Arc::new(Shared::new(app, auth, limits));
        let judge = Arc::new(judge);
        Ok(Self { listener, address, tls, shared, settings, judge, cluster })
    }

    /// Where it listens: the port that the kernel chose, if 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Grants that may be handed out, and what nodes said of them.
    #[must_use]
    pub fn offers(&self) -> &Arc<OfferBook> {
        &self.shared.app.offers
    }

    /// Serves until `shutdown` is done; then stops without losing anything.
    ///
    /// # Errors
    /// [`RunError`] if the stored state cannot be loaded.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { listener, address, tls, shared, settings, judge, cluster } = self;
        warn_of_clear_text(&settings);
        let (stop, stopped) = watch::channel(false);
        let serving =
            tokio::spawn(server::serve(listener, tls.clone(), Arc::clone(&shared), stopped));
        let reloading = tokio::spawn(reload(tls, Arc::clone(&shared), settings.clone()));
        let outcome = match cluster {
            Some(cluster) => {
                tracing::info!(%address, "the collector answers as soon as it leads");
                clustered::serve(cluster, &shared.app, &settings, &judge, shutdown)
                    .await
                    .map(|()| None)
            }
            None => alone(address, &shared.app, &settings, &judge, shutdown).await,
        };
        reloading.abort();
        // Ends the accept loop and the change feeds; a receiver that is gone has ended already.
        stop.send_replace(true);
        shared.app.stop_feeds();
        if serving.await.is_err() {
            tracing::error!("the accept loop panicked");
        }
        if let Some(running) = outcome? {
            running.close().await;
        }
        Ok(())
    }
}

/// Serves the stored state until `shutdown` is done; what is returned has still to be closed, after
/// the requests that are running have ended.
async fn alone(
    address: SocketAddr,
    app: &App,
    settings: &Settings,
    judge: &Arc<ProfileJudge>,
    shutdown: impl Future<Output = ()>,
) -> Result<Option<Running>, RunError> {
    let mut running = Running::open(app, settings, judge, AlertSide::default()).await?;
    keep_key(app, settings);
    tracing::info!(%address, "the collector answers");
    let reboots = reboot(reboot_ground(app, settings, &running));
    tokio::select! {
        never = reboots => match never {},
        () = shutdown => {
            tracing::info!("the collector stops");
            Ok(Some(running))
        }
        // Whoever started this process starts it again; going on would answer from a picture that
        // stands still.
        () = running.thread.ended() => Err(RunError::EngineDied),
    }
}

/// What reboots stand on without a cluster; `None` without a policy.
fn reboot_ground(app: &App, settings: &Settings, running: &Running) -> Option<alone::Ground> {
    Some(alone::Ground {
        engine: running.engine.clone(),
        reader: running.reader.clone(),
        clock: Arc::new(SystemClock::start()),
        offers: Arc::clone(&app.offers),
        planned: Arc::clone(&app.planned),
        settings: settings.reboots.clone()?,
        last_epoch: running.epoch,
        locks: settings.state_dir.join("hook-locks"),
    })
}

/// Coordinates reboots for as long as it is polled.
async fn reboot(ground: Option<alone::Ground>) -> Infallible {
    if let Some(ground) = ground {
        alone::coordinate(ground).await;
    }
    std::future::pending().await
}

/// Without a cluster the key that signs grants is a file beside the store. Without one everything but
/// rebooting works.
fn keep_key(app: &App, settings: &Settings) {
    match SigningKey::keep(&settings.state_dir) {
        Ok(key) => {
            tracing::info!(key = %key.id(), "grants are signed with this key");
            app.offers.sign_with(Some(Arc::new(key)));
        }
        Err(error) => tracing::error!(cause = %Chain(&error), "no reboot can be granted"),
    }
}

/// The stored state, open.
#[derive(Debug)]
struct Running {
    engine: Engine,
    thread: EngineThread,
    notifier: Notifier,
    alerts: NotifierThread,
    /// Reads beside the engine.
    reader: Reader,
    /// The highest epoch that the store knew when it was opened.
    epoch: u64,
}

impl Running {
    /// Opens the store, loads the state and lets calls be answered from it.
    async fn open(
        app: &App,
        settings: &Settings,
        judge: &Arc<ProfileJudge>,
        side: AlertSide,
    ) -> Result<Self, RunError> {
        app.await_load();
        let (settings, judge) = (settings.clone(), Arc::clone(judge));
        let (planned, figures) = (Arc::clone(&app.planned), Arc::clone(&app.figures));
        let board = Arc::clone(&app.notified);
        let open = move || load(&settings, judge, planned, figures, board, side);
        let loading = tokio::task::spawn_blocking(open);
        let (running, loaded) = loading.await.unwrap_or(Err(RunError::Interrupted))?;
        // A queue that is empty yet takes it.
        if let Err(refusal) = running.engine.grant_from(Arc::clone(&app.offers)) {
            tracing::error!(cause = %refusal, "no reboot can be granted");
        }
        app.load(loaded);
        Ok(running)
    }

    /// Makes everything durable and closes the store.
    async fn close(self) {
        let Self { engine, thread, notifier, alerts, reader: _, epoch: _ } = self;
        notifier.stop();
        engine.stop();
        let both = || {
            alerts.join();
            thread.join();
        };
        if tokio::task::spawn_blocking(both).await.is_err() {
            tracing::error!("the engine could not be waited for");
        }
    }
}

/// Who is who in the cluster: by its API server, and by what the watches see.
fn identities(
    kubernetes: &KubernetesSettings,
    clients: &Clients,
    directory: Arc<dyn NodeDirectory>,
) -> Cluster {
    let KubernetesSettings { namespace, audience, agent_service_account, .. } = kubernetes;
    let client = clients.acting.clone();
    let reviewer = ApiReviewer::new(client, namespace.clone(), audience.clone());
    let agents = Account::new(namespace, agent_service_account, audience);
    Cluster::new(Arc::new(reviewer), directory, Arc::new(SystemClock::start()), agents)
}

/// Binds and serves with these settings until `shutdown` is done.
///
/// # Errors
/// [`RunError`].
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    Collector::bind(settings).await?.serve(shutdown).await
}

/// What is served from the start: certificate and key from files, or in a cluster a placeholder
/// until the Secret has been read.
fn first_tls(settings: &Settings) -> Result<Option<Tls>, RunError> {
    let tls = match (&settings.tls, &settings.kubernetes) {
        (Some(files), _) => Tls::load(files.clone()),
        (None, Some(_)) => {
            let now = SystemClock::start().now();
            let pair = make::placeholder(now).map_err(RunError::Placeholder)?;
            Tls::handed(pair.certificate.as_bytes(), pair.key.pem().as_bytes())
        }
        (None, None) => return Ok(None),
    };
    tls.map(Some).map_err(RunError::Tls)
}

fn warn_of_clear_text(settings: &Settings) {
    let is_clear = settings.tls.is_none() && settings.kubernetes.is_none();
    if is_clear && !settings.listen.ip().is_loopback() {
        tracing::warn!("tokens travel in clear text: give --tls-cert and --tls-key");
    }
}

fn load(
    settings: &Settings,
    judge: Arc<ProfileJudge>,
    planned: Arc<Planned>,
    figures: Arc<Figures>,
    board: Arc<Board>,
    side: AlertSide,
) -> Result<(Running, Loaded), RunError> {
    let dir = &settings.state_dir;
    make_private_dir(dir).map_err(|source| RunError::StateDir { path: dir.clone(), source })?;
    let store = Store::open(&dir.join(STORE_FILE)).map_err(RunError::Open)?;
    let reader = store.reader().map_err(RunError::Open)?;
    let epoch =
        store.epoch().map_err(|error| RunError::Engine(crate::engine::StartError::Load(error)))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let engine_settings = EngineSettings {
        interval: settings.interval,
        silent_after: settings.silent_after,
        ..EngineSettings::default()
    };
    let profile = Arc::clone(judge.rules());
    let (engine, thread) = Engine::start(store, engine_settings, judge, Arc::clone(&clock))
        .map_err(RunError::Engine)?;
    let of_cluster = settings.kubernetes.as_ref().and_then(|it| it.reboot_policy.as_ref());
    let has_policy = settings.reboots.is_some() || of_cluster.is_some();
    let sight = Sight {
        engine: engine.clone(),
        reader: reader.clone(),
        planned,
        coordinator: if has_policy { Coordinator::Expected } else { Coordinator::None },
        figures,
        rules: Arc::clone(&profile),
        clock: Arc::clone(&clock),
        runtime: Handle::current(),
    };
    let (notifier, alerts) = work_out_alerts(settings, side, sight, board)?;
    let loaded = Loaded {
        engine: engine.clone(),
        reader: reader.clone(),
        clock,
        profile,
        notifier: notifier.clone(),
    };
    Ok((Running { engine, thread, notifier, alerts, reader, epoch }, loaded))
}

/// Starts working out alerts from what the engine shows.
fn work_out_alerts(
    settings: &Settings,
    side: AlertSide,
    sight: Sight,
    board: Arc<Board>,
) -> Result<(Notifier, NotifierThread), RunError> {
    let AlertSide { events, api_server, fence } = side;
    let path = settings.state_dir.join(ALERTS_FILE);
    // A slip in that file keeps nobody from being served. The owner reads it again and tells of it.
    let config = settings.alerts.as_deref().map(|file| file::at_start(file, &path));
    let ground = owner::Ground {
        path,
        config: Arc::new(config.unwrap_or_default()),
        file: settings.alerts.clone(),
        clock: Arc::clone(&sight.clock),
        looker: Box::new(FleetLooker::new(sight)),
        look_every: LOOK_EVERY,
        events,
        api_server,
        fence,
        board,
    };
    Notifier::start(ground, Handle::current()).map_err(RunError::Notifier)
}

/// What nodes say about themselves is not for every user of this machine.
fn make_private_dir(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Looks at token and certificate files again and again. What cannot be used is said once, and
/// what was in use stays in use.
async fn reload(tls: Option<Arc<Tls>>, shared: Arc<Shared>, settings: Settings) {
    let mut complaints = [None, None];
    let [token_complaint, tls_complaint] = &mut complaints;
    loop {
        tokio::time::sleep(settings.reload_every).await;
        if let Some(files) = &settings.tokens {
            match Tokens::read(files) {
                Ok(tokens) => {
                    *token_complaint = None;
                    if shared.auth.replace(tokens) {
                        tracing::info!("the tokens were replaced");
                    }
                }
                Err(error) => complain_once(token_complaint, Chain(&error).to_string()),
            }
        }
        if let Some(tls) = &tls {
            match tls.reload() {
                Ok(Reloaded::Replaced) => {
                    *tls_complaint = None;
                    tracing::info!("the certificate was replaced");
                }
                Ok(Reloaded::Unchanged) => *tls_complaint = None,
                Err(error) => complain_once(tls_complaint, Chain(&error).to_string()),
            }
            shared.app.figures.set_serving_end(tls.end());
        }
    }
}

fn complain_once(last: &mut Option<String>, complaint: String) {
    if last.as_ref() != Some(&complaint) {
        tracing::warn!(cause = %complaint, "a changed file cannot be used; the old one stays in use");
        *last = Some(complaint);
    }
}
