//! The collector itself.

use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;
use palisade_alert::sighting::Sighting;
use palisade_report::Digest;
use palisade_report::Moment;

use super::World;
use super::words::Shared;
use crate::snapshot::Readiness;

const DAY_SECS: i64 = 86_400;

/// A certificate of the collector's, and what must be left of it. One that renews itself does so after
/// two thirds of its life, long before.
struct Own {
    subject: &'static str,
    end: Option<Moment>,
    warning_secs: i64,
    critical_secs: i64,
}

/// The value of what is always there with the digest of the policy that reboots were looked at under: by
/// it the next process knows an edit that was made while none ran.
pub(super) const POLICY: &str = "policy";

pub(super) fn look(
    world: &World<'_>,
    policy: Option<Digest>,
    shared: &mut Shared,
) -> Vec<Sighting> {
    let policy = policy.map_or_else(|| "none".to_owned(), |it| it.to_string());
    let mut found = vec![Sighting {
        key: Key::of(Kind::Watchdog),
        severity: Severity::None,
        since: Some(world.started_at),
        values: shared.of([(POLICY, &*policy)]),
    }];
    if let Readiness::Failing { since, reason } = &world.snapshot.readiness {
        found.push(Sighting {
            key: Key::of(Kind::StoreDegraded),
            severity: Severity::Critical,
            since: Some(*since),
            values: shared.of([("problem", &**reason)]),
        });
    }
    found.extend(own(world).into_iter().filter_map(|own| {
        let Own { subject, end, warning_secs, critical_secs } = own;
        let end = end?;
        let left = end.since(world.now);
        if left >= warning_secs {
            return None;
        }
        let is_critical = left < critical_secs;
        Some(Sighting {
            key: Key::of(Kind::CollectorCertificateExpiring).subject(subject),
            severity: if is_critical { Severity::Critical } else { Severity::Warning },
            since: Some(end.plus(-warning_secs)),
            values: shared.of([("ends", &*end.to_string())]),
        })
    }));
    found
}

/// By which it is told that a certificate was renewed.
pub(super) fn end_of(world: &World<'_>, subject: &str) -> Option<Moment> {
    own(world).into_iter().find(|it| it.subject == subject).and_then(|it| it.end)
}

const fn own(world: &World<'_>) -> [Own; 2] {
    [
        Own {
            subject: "serving certificate",
            end: world.own.serving_end,
            warning_secs: 14 * DAY_SECS,
            critical_secs: DAY_SECS,
        },
        Own {
            subject: "authority",
            end: world.own.authority_end,
            warning_secs: 90 * DAY_SECS,
            critical_secs: 14 * DAY_SECS,
        },
    ]
}
