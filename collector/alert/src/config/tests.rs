use std::path::Path;

use super::*;
use crate::receiver::Target;
use crate::secret::Secret;

const HEAD: &str = "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\n";

fn parse(text: &str) -> Result<Config, String> {
    let chain = |error: ParseConfigError| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    };
    Config::parse(&format!("{HEAD}{text}")).map_err(chain)
}

const WHOLE: &str = r##"
cluster: prod-eu
externalUrl: https://palisade.example.com/
egress: { allow: [10.0.0.7/32, alertmanager.monitoring.svc] }
defaults: { groupBy: [alertname, pool, node], repeatInterval: 8h }
alerts:
  - { alert: RebootRequired, for: 3d }
  - { alert: AgentOutdated, muted: true }
receivers:
  - name: oncall
    pagerduty: { routingKeyFile: /secrets/pagerduty }
  - name: am
    alertmanager: { urls: ["http://am-0:9093/", "http://am-1:9093"] }
  - name: chat
    slack: { urlFile: /secrets/slack, channel: "#nodes" }
    templates: { title: "{status} {summary}" }
  - name: mail
    sendResolved: false
    timeout: 30s
    email: { host: smtp.example.com, port: 587, user: palisade, passwordFile: /secrets/smtp, from: p@example.com, to: [ops@example.com] }
  - name: hook
    webhook: { url: "https://hook.example.com/x", hmacKeyFile: /secrets/hmac, headers: [{ name: X-Team, value: sre }] }
routes:
  - match: { severities: [critical] }
    receivers: [oncall]
    continue: true
    groupBy: [alertname, node]
    groupWait: 10s
  - match: { components: [certificates], hours: { days: [mon, tue], from: "08:00", to: "18:00", zone: Europe/Berlin } }
    receivers: [chat]
fallback: [mail, am]
"##;

#[test]
fn a_whole_file_is_understood() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(
        (&*config.cluster, &*config.external_url),
        ("prod-eu", "https://palisade.example.com")
    );
    assert_eq!(config.changes[&Kind::RebootRequired].hold, Some(Span::secs(3 * 86_400)));
    assert!(config.changes[&Kind::AgentOutdated].is_muted);
    assert_eq!(config.receivers.len(), 5);
    assert!(!config.receiver("mail").unwrap().hears_of_ends);
    let timeout = |name| config.receiver(name).unwrap().timeout;
    assert_eq!((timeout("mail"), timeout("chat")), (Some(Span::secs(30)), None));
    let first = &config.routes[0].grouping;
    assert_eq!(first.by, BTreeSet::from(["alertname", "node"]));
    assert_eq!((first.wait, first.repeat), (Span::secs(10), Span::secs(8 * 3600)));
    assert_eq!(config.fallback.grouping.by.len(), 3);
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let config = parse(WHOLE).unwrap();
    let read = |path: &Path| Some(Secret::new(format!("secret of {}", path.display())));
    let target = config.receiver("oncall").unwrap().target(&read).unwrap();
    let Target::PagerDuty { routing_key, .. } = &target else { panic!("{target:?}") };
    assert_eq!(routing_key.reveal(), "secret of /secrets/pagerduty");
    for receiver in &config.receivers {
        let target = receiver.target(&read).unwrap();
        let shown = format!("{target:?} {receiver:?}");
        for secret in ["secret of", "hook.example.com/x"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    let files: Vec<_> = config.receivers.iter().flat_map(Receiver::files).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    let none = |_: &Path| None;
    let missing = config.receiver("chat").unwrap().target(&none).unwrap_err();
    assert_eq!(missing.to_string(), "the secret in /secrets/slack is not there");
}

#[test]
fn an_address_of_shoutrrr_is_what_it_stands_for() {
    let config = parse("receivers: [{name: a, shoutrrr: {urlFile: /secrets/url}}]").unwrap();
    let read = |url: &'static str| move |_: &Path| Some(Secret::new(url));
    let receiver = config.receiver("a").unwrap();
    let target = receiver.target(&read("discord://token@123456789012345678")).unwrap();
    assert!(matches!(target, Target::Discord { .. }), "{target:?}");
    let refused = receiver.target(&read("carrier-pigeon://token@loft")).unwrap_err();
    assert!(!format!("{refused:?} {refused}").contains("token"), "{refused:?}");
}

#[test]
fn nonsense_is_refused_with_its_place() {
    for (text, words) in [
        ("receiver: []", "unknown field"),
        ("cluster: 'a b'", "cluster: expected 1 to 63 letters"),
        ("externalUrl: palisade.example", "externalUrl: expected an address"),
        (
            "alerts: [{alert: RebootRequired}, {alert: RebootRequired}]",
            "alerts[1]: RebootRequired is there twice",
        ),
        ("alerts: [{alert: Nothing}]", "Nothing"),
        ("alerts: [{alert: RebootRequired, for: soon}]", "expected a length of time"),
        ("receivers: [{name: a}]", "receivers[0]: expected one of alertmanager"),
        (
            "receivers: [{name: a, teams: {url: x}, discord: {url: x}}]",
            "receivers[0]: expected one of",
        ),
        ("receivers: [{name: a, slack: {}}]", "receivers[0]: expected one of `url` and `urlFile`"),
        (
            "receivers: [{name: a, slack: {url: x, urlFile: y}}]",
            "expected one of `url` and `urlFile`",
        ),
        (
            "receivers: [{name: a, teams: {url: x}}, {name: a, teams: {url: x}}]",
            "receivers[1]: the name a is there twice",
        ),
        (
            "receivers: [{name: a, email: {host: h, port: 25, from: x, to: [a@b]}}]",
            "`from`: expected an address",
        ),
        (
            "receivers: [{name: a, email: {host: h, port: 25, from: a@b, to: ['a@b\\r\\nBcc: c@d']}}]",
            "`to`: expected an address",
        ),
        (
            "receivers: [{name: a, webhook: {url: x, headers: [{name: Host, value: y}]}}]",
            "receivers[0]: a header",
        ),
        ("receivers: [{name: a, alertmanager: {urls: []}}]", "`urls` has 1 to 32"),
        ("receivers: [{name: a, teams: {url: x}, templates: {title: '{nothing}'}}]", "templates: "),
        (
            "receivers: [{name: a, teams: {url: x}, timeout: 0s}]",
            "receivers[0]: `timeout` is 1s to 60s",
        ),
        ("receivers: [{name: a, teams: {url: x}, timeout: 1m1s}]", "`timeout` is 1s to 60s"),
        ("receivers: [{name: a, teams: {url: x}, timeout: 5}]", "expected a length of time"),
        (
            "receivers: [{name: a, kubernetesEvents: {}, timeout: 5s}]",
            "`timeout` is 1s to 60s, and kubernetesEvents have none",
        ),
        ("routes: [{receivers: [nobody]}]", "routes[0].receivers: there is no receiver nobody"),
        ("fallback: [nobody]", "fallback: there is no receiver nobody"),
        ("routes: [{match: {alerts: [X]}, receivers: []}]", "routes[0].match: `X`"),
        (
            "routes: [{groupBy: [severity], receivers: []}]",
            "routes[0].groupBy: alerts are grouped by",
        ),
        ("defaults: {repeatInterval: 5s}", "defaults: repeatInterval is at least 1m"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
    for good in ["1s", "1m"] {
        let text = format!("receivers: [{{name: a, teams: {{url: x}}, timeout: {good}}}]");
        assert!(parse(&text).is_ok(), "{good}");
    }
    assert!(matches!(Config::parse("kind: X\napiVersion: y\n"), Err(ParseConfigError::Kind)));
}
