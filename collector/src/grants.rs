//! Offers: which nodes may be handed a grant right now, and what they said of it.
//!
//! ```text
//! coordinator ──open / withdraw──> OfferBook <──offer()── engine, at a heartbeat ──> signed grant
//!             <──────answers()─────          <──answer()─ API, POST .../grants/{id}
//! ```
//!
//! Nothing is decided here, and nothing is kept: an offer is a function of the persisted request, so a collector that comes to lead opens it anew. Time is the machine's own since its boot,
//! so that a stepped wall clock neither prolongs an offer nor brings one back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use palisade_plan::seen::GrantAnswer;
use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;
use palisade_report::grant::RequestUid;
use tokio::sync::watch;

pub(crate) mod boot_clock;
pub mod issue;
pub mod key;
pub mod rotation;

use self::key::SigningKey;
use crate::kube::Fence;
use crate::kube::fence::BootClock;
use crate::kube::fence::MachineClock;

/// Answers of one node that are kept: one reboot has two, `executing` and `failed`.
const MAX_ANSWERS: usize = 4;

/// The longest time for which an offer is open, whatever is asked for: a clock that was set back must
/// not keep one open for hours.
pub const MAX_OPEN: Duration = Duration::from_secs(15 * 60);

/// Nodes whose answers are kept; in flight at once are far fewer. Beyond it the node with the lowest
/// UID is forgotten, which its coordinator reads as silence.
const MAX_NODES: usize = 10_000;

/// What a grant for one node is made of, beside what its next heartbeat tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which grant.
    pub id: GrantId,
    /// The request that it carries out.
    pub request: RequestUid,
    /// The boot that it may end; a heartbeat of another boot gets none.
    pub boot: BootId,
    /// The report that the decision was based on.
    pub report: Digest,
    /// The epoch of the leader that offers.
    pub epoch: u64,
}

/// The offers that are open and the answers that came. Shared by coordinator, engine and API.
pub struct OfferBook {
    clock: Arc<dyn BootClock>,
    pages: Mutex<Pages>,
    /// Grows with every answer.
    answered: watch::Sender<u64>,
}

#[derive(Default)]
struct Pages {
    open: BTreeMap<NodeUid, Open>,
    answers: BTreeMap<NodeUid, Vec<Arrived>>,
    /// What signs grants; `None`: nothing may yet, so none is handed out.
    key: Option<Arc<SigningKey>>,
}

/// An answer, and when it arrived in milliseconds since the machine's boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// What the node said; its time is the wall clock's, which may be stepped.
    pub answer: GrantAnswer,
    /// When, by the clock by which permissions end.
    pub boot_ms: i64,
}

struct Open {
    offer: Offer,
    until_ms: i64,
    /// Nothing is handed out by a process that may not lead any more; standalone there is none.
    fence: Option<Fence>,
}

impl fmt::Debug for OfferBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfferBook({} open)", self.pages().open.len())
    }
}

impl Default for OfferBook {
    fn default() -> Self {
        Self::by(Arc::new(MachineClock))
    }
}

impl OfferBook {
    /// An empty book that goes by `clock`.
    #[must_use]
    pub fn by(clock: Arc<dyn BootClock>) -> Self {
        Self { clock, pages: Mutex::default(), answered: watch::Sender::new(0) }
    }

    /// Lets the engine hand out this grant for so long, at most [`MAX_OPEN`]. Replaces another offer
    /// for that node. The same grant again changes nothing, above all not its end, and one that was
    /// answered is not handed out any more.
    ///
    /// A heartbeat gets it only if an earlier one of the same boot was heard by this process, so an
    /// offer should be open for at least two intervals.
    pub fn open(&self, node: NodeUid, offer: Offer, lasts_for: Duration, fence: Option<Fence>) {
        let lasts_ms = i64::try_from(lasts_for.min(MAX_OPEN).as_millis()).unwrap_or(i64::MAX);
        let until_ms = self.clock.boot_ms().saturating_add(lasts_ms);
        let mut pages = self.pages();
        let is_answered = pages
            .answers
            .get(&node)
            .is_some_and(|all| all.iter().any(|it| it.answer.id == offer.id));
        match pages.open.get_mut(&node) {
            // Only who vouches for it may be another.
            Some(open) if open.offer == offer => open.fence = fence,
            Some(_) | None if is_answered => {}
            Some(_) | None => {
                pages.open.insert(node, Open { offer, until_ms, fence });
            }
        }
    }

    /// Signs with this key from now on; with none, nothing is handed out.
    pub fn sign_with(&self, key: Option<Arc<SigningKey>>) {
        self.pages().key = key;
    }

    /// What signs.
    #[must_use]
    pub fn key(&self) -> Option<Arc<SigningKey>> {
        self.pages().key.clone()
    }

    /// Hands out no grant for this node any more. One that is on its way may still be used.
    pub fn withdraw(&self, node: &NodeUid) {
        self.pages().open.remove(node);
    }

    /// Withdraws all offers: this collector does not lead any more.
    pub fn withdraw_all(&self) {
        self.pages().open.clear();
    }

    /// What may be handed to this node in the boot that it speaks of, at this very moment.
    #[must_use]
    pub fn offer(&self, node: &NodeUid, boot: &BootId) -> Option<Offer> {
        let now = self.clock.boot_ms();
        let pages = self.pages();
        let Open { offer, until_ms, fence } = pages.open.get(node)?;
        let leads = match fence {
            Some(fence) => fence.check().is_ok_and(|epoch| epoch.0 == offer.epoch),
            None => true,
        };
        (now < *until_ms && offer.boot == *boot && leads).then(|| offer.clone())
    }

    /// Takes what a node said of a grant. Whether that is the grant it was given, the coordinator
    /// knows. The same answer again changes nothing.
    pub fn answer(&self, node: NodeUid, answer: GrantAnswer) {
        let boot_ms = self.clock.boot_ms();
        let mut pages = self.pages();
        // Each answer is the last word on its grant: it is used up, or void.
        if pages.open.get(&node).is_some_and(|open| open.offer.id == answer.id) {
            pages.open.remove(&node);
        }
        let said = pages.answers.entry(node).or_default();
        let is_same = |it: &GrantAnswer| it.id == answer.id && it.answer == answer.answer;
        let is_new = !said.iter().any(|it| is_same(&it.answer));
        if is_new {
            if said.len() >= MAX_ANSWERS {
                said.remove(0);
            }
            said.push(Arrived { answer, boot_ms });
        }
        if pages.answers.len() > MAX_NODES {
            pages.answers.pop_first();
        }
        drop(pages);
        if is_new {
            self.answered.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// What this node said, newest last; at most four.
    #[must_use]
    pub fn answers(&self, node: &NodeUid) -> Vec<GrantAnswer> {
        self.arrived(node).into_iter().map(|it| it.answer).collect()
    }

    /// The same, with the time since boot at which each arrived.
    #[must_use]
    pub fn arrived(&self, node: &NodeUid) -> Vec<Arrived> {
        self.pages().answers.get(node).cloned().unwrap_or_default()
    }

    /// Forgets all about nodes that `is_needed` does not name.
    pub fn keep(&self, is_needed: impl Fn(&NodeUid) -> bool) {
        let mut pages = self.pages();
        pages.open.retain(|node, _| is_needed(node));
        pages.answers.retain(|node, _| is_needed(node));
    }

    /// Grows with every new answer.
    #[must_use]
    pub fn answered(&self) -> watch::Receiver<u64> {
        self.answered.subscribe()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node is where no cluster says it: its name, or the digest of a name that has no such shape.
/// A rebooter may be given it with `--node-uid`; else it learns it with its first grant.
#[must_use]
pub fn uid_of(node: &NodeName) -> Option<NodeUid> {
    // 64 hexadecimal digits always are one.
    let digest = || Digest::of(node.as_str().as_bytes()).to_string().parse().ok();
    node.as_str().parse().ok().or_else(digest)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;
    use std::sync::atomic::Ordering;

    use palisade_plan::request::Answer;
    use palisade_report::Moment;

    use super::*;
    use crate::kube::Epoch;
    use crate::kube::Standing;

    #[derive(Default)]
    struct HandClock(AtomicI64);

    impl BootClock for HandClock {
        fn boot_ms(&self) -> i64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn boot(last: char) -> BootId {
        format!("0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d1{last}").parse().unwrap()
    }

    fn node(name: &str) -> NodeUid {
        name.parse().unwrap()
    }

    fn offer(epoch: u64) -> Offer {
        Offer {
            id: GrantId::from_bytes([1; 16]),
            request: RequestUid::from_bytes([2; 16]),
            boot: boot('1'),
            report: Digest::of(b"report"),
            epoch,
        }
    }

    const LASTS: Duration = Duration::from_secs(60);

    #[test]
    fn an_offer_is_for_one_boot_of_one_node_and_ends() {
        let clock = Arc::new(HandClock::default());
        let book = OfferBook::by(Arc::clone(&clock) as Arc<dyn BootClock>);
        book.open(node("a"), offer(1), LASTS, None);
        assert_eq!(book.offer(&node("a"), &boot('1')), Some(offer(1)));
        assert_eq!(book.offer(&node("a"), &boot('2')), None);
        assert_eq!(book.offer(&node("b"), &boot('1')), None);
        clock.0.store(60_000, Ordering::SeqCst);
        assert_eq!(book.offer(&node("a"), &boot('1')), None);
        // Offering it again prolongs nothing.
        book.open(node("a"), offer(1), LASTS, None);
        assert_eq!(book.offer(&node("a"), &boot('1')), None);
        let other = Offer { id: GrantId::from_bytes([9; 16]), ..offer(1) };
        book.open(node("a"), other.clone(), 1000 * LASTS, None);
        clock.0.store(60_000 + 899_999, Ordering::SeqCst);
        assert_eq!(book.offer(&node("a"), &boot('1')), Some(other));
        clock.0.store(60_000 + 900_000, Ordering::SeqCst);
        assert_eq!(book.offer(&node("a"), &boot('1')), None);
        book.withdraw(&node("a"));
        assert_eq!(book.offer(&node("a"), &boot('1')), None);
    }

    #[test]
    fn who_does_not_lead_or_leads_another_term_hands_out_nothing() {
        let clock = Arc::new(HandClock::default());
        let fence = Fence::shut(Arc::clone(&clock) as Arc<dyn BootClock>);
        let book = OfferBook::by(Arc::clone(&clock) as Arc<dyn BootClock>);
        book.open(node("a"), offer(7), LASTS, Some(fence.clone()));
        assert_eq!(book.offer(&node("a"), &boot('1')), None);
        fence.follow(&Standing::Leading { epoch: Epoch(7), until_ms: 1_000 });
        assert_eq!(book.offer(&node("a"), &boot('1')), Some(offer(7)));
        clock.0.store(1_000, Ordering::SeqCst);
        assert_eq!(book.offer(&node("a"), &boot('1')), None);
        fence.follow(&Standing::Leading { epoch: Epoch(8), until_ms: 9_000 });
        assert_eq!(book.offer(&node("a"), &boot('1')), None);
    }

    #[test]
    fn an_answer_has_the_moment_at_which_it_arrived_by_the_machine() {
        let clock = Arc::new(HandClock::default());
        let book = OfferBook::by(Arc::clone(&clock) as Arc<dyn BootClock>);
        let id = GrantId::from_bytes([1; 16]);
        let wall = Moment::from_unix(99_999);
        clock.0.store(5_000, Ordering::SeqCst);
        book.answer(node("a"), GrantAnswer { id, answer: Answer::Executing, at: wall });
        clock.0.store(9_000, Ordering::SeqCst);
        book.answer(node("a"), GrantAnswer { id, answer: Answer::Executing, at: wall });
        let arrived: Vec<_> = book.arrived(&node("a")).iter().map(|it| it.boot_ms).collect();
        assert_eq!(arrived, [5_000], "the same word again came no later");
    }

    #[test]
    fn answers_are_kept_in_order_once_each_and_no_more_than_four() {
        let book = OfferBook::default();
        let mut answered = book.answered();
        let id = GrantId::from_bytes([1; 16]);
        let say = |answer: Answer| {
            book.answer(node("a"), GrantAnswer { id, answer, at: Moment::from_unix(1) });
        };
        book.open(node("a"), offer(1), LASTS, None);
        say(Answer::Executing);
        // It is used up, so it is not handed out any more.
        assert_eq!(book.offer(&node("a"), &boot('1')), None);
        book.open(node("a"), offer(1), LASTS, None);
        assert_eq!(book.offer(&node("a"), &boot('1')), None);
        assert!(answered.has_changed().unwrap());
        answered.mark_unchanged();
        say(Answer::Executing);
        assert!(!answered.has_changed().unwrap(), "nothing new");
        for number in 0..4 {
            say(Answer::Refused(number.to_string()));
        }
        let said: Vec<_> = book.answers(&node("a")).into_iter().map(|it| it.answer).collect();
        assert_eq!(said.len(), MAX_ANSWERS);
        assert_eq!(said.last(), Some(&Answer::Refused("3".to_owned())));
        book.keep(|it| *it != node("a"));
        assert_eq!(book.answers(&node("a")), []);
    }
}
