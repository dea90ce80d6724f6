//! Grants from the collector to the reboot: real processes of the agent (inspecting, and rebooting by a
//! bus that reboots nothing), a real collector in this process, whose offers are made by hand.
//!
//! The machine that really goes down is in `rebooter`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use nix::time::ClockId;
use palisade_agent::rebooter;
use palisade_agent::rebooter::Answer;
use palisade_agent::rebooter::hand_over;
use palisade_agent::sandbox;
use palisade_collector::Collector;
use palisade_collector::grants::Offer;
use palisade_collector::grants::OfferBook;
use palisade_collector::grants::key::PUBLIC_FILE;
use palisade_collector::settings::Settings;
use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Grant;
use palisade_report::NodeUid;
use palisade_report::grant::Action;
use palisade_report::grant::GrantId;
use palisade_report::grant::KeyId;
use palisade_report::grant::LENGTH;
use palisade_report::grant::RequestUid;
use palisade_report::wire::CanReboot;
use palisade_report::wire::HoldFile;
use palisade_tests::bus::Bus;
use palisade_tests::bus::OnReboot;
use palisade_tests::bus::Taken;
use palisade_tests::cluster::ControlPlane;
use palisade_tests::cluster::api::Call;
use palisade_tests::cluster::installation::NAMESPACE;
use palisade_tests::directory::Directory;
use palisade_tests::process::Agent;
use palisade_tests::process::Process;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair;
use serde_json::Value;
use serde_json::json;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The node, which without a cluster is its name.
const NODE: &str = "worker";

fn uid() -> NodeUid {
    NODE.parse().expect("a UID")
}

fn boot() -> BootId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    text.trim_end().parse().expect("a boot id")
}

fn id(number: u8) -> GrantId {
    GrantId::from_bytes([number; 16])
}

/// Waits until `found` finds something.
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    palisade_tests::wait::until(what, PATIENCE, || found().ok_or("not yet"))
}

/// A rebooter whose bus reboots nothing.
struct Node {
    directory: Directory,
    bus: Bus,
    process: Process,
}

impl Node {
    fn start(name: &str, keys: Option<&Path>, on_reboot: OnReboot) -> Self {
        let directory = Directory::new(name);
        if is_root() {
            share_with_parsers(directory.path());
        }
        let path = |it: &str| directory.path().join(it).to_str().expect("UTF-8").to_owned();
        let bus = Bus::start(Path::new(&path("bus")), on_reboot);
        let keys = keys.map_or_else(|| PathBuf::from(path("keys")), Path::to_owned);
        let mut process = Agent::reboot(&[
            "--mode=logind",
            "--socket",
            &path("socket"),
            "--keys",
            keys.to_str().expect("UTF-8"),
            "--state",
            &path(""),
            "--hold",
            &path("hold"),
            "--bus",
            &path("bus"),
            "--node-uid",
            NODE,
            "--min-uptime=0",
            "--min-interval=0",
            "--refusal-pause=0",
        ]);
        process.wait_for_log("the rebooter starts", |line| {
            (line["message"].as_str()? == "remembers").then_some(())
        });
        Self { directory, bus, process }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn hand_over(&self, grant: &[u8]) -> Answer {
        hand_over(&self.socket(), grant, PATIENCE, |_| {}).expect("an answer")
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// As `fsGroup` does with the volume of the socket: what is made in it belongs to the parser's group.
fn share_with_parsers(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let group = Some(nix::unistd::Gid::from_raw(sandbox::PARSER_ID));
    nix::unistd::chown(directory, None, group).expect("give the directory to the parser's group");
    let mode = std::fs::Permissions::from_mode(0o2770);
    std::fs::set_permissions(directory, mode).expect("let the group in");
}

/// A collector in this process, and its offers.
struct Serving {
    address: SocketAddr,
    offers: Arc<OfferBook>,
    state: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Serving {
    fn start(directory: &Directory) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let state = directory.path().join("state");
        let mut settings = Settings::new("127.0.0.1:0".parse().expect("an address"), state.clone());
        settings.interval = Duration::from_secs(1);
        let collector = runtime.block_on(Collector::bind(settings)).expect("a collector");
        let (address, offers) = (collector.address(), Arc::clone(collector.offers()));
        runtime.spawn(collector.serve(std::future::pending()));
        until("a key", || offers.key());
        Self { address, offers, state, runtime }
    }

    fn offer(&self, number: u8) {
        let offer = Offer {
            id: id(number),
            request: RequestUid::from_bytes([9; 16]),
            boot: boot(),
            report: Digest::of(b"report"),
            epoch: 1,
        };
        self.offers.open(uid(), offer, Duration::from_secs(600), None);
    }

    /// What the node said of this grant, once it is as much as `count`.
    fn answers(&self, number: u8, count: usize) -> Vec<palisade_plan::request::Answer> {
        until("answers", || {
            let answers = self.offers.answers(&uid()).into_iter();
            let answers: Vec<_> =
                answers.filter(|it| it.id == id(number)).map(|it| it.answer).collect();
            (answers.len() >= count).then_some(answers)
        })
    }
}

#[test]
fn an_offer_becomes_a_reboot_once_and_is_told_before_it_happens() {
    use palisade_plan::request::Answer as Told;

    let directory = Directory::new("grants");
    let collector = Serving::start(&directory);
    let offers = Arc::clone(&collector.offers);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, taken) = (Arc::clone(&order), Arc::new(std::sync::Mutex::new(Taken::Yes)));
    let takes = Arc::clone(&taken);
    let keys = collector.state.join(PUBLIC_FILE);
    let on_reboot = move || {
        let told = offers.answers(&uid()).into_iter().map(|it| it.answer).collect::<Vec<_>>();
        seen.lock().expect("a list").push(told.last().cloned());
        *takes.lock().expect("a word")
    };
    let node = Node::start("granted", Some(&keys), Box::new(on_reboot));
    let socket = node.socket();
    let socket = socket.to_str().expect("UTF-8");
    // As shipped where that can be: the parser with its own user, Landlock and filter.
    let confine = if is_root() { "split" } else { "single" };
    let more = ["--confine", confine, "--interval", "5", "--rebooter", socket];
    let mut agent = Agent::run(collector.address, NODE, Path::new("/"), &more);
    agent.wait_for_log("it can be rebooted", |line| {
        (line["state"].as_str()? == "logind").then_some(())
    });

    // Offered, fetched by a heartbeat, handed over, told, done.
    collector.offer(1);
    assert_eq!(collector.answers(1, 1), [Told::Executing]);
    until("the order to reboot", || (node.bus.reboots() == 1).then_some(()));
    assert_eq!(*order.lock().expect("a list"), [Some(Told::Executing)], "told before it happened");
    // The collector that has forgotten the answer, as after a restart, changes nothing.
    collector.offers.keep(|_| false);
    collector.offer(1);
    assert_eq!(collector.answers(1, 1), [Told::Executing], "used, so it is being acted upon");
    assert_eq!(node.bus.reboots(), 1);

    // Held by its operator.
    let hold = node.directory.path().join("hold");
    std::fs::write(&hold, "maintenance").expect("a hold file");
    collector.offer(2);
    let answers = collector.answers(2, 1);
    let [Told::Refused(why)] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(why.starts_with("hold: "), "{why}");
    agent.wait_for_log("it is held", |line| {
        (line["state"].as_str()? == "logind/held").then_some(())
    });
    std::fs::remove_file(&hold).expect("remove the hold file");

    // The order is not taken.
    *taken.lock().expect("a word") = Taken::No;
    collector.offer(3);
    let answers = collector.answers(3, 2);
    let [Told::Executing, Told::Failed(why)] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(why.contains("the test says no"), "{why}");
    assert_eq!(node.bus.reboots(), 2, "one attempt for each grant");
    eprintln!("--confine {confine}: offered, fetched, handed over, told, done");
    assert_eq!(agent.terminate(), Some(0));
    collector.runtime.shutdown_background();
}

#[test]
fn a_rebooter_says_whether_it_could_without_a_grant() {
    let node = Node::start("status", None, Box::new(|| Taken::Yes));
    let status = || rebooter::status(&node.socket(), PATIENCE).expect("a status").state;
    assert_eq!(status().can, CanReboot::NoKey);
    std::fs::write(node.directory.path().join("keys"), Signer::new(1).public_line()).expect("keys");
    assert_eq!((status().can, status().hold), (CanReboot::Logind, HoldFile::Absent));
    std::fs::write(node.directory.path().join("hold"), "").expect("a hold file");
    assert_eq!((status().can, status().hold), (CanReboot::Logind, HoldFile::Present));
    std::fs::remove_file(node.directory.path().join("bus")).expect("take the bus away");
    assert_eq!(status().can, CanReboot::NoMeans);
    std::fs::write(node.directory.path().join("reboots.json"), "damaged").expect("a record");
    assert_eq!(status().can, CanReboot::NoRecord);
}

/// What the kubelet brings to the nodes, by a collector that leads in a real cluster.
#[test]
fn a_leader_makes_a_signing_key_and_publishes_its_public_half_and_the_next_ones() {
    let cluster = ControlPlane::start();
    cluster.install("base");
    let state = Directory::new("state");
    let _collector = cluster.collector("one", state.path(), &["--interval", "5"]);
    let at = |kind: &str, name: &str| format!("/api/v1/namespaces/{NAMESPACE}/{kind}/{name}");
    let (secret, trust) =
        (at("secrets", "palisade-collector-tls"), at("configmaps", "palisade-trust"));
    let published = |count: usize| {
        until("keys are published", || {
            let map = cluster.get(&trust);
            let text = map["data"]["grant-keys"].as_str()?.to_owned();
            let keys = rebooter::Keys::parse(&text).expect("what a rebooter reads");
            (keys.ids().count() == count).then_some((map, text))
        })
    };
    let (map, first) = published(1);
    assert!(map["data"]["ca.crt"].is_string(), "the authority is still there: {map}");
    until("both keepers have written their keys", || {
        let kept = cluster.get(&secret);
        let has = |key: &str| kept["data"][key].is_string();
        (has("grant.key") && has("grant-since") && has("ca.key") && has("tls.key")).then_some(())
    });
    // Somebody empties the list: it is published again. Somebody asks for another key.
    cluster.api().must(Call::merge(trust.clone(), &json!({ "data": { "grant-keys": "" } })));
    assert_eq!(published(1).1, first);
    let asked =
        json!({ "metadata": { "annotations": { "palisade.dev/rotate-grant-key": "now" } } });
    cluster.api().must(Call::merge(secret.clone(), &asked));
    let (_, both) = published(2);
    assert!(both.starts_with(&first), "the old one signs until nodes have the new one");
    let kept = cluster.get(&secret);
    assert!(kept["data"]["next-grant.key"].is_string());
    assert!(kept["metadata"]["annotations"]["palisade.dev/rotate-grant-key"].is_null());
}

/// A key, and grants signed with it.
struct Signer(Ed25519KeyPair);

impl Signer {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key of a seed"))
    }

    fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().expect("32 bytes")
    }

    fn public_line(&self) -> String {
        format!("{}\n", Digest::from_bytes(self.public()))
    }

    /// A good grant, but for what `change` does to it.
    fn sign(&self, number: u32, change: impl FnOnce(&mut Grant)) -> Vec<u8> {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let mut grant = Grant {
            action: Action::Reboot,
            key: KeyId::of(&self.public()),
            id: GrantId::from_bytes(bytes),
            request: RequestUid::from_bytes([9; 16]),
            node: uid(),
            boot: boot(),
            report: Digest::of(b"report"),
            epoch: 5,
            not_after: now() + Duration::from_secs(55),
        };
        change(&mut grant);
        let signature = self.0.sign(&grant.signed_bytes());
        grant.encode(signature.as_ref().try_into().expect("64 bytes"))
    }
}

fn now() -> Duration {
    nix::time::clock_gettime(ClockId::CLOCK_BOOTTIME).expect("a clock").into()
}

/// Ten thousand times, and each refusal is in the log with its code. In `rebooter` a machine has really
/// booted in between.
#[test]
fn scenario_35_of_10000_replayed_expired_altered_or_foreign_grants_none_is_accepted() {
    const ATTEMPTS: u32 = 10_000;
    let node = Node::start("refusing", None, Box::new(|| Taken::Yes));
    let (own, foreign) = (Signer::new(1), Signer::new(2));
    std::fs::write(node.directory.path().join("keys"), own.public_line()).expect("keys");
    let good = own.sign(0, |_| {});
    assert_eq!(node.hand_over(&good), Answer::Executing);
    until("the order to reboot", || (node.bus.reboots() == 1).then_some(()));

    let began = Instant::now();
    let mut codes: BTreeMap<String, u32> = BTreeMap::new();
    for attempt in 1..=ATTEMPTS {
        let bad = match attempt % 10 {
            0 => good.clone(),
            1 => own.sign(attempt, |it| it.not_after = now()),
            2 => own.sign(attempt, |it| it.not_after = now() - Duration::from_secs(3600)),
            3 => own.sign(attempt, |it| it.not_after = now() + Duration::from_secs(3600)),
            4 => own.sign(attempt, |it| it.node = "worker-2".parse().expect("a UID")),
            5 => own.sign(attempt, |it| it.epoch = 4),
            6 => own.sign(attempt, |it| {
                it.boot = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().expect("a boot id");
            }),
            // Of another cluster; and with the name of our key.
            7 if attempt % 20 == 7 => foreign.sign(attempt, |_| {}),
            7 => foreign.sign(attempt, |it| it.key = KeyId::of(&own.public())),
            // One bit after the other of a fresh one.
            _ => {
                let mut fresh = own.sign(attempt, |_| {});
                let bit = attempt as usize * 7 % (8 * LENGTH);
                fresh[bit / 8] ^= 1 << (bit % 8);
                fresh
            }
        };
        let Answer::Refused { code, .. } = node.hand_over(&bad) else {
            panic!("attempt {attempt} was accepted");
        };
        *codes.entry(code).or_default() += 1;
    }
    let took = began.elapsed();
    eprintln!("{ATTEMPTS} bad grants: 0 accepted in {:.1} s: {codes:?}", took.as_secs_f64());
    assert_eq!(node.bus.reboots(), 1);
    let at_least = BTreeMap::from([
        ("ahead", 1000),
        ("boot", 1000),
        ("epoch", 1000),
        ("expired", 2000),
        ("key", 500),
        ("node", 1000),
        ("signature", 2000),
        // Once its time is over, the good one is refused for that; on a slow machine soon.
        ("used", 1),
    ]);
    for (code, least) in at_least {
        assert!(codes.get(code).is_some_and(|count| *count >= least), "{code}: {codes:?}");
    }
    assert!(codes["used"] + codes["expired"] >= 3000, "{codes:?}");
    // Each is logged, with the code that the peer was told.
    until("all refusals are logged", || {
        let log = node.process.log();
        let lines = log.iter().filter_map(|it| serde_json::from_str::<Value>(it).ok());
        let mut logged: BTreeMap<String, u32> = BTreeMap::new();
        for line in lines.filter(|it| it["message"] == "refuses a grant") {
            let code = line["code"].as_str().expect("a code").to_owned();
            *logged.entry(code).or_default() += 1;
        }
        (logged == codes).then_some(())
    });
    // It is still there, and a good one still works.
    assert_eq!(node.hand_over(&own.sign(u32::MAX, |_| {})), Answer::Executing);
    until("the order to reboot", || (node.bus.reboots() == 2).then_some(()));
    assert_eq!(node.process.terminate(), None, "ended by the signal");
}
