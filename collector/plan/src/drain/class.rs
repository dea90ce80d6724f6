//! What a drain does with one pod.

use palisade_report::Moment;

use super::Awaiting;
use super::Blocking;
use super::Class;
use super::Leaving;
use crate::fleet::Known;
use crate::fleet::Phase;
use crate::fleet::Pod;
use crate::policy::DrainPolicy;
use crate::policy::EmptyDir;
use crate::policy::Selector;
use crate::policy::Unmanaged;

/// Label that says which part of palisade a pod is. Source: the recommended labels of Kubernetes.
const NAME_LABEL: &str = "app.kubernetes.io/name";

/// Value of [`NAME_LABEL`] on agents.
const AGENT: &str = "palisade-agent";

/// Value of [`NAME_LABEL`] on collectors.
const COLLECTOR: &str = "palisade-collector";

/// Annotation value by which the owner of a pod lets it be evicted although the policy would not.
pub const WISH_EVICT: &str = "evict";

/// Annotation value by which the owner of a pod has it waited for.
pub const WISH_WAIT: &str = "wait";

/// Annotation value by which the owner of a pod has it left where it is.
pub const WISH_SKIP: &str = "skip";

/// Annotation value by which the owner of a pod keeps its node from being drained.
pub const WISH_BLOCK: &str = "block";

/// What a drain under this policy does with `pod`.
#[must_use]
pub fn classify(pod: &Pod, policy: &DrainPolicy) -> Class {
    if pod.is_mirror {
        return Class::Left(Leaving::Mirror);
    }
    match pod.phase {
        Phase::Succeeded | Phase::Failed => return Class::Left(Leaving::Finished),
        Phase::Pending | Phase::Running | Phase::Unknown => {}
    }
    if is_part(pod, AGENT) {
        return Class::Left(Leaving::Agent);
    }
    // Its owner has the last word: `wait`, `block`, and what nobody knows.
    let is_indifferent = matches!(pod.wish.as_deref(), None | Some(WISH_EVICT | WISH_SKIP));
    let may_stay = policy.cordon_only && is_indifferent && !selected(pod, &policy.protected);
    if selected(pod, &policy.skip) || may_stay {
        return Class::Left(Leaving::Skipped);
    }
    let managed = match &pod.owner {
        None => false,
        Some(owner) if owner.kind == "DaemonSet" => match &owner.exists {
            Known::Known(true) if selected(pod, &policy.daemon_sets) => true,
            Known::Known(true) => return Class::Left(Leaving::DaemonSet),
            Known::Known(false) => false,
            Known::Unknown(why) => {
                return Class::Blocked(Blocking::OwnerUnknown(why.clone()));
            }
        },
        Some(_) => true,
    };
    if pod.deleting.is_some() {
        return Class::Awaited(Awaiting::Terminating);
    }
    if selected(pod, &policy.protected) {
        return Class::Awaited(Awaiting::Protected);
    }
    match pod.wish.as_deref() {
        None => {}
        Some(WISH_EVICT) => return Class::Evicted,
        Some(WISH_WAIT) => return Class::Awaited(Awaiting::Wish),
        Some(WISH_SKIP) => return Class::Left(Leaving::Skipped),
        Some(other) => return Class::Blocked(Blocking::Wish(other.to_owned())),
    }
    if !managed && policy.unmanaged == Unmanaged::Block {
        return Class::Blocked(Blocking::Unmanaged);
    }
    if pod.has_empty_dir && policy.empty_dir == EmptyDir::Block {
        return Class::Blocked(Blocking::EmptyDir);
    }
    Class::Evicted
}

/// Whether `pod` is a collector: it moves before the others, so that the drain goes on from elsewhere.
pub(super) fn is_collector(pod: &Pod) -> bool {
    is_part(pod, COLLECTOR)
}

/// Whether a pod that is being deleted is past its time and nothing waits for it any more.
///
/// The policy says from when on; without that, every pod is waited for.
pub(super) fn is_given_up(pod: &Pod, policy: &DrainPolicy, now: Moment) -> bool {
    match (&pod.deleting, policy.skip_stuck_after_secs) {
        (Some(deleting), Some(patience)) => now.since(deleting.at) > patience,
        (Some(_), None) | (None, _) => false,
    }
}

fn is_part(pod: &Pod, name: &str) -> bool {
    pod.labels.get(NAME_LABEL).is_some_and(|label| label == name)
}

fn selected(pod: &Pod, selectors: &[Selector]) -> bool {
    selectors.iter().any(|selector| selector.matches(&pod.labels))
}
