//! Addresses of receivers, strictly: what two parsers could read differently is refused.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use hyper::http::uri::PathAndQuery;
use palisade_alert::secret::Secret;

/// Bytes of an address; those of Teams workflows have about 400.
const MAX_URL: usize = 4096;

/// Bytes of a name, and of a part of it (RFC 1035).
const MAX_NAME: usize = 253;
const MAX_PART: usize = 63;

/// Whether what is sent can be read on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// It can.
    Clear,
    /// It cannot.
    Tls,
}

/// A receiver's host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address, written as one.
    Ip(IpAddr),
    /// A name, in small letters.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(v4)) => v4.fmt(f),
            Self::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Where a request goes, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`.
    pub transport: Transport,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// Path and query; a secret more often than not.
    pub target: Secret,
}

/// Why an address is none for a receiver. At fault: configuration. Nothing of it is shown: it may hold a
/// secret in any place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedUrl {
    /// Spaces, control characters, backslashes, quotes, or letters beyond ASCII.
    #[error("malformed address: expected ASCII without spaces, backslashes and quotes")]
    Characters,
    /// A host with `%`: encoded, or a zone.
    #[error("malformed address: expected a host without %")]
    EncodedHost,
    /// What receivers never see.
    #[error("malformed address: expected no fragment (#)")]
    Fragment,
    /// Neither a name nor an address.
    #[error(
        "malformed address: expected a host name, an IPv4 address or an IPv6 address in brackets"
    )]
    Host,
    /// Numbers that some read as an address of IPv4: octal, hexadecimal, or short.
    #[error(
        "malformed address: expected four decimal numbers without leading zeros as IPv4 address"
    )]
    NumericHost,
    /// No port, or none that can be.
    #[error("malformed address: expected a port from 1 to 65535")]
    Port,
    /// Another scheme, or none.
    #[error("malformed address: expected http:// or https://")]
    Scheme,
    /// Path or query cannot be sent.
    #[error("malformed address: expected a path and a query that can be sent")]
    Target,
    /// Longer than any receiver's.
    #[error("malformed address: expected at most {MAX_URL} bytes")]
    TooLong,
    /// A name that ends with a dot: the same host by another name.
    #[error("malformed address: expected a host name without a dot at its end")]
    TrailingDot,
    /// User or password.
    #[error("malformed address: expected no user or password")]
    UserInfo,
}

impl Endpoint {
    /// Takes an address apart.
    ///
    /// # Errors
    /// [`RefusedUrl`].
    pub fn parse(url: &str) -> Result<Self, RefusedUrl> {
        if url.len() > MAX_URL {
            return Err(RefusedUrl::TooLong);
        }
        let is_odd = |it: u8| !it.is_ascii_graphic() || br#"\"'<>`{}|^"#.contains(&it);
        if url.bytes().any(is_odd) {
            return Err(RefusedUrl::Characters);
        }
        let (scheme, rest) = url.split_once("://").ok_or(RefusedUrl::Scheme)?;
        let transport = if scheme.eq_ignore_ascii_case("https") {
            Transport::Tls
        } else if scheme.eq_ignore_ascii_case("http") {
            Transport::Clear
        } else {
            return Err(RefusedUrl::Scheme);
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(RefusedUrl::UserInfo);
        }
        if target.contains('#') {
            return Err(RefusedUrl::Fragment);
        }
        let (host, port) = split_port(authority)?;
        let port = match (port, transport) {
            (Some(port), Transport::Clear | Transport::Tls) => parse_port(port)?,
            (None, Transport::Clear) => 80,
            (None, Transport::Tls) => 443,
        };
        let host = Host::parse(host)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        if target.parse::<PathAndQuery>().is_err() {
            return Err(RefusedUrl::Target);
        }
        Ok(Self { transport, host, port, target: Secret::new(target) })
    }

    /// Host and port, as `Host` has it: without the port that goes without saying.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { transport, host, port, target: _ } = self;
        match (transport, port) {
            (Transport::Clear, 80) | (Transport::Tls, 443) => host.to_string(),
            (Transport::Clear | Transport::Tls, port) => format!("{host}:{port}"),
        }
    }
}

/// Host and port of an authority; an IPv6 address keeps its brackets.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), RefusedUrl> {
    let Some(inner) = authority.strip_prefix('[') else {
        return Ok(match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        });
    };
    let (inside, behind) = inner.split_once(']').ok_or(RefusedUrl::Host)?;
    let host = authority.get(..inside.len() + 2).ok_or(RefusedUrl::Host)?;
    match (behind, behind.strip_prefix(':')) {
        ("", _) => Ok((host, None)),
        (_, Some(port)) => Ok((host, Some(port))),
        (_, None) => Err(RefusedUrl::Host),
    }
}

fn parse_port(text: &str) -> Result<u16, RefusedUrl> {
    let is_plain = text.bytes().all(|it| it.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain).ok_or(RefusedUrl::Port)
}

impl Host {
    /// A name, an address of IPv4 in its usual form, or one of IPv6 in brackets.
    ///
    /// # Errors
    /// [`RefusedUrl`], also for what some resolvers would take for an address.
    pub fn parse(text: &str) -> Result<Self, RefusedUrl> {
        if text.contains('%') {
            return Err(RefusedUrl::EncodedHost);
        }
        if let Some(inside) = text.strip_prefix('[') {
            let v6 = inside.strip_suffix(']').and_then(|it| it.parse::<Ipv6Addr>().ok());
            return v6.map(|it| Self::Ip(it.into())).ok_or(RefusedUrl::Host);
        }
        let name = text.to_ascii_lowercase();
        // A host that ends in a number is an address to browsers and to resolvers.
        let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let hex = last.strip_prefix("0x");
        let is_number = !last.is_empty() && last.bytes().all(|it| it.is_ascii_digit());
        if is_number || hex.is_some_and(|it| it.bytes().all(|it| it.is_ascii_hexdigit())) {
            let v4 = name.parse::<Ipv4Addr>().ok();
            return v4.map(|it| Self::Ip(it.into())).ok_or(RefusedUrl::NumericHost);
        }
        let is_part = |part: &str| {
            let is_made_of = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
            let is_long = part.is_empty() || part.len() > MAX_PART;
            !is_long
                && part.bytes().all(is_made_of)
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        let bare = name.strip_suffix('.').unwrap_or(&name);
        if bare.len() > MAX_NAME || !bare.split('.').all(is_part) {
            return Err(RefusedUrl::Host);
        }
        if bare.len() < name.len() {
            return Err(RefusedUrl::TrailingDot);
        }
        Ok(Self::Name(name))
    }
}
