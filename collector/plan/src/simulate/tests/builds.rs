//! Builds that break a law, and are caught: each law by a planner, a machine or a shell that is wrong in
//! one place, in a fleet in which everything else is as it should be.

#![expect(clippy::wildcard_enum_match_arm, reason = "who breaks a law breaks it in one state")]

use std::collections::BTreeSet;

use palisade_report::BootId;

use super::super::*;
use crate::fleet::Cordon;
use crate::fleet::Known;
use crate::fleet::Role;
use crate::policy::Amount;
use crate::policy::ForeignCordon;
use crate::request::AfterRollback;
use crate::request::Approval;
use crate::request::BootRecord;
use crate::request::GrantRecord;
use crate::request::Intent;
use crate::request::Proof;
use crate::request::Reason;
use crate::request::Schedulability;
use crate::request::Wish;
use crate::seen::Count;
use crate::seen::DrainSeen;
use crate::step::Effect;
use crate::step::requested;

/// The laws that a build breaks in a fleet in which nothing else goes wrong.
fn broken_by(build: Build) -> BTreeSet<u8> {
    broken_in(build, |_, _| {})
}

/// The same in fleets that are changed before.
fn broken_in(build: Build, change: fn(&mut Fleet, &mut Policy)) -> BTreeSet<u8> {
    let laws = (1..3).map(|seed| {
        let (mut fleet, mut policy) = invent(seed, 40);
        change(&mut fleet, &mut policy);
        let options = Options { seed, rest_secs: 2 * 3600, ..Options::default() };
        simulate_with(&fleet, &policy, START, &options, build)
    });
    laws.flat_map(|outcome| outcome.broken).map(|breach| breach.law).collect()
}

/// The laws that a build breaks under all faults.
fn broken_under_faults(build: Build, seed: u64, nodes: usize) -> BTreeSet<u8> {
    let (fleet, policy) = invent(seed, nodes);
    let options = Options { seed, faults: Profile::All, rest_secs: 3600, ..Options::default() };
    let outcome = simulate_with(&fleet, &policy, START, &options, build);
    outcome.broken.into_iter().map(|breach| breach.law).collect()
}

fn decides(decide: Decide) -> Build {
    Build { decide, ..Build::SOUND }
}

fn with(flaw: Flaw) -> Build {
    Build { flaw: Some(flaw), ..Build::SOUND }
}

fn persist(request: &Request, state: State, change: impl FnOnce(&mut Request)) -> Step {
    let mut next = request.clone();
    next.progress.state = state;
    change(&mut next);
    Step::Persist(Box::new(next))
}

/// What is done otherwise than it should be, before it leaves the machine.
fn spoiled(step: Step, spoil: impl FnOnce(&mut Request)) -> Step {
    match step {
        Step::Persist(mut next) => {
            spoil(&mut next);
            Step::Persist(next)
        }
        other @ (Step::Do(_) | Step::Wait) => other,
    }
}

/// A planner that lets everybody go who wants to.
fn everybody(fleet: &Fleet, policy: &Policy, now: Moment) -> Plan {
    let mut found = plan(fleet, policy, now);
    found.start.clone_from(&found.order);
    found.ask.clear();
    found
}

/// Sees no gate and no count.
fn blindly(request: &Request, seen: &Seen, pool: &Pool, now: Moment) -> Step {
    let count = Known::Known(Count::Within);
    step(request, &Seen { count, gates: Vec::new(), ..seen.clone() }, pool, now)
}

#[test]
fn who_lets_everybody_go_is_caught() {
    let build = Build { planner: everybody, decide: blindly, ..Build::SOUND };
    let mut broken = broken_under_faults(build, 2, 60);
    broken.extend(broken_under_faults(build, 3, 60));
    for law in [1, 2, 4, 21, 23] {
        assert!(broken.contains(&law), "law {law}: {broken:?}");
    }
}

#[test]
fn who_starts_in_silence_is_caught() {
    let planner: Planner = |fleet, policy, now| {
        let mut found = everybody(fleet, policy, now);
        let silent = fleet
            .nodes
            .values()
            .filter(|node| node.agent.heard_at.is_none_or(|heard_at| now.since(heard_at) > 950));
        if silent.count() * 3 < fleet.nodes.len() {
            found.start.clear();
        }
        found
    };
    let build = Build { planner, decide: blindly, ..Build::SOUND };
    // Not in every fleet do so many agents fall silent for so long.
    let is_caught = |seed| broken_under_faults(build, seed, 60).contains(&22);
    assert!((10..40).any(is_caught), "in none of thirty fleets");
}

#[test]
fn who_grants_before_the_drain_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| {
        let drain = Known::Known(DrainSeen::default());
        step(request, &Seen { drain, ..seen.clone() }, pool, now)
    }));
    assert!(broken.contains(&3), "{broken:?}");
}

#[test]
fn who_tries_again_what_a_reboot_did_not_end_is_caught() {
    let decide: Decide = |request, seen, pool, now| match request.progress.state {
        State::Verifying => persist(request, State::RollingBack, |next| {
            next.progress.then = AfterRollback::Reconsider;
        }),
        _ => blindly(request, seen, pool, now),
    };
    let build = Build { planner: everybody, decide, ..Build::SOUND };
    // Nodes that take every grant, whatever it is for, and a person who asks for reboots.
    let broken = broken_in(build, |fleet, _| {
        for node in fleet.nodes.values_mut() {
            node.agent.need = Need::Unknown { why: String::from("no database") };
        }
        for node in fleet.nodes.values().filter(|node| node.role == Role::Worker).take(4) {
            let request = requested(node.name.clone(), node.uid.clone(), asked(), 0, START);
            fleet.requests.insert(node.uid.clone(), request);
        }
    });
    assert!(broken.contains(&5), "{broken:?}");
}

fn asked() -> Wish {
    let reasons = BTreeSet::from([Reason {
        source: String::from("request"),
        kind: String::from("request"),
        subject: String::from("maintenance"),
        target: String::new(),
    }]);
    let digest = palisade_report::Digest::of(b"maintenance");
    let approval =
        Approval { by: String::from("ops"), at: START, digest, until: START.plus(86_400) };
    Wish {
        reasons,
        digest,
        since: START,
        requested_by: String::from("ops"),
        must_by: None,
        approval: Some(approval),
        overriding: None,
        intent: Intent::Reboot,
        release: None,
    }
}

#[test]
fn who_hands_out_what_is_not_recorded_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| {
        let Step::Do(mut effects) = step(request, seen, pool, now) else {
            return step(request, seen, pool, now);
        };
        for effect in &mut effects {
            if let Effect::Offer { grant, .. } = effect {
                grant.id = seen.next_grant;
            }
        }
        Step::Do(effects)
    }));
    assert!(broken.contains(&6) && broken.contains(&13), "{broken:?}");
}

#[test]
fn who_takes_a_restart_of_the_agent_for_a_boot_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| match request.progress.state {
        State::Rebooting => booted(request, now, |grant| grant.boot.clone()),
        _ => step(request, seen, pool, now),
    }));
    assert!(broken.contains(&7), "{broken:?}");
}

fn booted(request: &Request, now: Moment, boot: fn(&GrantRecord) -> BootId) -> Step {
    persist(request, State::Booted, |next| {
        let boot = next.progress.grant.as_ref().map(boot);
        next.progress.boot = boot.map(|boot| BootRecord { boot, kernel: None, seen_at: now });
    })
}

#[test]
fn who_uncordons_without_all_proofs_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| match request.progress.state {
        State::Verifying => persist(request, State::Uncordoning, |next| {
            next.progress.proofs.remove(&Proof::Kernel);
        }),
        _ => step(request, seen, pool, now),
    }));
    assert!(broken.contains(&8), "{broken:?}");
}

#[test]
fn who_uncordons_what_was_cordoned_before_is_caught() {
    let decide: Decide = |request, seen, pool, now| {
        let Step::Do(mut effects) = step(request, seen, pool, now) else {
            return step(request, seen, pool, now);
        };
        for effect in &mut effects {
            if let Effect::Uncordon { restore, .. } = effect {
                *restore = Schedulability::Schedulable;
            }
        }
        Step::Do(effects)
    };
    let broken = broken_in(decides(decide), |fleet, policy| {
        for node in fleet.nodes.values_mut() {
            node.cordon = Cordon::Foreign { by: None };
        }
        policy.cluster.max_unavailable = Amount::Percent(100);
        for pool in &mut policy.pools {
            pool.foreign_cordon = ForeignCordon::Include;
            (pool.max_unavailable, pool.per_zone) = (Amount::Percent(100), None);
        }
    });
    assert!(broken.contains(&9), "{broken:?}");
}

#[test]
fn who_tells_nobody_of_a_quarantine_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| match request.progress.state {
        State::Verifying => persist(request, State::Quarantined, |_| {}),
        _ => step(request, seen, pool, now),
    }));
    assert!(broken.contains(&10), "{broken:?}");
}

#[test]
fn who_frees_places_by_time_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| match request.progress.state {
        State::Rebooting if now.since(request.progress.since) > 60 => {
            persist(request, State::Done, |_| {})
        }
        _ => step(request, seen, pool, now),
    }));
    assert!(broken.contains(&11) && broken.contains(&12), "{broken:?}");
}

#[test]
fn who_cordons_before_the_state_is_stored_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| {
        let known = seen.node.known().and_then(Option::as_ref);
        let free = known.is_some_and(|node| node.cordon == Cordon::Schedulable);
        match request.progress.state {
            State::Claimed if free => {
                Step::Do(vec![Effect::Cordon { before: Schedulability::Schedulable }])
            }
            _ => step(request, seen, pool, now),
        }
    }));
    assert!(broken.contains(&13), "{broken:?}");
}

#[test]
fn who_takes_a_reboot_for_well_whatever_its_agent_says_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| match request.progress.state {
        State::Granted => persist(request, State::Verifying, |_| {}),
        State::Verifying => persist(request, State::Uncordoning, |next| {
            next.progress.proofs = Proof::ALL.map(|proof| (proof, String::new())).into();
        }),
        _ => step(request, seen, pool, now),
    }));
    assert!(broken.contains(&14), "{broken:?}");
}

#[test]
fn who_marks_nodes_by_their_name_is_caught() {
    let broken = broken_by(with(Flaw::MarksByName));
    assert!(broken.contains(&15), "{broken:?}");
}

#[test]
fn who_sets_no_deadline_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| {
        spoiled(step(request, seen, pool, now), |next| next.progress.deadline = None)
    }));
    assert!(broken.contains(&16), "{broken:?}");
}

#[test]
fn who_never_ends_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| match request.progress.state {
        State::Draining => Step::Wait,
        _ => step(request, seen, pool, now),
    }));
    assert!(broken.contains(&17), "{broken:?}");
}

#[test]
fn who_acts_without_leading_is_caught() {
    let broken = broken_under_faults(with(Flaw::ActsForever), 2, 40);
    assert!(broken.contains(&18), "{broken:?}");
}

#[test]
fn who_invents_the_boot_of_a_node_is_caught() {
    let broken = broken_by(decides(|request, seen, pool, now| match request.progress.state {
        State::Rebooting => booted(request, now, |_| BootId::from_bytes(&[9; 16])),
        _ => step(request, seen, pool, now),
    }));
    assert!(broken.contains(&19), "{broken:?}");
}

#[test]
fn who_evicts_beside_pods_that_cannot_be_evicted_is_caught() {
    let decide: Decide = |request, seen, pool, now| {
        let mut seen = seen.clone();
        if let Known::Known(drain) = &mut seen.drain {
            drain.stuck.clear();
        }
        blindly(request, &seen, pool, now)
    };
    // Not at once: which budgets are spent must be known for a while.
    let planner: Planner = |fleet, policy, now| {
        let mut found = everybody(fleet, policy, now);
        if now.since(START) < 600 {
            found.start.clear();
        }
        found
    };
    let build = Build { decide, planner, flaw: Some(Flaw::EvictsAnyway) };
    let broken = broken_in(build, |fleet, _| {
        let Known::Known(budgets) = &mut fleet.budgets else { return };
        for budget in budgets.values_mut() {
            (budget.allowed, budget.desired_healthy) = (0, budget.expected);
        }
    });
    assert!(broken.contains(&20), "{broken:?}");
}

#[test]
fn who_tells_the_same_again_is_caught() {
    let broken = broken_under_faults(with(Flaw::TellsAgain), 2, 60);
    assert!(broken.contains(&24), "{broken:?}");
}
