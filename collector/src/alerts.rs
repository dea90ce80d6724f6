//! Alerts that fire, as Alertmanager and Prometheus tell them. What they mean is the policy's.
//!
//! ```text
//! gate of a pool ─> Question ─┬─> Alertmanager  GET /api/v2/alerts    what fires, without what is
//!                             │                                       silenced or inhibited
//!                             └─> Prometheus    GET /api/v1/query     what is pending; what fires,
//!                                               ALERTS{...}           if it is alone
//! ```
//!
//! A Prometheus that has just come up answers that nothing fires until it has evaluated its rules some
//! times, minutes later. So it is first asked when it began to (`/api/v1/status/runtimeinfo`), and when
//! it last did (`/api/v1/rules`). An alert that waits for its `for` once more since then may have fired
//! before, so for that time it counts. What answers in its place and evaluates no rules has
//! no such pages, and is believed at once.
//!
//! Matchers are evaluated by whoever is asked, so that a pattern means what it means there. An answer
//! that is not whole, or not understood, is none. The addresses are those of the policy's file; no
//! redirect and no proxy variable of the environment leads elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use palisade_plan::policy::AlertGate;
use palisade_plan::policy::AlertSource;
use palisade_plan::policy::Comparison;
use palisade_plan::policy::PendingAlerts;
use palisade_report::Moment;
use palisade_report::bound::clean;

use self::answer::Known;

mod answer;
mod exchange;

pub use exchange::ExchangeError;

/// Beginning of the names of palisade's own alerts.
const OWN: &str = "Palisade";

/// The label that names an alert.
const NAME: &str = "alertname";

/// One of the two who can be asked.
const PROMETHEUS: &str = "Prometheus";

/// Alerts that are shown by name; the others are counted.
const MAX_SHOWN: usize = 3;

/// Labels that are shown of an alert, and bytes of each value.
const MAX_LABELS: usize = 4;
const MAX_LABEL: usize = 48;

/// Bytes of what a gate says; a [`palisade_plan::gate::Blocker`] holds 1,024.
const MAX_SHOWN_BYTES: usize = 900;

/// What is asked for one gate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// As they are written in the policy.
    matchers: Vec<String>,
    /// Whether alerts that are about to fire count.
    is_pending_asked: bool,
    /// Whether palisade's own alerts count.
    is_own_asked: bool,
}

/// A pool whose node did not come back has an alert of palisade fire. If that kept all pools from going
/// on, every failure would stop everything, and so would an alert about reboots that wait. So palisade's
/// own alerts count only where a matcher names them.
impl From<&AlertGate> for Question {
    fn from(gate: &AlertGate) -> Self {
        let is_own_asked = gate.matchers.iter().any(|matcher| {
            let is_positive = match matcher.comparison {
                Comparison::Equal | Comparison::Matches => true,
                Comparison::NotEqual | Comparison::NotMatches => false,
            };
            is_positive && matcher.name == NAME && matcher.value.contains(OWN)
        });
        let is_pending_asked = match gate.pending {
            PendingAlerts::Block => true,
            PendingAlerts::Ignore => false,
        };
        let matchers = gate.matchers.iter().map(ToString::to_string).collect();
        Self { matchers, is_pending_asked, is_own_asked }
    }
}

/// What speaks against a reboot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firing {
    /// How many alerts.
    pub count: usize,
    /// Some of them by name and labels.
    pub shown: String,
    /// Since when the oldest fires, by the clock of whoever tells.
    pub since: Option<Moment>,
}

/// One alert, as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Alert {
    labels: BTreeMap<String, String>,
    is_pending: bool,
    since: Option<Moment>,
}

/// Why nobody can tell which alerts fire.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No answer. At fault: the source, the network, or the policy's address.
    #[error("failed to ask {whom} at {address}")]
    Exchange {
        /// Alertmanager or Prometheus.
        whom: &'static str,
        /// Where.
        address: String,
        /// Why.
        source: Box<ExchangeError>,
    },
    /// An answer of another shape. At fault: whatever answers there.
    #[error("failed to understand {whom} at {address}")]
    Answer {
        /// Alertmanager or Prometheus.
        whom: &'static str,
        /// Where.
        address: String,
        /// What is wrong with it, for the log: it may contain words of the answer.
        said: String,
    },
    /// It has just come up, or has just read its rules anew. At fault: nobody; it passes.
    #[error(
        "failed to learn what fires from Prometheus at {address}: it has evaluated its rules too few \
         times since {since}"
    )]
    TooEarly {
        /// Where.
        address: String,
        /// When it began to.
        since: Moment,
        /// One of the groups, for the log.
        said: String,
    },
}

impl AskError {
    /// The address that would not answer another question either.
    #[must_use]
    pub fn silent(&self) -> Option<&str> {
        match self {
            Self::Exchange { source, address, .. } => source.is_of_source().then_some(address),
            Self::Answer { .. } | Self::TooEarly { .. } => None,
        }
    }

    /// What was answered instead, in its own words; not for everybody.
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        match self {
            Self::Exchange { source, .. } => match &**source {
                ExchangeError::Status { said, .. } => Some(said),
                ExchangeError::Address
                | ExchangeError::ReadAuthorities(_)
                | ExchangeError::Authorities { .. }
                | ExchangeError::Versions(_)
                | ExchangeError::Connect(_)
                | ExchangeError::Handshake(_)
                | ExchangeError::Exchange(_)
                | ExchangeError::TooLarge
                | ExchangeError::Body { .. }
                | ExchangeError::TimedOut => None,
            },
            Self::Answer { said, .. } | Self::TooEarly { said, .. } => Some(said),
        }
    }
}

impl Question {
    /// Where this is asked.
    pub fn addresses<'s>(&self, source: &'s AlertSource) -> impl Iterator<Item = &'s str> {
        let prometheus = source.prometheus.as_deref();
        let is_asked = source.alertmanager.is_none() || self.is_pending_asked;
        source.alertmanager.as_deref().into_iter().chain(prometheus.filter(|_| is_asked))
    }
}

/// Asks for what speaks against a reboot.
///
/// # Errors
/// [`AskError`]; then nobody knows, which is not none.
pub async fn ask(source: &AlertSource, question: &Question) -> Result<Firing, AskError> {
    let AlertSource { alertmanager, prometheus, ca } = source;
    let ca = ca.as_deref().map(Path::new);
    let mut alerts = Vec::new();
    if let Some(address) = alertmanager {
        let path = answer::alertmanager_path(&question.matchers);
        alerts.extend(tell("Alertmanager", address, ca, &path, answer::alertmanager).await?);
    }
    let is_alone = alertmanager.is_none();
    if let Some(address) = prometheus
        && (is_alone || question.is_pending_asked)
    {
        let anew = anew(address, ca).await?;
        let (states, anew) = match (is_alone, question.is_pending_asked) {
            (true, true) => ("firing|pending", None),
            (true, false) => ("firing", anew),
            (false, _) => ("pending", None),
        };
        let path = answer::prometheus_path(&question.matchers, states, anew);
        alerts.extend(tell(PROMETHEUS, address, ca, &path, answer::prometheus).await?);
    }
    Ok(firing(alerts, question))
}

/// What is pending since before this second may have fired before this Prometheus began to evaluate its
/// rules; an error if nothing can be known yet. Asked before the alerts are: what is known stays so.
async fn anew(address: &str, ca: Option<&Path>) -> Result<Option<i64>, AskError> {
    let began = match tell(PROMETHEUS, address, ca, answer::BEGAN, answer::began).await {
        Ok(began) => began,
        Err(AskError::Exchange { source, .. }) if source.is_no_page() => return Ok(None),
        Err(error) => return Err(error),
    };
    let read = |body: &[u8]| answer::known(body, began);
    match tell(PROMETHEUS, address, ca, answer::RULES, read).await? {
        Known::All => Ok(None),
        Known::Anew(before) => Ok(Some(before)),
        Known::TooEarly(said) => {
            let since = Moment::from_unix(began.as_second());
            Err(AskError::TooEarly { address: address.to_owned(), since, said })
        }
    }
}

async fn tell<T>(
    whom: &'static str,
    address: &str,
    ca: Option<&Path>,
    path: &str,
    read: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<T, AskError> {
    let answer = exchange::get(address, path, ca).await;
    let answer = answer.map_err(|source| {
        let address = address.to_owned();
        AskError::Exchange { whom, address, source: Box::new(source) }
    })?;
    read(&answer).map_err(|said| AskError::Answer { whom, address: address.to_owned(), said })
}

fn firing(mut alerts: Vec<Alert>, question: &Question) -> Firing {
    alerts.retain(|it| question.is_own_asked || !it.name().starts_with(OWN));
    alerts.sort_by(|one, other| one.labels.cmp(&other.labels));
    let shown: Vec<String> = alerts.iter().take(MAX_SHOWN).map(Alert::shown).collect();
    let others = alerts.len().saturating_sub(shown.len());
    let more = if others > 0 { format!(" and {others} more") } else { String::new() };
    let shown = format!("{}{more}", shown.join("; "));
    Firing {
        count: alerts.len(),
        shown: clean(shown.as_bytes(), MAX_SHOWN_BYTES),
        since: alerts.iter().filter_map(|it| it.since).min(),
    }
}

impl Alert {
    fn name(&self) -> &str {
        self.labels.get(NAME).map_or("", String::as_str)
    }

    fn shown(&self) -> String {
        let labels = self.labels.iter().filter(|(label, _)| *label != NAME);
        let labels = labels.take(MAX_LABELS).map(|(label, value)| {
            let (label, value) = (label.as_bytes(), value.as_bytes());
            format!("{}=\"{}\"", clean(label, MAX_LABEL), clean(value, MAX_LABEL))
        });
        let labels = labels.collect::<Vec<_>>().join(", ");
        let state = if self.is_pending { " (pending)" } else { "" };
        format!("{}{{{labels}}}{state}", clean(self.name().as_bytes(), MAX_LABEL))
    }
}

#[cfg(test)]
mod tests;
