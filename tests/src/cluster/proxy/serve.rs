//! The proxy at work: one thread, one task for each connection.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::Arrived;
use super::Fault;
use super::Shared;
use super::Side;
use super::Signals;
use super::body::Answer;
use super::body::End;
use crate::cluster::ControlPlane;
use crate::cluster::api::Api;
use crate::cluster::pki::Pair;

type Upstream = SendRequest<Full<Bytes>>;
type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// What comes instead of the answer of a request that was executed.
enum Instead {
    Cut,
    Nothing,
    Status(u16),
}

/// What every connection needs.
struct Server {
    shared: Arc<Shared>,
    api: Api,
    tls: TlsAcceptor,
}

/// Listens on a loopback port, on a thread that ends with the signal `stopped`.
pub(super) fn start(
    pair: &Pair,
    cluster: &ControlPlane,
    shared: Arc<Shared>,
) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let server = Arc::new(Server {
        shared,
        api: Api::new(cluster.address(), cluster.authority().certificate(), None),
        tls: TlsAcceptor::from(Arc::new(config(pair))),
    });
    let listener =
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen on loopback");
    listener.set_nonblocking(true).expect("a listener that does not block");
    let address = listener.local_addr().expect("its address");
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(accept(server, listener));
    });
    (address, worker)
}

fn config(pair: &Pair) -> ServerConfig {
    let certificate =
        CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a serving certificate")
}

async fn accept(server: Arc<Server>, listener: std::net::TcpListener) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut signals = server.shared.signals.subscribe();
    loop {
        let stream = tokio::select! {
            () = until(&mut signals, |now| now.stopped) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = stream else { continue };
        if !server.shared.signals.borrow().partitioned {
            tokio::spawn(connection(Arc::clone(&server), stream));
        }
    }
}

/// Returns when the signals are as wanted. The proxy outlives its tasks, so they never end.
async fn until(signals: &mut watch::Receiver<Signals>, wanted: impl FnMut(&Signals) -> bool) {
    if signals.wait_for(wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream) {
    let mut signals = server.shared.signals.subscribe();
    let before = signals.borrow_and_update().connections_cut;
    let serve = async {
        // A client that does not trust us is its own business.
        let Ok(stream) = server.tls.accept(stream).await else { return };
        let upstream = Mutex::new(None);
        let service = service_fn(|request| answer(&server, &upstream, request));
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
        // Cut by a fault, or by the client: either way it is over.
        drop(served);
    };
    tokio::select! {
        () = until(&mut signals, |now| now.connections_cut != before) => {}
        () = serve => {}
    }
}

/// What the client gets; an error cuts the connection.
async fn answer(
    server: &Server,
    upstream: &Mutex<Option<Upstream>>,
    request: Request<Incoming>,
) -> io::Result<Reply> {
    let query = request.uri().query();
    let watches = query
        .is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")));
    let method = if watches { "WATCH".to_owned() } else { request.method().to_string() };
    let method = method.as_str();
    let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let faults =
        server.shared.judge(method, request.uri().path(), query, agent.unwrap_or_default());
    let mut limit = None;
    let mut instead = None;
    for fault in faults {
        match fault {
            Fault::CutAfter => instead = Some(Instead::Cut),
            Fault::CutBefore => return Err(io::ErrorKind::ConnectionAborted.into()),
            Fault::CutStream(lines) => limit = Some((lines, End::Cut)),
            Fault::EndStream(lines) => limit = Some((lines, End::Proper)),
            Fault::ExpireWatch(lines) => limit = Some((lines, End::Expired)),
            Fault::Hang => match std::future::pending::<Infallible>().await {},
            Fault::HangAfter => instead = Some(Instead::Nothing),
            Fault::Latency(duration) => tokio::time::sleep(duration).await,
            Fault::Status(code) => return Ok(status(code)),
            Fault::StatusAfter(code) => instead = Some(Instead::Status(code)),
        }
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let side = server.shared.asked(&Arrived {
        method,
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        body: &body,
    });
    if side == Some(Side::Before) && server.shared.held().await.is_err() {
        match std::future::pending::<Infallible>().await {}
    }
    let answered = forward(server, upstream, parts, body).await;
    if side == Some(Side::After) {
        match answered {
            Ok(answered) if answered.status().is_success() => {
                answered.into_body().collect().await.map_err(io::Error::other)?;
                let _never = server.shared.held();
                match std::future::pending::<Infallible>().await {}
            }
            Ok(_) | Err(_) => server.shared.escaped(),
        }
    }
    let answered = answered?;
    if let Some(instead) = instead {
        // Executed for certain: the API server has answered to the end.
        answered.into_body().collect().await.map_err(io::Error::other)?;
        return match instead {
            Instead::Cut => Err(io::ErrorKind::ConnectionAborted.into()),
            Instead::Nothing => match std::future::pending::<Infallible>().await {},
            Instead::Status(code) => Ok(status(code)),
        };
    }
    let (mut parts, body) = answered.into_parts();
    parts.headers.remove(header::TRANSFER_ENCODING);
    if limit.is_some() {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let mut signals = server.shared.signals.subscribe();
    let before = signals.borrow_and_update().watches_ended;
    let ended = async move { until(&mut signals, |now| now.watches_ended != before).await };
    Ok(Response::from_parts(parts, UnsyncBoxBody::new(Answer::new(body, limit, ended))))
}

/// Sends the request on over a kept connection, or a new one.
async fn forward(
    server: &Server,
    upstream: &Mutex<Option<Upstream>>,
    mut parts: Parts,
    body: Bytes,
) -> io::Result<Response<Incoming>> {
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let mut kept = upstream.lock().await;
    let mut sender = match kept.take() {
        Some(sender) => sender,
        None => server.api.connect().await?,
    };
    // Closed for instance because the answer before was not read to its end.
    if sender.ready().await.is_err() {
        sender = server.api.connect().await?;
    }
    let request = Request::from_parts(parts, Full::new(body));
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    *kept = Some(sender);
    Ok(answer)
}

/// An error as the API server would word it.
fn status(code: u16) -> Reply {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("the test wants {code}"),
        "reason": reason,
        "code": code,
    });
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never: Infallible| match never {});
    let mut reply = Response::new(UnsyncBoxBody::new(body));
    *reply.status_mut() = StatusCode::from_u16(code).expect("a status");
    let json = header::HeaderValue::from_static("application/json");
    reply.headers_mut().insert(header::CONTENT_TYPE, json);
    if code == 429 {
        let second = Duration::from_secs(1).as_secs();
        reply.headers_mut().insert(header::RETRY_AFTER, second.into());
    }
    reply
}
