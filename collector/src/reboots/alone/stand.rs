//! A coordinator without a cluster for tests, over a store of its own, with a clock that goes on by being
//! read.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use palisade_report::Moment;
use tokio::sync::Notify;

use super::coordinator::Coordinator;
use super::coordinator::Ground;
use crate::audit::Kind;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::engine::Engine;
use crate::engine::EngineSettings;
use crate::engine::EngineThread;
use crate::grants::OfferBook;
use crate::judge::ProfileJudge;
use crate::kube::fence::BootClock;
use crate::planned::Planned;
use crate::reboots::objections::Objections;
use crate::settings::Hooks;
use crate::settings::RebootSettings;
use crate::store::AuditFilter;
use crate::store::Reader;
use crate::store::Store;
use crate::testing::Scratch;

/// A clock on which so much time goes by at each look at it.
#[derive(Debug)]
struct Ticking {
    from: Moment,
    elapsed_ms: AtomicI64,
    tick_ms: i64,
}

impl BootClock for Ticking {
    fn boot_ms(&self) -> i64 {
        self.elapsed_ms.fetch_add(self.tick_ms, Ordering::SeqCst)
    }
}

impl Clock for Ticking {
    fn unix_ms(&self) -> i64 {
        self.from.unix() * 1000 + self.elapsed_ms.load(Ordering::SeqCst)
    }

    fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms.load(Ordering::SeqCst).unsigned_abs()
    }
}

/// A coordinator without hooks that knows its requests: none.
pub(super) struct Stand {
    pub(super) coordinator: Coordinator,
    /// Where the locks of its hooks are.
    pub(super) locks: PathBuf,
    reader: Reader,
    engine: Engine,
    thread: Option<EngineThread>,
    _scratch: Scratch,
}

impl Stand {
    pub(super) async fn start(now: Moment, tick: Duration) -> Self {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0.join("palisade.db")).unwrap();
        let reader = store.reader().unwrap();
        let judge = Arc::new(ProfileJudge::load(None, None).unwrap());
        let system = Arc::new(SystemClock::start());
        let settings = EngineSettings::default();
        let (engine, thread) = Engine::start(store, settings, judge, system).unwrap();
        let tick_ms = i64::try_from(tick.as_millis()).unwrap();
        let clock = Arc::new(Ticking { from: now, elapsed_ms: AtomicI64::new(0), tick_ms });
        let locks = scratch.0.join("locks");
        let hooks = Hooks { before: None, after: None, timeout: Duration::from_secs(60) };
        let ground = Ground {
            engine: engine.clone(),
            reader: reader.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            offers: Arc::new(OfferBook::default()),
            planned: Arc::new(Planned::default()),
            settings: RebootSettings { policy: scratch.0.join("policy.yaml"), hooks },
            last_epoch: 0,
            locks: locks.clone(),
        };
        let boot_clock: Arc<dyn BootClock> = clock;
        let objections = Arc::new(Objections::new(Arc::clone(&boot_clock)));
        let standing = (boot_clock, objections, Arc::new(Notify::new()));
        let mut coordinator = Coordinator::new(ground, standing, 1);
        coordinator.register.load(&reader).await.unwrap();
        Self { coordinator, locks, reader, engine, thread: Some(thread), _scratch: scratch }
    }

    /// The nodes whose reboots the audit tells of, oldest first.
    pub(super) async fn told(&self) -> Vec<String> {
        let filter = AuditFilter { kind: Some(Kind::Reboot), ..AuditFilter::default() };
        let rows = self.reader.audit(filter, None, 500).await.unwrap().rows;
        rows.iter().rev().map(|it| it.entry.node.clone().unwrap().to_string()).collect()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.engine.stop();
        self.thread.take().unwrap().join();
    }
}
