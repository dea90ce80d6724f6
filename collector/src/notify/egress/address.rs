//! What an address is: which ones no receiver has, and which ones stand for another.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// What an address is. Source: IANA's registries of special-purpose addresses (RFC 6890 and its
/// updates), and what clouds document of their metadata services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The API server of the cluster that is looked after.
    ApiServer,
    /// All hosts of a network.
    Broadcast,
    /// For examples and measurements: nobody has it.
    Documentation,
    /// Neighbours on the same wire, and what providers put there.
    LinkLocal,
    /// This host, or this pod.
    Loopback,
    /// A service that hands credentials to whoever asks from this machine.
    Metadata,
    /// Many hosts.
    Multicast,
    /// Of a private network: RFC 1918, RFC 6598, RFC 4193.
    Private,
    /// Of the Internet.
    Public,
    /// Set aside, or not given to anybody.
    Reserved,
    /// No address.
    Unspecified,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiServer => "the API server's",
            Self::Broadcast => "a broadcast address",
            Self::Documentation => "an address of examples",
            Self::LinkLocal => "link-local",
            Self::Loopback => "loopback",
            Self::Metadata => "a metadata service's",
            Self::Multicast => "multicast",
            Self::Private => "private",
            Self::Public => "public",
            Self::Reserved => "reserved",
            Self::Unspecified => "unspecified",
        })
    }
}

/// Metadata and credential services of AWS (also ECS and EKS), Google, Azure, Alibaba and Oracle. Those
/// at 169.254.169.254 are among them; the rest of 169.254.0.0/16 is link-local.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// The same over IPv6: AWS, EKS, Google, Oracle.
const METADATA_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

impl Kind {
    /// What `address` is, for a collector whose API server has these addresses. An address that stands
    /// for one of IPv4 is what that one is, if that one is refused.
    pub(super) fn of(address: IpAddr, api_server: &[IpAddr]) -> Self {
        let is_api_server = |ip: IpAddr| api_server.iter().any(|it| it.to_canonical() == ip);
        match address.to_canonical() {
            ip if is_api_server(ip) => Self::ApiServer,
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => match embedded(v6) {
                Some(v4) if is_api_server(v4.into()) => Self::ApiServer,
                Some(v4) => match Self::of_v4(v4) {
                    // Behind a translator that belongs to somebody else.
                    Self::Private | Self::Public => Self::of_v6(v6),
                    refused @ (Self::ApiServer
                    | Self::Broadcast
                    | Self::Documentation
                    | Self::LinkLocal
                    | Self::Loopback
                    | Self::Metadata
                    | Self::Multicast
                    | Self::Reserved
                    | Self::Unspecified) => refused,
                },
                None => Self::of_v6(v6),
            },
        }
    }

    /// Whether only its own address in the list opens it, and no network or name that happens to
    /// contain it.
    pub(super) const fn is_listed_by_itself_only(self) -> bool {
        match self {
            Self::ApiServer | Self::Metadata => true,
            Self::Broadcast
            | Self::Documentation
            | Self::LinkLocal
            | Self::Loopback
            | Self::Multicast
            | Self::Private
            | Self::Public
            | Self::Reserved
            | Self::Unspecified => false,
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        if METADATA_V4.contains(&ip) {
            return Self::Metadata;
        }
        match ip.octets() {
            [0, ..] => Self::Unspecified,
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Self::Private,
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18..=19, ..] => {
                Self::Documentation
            }
            [192, 0, 0, _] | [192, 88, 99, _] => Self::Reserved,
            [224..=239, ..] => Self::Multicast,
            [255, 255, 255, 255] => Self::Broadcast,
            [240..=255, ..] => Self::Reserved,
            _ => Self::Public,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        if METADATA_V6.contains(&ip) {
            return Self::Metadata;
        }
        match ip.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xff00..=0xffff, ..] => Self::Multicast,
            [0xfc00..=0xfdff, ..] => Self::Private,
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Self::Documentation,
            // Protocols' own, Teredo among them; 6to4, whose relays are gone.
            [0x2001, 0..=0x1ff, ..] | [0x2002, ..] => Self::Reserved,
            // The well-known prefix of NAT64: what a cluster without IPv4 reaches the rest by.
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => Self::Public,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Reserved,
        }
    }
}

/// The address of IPv4 that `ip` stands for: NAT64 (RFC 6052, also the local prefix of RFC 8215 as if
/// it were one of 96 bits), 6to4 (RFC 3056), compatible (RFC 4291), translated (RFC 2765), ISATAP
/// (RFC 5214), Teredo's client (RFC 4380). Mapped ones are addresses of IPv4 already.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of =
        |high: u16, low: u16| Some(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match ip.segments() {
        // Unspecified and loopback.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..]
        | [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => of(high, low),
        [0x2001, 0, _, _, _, _, high, low] => of(!high, !low),
        _ => None,
    }
}
