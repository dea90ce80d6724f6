use std::sync::Mutex;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::outgoing;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::Look;
use palisade_alert::sighting::Scope;
use palisade_alert::sighting::Sighting;
use tokio::sync::Notify;

use super::*;
use crate::clock::SystemClock;
use crate::kube::Epoch;
use crate::kube::Standing;
use crate::kube::fence::BootClock;
use crate::testing::PATIENCE as LONG;
use crate::testing::Scratch;

const CONFIG: &str = r#"
apiVersion: palisade.dev/v1alpha1
kind: AlertConfig
receivers: [{ name: events, kubernetesEvents: {} }]
defaults: { groupWait: 0s }
fallback: [events]
"#;

/// Counts what is told.
#[derive(Debug, Default)]
struct Told {
    events: Mutex<Vec<outgoing::Event>>,
    came: Notify,
}

impl TellEvents for Told {
    fn tell(&self, event: outgoing::Event) -> BoxFuture<'_, Outcome> {
        self.events.lock().unwrap().push(event);
        self.came.notify_one();
        Box::pin(std::future::ready(Outcome::Delivered))
    }
}

/// Sees one thing that is wrong with a node, always.
#[derive(Default)]
struct Wrong {
    looks: usize,
    /// The look at which it slips.
    panics_at: Option<usize>,
    remembered: Arc<AtomicUsize>,
}

impl Looker for Wrong {
    fn look(&mut self) -> Option<Seen> {
        self.looks += 1;
        assert_ne!(Some(self.looks), self.panics_at, "a slip");
        let node: palisade_report::NodeName = "worker-1".parse().unwrap();
        let sighting = Sighting {
            key: Key::of_node(Kind::AgentSilent, node.clone(), None),
            severity: Severity::Critical,
            since: None,
            values: Values::default(),
        };
        let looks = vec![(Scope::Node(node), Look::Seen(vec![sighting]))];
        Some(Seen { looks, ..Seen::default() })
    }

    fn forget(&mut self) {}

    fn remember(&mut self, records: &mut dyn Iterator<Item = &Record>) {
        self.remembered.store(records.count(), Ordering::SeqCst);
    }

    fn ending(&self, _: &Key, _: &Values) -> String {
        String::new()
    }
}

fn ground(scratch: &Scratch, looker: Wrong, told: Arc<Told>) -> Ground {
    Ground {
        path: scratch.0.join("alerts.db"),
        config: Arc::new(Config::parse(CONFIG).unwrap()),
        file: None,
        looker: Box::new(looker),
        look_every: Duration::ZERO,
        clock: Arc::new(SystemClock::start()),
        events: Some(told),
        api_server: Vec::new(),
        fence: None,
        board: Arc::default(),
    }
}

#[derive(Default)]
struct HandClock(AtomicI64);

impl BootClock for HandClock {
    fn boot_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn alerts_are_worked_out_and_held_back_while_somebody_else_may_lead() {
    let scratch = Scratch::new();
    let fence = Fence::shut(Arc::new(HandClock::default()));
    let told = Arc::new(Told::default());
    let ground = Ground {
        fence: Some(fence.clone()),
        ..ground(&scratch, Wrong::default(), Arc::clone(&told))
    };
    let (notifier, thread) = Notifier::start(ground, Handle::current()).unwrap();
    // It is owed: had it been let go, it would have been so in the same turn or the next ones.
    let deadline = Instant::now() + LONG;
    let mut turns = 0;
    while turns < 3 {
        let now = SystemClock::start().now();
        let owed = notifier.ask(move |core| core.desk.waiting("events", now).0).await.unwrap();
        turns += usize::from(owed > 0);
        assert!(Instant::now() < deadline, "nothing was worked out");
    }
    assert!(told.events.lock().unwrap().is_empty(), "it was sent without a lease");
    fence.follow(&Standing::Leading { epoch: Epoch(1), until_ms: 1_000 });
    tokio::time::timeout(LONG, told.came.notified()).await.unwrap();
    assert_eq!(told.events.lock().unwrap()[0].node, "worker-1");
    notifier.stop();
    tokio::task::spawn_blocking(|| thread.join()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_costs_a_turn_and_no_alert() {
    let scratch = Scratch::new();
    let told = Arc::new(Told::default());
    let looker = Wrong { panics_at: Some(3), ..Wrong::default() };
    let remembered = Arc::clone(&looker.remembered);
    let ground = ground(&scratch, looker, Arc::clone(&told));
    let (notifier, thread) = Notifier::start(ground, Handle::current()).unwrap();
    tokio::time::timeout(LONG, told.came.notified()).await.unwrap();
    let deadline = Instant::now() + LONG;
    while notifier.board().seen().panics == 0 {
        assert!(Instant::now() < deadline, "it did not begin again");
        // Whoever asks in the turn that breaks off is told so.
        if notifier.ask(|_| ()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(remembered.load(Ordering::SeqCst), 1, "the alert of before");
    let firing = notifier.ask(|core| core.book.records().len()).await.unwrap();
    assert_eq!((firing, told.events.lock().unwrap().len()), (1, 1), "told once");
    notifier.stop();
    tokio::task::spawn_blocking(|| thread.join()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_change_that_is_not_written_is_not_answered_as_if_it_were() {
    let scratch = Scratch::new();
    let ground = ground(&scratch, Wrong::default(), Arc::default());
    let (path, board) = (ground.path.clone(), Arc::clone(&ground.board));
    let (notifier, thread) = Notifier::start(ground, Handle::current()).unwrap();
    let wanted = || palisade_alert::silence::Wanted {
        matcher: Some(serde_json::json!({"nodes": ["worker-*"]})),
        alert: None,
        reason: "the rack moves".to_owned(),
        starts_at: None,
        ends_at: SystemClock::start().now().plus(600),
    };
    let silence = || {
        let (wanted, now) = (wanted(), SystemClock::start().now());
        notifier.change(move |core| core.silence(wanted, "anna", now).is_ok())
    };
    assert_eq!(silence().await, Ok(true));
    // As a disk that is full: nothing is written any more.
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch("DROP TABLE silences").unwrap();
    assert_eq!(silence().await, Err(ChangeError::NotWritten));
    assert_eq!(notifier.ask(|core| core.silences.len()).await, Ok(2), "it holds meanwhile");
    let deadline = Instant::now() + LONG;
    while board.seen().failed_commits == 0 {
        assert!(Instant::now() < deadline, "no figure tells of it");
        assert_eq!(notifier.ask(|_| ()).await, Ok(()));
    }
    notifier.stop();
    tokio::task::spawn_blocking(|| thread.join()).await.unwrap();
}
