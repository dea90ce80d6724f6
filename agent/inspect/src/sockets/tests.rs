//! Answers of a Linux 6.18 host with five sockets, and what becomes of them.

use std::collections::BTreeMap;

use palisade_report::section::boot::Proof;
use proptest::prelude::*;

use super::*;
use crate::MemoryHost;
use crate::host::Nature;
use crate::process::Process;

/// sock_diag of TCP, IPv4 and then IPv6: two sockets that share 127.0.0.1:18081, 0.0.0.0:2024 with
/// inode 1574, and [::1]:18080 with inode 82931.
const TCP: &str = "7c000000140002000000000001450000020a000046a100007f0000010000000000000000000000000000000000000000000000000000000000000000011000000000000000000000000000008000000000000000f5430100050008000000000008000f00000000000c00150001000000000000000600160052000000\
7c000000140002000000000001450000020a000046a100007f0000010000000000000000000000000000000000000000000000000000000000000000021000000000000000000000000000008000000000000000f4430100050008000000000008000f00000000000c00150001000000000000000600160052000000\
7c000000140002000000000001450000020a000007e8000000000000000000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000800000000000000026060000050008000000000008000f00000000000c00150001000000000000000600160052000000\
1400000003000200000000000145000000000000\
840000001400020000000000014500000a0a000046a00000000000000000000000000000000000010000000000000000000000000000000000000000031000000000000000000000000000008000000000000000f3430100050008000000000005000b000100000008000f00000000000c00150001000000000000000600160012000000\
1400000003000200000000000145000000000000";

/// The same of UDP: 127.0.0.1:18053 with inode 82934.
const UDP: &str = "7c00000014000200000000000145000002070000468500007f0000010000000000000000000000000000000000000000000000000000000000000000041000000000000000000000000000000000000000000000f6430100050008000000000008000f00000000000c00150001000000000000000600160050000000\
1400000003000200000000000145000000000000\
1400000003000200000000000145000000000000";

const HEADING: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

/// The tables of `/proc/1/net` at the same moment.
const TABLES: [(&str, &str); 4] = [
    (
        "/proc/1/net/tcp",
        "   0: 0100007F:46A1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 82933 1 000000008d7dce56 100 0 0 10 0                     \n   \
1: 0100007F:46A1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 82932 1 00000000ea76a2ed 100 0 0 10 0                     \n   \
2: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1574 1 0000000070b84541 100 0 0 10 0                      \n   \
3: 0100007F:8000 0100007F:07E8 01 00000000:00000000 00:00000000 00000000     0        0 99 1 0000000070b84541 100 0 0 10 0                      \n",
    ),
    (
        "/proc/1/net/tcp6",
        "   0: 00000000000000000000000001000000:46A0 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 82931 1 00000000889b7cdd 100 0 0 10 0\n",
    ),
    (
        "/proc/1/net/udp",
        " 4371: 0100007F:4685 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 82934 2 00000000c8942e4c 0         \n",
    ),
    ("/proc/1/net/udp6", ""),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs.map(|pair| u8::from_str_radix(&pair, 16).expect("hexadecimal")).collect()
}

fn with_tables(host: MemoryHost) -> MemoryHost {
    TABLES.iter().fold(host, |host, (path, lines)| host.file(path, format!("{HEADING}{lines}")))
}

fn with_diag(host: MemoryHost) -> MemoryHost {
    host.diag(Protocol::Tcp, bytes(TCP)).diag(Protocol::Udp, bytes(UDP))
}

/// Process 1 holds two sockets, and process 40 all but one.
fn with_owners(host: MemoryHost) -> MemoryHost {
    host.link("/proc/1/fd/3", "socket:[1574]")
        .link("/proc/1/fd/4", "socket:[82931]")
        .link("/proc/40/fd/0", "/dev/null")
        .link("/proc/40/fd/3", "socket:[82931]")
        .link("/proc/40/fd/4", "socket:[82932]")
        .link("/proc/40/fd/5", "socket:[82933]")
        .link("/proc/40/fd/6", "pipe:[82934]")
}

fn process(pid: u32, name: &str) -> Process {
    Process {
        pid,
        name: name.to_owned(),
        arguments: vec![name.to_owned()],
        executable: Ok(format!("/usr/bin/{name}")),
        uid: 0,
    }
}

fn table() -> ProcessTable {
    ProcessTable { processes: Ok(vec![process(1, "systemd"), process(40, "server")]) }
}

fn boot(network: Proof, pid: Proof) -> Section<Boot> {
    let absent = || Origin::words("not asked");
    Section::Known(Boot {
        hostname: Reading::absent(absent()),
        boot_id: Reading::absent(absent()),
        booted_at: Reading::absent(absent()),
        command_line: Reading::absent(absent()),
        reboot_flag_written_at: Reading::absent(absent()),
        kubelet_identity: Reading::absent(absent()),
        namespaces: BTreeMap::from([(NamespaceKind::Network, network), (NamespaceKind::Pid, pid)]),
        confinement: None,
    })
}

fn proven() -> Proof {
    Proof::Host { evidence: "proven".to_owned() }
}

fn foreign() -> Proof {
    Proof::Foreign { evidence: "a pod".to_owned() }
}

/// One line for each listener, after the origin.
fn show(section: &Section<Sockets>) -> Vec<String> {
    let listeners = &section.known().expect("the section is known").listeners;
    let mut shown = vec![listeners.origin().to_string()];
    match listeners {
        Reading::Known { value, .. } => shown.extend(value.iter().map(|listener| {
            let Listener { protocol, address, port, uid, owner } = listener;
            let owner = match owner {
                Reading::Known { value, .. } => value.executable.clone(),
                Reading::Absent { .. } => "the kernel".to_owned(),
                Reading::Unknown { why, .. } => format!("unknown: {}", why.kind),
            };
            format!("{protocol:?} {address} {port} by {uid}: {owner}")
        })),
        Reading::Absent { .. } => shown.push("absent".to_owned()),
        Reading::Unknown { why, .. } => shown.push(format!("unknown: {}", why.kind)),
    }
    shown
}

const LISTENERS: [&str; 4] = [
    "Tcp 0.0.0.0 2024 by 0: /usr/bin/systemd",
    "Tcp 127.0.0.1 18081 by 0: /usr/bin/server",
    "Tcp ::1 18080 by 0: /usr/bin/server",
    "Udp 127.0.0.1 18053 by 0: the kernel",
];

#[test]
fn sock_diag_gives_merged_listeners_with_their_owners() {
    let host = with_owners(with_diag(MemoryHost::default()));
    let shown = show(&read(&host, &table(), &boot(proven(), proven())));
    assert_eq!(shown[0], "sock_diag(7)");
    assert_eq!(shown[1..], LISTENERS);
}

#[test]
fn the_tables_of_process_1_say_the_same() {
    let host = with_owners(with_tables(MemoryHost::default()));
    for boot in [
        // sock_diag is refused; then the agent is in another network, but sees process 1.
        boot(proven(), proven()),
        boot(foreign(), proven()),
    ] {
        let shown = show(&read(&host, &table(), &boot));
        assert_eq!(shown[0], "/proc/1/net/{tcp,tcp6,udp,udp6}");
        assert_eq!(shown[1..], LISTENERS);
    }
    let host = with_owners(with_tables(MemoryHost::new(Nature::Captured)));
    let captured = boot(Proof::Captured, Proof::Captured);
    assert_eq!(show(&read(&host, &table(), &captured))[1..], LISTENERS);
}

#[test]
fn without_a_proof_nothing_is_claimed() {
    let host = with_owners(with_diag(with_tables(MemoryHost::default())));
    let shown = show(&read(&host, &table(), &boot(foreign(), foreign())));
    assert_eq!(shown[1..], ["unknown: wrong-namespace"]);
    let shown = show(&read(&host, &table(), &boot(proven(), foreign())));
    assert_eq!(shown[1], "Tcp 0.0.0.0 2024 by 0: unknown: wrong-namespace");
    let crashed = Section::Unknown { why: Why::new(WhyKind::Crashed, "panicked") };
    assert_eq!(show(&read(&host, &table(), &crashed))[1..], ["unknown: crashed"]);
}

#[test]
fn an_owner_that_may_not_be_seen_is_unknown_and_not_the_kernel() {
    let host = with_owners(with_diag(MemoryHost::default()));
    let denied = host.clone().unreadable("/proc/1/fd", WhyKind::PermissionDenied);
    let shown = show(&read(&denied, &table(), &boot(proven(), proven())));
    assert_eq!(shown[1], "Tcp 0.0.0.0 2024 by 0: unknown: permission-denied");
    assert_eq!(shown[2], LISTENERS[1]);
    assert_eq!(shown[4], "Udp 127.0.0.1 18053 by 0: unknown: permission-denied");

    let hidden = ProcessTable { processes: Err(Why::new(WhyKind::PermissionDenied, "hidepid")) };
    let shown = show(&read(&host, &hidden, &boot(proven(), proven())));
    assert_eq!(shown[1], "Tcp 0.0.0.0 2024 by 0: unknown: permission-denied");

    let captured = with_tables(MemoryHost::new(Nature::Captured));
    let shown = show(&read(&captured, &table(), &boot(Proof::Captured, Proof::Captured)));
    assert_eq!(shown[1], "Tcp 0.0.0.0 2024 by 0: unknown: missing-source");
}

#[test]
fn a_process_that_began_meanwhile_is_found() {
    let host = with_owners(with_diag(MemoryHost::default()))
        .file("/proc/41/status", "Name:\tlate\nUid:\t0\t0\t0\t0\n")
        .file("/proc/41/comm", "late\n")
        .file("/proc/41/cmdline", "late")
        .link("/proc/41/exe", "/usr/bin/late")
        .link("/proc/41/fd/3", "socket:[82934]");
    let shown = show(&read(&host, &table(), &boot(proven(), proven())));
    assert_eq!(shown[4], "Udp 127.0.0.1 18053 by 0: /usr/bin/late");
}

#[test]
fn a_socket_without_an_inode_is_the_kernels() {
    let line = " 1: 00000000:0801 00000000:0000 0A 0:0 0:0 0     7        0 0 1 0 100 0 0 10 0\n";
    let host = with_owners(with_tables(MemoryHost::default()))
        .file("/proc/1/net/tcp", line)
        .unreadable("/proc/1/fd", WhyKind::PermissionDenied);
    let shown = show(&read(&host, &table(), &boot(proven(), proven())));
    assert_eq!(shown[1], "Tcp 0.0.0.0 2049 by 7: the kernel");
}

#[test]
fn part_of_an_answer_is_not_taken_for_all_of_it() {
    let whole = bytes(TCP);
    assert_eq!(diag::parse(&whole, Protocol::Tcp).unwrap().len(), 4);
    for cut in 0..whole.len() {
        // After the first dump's end, IPv6 is missing and this cannot be seen; all else can.
        let is_dump = cut == 3 * 0x7c + 0x14;
        assert_eq!(diag::parse(&whole[..cut], Protocol::Tcp).is_ok(), is_dump, "{cut}");
    }
    let mut refused = bytes("2400000002000000000000000000000000000000");
    refused[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
    refused[0] = 20;
    assert_eq!(
        diag::parse(&refused, Protocol::Tcp),
        Err(diag::ParseDiagError::Refused { errno: -1 })
    );
    let mut interrupted = whole;
    interrupted[6] |= 0x10;
    assert_eq!(diag::parse(&interrupted, Protocol::Tcp), Err(diag::ParseDiagError::Interrupted));
}

#[test]
fn tables_that_are_not_whole_are_unknown() {
    let whole = with_tables(MemoryHost::default());
    let without_6 = whole.clone().without("/proc/1/net/tcp6").without("/proc/1/net/udp6");
    assert!(table::read(&without_6).is_ok());
    for broken in [
        without_6.file("/proc/1/net/if_inet6", ""),
        whole.clone().without("/proc/1/net/tcp"),
        whole.clone().file("/proc/1/net/udp", "   0: 0100007F:46A1 00000000:0000 07 0\n"),
        whole.clone().file("/proc/1/net/udp", "   0: 0100007F:46A1\n"),
        whole.clone().file("/proc/1/net/udp", [0xff, 0xfe, b'\n']),
        whole.clone().file("/proc/1/net/udp", vec![b' '; crate::lines::MAX_LINE + 1]),
        whole.unreadable("/proc/1/net/tcp", WhyKind::PermissionDenied),
    ] {
        assert!(table::read(&broken).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0usize..500,
        byte in any::<u8>(),
        line in "[ 0-9A-F:]{0,120}",
    ) {
        let mut answer = bytes(TCP);
        let at = at % answer.len();
        answer[at] = byte;
        for bytes in [&answer[..], &noise] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let sockets = diag::parse(bytes, protocol).unwrap_or_default();
                prop_assert!(sockets.iter().all(|socket| socket.port != 0));
                prop_assert!(table::parse_line(bytes, protocol).is_ok_and(|s| s.is_none())
                    || !bytes.is_empty());
            }
        }
        if let Ok(Some(socket)) = table::parse_line(line.as_bytes(), Protocol::Tcp) {
            prop_assert!(socket.port != 0);
        }
        prop_assert!(owner::parse_socket(&line).is_none());
    }
}
