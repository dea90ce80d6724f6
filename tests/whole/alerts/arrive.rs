//! The whole way: files on a node, an agent, a collector, two Alertmanagers that notify as one, and a
//! webhook beside them; and a Prometheus that scrapes the collector, evaluates the rules that are
//! delivered with it, and tells the same Alertmanagers. What is wrong arrives once by each of these ways,
//! goes on while everything is killed in turn, and ends with the words of what mended it.

use std::path::Path;
use std::time::Duration;

use palisade_tests::cluster::alertmanager::Alertmanager;
use palisade_tests::cluster::prometheus::Prometheus;
use palisade_tests::directory::Directory;
use palisade_tests::process::Agent;
use palisade_tests::process::Collector;
use palisade_tests::receiver::Plan;
use palisade_tests::receiver::Receiver;
use palisade_tests::receiver::Request;
use palisade_tests::receiver::signature;
use palisade_tests::receiver::webhook::Alert;
use palisade_tests::wait;
use palisade_tests::worker;
use rcgen::CertificateParams;
use rcgen::KeyPair;

/// Far more than anything here takes; alerts are sent again once a minute.
const WITHIN: Duration = Duration::from_secs(240);

const NODE: &str = "worker";

const KEY: &str = "a key that two share";

const CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

const WATCHDOG: &str = "PalisadeWatchdog";

/// Entries of the notification log that a member learned from the other one.
const HEARD: &str = "alertmanager_nflog_gossip_messages_propagated_total";

/// What is wrong with the node.
const WRONG: [&str; 3] =
    ["PalisadeAgentSilent", "PalisadeCertificateExpired", "PalisadeRebootRequired"];

/// What the rules of Prometheus wait and keep here in place of minutes: a killed collector is back
/// within the latter.
const TIMES: [(&str, &str); 2] = [("for", "1s"), ("keep_firing_for", "60s")];

/// Everything that has a part in it.
struct Bench {
    collector: Option<Collector>,
    address: String,
    members: [Alertmanager; 2],
    /// Whom the Alertmanagers tell.
    told: Receiver,
    /// Whom the collector tells itself.
    direct: Receiver,
    files: Directory,
    prometheus: Option<Prometheus>,
}

impl Bench {
    fn start() -> Self {
        let (told, direct) = (Receiver::start(Plan::kind()), Receiver::start(Plan::kind()));
        let members = Alertmanager::pair_telling(&told.url("/told"));
        let files = Directory::new("alerts");
        let [first, second] = [0, 1].map(|it: usize| members[it].url());
        let hook = direct.url("/direct");
        let key = files.path().join("key").display().to_string();
        files.write("key", KEY);
        files.write(
            "alerts.yaml",
            format!(
                "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\ncluster: prod\n\
                 egress: {{ allow: [127.0.0.1/32] }}\n\
                 defaults: {{ groupWait: 1s, groupInterval: 1s }}\n\
                 alerts:\n\
                 - {{ alert: AgentSilent, for: 0s, keep: 1s }}\n\
                 - {{ alert: CertificateExpired, for: 0s, keep: 1s }}\n\
                 - {{ alert: RebootRequired, for: 0s, keep: 1s }}\n\
                 receivers:\n\
                 - {{ name: both, alertmanager: {{ urls: ['{first}', '{second}'] }} }}\n\
                 - {{ name: hook, webhook: {{ url: '{hook}', hmacKeyFile: {key} }} }}\n\
                 routes:\n\
                 - {{ match: {{ alerts: [Watchdog] }}, receivers: [both, hook] }}\n\
                 fallback: [both, hook]\n"
            ),
        );
        let address = "127.0.0.1:0".to_owned();
        let mut this =
            Self { collector: None, address, members, told, direct, files, prometheus: None };
        this.start_collector();
        this
    }

    fn start_collector(&mut self) {
        let path = |name: &str| self.files.path().join(name);
        let config = path("alerts.yaml").display().to_string();
        let more = ["--interval", "1", "--silent-after", "3", "--alerts", &config];
        let collector = Collector::start_at(&self.address, &path("state"), &more);
        self.address = collector.address.to_string();
        self.collector = Some(collector);
    }

    /// A Prometheus that alerts by the rules of the manifests.
    fn start_prometheus(&mut self) {
        let members: Vec<String> =
            self.members.iter().map(|it| it.url().replace("http://", "")).collect();
        let config = format!(
            "scrape_configs: [{{job_name: palisade-collector, static_configs: [{{targets: ['{}']}}]}}]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: {members:?}}}]}}]}}\n",
            self.address,
        );
        self.prometheus = Some(Prometheus::start(&config, &hurried_rules()));
    }

    fn collector(&self) -> &Collector {
        self.collector.as_ref().expect("it runs")
    }

    fn agent(&self, root: &Directory) -> palisade_tests::process::Process {
        Agent::run(self.collector().address, NODE, root.path(), &[])
    }

    /// Both ways by which people are told, by name.
    fn ways(&self) -> [(&'static str, &Receiver); 2] {
        [("the Alertmanagers", &self.told), ("the webhook", &self.direct)]
    }

    /// Waits until people were told on both ways that this alert is so.
    fn until_told(&self, name: &str, status: &str) {
        for (way, receiver) in self.ways() {
            let what = format!("{way}: {name} is {status}");
            receiver.until(&what, WITHIN, |seen| {
                told(seen, name).iter().any(|it| it.status == status).then_some(())
            });
        }
    }

    /// Waits until every member knows that all that is wrong goes on.
    fn until_all_fire(&self, names: &[&str]) {
        for (number, member) in self.members.iter().enumerate() {
            for name in names {
                let what = format!("member {number} knows of {name}");
                wait::until(&what, WITHIN, || {
                    let known = member.alerts_called(name);
                    let is_active = known.iter().any(|it| it["status"]["state"] == "active");
                    if is_active { Ok(()) } else { Err(known) }
                });
            }
        }
    }

    /// Kills either member after the other one, once both know whom they told.
    fn kill_members(&mut self, names: &[&str]) {
        wait::until("gossip", WITHIN, || {
            let heard: f64 = self.members.iter().map(|it| it.metric(HEARD)).sum();
            if heard >= 1.0 { Ok(()) } else { Err(heard) }
        });
        for member in 0..2 {
            self.members[member].kill();
            self.members[member].restart();
            for member in &self.members {
                member.until_knows(1);
            }
        }
        // A member that starts has forgotten every alert, and is told again within a minute.
        self.until_all_fire(names);
    }

    /// Waits until people have been told this by Prometheus of all that is wrong, once each.
    fn until_prometheus_said(&self, statuses: &[&str]) {
        for name in WRONG {
            let what = format!("Prometheus: {name} is {statuses:?}");
            self.told.until(&what, WITHIN, |seen| {
                (told_by_prometheus(seen, name).len() >= statuses.len()).then_some(())
            });
            assert_eq!(told_by_prometheus(&self.told.seen(), name), statuses, "{name}");
        }
    }

    /// What people heard of an alert, in order. A crash of the collector between an answer and its record
    /// repeats one message to the webhook; Alertmanagers tell nobody twice.
    fn heard(&self, name: &str) -> [Vec<String>; 2] {
        let statuses = |receiver: &Receiver| -> Vec<String> {
            told(&receiver.seen(), name).into_iter().map(|it| it.status).collect()
        };
        let mut direct = statuses(&self.direct);
        let all = direct.len();
        direct.dedup();
        assert!(all <= direct.len() + 1, "{name}: {all} messages: {direct:?}");
        [statuses(&self.told), direct]
    }
}

/// The rules for Prometheus as they are delivered, but for [`TIMES`].
fn hurried_rules() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/prometheus/rules.yaml");
    let rules = std::fs::read_to_string(file).expect("the rules");
    let hurried = |line: &str| {
        let (name, _) = line.split_once(": ")?;
        let (_, time) = TIMES.iter().find(|(it, _)| *it == name.trim_start())?;
        Some(format!("{name}: {time}\n"))
    };
    rules.lines().map(|line| hurried(line).unwrap_or_else(|| format!("{line}\n"))).collect()
}

/// What people were told of this alert of the fleet, which Prometheus had evaluated.
fn told_by_prometheus(seen: &[Request], name: &str) -> Vec<String> {
    let taken = seen.iter().filter(|it| it.is_taken());
    let alerts = taken.flat_map(|it| it.webhook().alerts);
    let of_rule = |it: &Alert| it.label("alertname") == name && it.label("node").is_empty();
    alerts.filter(of_rule).map(|it| it.status).collect()
}

/// What people were told of this alert of the node.
fn told(seen: &[Request], name: &str) -> Vec<Alert> {
    let taken = seen.iter().filter(|it| it.is_taken());
    let alerts = taken.flat_map(|it| it.webhook().alerts);
    let of_node = |it: &Alert| name == WATCHDOG || it.label("node") == NODE;
    alerts.filter(|it| it.label("alertname") == name && of_node(it)).collect()
}

/// A certificate that ends on this day, and its key.
fn certificate(year: i32) -> String {
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(vec![NODE.to_owned()]).expect("parameters");
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(year, 12, 4);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    format!("{}{}", certificate.pem(), key.serialize_pem())
}

/// Writes files as their owners do: whole, under their names at once.
fn replace(root: &Directory, path: &str, content: &str) {
    let next = format!("{path}.next");
    root.write(&next, content);
    worker::set_mode(root.path(), &next, 0o600);
    let at = |path: &str| root.path().join(path.trim_start_matches('/'));
    std::fs::rename(at(&next), at(path)).expect("rename a file");
}

#[test]
fn the_watchdog_arrives_and_goes_on_while_everything_is_killed_in_turn() {
    let mut bench = Bench::start();
    bench.until_told(WATCHDOG, "firing");
    bench.until_all_fire(&[WATCHDOG]);
    bench.collector.take().expect("it runs").process.kill();
    bench.start_collector();
    bench.kill_members(&[WATCHDOG]);
    // Members that forgot it were told again; the Alertmanagers told nobody again.
    assert_eq!(told(&bench.told.seen(), WATCHDOG).len(), 1);
    // The crash may have come between the answer and its record.
    let direct = told(&bench.direct.seen(), WATCHDOG);
    assert!((1..=2).contains(&direct.len()), "{direct:#?}");
    assert!(direct.iter().all(|it| it.is_firing() && it.starts_at == direct[0].starts_at));
    for request in bench.direct.seen() {
        assert_eq!(signature::verify(&request, KEY.as_bytes()), Ok(()));
    }
}

#[test]
fn alerts_arrive_once_outlive_every_restart_and_end_with_what_mended_them() {
    let mut bench = Bench::start();
    bench.start_prometheus();
    let root = Directory::new("root");
    worker::write(&root, 0);
    replace(&root, CERTIFICATE, &certificate(2090));
    let agent = bench.agent(&root);

    replace(&root, CERTIFICATE, &certificate(2021));
    root.write("/run/reboot-required", "");
    bench.until_told("PalisadeCertificateExpired", "firing");
    bench.until_told("PalisadeRebootRequired", "firing");
    agent.kill();
    bench.until_told("PalisadeAgentSilent", "firing");
    bench.until_all_fire(&WRONG);
    bench.until_prometheus_said(&["firing"]);

    bench.collector.take().expect("it runs").process.kill();
    bench.start_collector();
    bench.kill_members(&WRONG);
    for name in WRONG {
        assert_eq!(bench.heard(name), [["firing"]; 2], "{name}");
    }

    // Renewed, and rebooted.
    replace(&root, CERTIFICATE, &certificate(2091));
    std::fs::remove_file(root.path().join("run/reboot-required")).expect("remove a file");
    let boot = "7d0c1f6e-52b1-4c3e-8a38-1f0a4c1b9f22\n";
    root.write("/proc/sys/kernel/random/boot_id", boot);
    let _agent = bench.agent(&root);
    for name in WRONG {
        bench.until_told(name, "resolved");
    }
    bench.until_prometheus_said(&["firing", "resolved"]);
    let words = ["it reports again", "renewed: valid until 2091-12-04", "rebooted"];
    for (name, words) in WRONG.into_iter().zip(words) {
        // The second member waits for the first one with what it knew before: where an end comes within
        // that wait it may say once more what was.
        for heard in bench.heard(name) {
            assert_eq!(heard[..2], ["firing", "resolved"], "{name}: {heard:?}");
        }
        for (way, receiver) in bench.ways() {
            let told = told(&receiver.seen(), name);
            let mended = told.get(1..).and_then(|it| it.iter().find(|it| !it.is_firing()));
            let mended = mended.map_or("", |it| it.annotation("resolved_by"));
            assert!(mended.contains(words), "{way}: {name}: {mended:?}");
        }
    }
    for request in bench.direct.seen() {
        assert_eq!(signature::verify(&request, KEY.as_bytes()), Ok(()));
    }
}
