//! The ways to the API server: one client that reads, one that acts, one for the Lease.
//!
//! ```text
//! reading   GET, watch; retries 429, 503 and 504 up to 15 times by itself, as kube does; a watch is
//!           asked to end each minute, so that longer silence is a connection that leads nowhere
//! acting    everything that changes something, and reviews; never retries, behind the fence
//! electing  the Lease; never retries, no fence: it is what opens the fence
//! ```
//!
//! An answer that tells nothing (a timeout, a 504, a cut connection) may stand for a change that
//! was carried out: [`CallError::carried_out`] keeps the two apart, and no client here tries such a
//! request again.

use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::header::USER_AGENT;
use kube::Client;
use kube::Config;
use kube::client::ClientBuilder;
use kube::config::KubeConfigOptions;
use kube::config::Kubeconfig;
use palisade_report::bound::clean_text;

use super::fence::Fence;
use super::fence::NotLeader;

/// Name and version in the `User-Agent` of every request.
pub const PRODUCT: &str = concat!("palisade-collector/", env!("CARGO_PKG_VERSION"));

/// How long a call that asks or changes one thing may take, unless its caller has less time.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence on a connection that waits for an answer, for clients that watch nothing: beyond every
/// call's own timeout, so that it only ends what nobody waits for any more.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the API server is asked to let a watch last. A watch that says nothing for longer is not
/// quiet but cut off, and what it does not say must not pass for gone.
pub const WATCH_SECS: u32 = 60;

/// Silence on a connection that reads: beyond a quiet watch, and the little longer that the watcher
/// itself waits for its end. It also ends the wait for a list, and for a watch to begin.
const READ_SILENCE_TIMEOUT: Duration = Duration::from_secs(75);

/// The clients. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    /// For reading and watching; repeats itself.
    pub reading: Client,
    /// For everything that changes or decides something; never repeats itself. Refuses changes with
    /// [`CallError::NotLeader`] while this process does not lead; reviews change nothing.
    pub acting: Client,
    /// For the Lease only.
    pub(super) electing: Client,
    /// Hosts by which the API server is reached.
    servers: Vec<String>,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

/// Why there is no way to the API server. At fault: configuration. That it does not answer is none
/// of these: that heals.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read or used.
    #[error("failed to use the kubeconfig {path}: {said}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What was wrong; kube's errors name their causes themselves.
        said: String,
    },
    /// What every pod has is not there.
    #[error(
        "failed to find the API server as a pod does: {said}; outside of one give --kubeconfig"
    )]
    InCluster {
        /// What was missing.
        said: String,
    },
    /// Certificates or credentials cannot be used.
    #[error("failed to set up the way to the API server: {said}")]
    Build {
        /// What was wrong.
        said: String,
    },
}

impl Clients {
    /// Sets up the clients. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(kubeconfig: Option<&Path>, fence: &Fence) -> Result<Self, ConnectError> {
        let mut config = match kubeconfig {
            Some(path) => from_kubeconfig(path).await?,
            None => Config::incluster()
                .map_err(|error| ConnectError::InCluster { said: said(&error) })?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let servers = servers(&config, std::env::var(SERVICE_HOST).ok());
        let mut named = config.clone();
        named.headers.push((USER_AGENT, HeaderValue::from_static(PRODUCT)));
        let reading = build(patient(named.clone()), None)?;
        let quick = |mut config: Config| {
            config.default_retry = false;
            config.read_timeout = Some(SILENCE_TIMEOUT);
            config.reset_reader_on_write = true;
            config
        };
        // The fence names the product itself, together with the epoch.
        let acting = build(quick(config), Some(fence))?;
        let electing = build(quick(named), None)?;
        Ok(Self { reading, acting, electing, servers })
    }

    /// Addresses of the API server as far as they can be told: of a name that cannot be resolved
    /// now, none.
    pub async fn server_addresses(&self) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for host in &self.servers {
            if let Ok(address) = host.parse() {
                addresses.push(address);
                continue;
            }
            let asked = tokio::net::lookup_host((host.as_str(), 0));
            match tokio::time::timeout(CONNECT_TIMEOUT, asked).await {
                Ok(Ok(found)) => addresses.extend(found.map(|it| it.ip())),
                Ok(Err(error)) => {
                    tracing::warn!(host, %error, "the API server's address is not known");
                }
                Err(_) => tracing::warn!(host, "the API server's address is not known in time"),
            }
        }
        addresses
    }
}

#[cfg(test)]
impl Clients {
    /// Clients of a server that a test makes; no fence is before it.
    pub(crate) fn by(client: impl Fn() -> Client) -> Self {
        Self { reading: client(), acting: client(), electing: client(), servers: Vec::new() }
    }
}

/// Where a pod finds the API server, see "Accessing the Kubernetes API from a Pod".
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";

/// Hosts of the API server: the one that is asked, and the Service within the cluster.
fn servers(config: &Config, service: Option<String>) -> Vec<String> {
    let host = config.cluster_url.host().map(str::to_owned);
    let bare = |host: String| host.trim_matches(['[', ']']).to_owned();
    let mut servers: Vec<_> = host.into_iter().chain(service).map(bare).collect();
    servers.retain(|host| !host.is_empty());
    servers.dedup();
    servers
}

fn patient(mut config: Config) -> Config {
    config.read_timeout = Some(READ_SILENCE_TIMEOUT);
    config.reset_reader_on_write = true;
    config
}

async fn from_kubeconfig(path: &Path) -> Result<Config, ConnectError> {
    let unusable = |error: kube::config::KubeconfigError| ConnectError::Kubeconfig {
        path: path.to_owned(),
        said: said(&error),
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)
}

fn build(config: Config, fence: Option<&Fence>) -> Result<Client, ConnectError> {
    let builder = ClientBuilder::try_from(config)
        .map_err(|error| ConnectError::Build { said: said(&error) })?;
    Ok(match fence {
        Some(fence) => builder.with_layer(fence).build(),
        None => builder.build(),
    })
}

/// What a foreign error says, fit for a log: bounded, without control characters. kube prints
/// causes within its messages, so the chain ends here.
fn said(error: &dyn std::error::Error) -> String {
    clean_text(&error.to_string())
}

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// This process does not lead; nothing was sent.
    #[error("failed to act: this collector does not lead")]
    NotLeader,
    /// The API server answered with a refusal or a failure.
    #[error("failed with status {code} ({reason}): {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// The word for it, such as `Conflict`.
        reason: String,
        /// The sentence.
        message: String,
    },
    /// No answer in time.
    #[error("failed to get an answer within {0:?}")]
    TimedOut(Duration),
    /// No answer that could be understood: no connection, cut off, not JSON.
    #[error("failed to reach the API server: {said}")]
    Unreached {
        /// What happened.
        said: String,
    },
}

/// Whether the change that was asked for may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarriedOut {
    /// It did not.
    No,
    /// Nobody can tell; read before the next try.
    Unknown,
}

impl CallError {
    /// Whether the change that was asked for may have happened.
    #[must_use]
    pub const fn carried_out(&self) -> CarriedOut {
        match self {
            Self::NotLeader => CarriedOut::No,
            // 408 of a proxy says as little as a timeout of ours.
            Self::Refused { code: 400..=407 | 409..=499, .. } => CarriedOut::No,
            Self::Refused { .. } | Self::TimedOut(_) | Self::Unreached { .. } => {
                CarriedOut::Unknown
            }
        }
    }

    /// Whether the API server answered with this status.
    #[must_use]
    pub const fn is(&self, status: u16) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == status)
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            return Self::Refused {
                code: status.code,
                reason: clean_text(&status.reason),
                message: clean_text(&status.message),
            };
        }
        if matches!(&error, kube::Error::Service(error) if error.is::<NotLeader>()) {
            return Self::NotLeader;
        }
        Self::Unreached { said: said(&error) }
    }
}

/// Makes a call that must be answered within `within`.
///
/// # Errors
/// [`CallError`].
pub async fn call<T>(
    within: Duration,
    asked: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(within, asked).await {
        Ok(answer) => answer.map_err(CallError::from),
        Err(_) => Err(CallError::TimedOut(within)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fence::MachineClock;
    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named() {
        let path = Path::new("/nowhere/kubeconfig");
        let fence = Fence::shut(Arc::new(MachineClock));
        let refused = Clients::connect(Some(path), &fence).await.unwrap_err().to_string();
        assert!(refused.contains("/nowhere/kubeconfig"), "{refused}");
    }

    #[tokio::test]
    async fn the_addresses_of_the_api_server_are_told_in_every_form() {
        let config = |url: &str| Config::new(url.parse().unwrap());
        let service = Some("10.96.0.1".to_owned());
        let found = servers(&config("https://[fd00::1]:6443/"), service.clone());
        assert_eq!(found, ["fd00::1", "10.96.0.1"]);
        assert_eq!(servers(&config("https://10.96.0.1/"), service), ["10.96.0.1"]);
        let mut clients = Clients::by(|| build(config("http://127.0.0.1:1"), None).unwrap());
        clients.servers = vec!["fd00::1".to_owned(), "localhost".to_owned()];
        let addresses = clients.server_addresses().await;
        assert_eq!(addresses[0], "fd00::1".parse::<IpAddr>().unwrap());
        assert!(addresses[1..].iter().any(IpAddr::is_loopback), "{addresses:?}");
    }

    /// Virtual time moves on its own once everybody waits. The connection is made; then nothing.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_leads_nowhere_ends_a_list_and_a_watch_that_waits() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let holds = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        let client = build(patient(Config::new(url)), None).unwrap();
        let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client);
        let began = tokio::time::Instant::now();
        nodes.list(&kube::api::ListParams::default()).await.unwrap_err();
        let watch = kube::api::WatchParams::default();
        assert!(nodes.watch(&watch, "1").await.is_err());
        assert!(began.elapsed() >= READ_SILENCE_TIMEOUT, "{:?}", began.elapsed());
        let watched = Duration::from_secs(u64::from(WATCH_SECS));
        assert!(watched < READ_SILENCE_TIMEOUT, "a quiet watch is no broken one");
        holds.abort();
    }

    #[test]
    fn only_a_clear_refusal_says_that_nothing_was_changed() {
        let refused =
            |code| CallError::Refused { code, reason: String::new(), message: String::new() };
        for code in [400, 403, 404, 409, 422, 429] {
            assert_eq!(refused(code).carried_out(), CarriedOut::No, "{code}");
        }
        for code in [408, 500, 503, 504] {
            assert_eq!(refused(code).carried_out(), CarriedOut::Unknown, "{code}");
        }
        assert_eq!(CallError::TimedOut(CALL_TIMEOUT).carried_out(), CarriedOut::Unknown);
        assert_eq!(CallError::NotLeader.carried_out(), CarriedOut::No);
    }
}
