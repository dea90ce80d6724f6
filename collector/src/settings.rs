//! Settings: arguments and environment (raw), with defaults (merged), checked (validated).
//!
//! ```text
//! flags, PALISADE_* ──> Raw ──defaults, checks──> Settings ──> run
//! ```
//!
//! Only `main` parses [`Raw`]; tests build [`Settings`] by hand. Nothing here opens a file.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use palisade_report::wire::DEFAULT_INTERVAL_SECS;

use crate::engine::DEFAULT_SILENT_AFTER_SECS;
use crate::http::limits::Limits;

mod kubernetes;
mod life;
mod reboots;

pub use kubernetes::KubernetesRaw;
pub use kubernetes::KubernetesSettings;
pub use kubernetes::Outputs;
pub use kubernetes::Serving;
pub use life::LifeRaw;
pub use reboots::Hooks;
pub use reboots::RebootSettings;
pub use reboots::RebootsRaw;

/// Where the collector listens unless told otherwise: this machine only.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7443);

/// Seconds that an interval may have: below it a fleet floods, above it silence is noticed late.
const INTERVAL_BOUNDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// The longest interval with which nodes can be rebooted: grants are handed out in replies to
/// heartbeats, for [`palisade_plan::step::OFFER_SECS`] at a time, and a node that was not heard for
/// [`palisade_plan::plan::AGENT_SILENT_SECS`] gets none.
const MAX_REBOOT_INTERVAL_SECS: u64 = 60;

/// Seconds after which a node may be called silent: beyond a day, nobody would learn of it.
const SILENT_AFTER_BOUNDS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// How often token and certificate files are looked at again.
const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// What arguments and environment say; everything may be missing.
#[derive(Clone, Debug, Default, clap::Parser)]
#[command(name = "palisade-collector", version)]
pub struct Raw {
    /// Address and port to listen on [default: 127.0.0.1:7443]
    #[arg(long, env = "PALISADE_LISTEN", value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Directory of the store; created if missing
    #[arg(long, env = "PALISADE_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Certificate chain in PEM; re-read when it changes
    #[arg(long, env = "PALISADE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key in PEM; re-read when it changes
    #[arg(long, env = "PALISADE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Tokens that agents may use, one per line; re-read when it changes
    #[arg(long, env = "PALISADE_AGENT_TOKEN_FILE", value_name = "FILE")]
    pub agent_token_file: Option<PathBuf>,
    /// Tokens that may ask, one per line
    #[arg(long, env = "PALISADE_VIEWER_TOKEN_FILE", value_name = "FILE")]
    pub viewer_token_file: Option<PathBuf>,
    /// Tokens that may ask and retire nodes, one per line
    #[arg(long, env = "PALISADE_OPERATOR_TOKEN_FILE", value_name = "FILE")]
    pub operator_token_file: Option<PathBuf>,
    /// Profile to judge by [default: the built-in profile `node`]
    #[arg(long, env = "PALISADE_PROFILE", value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Waivers
    #[arg(long, env = "PALISADE_WAIVERS", value_name = "FILE")]
    pub waivers: Option<PathBuf>,
    /// Who is told of which alerts; re-read when it changes [default: nobody]
    #[arg(long, env = "PALISADE_ALERTS", value_name = "FILE")]
    pub alerts: Option<PathBuf>,
    /// Seconds between two heartbeats of an agent [default: 60]
    #[arg(long, env = "PALISADE_INTERVAL", value_name = "SECONDS")]
    pub interval: Option<u64>,
    /// Seconds without a heartbeat after which a node is silent, never before the third that is
    /// missing [default: 300]
    #[arg(long, env = "PALISADE_SILENT_AFTER", value_name = "SECONDS")]
    pub silent_after: Option<u64>,
    /// Connections in all [default: 10000]
    #[arg(long, env = "PALISADE_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,
    /// Connections of one address before its first accepted request [default: 32]
    #[arg(long, env = "PALISADE_MAX_UNPROVEN_PER_ADDRESS", value_name = "N")]
    pub max_unproven_per_address: Option<usize>,
    /// Requests per second that a person's address may make over time [default: 20]
    #[arg(long, env = "PALISADE_QUERIES_PER_SECOND", value_name = "N")]
    pub queries_per_second: Option<u32>,
    /// What is asked for when it serves a cluster
    #[command(flatten)]
    pub kubernetes: KubernetesRaw,
    /// How nodes are rebooted without one
    #[command(flatten)]
    pub reboots: RebootsRaw,
}

/// Everything that the collector needs to know, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Directory of the store.
    pub state_dir: PathBuf,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Token files; `None`: loopback only, and whoever is on this machine may do everything.
    pub tokens: Option<TokenFiles>,
    /// Profile file; `None`: the built-in one.
    pub profile: Option<PathBuf>,
    /// Waivers file.
    pub waivers: Option<PathBuf>,
    /// File of who is told what; `None`: nobody is, and alerts are only shown.
    pub alerts: Option<PathBuf>,
    /// Between two heartbeats of one agent.
    pub interval: Duration,
    /// Without a heartbeat for so long, and for three intervals, a node is silent.
    pub silent_after: Duration,
    /// Bounds on everything from the network.
    pub limits: Limits,
    /// How often token and certificate files are looked at again.
    pub reload_every: Duration,
    /// The cluster that it serves; `None`: standalone, without a single call to any API server.
    pub kubernetes: Option<KubernetesSettings>,
    /// Reboots without a cluster; without them nothing acts on a node of a standalone collector.
    pub reboots: Option<RebootSettings>,
}

/// The files behind TLS, both in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// One file of tokens for each role.
#[derive(Clone, Debug)]
pub struct TokenFiles {
    /// Agents.
    pub agent: PathBuf,
    /// People and tools that ask.
    pub viewer: PathBuf,
    /// People who also change; `None`: nobody may.
    pub operator: Option<PathBuf>,
}

/// The settings contradict each other. At fault: the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// Reachable from elsewhere, and nobody would have to say who they are.
    #[error(
        "refusing to listen on {listen} without tokens: give --agent-token-file and --viewer-token-file, or listen on a loopback address such as 127.0.0.1:7443"
    )]
    OpenToTheNetwork {
        /// The address.
        listen: SocketAddr,
    },
    /// One of the two token files that every guarded collector needs is missing.
    #[error(
        "some token files are given and {missing} is not: give it too, or none of them on a loopback address"
    )]
    TokenFile {
        /// The missing flag.
        missing: &'static str,
    },
    /// Half of a key pair.
    #[error("--tls-cert and --tls-key belong together: {missing} is missing")]
    HalfATls {
        /// The missing flag.
        missing: &'static str,
    },
    /// A flag that means nothing without `--kubernetes`.
    #[error("{flag} says something about a cluster: give --kubernetes too")]
    NoCluster {
        /// The flag.
        flag: &'static str,
    },
    /// A hook where nothing would call it.
    #[error(
        "{flag} is for reboots without a cluster: it goes with --reboot-policy, without --kubernetes"
    )]
    NoReboots {
        /// The flag.
        flag: &'static str,
    },
    /// A hook that would be looked for.
    #[error("{flag} must be an absolute path")]
    Hook {
        /// The flag.
        flag: &'static str,
    },
    /// Outside of what makes sense.
    #[error("--hook-timeout must be between 1 and 3600 seconds, got {got}")]
    HookTimeout {
        /// What was given, in seconds.
        got: u64,
    },
    /// A value that cannot be used in a cluster.
    #[error("{flag} must be {expected}, got {got:?}")]
    Kubernetes {
        /// The flag.
        flag: &'static str,
        /// The shape that it must have.
        expected: &'static str,
        /// What was given.
        got: String,
    },
    /// Token files beside a cluster that knows who everybody is.
    #[error(
        "in a cluster everybody is who the API server says: give --kubernetes or token files, not both"
    )]
    TwoAuthorities,
    /// No place for the store.
    #[error("no place for the store: give --state-dir (or PALISADE_STATE_DIR)")]
    StateDir,
    /// Outside of what makes sense.
    #[error("--interval must be between 1 and 3600 seconds, got {got}")]
    Interval {
        /// What was given, in seconds.
        got: u64,
    },
    /// Nobody would ever be granted a reboot.
    #[error(
        "--reboot-policy needs an --interval of at most {MAX_REBOOT_INTERVAL_SECS} seconds, got {got}"
    )]
    SlowForReboots {
        /// What was given, in seconds.
        got: u64,
    },
    /// Outside of what makes sense.
    #[error("--silent-after must be between 1 and 86400 seconds, got {got}")]
    SilentAfter {
        /// What was given, in seconds.
        got: u64,
    },
    /// A limit of zero would refuse everything.
    #[error("{flag} must be at least 1")]
    ZeroLimit {
        /// The flag.
        flag: &'static str,
    },
}

impl Settings {
    /// Settings for a collector on `listen` with its store in `state_dir`, everything else default.
    #[must_use]
    pub fn new(listen: SocketAddr, state_dir: PathBuf) -> Self {
        Self {
            listen,
            state_dir,
            tls: None,
            tokens: None,
            profile: None,
            waivers: None,
            alerts: None,
            interval: Duration::from_secs(DEFAULT_INTERVAL_SECS),
            silent_after: Duration::from_secs(DEFAULT_SILENT_AFTER_SECS),
            limits: Limits::default(),
            reload_every: RELOAD_EVERY,
            kubernetes: None,
            reboots: None,
        }
    }
}

impl TryFrom<Raw> for Settings {
    type Error = InvalidSettings;

    fn try_from(raw: Raw) -> Result<Self, InvalidSettings> {
        let Raw {
            listen,
            state_dir,
            tls_cert,
            tls_key,
            agent_token_file,
            viewer_token_file,
            operator_token_file,
            profile,
            waivers,
            alerts,
            interval,
            silent_after,
            max_connections,
            max_unproven_per_address,
            queries_per_second,
            kubernetes,
            reboots,
        } = raw;
        let listen = listen.unwrap_or(DEFAULT_LISTEN);
        let tokens = token_files(agent_token_file, viewer_token_file, operator_token_file)?;
        let tls = tls_files(tls_cert, tls_key)?;
        let policy = kubernetes.reboot_policy.clone();
        let reboots = RebootSettings::from_raw(reboots, policy.clone(), kubernetes.kubernetes)?;
        let kubernetes = KubernetesSettings::from_raw(kubernetes, tls.is_some())?;
        if kubernetes.is_some() && tokens.is_some() {
            return Err(InvalidSettings::TwoAuthorities);
        }
        if kubernetes.is_none() && tokens.is_none() && !listen.ip().is_loopback() {
            return Err(InvalidSettings::OpenToTheNetwork { listen });
        }
        let interval = interval.unwrap_or(DEFAULT_INTERVAL_SECS);
        if !INTERVAL_BOUNDS.contains(&interval) {
            return Err(InvalidSettings::Interval { got: interval });
        }
        if policy.is_some() && interval > MAX_REBOOT_INTERVAL_SECS {
            return Err(InvalidSettings::SlowForReboots { got: interval });
        }
        let silent_after = silent_after.unwrap_or(DEFAULT_SILENT_AFTER_SECS);
        if !SILENT_AFTER_BOUNDS.contains(&silent_after) {
            return Err(InvalidSettings::SilentAfter { got: silent_after });
        }
        let mut limits = Limits::default();
        set(&mut limits.connections, max_connections, 0, "--max-connections")?;
        let flag = "--max-unproven-per-address";
        set(&mut limits.unproven_per_address, max_unproven_per_address, 0, flag)?;
        // A short interval must not make an honest agent look like a broken one.
        limits.heartbeat_gain = limits.heartbeat_gain.min(Duration::from_secs(interval) / 3);
        set(&mut limits.queries_per_second, queries_per_second, 0, "--queries-per-second")?;
        Ok(Self {
            tls,
            tokens,
            kubernetes,
            reboots,
            profile,
            waivers,
            alerts,
            interval: Duration::from_secs(interval),
            silent_after: Duration::from_secs(silent_after),
            limits,
            ..Self::new(listen, state_dir.ok_or(InvalidSettings::StateDir)?)
        })
    }
}

fn set<T: PartialEq>(
    slot: &mut T,
    given: Option<T>,
    zero: T,
    flag: &'static str,
) -> Result<(), InvalidSettings> {
    let Some(given) = given else { return Ok(()) };
    if given == zero {
        return Err(InvalidSettings::ZeroLimit { flag });
    }
    *slot = given;
    Ok(())
}

fn token_files(
    agent: Option<PathBuf>,
    viewer: Option<PathBuf>,
    operator: Option<PathBuf>,
) -> Result<Option<TokenFiles>, InvalidSettings> {
    match (agent, viewer, operator) {
        (None, None, None) => Ok(None),
        (Some(agent), Some(viewer), operator) => Ok(Some(TokenFiles { agent, viewer, operator })),
        (None, _, _) => Err(InvalidSettings::TokenFile { missing: "--agent-token-file" }),
        (Some(_), None, _) => Err(InvalidSettings::TokenFile { missing: "--viewer-token-file" }),
    }
}

fn tls_files(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<TlsFiles>, InvalidSettings> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (Some(_), None) => Err(InvalidSettings::HalfATls { missing: "--tls-key" }),
        (None, Some(_)) => Err(InvalidSettings::HalfATls { missing: "--tls-cert" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> Raw {
        Raw { state_dir: Some("state".into()), ..Raw::default() }
    }

    #[test]
    fn without_tokens_only_loopback_is_served() {
        assert_eq!(Settings::try_from(raw()).unwrap().listen, DEFAULT_LISTEN);
        let listen = "0.0.0.0:7443".parse().unwrap();
        let open = Raw { listen: Some(listen), ..raw() };
        let refused = Settings::try_from(open.clone()).unwrap_err();
        assert_eq!(refused, InvalidSettings::OpenToTheNetwork { listen });
        assert!(refused.to_string().contains("--agent-token-file"), "{refused}");
        let guarded =
            Raw { agent_token_file: Some("a".into()), viewer_token_file: Some("v".into()), ..open };
        assert!(Settings::try_from(guarded).is_ok());
    }

    #[test]
    fn half_of_a_pair_is_refused_by_name() {
        let tls = Raw { tls_cert: Some("c".into()), ..raw() };
        let tokens = Raw { operator_token_file: Some("o".into()), ..raw() };
        for (raw, missing) in [(tls, "--tls-key"), (tokens, "--agent-token-file")] {
            let refused = Settings::try_from(raw).unwrap_err().to_string();
            assert!(refused.contains(missing), "{refused}");
        }
    }

    #[test]
    fn nonsense_numbers_and_a_missing_directory_are_refused() {
        assert!(Settings::try_from(Raw::default()).is_err());
        assert!(Settings::try_from(Raw { interval: Some(0), ..raw() }).is_err());
        assert!(Settings::try_from(Raw { max_connections: Some(0), ..raw() }).is_err());
        for secs in [0, 86_401] {
            let refused = Settings::try_from(Raw { silent_after: Some(secs), ..raw() });
            assert_eq!(refused.unwrap_err(), InvalidSettings::SilentAfter { got: secs });
        }
        let reboots = |interval| {
            let reboot_policy = Some("policy.yaml".into());
            let identity = Some("one".to_owned());
            let kubernetes =
                KubernetesRaw { kubernetes: true, reboot_policy, identity, ..raw().kubernetes };
            Settings::try_from(Raw { interval: Some(interval), kubernetes, ..raw() }).map(drop)
        };
        assert_eq!(reboots(61), Err(InvalidSettings::SlowForReboots { got: 61 }));
        assert_eq!(reboots(60), Ok(()));
        let short = Settings::try_from(Raw { silent_after: Some(10), ..raw() }).unwrap();
        assert_eq!(short.silent_after, Duration::from_secs(10));
        assert_eq!(Settings::try_from(raw()).unwrap().silent_after, Duration::from_secs(300));
    }
}
