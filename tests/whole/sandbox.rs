//! The agent's processes under the rights that they are shipped with, on this very machine.
//!
//! Needs uid 0, as in a container; elsewhere each test says so and ends.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use nix::sys::socket::AddressFamily;
use nix::sys::socket::Backlog;
use nix::sys::socket::SockFlag;
use nix::sys::socket::SockType;
use nix::sys::socket::UnixAddr;
use palisade_agent::sandbox;
use palisade_tests::directory::Directory;
use palisade_tests::process::Agent;
use palisade_tests::process::Collector;
use palisade_tests::process::Process;
use serde_json::Value;

mod name;

/// What a reader may do, and why its user must be nobody else's.
const OF_THE_SAME_USER: &str = "write memory of the same user";

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The user of the collector, and of many an image that is not root's.
const COLLECTOR_ID: u32 = 65532;

/// The rights of the shipped container, and the user, as arguments of setpriv(1).
const SHIPPED: [&str; 3] = [
    "--bounding-set=-all,+dac_read_search,+sys_ptrace,+setuid,+setgid",
    "--inh-caps=-all",
    "--no-new-privs",
];

fn is_root(test: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("{test}: skipped, needs uid 0");
    }
    is_root
}

/// What `confined` in `role` was able to do.
fn tries(role: &str) -> BTreeMap<String, String> {
    let directory = Directory::new(&format!("confined-{role}"));
    let readable = directory.path().join("readable");
    // Everybody may do everything here: only the confinement stands in the way.
    open_to_all(directory.path());
    for name in ["readable", "removable"] {
        std::fs::write(directory.path().join(name), "x").expect("write a file");
        open_to_all(&directory.path().join(name));
    }
    // One takes packets, as a rebooter does, the other a stream, as a bus does.
    let stream = UnixListener::bind(directory.path().join("stream")).expect("listen on a path");
    let packets = listen_for_packets(&directory.path().join("packets"));
    for name in ["stream", "packets"] {
        open_to_all(&directory.path().join(name));
    }
    let listener = || TcpListener::bind("127.0.0.1:0").expect("listen");
    let (collector, other) = (listener(), listener());
    let port = |it: &TcpListener| it.local_addr().expect("an address").port().to_string();
    let sleepers = [sandbox::READER_ID, COLLECTOR_ID].map(Sleeper::start);
    let output = Command::new(env!("CARGO_BIN_EXE_confined"))
        .arg(role)
        .arg(&readable)
        .args([port(&collector), port(&other)])
        .args(sleepers.iter().map(|it| it.0.id().to_string()))
        .stdin(Stdio::null())
        .output()
        .expect("run confined");
    drop((stream, packets));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{role}: {} {error}", output.status);
    serde_json::from_slice(&output.stdout).expect("a map of texts")
}

fn listen_for_packets(path: &Path) -> OwnedFd {
    let kind = SockType::SeqPacket;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)
        .expect("a socket");
    let address = UnixAddr::new(path).expect("a path");
    nix::sys::socket::bind(socket.as_raw_fd(), &address).expect("bind to a path");
    nix::sys::socket::listen(&socket, Backlog::new(4).expect("a length")).expect("listen");
    socket
}

/// A process of some user, whose memory may be dumped.
struct Sleeper(Child);

impl Sleeper {
    fn start(user: u32) -> Self {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("sleep");
        command.arg("600").uid(user).gid(user).stdin(Stdio::null());
        Self(command.spawn().expect("run sleep"))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().expect("end sleep");
        self.0.wait().expect("wait for sleep");
    }
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("chmod");
}

#[test]
fn confined_processes_can_do_nothing_that_they_need_not() {
    if !is_root("confined_processes_can_do_nothing_that_they_need_not") {
        return;
    }
    // Without confinement the same tries succeed, so that their failure means something.
    let free = tries("none");
    for (name, outcome) in &free {
        assert_eq!(outcome, "ok", "{name}: {free:#?}");
    }
    let may = BTreeMap::from([
        (
            "keeper",
            vec![
                "execute",
                OF_THE_SAME_USER,
                "read the granted file",
                "read the password file",
                "thread",
            ],
        ),
        ("reader", vec![OF_THE_SAME_USER, "read the granted file", "read the password file"]),
        (
            "parser",
            vec![
                "connect to the collector",
                "read the granted file",
                "send a packet to a path",
                "thread",
            ],
        ),
    ]);
    for (role, may) in may {
        let tries = tries(role);
        for (name, outcome) in &tries {
            if may.contains(&name.as_str()) {
                assert_eq!(outcome, "ok", "{role}: {name}");
            } else {
                let refused = matches!(outcome.as_str(), "EPERM" | "EACCES");
                assert!(refused, "{role}: {name}: {outcome}: {tries:#?}");
            }
        }
        eprintln!("{role}: {} tries refused, {} allowed", tries.len() - may.len(), may.len());
    }
}

/// A report of this machine by `program`, which ends in the agent and its arguments.
fn report(program: &[&str], more: &[&str]) -> Value {
    let agent = Agent::binary();
    let agent = agent.to_str().expect("a UTF-8 path");
    let mut words: Vec<&str> = program.to_vec();
    words.extend([agent, "report"]);
    words.extend_from_slice(more);
    let output = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("run {words:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {} {error}", output.status);
    serde_json::from_slice(&output.stdout).expect("a report")
}

/// Readings that could be told, and the paths of those that could not with their reasons.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) told: usize,
    pub(crate) unknown: BTreeMap<String, String>,
}

impl Tally {
    pub(crate) fn of(report: &Value) -> Self {
        let mut tally = Self::default();
        tally.count("", &report["sections"]);
        tally
    }

    fn count(&mut self, path: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                match fields.get("state").and_then(Value::as_str) {
                    Some("known" | "absent") => self.told += 1,
                    Some("unknown") => {
                        let detail = fields["why"]["detail"].as_str().expect("a reason");
                        assert!(!detail.is_empty(), "{path} does not say why");
                        self.unknown.insert(path.to_owned(), detail.to_owned());
                    }
                    Some(_) | None => {}
                }
                for (name, value) in fields {
                    self.count(&format!("{path}/{name}"), value);
                }
            }
            Value::Array(values) => {
                for (at, value) in values.iter().enumerate() {
                    self.count(&format!("{path}/{at}"), value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    pub(crate) fn share(&self) -> f64 {
        100.0 * self.told as f64 / (self.told + self.unknown.len()) as f64
    }
}

fn setpriv<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["setpriv"];
    words.extend(SHIPPED);
    words.extend_from_slice(more);
    words
}

fn confinement(report: &Value) -> &Value {
    let boot = &report["sections"]["boot"];
    let found =
        [&boot["confinement"], &boot["value"]["confinement"], &boot["known"]["confinement"]];
    found.into_iter().find(|it| it.is_object()).unwrap_or_else(|| panic!("not told: {boot:#}"))
}

#[test]
fn with_the_shipped_rights_nearly_everything_is_told_and_the_rest_says_why() {
    if !is_root("with_the_shipped_rights_nearly_everything_is_told_and_the_rest_says_why") {
        return;
    }
    let root = Tally::of(&report(&[], &["--confine", "single"]));
    eprintln!("one process, all rights: {:.1} % of {}", root.share(), root.told);
    let split = report(&setpriv(&[]), &["--confine", "split"]);
    let confined = Tally::of(&split);
    eprintln!("split, shipped rights: {:.1} % of {}", confined.share(), confined.told);
    eprintln!("not told: {:#?}", confined.unknown);
    // What this machine does not tell to root either is not the confinement's doing.
    let lost: Vec<_> =
        confined.unknown.keys().filter(|path| !root.unknown.contains_key(*path)).collect();
    let share = 100.0 * (1.0 - lost.len() as f64 / root.told as f64);
    assert!(share >= 95.0, "{share:.1} %: {lost:#?} {:#?}", confined.unknown);
    let confinement = confinement(&split);
    assert_eq!(confinement["mode"], "split", "{confinement:#}");
    assert_eq!(confinement["refused"].as_u64().unwrap_or(0), 0, "{confinement:#}");
    let process = |name: &str| &confinement["processes"][name];
    assert_eq!(process("parser")["uid"], sandbox::PARSER_ID);
    assert_eq!(process("parser")["capabilities"], serde_json::json!([]));
    assert_eq!(process("reader")["uid"], sandbox::READER_ID);
    let two = serde_json::json!(["DAC_READ_SEARCH", "SYS_PTRACE"]);
    assert_eq!(process("reader")["capabilities"], two);
    for name in ["parser", "reader"] {
        assert_eq!(process(name)["seccomp"], "filter");
        assert_eq!(process(name)["no_new_privileges"], true);
    }
    eprintln!("{confinement:#}");
}

#[test]
fn with_fewer_rights_it_tells_what_it_can_and_what_is_lost() {
    if !is_root("with_fewer_rights_it_tells_what_it_can_and_what_is_lost") {
        return;
    }
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let agent = readable_by_all();
    let words = nobody.iter().copied().chain(["env", "--"]).collect::<Vec<_>>();
    let output = Command::new(words[0])
        .args(&words[1..])
        .arg(&agent)
        .args(["report", "--confine", "auto"])
        .output()
        .expect("run the agent");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let confinement = confinement(&report);
    assert_eq!(confinement["mode"], "single");
    let shortfalls = confinement["shortfalls"].as_array().expect("shortfalls");
    assert!(shortfalls.len() >= 3, "{shortfalls:#?}");
    let tally = Tally::of(&report);
    eprintln!("user 65534 without any right: {:.1} % of {}", tally.share(), tally.told);
    assert!(tally.told > 0);
    let output = Command::new(nobody[0])
        .args(&nobody[1..])
        .arg(&agent)
        .args(["report", "--confine", "split"])
        .output()
        .expect("run the agent");
    assert!(!output.status.success(), "a split that cannot be had is no success");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--confine single"));
}

/// The agent where users other than root can execute it.
fn readable_by_all() -> PathBuf {
    let directory = Directory::new("agent-for-all");
    let path = directory.path().join("palisade-agent");
    std::fs::copy(Agent::binary(), &path).expect("copy the agent");
    open_to_all(directory.path());
    open_to_all(&path);
    // Kept until the test process ends: it is in the system's directory for such files.
    std::mem::forget(directory);
    path
}

#[test]
fn in_foreign_namespaces_what_depends_on_them_is_unknown() {
    if !is_root("in_foreign_namespaces_what_depends_on_them_is_unknown") {
        return;
    }
    let network = report(&["unshare", "--net"], &["--confine", "split"]);
    let both =
        report(&["unshare", "--net", "--pid", "--fork", "--mount-proc"], &["--confine", "split"]);
    for report in [&network, &both] {
        let tally = Tally::of(report);
        let of_network: Vec<_> =
            tally.unknown.keys().filter(|path| path.contains("/keys/net.")).collect();
        assert!(!of_network.is_empty(), "net sysctls are told: {:#?}", tally.unknown);
        let sockets = report["sections"]["sockets"].to_string();
        assert!(sockets.contains("unknown"), "{sockets}");
    }
    // Its own processes are no host's processes, however many of them there are.
    let text = both["sections"]["boot"].to_string();
    assert!(text.contains("hostPID"), "{text}");
    let kubelet = both["sections"]["kubelet"].to_string();
    assert!(kubelet.contains("unknown"), "{kubelet}");
}

/// The process whose arguments hold `word`, among those below `parent`.
fn descendant(parent: u32, word: &str) -> Option<u32> {
    let children = |pid: u32| -> Vec<u32> {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    };
    let mut todo = vec![parent];
    while let Some(pid) = todo.pop() {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if arguments.split(|byte| *byte == 0).any(|it| it == word.as_bytes()) {
            return Some(pid);
        }
        todo.extend(children(pid));
    }
    None
}

fn field(pid: u32, file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a status");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
}

fn until(what: &str, agent: &Process, found: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !found() {
        assert!(Instant::now() < deadline, "{what}: {:#?}", agent.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_reader_that_dies_is_started_again_and_the_parser_goes_on() {
    if !is_root("a_reader_that_dies_is_started_again_and_the_parser_goes_on") {
        return;
    }
    let state = Directory::new("state");
    let collector = Collector::start(state.path(), &["--interval", "1"]);
    let more = ["--confine", "split", "--interval", "5"];
    let mut agent = Agent::run(collector.address, "worker", Path::new("/"), &more);
    agent.wait_for_log("a report", |line| line["report"].as_str().map(str::to_owned));
    let pid = agent.pid();
    let keeper = descendant(pid, "keeper").expect("a keeper");
    let reader = descendant(keeper, "reader").expect("a reader");
    for (name, pid) in [("parser", pid), ("keeper", keeper), ("reader", reader)] {
        let weight = |line| field(pid, "status", line);
        let own = field(pid, "smaps_rollup", "Pss_Anon");
        eprintln!(
            "{name}: {} KiB resident, {} at its peak, {own} of its own",
            weight("VmRSS"),
            weight("VmHWM")
        );
    }
    let victim = nix::unistd::Pid::from_raw(i32::try_from(reader).expect("a pid"));
    nix::sys::signal::kill(victim, nix::sys::signal::Signal::SIGKILL).expect("kill the reader");
    until("another reader", &agent, || descendant(keeper, "reader").is_some_and(|it| it != reader));
    let reports = |agent: &Process| {
        agent.log().iter().filter(|line| line.contains("the host's facts changed")).count()
    };
    let again = descendant(keeper, "reader").expect("a reader");
    until("a report after that", &agent, || {
        descendant(keeper, "reader") == Some(again) && reports(&agent) >= 1
    });
    assert!(agent.log().iter().any(|line| line.contains("it is started again")));
    assert_eq!(agent.terminate(), Some(0));
    // Without a parser there is nobody to read for.
    let deadline = Instant::now() + PATIENCE;
    while [keeper, again].iter().any(|pid| Path::new(&format!("/proc/{pid}/cmdline")).exists()) {
        assert!(Instant::now() < deadline, "the reader outlives its parser");
        std::thread::sleep(Duration::from_millis(20));
    }
}
