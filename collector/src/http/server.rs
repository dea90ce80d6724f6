//! The accept loop, one task for each connection, and the way of a request through the gates.
//!
//! ```text
//! accept ─caps─> TLS ─> hyper(http1) ─> route ─> identity ─> rate ─> body ─> Call ─> api ─> reply
//! ```
//!
//! No byte of a body is read before identity is known. What a call does is not decided here.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use hyper::Request;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use palisade_report::NodeName;
use palisade_report::bound::clean;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use super::admission::admit;
use super::admission::turn_away;
use super::body;
use super::body::BodyError;
use super::body::Encoding;
use super::call;
use super::call::Call;
use super::call::NoCall;
use super::connection::Activity;
use super::connection::Guarded;
use super::limits::Buckets;
use super::limits::Connections;
use super::limits::Limits;
use super::limits::MAX_ADDRESSES;
use super::limits::MAX_NODES;
use super::limits::Place;
use super::limits::gain;
use super::reply;
use super::reply::Reply;
use super::reply::Tag;
use super::route;
use super::route::AlertsRoute;
use super::route::Audience;
use super::route::Matched;
use super::route::NoRoute;
use super::route::RouteName;
use crate::api::App;
use crate::api::answer::Kind;
use crate::api::answer::Refused;
use crate::auth::Auth;
use crate::auth::Caller;
use crate::auth::Denied;
use crate::auth::NodeIdentity;
use crate::auth::Refusal;
use crate::chain::Chain;
use crate::tls::Tls;

/// How long nothing is accepted after the process ran out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two log lines about the same shortage.
const SHORTAGE_LOG_GAIN: Duration = Duration::from_secs(10);

/// Bytes that a heartbeat may have as sent and unpacked: 300, or with a manifest of 32 sections
/// some 5 KiB; the rest is for newer agents.
const MAX_HEARTBEAT_BODY: usize = 32 * 1024;

/// Heartbeats that one node may send at once: a changed report takes two, and so does the next.
const HEARTBEAT_BURST: u32 = 4;

/// Everything that the connections share.
#[derive(Debug)]
pub struct Shared {
    /// What answers calls.
    pub app: Arc<App>,
    /// Who may.
    pub auth: Arc<Auth>,
    /// Bounds.
    pub limits: Limits,
    /// Open connections.
    pub connections: Arc<Connections>,
    /// Rates of people, by address.
    pub queries: Buckets<IpAddr>,
    /// Rates of heartbeats, by node.
    pub heartbeats: Buckets<NodeName>,
    /// Log lines about wrong tokens, which a stranger causes.
    pub complaints: Buckets<()>,
    /// Log lines about a lack of descriptors or memory, which lasts.
    pub shortages: Buckets<()>,
    /// Uploads at once.
    pub uploads: Arc<Semaphore>,
    /// Room for unpacked uploads, in KiB.
    pub room: Arc<Semaphore>,
    /// Questions at once, apart from uploads, so that neither starves the other; heartbeats are
    /// bounded by the engine's queue alone.
    pub questions: Arc<Semaphore>,
}

impl Shared {
    /// Shares `app` behind `auth` within `limits`.
    #[must_use]
    pub fn new(app: Arc<App>, auth: Arc<Auth>, limits: Limits) -> Self {
        let burst = limits.queries_per_second.saturating_mul(2);
        Self {
            connections: Arc::clone(app.connections()),
            app,
            auth,
            queries: Buckets::new(burst, gain(limits.queries_per_second), MAX_ADDRESSES),
            heartbeats: Buckets::new(HEARTBEAT_BURST, limits.heartbeat_gain, MAX_NODES),
            complaints: Buckets::new(1, gain(1), 1),
            shortages: Buckets::new(1, SHORTAGE_LOG_GAIN, 1),
            uploads: Arc::new(Semaphore::new(limits.uploads_at_once)),
            room: Arc::new(Semaphore::new(
                limits.unpacked_bytes.max(limits.decoded_bytes) / 1024 + 1,
            )),
            questions: Arc::new(Semaphore::new(limits.questions_at_once)),
            limits,
        }
    }
}

/// Accepts and answers until `stop` turns true, then lets running requests finish for as long as
/// the limits say.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            // On a socket of both families an IPv4 peer has an address within IPv6.
            Ok((stream, peer)) => (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())),
            Err(error) => {
                // Either that one connection ended early, or we lack something that comes back
                // when others end; both are no reason to end the loop.
                shared.app.figures.count_accept_error();
                if is_shortage(&error) {
                    if shared.shortages.take(&(), Instant::now()).is_ok() {
                        tracing::warn!(%error, "accepting pauses until connections end");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        let place = match shared.connections.admit(peer.ip(), &shared.limits) {
            Ok(place) => place,
            Err(too_many) => {
                shared.app.figures.count_turned_away(too_many);
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "small replies may wait");
        }
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        let shared = Arc::clone(&shared);
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let within = shared.limits.head_timeout;
            match acceptor {
                None => connection(stream, peer, place, shared, watcher).await,
                Some(acceptor) => match tokio::time::timeout(within, acceptor.accept(stream)).await
                {
                    Ok(Ok(stream)) => connection(stream, peer, place, shared, watcher).await,
                    Ok(Err(_)) | Err(_) => shared.app.figures.count_failed_handshake(),
                },
            }
        });
    }
    drop(listener);
    let within = shared.limits.stop_timeout;
    if tokio::time::timeout(within, graceful.shutdown()).await.is_err() {
        tracing::warn!(?within, "some connections did not finish in time and are cut");
    }
}

/// Whether accepting failed for lack of descriptors or memory.
fn is_shortage(error: &io::Error) -> bool {
    // ENOMEM, ENFILE, EMFILE and ENOBUFS of accept(2); std names only the first.
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105))
}

async fn connection<S>(
    stream: S,
    peer: SocketAddr,
    place: Arc<Place>,
    shared: Arc<Shared>,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let limits = &shared.limits;
    let guarded = Guarded::new(stream, Arc::clone(&activity), limits);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // hyper starts this as soon as it waits for the next request, so it bounds idle time; the
        // bound on a head's own time is in `Guarded`.
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.head_fields);
    let service = service_fn(|request| {
        let busy = activity.begin();
        let shared = Arc::clone(&shared);
        let place = Arc::clone(&place);
        async move {
            let reply = answer(&shared, &place, peer, request).await;
            shared.app.figures.count_reply(reply.status().as_u16());
            Ok::<_, Infallible>(reply.map(|body| body.keeping(busy)))
        }
    });
    let served = watcher.watch(builder.serve_connection(TokioIo::new(guarded), service)).await;
    if let Err(error) = served {
        // A peer's doing; counted, and told only to those who look for it.
        shared.app.figures.count_broken_connection();
        tracing::debug!(%peer, error = %Chain(&error), "a connection ended early");
    }
}

/// One request: every gate in its order, then the call.
async fn answer(
    shared: &Arc<Shared>,
    place: &Place,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Reply {
    let (head, incoming) = request.into_parts();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > shared.limits.url_bytes {
        let bound = shared.limits.url_bytes;
        let message = format!("the address exceeds {bound} bytes");
        return reply::refusal(Refused::new(Kind::UriTooLong, message));
    }
    let matched = match route::find(&head.method, head.uri.path()) {
        Ok(matched) => matched,
        Err(no_route @ NoRoute::Path) => {
            return reply::refusal(Refused::new(Kind::NotFound, no_route.to_string()));
        }
        Err(NoRoute::Method { allowed }) => {
            let message = NoRoute::Method { allowed: allowed.clone() }.to_string();
            return reply::not_allowed(&allowed, message);
        }
    };
    if let Some(refused) = shared.app.unavailable(matched.route.name) {
        return reply::refusal(refused);
    }
    let caller = match admit(shared, &matched, &head.headers, peer.ip()).await {
        Ok(caller) => caller,
        Err(refused) => return reply::refusal(refused),
    };
    if matched.route.audience != Audience::Anybody {
        place.prove();
    }
    let query = head.uri.query().unwrap_or_default();
    let tag = tag_of(shared, matched.route.name, target);
    if let Tag::Known(tag) = &tag
        && let Some(unchanged) = reply::unchanged(tag, &head.headers)
    {
        return unchanged;
    }
    // Held to the end: unpacking, checking and waiting for the commit all hold the sections.
    let permit = (matched.route.name == RouteName::Sections).then(|| shared.uploads.try_acquire());
    if let Some(Err(_)) = permit {
        let message = "too many uploads at once";
        return reply::refusal(Refused::new(Kind::Busy, message).retry_after(1));
    }
    let turn = match turn(shared, matched.route.name).await {
        Ok(turn) => turn,
        Err(refused) => return reply::refusal(refused),
    };
    let asked = Asked { matched: &matched, query, headers: &head.headers, caller: &caller };
    let (call, room) = match make_call(shared, asked, peer.ip(), incoming).await {
        Ok(made) => made,
        Err(refused) => return reply::refusal(refused),
    };
    let answer = shared.app.answer(call, &caller, peer.ip()).await;
    drop((permit, turn, room));
    reply::reply(answer, tag, &head.headers)
}

/// A turn for a question that walks many nodes or the store.
async fn turn(shared: &Shared, name: RouteName) -> Result<Option<OwnedSemaphorePermit>, Refused> {
    match name {
        RouteName::Alerts(_)
        | RouteName::Audit
        | RouteName::Certificates
        | RouteName::Explain
        | RouteName::Facts
        | RouteName::Findings
        | RouteName::History
        | RouteName::MetricsOfCertificates
        | RouteName::MetricsOfNodes
        | RouteName::Node
        | RouteName::Nodes
        | RouteName::Plan
        | RouteName::WhatIf => {}
        RouteName::Approve
        | RouteName::CancelReboot
        | RouteName::Reboots
        | RouteName::Release
        | RouteName::ReleasePool
        | RouteName::RequestReboot
        | RouteName::GrantAnswer
        | RouteName::Heartbeat
        | RouteName::Index
        | RouteName::Live
        | RouteName::Metrics
        | RouteName::OpenApi
        | RouteName::Ready
        | RouteName::Retire
        | RouteName::Rules
        | RouteName::Sections
        | RouteName::Summary
        | RouteName::Watch => return Ok(None),
    }
    let turn = Arc::clone(&shared.questions).acquire_owned();
    match tokio::time::timeout(shared.limits.question_wait, turn).await {
        Ok(Ok(turn)) => Ok(Some(turn)),
        Ok(Err(_)) | Err(_) => {
            Err(Refused::new(Kind::Busy, "too many questions at once").retry_after(1))
        }
    }
}

/// Answers that follow from the published picture alone are tagged by it; those that the clock or
/// the store also take part in, by their bytes.
fn tag_of(shared: &Shared, name: RouteName, target: &str) -> Tag {
    match name {
        RouteName::Facts | RouteName::Findings | RouteName::Rules => {
            shared.app.tag(target).map_or(Tag::None, Tag::Known)
        }
        RouteName::Audit
        | RouteName::Certificates
        | RouteName::Explain
        | RouteName::History
        | RouteName::Index
        | RouteName::Node
        | RouteName::Nodes
        | RouteName::OpenApi
        | RouteName::Plan
        | RouteName::Reboots
        | RouteName::Summary => Tag::OfBody,
        RouteName::Alerts(name) if !name.acts() && name != AlertsRoute::Rehearse => Tag::OfBody,
        RouteName::Alerts(_)
        | RouteName::Approve
        | RouteName::CancelReboot
        | RouteName::GrantAnswer
        | RouteName::Heartbeat
        | RouteName::Live
        | RouteName::Metrics
        | RouteName::MetricsOfCertificates
        | RouteName::MetricsOfNodes
        | RouteName::Ready
        | RouteName::Release
        | RouteName::ReleasePool
        | RouteName::RequestReboot
        | RouteName::Retire
        | RouteName::Sections
        | RouteName::Watch
        | RouteName::WhatIf => Tag::None,
    }
}

/// A request whose asker is known, without its body.
#[derive(Clone, Copy)]
struct Asked<'a> {
    matched: &'a Matched,
    query: &'a str,
    headers: &'a HeaderMap,
    caller: &'a Caller,
}

/// What a body of an agent is refused for: the sentence of a malformed one, or that it is another's.
enum Unusable {
    Malformed(Refused),
    OfAnother(Refusal),
}

/// The call of an agent's body, which must not name another node than its token.
fn parse_own(
    matched: &Matched,
    query: &str,
    caller: &Caller,
    body: &[u8],
) -> Result<Call, Unusable> {
    let malformed = |it: NoCall| Unusable::Malformed(no_call(&it));
    if let Some(NodeIdentity { name: own, .. }) = caller.node()
        && call::names_another(body, own).map_err(malformed)?
    {
        let denied = Denied::BodyOfOtherNode { own: own.clone() };
        return Err(Unusable::OfAnother(Refusal { denied, caller: caller.clone(), claimed: None }));
    }
    call::parse(matched, query, "", body).map_err(malformed)
}

async fn make_call(
    shared: &Arc<Shared>,
    asked: Asked<'_>,
    address: IpAddr,
    incoming: Incoming,
) -> Result<(Call, Option<OwnedSemaphorePermit>), Refused> {
    let Asked { matched, query, headers, caller } = asked;
    let refuse = |unusable| match unusable {
        Unusable::Malformed(refused) => refused,
        Unusable::OfAnother(refusal) => turn_away(shared, matched, &refusal, address),
    };
    let resume = headers.get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let parse = |matched: &Matched, body: &[u8]| {
        let call = call::parse(matched, query, resume, body).map_err(|it| no_call(&it))?;
        Ok((call, None))
    };
    match matched.route.name {
        RouteName::GrantAnswer | RouteName::Heartbeat => {
            let limits = Limits {
                body_bytes: shared.limits.body_bytes.min(MAX_HEARTBEAT_BODY),
                decoded_bytes: shared.limits.decoded_bytes.min(MAX_HEARTBEAT_BODY),
                ..shared.limits.clone()
            };
            let (sent, encoding) = receive(shared, &limits, headers, incoming).await?;
            let text = unpack(shared, sent, encoding, limits.decoded_bytes)?;
            parse_own(matched, query, caller, &text).map(|call| (call, None)).map_err(refuse)
        }
        RouteName::Sections => {
            let (sent, encoding) = receive(shared, &shared.limits, headers, incoming).await?;
            let bound = shared.limits.decoded_bytes;
            let reserved = match encoding {
                Encoding::Gzip | Encoding::Zstd => kib(bound),
                Encoding::Identity => kib(sent.len()),
            };
            let room = Arc::clone(&shared.room).acquire_many_owned(reserved).await;
            let mut room = room.map_err(|_| Refused::new(Kind::Busy, "the collector stops"))?;
            let (mine, wanted) = (Arc::clone(shared), matched.clone());
            let (query, caller) = (query.to_owned(), caller.clone());
            // Up to 4 MiB are unpacked and parsed: heartbeats on this worker must not wait for it.
            let made = tokio::task::spawn_blocking(move || {
                let text = unpack(&mine, sent, encoding, bound).map_err(Unusable::Malformed)?;
                let unused = reserved.saturating_sub(kib(text.len()));
                drop(room.split(usize::try_from(unused).unwrap_or_default()));
                let call = parse_own(&wanted, &query, &caller, &text)?;
                Ok((call, Some(room)))
            });
            made.await
                .map_err(|_| Refused::new(Kind::Internal, "the body could not be unpacked"))?
                .map_err(refuse)
        }
        RouteName::Alerts(AlertsRoute::Rehearse | AlertsRoute::Silence)
        | RouteName::Approve
        | RouteName::RequestReboot
        | RouteName::WhatIf => {
            let (sent, encoding) = receive(shared, &shared.limits, headers, incoming).await?;
            parse(matched, &unpack(shared, sent, encoding, MAX_WISH_BODY)?)
        }
        RouteName::Alerts(_)
        | RouteName::Audit
        | RouteName::CancelReboot
        | RouteName::Certificates
        | RouteName::Explain
        | RouteName::Facts
        | RouteName::Findings
        | RouteName::History
        | RouteName::Index
        | RouteName::Live
        | RouteName::Metrics
        | RouteName::MetricsOfCertificates
        | RouteName::MetricsOfNodes
        | RouteName::Node
        | RouteName::Nodes
        | RouteName::OpenApi
        | RouteName::Plan
        | RouteName::Ready
        | RouteName::Reboots
        | RouteName::Release
        | RouteName::ReleasePool
        | RouteName::Retire
        | RouteName::Rules
        | RouteName::Summary
        | RouteName::Watch => parse(matched, &[]),
    }
}

/// Bytes of a person's body once unpacked: a policy with hundreds of pools.
const MAX_WISH_BODY: usize = 256 * 1024;

/// KiB for so many bytes, at least one.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX).saturating_add(1)
}

/// Bytes of a sentence about a malformed request: what was sent may be part of it.
const MAX_MESSAGE: usize = 512;

fn no_call(no_call: &NoCall) -> Refused {
    let kind = match no_call {
        NoCall::Body { .. } => Kind::MalformedBody,
        NoCall::Alert(_)
        | NoCall::Fact { .. }
        | NoCall::Grant(_)
        | NoCall::Node(_)
        | NoCall::Query(_)
        | NoCall::Section(_)
        | NoCall::Silence => Kind::MalformedRequest,
    };
    Refused::new(kind, clean(no_call.to_string().as_bytes(), MAX_MESSAGE))
}

async fn receive(
    shared: &Shared,
    limits: &Limits,
    headers: &HeaderMap,
    incoming: Incoming,
) -> Result<(Bytes, Encoding), Refused> {
    let encoding = body::encoding(headers).map_err(|error| body_refused(shared, &error))?;
    let sent =
        body::receive(incoming, limits).await.map_err(|error| body_refused(shared, &error))?;
    Ok((sent, encoding))
}

fn unpack(
    shared: &Shared,
    sent: Bytes,
    encoding: Encoding,
    bound: usize,
) -> Result<Bytes, Refused> {
    body::unpack(sent, encoding, bound).map_err(|error| body_refused(shared, &error))
}

fn body_refused(shared: &Shared, error: &BodyError) -> Refused {
    shared.app.figures.count_refused_body();
    let kind = match error {
        BodyError::Encoding | BodyError::MediaType => Kind::UnsupportedBody,
        BodyError::TooLarge { .. } => Kind::TooLarge,
        BodyError::TooSlow(_) => Kind::TooSlow,
        BodyError::Corrupt(_) | BodyError::CutOff(_) | BodyError::Depth | BodyError::Trailing => {
            Kind::MalformedBody
        }
    };
    Refused::new(kind, error.to_string())
}

#[cfg(test)]
mod tests;
