//! Every limit, over real sockets.

use std::io::Write as _;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::http::limits::LocalRates;
use crate::settings::TokenFiles;
use crate::testing::Heard;
use crate::testing::PATIENCE;
use crate::testing::Served;
use crate::testing::head;
use crate::testing::hear;

const HEARTBEAT: &str = "/v1/nodes/worker-1/heartbeat";

const SHORT: Duration = Duration::from_millis(150);

async fn served() -> Served {
    Served::start(|_, _| {}).await
}

/// Alive to everybody else after whatever was done to it.
async fn alive(served: &Served) {
    assert_eq!(served.ask("GET", "/livez", "").await.body(), "ok\n");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let served = served().await;
    let long = format!("/v1/nodes?name={}", "x".repeat(2048));
    assert_eq!(served.ask("GET", &long, "").await.kind(), "uri-too-long");
    let many = "x-a: b\r\n".repeat(65);
    assert_eq!(served.ask("GET", "/livez", &many).await.status(), 431);
    let large = format!("x-a: {}\r\n", "b".repeat(16 * 1024));
    assert_eq!(served.ask("GET", "/livez", &large).await.status(), 431);
    let fits = "x-a: b\r\n".repeat(50);
    assert_eq!(served.ask("GET", "/livez", &fits).await.status(), 200);
    served.stop().await;
}

#[tokio::test]
async fn nonsense_and_foreign_protocols_end_their_own_connection_only() {
    let served = served().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\x00b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"\r\n\r\n\r\n",
    ] {
        let mut stream = served.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let heard = hear(&mut stream).await;
        assert_ne!(heard.status(), 200, "{heard:?}");
    }
    alive(&served).await;
    served.stop().await;
}

#[tokio::test]
async fn a_silent_and_a_slow_peer_are_cut() {
    let served = Served::start(|settings, _| settings.limits.head_timeout = SHORT).await;
    let mut silent = served.connect().await;
    assert_eq!(hear(&mut silent).await.0, "");
    let mut slow = served.connect().await;
    let cut = async {
        loop {
            // One byte at a time for ever: never done, never quiet.
            if slow.write_all(b"x").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.unwrap();
    alive(&served).await;
    served.stop().await;
}

#[tokio::test]
async fn a_kept_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let served = Served::start(|settings, _| settings.limits.head_timeout = SHORT).await;
    let mut stream = served.connect().await;
    let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for _ in 0..2 {
        stream.write_all(request).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"ok\n") {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "closed");
        }
        // The condition is that nothing happens for a while, which only a while can show.
        tokio::time::sleep(SHORT * 2).await;
    }
    // What has begun must be finished in time on a kept connection too.
    stream.write_all(b"GET /livez HT").await.unwrap();
    hear(&mut stream).await;
    served.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let served = Served::start(|settings, _| settings.limits.idle_timeout = SHORT).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(hear(&mut stream).await.body(), "ok\n");
    served.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let served = Served::start(|settings, _| settings.limits.body_timeout = SHORT).await;
    let mut stream = served.connect().await;
    stream.write_all(&head("POST", HEARTBEAT, "", 100)).await.unwrap();
    stream.write_all(b"{").await.unwrap();
    let heard = hear(&mut stream).await;
    assert_eq!((heard.status(), heard.kind().as_str()), (408, "too-slow"));
    served.stop().await;
}

#[tokio::test]
async fn connections_of_strangers_are_counted_and_those_of_known_peers_are_not() {
    let served = Served::start(|settings, _| settings.limits.unproven_per_address = 2).await;
    let mut known = served.connect().await;
    known.write_all(b"GET /v1/rules HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    known.read_u8().await.unwrap();
    let strangers = (served.connect().await, served.connect().await);
    // The accept loop takes connections in order, so by now both have their place.
    let mut one_more = served.connect().await;
    assert_eq!(hear(&mut one_more).await.0, "");
    drop(strangers);
    let back = async {
        while served.ask("GET", "/livez", "").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    drop(known);
    served.stop().await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused_packed_or_not() {
    let served = served().await;
    let target = "/v1/nodes/worker-1/sections";
    let put = async |fields: &str, body: &[u8]| served.tell("PUT", target, fields, body).await;
    let zeros = vec![b' '; 64 << 20];
    let bombs: [(&str, Vec<u8>); 3] = [
        ("", zeros[..256 * 1024 + 1].to_vec()),
        ("content-encoding: gzip\r\n", gzip(&zeros)),
        ("content-encoding: zstd\r\n", zstd::encode_all(&zeros[..], 3).unwrap()),
    ];
    for (fields, body) in bombs {
        let heard = put(fields, &body).await;
        assert_eq!((heard.status(), heard.kind().as_str()), (413, "too-large"), "{fields}");
    }
    // Announced or not, it is cut where the bound is.
    let mut stream = served.connect().await;
    let chunked = format!(
        "PUT {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n80000\r\n"
    );
    stream.write_all(chunked.as_bytes()).await.unwrap();
    drop(stream.write_all(&zeros[..0x80000]).await);
    assert_eq!(hear(&mut stream).await.status(), 413);
    alive(&served).await;
    served.stop().await;
}

#[tokio::test]
async fn bodies_that_are_not_what_they_claim_are_refused() {
    let served = served().await;
    let post = async |fields: &str, body: &[u8]| -> Heard {
        served.tell("POST", HEARTBEAT, fields, body).await
    };
    assert_eq!(post("content-type: text/plain\r\n", b"{}").await.status(), 415);
    assert_eq!(post("content-encoding: br\r\n", b"{}").await.status(), 415);
    assert_eq!(post("content-encoding: gzip, gzip\r\n", b"{}").await.status(), 415);
    assert_eq!(post("content-encoding: gzip\r\n", b"{}").await.kind(), "malformed-body");
    let packed = gzip(b"{}");
    let cut = &packed[..packed.len() - 4];
    assert_eq!(post("content-encoding: gzip\r\n", cut).await.kind(), "malformed-body");
    let deep = "[".repeat(100_000);
    let heard = post("content-encoding: gzip\r\n", &gzip(deep.as_bytes())).await;
    assert!(matches!(heard.status(), 400 | 413), "{heard:?}");
    for body in [&b"[]"[..], b"{", b"", b"null", b"{\"wire\":1,\"wire\":1}", b"\xff\xfe", b"[[[["] {
        let heard = post("", body).await;
        assert_eq!((heard.status(), heard.kind().as_str()), (400, "malformed-body"), "{body:?}");
    }
    alive(&served).await;
    served.stop().await;
}

#[tokio::test]
async fn names_with_control_characters_are_refused_and_not_repeated() {
    let served = served().await;
    for name in ["a%0d%0ax-evil:%201", "a%1b[2J", "%00", "A", "a%e2%80%aeb"] {
        let heard = served.ask("GET", &format!("/v1/nodes/{name}"), "").await;
        assert_eq!((heard.status(), heard.kind().as_str()), (400, "malformed-request"), "{name}");
        assert!(!heard.body().chars().any(|it| it.is_control() || it == '\u{202e}'), "{heard:?}");
        assert_eq!(heard.field("x-evil"), None);
    }
    served.stop().await;
}

const AGENT: &str = "agent-token-0123456789";
const VIEWER: &str = "viewer-token-0123456789";

async fn guarded() -> Served {
    Served::start(|settings, scratch| {
        settings.reload_every = Duration::from_millis(10);
        settings.tokens = Some(TokenFiles {
            agent: scratch.write("agent", AGENT),
            viewer: scratch.write("viewer", &format!("# people\n{VIEWER}\n")),
            operator: None,
        });
    })
    .await
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn no_byte_of_a_body_is_read_before_identity_is_known() {
    let served = guarded().await;
    let mut stream = served.connect().await;
    // The head alone is answered; the body never comes.
    stream.write_all(&head("POST", HEARTBEAT, "", 100)).await.unwrap();
    let heard = hear(&mut stream).await;
    assert_eq!((heard.status(), heard.kind().as_str()), (401, "unauthenticated"));
    assert!(heard.field("www-authenticate").is_some());
    served.stop().await;
}

#[tokio::test]
async fn tokens_open_their_own_side_only() {
    let served = guarded().await;
    served.ask_until("/livez", |heard| heard.status() == 200).await;
    assert_eq!(served.ask("GET", "/v1/nodes", "").await.status(), 401);
    assert_eq!(served.ask("GET", "/v1/nodes", &bearer(AGENT)).await.kind(), "forbidden");
    assert_ne!(served.ask("GET", "/v1/nodes", &bearer(VIEWER)).await.kind_or_empty(), "forbidden");
    let heard = served.tell("POST", HEARTBEAT, &bearer(VIEWER), b"{}").await;
    assert_eq!(heard.kind(), "forbidden");
    let heard = served.tell("POST", HEARTBEAT, &bearer(AGENT), b"{}").await;
    assert_eq!(heard.kind(), "malformed-body");
    assert_eq!(served.ask("DELETE", "/v1/nodes/a", &bearer(VIEWER)).await.kind(), "forbidden");
    served.stop().await;
}

#[tokio::test]
async fn wrong_tokens_are_slowed_down() {
    let served = guarded().await;
    let guess = async {
        loop {
            let heard = served.ask("GET", "/v1/nodes", &bearer("a-wrong-guess")).await;
            if heard.status() == 429 {
                return heard;
            }
            assert_eq!(heard.status(), 401);
        }
    };
    let heard = tokio::time::timeout(PATIENCE, guess).await.unwrap();
    assert!(heard.field("retry-after").is_some());
    served.stop().await;
}

#[tokio::test]
async fn a_replaced_token_file_is_used_without_a_restart() {
    let served = guarded().await;
    served.scratch.write("agent", "another-agent-token-1234");
    let replaced = async {
        while served.tell("POST", HEARTBEAT, &bearer(AGENT), b"{}").await.status() != 401 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, replaced).await.unwrap();
    let heard = served.tell("POST", HEARTBEAT, &bearer("another-agent-token-1234"), b"{}").await;
    assert_eq!(heard.kind(), "malformed-body");
    // Half a file does not lock everybody out.
    served.scratch.write("agent", "short");
    let heard = served.tell("POST", HEARTBEAT, &bearer("another-agent-token-1234"), b"{}").await;
    assert_eq!(heard.kind(), "malformed-body");
    served.stop().await;
}

#[tokio::test]
async fn without_tokens_a_web_page_gets_nowhere() {
    let served = served().await;
    let rebound = b"GET /v1/rules HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert_eq!(served.send(rebound).await.kind(), "wrong-host");
    let form = "origin: http://evil.example\r\n";
    assert_eq!(served.tell("POST", HEARTBEAT, form, b"{}").await.kind(), "forbidden");
    served.stop().await;
}

#[tokio::test]
async fn a_running_request_is_finished_at_a_graceful_stop() {
    let served = served().await;
    let mut stream = served.connect().await;
    stream.write_all(&head("POST", HEARTBEAT, "", 2)).await.unwrap();
    stream.write_all(b"{").await.unwrap();
    served.ask("GET", "/livez", "").await;
    let stopping = tokio::spawn(served.stop());
    stream.write_all(b"}").await.unwrap();
    assert_eq!(hear(&mut stream).await.kind(), "malformed-body");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_node_and_a_person_that_ask_too_often_are_told_to_wait() {
    let served = Served::start(|settings, _| {
        settings.limits.local_rates = LocalRates::Counted;
        settings.limits.heartbeat_gain = Duration::from_secs(3600);
        settings.limits.queries_per_second = 1;
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(served.tell("POST", HEARTBEAT, "", b"{}").await.status());
    }
    assert_eq!(statuses, [400, 400, 400, 400, 429]);
    let other = served.tell("POST", "/v1/nodes/worker-2/heartbeat", "", b"{}").await;
    assert_eq!(other.status(), 400, "another node has its own rate");
    let heard = served.ask_until("/v1/rules", |heard| heard.status() == 429).await;
    assert!(heard.field("retry-after").is_some());
    alive(&served).await;
    served.stop().await;
}
