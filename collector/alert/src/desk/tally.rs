//! What the lines of a group come to, kept up line by line: nobody has to go through all of them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Moment;

use crate::key::AlertId;

/// The news of a group, the most urgent of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// An alert ended.
    Ended,
    /// An alert fires, or fires louder.
    Fires,
    /// A critical one does.
    Critical,
}

/// What a line counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Nothing of a line counts that is doubted.
    pub(super) is_settled: bool,
    /// Whether there is news of it.
    pub(super) news: Option<News>,
    /// Whether it was told, and is worth saying again.
    pub(super) reminds: bool,
    /// Whether its alert fires and is muted.
    pub(super) is_muted: bool,
    /// Whether it is routed to this receiver, and no end of it was told.
    pub(super) lasts: bool,
}

impl Standing {
    /// Of a line that was settled, and of which there is nothing to say.
    pub(super) const fn settled() -> Self {
        Self { is_settled: true, news: None, reminds: false, is_muted: false, lasts: false }
    }
}

/// The sums of all lines that are not doubted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    doubted: BTreeSet<AlertId>,
    news: BTreeMap<News, usize>,
    owed: BTreeMap<Moment, usize>,
    reminding: usize,
    muted: usize,
    lasting: usize,
}

impl Tally {
    /// Of no lines.
    pub(super) const fn new() -> Self {
        Self {
            doubted: BTreeSet::new(),
            news: BTreeMap::new(),
            owed: BTreeMap::new(),
            reminding: 0,
            muted: 0,
            lasting: 0,
        }
    }

    /// Of lines that are all doubted.
    pub(super) fn doubting(lines: impl IntoIterator<Item = AlertId>) -> Self {
        Self { doubted: lines.into_iter().collect(), ..Self::new() }
    }

    /// Takes a line out that stood like this, until it is settled again.
    pub(super) fn doubt(&mut self, id: AlertId, standing: Standing, owed: Option<Moment>) {
        self.doubted.insert(id);
        let Standing { is_settled, news, reminds, is_muted, lasts } = standing;
        if !is_settled {
            return;
        }
        news.into_iter().for_each(|it| one_less(&mut self.news, it));
        owed.into_iter().for_each(|it| one_less(&mut self.owed, it));
        self.reminding = self.reminding.saturating_sub(usize::from(reminds));
        self.muted = self.muted.saturating_sub(usize::from(is_muted));
        self.lasting = self.lasting.saturating_sub(usize::from(lasts));
    }

    /// Takes a line in that was settled.
    pub(super) fn count(&mut self, standing: Standing, owed: Option<Moment>) {
        let Standing { is_settled: _, news, reminds, is_muted, lasts } = standing;
        news.into_iter().for_each(|it| one_more(&mut self.news, it));
        owed.into_iter().for_each(|it| one_more(&mut self.owed, it));
        self.reminding = self.reminding.saturating_add(usize::from(reminds));
        self.muted = self.muted.saturating_add(usize::from(is_muted));
        self.lasting = self.lasting.saturating_add(usize::from(lasts));
    }

    /// Lines to be settled; none is any more afterwards.
    pub(super) fn take_doubted(&mut self) -> BTreeSet<AlertId> {
        std::mem::take(&mut self.doubted)
    }

    /// The most urgent news.
    pub(super) fn news(&self) -> Option<News> {
        self.news.last_key_value().map(|(news, _)| *news)
    }

    /// Since when the oldest news is owed.
    pub(super) fn owed_since(&self) -> Option<Moment> {
        self.owed.first_key_value().map(|(at, _)| *at)
    }

    /// Whether something that was told is worth saying again.
    pub(super) const fn reminds(&self) -> bool {
        self.reminding > 0
    }

    /// Whether some alerts are muted.
    pub(super) const fn has_muted(&self) -> bool {
        self.muted > 0
    }

    /// Lines that are routed here and did not end.
    pub(super) const fn lasting(&self) -> usize {
        self.lasting
    }
}

fn one_more<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn one_less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    let Some(count) = counts.get_mut(&key) else { return };
    *count = count.saturating_sub(1);
    if *count == 0 {
        counts.remove(&key);
    }
}
