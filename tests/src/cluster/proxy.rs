//! A proxy before the API server that fails on demand: the only fake of the test bed.
//!
//! ```text
//! client --TLS, bearer token--> Proxy --TLS, the same token--> kube-apiserver
//!                                 rules: method and path -> fault, so many times
//! ```
//!
//! Requests without a fault pass unchanged. It speaks HTTP/1.1 and cannot carry client certificates
//! (it ends TLS) nor upgraded connections (`exec`, `port-forward`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::watch;

use super::ControlPlane;
use super::kubeconfig::Credential;
use super::kubeconfig::kubeconfig;

mod body;
mod catch;
mod serve;

pub use self::catch::Arrived;
pub use self::catch::Caught;
pub use self::catch::Held;
pub use self::catch::Side;
use self::catch::Trap;

/// What happens to a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The connection is closed after the API server has executed the request: the client cannot know.
    CutAfter,
    /// The connection is closed; the API server never hears of the request.
    CutBefore,
    /// The connection is cut in the middle of the answer, after so many lines (events of a watch).
    CutStream(usize),
    /// The answer ends properly after so many lines: a watch that the server has closed.
    EndStream(usize),
    /// After so many lines of a watch comes an `ERROR` event with 410 Expired, and the end.
    ExpireWatch(usize),
    /// No answer, ever; the API server never hears of the request.
    Hang,
    /// No answer, ever, though the API server has executed the request.
    HangAfter,
    /// It passes, but later; other rules apply as well.
    Latency(Duration),
    /// The answer is this status with the body that the API server would send; it never hears of the
    /// request. 429 tells to try again after one second.
    Status(u16),
    /// The API server executes the request, but the answer is this status: 504 in real life.
    StatusAfter(u16),
}

/// Which requests fail, how, and how often.
#[derive(Clone, Debug)]
pub struct Rule {
    method: String,
    path: String,
    fault: Fault,
    times: Option<u32>,
}

impl Rule {
    /// Every request with this method and path from now on.
    ///
    /// `method` is an HTTP method, `WATCH` (then `GET` is what does not watch), or `*`. In `path`,
    /// which is compared without the query, `*` stands for any characters.
    #[must_use]
    pub fn new(method: &str, path: &str, fault: Fault) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), fault, times: None }
    }

    /// The same, only the next `times` requests.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// A rule in force, by which it is counted and removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Injected(usize);

/// A request that has come in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `WATCH`, `POST`, ...
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The client's `User-Agent`.
    pub agent: String,
    /// What was done to it, if anything.
    pub faults: Vec<Fault>,
    /// When.
    pub at: Instant,
}

/// The proxy. It ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    authority: String,
    directory: PathBuf,
    worker: Option<std::thread::JoinHandle<()>>,
}

/// What the proxy's thread and the test both hold.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    signals: watch::Sender<Signals>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Placed>,
    seen: Vec<Seen>,
    trap: Option<Trap>,
}

#[derive(Debug)]
struct Placed {
    rule: Rule,
    hits: u32,
    removed: bool,
}

/// Counters that only grow; whoever serves compares with what it saw at its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Signals {
    watches_ended: u64,
    connections_cut: u64,
    partitioned: bool,
    stopped: bool,
}

impl ControlPlane {
    /// Starts a proxy before this API server.
    ///
    /// # Panics
    /// If it cannot listen.
    #[must_use]
    pub fn proxy(&self) -> Proxy {
        let served = ["127.0.0.1", "localhost", "10.0.2.2"].map(str::to_owned);
        let pair = self.authority().server("proxy", &served);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            signals: watch::channel(Signals::default()).0,
        });
        let (address, worker) = serve::start(&pair, self, Arc::clone(&shared));
        Proxy {
            address,
            shared,
            authority: self.authority().certificate().to_owned(),
            directory: self.directory().to_owned(),
            worker: Some(worker),
        }
    }
}

impl Proxy {
    /// `https://127.0.0.1:PORT`; its certificate is of the cluster's authority.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig with a bearer token that leads through this proxy.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn kubeconfig(&self, token: &str) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("proxy-{number}.conf"));
        let content = kubeconfig(&self.url(), &self.authority, &Credential::Token(token));
        std::fs::write(&path, content.to_string())
            .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    /// Puts a rule in force. Of several that match a request the oldest that is not yet used up
    /// applies.
    pub fn inject(&self, rule: Rule) -> Injected {
        let mut state = self.shared.state();
        state.rules.push(Placed { rule, hits: 0, removed: false });
        Injected(state.rules.len() - 1)
    }

    /// How many requests a rule has met, also after it was removed.
    #[must_use]
    pub fn hits(&self, injected: Injected) -> u32 {
        self.shared.state().rules[injected.0].hits
    }

    /// Ends a rule.
    pub fn remove(&self, injected: Injected) {
        self.shared.state().rules[injected.0].removed = true;
    }

    /// Ends all rules.
    pub fn clear(&self) {
        for placed in &mut self.shared.state().rules {
            placed.removed = true;
        }
    }

    /// Every request so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// Ends all answers that are under way (watches) as the API server does after a while.
    pub fn end_watches(&self) {
        self.shared.signals.send_modify(|signals| signals.watches_ended += 1);
    }

    /// Cuts all connections; new ones are welcome.
    pub fn cut_connections(&self) {
        self.shared.signals.send_modify(|signals| signals.connections_cut += 1);
    }

    /// Cuts all connections and closes each new one at once, until [`Self::heal`].
    pub fn partition(&self) {
        self.shared.signals.send_modify(|signals| {
            signals.connections_cut += 1;
            signals.partitioned = true;
        });
    }

    /// Ends a partition.
    pub fn heal(&self) {
        self.shared.signals.send_modify(|signals| signals.partitioned = false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.signals.send_modify(|signals| signals.stopped = true);
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            eprintln!("the proxy had panicked");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request and says what happens to it.
    fn judge(&self, method: &str, path: &str, query: Option<&str>, agent: &str) -> Vec<Fault> {
        let mut state = self.state();
        let mut faults = Vec::new();
        for placed in &mut state.rules {
            let Placed { rule, hits, removed } = placed;
            let used_up = *removed || rule.times.is_some_and(|times| *hits >= times);
            let same_method = rule.method == "*" || rule.method == method;
            if used_up || !same_method || !matches(&rule.path, path) {
                continue;
            }
            *hits += 1;
            faults.push(rule.fault);
            if !matches!(rule.fault, Fault::Latency(_)) {
                break;
            }
        }
        let path = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        state.seen.push(Seen {
            method: method.to_owned(),
            path,
            agent: agent.to_owned(),
            faults: faults.clone(),
            at: Instant::now(),
        });
        faults
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.into_iter().any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(matches("/api/v1/nodes", "/api/v1/nodes"));
        assert!(!matches("/api/v1/nodes", "/api/v1/nodes/a"));
        assert!(matches("/api/v1/nodes*", "/api/v1/nodes/a"));
        assert!(matches("*/leases/*", "/apis/coordination.k8s.io/v1/namespaces/a/leases/b"));
        assert!(!matches("*/leases/*", "/apis/coordination.k8s.io/v1/namespaces/a/leases"));
        assert!(matches("*", ""));
    }
}
