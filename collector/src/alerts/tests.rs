//! Questions and captured answers, and what comes of answers that are none.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;

use palisade_plan::policy::Policy;

use super::*;
use crate::chain::Chain;

fn gate(alerts: &str) -> Question {
    let text = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\ncluster:\n  alertSource: \
         {{alertmanager: \"http://a\", prometheus: \"http://p\"}}\npools:\n  - name: a\n    selector: \
         {{}}\n    alerts: {alerts}\n"
    );
    let policy = Policy::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    Question::from(policy.pools[0].alerts.as_ref().unwrap())
}

fn alert(name: &str) -> Alert {
    let labels = BTreeMap::from([(NAME.to_owned(), name.to_owned())]);
    Alert { labels, is_pending: false, since: None }
}

#[test]
fn matchers_go_to_the_source_as_they_are_written() {
    let question = gate(r#"{matchers: ['severity="critical"', 'team=~"a|b c"', 'x!~"\\d\"&"']}"#);
    assert_eq!(
        answer::alertmanager_path(&question.matchers),
        "/api/v2/alerts?active=true&silenced=false&inhibited=false&unprocessed=false\
         &filter=severity%3D%22critical%22&filter=team%3D~%22a%7Cb%20c%22\
         &filter=x%21~%22%5C%5Cd%5C%22%26%22"
    );
    assert_eq!(
        answer::prometheus_path(&question.matchers[..1], "pending", None),
        "/api/v1/query?timeout=8s&query=ALERTS%7Balertstate%3D~%22pending%22%2C\
         severity%3D%22critical%22%7D"
    );
    let anew = answer::prometheus_path(&question.matchers[..1], "firing", Some(7));
    let rest = "%20or%20%28ALERTS%7Balertstate%3D%22pending%22%2Cseverity%3D%22critical%22%7D%20and%20\
                ignoring%28alertstate%29%20ALERTS_FOR_STATE%7Bseverity%3D%22critical%22%7D%20%3C%207%29";
    assert!(anew.ends_with(rest), "{anew}");
}

#[test]
fn alerts_of_palisade_itself_count_only_where_a_matcher_names_them() {
    for (alerts, expected) in [
        ("{}", &["NodeDown"][..]),
        (r#"{matchers: ['severity="critical"']}"#, &["NodeDown"]),
        (r#"{matchers: ['alertname!~"Watchdog|Info.*"']}"#, &["NodeDown"]),
        (r#"{matchers: ['alertname!="PalisadeNodeQuarantined"']}"#, &["NodeDown"]),
        (r#"{matchers: ['job="PalisadeX"']}"#, &["NodeDown"]),
        (
            r#"{matchers: ['alertname=~"NodeDown|Palisade.*"']}"#,
            &["NodeDown", "PalisadeNodeQuarantined"],
        ),
        (
            r#"{matchers: ['alertname="PalisadeNodeQuarantined"']}"#,
            &["NodeDown", "PalisadeNodeQuarantined"],
        ),
    ] {
        let told = vec![alert("PalisadeNodeQuarantined"), alert("NodeDown")];
        let Firing { count, shown, since: _ } = firing(told, &gate(alerts));
        let names: Vec<String> = expected.iter().map(|name| format!("{name}{{}}")).collect();
        assert_eq!((count, shown), (expected.len(), names.join("; ")), "{alerts}");
    }
}

/// Captured of Alertmanager 0.31.1: two alerts fire, one is silenced, one inhibited.
const CAPTURED: &str = include_str!("alertmanager.json");

#[test]
fn what_alertmanager_says_is_understood_and_quiet_alerts_are_left_out_again() {
    let told = answer::alertmanager(CAPTURED.as_bytes()).unwrap();
    let names: Vec<&str> = told.iter().map(Alert::name).collect();
    assert_eq!(names, ["ClusterDown", "KubeNodeNotReady"]);
    let Firing { count, shown, since } = firing(told, &gate("{}"));
    assert_eq!(count, 2);
    assert_eq!(since.map(|it| it.to_string()).as_deref(), Some("2026-11-22T15:20:00Z"));
    assert_eq!(
        shown,
        "ClusterDown{cluster=\"b\", severity=\"critical\"}; \
         KubeNodeNotReady{node=\"node-0\", severity=\"critical\"}"
    );
}

#[test]
fn what_prometheus_says_is_understood() {
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"__name__":"ALERTS","alertname":"DiskFills","alertstate":"pending","severity":"warning"},"value":[1763822400.781,"1"]},
        {"metric":{"__name__":"ALERTS","alertname":"NodeDown","alertstate":"firing"},"value":[1763822400.781,"1"]}
        ]},"infos":["PromQL info: nothing of weight"]}"#;
    let told = answer::prometheus(body.as_bytes()).unwrap();
    let shown = firing(told, &gate("{pending: block}")).shown;
    assert_eq!(shown, "DiskFills{severity=\"warning\"} (pending); NodeDown{}");
    let none = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    assert_eq!(answer::prometheus(none.as_bytes()), Ok(vec![]));
}

/// A page of rules of Prometheus 3.13.5, which last evaluated at this second.
fn rules(second: u32, state: &str) -> String {
    format!(
        r#"{{"status":"success","data":{{"groups":[
        {{"name":"none","file":"r","rules":[],"interval":3600,"lastEvaluation":"0001-01-01T00:00:00Z"}},
        {{"name":"some","file":"r","rules":[{{"state":"{state}","name":"A","duration":20,"alerts":null,"health":"ok"}}],
        "interval":1,"limit":0,"lastEvaluation":"2026-11-22T22:30:{second:02}.191580439Z"}}]}}}}"#
    )
}

#[test]
fn what_fires_is_known_some_evaluations_after_the_start_and_what_is_pending_after_its_time() {
    let body = r#"{"status":"success","data":{"startTime":"2026-11-22T22:30:05.895331467Z",
        "serverTime":"2026-11-22T22:30:12.6Z","lastConfigTime":"2026-11-22T22:30:07Z","GOGC":"75"}}"#;
    let began = answer::began(body.as_bytes()).unwrap();
    let known = |second, state| answer::known(rules(second, state).as_bytes(), began).unwrap();
    for (second, state, expected) in [
        (0, "unknown", Known::TooEarly("some".to_owned())),
        (11, "inactive", Known::TooEarly("some".to_owned())),
        (12, "inactive", Known::All),
        (12, "firing", Known::All),
        (12, "pending", Known::Anew(1_795_386_612)),
        (31, "pending", Known::Anew(1_795_386_612)),
        (32, "pending", Known::All),
    ] {
        assert_eq!(known(second, state), expected, "{second} {state}");
    }
    let none = r#"{"status":"success","data":{"groups":[]}}"#;
    assert_eq!(answer::known(none.as_bytes(), began), Ok(Known::All));
    assert!(answer::began(none.as_bytes()).unwrap_err().contains("missing field"));
    assert!(answer::known(body.as_bytes(), began).unwrap_err().contains("missing field"));
}

#[test]
fn an_answer_that_is_not_understood_or_not_whole_is_none() {
    for (body, why) in [
        ("", "EOF"),
        ("null", "invalid type"),
        ("<html>", "expected value"),
        (r#"{"status":"success"}"#, "invalid type"),
        (r#"[{"labels":{}}]"#, "missing field"),
        (
            r#"[{"labels":{},"startsAt":"","status":{"state":"asleep","silencedBy":[],"inhibitedBy":[]}}]"#,
            "`asleep`",
        ),
    ] {
        let refused = answer::alertmanager(body.as_bytes()).unwrap_err();
        assert!(refused.contains(why), "{body}: {refused}");
    }
    for (body, why) in [
        ("[]", "invalid length"),
        ("{}", "missing field"),
        (r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#, "parse error"),
        (r#"{"status":"success"}"#, "no `data`"),
        (r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#, "`matrix`"),
        (
            r#"{"status":"success","warnings":["a store is away"],"data":{"resultType":"vector","result":[]}}"#,
            "a store is away",
        ),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}"#,
            "neither",
        ),
    ] {
        let refused = answer::prometheus(body.as_bytes()).unwrap_err();
        assert!(refused.contains(why), "{body}: {refused}");
    }
}

#[test]
fn many_alerts_and_hostile_labels_stay_short() {
    let mut many: Vec<Alert> = (0..500).map(|at| alert(&format!("A{at:03}"))).collect();
    for one in &mut many {
        for label in 0..40 {
            one.labels.insert(format!("l{label}"), format!("\u{1b}{}", "x".repeat(9_000)));
        }
    }
    let Firing { count, shown, .. } = firing(many, &gate("{}"));
    assert_eq!(count, 500);
    assert!(shown.starts_with("A000{l0=\"\\u{1b}xx") && shown.len() <= 1_024, "{shown}");
}

/// Answers one connection with these bytes, and says what it was asked.
fn answers(bytes: Vec<u8>) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut some = [0; 1024];
        while !asked.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut some).unwrap();
            asked.extend_from_slice(&some[..count]);
        }
        // Who has heard enough hangs up.
        drop(stream.write_all(&bytes));
        String::from_utf8(asked).unwrap()
    });
    (address, asked)
}

fn ask_there(address: &str) -> Result<Firing, AskError> {
    let source = AlertSource { alertmanager: Some(address.to_owned()), ..AlertSource::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(&source, &gate("{}")))
}

#[test]
fn a_source_is_asked_at_its_path_and_believed() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", CAPTURED.len());
    let (address, asked) = answers(format!("{head}{CAPTURED}").into_bytes());
    assert_eq!(ask_there(&format!("{address}/prefix")).unwrap().count, 2);
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("GET /prefix/api/v2/alerts?active=true&"), "{asked}");
    assert!(asked.contains("user-agent: palisade-collector/"), "{asked}");
}

#[test]
fn a_source_that_refuses_leads_elsewhere_ends_early_or_floods_is_named_with_the_cause() {
    let flood = {
        let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n[".to_vec();
        bytes.resize(9_000_000, b' ');
        bytes
    };
    let refusal = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 18\r\n\r\n\"bad filter \x1b[31m\"";
    let nonsense = b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"token\":\"s3cret\"";
    for (bytes, why, said) in [
        (&refusal[..], "400 Bad Request", Some("bad filter")),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
            "302 Found",
            Some(""),
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n[]", "failed to read the answer", None),
        (b"SSH-2.0-x\r\n", "failed to exchange", None),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n\"s3cret\"",
            "failed to understand",
            Some("s3cret"),
        ),
        (nonsense, "failed to understand", Some("")),
        (&flood, "more than 4194304 bytes", None),
    ] {
        let (address, asked) = answers(bytes.to_vec());
        let error = ask_there(&address).unwrap_err();
        let shown = Chain(&error).to_string();
        assert!(shown.contains(why) && shown.contains(&address), "{why}: {shown}");
        let is_quiet = !shown.contains("bad filter") && !shown.contains("s3cret");
        assert!(is_quiet, "words of the answer are for the log: {shown}");
        assert_eq!(error.said().is_some(), said.is_some(), "{shown}");
        assert!(error.said().unwrap_or_default().contains(said.unwrap_or_default()), "{error:?}");
        assert_eq!(error.silent(), None, "an answer of this kind is that of one question: {shown}");
        asked.join().unwrap();
    }
}

#[test]
fn only_who_is_asked_can_be_silent_about_a_question() {
    let source = AlertSource {
        alertmanager: Some("http://a".to_owned()),
        prometheus: Some("http://p".to_owned()),
        ca: None,
    };
    let asked = |gate_of: &str| gate(gate_of).addresses(&source).collect::<Vec<_>>();
    assert_eq!(asked("{}"), ["http://a"]);
    assert_eq!(asked("{pending: block}"), ["http://a", "http://p"]);
    let alone = AlertSource { alertmanager: None, ..source.clone() };
    assert_eq!(gate("{}").addresses(&alone).collect::<Vec<_>>(), ["http://p"]);
}

#[test]
fn nobody_there_and_authorities_that_are_none_are_errors() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let there = format!("http://{address}");
    let error = ask_there(&there).unwrap_err();
    assert!(Chain(&error).to_string().contains("failed to connect"), "{}", Chain(&error));
    assert_eq!(error.silent(), Some(there.as_str()));
    let source = |ca: &str| AlertSource {
        alertmanager: Some(format!("https://{address}")),
        prometheus: None,
        ca: Some(ca.to_owned()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (ca, why) in
        [("/nowhere", "/nowhere"), ("/proc/self/status", "failed to use the authorities")]
    {
        let error = runtime.block_on(ask(&source(ca), &gate("{}"))).unwrap_err();
        assert!(Chain(&error).to_string().contains(why), "{}", Chain(&error));
    }
}

/// Virtual time moves on its own once everybody waits.
#[tokio::test(start_paused = true)]
async fn a_source_that_says_nothing_is_not_waited_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let source = AlertSource { prometheus: Some(address), ..AlertSource::default() };
    let error = ask(&source, &gate("{pending: block}")).await.unwrap_err();
    assert!(Chain(&error).to_string().contains("within 10s"), "{}", Chain(&error));
    drop(listener);
}
