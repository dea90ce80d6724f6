//! Silences and acknowledgements: people who say that they know, until when, and why.
//!
//! A silence is for whatever matches; an acknowledgement is for one alert and ends with it. Muted
//! alerts stay visible, and who muted them is shown beside them.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::bound::clean;
use serde::Deserialize;
use serde::Serialize;

use crate::key::AlertId;
use crate::key::Key;
use crate::route::Matcher;
use crate::severity::Severity;

/// Silences that are kept at once.
pub const MAX_SILENCES: usize = 1000;

/// The longest silence: whoever needs a longer one should waive the finding or change the rule.
pub const MAX_SILENCE_SECS: i64 = 90 * 86_400;

/// Bytes of a reason.
const MAX_REASON: usize = 512;

/// A silence as it is asked for and kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Silence {
    /// Its number.
    pub id: u64,
    /// Which alerts, as it was written.
    #[serde(rename = "match")]
    pub matcher: serde_json::Value,
    /// Only this alert, as long as it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertId>,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// From then on.
    pub starts_at: Moment,
    /// Until then.
    pub ends_at: Moment,
    /// What `matcher` says.
    #[serde(skip)]
    checked: Matcher,
}

/// Why a silence is refused. At fault: who asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedSilence {
    /// It would be for everything.
    #[error("say which alerts: a silence for everything hides what nobody expected")]
    Everything,
    /// It ends before it begins, has ended, or lasts too long.
    #[error("a silence ends after it begins, in the future, and within 90 days")]
    Ends,
    /// Not a matcher.
    #[error("match: {0}")]
    Matcher(String),
    /// No reason.
    #[error("say why: whoever is on call next will want to know")]
    Reason,
    /// There are too many.
    #[error("there are {MAX_SILENCES} silences; end some first")]
    TooMany,
}

/// What is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Which alerts; or `alert`.
    #[serde(default, rename = "match")]
    pub matcher: Option<serde_json::Value>,
    /// One alert, to acknowledge it.
    #[serde(default)]
    pub alert: Option<AlertId>,
    /// Why.
    pub reason: String,
    /// From then on; now, if it is not said.
    #[serde(default)]
    pub starts_at: Option<Moment>,
    /// Until then.
    pub ends_at: Moment,
}

impl Silence {
    /// Checks what is asked for.
    ///
    /// # Errors
    /// [`RefusedSilence`].
    pub fn check(
        wanted: Wanted,
        author: &str,
        id: u64,
        now: Moment,
    ) -> Result<Self, RefusedSilence> {
        let Wanted { matcher, alert, reason, starts_at, ends_at } = wanted;
        let matcher = matcher.unwrap_or_else(|| serde_json::json!({}));
        let checked = read(&matcher)?;
        if alert.is_none() && checked == Matcher::default() {
            return Err(RefusedSilence::Everything);
        }
        if reason.trim().is_empty() {
            return Err(RefusedSilence::Reason);
        }
        let starts_at = starts_at.unwrap_or(now);
        let length = ends_at.since(starts_at.min(now));
        if ends_at <= starts_at || ends_at <= now || length > MAX_SILENCE_SECS {
            return Err(RefusedSilence::Ends);
        }
        let reason = clean(reason.trim().as_bytes(), MAX_REASON);
        let author = clean(author.as_bytes(), MAX_REASON);
        Ok(Self { id, matcher, alert, author, reason, starts_at, ends_at, checked })
    }

    /// As it was kept.
    ///
    /// # Errors
    /// [`RefusedSilence::Matcher`] if this version does not understand it.
    pub fn restored(mut self) -> Result<Self, RefusedSilence> {
        self.checked = read(&self.matcher)?;
        Ok(self)
    }

    /// Whether it holds at this moment.
    #[must_use]
    pub fn is_active(&self, now: Moment) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    /// Whether it mutes an alert at this moment.
    #[must_use]
    pub fn mutes(
        &self,
        id: AlertId,
        key: &Key,
        severity: Severity,
        labels: &BTreeMap<&'static str, String>,
        now: Moment,
    ) -> bool {
        if !self.is_active(now) || self.alert.is_some_and(|alert| alert != id) {
            return false;
        }
        // The severity of the dead man's switch is no reason here: whoever names nothing has been refused.
        let severity = severity.max(Severity::Info);
        self.checked.mismatch(key.kind, severity, labels, now).is_none()
    }
}

fn read(matcher: &serde_json::Value) -> Result<Matcher, RefusedSilence> {
    let raw = serde_json::from_value(matcher.clone()).map_err(|error| {
        RefusedSilence::Matcher(clean(error.to_string().as_bytes(), MAX_REASON))
    })?;
    Matcher::check(raw)
        .map_err(|error| RefusedSilence::Matcher(clean(error.to_string().as_bytes(), MAX_REASON)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Kind;

    const NOW: Moment = Moment::from_unix(1_800_000_000);

    fn wanted(matcher: serde_json::Value) -> Wanted {
        Wanted {
            matcher: Some(matcher),
            alert: None,
            reason: "  the rack moves\n".to_owned(),
            starts_at: None,
            ends_at: NOW.plus(3600),
        }
    }

    fn mutes(silence: &Silence, node: &str, at: Moment) -> bool {
        let key = Key::of_node(Kind::AgentSilent, node.parse().unwrap(), None);
        let labels = key.labels("prod", "agent", Severity::Warning);
        silence.mutes(key.id(), &key, Severity::Warning, &labels, at)
    }

    #[test]
    fn it_mutes_what_matches_from_its_beginning_to_its_end_and_after_a_restart() {
        let silence =
            Silence::check(wanted(json!({"nodes": ["rack-1-*"]})), "anna", 1, NOW).unwrap();
        let kept = serde_json::to_string(&silence).unwrap();
        let kept: Silence = serde_json::from_str(&kept).unwrap();
        for silence in [silence, kept.restored().unwrap()] {
            assert!(mutes(&silence, "rack-1-a", NOW) && !mutes(&silence, "rack-2-a", NOW));
            assert!(mutes(&silence, "rack-1-a", NOW.plus(3599)));
            assert!(!mutes(&silence, "rack-1-a", NOW.plus(3600)));
            assert!(!mutes(&silence, "rack-1-a", NOW.plus(-1)));
            assert_eq!((&*silence.author, &*silence.reason), ("anna", "the rack moves"));
        }
    }

    #[test]
    fn an_acknowledgement_is_for_one_alert() {
        let key = Key::of_node(Kind::AgentSilent, "a".parse().unwrap(), None);
        let one = Wanted { matcher: None, alert: Some(key.id()), ..wanted(json!({})) };
        let silence = Silence::check(one, "anna", 1, NOW).unwrap();
        assert!(mutes(&silence, "a", NOW) && !mutes(&silence, "b", NOW));
    }

    #[test]
    fn what_would_hide_too_much_is_refused() {
        let refused = |wanted| Silence::check(wanted, "anna", 1, NOW).unwrap_err();
        assert_eq!(refused(wanted(json!({}))), RefusedSilence::Everything);
        let good = || wanted(json!({"nodes": ["a"]}));
        let ends = [NOW, NOW.plus(-1), NOW.plus(MAX_SILENCE_SECS + 1)];
        for ends_at in ends {
            assert_eq!(refused(Wanted { ends_at, ..good() }), RefusedSilence::Ends);
        }
        assert_eq!(refused(Wanted { reason: " ".to_owned(), ..good() }), RefusedSilence::Reason);
        for bad in [json!({"node": ["a"]}), json!("x"), json!({"alerts": ["X"]})] {
            assert!(matches!(refused(wanted(bad)), RefusedSilence::Matcher(_)));
        }
    }
}
