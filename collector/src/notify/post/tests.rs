//! Over real sockets: what arrives, what is answered, and receivers that misbehave.

use std::sync::Arc;
use std::sync::Mutex;

use palisade_alert::secret::Secret;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use super::*;
use crate::notify::dial::Times;
use crate::notify::egress::Egress;
use crate::notify::peer::Got;
use crate::notify::peer::HASTY;
use crate::notify::peer::PATIENT;
use crate::notify::peer::Peer;
use crate::notify::peer::acceptor;
use crate::notify::peer::dialer;
use crate::notify::peer::request;
use crate::testing::Scratch;

const NOW: Moment = Moment::from_unix(1_800_000_000);

fn to(url: &str) -> HttpRequest {
    HttpRequest {
        method: "POST",
        url: Secret::new(url),
        headers: vec![("Authorization".to_owned(), Secret::new("Bearer TOP-SECRET"))],
        content_type: "application/json".to_owned(),
        body: b"{\"a\":1}".to_vec(),
        sign_with: None,
    }
}

fn patient() -> Poster {
    Poster::new(dialer(None, PATIENT))
}

/// Answers every request of a connection with these bytes.
async fn answering(answer: &'static [u8]) -> Peer {
    Peer::start(move |_, mut stream| async move {
        while request(&mut stream).await.is_some() {
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    })
    .await
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_arrives_as_it_is_and_is_signed() {
    let got: Arc<Mutex<Vec<Got>>> = Arc::default();
    let seen = Arc::clone(&got);
    let peer = Peer::start(move |_, mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            while let Some(got) = request(&mut stream).await {
                seen.lock().unwrap().push(got);
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let signed = HttpRequest {
        sign_with: Some(Secret::new("key")),
        method: "PUT",
        ..to(&peer.url("/hook?sig=%20&x=1"))
    };
    let mut poster = patient();
    let answer = poster.post(&signed, NOW).await.unwrap();
    assert_eq!(answer, Answer { status: 200, retry_after: None, body: b"ok".to_vec() });
    poster.post(&to(&peer.url("")), NOW).await.unwrap();
    let got = got.lock().unwrap().clone();
    let host = peer.address.to_string();
    assert!(got[0].head.starts_with("PUT /hook?sig=%20&x=1 HTTP/1.1\r\n"), "{:?}", got[0]);
    for (name, expected) in [
        ("host", &*host),
        ("user-agent", PRODUCT),
        ("content-type", "application/json"),
        ("content-length", "7"),
        ("authorization", "Bearer TOP-SECRET"),
        ("x-palisade-timestamp", "1800000000"),
        // printf '1800000000.{"a":1}' | openssl dgst -sha256 -hmac key
        ("x-palisade-signature", SIGNATURE),
    ] {
        assert_eq!(got[0].field(name), Some(expected), "{name}");
    }
    assert_eq!(got[0].body, b"{\"a\":1}");
    assert!(got[1].head.starts_with("POST / HTTP/1.1\r\n"), "{:?}", got[1]);
    assert_eq!(got[1].field("x-palisade-signature"), None);
    assert_eq!(peer.accepted(), 1, "one connection for both");
}

const SIGNATURE: &str = "sha256=7330c9cf7d886970cbebbbb5494c04d2aeff06a990adb7d7a75abfeb0159d291";

#[tokio::test]
async fn every_status_is_an_answer_and_none_leads_elsewhere() {
    let elsewhere = answering(OK).await;
    let to_elsewhere = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        elsewhere.url("/")
    );
    let to_elsewhere: &'static str = Box::leak(to_elsewhere.into_boxed_str());
    for (said, status, retry_after, body) in [
        (&b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"[..], 202, None, ""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, None, ""),
        (
            b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nslow",
            429,
            Some("7"),
            "slow",
        ),
        (
            b"HTTP/1.1 503 Busy\r\nRetry-After: Fri, 15 Jan 2027 08:00:30 GMT\r\ncontent-length: 0\r\n\r\n",
            503,
            Some("Fri, 15 Jan 2027 08:00:30 GMT"),
            "",
        ),
        (b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", 500, None, "no"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n", 400, None, ""),
        (to_elsewhere.as_bytes(), 307, None, ""),
    ] {
        let peer = answering(said).await;
        let answer = patient().post(&to(&peer.url("/")), NOW).await.unwrap();
        let retry_after = retry_after.map(str::to_owned);
        assert_eq!(answer, Answer { status, retry_after, body: body.into() }, "{status}");
    }
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test]
async fn a_body_without_end_is_cut_and_its_connection_given_up() {
    let peer = Peer::start(|_, mut stream| async move {
        while request(&mut stream).await.is_some() {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            if stream.write_all(&vec![b'x'; 10_000_000]).await.is_err() {
                return;
            }
        }
    })
    .await;
    let mut poster = patient();
    for connections in 1..=2 {
        let answer = poster.post(&to(&peer.url("/")), NOW).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, MAX_BODY));
        assert!(poster.kept.is_none());
        assert_eq!(peer.accepted(), connections);
    }
}

#[tokio::test]
async fn a_status_counts_although_its_body_hangs() {
    let peer = Peer::start(|_, mut stream| async move {
        request(&mut stream).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(stream.read_u8().await);
    })
    .await;
    // The machine may be slow: then it has not even the status by then, and more time is needed.
    let mut total = HASTY.total;
    let (answer, poster) = loop {
        let mut poster = Poster::new(dialer(None, Times { total, ..HASTY }));
        match poster.post(&to(&peer.url("/")), NOW).await {
            Ok(answer) => break (answer, poster),
            Err(error) => assert!(matches!(error, PostError::TimedOut { .. }), "{error:?}"),
        }
        total *= 2;
    };
    assert_eq!((answer.status, &*answer.body), (200, &b"half"[..]));
    assert!(poster.kept.is_none());
}

#[tokio::test]
async fn whoever_hangs_costs_its_time_and_no_more() {
    // One that answers nothing, one that reads nothing, one that answers a byte at a time.
    let silent =
        Peer::start(|_, mut stream| async move { while stream.read_u8().await.is_ok() {} }).await;
    let deaf = Peer::start(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let slow = Peer::start(|_, mut stream| async move {
        request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        while stream.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for (name, peer) in [("silent", silent), ("deaf", deaf), ("slow", slow)] {
        let request = HttpRequest { body: vec![b'x'; 8 << 20], ..to(&peer.url("/")) };
        let request = if name == "slow" { to(&peer.url("/")) } else { request };
        let error = Poster::new(dialer(None, HASTY)).post(&request, NOW).await.unwrap_err();
        assert!(matches!(error, PostError::TimedOut { .. }), "{name}: {error:?}");
        assert!(matches!(error.outcome(), Outcome::Lost { after: None, .. }), "{name}");
        assert_eq!(error.class(), "timeout");
    }
}

#[tokio::test]
async fn answers_that_are_none_are_errors_worth_another_try() {
    for said in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 99999 ?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        let peer = Peer::start(move |_, mut stream| async move {
            request(&mut stream).await.unwrap();
            drop(stream.write_all(said).await);
        })
        .await;
        let error = patient().post(&to(&peer.url("/")), NOW).await.unwrap_err();
        assert!(matches!(error, PostError::Exchange { .. }), "{error:?}");
        assert!(matches!(error.outcome(), Outcome::Lost { after: None, .. }));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = patient().post(&to(&nobody), NOW).await.unwrap_err();
    assert!(matches!(error, PostError::Dial(DialError::Connect { .. })), "{error:?}");
    assert_eq!(error.class(), "connect");
    // A head that does not end is given up, long before there is no memory.
    let endless = Peer::start(|_, mut stream| async move {
        request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        while stream.write_all(&[b'y'; 4096]).await.is_ok() {}
    })
    .await;
    let error = patient().post(&to(&endless.url("/")), NOW).await.unwrap_err();
    assert!(matches!(error, PostError::Exchange { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    let peer = Peer::start(|_, mut stream| async move {
        request(&mut stream).await.unwrap();
        stream.write_all(OK).await.unwrap();
    })
    .await;
    let mut poster = patient();
    for connections in 1..=3 {
        poster.post(&to(&peer.url("/")), NOW).await.unwrap();
        assert_eq!(peer.accepted(), connections);
        let kept = poster.kept.as_ref().unwrap();
        let closed = async {
            while !kept.sender.is_closed() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(crate::testing::PATIENCE, closed).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_again() {
    let requests = Arc::new(Mutex::new(0));
    let count = Arc::clone(&requests);
    let peer = Peer::start(move |_, mut stream| {
        let count = Arc::clone(&count);
        async move {
            request(&mut stream).await.unwrap();
            *count.lock().unwrap() += 1;
            stream.write_all(OK).await.unwrap();
            // The second one arrives, and is never answered.
            request(&mut stream).await.unwrap();
            *count.lock().unwrap() += 1;
        }
    })
    .await;
    let mut poster = patient();
    poster.post(&to(&peer.url("/")), NOW).await.unwrap();
    let error = poster.post(&to(&peer.url("/")), NOW).await.unwrap_err();
    assert!(matches!(error, PostError::Exchange { .. }), "{error:?}");
    assert_eq!((*requests.lock().unwrap(), peer.accepted()), (2, 1));
}

#[tokio::test]
async fn a_connection_is_kept_for_its_endpoint_only() {
    let (first, second) = (answering(OK).await, answering(OK).await);
    let mut poster = patient();
    for url in [first.url("/a"), first.url("/b"), second.url("/"), second.url("/")] {
        poster.post(&to(&url), NOW).await.unwrap();
    }
    assert_eq!((first.accepted(), second.accepted()), (1, 1));
    assert!(poster.kept.as_ref().unwrap().is_for(&Endpoint::parse(&second.url("/x")).unwrap()));
    poster.kept.as_mut().unwrap().since -= MAX_AGE;
    poster.post(&to(&second.url("/")), NOW).await.unwrap();
    assert_eq!(second.accepted(), 2, "an old one is replaced");
}

/// A receiver with TLS that answers once a connection.
async fn encrypted(names: &[&str]) -> (Peer, String) {
    let (acceptor, pem) = acceptor(names);
    let peer = Peer::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while request(&mut stream).await.is_some() {
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    (peer, pem)
}

#[tokio::test]
async fn whoever_cannot_show_who_it_is_gets_nothing() {
    let scratch = Scratch::new();
    let (peer, pem) = encrypted(&["localhost", "127.0.0.1"]).await;
    let (other, other_pem) = encrypted(&["elsewhere.example"]).await;
    let both = scratch.write("ca.pem", &format!("{pem}{other_pem}"));
    let known = || Poster::new(dialer(Some(both.clone()), PATIENT));
    let port = peer.address.port();
    for url in [format!("https://127.0.0.1:{port}/"), format!("https://localhost:{port}/")] {
        let answer = known().post(&to(&url), NOW).await.unwrap();
        assert_eq!(answer.status, 200, "{url}");
    }
    let wrong_name = format!("https://127.0.0.1:{}/", other.address.port());
    let known_name = format!("https://127.0.0.1:{port}/");
    for (mut poster, url) in [(known(), wrong_name), (patient(), known_name)] {
        let error = poster.post(&to(&url), NOW).await.unwrap_err();
        assert!(matches!(error, PostError::Dial(DialError::Untrusted { .. })), "{error:?}");
        let Outcome::Retry { after: Some(PATIENCE_FOR_PEOPLE), why } = error.outcome() else {
            panic!("{:?}", error.outcome());
        };
        assert!(why.contains("failed to trust 127.0.0.1: "), "{why}");
        assert_eq!(error.class(), "tls");
    }
    let clear = answering(OK).await;
    let url = format!("https://{}/", clear.address);
    // It waits for the end of a head, and we for its part of the handshake.
    let error = Poster::new(dialer(None, HASTY)).post(&to(&url), NOW).await.unwrap_err();
    assert!(matches!(error, PostError::TimedOut { .. }), "{error:?}");
    let odd = Peer::start(|_, mut stream: TcpStream| async move {
        drop(stream.write_all(b"HTTP/1.1 400 no TLS here\r\n\r\n").await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let url = format!("https://{}/", odd.address);
    let error = patient().post(&to(&url), NOW).await.unwrap_err();
    assert!(matches!(error, PostError::Dial(DialError::Handshake { .. })), "{error:?}");
    assert!(matches!(error.outcome(), Outcome::Retry { after: None, .. }));
}

#[tokio::test]
async fn the_guard_is_asked_before_anybody_else() {
    let peer = answering(OK).await;
    let guarded = Dialer { egress: Egress::new(vec![], vec![]), ..dialer(None, PATIENT) };
    let mut poster = Poster::new(guarded);
    let error = poster.post(&to(&peer.url("/SECRET")), NOW).await.unwrap_err();
    assert!(matches!(error, PostError::Dial(DialError::Guard(_))), "{error:?}");
    assert!(matches!(error.outcome(), Outcome::Retry { after: Some(_), .. }));
    assert_eq!((error.class(), peer.accepted()), ("guard", 0));
}

#[tokio::test]
async fn no_error_shows_more_than_the_host() {
    let peer = Peer::start(|_, stream| async move { drop(stream) }).await;
    let address = peer.address;
    for url in [
        format!("http://{address}/SECRET?sig=SECRET"),
        format!("https://{address}/SECRET?sig=SECRET"),
        "http://127.0.0.1:1/SECRET?sig=SECRET".to_owned(),
        "http://169.254.169.254/SECRET".to_owned(),
        "http://SECRET:SECRET@127.0.0.1/".to_owned(),
        "http://127.0.0.1/SECRET\u{7f}".to_owned(),
        "http://127.0.0.1:99999/SECRET".to_owned(),
        "SECRET".to_owned(),
    ] {
        let mut request = to(&url);
        request.sign_with = Some(Secret::new("SECRET"));
        let error = patient().post(&request, NOW).await.unwrap_err();
        for shown in [Chain(&error).to_string(), format!("{error:?}"), format!("{request:?}")] {
            assert!(!shown.contains("SECRET"), "{shown}");
        }
    }
}

#[tokio::test]
async fn headers_that_are_not_for_others_to_set_are_refused() {
    let peer = answering(OK).await;
    for (name, value) in [
        ("Host", "elsewhere"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "upgrade"),
        ("X-A\r\nHost", "x"),
        ("X-A", "x\r\nHost: SECRET"),
        ("", "x"),
    ] {
        let headers = vec![(name.to_owned(), Secret::new(value))];
        let request = HttpRequest { headers, ..to(&peer.url("/")) };
        let error = patient().post(&request, NOW).await.unwrap_err();
        assert!(matches!(error, PostError::Header { .. }), "{name}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("SECRET"));
    }
    let error = patient().post(&HttpRequest { method: "CONNECT", ..to(&peer.url("/")) }, NOW).await;
    assert!(matches!(error, Err(PostError::Method)));
    assert_eq!(peer.accepted(), 0);
}
