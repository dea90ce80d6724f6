//! What an alert says, for receivers that keep it by name: Alertmanager and its webhooks.

use std::collections::BTreeMap;

use palisade_report::bound::clean;

use super::address::address;
use super::time::clock;
use crate::notice::Noticed;

/// Bytes of an annotation: as many as a paragraph of the catalogue.
const MAX_ANNOTATION: usize = crate::catalogue::MAX_PARAGRAPH;

/// The annotations of an alert; those that would be empty are left out.
pub(super) fn annotations(external_url: &str, alert: &Noticed) -> BTreeMap<&'static str, String> {
    let words = &alert.words;
    let ended = alert.ended.as_ref().map(|it| it.why.as_str()).unwrap_or_default();
    let stale = alert.stale_since.map(clock).unwrap_or_default();
    [
        ("action", safe(&words.action)),
        ("description", safe(&words.description)),
        ("link", address(external_url, &words.link)),
        ("resolved_by", safe(ended)),
        ("stale_since", stale),
        ("summary", safe(&words.summary)),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

/// The labels of an alert, safe to show and bounded once more: whoever made them bounded them.
pub(super) fn labels(alert: &Noticed) -> BTreeMap<&'static str, String> {
    let safe = |text: &str| clean(text.as_bytes(), crate::key::MAX_LABEL);
    alert.labels.iter().map(|(name, value)| (*name, safe(value))).collect()
}

fn safe(text: &str) -> String {
    clean(text.as_bytes(), MAX_ANNOTATION)
}
