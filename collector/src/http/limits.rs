//! Bounds on everything from the network, and the two things that count: connections and rates.
//!
//! Each number has its reason beside it. Tests shorten the times; nothing else changes them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use palisade_report::wire;

/// Bounds on what a peer may do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For the TLS handshake, for the first byte, and for a request head once it began. A real
    /// peer needs milliseconds; a slow one holds memory.
    pub head_timeout: Duration,
    /// For a whole request body.
    pub body_timeout: Duration,
    /// Between two requests of a connection: an agent's longest interval between heartbeats at
    /// the default settings, with its jitter.
    pub idle_timeout: Duration,
    /// Without one byte of an answer being taken by the peer.
    pub write_timeout: Duration,
    /// For running requests at a graceful stop.
    pub stop_timeout: Duration,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Fields of a request's head.
    pub head_fields: usize,
    /// Bytes of a request's target.
    pub url_bytes: usize,
    /// Bytes of a body as sent.
    pub body_bytes: usize,
    /// Bytes of a body once decompressed.
    pub decoded_bytes: usize,
    /// Connections in all; about 26 KB each under TLS.
    pub connections: usize,
    /// Connections whose peer has not made an accepted request yet.
    pub unproven: usize,
    /// The same, of one address. All of one /64 of IPv6 may have half of all, so that one host
    /// with many addresses blocks its neighbours at most.
    pub unproven_per_address: usize,
    /// Uploads being unpacked, checked and stored at once: each may hold 4 MiB and its parsed
    /// form. More than the engine asks for at once, so that late ones do not meet a closed door.
    pub uploads_at_once: usize,
    /// Bytes of uploads once decompressed, of all that are being checked and stored at once. One is
    /// counted as the largest until it is unpacked, so a hundred bombs wait in line.
    pub unpacked_bytes: usize,
    /// Questions that walk nodes or the store at once; the others wait for their turn.
    pub questions_at_once: usize,
    /// How long a question waits for its turn.
    pub question_wait: Duration,
    /// Change feeds at once.
    pub watchers: usize,
    /// Between two comments on a quiet change feed, so that proxies keep it open.
    pub keep_alive: Duration,
    /// Requests per second of one address of people, over time; a burst of twice that is allowed.
    pub queries_per_second: u32,
    /// Wrong tokens per second of one address; a burst of five is allowed.
    pub wrong_tokens_per_second: u32,
    /// Time in which one node gains one more heartbeat: a fast agent is a broken one.
    pub heartbeat_gain: Duration,
    /// Whether rates are counted for peers on this machine too.
    pub local_rates: LocalRates,
}

/// Whether rates are counted for peers on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalRates {
    /// They are.
    Counted,
    /// They are not: who is here already has better means to keep the machine busy, and load
    /// generators are.
    Free,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(150),
            write_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            head_fields: 64,
            url_bytes: 2048,
            body_bytes: wire::MAX_BODY,
            decoded_bytes: wire::MAX_DECODED_BODY,
            connections: 10_000,
            unproven: 1024,
            unproven_per_address: 32,
            uploads_at_once: 32,
            unpacked_bytes: 2 * wire::MAX_DECODED_BODY,
            questions_at_once: 16,
            question_wait: Duration::from_secs(2),
            watchers: 256,
            keep_alive: Duration::from_secs(15),
            queries_per_second: 20,
            wrong_tokens_per_second: 1,
            heartbeat_gain: Duration::from_secs(5),
            local_rates: LocalRates::Free,
        }
    }
}

/// Addresses whose rates are counted as one: a whole /64 for IPv6, because that is what one host may
/// be given. It may be many hosts' as well, so nothing that an agent needs hangs on it alone.
#[must_use]
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
    }
}

/// Counts connections; shared between the accept loop and the connections themselves.
#[derive(Debug, Default)]
pub struct Connections {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    unproven: usize,
    unproven_by_address: BTreeMap<IpAddr, usize>,
    /// By [`source`].
    unproven_by_network: BTreeMap<IpAddr, usize>,
}

/// Why a connection is closed before it says a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// All connections together.
    #[error("too many connections")]
    InAll,
    /// All whose peer is not known yet.
    #[error("too many connections without an accepted request")]
    Unproven,
    /// Those of one address, or of one /64 of IPv6.
    #[error("too many connections of one address or network without an accepted request")]
    OfOneAddress,
}

impl Connections {
    /// A place for one more connection from `address`.
    ///
    /// # Errors
    /// [`TooMany`], naming which bound is reached.
    pub fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
    ) -> Result<Arc<Place>, TooMany> {
        let address = address.to_canonical();
        let mut counts = self.lock();
        if counts.all >= limits.connections {
            return Err(TooMany::InAll);
        }
        if counts.unproven >= limits.unproven {
            return Err(TooMany::Unproven);
        }
        let Counts { all: _, unproven: _, unproven_by_address, unproven_by_network } = &mut *counts;
        let of_address = unproven_by_address.get(&address).copied().unwrap_or_default();
        let network = source(address);
        let of_network = unproven_by_network.get(&network).copied().unwrap_or_default();
        let per_network = limits.unproven_per_address.max(limits.unproven / 2);
        if of_address >= limits.unproven_per_address || of_network >= per_network {
            return Err(TooMany::OfOneAddress);
        }
        unproven_by_address.insert(address, of_address + 1);
        unproven_by_network.insert(network, of_network + 1);
        counts.all += 1;
        counts.unproven += 1;
        let standing = Mutex::new(Standing::Unproven);
        Ok(Arc::new(Place { connections: Arc::clone(self), address, standing }))
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one open connection, given back when dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
    standing: Mutex<Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unproven,
    Proven,
}

impl Place {
    /// The peer made a request that was accepted: it no longer counts among strangers.
    pub fn prove(&self) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if *standing == Standing::Unproven {
            *standing = Standing::Proven;
            self.forget_stranger(&mut self.connections.lock());
        }
    }

    fn forget_stranger(&self, counts: &mut Counts) {
        counts.unproven = counts.unproven.saturating_sub(1);
        one_less(&mut counts.unproven_by_address, self.address);
        one_less(&mut counts.unproven_by_network, source(self.address));
    }
}

fn one_less(counts: &mut BTreeMap<IpAddr, usize>, key: IpAddr) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let standing = *self.standing.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut counts = self.connections.lock();
        counts.all = counts.all.saturating_sub(1);
        match standing {
            Standing::Unproven => self.forget_stranger(&mut counts),
            Standing::Proven => {}
        }
    }
}

/// Token buckets by key: a burst at once, then one more in each span of time.
#[derive(Debug)]
pub struct Buckets<K> {
    burst: u32,
    gain: Duration,
    max_keys: usize,
    levels: Mutex<BTreeMap<K, Level>>,
}

/// A bucket: when it will be full again. Taking one moves that moment by one gain.
#[derive(Clone, Copy, Debug)]
struct Level {
    full_at: Instant,
}

/// Addresses that a set of buckets remembers.
pub const MAX_ADDRESSES: usize = 8192;

/// Nodes that a set of buckets remembers: those of one fleet, with room.
pub const MAX_NODES: usize = 131_072;

/// The time in which one is gained at so many per second.
#[must_use]
pub fn gain(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

impl<K: Ord + Clone> Buckets<K> {
    /// Buckets that hold `burst` and gain one in each `gain`. Beyond `max_keys`, those that are
    /// full again are forgotten, and when none is, strangers wait.
    #[must_use]
    pub const fn new(burst: u32, gain: Duration, max_keys: usize) -> Self {
        Self { burst, gain, max_keys, levels: Mutex::new(BTreeMap::new()) }
    }

    /// Whether there is one in the bucket of `key`; takes none.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn look(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(level) = levels.get(key) else { return Ok(()) };
        let missing = (level.full_at.max(now) + self.gain).saturating_duration_since(now);
        let capacity = self.gain.saturating_mul(self.burst);
        if missing > capacity { Err(missing.saturating_sub(capacity)) } else { Ok(()) }
    }

    /// Takes one from the bucket of `key`.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if levels.len() >= self.max_keys && !levels.contains_key(key) {
            levels.retain(|_, level| level.full_at > now);
            if levels.len() >= self.max_keys {
                return Err(self.gain);
            }
        }
        let level = levels.entry(key.clone()).or_insert(Level { full_at: now });
        let full_at = level.full_at.max(now) + self.gain;
        let missing = full_at.saturating_duration_since(now);
        let capacity = self.gain.saturating_mul(self.burst);
        if missing > capacity {
            return Err(missing.saturating_sub(capacity));
        }
        level.full_at = full_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_and_a_proven_one_no_longer_counts_as_a_stranger() {
        let limits =
            Limits { connections: 4, unproven: 3, unproven_per_address: 2, ..Limits::default() };
        let connections = Arc::new(Connections::default());
        let [a, b, c]: [IpAddr; 3] =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|it| it.parse().unwrap());
        let first = connections.admit(a, &limits).unwrap();
        let second = connections.admit(a, &limits).unwrap();
        assert_eq!(connections.admit(a, &limits).unwrap_err(), TooMany::OfOneAddress);
        let third = connections.admit(b, &limits).unwrap();
        assert_eq!(connections.admit(c, &limits).unwrap_err(), TooMany::Unproven);
        first.prove();
        first.prove();
        let fourth = connections.admit(a, &limits).unwrap();
        assert_eq!(connections.admit(c, &limits).unwrap_err(), TooMany::InAll);
        drop((first, second, third, fourth));
        let counts = connections.lock();
        assert_eq!((counts.all, counts.unproven), (0, 0));
        assert!(counts.unproven_by_address.is_empty());
        assert!(counts.unproven_by_network.is_empty());
    }

    #[test]
    fn neighbours_in_one_network_do_not_take_each_others_places_and_leave_some_to_others() {
        let limits =
            Limits { connections: 99, unproven: 8, unproven_per_address: 2, ..Limits::default() };
        let connections = Arc::new(Connections::default());
        let mut places = Vec::new();
        let mut admit = |address: &str| {
            let place = connections.admit(address.parse().unwrap(), &limits);
            place.map(|place| places.push(place))
        };
        assert_eq!((admit("2001:db8::1"), admit("2001:db8::1")), (Ok(()), Ok(())));
        assert_eq!(admit("2001:db8::1"), Err(TooMany::OfOneAddress));
        assert_eq!((admit("2001:db8::2"), admit("2001:db8::2")), (Ok(()), Ok(())));
        assert_eq!(admit("2001:db8::3"), Err(TooMany::OfOneAddress), "half is the network's");
        assert_eq!(admit("2001:db8:0:1::1"), Ok(()));
        assert_eq!((admit("10.0.0.1"), admit("::ffff:10.0.0.1")), (Ok(()), Ok(())));
        assert_eq!(admit("10.0.0.1"), Err(TooMany::OfOneAddress));
    }

    #[test]
    fn one_ipv6_host_cannot_pass_for_many() {
        let [a, b, c] = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"]
            .map(|it| source(it.parse().unwrap()));
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(
            source("::ffff:10.0.0.1".parse().unwrap()),
            "10.0.0.1".parse::<IpAddr>().unwrap()
        );
    }

    #[test]
    fn a_bucket_allows_its_burst_and_then_its_rate() {
        let buckets = Buckets::new(2, gain(1), 2);
        let start = Instant::now();
        assert_eq!(buckets.take(&1, start), Ok(()));
        assert_eq!(buckets.take(&1, start), Ok(()));
        assert_eq!(buckets.take(&1, start), Err(Duration::from_secs(1)));
        assert_eq!(buckets.look(&1, start), Err(Duration::from_secs(1)));
        assert_eq!(buckets.look(&1, start + Duration::from_secs(1)), Ok(()));
        assert_eq!(buckets.take(&2, start), Ok(()), "another key has its own bucket");
        assert!(buckets.take(&3, start).is_err(), "no bucket is left for a third key");
        assert_eq!(buckets.take(&1, start + Duration::from_secs(1)), Ok(()));
        assert_eq!(buckets.take(&3, start + Duration::from_secs(5)), Ok(()), "full ones make room");
    }
}
