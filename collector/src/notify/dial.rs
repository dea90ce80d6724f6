//! From a host to a stream: through the guard, in time, and with TLS if it must be.

use std::io;
use std::time::Duration;

use palisade_alert::config::Receiver;
use palisade_alert::config::Spec;
use palisade_report::bound::clean;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::egress::Egress;
use super::egress::Host;
use super::egress::RefusedAddress;
use super::egress::Transport;
use super::trust::Trust;
use super::trust::TrustError;

/// Bytes that are kept of what TLS has against a certificate, which names the names in it.
const MAX_WHY: usize = 300;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From the name of a host to a connection.
    pub connect: Duration,
    /// Everything, that included.
    pub total: Duration,
}

impl Times {
    /// For requests over HTTP.
    pub const HTTP: Self = Self { connect: Duration::from_secs(5), total: Duration::from_secs(15) };

    /// For mail: servers greet late, and look at a mail before they take it.
    pub const MAIL: Self = Self { connect: Duration::from_secs(5), total: Duration::from_secs(60) };

    /// For this receiver: what its kind usually needs, unless the settings say how long it may take.
    #[must_use]
    pub fn to(receiver: &Receiver) -> Self {
        let usual = Self::usual(&receiver.spec);
        let Some(timeout) = receiver.timeout else { return usual };
        let total = Duration::from_secs(timeout.as_secs().unsigned_abs());
        Self { connect: usual.connect.min(total), total }
    }

    const fn usual(spec: &Spec) -> Self {
        match spec {
            Spec::Email { .. } => Self::MAIL,
            Spec::Alertmanager { .. }
            | Spec::Discord(_)
            | Spec::KubernetesEvents
            | Spec::Mattermost { .. }
            | Spec::Opsgenie { .. }
            | Spec::PagerDuty { .. }
            | Spec::Shoutrrr(_)
            | Spec::Slack { .. }
            | Spec::Teams(_)
            | Spec::Telegram { .. }
            | Spec::Webhook { .. } => Self::HTTP,
        }
    }
}

/// The way to a receiver.
#[derive(Clone, Debug)]
pub struct Dialer {
    /// Where it may lead.
    pub egress: Egress,
    /// Who may be there.
    pub trust: Trust,
    /// How long it may take.
    pub times: Times,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody can be trusted. At fault: the receiver's file of authorities.
    #[error("failed to tell whom to trust")]
    Authorities(#[source] TrustError),
    /// Nobody is there.
    #[error("failed to connect to {host}")]
    Connect {
        /// The receiver's host.
        host: Host,
        /// What the system says of the last address.
        source: io::Error,
    },
    /// The guard lets nothing through, or the name leads nowhere.
    #[error("failed to find an address of the receiver")]
    Guard(#[source] RefusedAddress),
    /// Whoever is there speaks no TLS, or another one.
    #[error("failed to agree on TLS with {host}")]
    Handshake {
        /// The receiver's host.
        host: Host,
        /// What went wrong.
        source: io::Error,
    },
    /// Not in time.
    #[error("failed to connect to {host} within {within:?}")]
    TimedOut {
        /// The receiver's host.
        host: Host,
        /// The time it had.
        within: Duration,
    },
    /// Whoever is there is not whom it should be, as far as anybody can tell.
    #[error("failed to trust {host}: {why}")]
    Untrusted {
        /// The receiver's host.
        host: Host,
        /// What is wrong with its certificate.
        why: String,
    },
}

impl DialError {
    /// Whether it takes a person to mend it: trying again soon is of no use.
    #[must_use]
    pub const fn is_for_people(&self) -> bool {
        match self {
            Self::Authorities(_) | Self::Untrusted { .. } => true,
            Self::Guard(refused) => refused.is_refusal(),
            Self::Connect { .. } | Self::Handshake { .. } | Self::TimedOut { .. } => false,
        }
    }

    /// A word for metrics, of a closed set.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Authorities(_) | Self::Handshake { .. } | Self::Untrusted { .. } => "tls",
            Self::Connect { .. } => "connect",
            Self::Guard(refused) if refused.is_refusal() => "guard",
            Self::Guard(_) => "resolve",
            Self::TimedOut { .. } => "timeout",
        }
    }
}

impl Dialer {
    /// A connection to one of the addresses of `host`, as they were judged.
    pub(super) async fn connect(
        &self,
        host: &Host,
        port: u16,
        transport: Transport,
    ) -> Result<TcpStream, DialError> {
        let within = self.times.connect;
        let connecting = async {
            let addresses =
                self.egress.resolve(host, port, transport).await.map_err(DialError::Guard)?;
            // Each has its share, so that a first one that swallows everything hides no other.
            let share = within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
            let mut source = io::Error::from(io::ErrorKind::TimedOut);
            for address in addresses {
                match timeout(share, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => {
                        stream
                            .set_nodelay(true)
                            .map_err(|source| DialError::Connect { host: host.clone(), source })?;
                        return Ok(stream);
                    }
                    Ok(Err(error)) => source = error,
                    Err(_) => source = io::ErrorKind::TimedOut.into(),
                }
            }
            Err(DialError::Connect { host: host.clone(), source })
        };
        match timeout(within, connecting).await {
            Ok(stream) => stream,
            Err(_) => Err(DialError::TimedOut { host: host.clone(), within }),
        }
    }

    /// TLS over `stream` with whoever can show to be `host`.
    pub(super) async fn encrypt(
        &self,
        stream: TcpStream,
        host: &Host,
    ) -> Result<TlsStream<TcpStream>, DialError> {
        let config = self.trust.config().await.map_err(DialError::Authorities)?;
        let handshake = |source| DialError::Handshake { host: host.clone(), source };
        let name = match host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|error| handshake(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
        };
        TlsConnector::from(config).connect(name, stream).await.map_err(|source| {
            let inner = source.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>());
            if let Some(rustls::Error::InvalidCertificate(why)) = inner {
                let why = clean(why.to_string().as_bytes(), MAX_WHY);
                return DialError::Untrusted { host: host.clone(), why };
            }
            handshake(source)
        })
    }
}

#[cfg(test)]
mod tests {
    use palisade_alert::config::Config;

    use super::*;

    #[test]
    fn a_receiver_has_the_time_that_the_settings_give_it_or_that_of_its_kind() {
        let mail = "email: { host: h, port: 25, from: a@b, to: [c@d] }";
        for (text, connect, total) in [
            ("webhook: { url: x }", 5, 15),
            ("webhook: { url: x }, timeout: 40s", 5, 40),
            ("webhook: { url: x }, timeout: 2s", 2, 2),
            (mail, 5, 60),
            (&format!("{mail}, timeout: 20s"), 5, 20),
        ] {
            let text = format!(
                "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\nreceivers: [{{ name: a, {text} }}]\n"
            );
            let config = Config::parse(&text).unwrap();
            let times = Times::to(config.receiver("a").unwrap());
            let secs = (times.connect.as_secs(), times.total.as_secs());
            assert_eq!(secs, (connect, total), "{text}");
        }
    }
}
