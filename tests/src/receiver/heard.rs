//! What a receiver has made of its webhooks so far: the last word on each alert, and what it was told
//! again.
//!
//! A sender is told apart from the one before it by the number at the end of the address that it gives
//! as its own (`externalURL`): one for each life of the collector, as the test wants it.
//!
//! ```text
//! Receiver ──read()──> messages in order ──> last word on each alert
//!                                      └──> Repeat: a group's last message, said again
//! ```

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Receiver;
use super::webhook::Webhook;

/// What a receiver knows.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    read: usize,
    messages: usize,
    groups: BTreeMap<String, Word>,
    /// By name and fingerprint, whether it fires: a message says nothing of what its group has besides.
    last: BTreeMap<(String, String), bool>,
    repeats: Vec<Repeat>,
}

/// The last message about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    life: u64,
    /// Fingerprints of its alerts, and whether they fire.
    said: BTreeSet<(String, bool)>,
}

/// A message that said what the last one about its group had said.
///
/// One after which something else was said about the group is none, also if it says what an earlier one
/// did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// The group.
    pub group: String,
    /// The life of the sender that ended without knowing that it had been heard.
    pub life: u64,
    /// The life of the sender that said it again.
    pub again: u64,
}

impl Heard {
    /// Takes in what came to `receiver` since it was last read: always the same one.
    ///
    /// # Panics
    /// If something is no webhook, or tells of a group in part.
    pub fn read(&mut self, receiver: &Receiver) {
        for request in receiver.seen_from(self.read) {
            self.read += 1;
            if request.is_acted_on() {
                self.hear(request.webhook());
            }
        }
    }

    fn hear(&mut self, webhook: Webhook) {
        assert_eq!(webhook.truncated_alerts, 0, "a group is told in full");
        self.messages += 1;
        let number = webhook.external_url.rsplit('/').next().unwrap_or_default();
        let life = number.parse().expect("the number of a life");
        let said = webhook.alerts.iter().map(|it| (it.fingerprint.clone(), it.is_firing()));
        let word = Word { life, said: said.collect() };
        let last_words = webhook.alerts.iter().map(|it| {
            let name = it.label("alertname").to_owned();
            ((name, it.fingerprint.clone()), it.is_firing())
        });
        let group = webhook.group_key;
        // One that was still being read when its sender had ended comes behind what its successor says.
        let last = self.groups.get(&group);
        let is_late = last.is_some_and(|last| word.life < last.life);
        if let Some(last) = last.filter(|last| last.said == word.said) {
            let (life, again) = (last.life.min(word.life), last.life.max(word.life));
            self.repeats.push(Repeat { group: group.clone(), life, again });
        }
        if !is_late {
            self.last.extend(last_words);
            self.groups.insert(group, word);
        }
    }

    /// Messages that it acted on.
    #[must_use]
    pub const fn messages(&self) -> usize {
        self.messages
    }

    /// Alerts of this name of which the last word is that they fire, or that they are over.
    #[must_use]
    pub fn knows(&self, alertname: &str, is_firing: bool) -> usize {
        let own = self.last.iter().filter(|((name, _), _)| name == alertname);
        own.filter(|(_, it)| **it == is_firing).count()
    }

    /// All that was said again.
    #[must_use]
    pub fn repeats(&self) -> &[Repeat] {
        &self.repeats
    }

    /// What no crash excuses: said twice by one life, or the second message that one crash repeats.
    #[must_use]
    pub fn unexcused(&self) -> Vec<&Repeat> {
        let mut excused = BTreeSet::new();
        let is_excused = |it: &&Repeat| it.life < it.again && excused.insert(it.life);
        let (_, unexcused) = self.repeats.iter().partition::<Vec<_>, _>(is_excused);
        unexcused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::webhook::Alert;

    const ALERT: &str = "PalisadeHardeningRegressed";

    /// What is left unexcused, and what is known to fire, after these: life, group, whether it fires.
    fn after(messages: &[(u64, &str, bool)]) -> (usize, usize, usize) {
        let mut heard = Heard::default();
        for (life, group, is_firing) in messages {
            let status = if *is_firing { "firing" } else { "resolved" };
            let alert = Alert {
                status: status.to_owned(),
                labels: BTreeMap::from([("alertname".to_owned(), ALERT.to_owned())]),
                annotations: BTreeMap::new(),
                starts_at: String::new(),
                ends_at: String::new(),
                generator_url: String::new(),
                fingerprint: (*group).to_owned(),
            };
            heard.hear(Webhook {
                version: "4".to_owned(),
                group_key: (*group).to_owned(),
                truncated_alerts: 0,
                status: status.to_owned(),
                receiver: String::new(),
                group_labels: BTreeMap::new(),
                common_labels: BTreeMap::new(),
                common_annotations: BTreeMap::new(),
                external_url: format!("http://collector.example/{life}"),
                alerts: vec![alert],
            });
        }
        (heard.repeats().len(), heard.unexcused().len(), heard.knows(ALERT, true))
    }

    #[test]
    fn a_crash_excuses_one_repetition_and_nothing_else_does() {
        let (a, b) = ("a", "b");
        for (messages, wanted) in [
            (&[(0, a, true), (0, b, true), (0, a, false)][..], (0, 0, 1)),
            // What went away and came back is told as often as that happens.
            (&[(0, a, true), (0, a, false), (0, a, true)], (0, 0, 1)),
            (&[(0, a, true), (0, a, true)], (1, 1, 1)),
            (&[(0, a, true), (1, a, true)], (1, 0, 1)),
            (&[(0, a, true), (3, a, true)], (1, 0, 1)),
            (&[(0, a, true), (1, a, true), (2, a, true)], (2, 0, 1)),
            (&[(0, a, true), (1, a, true), (1, a, true)], (2, 1, 1)),
            (&[(0, a, true), (0, b, true), (1, a, true), (1, b, true)], (2, 1, 2)),
            (&[(0, a, true), (0, b, true), (1, a, true), (2, b, true)], (2, 1, 2)),
            // Read late: neither a second repetition nor the last word.
            (&[(1, a, true), (0, a, true)], (1, 0, 1)),
            (&[(1, a, false), (0, a, true)], (0, 0, 0)),
        ] {
            assert_eq!(after(messages), wanted, "{messages:?}");
        }
    }
}
