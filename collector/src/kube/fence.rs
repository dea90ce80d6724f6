//! The fence before everything that acts: open while this process leads, shut otherwise.
//!
//! ```text
//! any task ──request──> acting client ──> Fenced ──(GET, HEAD)──────────────> API server
//!                                            ├──(reviews, which change nothing)> API server
//!                                            └──(all else) check() ─ epoch ──> API server
//!                                                            └─ NotLeader, nothing is sent
//! ```
//!
//! It sits in the client itself, so that no task can forget to ask, and each changing request says
//! the epoch in its `User-Agent`: the audit log of the API server tells who acted in which term.
//!
//! Between the check and the socket lies an instant in which a process can be stopped for longer
//! than its term; when it goes on, that one request is sent. What such a request may do is bounded
//! by its `resourceVersion`: whoever changes an object sends the version on which the change was
//! decided, and after a newer leader has touched the object the old request is refused.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use hyper::Method;
use hyper::Request;
use hyper::header::HeaderValue;
use hyper::header::USER_AGENT;
use kube::client::Body;
use tower::Layer;
use tower::Service;

use super::client::PRODUCT;
use super::lease::Epoch;
use super::lease::Standing;

/// This process may not act: it does not lead, or cannot be sure that it still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this collector does not lead")]
pub struct NotLeader;

/// A clock that goes on while the process is stopped and while the machine sleeps.
pub trait BootClock: Send + Sync + 'static {
    /// Milliseconds of `CLOCK_BOOTTIME`, see `clock_gettime(2)`.
    fn boot_ms(&self) -> i64;
}

/// The machine's `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineClock;

impl BootClock for MachineClock {
    fn boot_ms(&self) -> i64 {
        use nix::time::ClockId;
        // It fails for clocks that the kernel does not have, and Linux has this one since 2.6.39.
        // A fence is shut by a time that is far ahead.
        ClockId::CLOCK_BOOTTIME.now().map_or(i64::MAX, |now| {
            now.tv_sec().saturating_mul(1000).saturating_add(now.tv_nsec() / 1_000_000)
        })
    }
}

/// The fence. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Fence {
    clock: Arc<dyn BootClock>,
    gate: Arc<Mutex<Gate>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open { epoch: Epoch, until_ms: i64 },
    Shut,
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fence").field(&self.check()).finish()
    }
}

impl Fence {
    /// A shut fence that goes by `clock`.
    #[must_use]
    pub fn shut(clock: Arc<dyn BootClock>) -> Self {
        Self { clock, gate: Arc::new(Mutex::new(Gate::Shut)) }
    }

    /// The epoch in which this process leads at this moment. To be asked right before each effect
    /// that does not go through the acting client: a grant, a write to somewhere else.
    ///
    /// # Errors
    /// [`NotLeader`].
    pub fn check(&self) -> Result<Epoch, NotLeader> {
        let gate = *self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        match gate {
            Gate::Open { epoch, until_ms } if self.clock.boot_ms() < until_ms => Ok(epoch),
            Gate::Open { .. } | Gate::Shut => Err(NotLeader),
        }
    }

    /// Opens or shuts it as the standing says.
    pub fn follow(&self, standing: &Standing) {
        let gate = match standing {
            Standing::Leading { epoch, until_ms } => {
                Gate::Open { epoch: *epoch, until_ms: *until_ms }
            }
            Standing::Standby { .. } | Standing::Suspended { .. } => Gate::Shut,
        };
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = gate;
    }
}

impl<S> Layer<S> for Fence {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced { fence: self.clone(), inner }
    }
}

/// A client's service behind the fence.
#[derive(Debug)]
pub struct Fenced<S> {
    fence: Fence,
    inner: S,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S> Service<Request<Body>> for Fenced<S>
where
    S: Service<Request<Body>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let changes = changes_something(request.method(), request.uri().path());
        let agent = match self.fence.check() {
            Ok(epoch) => format!("{PRODUCT} (epoch {epoch})"),
            Err(NotLeader) if changes => {
                return Box::pin(async { Err(BoxError::from(NotLeader)) });
            }
            Err(NotLeader) => PRODUCT.to_owned(),
        };
        if let Ok(agent) = HeaderValue::try_from(agent) {
            request.headers_mut().insert(USER_AGENT, agent);
        }
        Box::pin(self.inner.call(request))
    }
}

/// Whether a request changes what others see. TokenReview and SubjectAccessReview are questions in
/// the form of a POST, see "Authentication" and "Authorization" of the Kubernetes API reference.
fn changes_something(method: &Method, path: &str) -> bool {
    let is_review = ["/apis/authentication.k8s.io/", "/apis/authorization.k8s.io/"]
        .iter()
        .any(|group| path.starts_with(group));
    match *method {
        Method::GET | Method::HEAD => false,
        Method::POST => !is_review,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;
    use std::sync::atomic::Ordering;

    use super::*;

    #[derive(Default)]
    struct HandClock(AtomicI64);

    impl BootClock for HandClock {
        fn boot_ms(&self) -> i64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    /// Answers every request with its `User-Agent`.
    struct Echo;

    impl Service<Request<Body>> for Echo {
        type Response = String;
        type Error = BoxError;
        type Future = std::future::Ready<Result<String, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let agent = request.headers()[USER_AGENT].to_str().unwrap().to_owned();
            std::future::ready(Ok(agent))
        }
    }

    fn request(method: Method) -> Request<Body> {
        let builder = Request::builder().method(method).uri("/api/v1/nodes/a");
        builder.body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn nothing_that_changes_something_passes_a_shut_fence() {
        let clock = Arc::new(HandClock::default());
        let fence = Fence::shut(Arc::clone(&clock) as Arc<dyn BootClock>);
        let mut client = fence.layer(Echo);
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let refused = client.call(request(method)).await.unwrap_err();
            assert!(refused.is::<NotLeader>(), "{refused}");
        }
        assert_eq!(client.call(request(Method::GET)).await.unwrap(), PRODUCT);
        fence.follow(&Standing::Leading { epoch: Epoch(7), until_ms: 1_000 });
        let agent = client.call(request(Method::PATCH)).await.unwrap();
        assert_eq!(agent, format!("{PRODUCT} (epoch 7)"));
        // Nobody was told; the time alone shuts it.
        clock.0.store(1_000, Ordering::SeqCst);
        let refused = client.call(request(Method::PATCH)).await.unwrap_err();
        assert!(refused.is::<NotLeader>(), "{refused}");
        fence.follow(&Standing::Leading { epoch: Epoch(7), until_ms: 2_000 });
        assert_eq!(fence.check(), Ok(Epoch(7)));
        fence.follow(&Standing::Suspended { epoch: Epoch(7) });
        assert_eq!(fence.check(), Err(NotLeader));
    }

    #[test]
    fn a_review_is_a_question() {
        let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
        assert!(!changes_something(&Method::POST, reviews));
        assert!(changes_something(&Method::DELETE, reviews));
        assert!(changes_something(&Method::POST, "/api/v1/namespaces/default/events"));
        assert!(changes_something(&Method::POST, "/api/v1/apis/authentication.k8s.io/"));
        assert!(!changes_something(&Method::GET, "/api/v1/nodes"));
    }

    #[test]
    fn the_machine_has_a_clock_that_goes_on() {
        let before = MachineClock.boot_ms();
        assert!((1..i64::MAX).contains(&before), "{before}");
        assert!(MachineClock.boot_ms() >= before);
    }
}
