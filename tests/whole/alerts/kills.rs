//! `kill -9` while alerts come and go and receivers fail: nothing is lost, and a crash repeats one
//! message for each receiver at most.
//!
//! Nodes turn bad and good again, all at once. A turn is over when every receiver has acknowledged the
//! new state of every alert; meanwhile the collector is killed each time that some more messages have
//! been taken. `make alert-kills` does it 300 times over 10,000 transitions.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use palisade_report::Report;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Node;
use palisade_tests::process::Collector;
use palisade_tests::receiver::Conduct;
use palisade_tests::receiver::Plan;
use palisade_tests::receiver::Receiver;
use palisade_tests::receiver::Request;
use palisade_tests::receiver::chance::Chance;
use palisade_tests::wait;
use palisade_tests::worker;

/// How long a turn may take: hanging receivers cost 15 s each time, and back-off goes up to minutes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Files that are bad when everybody may write them.
const FILES: [&str; 5] =
    ["/etc/shadow", "/etc/passwd", "/etc/group", "/etc/crontab", "/etc/kubernetes/kubelet.conf"];

/// How much is done.
struct Size {
    kills: usize,
    nodes: usize,
    turns: usize,
}

impl Size {
    /// A tenth of what `PALISADE_ALERT_KILLS` would ask for, unless it is set.
    fn asked() -> Self {
        let kills = std::env::var("PALISADE_ALERT_KILLS").ok();
        match kills.map(|kills| kills.parse().expect("a number of kills")) {
            Some(kills) => Self { kills, nodes: 100, turns: 20 },
            None => Self { kills: 12, nodes: 12, turns: 4 },
        }
    }
}

fn receivers() -> Vec<(&'static str, Receiver)> {
    let take = |weight| (weight, Conduct::Take);
    let faults = |conducts: Vec<Conduct>, kind: u32, seed: u64| {
        let weighted = conducts.into_iter().map(|it| (1, it)).chain([take(kind)]).collect();
        Receiver::start(Plan::weighted(seed, weighted))
    };
    vec![
        ("kind", Receiver::start(Plan::kind())),
        ("drops", faults(vec![Conduct::DropUnread, Conduct::DropRead, Conduct::CutHead], 9, 1)),
        ("limits", faults(vec![Conduct::TooMany("1".to_owned())], 6, 2)),
        ("fails", faults(vec![Conduct::Status(500), Conduct::Status(503)], 6, 3)),
        ("slow", faults(vec![Conduct::SlowRead(Duration::from_millis(200))], 3, 4)),
        ("hangs", faults(vec![Conduct::Hang], 40, 5)),
    ]
}

fn settings(receivers: &[(&str, Receiver)], directory: &Directory) -> String {
    let each = |(name, receiver): &(&str, Receiver)| {
        format!("  - {{ name: {name}, webhook: {{ url: \"{}\" }} }}\n", receiver.url("/hook"))
    };
    let list: String = receivers.iter().map(each).collect();
    let names: Vec<&str> = receivers.iter().map(|(name, _)| *name).collect();
    directory.write(
        "alerts.yaml",
        format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\ncluster: kills\n\
             egress: {{ allow: [127.0.0.0/8] }}\n\
             alerts: [{{ alert: HardeningRegressed, for: 0s, keep: 0s }}]\nreceivers:\n{list}\
             routes:\n  - match: {{ alerts: [HardeningRegressed] }}\n    receivers: [{}]\n    \
             groupBy: [alertname, node]\n    groupWait: 0s\n    groupInterval: 1s\n    \
             repeatInterval: 1d\n",
            names.join(", "),
        ),
    );
    directory.path().join("alerts.yaml").display().to_string()
}

fn reports() -> [Report; 2] {
    [false, true].map(|is_bad| {
        let root = Directory::new("kills-node");
        worker::write(&root, 0);
        for path in FILES.into_iter().filter(|_| is_bad) {
            worker::set_mode(root.path(), path, 0o666);
        }
        worker::inspect(root.path())
    })
}

/// The last word on each alert, and how often a message said again what the one before it had said.
fn heard(taken: &[Request]) -> (BTreeMap<String, bool>, usize) {
    let mut last = BTreeMap::new();
    let mut groups: BTreeMap<String, BTreeSet<(String, bool)>> = BTreeMap::new();
    let mut repeated = 0;
    for request in taken {
        let webhook = request.webhook();
        assert_eq!(webhook.truncated_alerts, 0, "a group of a node is told in full");
        let said: BTreeSet<(String, bool)> =
            webhook.alerts.iter().map(|it| (it.fingerprint.clone(), it.is_firing())).collect();
        last.extend(said.iter().cloned());
        let before = groups.insert(webhook.group_key, said.clone());
        repeated += usize::from(before == Some(said));
    }
    (last, repeated)
}

struct World {
    collector: Option<Collector>,
    state: Directory,
    alerts: String,
    receivers: Vec<(&'static str, Receiver)>,
    nodes: Vec<Node>,
    runtime: tokio::runtime::Runtime,
    chance: Chance,
    kills_left: usize,
    kills: usize,
    next_kill_at: usize,
}

impl World {
    fn start(&mut self) {
        let alerts = self.alerts.clone();
        let more = ["--alerts", &alerts, "--interval", "3600", "--silent-after", "86400"];
        self.collector = Some(Collector::start(self.state.path(), &more));
    }

    fn taken(&self) -> usize {
        self.receivers.iter().map(|(_, it)| it.taken().len()).sum()
    }

    /// Every node says this, and the collector has taken it.
    fn say(&mut self, report: &Report) {
        let nodes = std::mem::take(&mut self.nodes).into_iter();
        let nodes = nodes.map(|mut node| {
            node.change(report);
            node
        });
        let address = self.collector.as_ref().expect("a collector").address;
        let settled = self.runtime.block_on(fleet::settle(address, nodes.collect(), 20));
        self.nodes = settled.0;
    }

    /// Waits until every receiver knows of `count` alerts that all fire, or are all over.
    fn until_told(&mut self, is_firing: bool, count: usize, kills_until: usize) {
        wait::until("every receiver knows", PATIENCE, || {
            if self.kills_left > kills_until && self.taken() >= self.next_kill_at {
                self.collector.take().expect("a collector").process.kill();
                (self.kills_left, self.kills) = (self.kills_left - 1, self.kills + 1);
                self.start();
                self.next_kill_at = self.taken() + self.chance.below(9) as usize;
            }
            let told = |(name, receiver): &(&'static str, Receiver)| {
                let (last, _) = heard(&receiver.taken());
                let as_wanted = last.values().filter(|it| **it == is_firing).count();
                (*name, as_wanted, last.len())
            };
            let told: Vec<_> = self.receivers.iter().map(told).collect();
            let is_done = told.iter().all(|(_, so, all)| *so == count && *all == count);
            if is_done && self.kills_left <= kills_until { Ok(()) } else { Err(told) }
        });
    }
}

#[test]
fn nothing_is_lost_and_a_crash_repeats_one_message_for_each_receiver_at_most() {
    let size = Size::asked();
    let [good, bad] = reports();
    let state = Directory::new("alert-kills");
    let receivers = receivers();
    let alerts = settings(&receivers, &state);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut world = World {
        collector: None,
        nodes: fleet::nodes(std::slice::from_ref(&good), size.nodes),
        state,
        alerts,
        receivers,
        runtime: runtime.expect("a runtime"),
        chance: Chance::new(7),
        kills_left: size.kills,
        kills: 0,
        next_kill_at: 3,
    };
    world.start();
    world.say(&good);
    let count = size.nodes * FILES.len();
    for turn in 0..size.turns {
        let is_bad = turn % 2 == 0;
        world.say(if is_bad { &bad } else { &good });
        let share = size.kills * (size.turns - 1 - turn) / size.turns;
        world.until_told(is_bad, count, share);
    }
    let mut most = 0;
    for (name, receiver) in &world.receivers {
        let (_, repeated) = heard(&receiver.taken());
        most = most.max(repeated);
        assert!(repeated <= world.kills, "{name}: {repeated} repeated, {} kills", world.kills);
    }
    println!(
        "{} kills during {} transitions for each of {} receivers: 0 lost, at most {most} repeated",
        world.kills,
        count * size.turns,
        world.receivers.len(),
    );
}
