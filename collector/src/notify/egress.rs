//! Where messages may go: a receiver's address is resolved once, every address that comes back is
//! judged, and the connection goes to what was judged. There is no second resolution, so a name that
//! answers differently the next time gains nothing.
//!
//! ```text
//! URL ─> Endpoint::parse ─> Egress::resolve ─> addresses ─> connect to one of these
//!        form               every address: kind, listed?
//! ```
//!
//! Private networks are open, because receivers live in clusters. Whatever is not a receiver on any
//! network that palisade is meant for (this host, metadata services, the API server, addresses that
//! nobody has) is refused, unless the administrator lists it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::address::Kind;
pub use self::allowed::Allowed;
pub use self::allowed::MalformedAllowed;
pub use self::endpoint::Endpoint;
pub use self::endpoint::Host;
pub use self::endpoint::RefusedUrl;
pub use self::endpoint::Transport;

mod address;
mod allowed;
mod endpoint;

/// Addresses of one name that are tried. All of them are judged.
const MAX_TRIED: usize = 8;

/// Who turns a name into addresses.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// All addresses of `name`.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver. How long it takes is bounded by whoever asks.
#[derive(Clone, Copy, Debug)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name, 0)).await?.map(|it| it.ip()).collect())
        })
    }
}

/// The guard.
#[derive(Clone, Debug)]
pub struct Egress {
    allowed: Vec<Allowed>,
    api_server: Vec<IpAddr>,
    resolver: Arc<dyn Resolve>,
}

/// Why nothing is sent to a receiver's address. At fault: configuration, or whoever answers for the
/// name.
#[derive(Debug, thiserror::Error)]
pub enum RefusedAddress {
    /// What is sent could be read on the way, and it has secrets in it.
    #[error(
        "failed to go to {host}: {address} is on a public network, and the address is not https"
    )]
    ClearText {
        /// The receiver's host.
        host: Host,
        /// One of its addresses.
        address: IpAddr,
    },
    /// No receiver is there, or should be asked there.
    #[error("failed to go to {host}: {address} is {kind}, and not listed as allowed")]
    Kind {
        /// The receiver's host.
        host: Host,
        /// The first of its addresses that is refused.
        address: IpAddr,
        /// What it is.
        kind: Kind,
    },
    /// The name has no address.
    #[error("failed to go to {host}: the name has no address")]
    Nowhere {
        /// The receiver's host.
        host: Host,
    },
    /// The name cannot be resolved; it may pass.
    #[error("failed to resolve {host}")]
    Resolve {
        /// The receiver's host.
        host: Host,
        /// What the system says.
        source: io::Error,
    },
}

impl RefusedAddress {
    /// Whether the guard says no, rather than that nobody could tell where the name leads.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::ClearText { .. } | Self::Kind { .. } => true,
            Self::Nowhere { .. } | Self::Resolve { .. } => false,
        }
    }
}

impl Egress {
    /// A guard that lets through what is listed in `allowed`, and keeps away from the API server at
    /// these addresses.
    #[must_use]
    pub fn new(allowed: Vec<Allowed>, api_server: Vec<IpAddr>) -> Self {
        Self::resolving(allowed, api_server, Arc::new(SystemResolver))
    }

    /// The same with another resolver.
    #[must_use]
    pub fn resolving(
        allowed: Vec<Allowed>,
        api_server: Vec<IpAddr>,
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        Self { allowed, api_server, resolver }
    }

    /// The addresses to connect to, and to no others: at most [`MAX_TRIED`], in the resolver's order.
    /// One that is refused refuses all, because nobody knows which one was meant.
    ///
    /// # Errors
    /// [`RefusedAddress`].
    pub async fn resolve(
        &self,
        host: &Host,
        port: u16,
        transport: Transport,
    ) -> Result<Vec<SocketAddr>, RefusedAddress> {
        let addresses = match host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => self
                .resolver
                .addresses(name)
                .await
                .map_err(|source| RefusedAddress::Resolve { host: host.clone(), source })?,
        };
        if addresses.is_empty() {
            return Err(RefusedAddress::Nowhere { host: host.clone() });
        }
        for address in &addresses {
            self.judge(host, *address, transport)?;
        }
        let tried = addresses.into_iter().take(MAX_TRIED);
        Ok(tried.map(|address| SocketAddr::new(address, port)).collect())
    }

    fn judge(
        &self,
        host: &Host,
        address: IpAddr,
        transport: Transport,
    ) -> Result<(), RefusedAddress> {
        let kind = Kind::of(address, &self.api_server);
        if self.allowed.iter().any(|it| it.covers(host, address, kind)) {
            return Ok(());
        }
        let host = host.clone();
        match (kind, transport) {
            (Kind::Private, Transport::Clear | Transport::Tls) | (Kind::Public, Transport::Tls) => {
                Ok(())
            }
            (Kind::Public, Transport::Clear) => Err(RefusedAddress::ClearText { host, address }),
            (
                Kind::ApiServer
                | Kind::Broadcast
                | Kind::Documentation
                | Kind::LinkLocal
                | Kind::Loopback
                | Kind::Metadata
                | Kind::Multicast
                | Kind::Reserved
                | Kind::Unspecified,
                Transport::Clear | Transport::Tls,
            ) => Err(RefusedAddress::Kind { host, address, kind }),
        }
    }
}

#[cfg(test)]
mod tests;
