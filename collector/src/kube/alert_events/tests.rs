use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::Response;
use kube::Client;
use kube::client::Body;
use palisade_report::NodeUid;
use serde_json::Value;
use serde_json::json;
use tower::Service;

use super::*;
use crate::clock::SystemClock;
use crate::kube::NotLeader;
use crate::kube::directory::AgentPod;
use crate::kube::directory::PodUid;

const UID: &str = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An API server that keeps what is written and answers with these statuses, then with 201; with 0 it
/// is the fence that answers.
#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<u16>>>,
    written: Arc<Mutex<Vec<Value>>>,
}

impl Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { answers, written } = self.clone();
        Box::pin(async move {
            assert_eq!(request.uri().path(), "/apis/events.k8s.io/v1/namespaces/default/events");
            let code = answers.lock().unwrap().pop_front().unwrap_or(201);
            if code == 0 {
                return Err(BoxError::from(NotLeader));
            }
            let bytes = request.into_body().collect().await?.to_bytes();
            let object: Value = serde_json::from_slice(&bytes)?;
            written.lock().unwrap().push(object.clone());
            let refusal = json!({ "code": code, "reason": "Because", "message": "it is so" });
            let body = if code == 201 { object } else { refusal };
            Ok(Response::builder().status(code).body(Body::from(serde_json::to_vec(&body)?))?)
        })
    }
}

/// `known` is there, `new` may be, all else is not.
#[derive(Debug)]
struct Nodes;

impl NodeDirectory for Nodes {
    fn uid_of(&self, node: &NodeName) -> Sighting<NodeUid> {
        match node.as_str() {
            "gone" => Sighting::Absent,
            "new" => Sighting::NotYetKnown,
            _ => Sighting::Known(UID.parse().unwrap()),
        }
    }

    fn agent_pod(&self, _: &PodUid) -> Sighting<AgentPod> {
        Sighting::NotYetKnown
    }
}

fn events(answers: &[u16]) -> (AlertEvents, Server) {
    let server = Server {
        answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
        ..Server::default()
    };
    let clients = Clients::by(|| Client::new(server.clone(), "default"));
    let clock = Arc::new(SystemClock::start());
    (AlertEvents::new(&clients, "one", Arc::new(Nodes), clock, Arc::default()), server)
}

fn event(node: &str, turn: usize) -> Event {
    Event {
        node: node.to_owned(),
        reason: "PalisadeRebootRequired".to_owned(),
        note: "info: it needs a reboot".to_owned(),
        type_: "Warning",
        turn: turn.to_string(),
    }
}

#[tokio::test]
async fn an_alert_is_an_event_about_the_node_that_is_there_now() {
    let (events, server) = events(&[]);
    assert_eq!(events.tell(event("worker-1", 1)).await, Outcome::Delivered);
    let written = server.written.lock().unwrap().clone();
    let [object] = &*written else { panic!("{written:?}") };
    assert_eq!(object["regarding"]["name"], "worker-1");
    assert_eq!(object["regarding"]["uid"], UID);
    assert_eq!(object["reason"], "PalisadeRebootRequired");
    assert_eq!(object["type"], "Warning");
    assert_eq!(object["metadata"]["namespace"], "default");
}

#[tokio::test]
async fn one_that_was_told_is_delivered_and_is_not_told_again() {
    // The answer to the first was lost with the process that told it.
    let (events, server) = events(&[409]);
    for _ in 0..3 {
        assert_eq!(events.tell(event("worker-1", 1)).await, Outcome::Delivered);
    }
    assert_eq!(events.tell(event("worker-1", 2)).await, Outcome::Delivered);
    let written = server.written.lock().unwrap().clone();
    assert_eq!(written.len(), 2, "{written:?}");
    assert_ne!(written[0]["metadata"]["name"], written[1]["metadata"]["name"]);
}

#[tokio::test]
async fn what_a_person_has_to_mend_is_put_aside_and_all_else_is_tried_again() {
    for (code, is_dead) in [
        (400, true),
        (403, true),
        (404, true),
        (422, true),
        (0, false),
        (401, false),
        (408, false),
        (429, false),
        (500, false),
        (503, false),
    ] {
        let (events, server) = events(&[code]);
        let outcome = events.tell(event("worker-1", 1)).await;
        match &outcome {
            Outcome::Dead { why } => assert!(is_dead && why.contains("it is so"), "{code}: {why}"),
            Outcome::Lost { .. } | Outcome::Retry { .. } => assert!(!is_dead, "{code}"),
            Outcome::Delivered | Outcome::Partial { .. } | Outcome::TooLarge => {
                panic!("{code}: {outcome:?}")
            }
        }
        // What was not told is told the next time.
        assert_eq!(events.tell(event("worker-1", 1)).await, Outcome::Delivered);
        let told = server.written.lock().unwrap().len();
        assert_eq!(told, if code == 0 { 1 } else { 2 }, "{code}");
    }
}

#[tokio::test]
async fn of_a_node_that_is_gone_nothing_is_told_and_of_one_that_may_come_later() {
    let (events, server) = events(&[]);
    assert_eq!(events.tell(event("gone", 1)).await, Outcome::Delivered);
    let outcome = events.tell(event("new", 1)).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    let outcome = events.tell(event("not a node", 1)).await;
    assert!(matches!(outcome, Outcome::Dead { .. }), "{outcome:?}");
    assert!(server.written.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_noisy_node_loses_its_own_events_and_a_noisy_fleet_waits() {
    let (events, server) = events(&[]);
    for turn in 0..25 {
        assert_eq!(events.tell(event("noisy", turn)).await, Outcome::Delivered);
    }
    assert_eq!(server.written.lock().unwrap().len(), 20);
    let mut waits = None;
    for turn in 0..60 {
        let outcome = events.tell(event(&format!("worker-{turn}"), turn)).await;
        if let Outcome::Retry { after, .. } = outcome {
            waits = Some((turn, after));
            break;
        }
    }
    let (turn, after) = waits.expect("the fleet has a budget");
    assert!(after.is_some_and(|it| it <= FLEET_GAIN), "{after:?}");
    // The message is carried again as a whole: what was told takes nothing from the budget.
    let before = server.written.lock().unwrap().len();
    for turn in 0..turn {
        let told = events.tell(event(&format!("worker-{turn}"), turn)).await;
        assert_eq!(told, Outcome::Delivered, "{turn}");
    }
    assert_eq!(server.written.lock().unwrap().len(), before);
}
