//! What people want is in the audit before anybody acts upon it, or nobody does.

use std::sync::Arc;

use palisade_report::Moment;

use super::planned::POLICY;
use super::planned::planned;
use crate::api::answer::Answer;
use crate::api::answer::Kind;
use crate::api::reboots;
use crate::audit;
use crate::audit::Decision;
use crate::audit::Happening;
use crate::clock::SystemClock;
use crate::engine::Engine;
use crate::engine::EngineSettings;
use crate::engine::EngineThread;
use crate::http::call::Errand;
use crate::judge::ProfileJudge;
use crate::store::AuditFilter;
use crate::store::Reader;
use crate::store::Store;
use crate::testing::Scratch;

const NOW: Moment = Moment::from_unix(1_795_000_000);

/// More rows of one kind than there is room for in the pages that a new store has.
const FILLING: usize = 1_000;

fn wish(about: &str) -> Happening {
    Happening::own(audit::Kind::Reboot, "it", about)
}

fn engine(scratch: &Scratch, is_full: bool) -> (Engine, EngineThread, Reader) {
    let store = Store::open(&scratch.0.join("palisade.db")).unwrap();
    if is_full {
        store.limit_pages(Some(0));
    }
    let reader = store.reader().unwrap();
    let judge = Arc::new(ProfileJudge::load(None, None).unwrap());
    let clock = Arc::new(SystemClock::start());
    let (engine, thread) = Engine::start(store, EngineSettings::default(), judge, clock).unwrap();
    (engine, thread, reader)
}

/// Virtual time moves on its own once everybody waits: a coordinator that comes to nothing is late.
#[tokio::test(start_paused = true)]
async fn a_wish_that_cannot_be_kept_comes_to_nobody() {
    let scratch = Scratch::new();
    let (engine, thread, _) = engine(&scratch, true);
    let mut is_full = false;
    for _ in 0..FILLING {
        is_full = engine.audit_durably(wish("a wish")).await.is_err();
        if is_full {
            break;
        }
    }
    assert!(is_full, "the store takes no more of these");
    let planned = planned(POLICY);
    let (node, by) = ("worker-1".parse().unwrap(), "anna".to_owned());
    let errand = Errand::Cancel;
    let asked = reboots::ask(&engine, &planned, node, errand, by, wish("a wish"), NOW).await;
    let refused = asked.unwrap_err();
    assert_eq!(refused.kind, Kind::NotReady);
    assert!(refused.message.contains("cannot store anything now"), "{refused:?}");
    let pool = "workers".to_owned();
    let released = reboots::release_pool(&engine, &planned, pool, wish("a wish")).await;
    assert_eq!(released.unwrap_err().kind, Kind::NotReady);
    assert!(planned.inbox().await.try_recv().is_err(), "nobody was asked");
    engine.stop();
    thread.join();
}

#[tokio::test]
async fn a_wish_is_durable_when_the_coordinator_hears_of_it() {
    let scratch = Scratch::new();
    let (engine, thread, reader) = engine(&scratch, false);
    let planned = planned(POLICY);
    let told = async || {
        let filter = AuditFilter { kind: Some(audit::Kind::Reboot), ..AuditFilter::default() };
        let rows = reader.audit(filter, None, 10).await.unwrap().rows;
        rows.into_iter().map(|row| (row.entry.decision, row.entry.reason)).collect::<Vec<_>>()
    };
    let hears = async {
        let mut inbox = planned.inbox().await;
        let mut heard = Vec::new();
        for _ in 0..2 {
            let errand = inbox.recv().await.unwrap();
            heard.push(told().await);
            drop(errand);
        }
        heard
    };
    let (node, by) = ("worker-1".parse().unwrap(), "anna".to_owned());
    let asks = async {
        let about = wish("of a node");
        drop(reboots::ask(&engine, &planned, node, Errand::Cancel, by, about, NOW).await);
        let pool = "workers".to_owned();
        drop(reboots::release_pool(&engine, &planned, pool, wish("of a pool")).await);
    };
    let (heard, ()) = tokio::join!(hears, asks);
    let node = (Decision::Done, "of a node".to_owned());
    let pool = (Decision::Done, "of a pool".to_owned());
    assert_eq!(heard, [vec![node.clone()], vec![pool, node]]);
    engine.stop();
    thread.join();
}

/// Virtual time, as above: a coordinator that has not come to a wish within its time may do it yet.
#[tokio::test(start_paused = true)]
async fn a_wish_that_nobody_has_come_to_yet_is_accepted_and_not_refused() {
    let scratch = Scratch::new();
    let (engine, thread, _) = engine(&scratch, false);
    let planned = planned(POLICY);
    let (node, by) = ("worker-1".parse().unwrap(), "anna".to_owned());
    let asked =
        reboots::ask(&engine, &planned, node, Errand::Cancel, by, wish("a wish"), NOW).await;
    let pool = "workers".to_owned();
    let released = reboots::release_pool(&engine, &planned, pool, wish("a wish")).await;
    for (answer, name) in [(asked, "\"node\":\"worker-1\""), (released, "\"pool\":\"workers\"")] {
        let Ok(Answer::Accepted(body)) = answer else { panic!("{answer:?}") };
        let body = String::from_utf8(body.text.to_vec()).unwrap();
        assert!(body.contains(name) && body.contains("/v1/audit?kind=reboot"), "{body}");
    }
    engine.stop();
    thread.join();
}
