//! What the owner of alerts shows of itself: the figures of `/metrics`.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;

use super::Owner;
use crate::api::metrics::notifications::Notifications;

impl Owner {
    /// Figures, after each look. What could not be written down is no success.
    pub(super) fn show(&mut self, is_written: bool) {
        let now = self.ground.clock.now();
        if is_written {
            self.evaluated_at = Some(now);
        }
        let config = Arc::clone(&self.core.config);
        self.results.retain(|name, _| config.receiver(name).is_some());
        for receiver in &config.receivers {
            let (waiting, since) = self.core.desk.waiting(&receiver.name, now);
            let own = self.results.entry(receiver.name.clone()).or_default();
            own.queued = u64::try_from(waiting).unwrap_or(u64::MAX);
            own.oldest_at = since;
            let dead = self.core.desk.post(&receiver.name).map_or(0, |post| post.dead.len());
            own.dead = u64::try_from(dead).unwrap_or(u64::MAX);
        }
        let mut firing: BTreeMap<(Kind, Severity), u64> = BTreeMap::new();
        for record in self.core.book.records().values().filter(|it| it.is_firing()) {
            let count = firing.entry((record.key.kind, record.severity)).or_default();
            *count = count.saturating_add(1);
        }
        self.ground.board.show(Notifications {
            evaluated_at: self.evaluated_at,
            interval_secs: u32::try_from(self.ground.look_every.as_secs()).unwrap_or(u32::MAX),
            firing,
            left_out: self.core.book.left_out(),
            failed_commits: self.failed_commits,
            panics: self.panics,
            receivers: self.results.clone(),
        });
    }
}
