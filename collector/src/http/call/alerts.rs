//! Calls about alerts: which there are, who is told, silences, and receivers.

use palisade_alert::key::AlertId;
use palisade_alert::key::Key;
use palisade_alert::kind::Kind;
use palisade_alert::severity::Severity;
use palisade_alert::silence::Wanted;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::bound::clean_text;
use serde::Deserialize;

use super::NoCall;
use super::Prose;
use crate::http::query::DEFAULT_LIMIT;
use crate::http::query::MalformedQuery;
use crate::http::query::Query;
use crate::http::route::AlertsRoute;
use crate::notify::view::Choice;

/// What somebody wants of alerts.
#[derive(Debug)]
pub enum AlertsCall {
    /// What alerts there are, and what they mean.
    Catalogue,
    /// That a silence ends.
    EndSilence(u64),
    /// Alerts.
    List(AlertsQuery),
    /// One alert.
    One(AlertId),
    /// One receiver.
    Receiver(String),
    /// All receivers.
    Receivers,
    /// Who would be told.
    Rehearse(Box<Rehearsal>),
    /// That a receiver is sent again what was put aside.
    Replay(String),
    /// That alerts are muted.
    Silence(Box<Wanted>),
    /// Silences.
    Silences,
    /// That a receiver is tried out.
    Test(String),
}

/// Which alerts, and how.
#[derive(Clone, Debug, Default)]
pub struct AlertsQuery {
    /// Only those that fit.
    pub choice: Choice,
    /// Only after this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Written as.
    pub prose: Prose,
}

/// An alert that may not exist, and the settings by which it would be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// What it would be about.
    pub key: Key,
    /// How loud it would be.
    pub severity: Severity,
    /// When; `None`: now.
    pub at: Option<Moment>,
    /// Other settings than those in force.
    pub config: Option<String>,
}

/// Words for where in its life an alert is.
const PHASES: [&str; 4] = ["pending", "firing", "resolving", "resolved"];

pub(super) fn parse(
    name: AlertsRoute,
    parameter: String,
    query: &mut Query,
    body: &[u8],
) -> Result<AlertsCall, NoCall> {
    Ok(match name {
        AlertsRoute::Catalogue => AlertsCall::Catalogue,
        AlertsRoute::EndSilence => {
            AlertsCall::EndSilence(parameter.parse().map_err(|_| NoCall::Silence)?)
        }
        AlertsRoute::List => AlertsCall::List(list(query)?),
        AlertsRoute::One => AlertsCall::One(parameter.parse().map_err(NoCall::Alert)?),
        AlertsRoute::Receiver => AlertsCall::Receiver(parameter),
        AlertsRoute::Receivers => AlertsCall::Receivers,
        AlertsRoute::Rehearse => AlertsCall::Rehearse(Box::new(rehearsal(body)?)),
        AlertsRoute::Replay => AlertsCall::Replay(parameter),
        AlertsRoute::Silence => {
            let wanted = serde_json::from_slice(body)
                .map_err(|source| NoCall::Body { what: "silence", source })?;
            AlertsCall::Silence(wanted)
        }
        AlertsRoute::Silences => AlertsCall::Silences,
        AlertsRoute::Test => AlertsCall::Test(parameter),
    })
}

/// `alert=…&severity=…&node=…&pool=…&phase=…&muted=…&receiver=…&after=…&limit=…&format=…`
fn list(query: &mut Query) -> Result<AlertsQuery, MalformedQuery> {
    let phase = match query.text("phase") {
        None => None,
        Some(word) => {
            let known = PHASES.into_iter().find(|it| *it == word);
            let expected = || format!("expected one of {}", PHASES.join(", "));
            Some(known.ok_or_else(|| malformed("phase", &word, expected()))?)
        }
    };
    let choice = Choice {
        kind: query.value("alert")?,
        severity: query.value("severity")?,
        node: query.value("node")?,
        pool: query.text("pool"),
        phase,
        is_muted: query.value("muted")?,
        receiver: query.text("receiver"),
    };
    Ok(AlertsQuery {
        choice,
        after: query.text("after"),
        limit: query.limit()?.unwrap_or(DEFAULT_LIMIT),
        prose: super::reboots::prose(query)?,
    })
}

fn malformed(name: &'static str, value: &str, expected: String) -> MalformedQuery {
    MalformedQuery::Value { name, value: clean_text(value), expected }
}

/// `{"alert": "RebootRequired", "severity": "warning", "node": "worker-7", "pool": "web"}`
fn rehearsal(body: &[u8]) -> Result<Rehearsal, NoCall> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        alert: Kind,
        severity: Severity,
        #[serde(default)]
        node: Option<NodeName>,
        #[serde(default)]
        pool: String,
        #[serde(default)]
        namespace: String,
        #[serde(default)]
        subject: String,
        #[serde(default)]
        at: Option<Moment>,
        #[serde(default)]
        config: Option<String>,
    }
    let Body { alert, severity, node, pool, namespace, subject, at, config } =
        serde_json::from_slice(body)
            .map_err(|source| NoCall::Body { what: "question about an alert", source })?;
    let named = |text: String| (!text.is_empty()).then(|| clean_text(&text).into());
    let (pool, namespace) = (named(pool), named(namespace));
    let key = Key { node, pool, namespace, ..Key::of(alert) }.subject(&subject);
    Ok(Rehearsal { key, severity, at, config })
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::super::Call;
    use super::super::parse;
    use super::*;
    use crate::http::route;

    fn call(method: Method, target: &str, body: &str) -> Result<AlertsCall, NoCall> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let call = parse(&route::find(&method, path).unwrap(), query, "", body.as_bytes())?;
        let Call::Alerts(call) = call else { panic!("{call:?}") };
        Ok(call)
    }

    #[test]
    fn filters_reach_the_call_and_nonsense_says_what_is_expected() {
        let target = "/v1/alerts?alert=RebootOverdue&severity=critical&node=a&pool=web\
                      &phase=firing&muted=false&receiver=chat&limit=7&format=text";
        let Ok(AlertsCall::List(query)) = call(Method::GET, target, "") else { panic!("no call") };
        let expected = Choice {
            kind: Some(Kind::RebootOverdue),
            severity: Some(Severity::Critical),
            node: Some("a".parse().unwrap()),
            pool: Some("web".to_owned()),
            phase: Some("firing"),
            is_muted: Some(false),
            receiver: Some("chat".to_owned()),
        };
        assert_eq!((query.choice, query.limit, query.prose), (expected, 7, Prose::Text));
        for (wrong, expected) in [
            ("phase=moon%1b", "expected one of pending, firing"),
            ("severity=loud", "expected critical, warning"),
            ("muted=maybe", "true"),
            ("alert=Moon", "malformed value"),
            ("node=A%0a", "malformed value"),
            ("limit=0", "1 to 1000"),
            ("moon=1", "unknown parameter"),
        ] {
            let refused = call(Method::GET, &format!("/v1/alerts?{wrong}"), "").unwrap_err();
            let text = refused.to_string();
            assert!(text.contains(expected), "{wrong}: {text}");
            assert!(!text.chars().any(char::is_control), "{text}");
        }
    }

    #[test]
    fn paths_name_alerts_silences_and_receivers_and_nothing_else() {
        assert!(matches!(call(Method::GET, "/v1/alerts/catalogue", ""), Ok(AlertsCall::Catalogue)));
        let one = call(Method::GET, "/v1/alerts/00000000000000ff", "");
        assert!(matches!(one, Ok(AlertsCall::One(AlertId(255)))));
        for bad in ["ff", "..%2f..%2fetc", "00000000000000fg", "%00000000000000000"] {
            let refused = call(Method::GET, &format!("/v1/alerts/{bad}"), "").unwrap_err();
            assert!(matches!(refused, NoCall::Alert(_)), "{bad}: {refused}");
        }
        assert!(matches!(
            call(Method::DELETE, "/v1/silences/7", ""),
            Ok(AlertsCall::EndSilence(7))
        ));
        for bad in ["-1", "7x", "99999999999999999999", "%2e%2e"] {
            let refused = call(Method::DELETE, &format!("/v1/silences/{bad}"), "").unwrap_err();
            assert!(matches!(refused, NoCall::Silence), "{bad}");
        }
        // It is looked up, never joined to a path.
        let named = call(Method::POST, "/v1/receivers/..%2f..%2fetc%2fpasswd/test", "");
        assert!(matches!(named, Ok(AlertsCall::Test(name)) if name == "../../etc/passwd"));
        assert!(route::find(&Method::POST, "/v1/receivers/a/b/test").is_err());
    }

    #[test]
    fn bodies_have_known_fields_only_and_their_texts_are_bounded() {
        let long = "x\\u001b".repeat(30_000);
        let body = format!(
            r#"{{"alert":"RebootRequired","severity":"warning","node":"worker-7","pool":"{long}","subject":"{long}","at":1795000000}}"#
        );
        let Ok(AlertsCall::Rehearse(asked)) = call(Method::POST, "/v1/alerts/route", &body) else {
            panic!("no call")
        };
        assert_eq!(asked.at, Some(Moment::from_unix(1_795_000_000)));
        for text in [&asked.key.subject, asked.key.pool.as_ref().unwrap()] {
            assert!(text.len() <= 256 && !text.chars().any(char::is_control), "{text}");
        }
        assert_eq!(asked.key.namespace, None);
        for bad in [
            "",
            "[]",
            r#"{"alert":"Moon","severity":"warning"}"#,
            r#"{"alert":"RebootRequired"}"#,
            r#"{"alert":"RebootRequired","severity":"warning","node":"A/../b"}"#,
            r#"{"alert":"RebootRequired","severity":"warning","url":"http://a"}"#,
        ] {
            let refused = call(Method::POST, "/v1/alerts/route", bad).unwrap_err();
            assert!(matches!(refused, NoCall::Body { .. }), "{bad}: {refused}");
        }
        for bad in [
            "{}",
            r#"{"match":{"nodes":["a"]},"reason":"r"}"#,
            r#"{"match":{"nodes":["a"]},"reason":"r","ends_at":1,"author":"somebody else"}"#,
            r#"{"alert":"ff","reason":"r","ends_at":1}"#,
            r#"{"alert":"00000000000000ff","reason":"r","ends_at":1e300}"#,
        ] {
            let refused = call(Method::POST, "/v1/silences", bad).unwrap_err();
            assert!(matches!(refused, NoCall::Body { .. }), "{bad}: {refused}");
        }
    }
}
