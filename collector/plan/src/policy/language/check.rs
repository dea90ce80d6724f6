//! What each part of a policy allows and all of it together does not.

use crate::policy::AlertSource;
use crate::policy::PendingAlerts;
use crate::policy::Pool;
use crate::policy::Selector;
use crate::policy::section::Problems;
use crate::policy::tree::Place;

/// The parts of one pool against each other. `windows`: where its windows are written.
pub(super) fn pool(pool: &Pool, place: Place, windows: Option<Place>, problems: &mut Problems) {
    let keys: Vec<&str> = pool.topology.iter().map(|cap| cap.key.as_str()).collect();
    if let Some((_, twice)) =
        keys.iter().enumerate().find(|&(at, key)| keys.iter().take(at).any(|other| other == key))
    {
        problems.add(place, format!("the topology label `{twice}` is there twice: remove one"));
    }
    let least = pool.assumed.drain_secs + pool.assumed.reboot_secs + pool.soak_secs;
    let longest = pool.windows.longest_secs();
    if let (Some(place), Some(longest)) = (windows, longest)
        && longest < least
        && !pool.allow_overrun
    {
        let message = format!(
            "no window is open for longer than {}, but a reboot is taken to need {} (`assumed` and \
             `soak`): nothing would ever start",
            shown(longest),
            shown(least),
        );
        problems.add(place, message);
    }
}

/// The pools against each other.
pub(super) fn pools(pools: &[(Place, Pool)], problems: &mut Problems) {
    for (at, (place, pool)) in pools.iter().enumerate() {
        for (_, earlier) in pools.iter().take(at) {
            let name = &pool.name;
            if earlier.name == *name {
                problems.add(*place, format!("the name `{name}` is taken: choose another"));
                break;
            }
            if covers(&earlier.selector, &pool.selector) {
                let earlier = &earlier.name;
                let message = format!(
                    "no node can be in `{name}`: `{earlier}` comes first and selects the same nodes; \
                     write `{name}` above it, or narrow its selector"
                );
                problems.add(*place, message);
                break;
            }
        }
    }
}

/// Pools that ask for alerts against where those are to be asked for.
pub(super) fn alerts(
    pools: &[(Place, Pool)],
    source: Option<&AlertSource>,
    problems: &mut Problems,
) {
    for (place, pool) in pools {
        let Some(gate) = &pool.alerts else { continue };
        let name = &pool.name;
        if source.is_none() {
            let message = format!(
                "`{name}` asks for alerts, and nothing says where: add `alertSource: {{alertmanager: \
                 \"http://...\"}}` to `cluster`"
            );
            problems.add(*place, message);
        } else if gate.pending == PendingAlerts::Block
            && source.is_some_and(|it| it.prometheus.is_none())
        {
            let message = format!(
                "`{name}` lets pending alerts block, which Alertmanager does not know: add \
                 `prometheus` to `alertSource`, or write `pending: ignore`"
            );
            problems.add(*place, message);
        }
    }
}

/// Whether each node that `narrow` selects is one that `wide` selects, as far as their words show.
fn covers(wide: &Selector, narrow: &Selector) -> bool {
    wide.match_labels.iter().all(|(key, value)| narrow.match_labels.get(key) == Some(value))
        && wide.match_expressions.iter().all(|it| narrow.match_expressions.contains(it))
}

/// Seconds as people write them.
pub(super) fn shown(secs: i64) -> String {
    let mut text = String::new();
    let mut rest = secs;
    for (unit, length) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        if rest >= length {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
