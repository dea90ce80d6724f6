//! Both sides in one process, over a real socket pair.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use nix::sys::socket::MsgFlags;
use palisade_inspect::Host;
use palisade_inspect::Interest;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_inspect::reach::Reach;
use palisade_report::Moment;
use palisade_report::WhyKind;
use palisade_report::section::boot::ConfinementMode;
use palisade_report::section::sockets::Protocol;
use proptest::prelude::*;

use super::wire::Question;
use super::wire::Questions;
use super::*;
use crate::Inspector;
use crate::Tree;
use crate::memo::Ask;
use crate::memo::Local;
use crate::sandbox;
use crate::subject::Area;
use crate::subject::Subject;

/// The private number of the key below, in base64.
const NUMBER: &str = "INTuctv5E1hK1bbY8fdp";

/// RFC 8410 section 10.3.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB
Z9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PRIVATE KEY-----
";

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let own = format!("palisade-reader-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(own);
        fs::remove_dir_all(&path).ok();
        for directory in ["etc/kubernetes/pki", "etc/sysctl.d", "root/.ssh", "etc/apt"] {
            fs::create_dir_all(path.join(directory)).unwrap();
        }
        fs::write(path.join("etc/os-release"), "ID=debian\n").unwrap();
        fs::write(path.join("etc/shadow"), "root:secret\n").unwrap();
        fs::write(path.join("etc/kubernetes/pki/apiserver.key"), KEY).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn hello(tree: &Tree) -> Hello {
    Hello {
        is_live: tree.nature() == Nature::Live,
        resolver: sandbox::resolver(tree).to_owned(),
        rights: sandbox::capability::rights().unwrap(),
    }
}

fn serve(root: &Path, interest: &Interest, socket: OwnedFd) -> JoinHandle<Result<(), ServeError>> {
    let tree = Tree::open(root).unwrap();
    let hello = hello(&tree);
    let mut server = Server::new(socket, Local::new(tree, None), Reach::new(interest));
    std::thread::spawn(move || server.run(&hello))
}

fn connect(socket: OwnedFd) -> Remote {
    let rights = sandbox::capability::rights().unwrap();
    let own = Own { rights, landlock: 0, shortfalls: Vec::new() };
    Remote::connect(socket, own, Moment::from_unix(1_800_000_000)).unwrap()
}

fn remote(root: &Path, interest: &Interest) -> (Remote, JoinHandle<Result<(), ServeError>>) {
    let (own, other) = wire::pair().unwrap();
    let server = serve(root, interest, other);
    (connect(own), server)
}

fn words(error: ReadError) -> (WhyKind, String) {
    let why = error.why();
    (why.kind, why.detail)
}

#[test]
fn a_remote_host_answers_as_the_tree_itself() {
    let scratch = Scratch::new("same");
    symlink("os-release", scratch.0.join("etc/apt/apt.conf")).unwrap();
    let tree = Tree::open(&scratch.0).unwrap();
    let (remote, server) = remote(&scratch.0, &Interest::default());
    for path in ["/etc/os-release", "/etc/apt/apt.conf", "/etc/sysctl.d/none", "/etc/sysctl.conf"] {
        assert_eq!(remote.read(path, 1000), tree.read(path, 1000), "{path}");
        assert_eq!(remote.metadata(path), tree.metadata(path), "{path}");
        assert_eq!(remote.link_metadata(path), tree.link_metadata(path), "{path}");
        assert_eq!(remote.read_link(path), tree.read_link(path), "{path}");
    }
    assert_eq!(remote.read("/etc/os-release", 3), tree.read("/etc/os-release", 3));
    fs::write(scratch.0.join("etc/sysctl.d/.hidden"), "").unwrap();
    assert_eq!(remote.list("/etc/sysctl.d", 9), tree.list("/etc/sysctl.d", 9));
    assert_eq!(remote.list("/etc/sysctl.d", 0), tree.list("/etc/sysctl.d", 0));
    assert_eq!(remote.is_root_of(Some(1)), tree.is_root_of(Some(1)));
    assert_eq!(remote.socket_diag(Protocol::Tcp), tree.socket_diag(Protocol::Tcp));
    drop(remote);
    assert!(server.join().unwrap().is_ok());
}

#[test]
fn large_answers_come_in_pieces() {
    let scratch = Scratch::new("large");
    let text = "x".repeat(3 * 64 * 1024 + 17);
    fs::create_dir_all(scratch.0.join("var/lib/dpkg")).unwrap();
    fs::write(scratch.0.join("var/lib/dpkg/status"), &text).unwrap();
    for number in 0..3000 {
        fs::write(scratch.0.join(format!("etc/sysctl.d/{number:0>60}")), "").unwrap();
    }
    let (remote, _server) = remote(&scratch.0, &Interest::default());
    let read = remote.read("/var/lib/dpkg/status", 1 << 20).unwrap();
    assert_eq!(read.bytes, text.as_bytes());
    assert_eq!(remote.list("/etc/sysctl.d", 3000).unwrap().len(), 3000);
}

#[test]
fn what_is_not_on_the_list_is_refused_and_counted() {
    let scratch = Scratch::new("refused");
    symlink("/etc/shadow", scratch.0.join("etc/apt/apt.conf")).unwrap();
    let (remote, _server) = remote(&scratch.0, &Interest::default());
    for path in ["/etc/shadow", "/root/.ssh", "/etc/apt/apt.conf", "/etc/../etc/shadow"] {
        assert_eq!(
            words(remote.read(path, 1000).unwrap_err()),
            (WhyKind::PermissionDenied, serve::REFUSED.to_owned()),
            "{path}"
        );
    }
    assert!(remote.list("/root", 10).is_err() && remote.metadata("/root/.ssh").is_err());
    assert!(remote.write_locked("/etc/shadow").is_err());
    assert_eq!(remote.refused(), 7);
}

#[test]
fn of_a_private_key_no_byte_crosses_over() {
    let scratch = Scratch::new("key");
    let (own, other) = wire::pair().unwrap();
    let _server = serve(&scratch.0, &Interest::default(), other);
    let mut buffer = vec![0; wire::MAX_PACKET];
    wire::receive(&own, &mut buffer, MsgFlags::empty()).unwrap().unwrap();
    let mut questions = Questions::new(1);
    let path = "/etc/kubernetes/pki/apiserver.key".to_owned();
    questions.push(&Question::Ask(Ask::Read(path, 1 << 16)));
    wire::send(&own, questions.bytes()).unwrap();
    let packet = wire::receive(&own, &mut buffer, MsgFlags::empty()).unwrap().unwrap();
    let text = String::from_utf8_lossy(packet);
    assert!(text.contains("PALISADE KEY") && !text.contains(NUMBER), "{text}");
}

#[test]
fn an_area_holds_until_something_that_it_read_changes() {
    let scratch = Scratch::new("holds");
    let (remote, _server) = remote(&scratch.0, &Interest::default());
    let inspect = |area| {
        remote.set_deadline(Some(Instant::now() + Duration::from_secs(5)));
        remote.begin(area);
        remote.read("/etc/os-release", 1000).unwrap();
    };
    assert!(!remote.holds(Area::Host), "never read");
    // The file is younger than its proof, see `memo`.
    std::thread::sleep(Duration::from_millis(2100));
    remote.turn();
    inspect(Area::Host);
    remote.turn();
    assert!(remote.holds(Area::Host));
    assert!(!remote.holds(Area::Files));
    fs::write(scratch.0.join("etc/os-release"), "ID=other\n").unwrap();
    remote.turn();
    assert!(!remote.holds(Area::Host));
}

#[test]
fn a_silent_reader_costs_its_time_once_and_is_heard_again() {
    let (own, other) = wire::pair().unwrap();
    let tree = Tree::open(Path::new("/")).unwrap();
    let hello = serde_json::to_vec(&hello(&tree)).unwrap();
    let control = |kind, bytes: &[u8]| {
        let mut packet = 0_u32.to_ne_bytes().to_vec();
        wire::put_record(&mut packet, kind, bytes);
        wire::send(&other, &packet).unwrap();
    };
    control(wire::kind::HELLO, &hello);
    let remote = connect(own);
    remote.set_deadline(Some(Instant::now()));
    let started = Instant::now();
    assert!(remote.read("/proc/stat", 10).unwrap_err().is_out_of_time());
    remote.set_deadline(Some(Instant::now() + Duration::from_millis(50)));
    let (kind, detail) = words(remote.read("/proc/stat", 10).unwrap_err());
    assert_eq!(kind, WhyKind::Io);
    assert!(detail.contains("does not answer"), "{detail}");
    remote.set_deadline(Some(Instant::now() + Duration::from_secs(100)));
    assert!(remote.read("/proc/stat", 10).is_err(), "not asked again");
    assert!(started.elapsed() < Duration::from_secs(50));
    // The keeper says that it died; a turn later there is another one.
    control(wire::kind::DOWN, b"it ended (signal: 9)");
    remote.turn();
    let (_, detail) = words(remote.read("/proc/stat", 10).unwrap_err());
    assert!(detail.contains("signal: 9"), "{detail}");
    control(wire::kind::HELLO, &hello);
    remote.turn();
    let answering = std::thread::spawn(move || {
        let mut buffer = vec![0; wire::MAX_PACKET];
        loop {
            let packet = wire::receive(&other, &mut buffer, MsgFlags::empty()).unwrap().unwrap();
            let (number, questions) = wire::read_questions(packet).unwrap();
            if questions.iter().any(|it| matches!(it, Question::Ask(Ask::Locked(_)))) {
                let mut packet = number.to_ne_bytes().to_vec();
                wire::put_record(&mut packet, wire::kind::FLAG, &[1]);
                wire::send(&other, &packet).unwrap();
                return;
            }
        }
    });
    assert_eq!(remote.write_locked("/var/lib/dpkg/lock"), Ok(true));
    answering.join().unwrap();
    let (_, detail) = words(remote.read("/proc/stat", 10).unwrap_err());
    assert!(detail.contains("keeper ended"), "{detail}");
}

#[test]
fn a_machine_inspected_through_the_list_is_refused_nothing() {
    let interest = Interest {
        sysctls: ["kernel.kptr_restrict", "net.ipv4.ip_forward"].map(str::to_owned).into(),
        files: ["/etc/shadow", "/etc/cron.d/*", "/etc/ssh/sshd_config"].map(str::to_owned).into(),
        ..Interest::default()
    };
    let (remote, _server) = remote(Path::new("/"), &interest);
    let mut split = Inspector::over(Box::new(remote), interest.clone());
    let mut single = Inspector::new(Tree::open(Path::new("/")).unwrap(), interest);
    let (split_report, single_report) = (split.inspect(), single.inspect());
    let boot = split_report.boot.as_ref().unwrap().known().unwrap();
    let confinement = boot.confinement.as_ref().unwrap();
    assert_eq!(confinement.mode, ConfinementMode::Split);
    split.inspect();
    let boot = split.inspect().boot.unwrap();
    assert_eq!(boot.known().unwrap().confinement.as_ref().unwrap().refused, 0);
    for (split, single) in [
        (format!("{:?}", split_report.kernel), format!("{:?}", single_report.kernel)),
        (format!("{:?}", split_report.files), format!("{:?}", single_report.files)),
        (format!("{:?}", split_report.host), format!("{:?}", single_report.host)),
        (format!("{:?}", split_report.updates), format!("{:?}", single_report.updates)),
        (format!("{:?}", split_report.sysctls), format!("{:?}", single_report.sysctls)),
        (format!("{:?}", split_report.certificates), format!("{:?}", single_report.certificates)),
    ] {
        assert_eq!(split, single);
    }
}

proptest! {
    #[test]
    fn hostile_packets_are_malformed_and_nothing_worse(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok((number, questions)) = wire::read_questions(&bytes) {
            let mut again = Questions::new(number);
            questions.iter().for_each(|question| again.push(question));
            prop_assert_eq!(again.bytes(), bytes.as_slice());
        }
        let mut rest = bytes.as_slice();
        while let Ok(record) = wire::next_record(&mut rest) {
            drop(answer::read_end(record));
            drop(answer::read_entries(record.bytes, 10));
            drop(answer::read_once(record.bytes));
        }
    }
}
