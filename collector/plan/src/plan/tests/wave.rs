//! Waves: canaries, shares, bake times, outcomes.

use palisade_report::Digest;

use super::*;
use crate::fleet::LastReboot;
use crate::fleet::Need;
use crate::plan::sample::at;
use crate::plan::sample::finished;
use crate::plan::sample::needed;
use crate::plan::sample::policy;
use crate::plan::sample::pool;
use crate::plan::sample::put;
use crate::plan::sample::reason;
use crate::plan::sample::workers;
use crate::policy::Amount;
use crate::policy::Canary;
use crate::policy::Selector;
use crate::policy::Waves;
use crate::request::State;

/// 100 nodes of which `done` went well so many seconds ago, in waves without bake times.
fn rollout(done: usize, ago_secs: i64, waves: Waves) -> (Fleet, Policy) {
    let mut nodes = workers(100);
    for index in 0..done {
        finish(&mut nodes, index, ago_secs);
    }
    let mut pool = pool("web", Amount::Percent(100));
    pool.waves = Some(waves);
    (nodes, policy([pool]))
}

fn finish(nodes: &mut Fleet, index: usize, ago_secs: i64) {
    let name = format!("w-{index:03}");
    at(nodes, &name).agent.need = Need::NotNeeded;
    let done = nodes.past.done.entry("web".to_owned()).or_default();
    done.push(finished(&name, ago_secs, 100));
    let at = NOW.plus(-ago_secs);
    let last = LastReboot { at, digest: reason("linux-image").1, occurrence: NOW.plus(-3_600) };
    nodes.past.reboots.insert(uid(&name), last);
}

fn quick() -> Waves {
    Waves { canary: Canary::Count(2), percents: vec![10, 50], bake_node_secs: 0, bake_wave_secs: 0 }
}

#[test]
fn each_wave_is_as_large_as_the_policy_says() {
    for (done, starts) in [(0, 2), (1, 1), (2, 8), (9, 1), (10, 40), (49, 1), (50, 50)] {
        let (nodes, policy) = rollout(done, 60, quick());
        assert_eq!(started(&nodes, &policy).len(), starts, "{done} are done");
    }
    let (mut nodes, policy) = rollout(2, 60, quick());
    for index in 2..7 {
        put(&mut nodes, &format!("w-{index:03}"), State::Draining);
    }
    assert_eq!(started(&nodes, &policy).len(), 3, "who is under way belongs to the wave");
    assert_eq!(shut_gates(&nodes, &policy, "w-099"), [Gate::Wave]);
}

#[test]
fn a_wave_and_a_node_are_watched_for_their_time() {
    let waves =
        |bake_node_secs, bake_wave_secs| Waves { bake_node_secs, bake_wave_secs, ..quick() };
    for (done, ago, waves, starts) in [
        (2, 1_799, waves(0, 1_800), 0),
        (2, 1_800, waves(0, 1_800), 8),
        (3, 1_799, waves(0, 1_800), 0),
        (1, 59, waves(60, 0), 0),
        (1, 60, waves(60, 0), 1),
        (1, 60, waves(0, 1_800), 1),
    ] {
        let (nodes, policy) = rollout(done, ago, waves);
        assert_eq!(started(&nodes, &policy).len(), starts, "{done} done {ago} s ago");
    }
    let (nodes, policy) = rollout(2, 1_000, waves(0, 1_800));
    assert_eq!(first_blocker(&nodes, &policy, "w-050").next_check, Some(NOW.plus(800)));
}

#[test]
fn selected_canaries_go_first_and_those_that_need_nothing_hold_nobody_up() {
    let canary = |names: &[&str], nodes: &mut Fleet| {
        for name in names {
            let labels = &mut at(nodes, name).labels;
            Arc::make_mut(labels).insert("canary".to_owned(), "yes".to_owned());
        }
    };
    let selected =
        || Waves { canary: Canary::Selector(Selector::label("canary", "yes")), ..quick() };
    let (mut nodes, policy) = rollout(0, 60, selected());
    canary(&["w-050", "w-051"], &mut nodes);
    assert_eq!(started(&nodes, &policy), ["w-050", "w-051"]);
    finish(&mut nodes, 50, 60);
    assert_eq!(started(&nodes, &policy), ["w-051"]);
    finish(&mut nodes, 51, 60);
    assert_eq!(started(&nodes, &policy).len(), 8);
    let (mut nodes, policy) = rollout(0, 60, selected());
    canary(&["w-050"], &mut nodes);
    at(&mut nodes, "w-050").agent.need = Need::NotNeeded;
    assert_eq!(started(&nodes, &policy).len(), 10);
}

#[test]
fn new_reasons_begin_with_canaries_again() {
    let (mut nodes, policy) = rollout(60, 3_000, quick());
    assert_eq!(started(&nodes, &policy).len(), 40);
    for index in 60..100 {
        let since = NOW.plus(-1_000);
        let Need::Needed { reasons, .. } = needed(since) else { panic!("needed") };
        let digest = Digest::of(b"the next kernel");
        at(&mut nodes, &format!("w-{index:03}")).agent.need =
            Need::Needed { reasons, digest, since };
    }
    assert_eq!(started(&nodes, &policy).len(), 2);
}

#[test]
fn reboots_that_take_twice_as_long_as_usual_stop_a_rollout_until_it_is_released() {
    let (mut nodes, policy) = rollout(2, 60, quick());
    let done = nodes.past.done.get_mut("web").unwrap();
    let before = (0..9).map(|index| finished(&format!("x-{index}"), 90_000, 49));
    *done = before.chain(done.drain(..)).collect();
    assert_eq!(shut_gates(&nodes, &policy, "w-050"), [Gate::Wave]);
    nodes.past.released.insert("web".to_owned(), NOW.plus(-30));
    assert_eq!(started(&nodes, &policy).len(), 8);
    nodes.past.released.clear();
    for one in nodes.past.done.get_mut("web").unwrap().iter_mut().take(9) {
        one.reboot_secs = 50;
    }
    assert_eq!(started(&nodes, &policy).len(), 8, "exactly twice is still well");
}

#[test]
fn a_node_with_reasons_of_its_own_does_not_make_a_pass_long() {
    let (mut nodes, policy) = rollout(0, 60, quick());
    for index in 0..100_usize {
        let need = &mut at(&mut nodes, &format!("w-{index:03}")).agent.need;
        if let Need::Needed { digest, .. } = need {
            *digest = Digest::of(&index.to_le_bytes());
        }
    }
    assert_eq!(started(&nodes, &policy).len(), 2, "one pool, one set of canaries");
    let value = first_blocker(&nodes, &policy, "w-099").value;
    assert!(value.contains("64 nodes with other reasons"), "{value}");
}
