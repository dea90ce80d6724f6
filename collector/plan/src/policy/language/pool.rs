//! A pool as it is written.

use std::collections::BTreeSet;

use crate::gate::Gate;
use crate::policy::Assumed;
use crate::policy::Backoff;
use crate::policy::Canary;
use crate::policy::Deadlines;
use crate::policy::FailureBudget;
use crate::policy::ForeignCordon;
use crate::policy::Mode;
use crate::policy::Pool;
use crate::policy::RebootMethod;
use crate::policy::TopologyCap;
use crate::policy::UNMATCHED;
use crate::policy::Waves;
use crate::policy::language::MAX_FREEZES;
use crate::policy::language::check;
use crate::policy::language::drain::drain;
use crate::policy::language::selection::alert_gate;
use crate::policy::language::selection::label_key;
use crate::policy::language::selection::pod_gate;
use crate::policy::language::selection::selector;
use crate::policy::language::time::freeze;
use crate::policy::language::time::window;
use crate::policy::language::value::Nothing;
use crate::policy::language::value::amount;
use crate::policy::language::value::duration;
use crate::policy::language::value::flag;
use crate::policy::language::value::list;
use crate::policy::language::value::name;
use crate::policy::language::value::number;
use crate::policy::language::value::percent;
use crate::policy::language::value::reason;
use crate::policy::language::value::text;
use crate::policy::language::value::word;
use crate::policy::section::Problems;
use crate::policy::section::Section;
use crate::policy::section::listed;
use crate::policy::section::nearest;
use crate::policy::tree::Tree;
use crate::window::Windows;

/// Windows of one pool.
const MAX_WINDOWS: usize = 50;

/// Further labels of topology of one pool.
const MAX_TOPOLOGY: usize = 8;

/// Waves of one pool, canary and rest not counted.
const MAX_WAVES: usize = 20;

/// Selectors of pods that block a pool.
const MAX_POD_GATES: usize = 50;

pub(super) const MODES: &[(&str, Mode)] = &[
    ("approve", Mode::Approve),
    ("auto", Mode::Auto),
    ("plan", Mode::Plan),
    ("report", Mode::Report),
];

const FOREIGN_CORDONS: &[(&str, ForeignCordon)] =
    &[("include", ForeignCordon::Include), ("skip", ForeignCordon::Skip)];

const METHODS: &[(&str, RebootMethod)] = &[
    ("auto", RebootMethod::Auto),
    ("logind", RebootMethod::Logind),
    ("signal", RebootMethod::Signal),
];

/// A pool.
pub(super) fn pool(tree: &Tree, problems: &mut Problems) -> Option<Pool> {
    let mut section = Section::open(tree, "a pool", problems)?;
    let mut pool = Pool::default();
    // In full, so that a new field cannot be forgotten here.
    let Pool {
        name,
        selector: chosen,
        mode,
        paused,
        max_unavailable,
        per_zone,
        zones_at_once,
        topology,
        windows,
        freezes,
        waves,
        failure_budget,
        stable_secs,
        minimum_interval_secs,
        must_by_secs,
        past_must_by,
        foreign_cordon,
        allow_overrun,
        soak_secs,
        assumed,
        drain: drain_policy,
        deadlines,
        backoff,
        blocking_pods,
        alerts,
        reboot_method,
    } = &mut pool;
    if let Some(given) = section.need("name", "workers", pool_name) {
        *name = given;
    }
    if let Some(given) = section.need(
        "selector",
        "{}`, which is every node, or `selector: {matchLabels: {tier: db}}",
        selector,
    ) {
        *chosen = given;
    }
    section.set("mode", mode, word(MODES));
    section.set_some("paused", paused, reason);
    section.set("maxUnavailable", max_unavailable, amount);
    section.set_some("perZone", per_zone, amount);
    section.set("zonesAtOnce", zones_at_once, number(0, 1_000));
    section.set("topology", topology, list(MAX_TOPOLOGY, topology_cap));
    section.set("windows", windows, read_windows);
    section.set("freezes", freezes, list(MAX_FREEZES, freeze));
    section.set_some("waves", waves, read_waves);
    section.set("failureBudget", failure_budget, read_failure_budget);
    section.set("stable", stable_secs, duration(Nothing::Allowed));
    section.set("minimumInterval", minimum_interval_secs, duration(Nothing::Refused));
    section.set("mustBy", must_by_secs, duration(Nothing::Refused));
    section.set("pastMustBy", past_must_by, soft_gates);
    section.set("foreignCordon", foreign_cordon, word(FOREIGN_CORDONS));
    section.set("allowOverrun", allow_overrun, flag);
    section.set("soak", soak_secs, duration(Nothing::Allowed));
    section.set("assumed", assumed, read_assumed);
    section.set("drain", drain_policy, drain);
    section.set("deadlines", deadlines, read_deadlines);
    section.set("backoff", backoff, read_backoff);
    section.set("blockingPods", blocking_pods, list(MAX_POD_GATES, pod_gate));
    section.set_some("alerts", alerts, alert_gate);
    section.set("rebootMethod", reboot_method, word(METHODS));
    let windows = section.take("windows").map(|windows| windows.place);
    check::pool(&pool, section.place, windows, section.problems);
    section.close(&[]);
    Some(pool)
}

fn pool_name(tree: &Tree, problems: &mut Problems) -> Option<String> {
    let name = name(tree, problems)?;
    if name == UNMATCHED {
        let message =
            "the name `default` is that of the nodes that no pool selects: choose another";
        problems.add(tree.place, message);
        return None;
    }
    Some(name)
}

fn topology_cap(tree: &Tree, problems: &mut Problems) -> Option<TopologyCap> {
    let mut section = Section::open(tree, "a topology cap", problems)?;
    let key = section.need("key", "example.com/rack", label_key);
    let max_unavailable = section.need("maxUnavailable", "1", amount);
    if key.as_deref() == Some("topology.kubernetes.io/zone") {
        let message =
            "zones have fields of their own: write `perZone` and `zonesAtOnce` in the pool";
        section.problems.add(section.place, message);
    }
    section.close(&[]);
    Some(TopologyCap { key: key?, max_unavailable: max_unavailable? })
}

fn read_windows(tree: &Tree, problems: &mut Problems) -> Option<Windows> {
    let windows = list(MAX_WINDOWS, window)(tree, problems)?;
    if let crate::policy::tree::Node::List(items) = &tree.node
        && items.is_empty()
    {
        let message = "no windows would mean always: remove `windows` for that, or use `paused`";
        problems.add(tree.place, message);
        return None;
    }
    Some(Windows::new(windows))
}

fn read_waves(tree: &Tree, problems: &mut Problems) -> Option<Waves> {
    let mut section = Section::open(tree, "the waves", problems)?;
    let mut waves = Waves::default();
    let Waves { canary, percents, bake_node_secs, bake_wave_secs } = &mut waves;
    section.set("canary", canary, read_canary);
    section.set("percents", percents, read_percents);
    section.set("bakeNode", bake_node_secs, duration(Nothing::Allowed));
    section.set("bakeWave", bake_wave_secs, duration(Nothing::Allowed));
    section.close(&[]);
    Some(waves)
}

fn read_canary(tree: &Tree, problems: &mut Problems) -> Option<Canary> {
    let mut section = Section::open(tree, "the canary", problems)?;
    let nodes = section.take("nodes");
    let labels = section.take("selector");
    let canary = match (nodes, labels) {
        (Some(nodes), None) => number(1, 1_000)(nodes, section.problems).map(Canary::Count),
        (None, Some(labels)) => {
            let chosen = selector(labels, section.problems);
            if chosen.as_ref().is_some_and(crate::policy::Selector::is_everything) {
                let message = "a canary of every node is none: name a label, or write `nodes: 1`";
                section.problems.add(labels.place, message);
            }
            chosen.map(Canary::Selector)
        }
        (Some(_), Some(_)) => {
            let message = "write either `nodes` or `selector`, not both";
            section.problems.add(section.place, message);
            None
        }
        (None, None) => {
            let message = "write `nodes: 1`, or a `selector`";
            section.problems.add(section.place, message);
            None
        }
    };
    section.close(&[]);
    canary
}

fn read_percents(tree: &Tree, problems: &mut Problems) -> Option<Vec<u8>> {
    let percents =
        list(MAX_WAVES, |item, problems| percent(1, 99)(item, problems))(tree, problems)?;
    if !percents.is_sorted_by(|earlier, later| earlier < later) {
        let message = "each wave must reach further than the one before it, such as `[1, 10, 50]`";
        problems.add(tree.place, message);
        return None;
    }
    Some(percents)
}

fn read_failure_budget(tree: &Tree, problems: &mut Problems) -> Option<FailureBudget> {
    let mut section = Section::open(tree, "the failure budget", problems)?;
    let mut budget = FailureBudget::default();
    let FailureBudget { failures, within_secs } = &mut budget;
    section.set("failures", failures, number(1, 1_000));
    section.set("within", within_secs, duration(Nothing::Refused));
    section.close(&[]);
    Some(budget)
}

/// Gates that urgency opens.
fn soft_gates(tree: &Tree, problems: &mut Problems) -> Option<BTreeSet<Gate>> {
    let gates = list(Gate::ALL.len(), soft_gate)(tree, problems)?;
    Some(gates.into_iter().collect())
}

fn soft_gate(tree: &Tree, problems: &mut Problems) -> Option<Gate> {
    let written = text(tree, problems)?;
    let soft = || Gate::ALL.iter().filter(|gate| !gate.is_hard()).map(|gate| gate.word());
    match Gate::ALL.iter().find(|gate| gate.word() == written) {
        Some(gate) if gate.is_hard() => {
            let message = format!(
                "no urgency opens the gate `{gate}`: remove it; these open: {}",
                listed(soft())
            );
            problems.add(tree.place, message);
            None
        }
        Some(gate) => Some(*gate),
        None => {
            let advice = nearest(written, soft())
                .map_or_else(|| format!("one of {}", listed(soft())), |meant| format!("`{meant}`"));
            problems.expected(tree, &advice)
        }
    }
}

fn read_assumed(tree: &Tree, problems: &mut Problems) -> Option<Assumed> {
    let mut section = Section::open(tree, "the assumed durations", problems)?;
    let mut assumed = Assumed::default();
    let Assumed { drain_secs, reboot_secs } = &mut assumed;
    section.set("drain", drain_secs, duration(Nothing::Refused));
    section.set("reboot", reboot_secs, duration(Nothing::Refused));
    section.close(&[]);
    Some(assumed)
}

fn read_deadlines(tree: &Tree, problems: &mut Problems) -> Option<Deadlines> {
    let mut section = Section::open(tree, "the deadlines", problems)?;
    let mut deadlines = Deadlines::default();
    let Deadlines {
        claim_secs,
        cordon_secs,
        grant_secs,
        reboot_without_history_secs,
        reboot_least_secs,
        ready_secs,
        verify_secs,
        uncordon_secs,
        roll_back_secs,
    } = &mut deadlines;
    for (name, secs) in [
        ("claim", claim_secs),
        ("cordon", cordon_secs),
        ("grant", grant_secs),
        ("rebootWithoutHistory", reboot_without_history_secs),
        ("rebootLeast", reboot_least_secs),
        ("ready", ready_secs),
        ("verify", verify_secs),
        ("uncordon", uncordon_secs),
        ("rollBack", roll_back_secs),
    ] {
        section.set(name, secs, duration(Nothing::Refused));
    }
    if deadlines.reboot_least_secs > deadlines.reboot_without_history_secs {
        let least = check::shown(deadlines.reboot_least_secs);
        let without = check::shown(deadlines.reboot_without_history_secs);
        let message = format!(
            "`rebootLeast` ({least}) must not be longer than `rebootWithoutHistory` ({without})"
        );
        section.problems.add(section.place, message);
    }
    section.close(&[]);
    Some(deadlines)
}

fn read_backoff(tree: &Tree, problems: &mut Problems) -> Option<Backoff> {
    let mut section = Section::open(tree, "the back-off", problems)?;
    let mut backoff = Backoff::default();
    let Backoff { first_secs, longest_secs } = &mut backoff;
    section.set("first", first_secs, duration(Nothing::Refused));
    section.set("longest", longest_secs, duration(Nothing::Refused));
    if backoff.first_secs > backoff.longest_secs {
        let first = check::shown(backoff.first_secs);
        let longest = check::shown(backoff.longest_secs);
        let message = format!("`first` ({first}) must not be longer than `longest` ({longest})");
        section.problems.add(section.place, message);
    }
    section.close(&[]);
    Some(backoff)
}
