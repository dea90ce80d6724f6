//! Alerts for a terminal of 80 columns: two lines each, so that nothing worth reading is cut.

use palisade_alert::span::in_words;
use palisade_report::Moment;

use crate::notify::view::Line;

/// Columns of a terminal.
const COLUMNS: usize = 80;

/// Columns that the second line is set in.
const INDENT: &str = "          ";

/// What stands between the columns before the identity.
const MAX_NAME: usize = 32;

pub(super) fn of(alerts: &[Line], next: Option<&str>, now: Moment) -> String {
    if alerts.is_empty() && next.is_none() {
        return "no alerts\n".to_owned();
    }
    let mut out = format!("{:9} {:9} {:9} {:32} {}\n", "SEVERITY", "PHASE", "FOR", "ALERT", "ID");
    for alert in alerts {
        let age = in_words(now.since(alert.holds_from));
        let age: String = age.chars().filter(|c| *c != ' ').collect();
        let name = cut(alert.alert.as_str(), MAX_NAME);
        let (severity, phase, id) = (alert.severity, alert.phase, alert.id);
        out.push_str(&format!("{severity:9} {phase:9} {age:9} {name:32} {id}\n"));
        let mut say = |text: &str| {
            out.push_str(INDENT);
            out.push_str(&cut(text, COLUMNS - INDENT.len()));
            out.push('\n');
        };
        say(&alert.summary);
        if let Some(mute) = &alert.muted {
            say(&format!("nobody is told: {mute}"));
        }
        if let Some(stale) = &alert.stale {
            say(&format!("last known as of {}: {}", stale.since, stale.why));
        }
    }
    if let Some(next) = next {
        out.push_str(&format!("\nmore: ?after={next}\n"));
    }
    out
}

/// At most so many characters, the last of them `…` if some are missing.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
