//! Settings of `run`: as given (all optional, from flags and `PALISADE_*`), then validated.
//!
//! Flags win over the environment; `clap` merges the two. Nothing is read from disk here.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use hyper::Uri;
use palisade_report::NodeName;
use palisade_report::wire::DEFAULT_INTERVAL_SECS;

use crate::sandbox::Confine;

/// Shortest interval that may be asked for, in seconds: the collector's limit for one node.
pub const MIN_INTERVAL_SECS: u64 = 5;

/// Longest interval that may be asked for, in seconds: a day.
pub const MAX_INTERVAL_SECS: u64 = 24 * 60 * 60;

/// What was given, by flag or by environment.
#[derive(Clone, Debug, Args)]
pub struct RawSettings {
    /// Directory that is inspected as a host: `/`, a mounted host, or a captured tree
    #[arg(long, value_name = "DIR", default_value = "/", env = "PALISADE_ROOT")]
    pub root: PathBuf,
    /// Address of the collector: https://HOST:PORT, or http:// for one on this machine
    #[arg(long, value_name = "URL", env = "PALISADE_COLLECTOR")]
    pub collector: String,
    /// Name of this node; the host's own name if not given
    #[arg(long, value_name = "NAME", env = "PALISADE_NODE")]
    pub node: Option<String>,
    /// File with the token that is presented to the collector; read again for every request
    #[arg(long, value_name = "FILE", env = "PALISADE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// File with the only authorities (PEM) that may vouch for an https collector
    #[arg(long, value_name = "FILE", env = "PALISADE_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Seconds between two heartbeats until the collector assigns slots
    #[arg(long, value_name = "SECS", env = "PALISADE_INTERVAL")]
    pub interval: Option<u64>,
    /// Profile that decides how far readers look; the built-in one if not given
    #[arg(long, value_name = "FILE", env = "PALISADE_PROFILE")]
    pub profile: Option<PathBuf>,
    /// Socket of the process that can reboot this node; /run/palisade-grants/socket if its directory
    /// is there when the agent starts
    #[arg(long, value_name = "SOCKET", env = "PALISADE_REBOOTER")]
    pub rebooter: Option<PathBuf>,
    /// Whether one process reads the host and another parses what it read
    #[arg(long, value_enum, default_value_t, env = "PALISADE_CONFINE")]
    pub confine: Confine,
}

/// Settings that hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The inspected directory.
    pub root: PathBuf,
    /// The collector.
    pub collector: Endpoint,
    /// This node's name; `None` for the host's own.
    pub node: Option<NodeName>,
    /// Where the token is.
    pub token_file: Option<PathBuf>,
    /// Where the authorities are; always there for an https collector.
    pub ca_file: Option<PathBuf>,
    /// Between two heartbeats until the collector assigns slots.
    pub interval: Duration,
    /// The profile's file.
    pub profile: Option<PathBuf>,
    /// Where the rebooter takes grants; `None`: where it is by default, if anywhere.
    pub rebooter: Option<PathBuf>,
    /// Whether reading and parsing are split.
    pub confine: Confine,
}

/// Settings that do not hold together. At fault: the configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// `https` without authorities.
    #[error("an https collector needs --ca-file: only that file's authorities are trusted")]
    AuthoritiesMissing,
    /// The collector's address.
    #[error("malformed --collector: expected https://HOST:PORT or http://HOST:PORT")]
    Collector(#[source] MalformedEndpoint),
    /// The interval is out of bounds.
    #[error(
        "--interval {given} is out of bounds: expected {MIN_INTERVAL_SECS} to {MAX_INTERVAL_SECS} seconds"
    )]
    Interval {
        /// As given.
        given: u64,
    },
    /// The node's name.
    #[error("malformed --node")]
    Node(#[source] palisade_report::id::MalformedNodeName),
    /// A token would cross the network unprotected.
    #[error("a token is never sent to {endpoint} unencrypted: use https, or a loopback address")]
    PlainToken {
        /// The collector.
        endpoint: Endpoint,
    },
}

impl RawSettings {
    /// The settings, if they hold together.
    ///
    /// # Errors
    /// [`SettingsError`], naming the flag to change.
    pub fn validate(self) -> Result<Settings, SettingsError> {
        let Self {
            root,
            collector,
            node,
            token_file,
            ca_file,
            interval,
            profile,
            rebooter,
            confine,
        } = self;
        let collector: Endpoint = collector.parse().map_err(SettingsError::Collector)?;
        let node = node.map(|name| name.parse().map_err(SettingsError::Node)).transpose()?;
        let given = interval.unwrap_or(DEFAULT_INTERVAL_SECS);
        if !(MIN_INTERVAL_SECS..=MAX_INTERVAL_SECS).contains(&given) {
            return Err(SettingsError::Interval { given });
        }
        if collector.secure && ca_file.is_none() {
            return Err(SettingsError::AuthoritiesMissing);
        }
        if token_file.is_some() && !collector.secure && !collector.is_loopback() {
            return Err(SettingsError::PlainToken { endpoint: collector });
        }
        let interval = Duration::from_secs(given);
        Ok(Settings {
            root,
            collector,
            node,
            token_file,
            ca_file,
            interval,
            profile,
            rebooter,
            confine,
        })
    }
}

/// Where a collector listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether it speaks TLS.
    pub secure: bool,
    /// A name or address, IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// The text is not the address of a collector. At fault: the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEndpoint {
    /// It has a path, a query or user information.
    #[error("expected nothing after the port and no user information")]
    Extra,
    /// Neither `http` nor `https`.
    #[error("expected the scheme http or https")]
    Scheme,
    /// No URL.
    #[error("not a URL")]
    Url,
}

impl FromStr for Endpoint {
    type Err = MalformedEndpoint;

    fn from_str(text: &str) -> Result<Self, MalformedEndpoint> {
        let uri: Uri = text.parse().map_err(|_| MalformedEndpoint::Url)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(MalformedEndpoint::Scheme),
        };
        let authority = uri.authority().ok_or(MalformedEndpoint::Url)?;
        if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") {
            return Err(MalformedEndpoint::Extra);
        }
        if uri.query().is_some() {
            return Err(MalformedEndpoint::Extra);
        }
        let host = authority.host();
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() != host => return Err(MalformedEndpoint::Url),
            None if secure => 443,
            None => 80,
        };
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(MalformedEndpoint::Url);
        }
        Ok(Self { secure, host: host.to_owned(), port })
    }
}

impl Endpoint {
    /// Whether it is an address of this machine; a name never is, because it can be re-pointed.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Host and port as the `Host` header has them.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { secure: _, host, port } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(collector: &str) -> RawSettings {
        RawSettings {
            root: "/".into(),
            collector: collector.to_owned(),
            node: Some("worker-7".to_owned()),
            token_file: None,
            ca_file: None,
            interval: None,
            profile: None,
            rebooter: None,
            confine: Confine::Auto,
        }
    }

    #[test]
    fn a_collector_is_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("http://127.0.0.1:7443", "http://127.0.0.1:7443"),
            ("https://palisade.kube-system.svc/", "https://palisade.kube-system.svc:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for bad in
            ["", "x", "ftp://a", "http://", "http://a/b", "http://u:p@a", "http://a:99999", "//a"]
        {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tls_needs_authorities_and_a_token_needs_tls() {
        let secure = raw("https://collector:7443");
        assert_eq!(secure.clone().validate(), Err(SettingsError::AuthoritiesMissing));
        let with_ca = RawSettings { ca_file: Some("/ca".into()), ..secure };
        assert!(with_ca.validate().is_ok());
        let token = |url| RawSettings { token_file: Some("/token".into()), ..raw(url) };
        assert!(token("http://127.0.0.1:1").validate().is_ok());
        for exposed in ["http://10.0.0.1:1", "http://localhost:1"] {
            let outcome = token(exposed).validate();
            assert!(matches!(outcome, Err(SettingsError::PlainToken { .. })), "{exposed}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let interval = RawSettings { interval: Some(1), ..raw("http://[::1]:1") };
        assert_eq!(interval.validate(), Err(SettingsError::Interval { given: 1 }));
        let node = RawSettings { node: Some("A b".to_owned()), ..raw("http://[::1]:1") };
        assert!(matches!(node.validate(), Err(SettingsError::Node(_))));
        assert_eq!(raw("http://[::1]:1").validate().unwrap().interval, Duration::from_secs(60));
    }
}
