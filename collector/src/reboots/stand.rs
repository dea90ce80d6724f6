//! A coordinator for tests, before an API server that refuses everything, in virtual time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use kube::Client;
use kube::client::Body;
use palisade_report::Moment;
use serde_json::Value;
use tokio::time::Instant;
use tower::Service;

use super::coordinator::Coordinator;
use super::coordinator::Ground;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::engine::EngineSettings;
use crate::judge::ProfileJudge;
use crate::kube::Clients;
use crate::kube::Fence;
use crate::kube::fence::BootClock;
use crate::kube::nodes::Directory;
use crate::store::Store;
use crate::testing::Scratch;

/// A clock that goes with the virtual time of the test.
#[derive(Debug)]
pub(super) struct Virtual {
    from: Moment,
    began: Instant,
}

impl Virtual {
    /// It shows `from` now.
    pub(super) fn from(from: Moment) -> Self {
        Self { from, began: Instant::now() }
    }
}

impl BootClock for Virtual {
    fn boot_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap()
    }
}

impl Clock for Virtual {
    fn unix_ms(&self) -> i64 {
        self.from.unix() * 1000 + self.boot_ms()
    }

    fn elapsed_ms(&self) -> u64 {
        self.boot_ms().unsigned_abs()
    }
}

/// What was asked: method and path.
type Asked = Arc<Mutex<Vec<String>>>;

/// An API server on which somebody else always wrote first, and which takes its time.
struct Refusing {
    takes: Duration,
    asked: Asked,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Request<Body>> for Refusing {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let asked = format!("{} {}", request.method(), request.uri().path());
        self.asked.lock().unwrap().push(asked);
        let takes = self.takes;
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            let refusal = Response::builder().status(StatusCode::CONFLICT);
            Ok(refusal.body(Body::from(br#"{"code":409,"reason":"Conflict"}"#.to_vec()))?)
        })
    }
}

/// A coordinator and what is around it.
pub(super) struct Stand {
    pub(super) coordinator: Coordinator,
    asked: Asked,
    _scratch: Scratch,
}

impl Stand {
    /// One that begins at `now`, knows `nodes` (Node objects), and whose API server takes so long to
    /// refuse.
    pub(super) fn start(now: Moment, nodes: Vec<Value>, takes: Duration) -> Self {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0.join("palisade.db")).unwrap();
        let reader = store.reader().unwrap();
        let judge = Arc::new(ProfileJudge::load(None, None).unwrap());
        let clock = Arc::new(Virtual::from(now));
        // Its thread ends with the last handle.
        let (engine, _) =
            Engine::start(store, EngineSettings::default(), judge, Arc::clone(&clock) as _)
                .unwrap();
        let asked = Asked::default();
        let client = || {
            let server = Refusing { takes, asked: Arc::clone(&asked) };
            Client::new(server, "palisade")
        };
        let directory = Arc::new(Directory::default());
        directory.is_listed(nodes);
        let coordinator = Coordinator::new(Ground {
            clients: Clients::by(client),
            fence: Fence::shut(Arc::clone(&clock) as _),
            boot_clock: Arc::clone(&clock) as _,
            clock,
            directory,
            engine,
            reader,
            offers: Arc::default(),
            planned: Arc::default(),
            hand_over: Arc::default(),
            identity: "palisade-0".to_owned(),
            namespace: "palisade".to_owned(),
            events: false,
            policy: scratch.0.join("policy.yaml"),
        });
        Self { coordinator, asked, _scratch: scratch }
    }

    /// What was asked of the API server since this was called last, and how often.
    pub(super) fn asked(&self) -> BTreeMap<String, usize> {
        let mut counted = BTreeMap::new();
        for asked in std::mem::take(&mut *self.asked.lock().unwrap()) {
            *counted.entry(asked).or_default() += 1;
        }
        counted
    }
}
