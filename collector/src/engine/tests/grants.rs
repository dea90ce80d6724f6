//! Grants: to the node, boot and heartbeat that they are for, in the audit first, answered once.

use std::time::Duration;

use palisade_plan::request::Answer;
use palisade_report::Grant;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;
use palisade_report::grant::RequestUid;
use palisade_report::wire::CanReboot;
use palisade_report::wire::GrantReport;
use palisade_report::wire::GrantWord;
use palisade_report::wire::HoldFile;
use palisade_report::wire::RebooterState;

use super::*;
use crate::engine::grant::Answered;
use crate::grants::Offer;
use crate::grants::OfferBook;
use crate::grants::key::SigningKey;
use crate::store::AuditFilter;

const ID: GrantId = GrantId::from_bytes([1; 16]);

/// Where the boot clock of every node stands when the test's does at 0.
const UP_MS: u64 = 50_000_000;

fn uid(text: &str) -> NodeUid {
    text.parse().unwrap()
}

/// A collector that offers a reboot to the node with UID 1.
fn offering(scratch: &Scratch) -> (Bench, Arc<OfferBook>) {
    let mut bench = Bench::open(scratch, clock());
    let offers = Arc::new(OfferBook::default());
    offers.sign_with(Some(Arc::new(SigningKey::generate().unwrap())));
    bench.core.grant_from(Arc::clone(&offers));
    offers.open(uid("1"), offer(), Duration::from_secs(600), None);
    (bench, offers)
}

fn offer() -> Offer {
    Offer {
        id: ID,
        request: RequestUid::from_bytes([2; 16]),
        boot: BOOT.parse().unwrap(),
        report: Digest::of(b"report"),
        epoch: 3,
    }
}

impl Bench {
    /// A heartbeat of the node with this UID, whose boot clock is ahead by so much; the grant in the
    /// reply.
    fn fetch(&mut self, node: &mut TestNode, text: &str, ahead_ms: i64) -> Option<Grant> {
        node.sequence += 1;
        let now = self.now();
        let boottime = UP_MS.checked_add_signed(now.ms + ahead_ms).unwrap();
        let heartbeat = Heartbeat { boottime_ms: Some(boottime), ..node.heartbeat(now) };
        self.exchange(node, text, &heartbeat)
    }

    fn exchange(&mut self, node: &TestNode, text: &str, heartbeat: &Heartbeat) -> Option<Grant> {
        let now = self.now();
        assert_eq!(self.core.recognise(&node.name, Some(&uid(text)), now), None);
        let outcome = self.core.heartbeat(&node.name, heartbeat, now.at, now);
        let outcome = self.core.with_grant(&node.name, heartbeat, outcome, now);
        let is_durable = matches!(outcome, Outcome::Durable(_));
        let (to, reply) = oneshot::channel();
        self.core.answer(outcome, |result| Reply::Heartbeat(to, result));
        self.turn();
        let grant = reply.blocking_recv().unwrap().unwrap().grant?;
        assert!(is_durable, "a grant left before the audit had it");
        Some(Grant::decode(grant.as_bytes()).unwrap())
    }

    fn said(&mut self, node: &TestNode, text: &str, word: GrantWord) -> Result<(), Refusal> {
        let report =
            GrantReport { answer: word, code: "hold".to_owned(), words: "held\u{7}".to_owned() };
        let by = Happening::own(Kind::GrantAnswered, "grant", "").about(node.name.clone());
        let now = self.now();
        assert_eq!(self.core.recognise(&node.name, Some(&uid(text)), now), None);
        let outcome = self.core.grant_answered(&node.name, Answered { id: ID, report, by }, now);
        let (to, reply) = oneshot::channel();
        self.core.answer(outcome, |result| Reply::Answered(to, result));
        self.turn();
        reply.blocking_recv().unwrap()
    }

    /// Kinds and reasons in the audit, oldest first.
    fn audited(&self) -> Vec<(Kind, String)> {
        let reader = self.core.store.reader().unwrap();
        let filter = AuditFilter::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let page = runtime.block_on(reader.audit(filter, None, 100)).unwrap();
        let entries = page.rows.into_iter().map(|row| (row.entry.kind, row.entry.reason));
        let mut entries: Vec<_> = entries.collect();
        entries.reverse();
        entries
    }
}

/// Two nodes that are known and were heard once.
fn nodes(bench: &mut Bench) -> [TestNode; 2] {
    let mut nodes = ["a", "b"].map(|name| TestNode::new(name, &bad("k")));
    for (node, text) in nodes.iter_mut().zip(["1", "2"]) {
        assert_eq!(bench.core.recognise(&node.name, Some(&uid(text)), bench.now()), None);
        bench.report(node);
        assert_eq!(bench.fetch(node, text, 0), None, "nothing to compare its clock with");
    }
    bench.clock.advance(60);
    nodes
}

#[test]
fn a_grant_goes_to_the_node_and_the_boot_that_it_is_for_and_ends_after_a_minute() {
    let scratch = Scratch::new();
    let (mut bench, offers) = offering(&scratch);
    let [mut a, mut b] = nodes(&mut bench);
    assert_eq!(bench.fetch(&mut b, "2", 0), None, "that of another node");
    let grant = bench.fetch(&mut a, "1", 0).unwrap();
    assert_eq!((grant.id, grant.epoch, grant.node.as_str()), (ID, 3, "1"));
    assert_eq!(grant.not_after, Duration::from_millis(UP_MS + 60_000 + 60_000));
    let audited = bench.audited();
    assert_eq!(audited.len(), 1);
    assert_eq!(audited[0].0, Kind::GrantIssued);
    // The same again after a reply that was lost, and a later one; an older message gets nothing.
    let boottime_ms = Some(UP_MS + 60_000);
    let again = Heartbeat { boottime_ms, ..a.heartbeat(bench.now()) };
    assert_eq!(bench.exchange(&a, "1", &again), Some(grant));
    let older = Heartbeat { sequence: Sequence(a.sequence - 1), ..again };
    assert_eq!(bench.exchange(&a, "1", &older), None);
    bench.clock.advance(60);
    assert!(bench.fetch(&mut a, "1", 0).is_some());
    // Without a key that may sign, and in another boot.
    let key = offers.key();
    offers.sign_with(None);
    assert_eq!(bench.fetch(&mut a, "1", 0), None);
    offers.sign_with(key);
    a.boot = NEXT_BOOT.parse().unwrap();
    assert_eq!(bench.fetch(&mut a, "1", 0), None);
    assert_eq!(bench.fetch(&mut a, "1", 0), None);
}

#[test]
fn a_boot_clock_that_disagrees_with_earlier_heartbeats_gets_no_grant() {
    let scratch = Scratch::new();
    let (mut bench, _offers) = offering(&scratch);
    let [mut a, _] = nodes(&mut bench);
    for ahead_ms in [3_600_000, 3_600_000, 0, 0] {
        assert_eq!(bench.fetch(&mut a, "1", ahead_ms), None);
        bench.clock.advance(60);
    }
    bench.clock.advance(600);
    assert!(bench.fetch(&mut a, "1", 0).is_some(), "it has agreed for long");
    // Without that clock there is nothing to count from.
    a.sequence += 1;
    let silent = a.heartbeat(bench.now());
    assert_eq!(bench.exchange(&a, "1", &silent), None);
}

#[test]
fn an_answer_is_audited_ends_the_offer_and_is_bounded() {
    let scratch = Scratch::new();
    let (mut bench, offers) = offering(&scratch);
    let [mut a, b] = nodes(&mut bench);
    assert!(bench.fetch(&mut a, "1", 0).is_some());
    bench.said(&a, "1", GrantWord::Accepted).unwrap();
    assert!(bench.fetch(&mut a, "1", 0).is_some(), "not used yet");
    // Another node's word about it changes nothing for this one.
    bench.said(&b, "2", GrantWord::Refused).unwrap();
    assert!(bench.fetch(&mut a, "1", 0).is_some());
    bench.said(&a, "1", GrantWord::Executing).unwrap();
    bench.said(&a, "1", GrantWord::Executing).unwrap();
    assert_eq!(bench.fetch(&mut a, "1", 0), None);
    let answers: Vec<_> = offers.answers(&uid("1")).into_iter().map(|it| it.answer).collect();
    assert_eq!(answers, [Answer::Executing]);
    let answers: Vec<_> = offers.answers(&uid("2")).into_iter().map(|it| it.answer).collect();
    let [Answer::Refused(why)] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(why.starts_with("hold: held") && !why.contains('\u{7}'), "{why}");
    let audited = bench.audited();
    let answered = audited.iter().filter(|(kind, _)| *kind == Kind::GrantAnswered).count();
    assert_eq!(answered, 4, "{audited:?}");
    let refused = (0..100).filter(|_| bench.said(&a, "1", GrantWord::Accepted).is_err()).count();
    assert_eq!(refused, 43);
    let stranger = TestNode::new("stranger", &bad("k"));
    let unknown = bench.said(&stranger, "9", GrantWord::Accepted);
    assert_eq!(unknown, Err(Refusal::UnknownNode));
}

#[test]
fn whether_a_node_could_be_rebooted_is_what_it_said_last() {
    let scratch = Scratch::new();
    let (mut bench, _offers) = offering(&scratch);
    let [mut a, _] = nodes(&mut bench);
    assert_eq!(bench.node("a").seen.rebooter(), None);
    let state = RebooterState { can: CanReboot::Logind, hold: HoldFile::Present };
    a.sequence += 1;
    let heartbeat = Heartbeat { rebooter: Some(state), ..a.heartbeat(bench.now()) };
    assert_eq!(bench.exchange(&a, "1", &heartbeat), None);
    assert_eq!(bench.node("a").seen.rebooter(), Some(state));
}
