//! `kill -9` while alerts come and go and receivers fail: nothing is lost, and a crash repeats one
//! message for each receiver at most.
//!
//! Nodes turn bad and good again, all at once. A turn is over when every receiver knows the new state of
//! every alert; meanwhile the collector is killed: some messages and some milliseconds later, right
//! after the nodes have spoken, when nothing is on its way any more, and while it starts.
//! `make alert-kills` does it 300 times over 10,000 transitions.

use std::ops::Range;
use std::time::Duration;
use std::time::Instant;

use palisade_report::Report;
use palisade_tests::directory::Directory;
use palisade_tests::fleet;
use palisade_tests::fleet::Node;
use palisade_tests::process::Collector;
use palisade_tests::receiver::Certificate;
use palisade_tests::receiver::Conduct;
use palisade_tests::receiver::Plan;
use palisade_tests::receiver::Receiver;
use palisade_tests::receiver::chance::Chance;
use palisade_tests::receiver::heard::Heard;
use palisade_tests::wait;
use palisade_tests::worker;

/// How long a turn may take: whom the collector does not trust it leaves alone for five minutes, and the
/// machine may be slow.
const PATIENCE: Duration = Duration::from_secs(900);

/// Files that are bad when everybody may write them.
const FILES: [&str; 5] =
    ["/etc/shadow", "/etc/passwd", "/etc/group", "/etc/crontab", "/etc/kubernetes/kubelet.conf"];

/// What nodes make fire. NotifierFailing is told as well, of receivers that are left alone for long.
const ALERT: &str = "PalisadeHardeningRegressed";

/// Rounds in which the collector has asked every node for all that it wants.
const ROUNDS: usize = 20;

/// Milliseconds between what a kill waits for and the kill, where it does not come at once: as long as
/// it takes to write an outcome and to send some more messages.
const HESITATION_MS: Range<u64> = 1..50;

/// Milliseconds after which a kill that waits for messages comes without them.
const LULL_MS: Range<u64> = 0..700;

/// Milliseconds from what nodes have said to a kill: as long as it takes until the collector looks.
const NEWS_MS: Range<u64> = 0..2000;

/// Of so many turns, one begins with such a kill.
const NEWS_EVERY: usize = 3;

/// Alerts are named after the pools of their nodes, which are known once reboots are coordinated. Without
/// that, a collector that has only just started waits ten seconds for it, and there are hundreds of them.
const POLICY: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n\
                      pools:\n- { name: all, selector: {}, mode: plan }\n";

/// Milliseconds that the first start is taken to need; those after it are measured.
const START_MS: u64 = 100;

/// Between two looks at whether a kill is due: short, to meet what is only just on its way.
const PAUSE: Duration = Duration::from_millis(1);
/// After so many of them, what receivers know is looked at.
const PAUSES: usize = 20;

/// How much is done.
struct Size {
    kills: usize,
    nodes: usize,
    /// Odd: in the end all alerts fire, also for whoever has missed a turn.
    turns: usize,
    /// What a receiver shows at times, if there is such a one: each time it is left alone for five
    /// minutes, so that it misses turns and is told in the end.
    strangers: Vec<Certificate>,
    seed: u64,
}

impl Size {
    const fn is_small(&self) -> bool {
        self.strangers.is_empty()
    }

    /// Little, unless `PALISADE_ALERT_KILLS` asks for so many kills.
    fn asked() -> Self {
        let asked = |name: &str| {
            std::env::var(name).ok().map(|text| text.parse().expect("a number in the environment"))
        };
        let seed = asked("PALISADE_ALERT_KILLS_SEED").unwrap_or(7);
        match asked("PALISADE_ALERT_KILLS") {
            Some(kills) => Self {
                kills: usize::try_from(kills).expect("a number of kills"),
                nodes: 100,
                turns: 21,
                strangers: vec![Certificate::Unknown, Certificate::Expired, Certificate::WrongName],
                seed,
            },
            None => Self { kills: 12, nodes: 12, turns: 3, strangers: Vec::new(), seed },
        }
    }
}

/// A receiver, and what it knows.
struct Told {
    name: &'static str,
    receiver: Receiver,
    heard: Heard,
    /// Settings beside its address.
    more: String,
    is_encrypted: bool,
    /// Whether a turn waits for it; else only the last one does.
    keeps_up: bool,
}

impl Told {
    fn new(name: &'static str, plan: Plan) -> Self {
        let (receiver, heard) = (Receiver::start(plan), Heard::default());
        Self { name, receiver, heard, more: String::new(), is_encrypted: false, keeps_up: true }
    }

    fn over_tls(name: &'static str, plan: Plan, directory: &Directory) -> Self {
        let told = Self::new(name, plan);
        let file = format!("{name}.pem");
        directory.write(&file, told.receiver.authority());
        let more = format!("caFile: {}", directory.path().join(file).display());
        Self { more, is_encrypted: true, ..told }
    }

    fn settings(&self) -> String {
        let Self { name, receiver, more, is_encrypted, .. } = self;
        let url = if *is_encrypted { receiver.tls_url("/") } else { receiver.url("/") };
        format!("  - {{ name: {name}, webhook: {{ url: \"{url}\" }}, {more} }}\n")
    }

    /// What did not work, and how often.
    fn faults(&self) -> usize {
        let (seen, shown) = (self.receiver.seen(), self.receiver.shown());
        let requests = seen.iter().filter(|it| it.conduct != Conduct::Take).count();
        requests + shown.iter().filter(|it| **it != Certificate::Good).count()
    }
}

fn receivers(size: &Size, directory: &Directory) -> Vec<Told> {
    let plan = |number: u64, kindness: u32, faults: Vec<Conduct>| {
        let weighted = faults.into_iter().map(|it| (1, it)).chain([(kindness, Conduct::Take)]);
        Plan::weighted(size.seed.wrapping_mul(100).wrapping_add(number), weighted.collect())
    };
    let drops = vec![Conduct::DropUnread, Conduct::DropRead, Conduct::CutHead];
    let cut = vec![(3, Certificate::Good), (1, Certificate::Cut)];
    let mut told = vec![
        Told::new("kind", Plan::kind()),
        Told::new("drops", plan(1, 9, drops)),
        // A second, or two, in which nobody tells it anything.
        Told::new("limits", plan(2, 15, vec![Conduct::TooMany("1".to_owned())])),
        Told::new("fails", plan(3, 6, vec![Conduct::Status(500), Conduct::Status(503)])),
        Told::new("slow", plan(4, 3, vec![Conduct::SlowRead(Duration::from_millis(200))])),
        Told {
            more: "timeout: 4s".to_owned(),
            ..Told::new("hangs", plan(5, 40, vec![Conduct::Hang]))
        },
        // A connection serves until something fails: more handshakes, more that are cut.
        Told::over_tls(
            "tls",
            plan(6, 9, vec![Conduct::DropRead]).over_weighted_tls(cut),
            directory,
        ),
    ];
    if !size.is_small() {
        let strangers = size.strangers.iter().map(|it| (1, *it));
        let shown = strangers.chain([(9, Certificate::Good)]).collect();
        let plan = plan(7, 9, vec![Conduct::DropRead]).over_weighted_tls(shown);
        told.push(Told { keeps_up: false, ..Told::over_tls("strangers", plan, directory) });
    }
    told
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

/// When the next kill is due: whatever comes first.
struct Due {
    messages: usize,
    at: Instant,
}

/// Kills, by when they came.
#[derive(Debug, Default)]
struct Kills {
    left: usize,
    running: usize,
    starting: usize,
    /// With nothing left to tell.
    idle: usize,
}

impl Kills {
    fn all(&self) -> usize {
        self.running + self.starting + self.idle
    }
}

struct World {
    collector: Option<Collector>,
    /// Of the collector: how often it was started.
    life: u64,
    /// How long the last start took.
    start_ms: u64,
    directory: Directory,
    told: Vec<Told>,
    nodes: Vec<Node>,
    runtime: tokio::runtime::Runtime,
    chance: Chance,
    kills: Kills,
    /// Messages from one kill to the next one, at most.
    stride: u64,
    /// Messages before this turn.
    before: usize,
    due: Due,
}

impl World {
    fn new(size: &Size, report: &Report) -> Self {
        let directory = Directory::new("alert-kills");
        directory.write("policy.yaml", POLICY);
        let told = receivers(size, &directory);
        let messages = size.nodes * size.turns * told.len();
        let stride = 2 * messages / size.kills.max(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            collector: None,
            life: 0,
            start_ms: START_MS,
            told,
            nodes: fleet::nodes(std::slice::from_ref(report), size.nodes),
            runtime: runtime.expect("a runtime"),
            chance: Chance::new(size.seed),
            kills: Kills { left: size.kills, ..Kills::default() },
            stride: u64::try_from(stride).expect("a number of messages"),
            before: 0,
            due: Due { messages: 0, at: Instant::now() },
            directory,
        }
    }

    /// The settings, and with them the number of the life that follows them.
    fn configure(&mut self) -> Vec<String> {
        self.life += 1;
        let settings: String = self.told.iter().map(Told::settings).collect();
        let names: Vec<&str> = self.told.iter().map(|it| it.name).collect();
        self.directory.write(
            "alerts.yaml",
            format!(
                "apiVersion: palisade.dev/v1alpha1\nkind: AlertConfig\ncluster: kills\n\
                 externalUrl: http://collector.example/{}\negress: {{ allow: [127.0.0.0/8] }}\n\
                 alerts: [{{ alert: HardeningRegressed, for: 0s, keep: 0s }}]\n\
                 receivers:\n{settings}\
                 routes:\n  - match: {{ alerts: [HardeningRegressed] }}\n    receivers: [{}]\n    \
                 groupBy: [alertname, node]\n    groupWait: 0s\n    groupInterval: 1s\n    \
                 repeatInterval: 1d\n",
                self.life,
                names.join(", "),
            ),
        );
        let file = |name| self.directory.path().join(name).display().to_string();
        let (alerts, policy) = (file("alerts.yaml"), file("policy.yaml"));
        let files = ["--alerts", &alerts, "--reboot-policy", &policy];
        let times = ["--interval", "60", "--silent-after", "86400"];
        files.into_iter().chain(times).map(str::to_owned).collect()
    }

    /// Starts the collector, if that is not where it is killed.
    fn start(&mut self, kills_until: usize) {
        while self.kills.left > kills_until && self.chance.below(6) == 0 {
            let more = self.configure();
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            let process = Collector::launch("127.0.0.1:0", self.directory.path(), &more);
            std::thread::sleep(Duration::from_millis(self.chance.below(self.start_ms)));
            process.kill();
            (self.kills.left, self.kills.starting) = (self.kills.left - 1, self.kills.starting + 1);
        }
        let more = self.configure();
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let since = Instant::now();
        self.collector = Some(Collector::start(self.directory.path(), &more));
        self.start_ms = u64::try_from(since.elapsed().as_millis()).expect("milliseconds");
        let (stride, lull) = (self.chance.below(self.stride), self.between(LULL_MS));
        let messages = self.messages() + usize::try_from(stride).expect("a number of messages");
        self.due = Due { messages, at: Instant::now() + lull };
    }

    fn between(&mut self, ms: Range<u64>) -> Duration {
        Duration::from_millis(ms.start + self.chance.below(ms.end - ms.start))
    }

    fn messages(&mut self) -> usize {
        self.told.iter_mut().for_each(|it| it.heard.read(&it.receiver));
        self.told.iter().map(|it| it.heard.messages()).sum()
    }

    fn kill(&mut self, kills_until: usize, is_idle: bool) {
        self.collector.take().expect("a collector").process.kill();
        self.kills.left -= 1;
        *if is_idle { &mut self.kills.idle } else { &mut self.kills.running } += 1;
        self.start(kills_until);
    }

    /// Kills if that is due soon.
    fn kill_if_due(&mut self, kills_until: usize, is_idle: bool) {
        for _ in 0..PAUSES {
            let messages = self.messages();
            let is_due = messages >= self.due.messages || Instant::now() >= self.due.at;
            // Nobody was told anything yet: a kill that comes again and again would keep it so.
            if messages > self.before && is_due {
                if self.chance.below(2) == 0 {
                    std::thread::sleep(self.between(HESITATION_MS));
                }
                return self.kill(kills_until, is_idle);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Every node says this, and the collector has taken it.
    fn say(&mut self, report: &Report) {
        self.before = self.messages();
        let nodes = std::mem::take(&mut self.nodes).into_iter();
        let nodes = nodes.map(|mut node| {
            node.change(report);
            node
        });
        let address = self.collector.as_ref().expect("a collector").address;
        let settled = self.runtime.block_on(fleet::settle(address, nodes.collect(), ROUNDS));
        self.nodes = settled.0;
    }

    /// Waits until receivers know of `count` alerts that all fire, or are all over; kills meanwhile,
    /// and until only so many kills are left.
    fn until_told(&mut self, is_firing: bool, count: usize, kills_until: usize, all: bool) {
        wait::until("every receiver knows", PATIENCE, || {
            self.messages();
            let mut lacks = Vec::new();
            for Told { name, heard, keeps_up, .. } in &self.told {
                let knows = |is_firing| heard.knows(ALERT, is_firing);
                let (knows, wrong) = (knows(is_firing), knows(!is_firing));
                if (knows != count || wrong > 0) && (all || *keeps_up) {
                    lacks.push((*name, knows, wrong));
                }
            }
            // The last one of a turn comes when there is nothing left to tell.
            let floor = kills_until + usize::from(!lacks.is_empty());
            if self.kills.left > floor {
                self.kill_if_due(floor, lacks.is_empty());
            }
            let is_done = lacks.is_empty() && self.kills.left <= kills_until;
            if is_done { Ok(()) } else { Err((lacks, self.kills.left)) }
        });
    }
}

#[test]
fn nothing_is_lost_and_a_crash_repeats_one_message_for_each_receiver_at_most() {
    let size = Size::asked();
    let since = Instant::now();
    let [good, bad] = reports();
    let mut world = World::new(&size, &good);
    world.start(world.kills.left);
    world.say(&good);
    // The next life knows from its start in what pool each node is.
    world.kill(world.kills.left - 1, true);
    let count = size.nodes * FILES.len();
    // Whoever was not trusted last is told in the end: there is a turn's share of kills left for that.
    let rounds = size.turns + usize::from(!size.is_small());
    for turn in 0..size.turns {
        let is_bad = turn % 2 == 0;
        world.say(if is_bad { &bad } else { &good });
        let left = size.kills * (rounds - 1 - turn) / rounds;
        if turn % NEWS_EVERY == 1 && world.kills.left > left {
            std::thread::sleep(world.between(NEWS_MS));
            world.kill(left, false);
        }
        world.until_told(is_bad, count, left, false);
        println!("turn {turn} over after {:?}: {:?}", since.elapsed(), world.kills);
    }
    if let Some(strangers) = world.told.iter().find(|it| !it.keeps_up) {
        strangers.receiver.be(Plan::kind().over_tls(Certificate::Good));
    }
    world.until_told(true, count, 0, true);
    judge(&size, &world, count * size.turns, since.elapsed());
}

fn judge(size: &Size, world: &World, transitions: usize, took: Duration) {
    let kills = world.kills.all();
    assert_eq!(kills, size.kills);
    let (mut most, mut all) = (0, 0);
    for told in &world.told {
        let Told { name, heard, .. } = told;
        let (messages, repeated, faults) = (heard.messages(), heard.repeats().len(), told.faults());
        println!("{name}: {messages} messages, {repeated} repeated, {faults} faults");
        assert!(
            heard.unexcused().is_empty(),
            "{name}, seed {}: {:?}",
            size.seed,
            heard.unexcused()
        );
        assert!(repeated <= kills, "{name}: {repeated} repeated, {kills} kills");
        let is_flaky = *name != "kind";
        assert!(size.is_small() || !is_flaky || faults > 0, "{name}: nothing went wrong");
        (most, all) = (most.max(repeated), all + repeated);
    }
    println!(
        "{kills} kills ({:?}) during {transitions} transitions for each of {} receivers, seed {}: \
         0 lost, at most {most} repeated, {all} of all, in {took:?}",
        world.kills,
        world.told.len(),
        size.seed,
    );
}
