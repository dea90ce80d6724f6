//! Figures of a real collector with a real agent, through promtool's eyes.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use palisade_alert::catalogue::Catalogue;
use palisade_tests::directory::Directory;
use palisade_tests::http::Client;
use palisade_tests::process::Agent;
use palisade_tests::process::Collector;
use palisade_tests::process::Process;
use palisade_tests::worker;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::KeyPair;

use super::asked;
use super::promtool;

/// How long a condition may take to come true; nothing here is fast on purpose.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where figures are.
const ADDRESSES: [&str; 3] = ["/metrics", "/metrics/nodes", "/metrics/certificates"];

/// Figures of others.
const FOREIGN: [&str; 1] = ["up"];

/// Days until the end of the certificate that the node has.
const DAYS_LEFT: u64 = 10;

/// A collector that knows one node.
struct Watched {
    client: Client,
    _running: (Collector, Process, Directory, Directory),
}

impl Watched {
    async fn start() -> Self {
        let (root, state) = (Directory::new("root"), Directory::new("state"));
        worker::write(&root, 0);
        root.write("/var/lib/kubelet/pki/kubelet-client-current.pem", ending_soon());
        let collector = Collector::start(state.path(), &["--interval", "1"]);
        let agent = Agent::run(collector.address, "worker", root.path(), &[]);
        let mut client = Client::new(collector.address);
        let deadline = Instant::now() + PATIENCE;
        // Published after what is stored; and figures may be some seconds old once they were asked for.
        let judged = "/v1/findings?rule=certificate.readable";
        while client.get(judged).await.json()["findings"][0].is_null() {
            assert!(Instant::now() < deadline, "nothing judged: {:#?}", agent.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { client, _running: (collector, agent, root, state) }
    }

    async fn text(&mut self, address: &str) -> String {
        let answer = self.client.get(address).await;
        assert_eq!(answer.status, 200, "{address}: {}", answer.text());
        answer.text()
    }
}

/// A certificate and its key, as the kubelet keeps them.
fn ending_soon() -> String {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, "system:node:worker");
    let end = SystemTime::now() + Duration::from_secs(DAYS_LEFT * 86_400);
    params.not_before = SystemTime::now().into();
    params.not_after = end.into();
    let certificate = params.self_signed(&key).expect("a certificate");
    certificate.pem() + &key.serialize_pem()
}

/// Names under which samples may be asked for, of every family that is described.
fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        if kind == "histogram" {
            names.extend(["_bucket", "_count", "_sum"].map(|suffix| format!("{name}{suffix}")));
        } else {
            names.insert(name.to_owned());
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_to_complain_about() {
    let mut watched = Watched::start().await;
    for address in ADDRESSES {
        let text = watched.text(address).await;
        assert!(text.lines().count() > 10, "{address}: {text}");
        let (content, said) = promtool(super::workspace(), &["check", "metrics"], &text);
        assert!(content, "{address}: {said}");
        let unhelpful = text.replacen("# HELP", "# NOTE", 1);
        let (content, said) = promtool(super::workspace(), &["check", "metrics"], &unhelpful);
        assert!(!content, "{address}: it does not see that a help is missing: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_dashboard_ask_about_figures_that_there_are() {
    let mut watched = Watched::start().await;
    let mut known: BTreeSet<String> = FOREIGN.map(str::to_owned).into();
    for address in ADDRESSES {
        known.extend(names(&watched.text(address).await));
    }
    let catalogue = Catalogue::built_in().expect("the catalogue");
    let mut count = 0;
    let rules = catalogue.entries().flat_map(|entry| &entry.prometheus).map(|it| it.expr.clone());
    for expression in rules.chain(super::dashboard::expressions()) {
        for name in asked(&expression) {
            assert!(known.contains(&name), "{name} in {expression}: none of {known:?}");
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
    // And the other way round: what the node has is really there.
    let text = watched.text("/metrics/certificates").await;
    assert!(text.contains(r#"subject_O="system:nodes",subject_CN="system:node:worker""#), "{text}");
    let text = watched.text("/metrics/nodes").await;
    assert!(text.contains(r#"palisade_node_state{node="worker",state="fresh"} 1"#), "{text}");
}

/// Rules as people have them who run x509-certificate-exporter, over the collector's own text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_about_that_exporter_work_on_our_figures() {
    const RULES: &str = "groups:
- name: theirs
  rules:
  - {alert: CertificateRenewal, expr: (x509_cert_not_after - time()) < (28 * 86400), for: 15m}
  - {alert: CertificateExpiration, expr: (x509_cert_not_after - time()) < (14 * 86400), for: 15m}
  - {alert: CertificateNotYetValid, expr: (x509_cert_not_before - time()) > 0, for: 15m}
  - {alert: CertificateError, expr: x509_cert_error > 0, for: 15m}
  - {alert: CertificateCollision, expr: 'increase(x509_cert_collision_dropped_total[1h]) > 0', for: 15m}
  - {alert: SourceErrors, expr: 'increase(x509_source_errors_total[15m]) > 5', for: 5m}
  - {alert: SourceDown, expr: x509_source_up == 0, for: 5m}
";
    let mut watched = Watched::start().await;
    let text = watched.text("/metrics/certificates").await;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let mut series = String::new();
    for sample in text.lines().filter(|line| line.starts_with("x509_")) {
        let (labels, value) = sample.rsplit_once(' ').expect("a value");
        assert!(!labels.contains('\''), "{sample}");
        series.push_str(&format!("    - {{series: '{labels}', values: '{value}x40'}}\n"));
    }
    let files = Directory::new("theirs");
    files.write("rules.yml", RULES);
    let pem = "kubelet-client-current.pem";
    let firing = |extra: &str, expected: &[(&str, u32)]| {
        let expected: String = expected
            .iter()
            .map(|(name, count)| {
                format!("\n      - {{labels: '{{alertname=\"{name}\"}}', value: {count}}}")
            })
            .collect();
        let expected = if expected.is_empty() { " []".to_owned() } else { expected };
        let selector = r#"ALERTS{alertstate="firing"}"#;
        let test = format!(
            "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  \
             start_timestamp: {started}\n  input_series:\n{series}{extra}  promql_expr_test:\n  \
             - expr: count by (alertname) ({selector})\n    eval_time: 30m\n    \
             exp_samples:{expected}\n"
        );
        files.write("test.yml", &test);
        promtool(files.path(), &["test", "rules", "test.yml"], "")
    };
    assert!(text.contains(&format!(r#"filename="{pem}""#)), "{text}");
    let count = |of: &str| {
        let lines =
            text.lines().filter(|it| it.strip_prefix(of).is_some_and(|it| it.starts_with('{')));
        u32::try_from(lines.count()).expect("a count")
    };
    // Files that something on this small node names and that it does not have.
    let unread = ("CertificateError", count("x509_cert_error"));
    let certificates = count("x509_cert_not_after");
    assert!(certificates > 0 && unread.1 > 0, "{text}");
    let soon = [("CertificateRenewal", certificates), ("CertificateExpiration", certificates)];
    let (passed, said) = firing("", &[soon[0], soon[1], unread]);
    assert!(passed, "{said}\n{text}");
    let (passed, said) = firing("", &[soon[0], unread]);
    assert!(!passed, "{said}");
    // What our figures never were by themselves here.
    let down = "    - {series: 'x509_source_up{node=\"b\",source_kind=\"file\",source_name=\"b\"}', values: '0x40'}\n";
    let (passed, said) = firing(down, &[soon[0], soon[1], unread, ("SourceDown", 1)]);
    assert!(passed, "{said}");
}
