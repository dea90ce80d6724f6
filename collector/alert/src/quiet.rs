//! What mutes an alert now: the settings, a silence, a planned reboot, or a louder alert.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Moment;
use palisade_report::NodeName;

use crate::book::Book;
use crate::book::Record;
use crate::book::State;
use crate::catalogue::Catalogue;
use crate::catalogue::Same;
use crate::key::AlertId;
use crate::key::Key;
use crate::kind::Kind;
use crate::mute::Mute;
use crate::sighting::EDITED_AT;
use crate::silence::Silence;

/// What may mute alerts at one moment.
#[derive(Debug)]
pub struct Quiet<'q> {
    /// The words and times of alerts.
    pub catalogue: &'q Catalogue,
    /// Alerts of which nobody is told.
    pub muted: &'q BTreeSet<Kind>,
    /// Silences, those that are over included.
    pub silences: &'q [Silence],
    /// Nodes that palisade reboots, and which behave as planned.
    pub rebooting: &'q BTreeSet<NodeName>,
    /// The louder alerts that fire.
    pub louder: &'q Louder,
    /// The cluster's name.
    pub cluster: &'q str,
    /// The moment.
    pub now: Moment,
}

impl Quiet<'_> {
    /// What mutes an alert; `None`: nothing.
    #[must_use]
    pub fn mute(&self, id: AlertId, record: &Record) -> Option<Mute> {
        let Self { catalogue, muted, silences, rebooting, louder, cluster, now } = self;
        let key = &record.key;
        if muted.contains(&key.kind) {
            return Some(Mute::Configured);
        }
        if record.values.contains_key(EDITED_AT) {
            return Some(Mute::Edited);
        }
        let entry = catalogue.entry(key.kind)?;
        let is_away = key.node.as_ref().is_some_and(|node| rebooting.contains(node));
        if entry.quiet_in_reboot && is_away {
            return Some(Mute::Reboot);
        }
        if let Some(by) = entry.inhibited_by.iter().find(|it| {
            // One of which nobody is told must not take the other's place.
            !muted.contains(&it.alert) && louder.fires(it.alert, &it.same, key)
        }) {
            return Some(Mute::Inhibited { by: by.alert });
        }
        if silences.is_empty() {
            return None;
        }
        let labels = key.labels(cluster, &entry.component, record.severity);
        let silence =
            silences.iter().find(|it| it.mutes(id, key, record.severity, &labels, *now))?;
        let (author, until) = (silence.author.clone(), silence.ends_at);
        Some(Mute::Silence { id: silence.id, author, until })
    }
}

type Shared = (Option<NodeName>, Option<Arc<str>>, Option<Arc<str>>);

/// Which of the louder alerts fire, by what they share with those beside which they are louder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Louder(BTreeMap<(Kind, Vec<Same>), BTreeSet<Shared>>);

impl Louder {
    /// Those that fire now, or are about to for the whole fleet.
    #[must_use]
    pub fn of(book: &Book, catalogue: &Catalogue) -> Self {
        let mut wanted: BTreeMap<Kind, BTreeSet<Vec<Same>>> = BTreeMap::new();
        for inhibitor in catalogue.entries().flat_map(|entry| &entry.inhibited_by) {
            wanted.entry(inhibitor.alert).or_default().insert(inhibitor.same.clone());
        }
        let mut louder: BTreeMap<(Kind, Vec<Same>), BTreeSet<Shared>> = BTreeMap::new();
        for record in book.records().values() {
            let wanted = wanted.get(&record.key.kind).into_iter().flatten();
            for same in wanted.filter(|same| record.is_firing() || is_awaited(record, same)) {
                let shared = shared(same, &record.key);
                louder.entry((record.key.kind, same.clone())).or_default().insert(shared);
            }
        }
        Self(louder)
    }

    fn fires(&self, kind: Kind, same: &[Same], key: &Key) -> bool {
        let found = self.0.get(&(kind, same.to_vec()));
        found.is_some_and(|all| all.contains(&shared(same, key)))
    }
}

/// Whether a louder one is about to fire for everything at once: what would be told meanwhile is a flood
/// that it is there to stop. Of others, each node waits for nobody.
fn is_awaited(record: &Record, same: &[Same]) -> bool {
    let holds = record.gone_since.is_none() && record.stale.is_none();
    same.is_empty() && record.state == State::Pending && holds
}

fn shared(same: &[Same], key: &Key) -> Shared {
    let has = |it: Same| same.contains(&it);
    (
        key.node.clone().filter(|_| has(Same::Node)),
        key.pool.clone().filter(|_| has(Same::Pool)),
        Some(Arc::clone(&key.subject)).filter(|_| has(Same::Subject)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Around;
    use crate::severity::Severity;
    use crate::sighting::Look;
    use crate::sighting::Scope;
    use crate::sighting::Sighting;
    use crate::sighting::Values;
    use crate::span::Span;

    const T: Moment = Moment::from_unix(1_800_000_000);

    fn key(kind: Kind, node: &str, subject: &str) -> Key {
        Key::of_node(kind, node.parse().unwrap(), None).subject(subject)
    }

    /// A book in which these fire.
    fn book(keys: &[Key]) -> (Book, Catalogue) {
        let catalogue = catalogue();
        let mut book = Book::restore([], &catalogue);
        look(&mut book, keys.iter().map(sight).collect(), &catalogue);
        (book, catalogue)
    }

    /// One in which everything fires at once.
    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::built_in().unwrap();
        Kind::ALL.into_iter().for_each(|kind| catalogue.retime(kind, Some(Span::secs(0)), None));
        catalogue
    }

    fn sight(key: &Key) -> Sighting {
        let (severity, values) = (Severity::Warning, Values::default());
        Sighting { key: key.clone(), severity, since: None, values }
    }

    fn look(book: &mut Book, seen: Vec<Sighting>, catalogue: &Catalogue) {
        let around = Around { catalogue, ending: &|_, _| String::new(), owed: &|_| false };
        book.look(&Scope::Fleet, Look::Seen(seen), &around, T);
    }

    fn mute(firing: &[Key], asked: &Key, rebooting: &[&str], muted: &[Kind]) -> Option<Mute> {
        let (book, catalogue) = book(firing);
        mute_in(&book, &catalogue, asked, rebooting, muted)
    }

    fn mute_in(
        book: &Book,
        catalogue: &Catalogue,
        asked: &Key,
        rebooting: &[&str],
        muted: &[Kind],
    ) -> Option<Mute> {
        let louder = Louder::of(book, catalogue);
        let rebooting = rebooting.iter().map(|it| it.parse().unwrap()).collect();
        let quiet = Quiet {
            catalogue,
            muted: &muted.iter().copied().collect(),
            silences: &[],
            rebooting: &rebooting,
            louder: &louder,
            cluster: "prod",
            now: T,
        };
        let id = asked.id();
        quiet.mute(id, book.record(id).unwrap())
    }

    #[test]
    fn louder_alerts_mute_only_what_is_about_the_same() {
        let expiring = key(Kind::CertificateExpiring, "a", "/x.crt");
        let by = Some(Mute::Inhibited { by: Kind::CertificateExpired });
        for (expired, muted) in [
            (key(Kind::CertificateExpired, "a", "/x.crt"), by),
            (key(Kind::CertificateExpired, "a", "/y.crt"), None),
            (key(Kind::CertificateExpired, "b", "/x.crt"), None),
        ] {
            assert_eq!(mute(&[expiring.clone(), expired], &expiring, &[], &[]), muted);
        }
        let silent = key(Kind::AgentSilent, "a", "");
        let many = [silent.clone(), Key::of(Kind::ManyAgentsSilent)];
        let by = Some(Mute::Inhibited { by: Kind::ManyAgentsSilent });
        assert_eq!(mute(&many, &silent, &[], &[]), by, "the cluster over its nodes");
        assert_eq!(mute(&many, &many[1], &[], &[]), None);
        let configured = [Kind::ManyAgentsSilent];
        assert_eq!(mute(&many, &silent, &[], &configured), None, "nobody hears of the louder one");
    }

    #[test]
    fn what_an_edit_brought_about_is_muted() {
        let (mut book, catalogue) = book(&[]);
        let values = BTreeMap::from([(EDITED_AT.to_owned(), "1800000000".to_owned())]);
        let asked = key(Kind::CertificateExpired, "a", "/x.crt");
        let sighting = Sighting {
            key: asked.clone(),
            severity: Severity::Critical,
            since: None,
            values: Arc::new(values),
        };
        look(&mut book, vec![sighting], &catalogue);
        assert_eq!(mute_in(&book, &catalogue, &asked, &[], &[]), Some(Mute::Edited));
    }

    #[test]
    fn one_alert_for_the_fleet_holds_its_nodes_back_while_it_is_pending() {
        let mut catalogue = catalogue();
        catalogue.retime(Kind::ManyAgentsSilent, Some(Span::secs(60)), None);
        catalogue.retime(Kind::NodeNotReturned, Some(Span::secs(60)), None);
        let silent = key(Kind::AgentSilent, "a", "");
        let many = Key::of(Kind::ManyAgentsSilent);
        let held = |looks: &[&[&Key]]| {
            let mut book = Book::restore([], &catalogue);
            for seen in looks {
                look(&mut book, seen.iter().map(|it| sight(it)).collect(), &catalogue);
            }
            mute_in(&book, &catalogue, &silent, &[], &[])
        };
        let by = Some(Mute::Inhibited { by: Kind::ManyAgentsSilent });
        assert_eq!(held(&[&[&silent, &many]]), by);
        assert_eq!(held(&[&[&silent, &many], &[&silent]]), None, "it never came to fire");
        let lost = key(Kind::NodeNotReturned, "a", "");
        assert_eq!(held(&[&[&silent, &lost]]), None, "of a node alone nothing waits for anything");
    }

    #[test]
    fn a_planned_reboot_mutes_its_own_node_and_only_what_follows_from_it() {
        let silent = key(Kind::AgentSilent, "a", "");
        let all = [silent.clone(), key(Kind::NodeNotReturned, "b", "")];
        assert_eq!(mute(&all, &silent, &["a"], &[]), Some(Mute::Reboot));
        assert_eq!(mute(&all, &silent, &["b"], &[]), None);
        assert_eq!(mute(&all, &all[1], &["b"], &[]), None, "that it failed is always said");
        assert_eq!(mute(&all, &silent, &[], &[Kind::AgentSilent]), Some(Mute::Configured));
    }
}
