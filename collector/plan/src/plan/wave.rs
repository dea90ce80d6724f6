//! Waves: few nodes first, more when those went well.
//!
//! What has been done counts from when the reasons of a node came up in its pool, so new reasons begin
//! with canaries again. Nothing is remembered for that: reboots that ended are in the past.

use std::collections::BTreeMap;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeUid;

use super::census::Census;
use super::census::Member;
use super::learned::median_reboot;
use super::pool::shut;
use crate::fleet::Finished;
use crate::fleet::Need;
use crate::fleet::Past;
use crate::gate::Blocker;
use crate::gate::Gate;
use crate::policy::Canary;
use crate::policy::Pool;
use crate::policy::Selector;
use crate::policy::Waves;

/// The same reasons may come up on the nodes of a pool so far apart, and are still one rollout: an
/// empty sentinel gives the same digest each month, and packages reach mirrors within days.
const ROLLOUT_SECS: i64 = 7 * 86_400;

/// A wave that takes so many times as long as usual is not going well.
const MAX_SLOWDOWN: u32 = 2;

/// How far a rollout of one pool is.
#[derive(Clone, Debug)]
pub(super) struct Rollout<'a> {
    /// Nodes that are done.
    pub(super) done: usize,
    /// Nodes that may be done or under way in this wave; no bound in the last.
    pub(super) limit: Option<usize>,
    /// Only these go, in a wave of selected canaries.
    pub(super) only: Option<&'a Selector>,
    /// Why nothing of this rollout starts at all.
    pub(super) shut: Option<Blocker>,
}

/// Different rollouts of one pool that a pass looks at. Whoever gives each node reasons of its own, by
/// design or to harm, does not make a pass long; the rest waits for those before them.
const MAX_ROLLOUTS: usize = 64;

/// Rollouts of a pass, by pool and reasons.
#[derive(Clone, Debug, Default)]
pub(super) struct Rollouts<'a> {
    spans: BTreeMap<(usize, &'a Digest), Span>,
    known: BTreeMap<usize, BTreeMap<&'a Digest, Rollout<'a>>>,
    /// Since when reasons had been there that a reboot ended.
    ended: Option<BTreeMap<&'a Digest, Vec<Moment>>>,
    /// Canaries that a selector names, by pool.
    canaries: BTreeMap<usize, Vec<Member<'a>>>,
}

/// When the same reasons were seen first and last, in one pool.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: Moment,
    last: Moment,
}

impl<'a> Rollouts<'a> {
    /// Remembers that a node of a pool has these reasons since then.
    pub(super) fn note(&mut self, pool: usize, digest: &'a Digest, since: Moment) {
        let span = self.spans.entry((pool, digest)).or_insert(Span { first: since, last: since });
        span.first = span.first.min(since);
        span.last = span.last.max(since);
    }

    /// How far the rollout of these reasons is, if the pool has waves.
    pub(super) fn of(
        &mut self,
        index: usize,
        digest: &'a Digest,
        census: &Census<'a>,
        past: &'a Past,
        now: Moment,
    ) -> Option<Rollout<'a>> {
        let pool = census.pools.get(index)?.pool;
        let waves = pool.waves.as_ref()?;
        let known = self.known.entry(index).or_default();
        if let Some(rollout) = known.get(digest) {
            return Some(rollout.clone());
        }
        if known.len() >= MAX_ROLLOUTS {
            let value = format!("{MAX_ROLLOUTS} nodes with other reasons are first");
            let shut = Some(shut(Gate::Wave, value, now, None));
            return Some(Rollout { done: 0, limit: None, only: None, shut });
        }
        let ended = self.ended.get_or_insert_with(|| ended(past));
        let span = self.spans.get(&(index, digest)).copied();
        let began = began(span, ended.get(digest).map_or(&[], Vec::as_slice), now);
        let canaries = self.canaries.entry(index).or_insert_with(|| {
            let of_pool = census.members.iter().filter(|member| member.pool == index);
            let is_canary = |member: &&Member<'_>| match &waves.canary {
                Canary::Count(_) => false,
                Canary::Selector(selector) => selector.matches(&member.node.labels),
            };
            of_pool.filter(is_canary).copied().collect()
        });
        let members = census.pools.get(index).map_or(0, |count| count.whole.members);
        let rollout = Rollout::of(pool, waves, began, members, canaries, past, now);
        known.insert(digest, rollout.clone());
        Some(rollout)
    }
}

fn ended(past: &Past) -> BTreeMap<&Digest, Vec<Moment>> {
    let mut ended: BTreeMap<&Digest, Vec<Moment>> = BTreeMap::new();
    for last in past.reboots.values() {
        ended.entry(&last.digest).or_default().push(last.occurrence);
    }
    ended
}

/// When a rollout began: when its reasons were first seen, on nodes that are done already too.
fn began(span: Option<Span>, ended: &[Moment], now: Moment) -> Moment {
    let span = span.unwrap_or(Span { first: now, last: now });
    let earliest = span.last.plus(ROLLOUT_SECS.saturating_neg());
    let first = ended.iter().copied().filter(|at| *at >= earliest).min();
    first.map_or(span.first, |first| first.min(span.first)).max(earliest)
}

impl<'a> Rollout<'a> {
    fn of(
        pool: &'a Pool,
        waves: &'a Waves,
        began: Moment,
        members: usize,
        selected: &[Member<'_>],
        past: &Past,
        now: Moment,
    ) -> Self {
        let all: Vec<&Finished> = past.done.get(&pool.name).into_iter().flatten().collect();
        let (before, after): (Vec<&Finished>, Vec<&Finished>) =
            all.into_iter().partition(|one| one.at < began);
        let mut ends: BTreeMap<&NodeUid, Moment> = BTreeMap::new();
        for one in &after {
            let end = ends.entry(&one.node).or_insert(one.at);
            *end = one.at.max(*end);
        }
        let mut order: Vec<Moment> = ends.values().copied().collect();
        order.sort_unstable();
        let done = order.len();

        let (canaries, only) = canaries(&waves.canary, selected, &ends);
        let mut sizes = vec![canaries];
        for percent in &waves.percents {
            let size = members.saturating_mul(usize::from(*percent)).div_ceil(100).max(1);
            sizes.push(size.max(sizes.last().copied().unwrap_or_default()));
        }
        // Canaries are counted by name: others that are done do not stand in for them.
        let canaries_done = only.is_none()
            || selected.iter().filter(|member| ends.contains_key(member.uid)).count() >= canaries;
        let passed =
            if canaries_done { sizes.iter().filter(|size| **size <= done).count() } else { 0 };
        let limit = sizes.get(passed).copied();
        let only = only.filter(|_| !canaries_done);

        let wave_end = passed
            .checked_sub(1)
            .and_then(|wave| sizes.get(wave))
            .and_then(|size| order.get(size.saturating_sub(1)))
            .map(|end| end.plus(waves.bake_wave_secs));
        let node_end = order.last().map(|end| end.plus(waves.bake_node_secs));
        let shut = is_slow(&before, &after, pool, past)
            .map(|value| shut(Gate::Wave, value, now, None))
            .or_else(|| bakes("wave", wave_end, now))
            .or_else(|| bakes("node", node_end, now));
        Self { done, limit, only, shut }
    }
}

/// How many canaries there are, and the selector that says which.
fn canaries<'a>(
    canary: &'a Canary,
    selected: &[Member<'_>],
    ends: &BTreeMap<&NodeUid, Moment>,
) -> (usize, Option<&'a Selector>) {
    let selector = match canary {
        Canary::Count(count) => return (usize::try_from(*count).unwrap_or(usize::MAX), None),
        Canary::Selector(selector) => selector,
    };
    // Canaries that need nothing hold nobody up.
    let takes_part = |member: &&Member<'_>| {
        let needs = matches!(member.node.agent.need, Need::Needed { .. });
        needs || member.flight.is_some() || ends.contains_key(member.uid)
    };
    (selected.iter().filter(takes_part).count(), Some(selector))
}

fn bakes(what: &str, end: Option<Moment>, now: Moment) -> Option<Blocker> {
    let end = end.filter(|end| *end > now)?;
    let value = format!("the last {what} is watched until {end}");
    Some(shut(Gate::Wave, value, now, Some(end)))
}

/// Whether the reboots of a rollout take much longer than those before it. A release of the pool by a
/// person accepts what was slow until then.
fn is_slow(before: &[&Finished], after: &[&Finished], pool: &Pool, past: &Past) -> Option<String> {
    let released = past.released.get(&pool.name);
    let counted: Vec<&Finished> = after
        .iter()
        .copied()
        .filter(|one| released.is_none_or(|released| one.at > *released))
        .collect();
    let usual = median_reboot(before)?;
    let mut times: Vec<u32> = counted.iter().map(|one| one.reboot_secs).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied()?;
    (median > usual.saturating_mul(MAX_SLOWDOWN))
        .then(|| format!("reboots take {median} s instead of {usual} s as before this rollout"))
}
