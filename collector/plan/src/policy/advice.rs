//! What a good policy may still not mean: advice, which stops nothing.

use std::collections::BTreeSet;

use palisade_report::Moment;
use serde::Serialize;

use crate::policy::Mode;
use crate::policy::Policy;
use crate::policy::Pool;

/// How far ahead windows that clocks skip are looked for: both changes of a year.
const AHEAD_SECS: i64 = 400 * 86_400;

/// Advice that one pool gets of one kind; what follows says the same again.
const MAX_EACH: usize = 5;

/// Labels below `kubernetes.io` that kubelets may set on their own node all the same.
///
/// Source: the admission plugin `NodeRestriction` of the API server.
const KUBELET_LABELS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Something to know about a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// What kind.
    pub kind: AdviceKind,
    /// In which pool; none for the cluster.
    pub pool: Option<String>,
    /// What to know, and what to do.
    pub message: String,
}

/// What kind of advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdviceKind {
    /// A cap of 0 keeps everything from starting.
    CapStops,
    /// A freeze is over.
    PastFreeze,
    /// Nodes can put themselves into the pool.
    SelfChosen,
    /// Clocks skip a window as a whole.
    WindowSkipped,
}

impl Policy {
    /// What is worth knowing of this policy now.
    #[must_use]
    pub fn advice(&self, now: Moment) -> Vec<Advice> {
        let mut advice = Vec::new();
        let mut add = |kind, pool: Option<&Pool>, message: String| {
            advice.push(Advice { kind, pool: pool.map(|pool| pool.name.clone()), message });
        };
        let zero =
            "`maxUnavailable` is 0, so nothing ever starts: `paused` says that with a reason";
        if self.cluster.max_unavailable.is_zero() {
            add(AdviceKind::CapStops, None, zero.to_owned());
        }
        let over = self.cluster.freezes.iter().filter(|freeze| freeze.to <= now).count();
        let is_over = |count: usize| format!("{count} freezes are over: remove them");
        if over > 0 {
            add(AdviceKind::PastFreeze, None, is_over(over));
        }
        for pool in &self.pools {
            let some = Some(pool);
            if pool.max_unavailable.is_zero() {
                add(AdviceKind::CapStops, some, zero.to_owned());
            }
            let over = pool.freezes.iter().filter(|freeze| freeze.to <= now).count();
            if over > 0 {
                add(AdviceKind::PastFreeze, some, is_over(over));
            }
            for label in self_chosen(pool).into_iter().take(MAX_EACH) {
                let message = format!(
                    "kubelets may set `{label}` on their own node, so a node can choose this pool: \
                     select by a label below `node-restriction.kubernetes.io/`"
                );
                add(AdviceKind::SelfChosen, some, message);
            }
            for skipped in pool.windows.skipped(now, now.plus(AHEAD_SECS)).iter().take(MAX_EACH) {
                let Some(window) = pool.windows.windows().get(skipped.window) else { continue };
                let message = format!(
                    "clocks in {} skip the window from {} to {} at {}: it does not open then",
                    window.zone, window.start, window.end, skipped.at
                );
                add(AdviceKind::WindowSkipped, some, message);
            }
        }
        advice
    }
}

/// Labels by which a node of a pool that acts could choose it.
fn self_chosen(pool: &Pool) -> BTreeSet<&str> {
    match pool.mode {
        Mode::Plan | Mode::Report => return BTreeSet::new(),
        Mode::Approve | Mode::Auto => {}
    }
    let keys = pool.selector.match_labels.keys();
    let keys = keys.chain(pool.selector.match_expressions.iter().map(|it| &it.key));
    keys.map(String::as_str).filter(|key| is_self_set(key)).collect()
}

/// Whether a kubelet may set this label on its own node.
fn is_self_set(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else { return true };
    let is_below = |domain: &str| {
        prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let is_kubelet = is_below("kubelet.kubernetes.io") || is_below("node.kubernetes.io");
    let is_reserved = is_below("kubernetes.io") || is_below("k8s.io");
    !is_reserved || is_kubelet || KUBELET_LABELS.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_kubelets_may_set_are_told_from_those_that_they_may_not() {
        for (key, expected) in [
            ("tier", true),
            ("example.com/tier", true),
            ("kubernetes.io/os", true),
            ("topology.kubernetes.io/zone", true),
            ("node.kubernetes.io/pool", true),
            ("kubelet.kubernetes.io/x", true),
            ("node-restriction.kubernetes.io/pool", false),
            ("node-role.kubernetes.io/control-plane", false),
            ("example.k8s.io/x", false),
            ("notkubernetes.io/x", true),
        ] {
            assert_eq!(is_self_set(key), expected, "{key}");
        }
    }

    #[test]
    fn what_a_good_policy_may_not_mean_is_told() {
        let text = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n\
                    cluster: {maxUnavailable: 0}\npools:\n  - name: db\n    mode: auto\n    \
                    selector: {matchLabels: {tier: db}}\n    allowOverrun: true\n    windows:\n      \
                    - {days: [sun], start: \"02:00\", end: \"03:00\", zone: Europe/Berlin}\n    \
                    freezes:\n      - {from: 2025-12-24, to: 2025-12-26, zone: UTC, reason: x}\n  \
                    - name: rest\n    selector: {}\n    mode: plan\n";
        let policy = Policy::parse(text).unwrap_or_else(|error| panic!("{error}"));
        // 2026-01-01.
        let advice = policy.advice(Moment::from_unix(1_767_225_600));
        let kinds: Vec<(AdviceKind, Option<&str>)> =
            advice.iter().map(|one| (one.kind, one.pool.as_deref())).collect();
        assert_eq!(
            kinds,
            [
                (AdviceKind::CapStops, None),
                (AdviceKind::PastFreeze, Some("db")),
                (AdviceKind::SelfChosen, Some("db")),
                (AdviceKind::WindowSkipped, Some("db")),
            ]
        );
        assert_eq!(
            advice.last().unwrap().message,
            "clocks in Europe/Berlin skip the window from 02:00 to 03:00 at 2026-03-29T01:00:00Z: \
             it does not open then"
        );
        assert_eq!(Policy::default().advice(Moment::from_unix(0)), []);
    }
}
