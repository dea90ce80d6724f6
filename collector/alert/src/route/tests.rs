use super::*;

/// 2026-11-23 is a Monday; 07:30 in Berlin.
const MONDAY: Moment = Moment::from_unix(1_795_415_400);

fn matcher(text: &str) -> Matcher {
    Matcher::check(serde_json::from_str(text).unwrap()).unwrap()
}

fn key() -> Key {
    let node = "gpu-7".parse().unwrap();
    Key::of_node(Kind::CertificateExpiring, node, Some("gpu".into())).subject("/etc/k/a.crt")
}

fn labels() -> BTreeMap<&'static str, String> {
    key().labels("prod", "certificates", Severity::Warning)
}

fn why(text: &str) -> Option<Mismatch> {
    matcher(text).mismatch(key().kind, Severity::Warning, &labels(), MONDAY)
}

#[test]
fn every_list_must_have_the_alert_and_the_first_that_has_not_is_named() {
    assert_eq!(why("{}"), None);
    assert_eq!(why(r#"{"alerts":["CertificateExpiring","AgentSilent"],"pools":["g*"]}"#), None);
    assert_eq!(why(r#"{"alerts":["PalisadeAgentSilent"]}"#), Some(Mismatch::Alert));
    assert_eq!(why(r#"{"severities":["critical"]}"#), Some(Mismatch::Severity));
    assert_eq!(why(r#"{"nodes":["worker-*"]}"#), Some(Mismatch::Label { label: "node" }));
    assert_eq!(why(r#"{"namespaces":["*"]}"#), None, "`*` is any text, none included");
    for bad in
        [r#"{"alerts":["Nothing"]}"#, r#"{"pools":[""]}"#, r#"{"hours":{"from":"8","to":"9"}}"#]
    {
        assert!(Matcher::check(serde_json::from_str(bad).unwrap()).is_err(), "{bad}");
    }
    assert!(serde_json::from_str::<RawMatcher>(r#"{"pool":["a"]}"#).is_err());
}

#[test]
fn patterns_match_whole_texts() {
    for (pattern, text, fits) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "ab", true),
        ("*b", "ab", true),
        ("a*b", "ab", true),
        ("a*a", "a", false),
        ("*x*y*", "axbyc", true),
        ("*x*y*", "aybxc", false),
        ("**", "", true),
        ("", "", true),
    ] {
        assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
    }
    let (pattern, text) = ("*a".repeat(2000), "a".repeat(1999));
    assert!(!matches(&pattern, &text), "and in no time");
}

#[test]
fn hours_are_those_of_the_place_and_may_pass_midnight() {
    let open = |text: &str| why(&format!(r#"{{"hours":{text}}}"#)).is_none();
    assert!(open(r#"{"days":["mon"],"from":"07:00","to":"08:00","zone":"Europe/Berlin"}"#));
    assert!(!open(r#"{"days":["mon"],"from":"07:00","to":"08:00"}"#), "06:30 in UTC");
    assert!(!open(r#"{"days":["tue"],"from":"07:00","to":"08:00","zone":"Europe/Berlin"}"#));
    assert!(open(r#"{"days":["sun"],"from":"22:00","to":"07:00"}"#), "since Sunday evening");
    assert!(!open(r#"{"days":["mon"],"from":"22:00","to":"07:00"}"#));
    assert!(!open(r#"{"from":"07:30","to":"06:30"}"#), "the end is not included");
    let raw = r#"{"hours":{"from":"07:00","to":"08:00","zone":"Mars/Phobos"}}"#;
    assert!(Matcher::check(serde_json::from_str(raw).unwrap()).is_err());
}

fn route(matcher_text: &str, receivers: &[&str], goes_on: bool) -> Route {
    let receivers = receivers.iter().map(|it| (*it).to_owned()).collect();
    Route { matcher: matcher(matcher_text), receivers, goes_on, grouping: Grouping::default() }
}

#[test]
fn the_first_that_matches_ends_the_search_unless_it_goes_on() {
    let fallback = route("{}", &["mail"], false);
    let routes = [
        route(r#"{"pools":["web"]}"#, &["web"], false),
        route(r#"{"components":["certificates"]}"#, &["pki", "chat"], true),
        route(r#"{"severities":["warning"]}"#, &["chat", "desk"], false),
        route("{}", &["never"], false),
    ];
    let told = |routes: &[Route], key: &Key, severity| {
        let labels = key.labels("prod", "certificates", severity);
        let told = receivers(routes, &fallback, key, severity, &labels, MONDAY);
        told.into_iter().map(|it| it.receiver.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(&routes, &key(), Severity::Warning), ["pki", "chat", "desk"]);
    assert_eq!(told(&[], &key(), Severity::Warning), ["mail"]);
    let said = explain(&routes, &fallback, &key(), Severity::Warning, &labels(), MONDAY);
    let said: Vec<_> = said.iter().map(|it| (it.route, it.mismatch.clone(), it.is_last)).collect();
    let first = Some(Mismatch::Label { label: "pool" });
    assert_eq!(said, [(Some(0), first, false), (Some(1), None, false), (Some(2), None, true)]);
    let watchdog = Key::of(Kind::Watchdog);
    assert_eq!(told(&routes, &watchdog, Severity::None), Vec::<String>::new(), "nobody named it");
    let named = [route(r#"{"alerts":["Watchdog"]}"#, &["healthchecks"], false)];
    assert_eq!(told(&named, &watchdog, Severity::None), ["healthchecks"]);
    let failing = Key::of(Kind::NotifierFailing).subject("chat");
    let all = [route("{}", &["chat", "mail"], false)];
    assert_eq!(told(&all, &failing, Severity::Critical), ["mail"], "not through itself");
    let only = [route(r#"{"severities":["critical"]}"#, &["chat"], true)];
    assert_eq!(told(&only, &failing, Severity::Critical), ["mail"], "somebody else hears of it");
}

#[test]
fn groups_share_the_labels_that_they_are_grouped_by() {
    let by = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        Grouping::labels(&names)
    };
    let grouping = Grouping { by: by(&["pool", "namespace"]).unwrap(), ..Grouping::default() };
    assert_eq!(grouping.of(&labels()), BTreeMap::from([("pool", "gpu".to_owned())]));
    assert_eq!(by(&["severity"]), Err(UnknownLabel));
}
