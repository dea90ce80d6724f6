//! Verifying: each proof with its value, all of them for the soak time, or a person.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::fleet::Need;
use crate::fleet::Node;
use crate::fleet::Ready;
use crate::request::FaultKind;
use crate::request::Proof;
use crate::request::State;
use crate::seen::Kubelet;
use crate::step::Step;
use crate::step::boot;
use crate::step::turn::REQUESTED;
use crate::step::turn::Turn;

/// Kind of a reason that is about the kernel; its target is a release, as in `uname -r`.
const KERNEL: &str = "kernel";

/// What speaks for a proof, or against it.
enum Evidence {
    /// It holds, by this value.
    Holds(String),
    /// It does not.
    Fails(FaultKind, String),
    /// It cannot be told, which proves nothing either way.
    Untold(String),
}

/// Verifying.
pub(super) fn verifying(turn: Turn<'_>, node: &Node) -> Step {
    if let Some(step) = boot::again(turn, node) {
        return step;
    }
    let progress = turn.progress();
    let mut proofs = BTreeMap::new();
    let mut against = Vec::new();
    for proof in Proof::ALL {
        match evidence(turn, node, proof) {
            // The value that was recorded first stays: a report of every minute is no news. Since when
            // the node is ready is one.
            Evidence::Holds(value) => {
                let recorded = progress.proofs.get(&proof).filter(|_| proof != Proof::Ready);
                let value = recorded.cloned().unwrap_or(value);
                proofs.insert(proof, value);
            }
            Evidence::Fails(kind, value) => against.push((kind, value)),
            Evidence::Untold(why) => against.push((FaultKind::Unproven, why)),
        }
    }
    let is_sound = against.is_empty();
    if let Some(since) = progress.sound_since.filter(|_| is_sound) {
        if turn.now.since(turn.by_our_clock(since)) >= turn.pool.soak_secs {
            return turn.enter(State::Uncordoning, |progress| progress.proofs = proofs);
        }
        return turn.hold([]);
    }
    if turn.is_late_for_us() && !is_sound {
        return unproven(turn, against);
    }
    let has_relapsed = progress.sound_since.is_some() && !is_sound;
    if proofs != progress.proofs || is_sound || has_relapsed {
        return turn.record(|progress| {
            progress.proofs = proofs;
            progress.sound_since = is_sound.then_some(turn.now);
            progress.relapses = progress.relapses.saturating_add(u32::from(has_relapsed));
        });
    }
    turn.hold([])
}

/// The time is over and something is not proved. What certainly failed is named before what could not
/// be told.
fn unproven(turn: Turn<'_>, against: Vec<(FaultKind, String)>) -> Step {
    let words = against.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("; ");
    let relapses = turn.progress().relapses;
    if relapses > 0 {
        return turn.quarantine(FaultKind::Flapping, format!("{relapses} relapses, now: {words}"));
    }
    let certain = against.iter().find(|(kind, _)| *kind != FaultKind::Unproven);
    let kind = certain.map_or(FaultKind::Unproven, |(kind, _)| *kind);
    turn.quarantine(kind, words)
}

fn evidence(turn: Turn<'_>, node: &Node, proof: Proof) -> Evidence {
    let progress = turn.progress();
    let (Some(grant), Some(boot)) = (&progress.grant, &progress.boot) else {
        return Evidence::Untold("the record of grant or boot is missing".to_owned());
    };
    match proof {
        Proof::BootId if boot.boot != grant.boot => {
            Evidence::Holds(format!("{} instead of {}", boot.boot, grant.boot))
        }
        Proof::BootId => {
            Evidence::Fails(FaultKind::RebootCommandFailed, format!("still boot {}", grant.boot))
        }
        Proof::Report => match node.agent.report {
            Some(digest) if node.agent.boot.as_ref() == Some(&boot.boot) => {
                Evidence::Holds(digest.to_string())
            }
            Some(_) | None => Evidence::Untold("no report of the new boot".to_owned()),
        },
        Proof::ReasonGone => reason_gone(turn, node),
        Proof::Kernel => {
            kernel(turn, grant.expected_kernel.as_deref(), node.agent.kernel.as_deref())
        }
        Proof::Ready => match node.ready {
            Ready::Since(at) => ready(turn, format!("since {at}")),
            Ready::NotSince(at) => {
                Evidence::Fails(FaultKind::NotReadyAfterBoot, format!("not ready since {at}"))
            }
            Ready::Unknown => Evidence::Untold("whether it is ready cannot be told".to_owned()),
        },
        Proof::Kubelet => match turn.seen.kubelet.known() {
            Some(Kubelet::Unused) => Evidence::Holds("there is no kubelet".to_owned()),
            Some(Kubelet::Speaks(Some(of))) if *of == boot.boot => {
                Evidence::Holds(format!("reported boot {of}"))
            }
            Some(Kubelet::Speaks(Some(of))) => Evidence::Fails(
                FaultKind::NotReadyAfterBoot,
                format!("the kubelet still reports boot {of}"),
            ),
            Some(Kubelet::Speaks(None)) => {
                Evidence::Untold("the node object names no boot".to_owned())
            }
            None => Evidence::Untold("the node object could not be read".to_owned()),
        },
    }
}

/// Ready all the time since the soak began: a node that was not ready while nobody looked is so since
/// another moment.
fn ready(turn: Turn<'_>, value: String) -> Evidence {
    let progress = turn.progress();
    let recorded = progress.sound_since.and_then(|_| progress.proofs.get(&Proof::Ready));
    match recorded.filter(|recorded| **recorded != value) {
        None => Evidence::Holds(value),
        Some(was) => Evidence::Fails(
            FaultKind::NotReadyAfterBoot,
            format!("ready {was}, then not, and again {value}"),
        ),
    }
}

/// The detector that gave the reasons must say that they are gone. What a person asked for was the
/// boot itself.
fn reason_gone(turn: Turn<'_>, node: &Node) -> Evidence {
    let wished = turn.request.wish.reasons.iter().filter(|reason| reason.source != REQUESTED);
    let wished: Vec<_> = wished.collect();
    if wished.is_empty() {
        return Evidence::Holds("asked for by a person".to_owned());
    }
    match &node.agent.need {
        Need::NotNeeded => Evidence::Holds("no reboot is needed".to_owned()),
        // Whatever a record has cut of their words, these are the same reasons.
        Need::Needed { digest, .. } if *digest == turn.request.wish.digest => Evidence::Fails(
            FaultKind::ReasonPersists,
            format!("the same reasons are still there: {digest}"),
        ),
        Need::Needed { reasons, .. } => match wished.into_iter().find(|it| reasons.contains(it)) {
            None => Evidence::Holds("gone; others have come".to_owned()),
            Some(reason) => Evidence::Fails(
                FaultKind::ReasonPersists,
                format!("{}: {} {} is still there", reason.source, reason.kind, reason.subject),
            ),
        },
        Need::Unknown { why } => {
            Evidence::Untold(format!("whether the reasons are gone cannot be told: {why}"))
        }
    }
}

/// Where the boot loader did not tell what it would start, a reason that is about the kernel may; where
/// neither does, such a reason is not known to have gone.
fn kernel(turn: Turn<'_>, expected: Option<&str>, runs: Option<&str>) -> Evidence {
    let wished = turn.request.wish.reasons.iter();
    let mut wished = wished.filter(|it| it.kind == KERNEL && it.source != REQUESTED).peekable();
    let is_about_kernel = wished.peek().is_some();
    let target = wished.map(|it| it.target.as_str()).find(|target| !target.is_empty());
    match (expected.or(target), runs) {
        (None, Some(_)) if is_about_kernel => {
            Evidence::Untold("which kernel should run could not be told".to_owned())
        }
        (_, None) => Evidence::Untold("the running kernel cannot be told".to_owned()),
        (None, Some(runs)) => Evidence::Holds(format!("{runs}; none was expected")),
        (Some(expected), Some(runs)) if expected == runs => Evidence::Holds(runs.to_owned()),
        (Some(expected), Some(runs)) if is_later(runs, expected) => {
            Evidence::Holds(format!("{runs}, later than {expected}"))
        }
        (Some(expected), Some(runs)) => {
            Evidence::Fails(FaultKind::KernelOlder, format!("kernel {runs}, expected {expected}"))
        }
    }
}

/// Whether one release is certainly later than another of the same flavour: both have the same texts,
/// and the first number that differs is greater. Anything else is not certain.
fn is_later(one: &str, other: &str) -> bool {
    let (one, other) = (parts(one), parts(other));
    let texts = |parts: &[(String, u64)]| parts.iter().map(|it| it.0.clone()).collect::<Vec<_>>();
    let numbers = |parts: &[(String, u64)]| parts.iter().map(|it| it.1).collect::<Vec<_>>();
    texts(&one) == texts(&other) && numbers(&one).cmp(&numbers(&other)) == Ordering::Greater
}

/// Each text of a release with the number behind it.
fn parts(release: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0_u64)];
    let mut in_number = false;
    for letter in release.chars() {
        let digit = letter.to_digit(10).map(u64::from);
        if in_number && digit.is_none() {
            parts.push((String::new(), 0));
        }
        in_number = digit.is_some();
        if let Some((text, number)) = parts.last_mut() {
            match digit {
                Some(digit) => *number = number.saturating_mul(10).saturating_add(digit),
                None => text.push(letter),
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_is_by_number_and_within_a_flavour() {
        let cases = [
            ("6.1.0-31-amd64", "6.1.0-9-amd64", true),
            ("6.1.0-9-amd64", "6.1.0-31-amd64", false),
            ("6.1.0-31-amd64", "6.1.0-31-amd64", false),
            ("6.1.0-31-rt-amd64", "6.1.0-30-amd64", false),
            ("6.2.0", "6.1.99", true),
            ("6.2", "6.1.99", false),
        ];
        for (one, other, later) in cases {
            assert_eq!(is_later(one, other), later, "{one} after {other}");
        }
    }
}
