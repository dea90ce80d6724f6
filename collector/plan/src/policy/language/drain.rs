//! How nodes are emptied, as it is written.

use crate::policy::DrainFailure;
use crate::policy::DrainPolicy;
use crate::policy::EmptyDir;
use crate::policy::NoRoom;
use crate::policy::StuckVolumes;
use crate::policy::Unmanaged;
use crate::policy::language::check::shown;
use crate::policy::language::selection::narrow_selector;
use crate::policy::language::value::Nothing;
use crate::policy::language::value::duration;
use crate::policy::language::value::flag;
use crate::policy::language::value::list;
use crate::policy::language::value::number;
use crate::policy::language::value::word;
use crate::policy::section::Problems;
use crate::policy::section::Section;
use crate::policy::tree::Tree;

/// Selectors of one kind.
const MAX_SELECTORS: usize = 50;

/// Evictions at once on one node; more than this is an overload of the API server, not haste.
const MAX_PARALLEL: i64 = 50;

const UNMANAGED: &[(&str, Unmanaged)] = &[("block", Unmanaged::Block), ("evict", Unmanaged::Evict)];

const EMPTY_DIR: &[(&str, EmptyDir)] = &[("block", EmptyDir::Block), ("evict", EmptyDir::Evict)];

const NO_ROOM: &[(&str, NoRoom)] = &[("block", NoRoom::Block), ("ignore", NoRoom::Ignore)];

const ON_FAILURE: &[(&str, DrainFailure)] =
    &[("reboot", DrainFailure::Reboot), ("roll-back", DrainFailure::RollBack)];

const ON_VOLUMES: &[(&str, StuckVolumes)] =
    &[("continue", StuckVolumes::Continue), ("roll-back", StuckVolumes::RollBack)];

/// The drain of a pool.
pub(super) fn drain(tree: &Tree, problems: &mut Problems) -> Option<DrainPolicy> {
    let mut section = Section::open(tree, "the drain", problems)?;
    let mut policy = DrainPolicy::default();
    let DrainPolicy {
        cordon_only,
        unmanaged,
        empty_dir,
        protected,
        skip,
        daemon_sets,
        on_failure,
        slow_secs,
        timeout_secs,
        skip_stuck_after_secs,
        grace_secs,
        volumes_secs,
        on_volumes,
        load_balancer_secs,
        no_room,
        parallel,
    } = &mut policy;
    section.set("cordonOnly", cordon_only, flag);
    section.set("unmanaged", unmanaged, word(UNMANAGED));
    section.set("emptyDir", empty_dir, word(EMPTY_DIR));
    section.set("protected", protected, list(MAX_SELECTORS, narrow_selector));
    section.set("skip", skip, list(MAX_SELECTORS, narrow_selector));
    section.set("daemonSets", daemon_sets, list(MAX_SELECTORS, narrow_selector));
    section.set("onFailure", on_failure, word(ON_FAILURE));
    section.set("slow", slow_secs, duration(Nothing::Refused));
    section.set("timeout", timeout_secs, duration(Nothing::Refused));
    section.set_some("skipStuckAfter", skip_stuck_after_secs, duration(Nothing::Refused));
    // A grace period of nothing kills at once, which is a deletion by force in all but name.
    section.set_some("grace", grace_secs, duration(Nothing::Refused));
    section.set("volumes", volumes_secs, duration(Nothing::Allowed));
    section.set("onVolumes", on_volumes, word(ON_VOLUMES));
    section.set_some("loadBalancer", load_balancer_secs, duration(Nothing::Allowed));
    section.set("noRoom", no_room, word(NO_ROOM));
    section.set("parallel", parallel, number(1, MAX_PARALLEL));
    if policy.slow_secs > policy.timeout_secs {
        let (slow, timeout) = (shown(policy.slow_secs), shown(policy.timeout_secs));
        let message = format!("`slow` ({slow}) must not be longer than `timeout` ({timeout})");
        section.problems.add(section.place, message);
    }
    if policy.protected.iter().any(|protected| policy.skip.contains(protected)) {
        let message = "the same pods are in `protected`, which waits for them, and in `skip`, which \
                       leaves them: remove one";
        section.problems.add(section.place, message);
    }
    section.close(&[]);
    Some(policy)
}
