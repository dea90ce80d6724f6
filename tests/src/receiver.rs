//! A receiver of alerts on loopback: it records every request, and is as unreliable as a test wants.
//!
//! ```text
//! sender ──> port ──> Plan decides, request by request ──> Request recorded ──> answered, or not
//!                                                             seen(), taken()
//! ```
//!
//! Faults are real ones: connections that end, bytes that come slowly, certificates that nobody
//! trusts. It judges nothing; a request is taken when a whole answer with a 2xx status was written.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::cluster::port::Port;
use crate::wait;

pub mod chance;
pub mod heard;
mod listen;
pub mod mail;
pub mod plan;
mod serve;
pub mod signature;
pub mod tls;
pub mod webhook;

#[cfg(test)]
mod tests;

pub use plan::Conduct;
pub use plan::Plan;
pub use tls::Certificate;

/// A receiver that runs until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    port: Port,
    house: Arc<House>,
    runtime: Option<Runtime>,
    listening: Option<JoinHandle<()>>,
}

/// What the connections share.
#[derive(Debug)]
pub(crate) struct House {
    plan: Mutex<Plan>,
    seen: Mutex<Vec<Request>>,
    came: Condvar,
    /// What clients saw that connected over TLS.
    shown: Mutex<Vec<Certificate>>,
    pub(crate) identity: tls::Identity,
}

/// A request, and what became of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it was decided how to answer: after the body, if that was read.
    pub at: SystemTime,
    /// `POST`; empty if nothing of the request was read.
    pub method: String,
    /// The path with its query; empty if nothing of the request was read.
    pub path: String,
    /// The headers, names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    /// What the receiver did.
    pub conduct: Conduct,
    /// What the sender got to see of an answer.
    pub answered: Answered,
}

/// What a sender got to see of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// No status.
    Nothing,
    /// This status, and not the whole answer. Whether that counts is up to the sender.
    Part(u16),
    /// A whole answer with this status.
    Whole(u16),
}

impl Request {
    /// The first header of this name, which is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether its sender was told that it is taken.
    #[must_use]
    pub const fn is_taken(&self) -> bool {
        matches!(self.answered, Answered::Whole(200..=299))
    }

    /// Whether the receiver acts on it, also if its sender is gone before it is told so.
    #[must_use]
    pub const fn is_acted_on(&self) -> bool {
        matches!(self.conduct, Conduct::SlowRead(_) | Conduct::Take)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.path, self.text()))
    }

    /// The body as Alertmanager's webhooks are, version 4.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn webhook(&self) -> webhook::Webhook {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.path, self.text()))
    }
}

impl Receiver {
    /// Listens on a port that the kernel chooses.
    ///
    /// # Panics
    /// If the machine has none.
    #[must_use]
    pub fn start(plan: Plan) -> Self {
        Self::on(Port::reserve(), plan)
    }

    /// Listens on this port.
    ///
    /// # Panics
    /// If somebody else does.
    #[must_use]
    pub fn on(port: Port, plan: Plan) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("receiver")
            .enable_all()
            .build()
            .expect("a runtime");
        let house = House {
            plan: Mutex::new(plan),
            seen: Mutex::new(Vec::new()),
            came: Condvar::new(),
            shown: Mutex::new(Vec::new()),
            identity: tls::Identity::new(),
        };
        let house = Arc::new(house);
        let mut this = Self { port, house, runtime: Some(runtime), listening: None };
        this.open();
        this
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its address with this path, in clear text.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The same over TLS, for plans that have certificates.
    #[must_use]
    pub fn tls_url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address())
    }

    /// The authority, PEM, of [`Certificate::Good`], and of all others but [`Certificate::Unknown`].
    #[must_use]
    pub fn authority(&self) -> &str {
        self.house.identity.authority()
    }

    /// Behaves like this from the next request on, and from the next connection on.
    pub fn be(&self, plan: Plan) {
        *lock(&self.house.plan) = plan;
    }

    /// Refuses connections and ends those that there are. Its port stays its own.
    ///
    /// # Panics
    /// If that takes a minute.
    pub fn close(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            wait::until("nobody listens", CLOSED_WITHIN, || {
                if listening.is_finished() { Ok(()) } else { Err("somebody does") }
            });
        }
    }

    /// Listens again.
    ///
    /// # Panics
    /// If its port was taken from it.
    pub fn open(&mut self) {
        self.close();
        let runtime = self.runtime.as_ref().expect("it runs until it is dropped");
        let listener = listen::bind(runtime, self.address());
        self.listening = Some(runtime.spawn(listen::listen(listener, Arc::clone(&self.house))));
    }

    /// Every request that it has got so far, in the order in which they were decided.
    #[must_use]
    pub fn seen(&self) -> Vec<Request> {
        lock(&self.house.seen).clone()
    }

    /// The same without the first `from` of them.
    #[must_use]
    pub fn seen_from(&self, from: usize) -> Vec<Request> {
        lock(&self.house.seen).iter().skip(from).cloned().collect()
    }

    /// What each client saw that connected over TLS, in that order.
    #[must_use]
    pub fn shown(&self) -> Vec<Certificate> {
        lock(&self.house.shown).clone()
    }

    /// Those whose senders were told that they are taken, in that order.
    #[must_use]
    pub fn taken(&self) -> Vec<Request> {
        lock(&self.house.seen).iter().filter(|it| it.is_taken()).cloned().collect()
    }

    /// Waits until what it has got is what `wanted` wants, and returns what that found.
    ///
    /// # Panics
    /// If it does not come within `within`; with the heads of the last requests.
    pub fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&[Request]) -> Option<T>,
    ) -> T {
        wait::until(what, within, || {
            let seen = lock(&self.house.seen);
            wanted(&seen).ok_or_else(|| {
                let last = seen.iter().rev().take(SHOWN);
                let heads = last.map(|it| (it.path.clone(), it.answered, head(&it.body)));
                (seen.len(), heads.collect::<Vec<_>>())
            })
        })
    }

    /// Waits for requests, and takes out of its records all that there are.
    #[must_use]
    pub fn next(&self) -> Vec<Request> {
        let seen = lock(&self.house.seen);
        let came = self.house.came.wait_while(seen, |seen| seen.is_empty());
        std::mem::take(&mut *came.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: tests that are async themselves may not block.
            runtime.shutdown_background();
        }
    }
}

impl House {
    /// What to do with the request whose first byte has come.
    pub(crate) fn conduct(&self) -> Conduct {
        lock(&self.plan).conduct()
    }

    /// What to show to a client that has just connected; `None`: clear text.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        let certificate = lock(&self.plan).certificate();
        lock(&self.shown).extend(certificate);
        certificate
    }

    /// Records a request before it is answered, so that who has the answer finds it here.
    pub(crate) fn record(&self, request: Request) -> usize {
        let mut seen = lock(&self.seen);
        seen.push(request);
        self.came.notify_all();
        seen.len().saturating_sub(1)
    }

    /// The answer to the request of this number was not written.
    pub(crate) fn unanswered(&self, number: usize) {
        if let Some(request) = lock(&self.seen).get_mut(number) {
            request.answered = Answered::Nothing;
        }
    }
}

/// Far more than it takes.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);

/// Requests that a failure shows.
const SHOWN: usize = 5;

/// Characters of a body that a failure shows.
const HEAD: usize = 300;

fn head(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(HEAD).collect()
}

/// What a test that panicked has left is whole: nothing here is changed half.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
