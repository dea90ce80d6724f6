//! A name server for one command, and a parser that asks it. For `tests/whole/sandbox/name.rs`, in a
//! network namespace of its own; ships with nothing.
//!
//! ```text
//! resolving serve PORT COMMAND...     127.0.0.1:53 (UDP, TCP) and a collector's PORT, then COMMAND
//! resolving ask none|parser NAME...   confines itself, and prints what each name resolves to
//! ```
//!
//! Every name that ends in `palisade.test` has the address 127.0.0.1 and no IPv6 address. One that
//! begins with `long.` is answered over TCP only, as an answer is that does not fit a datagram.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::net::UdpSocket;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use palisade_agent::sandbox;
use palisade_agent::sandbox::Granted;

/// How long the command may take to connect on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The suffix of the names that exist.
const ZONE: &str = ".palisade.test";

/// Bytes of the header of a message, RFC 1035 section 4.1.1.
const HEADER: usize = 12;

/// The type of a record with an IPv4 address.
const A: [u8; 2] = [0, 1];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ask", role, names @ ..] => ask(role, names),
        ["serve", port, command @ ..] => serve(port.parse().expect("a port"), command),
        other => panic!("no command {other:?}"),
    }
}

fn ask(role: &str, names: &[&str]) {
    match role {
        "none" => {}
        "parser" => {
            let granted = Granted { readable: &[], port: Some(7443) };
            sandbox::confine_parser(&granted).expect("confine the parser");
        }
        other => panic!("no role {other}"),
    }
    let resolve = |name: &str| match (name, 7443).to_socket_addrs() {
        Ok(addresses) => addresses.map(|it| it.ip().to_string()).collect::<Vec<_>>().join(" "),
        Err(error) => format!("failed: {error}"),
    };
    let found: BTreeMap<_, _> = names.iter().map(|name| (*name, resolve(name))).collect();
    println!("{}", serde_json::to_string(&found).expect("a map of texts"));
}

/// What a thread has to say.
enum Heard {
    Asked(String),
    Connected,
    Ended,
}

fn serve(port: u16, command: &[&str]) {
    let udp = UdpSocket::bind("127.0.0.1:53").expect("bind UDP port 53");
    let tcp = TcpListener::bind("127.0.0.1:53").expect("bind TCP port 53");
    // On every address: hosts(5) has another one than the name server.
    let collector = TcpListener::bind(("0.0.0.0", port)).expect("bind the collector's port");
    let (say, heard) = mpsc::channel();
    let (asked, long, connected, ended) = (say.clone(), say.clone(), say.clone(), say);
    std::thread::spawn(move || datagrams(&udp, &asked));
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            streamed(stream.expect("accept"), &long).expect("answer over TCP");
        }
    });
    std::thread::spawn(move || {
        let (mut stream, _) = collector.accept().expect("accept");
        stream.read_exact(&mut [0]).expect("the first byte of a request");
        connected.send(Heard::Connected).expect("say so");
    });
    let [program, arguments @ ..] = command else { panic!("no command") };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("run {program}: {error}"));
    let pid = child.id();
    std::thread::spawn(move || {
        child.wait().expect("wait for the command");
        // The main thread may have ended first.
        drop(ended.send(Heard::Ended));
    });
    let mut how = "in time, neither connected nor ended";
    while let Ok(what) = heard.recv_timeout(PATIENCE) {
        match what {
            Heard::Asked(name) => println!("asked {name}"),
            Heard::Connected => how = "connected",
            Heard::Ended => how = "ended",
        }
        if how == "connected" || how == "ended" {
            break;
        }
    }
    if how != "ended" {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("end the command");
    }
    println!("{how}");
}

fn datagrams(socket: &UdpSocket, say: &mpsc::Sender<Heard>) {
    let mut buffer = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).expect("receive a question");
        let question = &buffer[..length];
        say.send(Heard::Asked(format!("udp {}", name(question)))).expect("say so");
        let is_long = name(question).starts_with("long.");
        socket.send_to(&answer(question, is_long), from).expect("send an answer");
    }
}

fn streamed(mut stream: TcpStream, say: &mpsc::Sender<Heard>) -> io::Result<()> {
    let mut length = [0; 2];
    // Two questions may come over one connection; it ends when the asker closes it.
    while stream.read_exact(&mut length).is_ok() {
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        say.send(Heard::Asked(format!("tcp {}", name(&question)))).expect("say so");
        let answer = answer(&question, false);
        let length = u16::try_from(answer.len()).expect("a short answer");
        stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat())?;
    }
    Ok(())
}

/// The name that is asked for, and the end of the question, RFC 1035 section 4.1.2.
fn question(message: &[u8]) -> (String, usize) {
    let mut at = HEADER;
    let mut labels = Vec::new();
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..end]).into_owned());
        at = end;
    }
    // The root, the type and the class.
    (labels.join("."), at + 5)
}

fn name(message: &[u8]) -> String {
    question(message).0
}

fn answer(message: &[u8], is_cut: bool) -> Vec<u8> {
    let (name, end) = question(message);
    let exists = name.ends_with(ZONE);
    let has_address = exists && !is_cut && message[end - 4..end - 2] == A;
    let flags = [0x81 | if is_cut { 2 } else { 0 }, 0x80 | if exists { 0 } else { 3 }];
    let counts = [0, 1, 0, u8::from(has_address), 0, 0, 0, 0];
    let mut answer = [&message[..2], &flags, &counts, &message[HEADER..end]].concat();
    if has_address {
        // The name by a pointer to the question, A, IN, 60 seconds, 4 bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    answer
}
