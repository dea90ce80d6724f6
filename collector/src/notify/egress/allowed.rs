//! What the administrator opens beyond what is open anyway.

use std::net::IpAddr;
use std::str::FromStr;

use super::address::Kind;
use super::endpoint::Host;

/// A host or network that is open, also in clear text.
///
/// Metadata services and the API server are opened by their own address only, so that `10.0.0.0/8`
/// does not open the one in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A name, wherever it leads.
    Name(String),
    /// A network, or one address with all bits in its prefix.
    Net {
        /// Its address, without bits behind the prefix.
        address: IpAddr,
        /// Bits that count.
        prefix: u8,
    },
}

/// The text opens nothing. At fault: configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "malformed allowed host: expected a network (10.1.0.0/16, without bits behind its prefix), an \
     address, or a name"
)]
pub struct MalformedAllowed;

impl FromStr for Allowed {
    type Err = MalformedAllowed;

    fn from_str(text: &str) -> Result<Self, MalformedAllowed> {
        if let Some((address, prefix)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| MalformedAllowed)?;
            let is_number = prefix.bytes().all(|it| it.is_ascii_digit());
            let number = prefix.parse().ok().filter(|it| is_number && *it <= width(address));
            let prefix = number.ok_or(MalformedAllowed)?;
            if masked(address, prefix) != bits(address) {
                return Err(MalformedAllowed);
            }
            return Ok(Self::Net { address, prefix });
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Net { address, prefix: width(address) });
        }
        match Host::parse(text) {
            Ok(Host::Name(name)) => Ok(Self::Name(name)),
            Ok(Host::Ip(_)) | Err(_) => Err(MalformedAllowed),
        }
    }
}

impl Allowed {
    /// Whether it opens `address`, of this kind, to which `host` leads.
    pub(super) fn covers(&self, host: &Host, address: IpAddr, kind: Kind) -> bool {
        match self {
            Self::Name(name) => {
                let is_it = matches!(host, Host::Name(it) if it == name);
                is_it && !kind.is_listed_by_itself_only()
            }
            Self::Net { address: net, prefix } => {
                let is_one = *prefix == width(*net);
                let is_in =
                    |it: IpAddr| net.is_ipv4() == it.is_ipv4() && masked(it, *prefix) == bits(*net);
                // A mapped address leads where that of IPv4 does; any other only where it says itself.
                (is_in(address) || is_in(address.to_canonical()))
                    && (is_one || !kind.is_listed_by_itself_only())
            }
        }
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The bits within the prefix.
fn masked(address: IpAddr, prefix: u8) -> u128 {
    let behind = u32::from(width(address).saturating_sub(prefix));
    let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
    bits(address) & mask
}
