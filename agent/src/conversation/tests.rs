//! The protocol against a server on loopback that answers by script and remembers what it got.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read;
use std::sync::Arc;
use std::sync::Mutex;

use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use palisade_report::Report;
use palisade_report::Section;
use palisade_report::SectionName;
use palisade_report::Sequence;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::wire::MAX_HEARTBEAT;
use palisade_report::wire::Upload;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::settings::Endpoint;

#[derive(Clone, Debug)]
struct Got {
    line: String,
    token: Option<String>,
    body: Vec<u8>,
}

#[derive(Default)]
struct Script {
    answers: VecDeque<(u16, Option<u64>, String)>,
    got: Vec<Got>,
    connections: usize,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Script>>);

impl Server {
    fn answer(&self, status: u16, body: impl ToString) {
        self.0.lock().unwrap().answers.push_back((status, None, body.to_string()));
    }

    fn answer_later(&self, status: u16, retry_after: u64) {
        self.0.lock().unwrap().answers.push_back((status, Some(retry_after), String::new()));
    }

    fn got(&self) -> Vec<Got> {
        self.0.lock().unwrap().got.clone()
    }

    fn lines(&self) -> Vec<String> {
        self.got().into_iter().map(|got| got.line).collect()
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let mut bytes = body.collect().await.unwrap().to_bytes().to_vec();
        if head.headers.contains_key("content-encoding") {
            let packed = std::mem::take(&mut bytes);
            GzDecoder::new(&*packed).read_to_end(&mut bytes).unwrap();
        }
        let token = head.headers.get("authorization").map(|it| it.to_str().unwrap().to_owned());
        let mut script = self.0.lock().unwrap();
        let gzip = if head.headers.contains_key("content-encoding") { " gzip" } else { "" };
        let line = format!("{} {}{gzip}", head.method, head.uri);
        script.got.push(Got { line, token, body: bytes });
        let (status, retry_after, body) =
            script.answers.pop_front().unwrap_or((500, None, String::new()));
        let mut response = Response::builder().status(status);
        if let Some(secs) = retry_after {
            response = response.header("retry-after", secs);
        }
        Ok(response.body(Full::new(body.into())).unwrap())
    }

    async fn listen(&self) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.0.lock().unwrap().connections += 1;
                let server = server.clone();
                let service = service_fn(move |request| server.clone().take(request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { connection.await.ok() });
            }
        });
        Endpoint { secure: false, host: "127.0.0.1".to_owned(), port }
    }
}

const BOOT: &str = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";

fn sealed() -> Sealed {
    let unknown = |word: &str| Why::new(WhyKind::Io, word);
    Report {
        kernel: Some(Section::Unknown { why: unknown("kernel") }),
        files: Some(Section::Unknown { why: unknown("files") }),
        updates: Some(Section::Unknown { why: unknown("updates") }),
        ..Report::default()
    }
    .seal()
    .unwrap()
}

fn occasion() -> Occasion {
    Occasion { now: Moment::from_unix(1_796_379_720), since_boot: Duration::from_secs(100) }
}

async fn conversation(server: &Server) -> Conversation {
    let client = Client::new(server.listen().await, None, None);
    Conversation::new("worker-7".parse().unwrap(), client, Duration::from_secs(60))
}

async fn hold(conversation: &mut Conversation) -> Duration {
    conversation.hold(&sealed(), &BOOT.parse().unwrap(), occasion()).await
}

fn names(got: &Got) -> Vec<String> {
    let upload: Upload<'_> = serde_json::from_slice(&got.body).unwrap();
    upload.sections.keys().cloned().collect()
}

#[tokio::test]
async fn an_unchanged_node_sends_one_small_heartbeat_per_slot_over_one_connection() {
    let server = Server::default();
    let mut conversation = conversation(&server).await;
    for slot in [61_000_u64, 59_000] {
        server.answer(200, json!({ "next_in_ms": slot }));
        assert_eq!(hold(&mut conversation).await, Duration::from_millis(slot));
    }
    let got = server.got();
    assert_eq!(server.lines(), ["POST /v1/nodes/worker-7/heartbeat"; 2]);
    let heartbeats: Vec<Heartbeat> =
        got.iter().map(|got| serde_json::from_slice(&got.body).unwrap()).collect();
    assert_eq!(heartbeats[0].report, sealed().manifest().digest());
    assert_eq!(heartbeats[0].sequence, Sequence(100_000));
    assert!(heartbeats[1].sequence > heartbeats[0].sequence, "also at the same time");
    assert!(got.iter().all(|got| got.body.len() <= MAX_HEARTBEAT));
    assert_eq!(server.0.lock().unwrap().connections, 1);
}

#[tokio::test]
async fn a_new_report_is_announced_and_brought_up_in_parts_that_are_wanted() {
    let server = Server::default();
    let mut conversation = conversation(&server).await;
    server.answer(200, json!({ "next_in_ms": 1, "want": "manifest" }));
    server.answer(
        200,
        json!({ "next_in_ms": 5000, "want": { "sections": ["kernel", "updates", "sockets"] } }),
    );
    server.answer(200, json!({ "stored": {} }));
    assert_eq!(hold(&mut conversation).await, Duration::from_secs(5));
    let got = server.got();
    let second: Heartbeat = serde_json::from_slice(&got[1].body).unwrap();
    assert_eq!(second.manifest.as_ref(), Some(sealed().manifest()));
    assert_eq!(got[2].line, "PUT /v1/nodes/worker-7/sections gzip");
    assert_eq!(names(&got[2]), ["kernel", "updates"]);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_split_down_to_the_section_at_fault() {
    let server = Server::default();
    let mut conversation = conversation(&server).await;
    let want = json!({ "sections": ["kernel", "updates", "files"] });
    server.answer(200, json!({ "next_in_ms": 5000, "want": want }));
    server.answer(413, ""); // all three
    server.answer(413, ""); // the first alone
    server.answer(200, json!({ "stored": {} }));
    assert_eq!(hold(&mut conversation).await, Duration::from_secs(5));
    let uploads: Vec<_> = server.got().iter().skip(1).map(names).collect();
    assert_eq!(
        uploads,
        [vec!["files", "kernel", "updates"], vec!["files"], vec!["kernel", "updates"]]
    );
    let digest = |name| sealed().manifest().get(name).unwrap().digest;
    assert!(conversation.takes_new_mark() && !conversation.takes_new_mark());
    assert!(conversation.is_too_large(digest(SectionName::Files)));
    assert!(!conversation.is_too_large(digest(SectionName::Kernel)));
}

#[tokio::test]
async fn a_refused_section_is_not_sent_again() {
    let server = Server::default();
    let mut conversation = conversation(&server).await;
    let want = json!({ "sections": ["kernel", "files"] });
    server.answer(200, json!({ "next_in_ms": 5000, "want": want }));
    let problem = json!({ "kind": "not-canonical", "message": "no" });
    server.answer(200, json!({ "stored": {}, "refused": { "files": problem } }));
    hold(&mut conversation).await;
    server.answer(200, json!({ "next_in_ms": 5000, "want": want }));
    server.answer(422, "");
    hold(&mut conversation).await;
    server.answer(200, json!({ "next_in_ms": 5000, "want": want }));
    hold(&mut conversation).await;
    let uploads: Vec<_> =
        server.got().iter().filter(|got| got.line.starts_with("PUT")).map(names).collect();
    assert_eq!(uploads, [vec!["files", "kernel"], vec!["kernel"]]);
}

#[tokio::test]
async fn a_collector_without_gzip_gets_plain_bodies() {
    let server = Server::default();
    let mut conversation = conversation(&server).await;
    server.answer(200, json!({ "next_in_ms": 5000, "want": { "sections": ["kernel"] } }));
    server.answer(415, "");
    server.answer(200, json!({ "stored": {} }));
    hold(&mut conversation).await;
    assert_eq!(
        server.lines()[1..],
        ["PUT /v1/nodes/worker-7/sections gzip", "PUT /v1/nodes/worker-7/sections"]
    );
}

#[tokio::test]
async fn a_refused_token_is_read_again_and_presented_once_more() {
    let server = Server::default();
    let path = std::env::temp_dir().join(format!("palisade-token-{}", std::process::id()));
    std::fs::write(&path, "first\n").unwrap();
    let client = Client::new(server.listen().await, Some(path.clone()), None);
    let mut conversation =
        Conversation::new("worker-7".parse().unwrap(), client, Duration::from_secs(60));
    server.answer(401, "");
    server.answer(200, json!({ "next_in_ms": 5000 }));
    assert_eq!(hold(&mut conversation).await, Duration::from_secs(5));
    std::fs::write(&path, "second").unwrap();
    server.answer(401, "");
    server.answer(401, "");
    assert!(hold(&mut conversation).await <= Duration::from_secs(1));
    let tokens: Vec<_> = server.got().into_iter().filter_map(|got| got.token).collect();
    assert_eq!(tokens, ["Bearer first", "Bearer first", "Bearer second", "Bearer second"]);
    std::fs::remove_file(&path).unwrap();
    assert!(hold(&mut conversation).await <= Duration::from_secs(2), "no token, no request");
    assert_eq!(server.got().len(), 4);
}

#[tokio::test]
async fn every_setback_is_a_wait_of_its_own_length() {
    let server = Server::default();
    let mut conversation = conversation(&server).await;
    server.answer_later(503, 7);
    let wait = hold(&mut conversation).await;
    assert!((7..=14).contains(&wait.as_secs()), "Retry-After is the least: {wait:?}");
    server.answer(403, "");
    let wait = hold(&mut conversation).await;
    assert!(wait >= Duration::from_secs(150), "{wait:?}");
    server.answer(400, "");
    assert!(hold(&mut conversation).await >= Duration::from_secs(60), "the next slot at least");
    server.answer(200, "no json");
    assert!(hold(&mut conversation).await >= Duration::from_secs(60));
    server.answer(200, json!({ "next_in_ms": 0 }));
    assert_eq!(hold(&mut conversation).await, MIN_SLOT);
    server.answer(200, json!({ "next_in_ms": u64::MAX }));
    assert_eq!(hold(&mut conversation).await, MAX_SLOT);
    server.answer(200, "x".repeat(crate::send::MAX_ANSWER + 1));
    assert!(hold(&mut conversation).await <= Duration::from_secs(1), "an endless answer");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_made_anew() {
    let endpoint = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            use tokio::io::AsyncReadExt;
            use tokio::io::AsyncWriteExt;
            // Answers one request on each connection and closes it without a word.
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = vec![0; 4096];
                assert!(stream.read(&mut bytes).await.unwrap() > 0);
                let body = r#"{"next_in_ms":5000}"#;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
        });
        Endpoint { secure: false, host: "127.0.0.1".to_owned(), port }
    };
    let client = Client::new(endpoint, None, None);
    let mut conversation =
        Conversation::new("worker-7".parse().unwrap(), client, Duration::from_secs(60));
    for _ in 0..5 {
        assert_eq!(hold(&mut conversation).await, Duration::from_secs(5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_never_answers_costs_ten_seconds_and_a_back_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = Endpoint { secure: false, host: "127.0.0.1".to_owned(), port };
    let client = Client::new(endpoint, None, None);
    let mut conversation =
        Conversation::new("worker-7".parse().unwrap(), client, Duration::from_secs(60));
    let started = tokio::time::Instant::now();
    let wait = hold(&mut conversation).await;
    assert!(started.elapsed() >= crate::send::REQUEST_TIMEOUT);
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    drop(listener);
}
