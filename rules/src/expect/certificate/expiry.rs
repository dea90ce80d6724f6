//! Expiry: how long before its end a certificate wants attention.

use palisade_report::Moment;
use serde_json::Value;

use super::One;
use crate::body::Body;
use crate::body::MalformedBody;
use crate::expect::Outcome;
use crate::facts::Found;
use crate::facts::look_through;
use crate::finding::Severity;

const DAY_SECS: i64 = 86_400;
/// 9999-12-31T23:59:59Z: a certificate that does not expire, RFC 5280 4.1.2.5.
const NEVER: Moment = Moment::from_unix(253_402_300_799);

/// The two thresholds of a class of certificates.
#[derive(Clone, Debug)]
pub(super) struct Expiry {
    warning: Threshold,
    critical: Threshold,
    expected: Box<str>,
}

/// How much must be left: the smaller of what is given, so that short-lived certificates do not
/// alert all their life.
#[derive(Clone, Copy, Debug)]
struct Threshold {
    days: Option<u32>,
    life_percent: Option<u32>,
}

impl Expiry {
    /// Words: `warning` and `critical`, each with `days`, `life_percent` or both.
    pub(super) fn parse(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let warning = Threshold::parse("warning", body)?;
        let critical = Threshold::parse("critical", body)?;
        let expected = format!("{} left; critical below {}", warning.show(), critical.show());
        Ok(Self { warning, critical, expected: expected.into() })
    }

    pub(super) fn expected(&self) -> &str {
        &self.expected
    }

    pub(super) fn judge(&self, found: &One<'_>) -> Outcome {
        let One { fact, value, now } = *found;
        let end = match moment(value, "not_after") {
            Ok(end) => end,
            Err(why) => return Outcome::unknown(fact, why, &self.expected),
        };
        let name = value.get("subject").and_then(Value::as_str).unwrap_or_default();
        if end >= NEVER {
            return Outcome::seen(true, fact, format!("{name} never expires"), "", &self.expected);
        }
        let life = moment(value, "not_before").ok().map(|start| end.since(start));
        let (Some(warning), Some(critical)) = (self.warning.secs(life), self.critical.secs(life))
        else {
            let reason = "the start of its validity could not be told";
            return Outcome::unknown(fact, reason, &self.expected);
        };
        let left = end.since(now);
        let words = if left < 0 { "expired" } else { "expires" };
        let observed = palisade_report::bound::clean_text(&format!("{words} {end}: {name}"));
        let mut outcome =
            Outcome::seen(left >= warning.max(critical).max(0), fact, observed, "", &self.expected);
        if left < critical.max(0) {
            outcome.severity = Some(Severity::Critical);
        }
        // A threshold is crossed in the second after it.
        let crossings = [warning, critical, 0].map(|secs| end.plus(1_i64.saturating_sub(secs)));
        outcome.changes_at = crossings.into_iter().filter(|at| *at > now).min();
        outcome
    }
}

impl Threshold {
    fn parse(word: &'static str, body: &Body<'_>) -> Result<Self, MalformedBody> {
        let map = body.map(word)?.ok_or(MalformedBody::Missing { word })?;
        let words = Body::new(map);
        let threshold =
            Self { days: words.number("days")?, life_percent: words.number("life_percent")? };
        words.finish()?;
        let malformed = MalformedBody::Value { word, expected: "days, life_percent or both" };
        match (threshold.days, threshold.life_percent) {
            (None, None) => Err(malformed),
            (_, Some(percent)) if percent > 100 => Err(malformed),
            (_, _) => Ok(threshold),
        }
    }

    /// Seconds that must be left of a certificate with this life; `None` if the life matters and
    /// is unknown.
    fn secs(self, life: Option<i64>) -> Option<i64> {
        let days = self.days.map(|days| i64::from(days).saturating_mul(DAY_SECS));
        let share = match self.life_percent {
            None => None,
            Some(percent) => Some(life?.max(0).saturating_mul(i64::from(percent)) / 100),
        };
        match (days, share) {
            (Some(days), Some(share)) => Some(days.min(share)),
            (days, share) => days.or(share),
        }
    }

    fn show(self) -> String {
        match (self.days, self.life_percent) {
            (Some(days), Some(percent)) => format!("{days} days or {percent}% of its life"),
            (Some(days), None) => format!("{days} days"),
            (None, Some(percent)) => format!("{percent}% of its life"),
            (None, None) => String::new(),
        }
    }
}

/// A moment of a certificate, or why it could not be told.
pub(super) fn moment(value: &Value, field: &str) -> Result<Moment, String> {
    match value.get(field).map(look_through) {
        Some(Found::Known(moment, _)) => {
            moment.as_i64().map(Moment::from_unix).ok_or_else(|| format!("{field} is no moment"))
        }
        Some(Found::Unknown(why)) => Err(why.why().detail),
        Some(Found::Absent(_)) | None => Err(format!("the certificate has no {field}")),
    }
}
