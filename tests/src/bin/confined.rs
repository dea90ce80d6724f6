//! Confines itself as one of the agent's processes does, then tries what such a process must not be
//! able to do, and prints what came of each try. For `tests/whole/sandbox.rs`; ships with nothing.
//!
//! Without a role only what does no harm is tried, to show that it would work.
//!
//! `confined none|keeper|reader|parser READABLE PORT OTHER_PORT SAME OTHER`, the last two processes of
//! the reader's user and of another.

use std::collections::BTreeMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::fcntl::OpenHow;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::ptrace;
use nix::sys::socket::AddressFamily;
use nix::sys::socket::SockFlag;
use nix::sys::socket::SockType;
use nix::sys::socket::UnixAddr;
use nix::sys::uio::RemoteIoVec;
use nix::unistd::Pid;
use palisade_agent::sandbox;
use palisade_agent::sandbox::Granted;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, readable, port, other, same_user, other_user] = arguments.as_slice() else {
        panic!("six arguments")
    };
    let readable = Path::new(readable);
    let parent = readable.parent().expect("a file in a directory");
    let [port, other] = [port, other].map(|it| it.parse::<u16>().expect("a port"));
    match role.as_str() {
        "none" => {}
        "keeper" => sandbox::confine_keeper().expect("confine the keeper"),
        "reader" => {
            sandbox::confine_keeper().expect("confine the keeper");
            sandbox::confine_reader().expect("confine the reader");
        }
        "parser" => {
            let granted = Granted { readable: &[parent], port: Some(port) };
            sandbox::confine_parser(&granted).expect("confine the parser");
        }
        other => panic!("no role {other}"),
    }
    let mut tries = harmless(readable, parent, port, other);
    for (name, process) in [
        ("write memory of another user", other_user.as_str()),
        ("write memory of the same user", same_user),
        ("write the own memory", "self"),
    ] {
        tries.insert(name, said(open_memory(process)));
    }
    if role != "none" {
        tries.extend(harmful(readable, parent));
    }
    println!("{}", serde_json::to_string(&tries).expect("a map of texts"));
}

type Tries = BTreeMap<&'static str, String>;

fn harmless(readable: &Path, parent: &Path, port: u16, other: u16) -> Tries {
    let connect = |port| TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).map(drop);
    let outcomes = [
        ("connect elsewhere", connect(other)),
        ("connect to the collector", connect(port)),
        ("create a file", File::create(parent.join("created")).map(drop)),
        ("execute", Command::new("/bin/true").status().map(drop)),
        ("listen", TcpListener::bind("127.0.0.1:0").map(drop)),
        ("listen on a path", UnixListener::bind(parent.join("socket")).map(drop)),
        ("make a directory", std::fs::create_dir(parent.join("made"))),
        ("read the granted file", std::fs::read(readable).map(drop)),
        ("read the password file", std::fs::read("/etc/passwd").map(drop)),
        ("remove a file", std::fs::remove_file(parent.join("removable"))),
        ("send a packet to a path", nix(packets(&parent.join("packets")))),
        ("send a stream to a path", UnixStream::connect(parent.join("stream")).map(drop)),
        ("signal", nix(nix::sys::signal::kill(Pid::from_raw(1), None))),
        ("thread", std::thread::Builder::new().spawn(|| ()).map(drop)),
        ("write the granted file", write(readable)),
    ];
    outcomes.into_iter().map(|(name, outcome)| (name, said(outcome))).collect()
}

/// As a rebooter is asked.
fn packets(path: &Path) -> nix::Result<()> {
    let kind = SockType::SeqPacket;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, kind, SockFlag::empty(), None)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
}

fn write(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(path).map(drop)
}

/// Not by openat(2), whose flags the filter sees: what stands in the way is the user.
fn open_memory(process: &str) -> io::Result<()> {
    let how = OpenHow::new().flags(OFlag::O_WRONLY);
    let memory = format!("/proc/{process}/mem");
    nix(nix::fcntl::openat2(nix::fcntl::AT_FDCWD, memory.as_str(), how).map(drop))
}

fn nix(outcome: nix::Result<()>) -> io::Result<()> {
    outcome.map_err(io::Error::from)
}

fn harmful(readable: &Path, parent: &Path) -> Tries {
    let init = Pid::from_raw(1);
    let socket = |family, kind| {
        nix(nix::sys::socket::socket(family, kind, SockFlag::empty(), None).map(drop))
    };
    let mut memory = [0; 8];
    let far = RemoteIoVec { base: 0x1000, len: 8 };
    let network = File::open("/proc/self/ns/net").or_else(|_| File::open(readable));
    let outcomes = [
        (
            "mount",
            nix(nix::mount::mount(
                Some("none"),
                parent,
                Some("tmpfs"),
                MsFlags::MS_RDONLY,
                None::<&str>,
            )),
        ),
        ("packet socket", socket(AddressFamily::Packet, SockType::Raw)),
        ("raw socket", socket(AddressFamily::Inet, SockType::Raw)),
        (
            "read foreign memory",
            nix(nix::sys::uio::process_vm_readv(init, &mut [IoSliceMut::new(&mut memory)], &[far])
                .map(drop)),
        ),
        (
            "set namespace",
            network.and_then(|it| nix(nix::sched::setns(it, CloneFlags::CLONE_NEWNET))),
        ),
        ("trace", nix(ptrace::seize(init, ptrace::Options::empty()))),
        ("unmount", nix(nix::mount::umount("/proc/self"))),
        ("unshare mounts", nix(nix::sched::unshare(CloneFlags::CLONE_NEWNS))),
        ("unshare users", nix(nix::sched::unshare(CloneFlags::CLONE_NEWUSER))),
        ("write foreign memory", write(Path::new("/proc/1/mem"))),
        ("write the host", write(Path::new("/proc/1/root/etc/passwd"))),
    ];
    outcomes.into_iter().map(|(name, outcome)| (name, said(outcome))).collect()
}

/// `ok`, or the name of the error.
fn said(outcome: io::Result<()>) -> String {
    match outcome {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.raw_os_error().map_or_else(
            || error.to_string(),
            |code| format!("{:?}", nix::errno::Errno::from_raw(code)),
        ),
    }
}
