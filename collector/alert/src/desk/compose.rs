//! A message about a group, from what holds now.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::HashSet;

use palisade_report::Moment;

use super::Desk;
use super::Group;
use super::GroupId;
use super::Reason;
use super::Style;
use super::World;
use crate::book::Record;
use crate::key::AlertId;
use crate::key::Key;
use crate::notice::Ended;
use crate::notice::MAX_NOTICED;
use crate::notice::Notice;
use crate::notice::Noticed;
use crate::notice::Words;
use crate::severity::Severity;

/// So many ends have room in a message to people although more alerts fire than one shows: half of it.
const MAX_ENDS_BEFORE_FIRING: usize = MAX_NOTICED / 2;

/// Names that the words of a roll-up have.
const MAX_NAMED: usize = 10;

/// Ends in a message to whoever takes each alert by itself: as many as one request has (alerts.md A-6).
const MAX_ENDED: usize = 1000;

/// What a receiver knows once a message is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Each alert of the message.
    pub lines: BTreeMap<AlertId, SentLine>,
}

impl Sent {
    /// Those that are over.
    pub(super) fn ends(&self) -> impl Iterator<Item = AlertId> {
        self.lines.iter().filter(|(_, sent)| **sent == SentLine::Ended).map(|(id, _)| *id)
    }
}

/// What a receiver knows of one alert once a message is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SentLine {
    /// It is over.
    Ended,
    /// It fires, told by itself.
    Fires(Severity),
    /// It fires and is muted, and the message says that nothing of the group does: it is news again once
    /// it is not muted any more.
    Muted,
    /// It fires, told as one of many.
    RolledUp(Severity),
}

impl Desk {
    /// The message that is due for a group, and what is known once it is taken. `None` if there is
    /// nothing to say.
    #[must_use]
    pub fn notice(
        &self,
        place: &GroupId,
        world: &World<'_>,
        now: Moment,
    ) -> Option<(Notice, Sent)> {
        self.groups.get(place).and_then(|group| group.notice(world, now))
    }
}

impl Group {
    fn notice(&self, world: &World<'_>, now: Moment) -> Option<(Notice, Sent)> {
        let mut firing: Vec<(AlertId, &Record)> = Vec::new();
        let mut ended: Vec<(AlertId, &Record)> = Vec::new();
        for (id, line) in &self.lines {
            let Some(record) = world.book.record(*id) else { continue };
            if record.is_firing() {
                let is_heard = line.is_routed && (world.muted)(*id, record).is_none();
                if line.goes_on(self.style) || is_heard {
                    firing.push((*id, record));
                }
            } else if record.end().is_some() && (line.owed.is_some() || line.ended.is_some()) {
                ended.push((*id, record));
            }
        }
        let muted = self.lines.iter().filter(|(id, line)| {
            let fires = world.book.record(**id).is_some_and(Record::is_firing);
            firing.is_empty() && fires && line.told.is_some()
        });
        let muted: Vec<AlertId> = muted.map(|(id, _)| *id).collect();
        let (count, over) = (firing.len(), ended.len());
        if count == 0 && over == 0 {
            return None;
        }
        let nodes: HashSet<_> = firing.iter().filter_map(|(_, it)| it.key.node.as_ref()).collect();
        let nodes = nodes.len();
        let reason = self.reason(&firing, count, over);
        let fires = |(id, it): &(AlertId, &Record)| (*id, SentLine::Fires(self.severity(*id, it)));
        let mut lines: BTreeMap<AlertId, SentLine> = firing.iter().map(fires).collect();
        let rolled = match self.style {
            Style::Alertmanager => {
                let (rolled, rest) = self.roll_up(&mut firing, world);
                lines.extend(rest);
                order_first(usize::MAX, &mut firing);
                // What there is no room for stays owed, and comes with the next message.
                ended.sort_by_key(|(id, _)| self.lines.get(id).is_none_or(|it| it.owed.is_none()));
                ended.truncate(MAX_ENDED);
                rolled
            }
            Style::Grouped => {
                // Words are made for those that are shown, not for all that are counted.
                // Whoever keeps what fires by each alert has to see ends, however many fire.
                let room = MAX_NOTICED.saturating_sub(over.min(MAX_ENDS_BEFORE_FIRING));
                order_first(room, &mut firing);
                firing.truncate(room);
                None
            }
        };
        lines.extend(ended.iter().map(|(id, _)| (*id, SentLine::Ended)));
        lines.extend(muted.into_iter().map(|id| (id, SentLine::Muted)));
        let noticed = |(id, record): (AlertId, &Record)| {
            noticed(id, record, self.severity(id, record), world)
        };
        let firing = firing.into_iter().map(noticed);
        let ended = ended.into_iter().map(noticed);
        let mut alerts: Vec<Noticed> = rolled.into_iter().chain(firing).collect();
        // Whoever takes each by itself is told of each; there are not many, or they are rolled up.
        let room = match self.style {
            Style::Alertmanager => MAX_ENDED,
            Style::Grouped => MAX_NOTICED.saturating_sub(alerts.len()),
        };
        alerts.extend(ended.take(room));
        let shared = alerts.first().map(|it| it.labels.clone()).unwrap_or_default();
        let group_labels =
            shared.into_iter().filter(|(name, _)| self.labels.contains_key(*name)).collect();
        let notice = Notice {
            receiver: self.id.receiver.to_string(),
            group_key: self.id.key.to_string(),
            group_labels,
            cluster: world.cluster.to_owned(),
            external_url: world.external_url.to_owned(),
            reason,
            alerts,
            firing: count,
            resolved: over,
            nodes,
            at: now,
        };
        Some((notice, Sent { lines }))
    }

    /// The severity in which an alert is told here: as it was, if it is routed elsewhere by now.
    fn severity(&self, id: AlertId, record: &Record) -> Severity {
        let left = self.lines.get(&id).filter(|it| !it.is_routed);
        let told = left.filter(|_| record.is_firing()).and_then(|it| it.told);
        told.map_or(record.severity, |told| told.min(record.severity))
    }

    fn reason(&self, firing: &[(AlertId, &Record)], count: usize, over: usize) -> Reason {
        if count == 0 {
            return Reason::AllResolved;
        }
        if self.told_at.is_none() {
            return Reason::First;
        }
        let line = |id: &AlertId| self.lines.get(id);
        if firing.iter().any(|(id, _)| line(id).is_some_and(|it| it.told.is_none())) {
            return Reason::New;
        }
        let is_louder = |(id, record): &(AlertId, &Record)| {
            line(id).and_then(|it| it.told).is_some_and(|told| told < record.severity)
        };
        if firing.iter().any(is_louder) {
            return Reason::Severity;
        }
        if over > 0 { Reason::SomeResolved } else { Reason::Repeat }
    }

    /// For those who take each alert by itself: individuals that were told stay, the others are one.
    /// Also what is known of those others once it is taken.
    fn roll_up(
        &self,
        firing: &mut Vec<(AlertId, &Record)>,
        world: &World<'_>,
    ) -> (Option<Noticed>, BTreeMap<AlertId, SentLine>) {
        if !self.is_rolled_up {
            return (None, BTreeMap::new());
        }
        let was_told = |(id, _): &(AlertId, &Record)| {
            self.lines.get(id).is_some_and(|it| it.told.is_some() && !it.is_rolled_up)
        };
        let (stay, mut rest): (Vec<_>, Vec<_>) =
            std::mem::take(firing).into_iter().partition(was_told);
        *firing = stay;
        order_first(MAX_NAMED, &mut rest);
        let rolled = |(id, it): &(AlertId, &Record)| (*id, SentLine::RolledUp(it.severity));
        (Self::roll_up_of(&rest, world), rest.iter().map(rolled).collect())
    }

    /// One that stands for all of these, of which the first are in order.
    fn roll_up_of(rest: &[(AlertId, &Record)], world: &World<'_>) -> Option<Noticed> {
        let (_, first) = rest.first()?;
        let severity = rest.iter().map(|(_, it)| it.severity).max()?;
        let starts_at = rest.iter().map(|(_, it)| it.holds_from).min()?;
        let key = Key { node: None, namespace: None, ..first.key.clone() }.subject("roll-up");
        let names: Vec<String> = rest.iter().take(MAX_NAMED).map(|(_, it)| name(&it.key)).collect();
        let count = rest.len();
        let words = Words {
            summary: format!("{count} more of {}: {}", key.kind.alertname(), names.join(", ")),
            description: world
                .catalogue
                .words(&first.key, world.cluster, &first.values)
                .description,
            action:
                "Read the list behind the link; each is told by itself again once they are fewer."
                    .to_owned(),
            link: format!("/v1/alerts?alert={}", key.kind),
        };
        Some(Noticed {
            id: key.id(),
            kind: key.kind,
            severity,
            ended: None,
            labels: key.labels(world.cluster, world.catalogue.component(key.kind), severity),
            starts_at,
            words,
            stale_since: None,
        })
    }
}

/// Brings the first `count` to the front and in order: the loudest, then the oldest. Of very many alerts
/// few are shown, and to put all of them in order would take most of the time of a message.
fn order_first(count: usize, alerts: &mut [(AlertId, &Record)]) {
    let place = |(id, it): &(AlertId, &Record)| (Reverse(it.severity), it.holds_from, *id);
    if count < alerts.len() {
        let (first, _, _) = alerts.select_nth_unstable_by_key(count, place);
        first.sort_unstable_by_key(place);
    } else {
        alerts.sort_unstable_by_key(place);
    }
}

fn name(key: &Key) -> String {
    match (&key.node, &*key.subject) {
        (Some(node), "") => node.to_string(),
        (Some(node), subject) => format!("{node} {subject}"),
        (None, subject) => subject.to_owned(),
    }
}

fn noticed(id: AlertId, record: &Record, severity: Severity, world: &World<'_>) -> Noticed {
    let Record { key, holds_from, stale, values, .. } = record;
    let ended = record.end().map(|end| Ended { at: end.at, why: end.why.to_string() });
    Noticed {
        id,
        kind: key.kind,
        severity,
        ended,
        labels: key.labels(world.cluster, world.catalogue.component(key.kind), severity),
        // What ended began before what holds now.
        starts_at: record.end().map_or(*holds_from, |end| (*holds_from).min(end.fired_at)),
        words: world.catalogue.words(key, world.cluster, values),
        stale_since: stale.as_ref().map(|it| it.since),
    }
}
