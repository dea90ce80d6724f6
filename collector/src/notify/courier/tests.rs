//! Over real sockets: what receivers that take a part, or take nothing, come to.

use std::collections::BTreeMap;
use std::sync::Mutex;

use palisade_alert::desk::GroupId;
use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::notice::Reason;
use palisade_alert::notice::Words;
use palisade_alert::secret::Secret;
use palisade_report::Moment;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::clock::SystemClock;
use crate::notify::peer::Got;
use crate::notify::peer::PATIENT;
use crate::notify::peer::Peer;
use crate::notify::peer::dialer;
use crate::notify::peer::request;

const T: Moment = Moment::from_unix(1_800_000_000);

/// What it got, in its order.
type Heard = Arc<Mutex<Vec<Got>>>;

/// A receiver that answers each request with this status and body.
async fn answering<F>(answer: F) -> (Peer, Heard)
where
    F: Fn(&Got) -> (u16, &'static str) + Clone + Send + Sync + 'static,
{
    let heard = Heard::default();
    let hearing = Arc::clone(&heard);
    let peer = Peer::start(move |_, mut stream| {
        let (answer, heard) = (answer.clone(), Arc::clone(&hearing));
        async move {
            while let Some(got) = request(&mut stream).await {
                let (status, body) = answer(&got);
                heard.lock().unwrap().push(got);
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (peer, heard)
}

fn courier() -> Courier {
    let clock = Arc::new(SystemClock::start());
    Courier::new("somebody".to_owned(), dialer(None, PATIENT), clock, None)
}

fn noticed(node: &str) -> Noticed {
    let key = Key::of(Kind::AgentSilent).subject(node);
    let mut labels = key.labels("c", "agent", Severity::Warning);
    labels.insert("node", node.to_owned());
    Noticed {
        id: key.id(),
        kind: key.kind,
        severity: Severity::Warning,
        ended: None,
        labels,
        starts_at: T,
        words: Words { summary: format!("{node} is silent"), ..Words::default() },
        stale_since: None,
    }
}

fn of(content: Content, target: Target) -> Load {
    let (templates, external_url) = (Templates::default(), String::new());
    Load { content, target, templates, external_url, turn: None }
}

/// Alerts about these nodes, for an Alertmanager of these members.
fn each(nodes: &[&str], members: &[&Peer]) -> Load {
    let alerts = nodes.iter().map(|node| (noticed(node), vec![Severity::Warning])).collect();
    let urls = members.iter().map(|it| Secret::new(it.url(""))).collect();
    of(Content::Alerts(alerts), Target::Alertmanager { urls, token: None })
}

/// As Go answers who speaks in clear to a port with TLS.
const NO_TLS: &str = "Client sent an HTTP request to an HTTPS server.";

#[tokio::test]
async fn whoever_answers_400_to_everything_is_told_nothing() {
    let (peer, heard) = answering(|_| (400, NO_TLS)).await;
    for (nodes, requests) in [(&["a"][..], 1), (&["a", "b", "c"], 5)] {
        heard.lock().unwrap().clear();
        let outcome = courier().carry(&each(nodes, &[&peer])).await;
        let why = format!("answered 400: {NO_TLS}");
        assert_eq!(outcome, Outcome::Dead { why }, "{nodes:?}");
        assert_eq!(heard.lock().unwrap().len(), requests, "{nodes:?}");
    }
}

#[tokio::test]
async fn an_alert_that_is_refused_takes_none_of_the_others_with_it() {
    let is_refused = |got: &Got| String::from_utf8_lossy(&got.body).contains("bad");
    let answer = move |got: &Got| if is_refused(got) { (400, "no such label") } else { (200, "") };
    let (peer, heard) = answering(answer).await;
    let outcome = courier().carry(&each(&["a", "b", "bad", "d", "e"], &[&peer])).await;
    let why = "1 of 5 alerts: answered 400: no such label".to_owned();
    assert_eq!(outcome, Outcome::Partial { why });
    let taken: BTreeMap<String, usize> = heard
        .lock()
        .unwrap()
        .iter()
        .filter(|got| !is_refused(got))
        .flat_map(|got| serde_json::from_slice::<Vec<Value>>(&got.body).unwrap())
        .map(|alert| (alert["labels"]["node"].as_str().unwrap().to_owned(), 1))
        .collect();
    assert_eq!(taken.keys().collect::<Vec<_>>(), ["a", "b", "d", "e"]);
}

#[tokio::test]
async fn a_member_that_never_takes_any_hides_none_that_will() {
    let (busy, _) = answering(|_| (503, "busy")).await;
    let (wrong, _) = answering(|_| (404, "not here")).await;
    let (good, _) = answering(|_| (200, "")).await;
    for members in [[&busy, &wrong], [&wrong, &busy]] {
        let outcome = courier().carry(&each(&["a"], &members)).await;
        let why = "answered 503: busy".to_owned();
        assert_eq!(outcome, Outcome::Retry { after: None, why });
    }
    for members in [[&good, &busy], [&wrong, &good]] {
        assert_eq!(courier().carry(&each(&["a"], &members)).await, Outcome::Delivered);
    }
}

/// A message to these chats of a bot.
fn to_chats(chats: &[&str], peer: &Peer, turn: Option<(u64, u32)>) -> Load {
    let notice = Notice {
        receiver: "chats".to_owned(),
        group_key: "{}".to_owned(),
        group_labels: BTreeMap::new(),
        cluster: "c".to_owned(),
        external_url: String::new(),
        reason: Reason::First,
        alerts: vec![noticed("a")],
        firing: 1,
        resolved: 0,
        nodes: 1,
        at: T,
    };
    let target = Target::Telegram {
        url: Secret::new(peer.url("")),
        token: Secret::new("1:x"),
        chats: chats.iter().map(|it| (*it).to_owned()).collect(),
    };
    let place = GroupId { receiver: "chats".into(), key: "{}".into() };
    let turn = turn.map(|(print, attempts)| Turn { place, print, attempts });
    Load { turn, ..of(Content::Notice(Box::new(notice)), target) }
}

fn chat(got: &Got) -> String {
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    body["chat_id"].as_str().unwrap().to_owned()
}

/// The chats that were asked since this was asked last.
fn asked(heard: &Heard) -> Vec<String> {
    std::mem::take(&mut *heard.lock().unwrap()).iter().map(chat).collect()
}

#[tokio::test]
async fn a_chat_that_refuses_keeps_the_message_from_no_other() {
    let answer = |got: &Got| if chat(got).starts_with("bad") { (403, "kicked") } else { (200, "") };
    let (peer, heard) = answering(answer).await;
    for (chats, expected) in [
        (&["a", "b"][..], Outcome::Delivered),
        (
            &["bad", "b", "c"],
            Outcome::Partial { why: "1 of 3: chat bad: answered 403: kicked".to_owned() },
        ),
        (&["bad1", "bad2"], Outcome::Dead { why: "answered 403: kicked".to_owned() }),
        (&["bad"], Outcome::Dead { why: "answered 403: kicked".to_owned() }),
    ] {
        assert_eq!(courier().carry(&to_chats(chats, &peer, Some((1, 0)))).await, expected);
        assert_eq!(asked(&heard), chats);
    }
}

#[tokio::test]
async fn another_attempt_asks_only_those_who_have_not_taken_it() {
    let is_back = Arc::new(Mutex::new(false));
    let back = Arc::clone(&is_back);
    let answer = move |got: &Got| match &*chat(got) {
        "bad" => (403, "kicked"),
        "late" if !*back.lock().unwrap() => (503, "busy"),
        _ => (200, ""),
    };
    let (peer, heard) = answering(answer).await;
    let mut courier = courier();
    let mut carry = async |print, attempts| {
        let load = to_chats(&["bad", "late", "c"], &peer, Some((print, attempts)));
        (courier.carry(&load).await, asked(&heard))
    };
    let retry = || Outcome::Retry { after: None, why: "answered 503: busy".to_owned() };
    let all = || ["bad", "late", "c"].map(str::to_owned).to_vec();
    assert_eq!(carry(1, 0).await, (retry(), all()));
    assert_eq!(carry(1, 1).await, (retry(), vec!["late".to_owned()]));
    // News is another message, and so is a reminder, though it tells the same.
    let (outcome, mut anew) = carry(2, 2).await;
    anew.sort();
    assert_eq!((outcome, anew), (retry(), ["bad", "c", "late"].map(str::to_owned).to_vec()));
    assert_eq!(carry(2, 0).await, (retry(), all()));
    *is_back.lock().unwrap() = true;
    let why = "1 of 3: chat bad: answered 403: kicked".to_owned();
    assert_eq!(carry(2, 1).await, (Outcome::Partial { why }, vec!["late".to_owned()]));
    assert_eq!(carry(2, 1).await.1, all(), "nothing is kept of what is done");
}

#[tokio::test]
async fn many_chats_that_fail_do_not_keep_the_rest_waiting() {
    let answer = |got: &Got| if chat(got) == "good" { (200, "") } else { (503, "busy") };
    let (peer, heard) = answering(answer).await;
    let chats = ["l1", "l2", "l3", "l4", "l5", "good"];
    let mut courier = courier();
    for (attempt, expected) in
        [&["l1", "l2", "l3", "l4"][..], &["l5", "good", "l1", "l2", "l3"]].iter().enumerate()
    {
        let turn = Some((1, u32::try_from(attempt).unwrap()));
        let outcome = courier.carry(&to_chats(&chats, &peer, turn)).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
        assert_eq!(asked(&heard), *expected);
    }
}

#[tokio::test]
async fn a_receiver_is_tried_out_no_more_often_than_people_look() {
    let (peer, heard) = answering(|_| (200, "")).await;
    let mut courier = courier();
    let load = to_chats(&["a"], &peer, None);
    assert_eq!(courier.try_out(&load).await, Outcome::Delivered);
    let again = courier.try_out(&load).await;
    let Outcome::Retry { after: Some(after), .. } = again else { panic!("{again:?}") };
    assert!(after <= TRIAL_EVERY);
    assert_eq!(courier.carry(&load).await, Outcome::Delivered, "alerts do not wait for it");
    courier.tried_at = courier.tried_at.map(|at| at.checked_sub(TRIAL_EVERY).unwrap());
    assert_eq!(courier.try_out(&load).await, Outcome::Delivered);
    assert_eq!(asked(&heard).len(), 3);
}
