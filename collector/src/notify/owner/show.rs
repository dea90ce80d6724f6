//! What the owner of alerts shows of itself: the figures of `/metrics`.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;

use super::Owner;
use crate::api::metrics::notifications::Notifications;

impl Owner {
    /// Counts for `/metrics`, after each look.
    pub(super) fn show(&mut self) {
        let now = self.ground.clock.now();
        let config = Arc::clone(&self.core.config);
        self.results.retain(|name, _| config.receiver(name).is_some());
        for receiver in &config.receivers {
            let (waiting, since) = self.core.desk.waiting(&receiver.name, now);
            let own = self.results.entry(receiver.name.clone()).or_default();
            own.queued = u64::try_from(waiting).unwrap_or(u64::MAX);
            own.oldest_at = since;
        }
        let mut firing: BTreeMap<(Kind, Severity), u64> = BTreeMap::new();
        for record in self.core.book.records().values().filter(|it| it.is_firing()) {
            let count = firing.entry((record.key.kind, record.severity)).or_default();
            *count = count.saturating_add(1);
        }
        self.ground.board.show(Notifications {
            evaluated_at: Some(now),
            interval_secs: u32::try_from(self.ground.look_every.as_secs()).unwrap_or(u32::MAX),
            firing,
            receivers: self.results.clone(),
        });
        let mut alerts: BTreeMap<(&'static str, Severity), u64> = BTreeMap::new();
        for record in self.core.book.records().values() {
            let count = alerts.entry((record.phase(), record.severity)).or_default();
            *count = count.saturating_add(1);
        }
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let left_out = self.core.book.left_out();
        self.ground.figures.change(|counts| {
            counts.alerts = alerts;
            counts.left_out = left_out;
            counts.evaluated_at = Some(now);
            let config = &self.core.config;
            counts.receivers.retain(|name, _| config.receiver(name).is_some());
            for receiver in &config.receivers {
                let own = counts.receivers.entry(receiver.name.clone()).or_default();
                let (waiting, since) = self.core.desk.waiting(&receiver.name, now);
                (own.waiting, own.waiting_since) = (number(waiting), since);
                let post = self.core.desk.post(&receiver.name);
                own.dead = number(post.map_or(0, |post| post.dead.len()));
            }
        });
    }
}
