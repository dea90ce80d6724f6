//! Files of `/proc` and the like: processes, namespaces, kernel parameters, sockets, mounts.

use std::fmt::Write;
use std::net::IpAddr;

use palisade_inspect::boot;
use palisade_inspect::lines::Lines;
use palisade_inspect::lines::MAX_LINE;
use palisade_inspect::machine;
use palisade_inspect::namespace;
use palisade_inspect::process as processes;
use palisade_inspect::sockets;
use palisade_inspect::sockets::Found;
use palisade_inspect::sysctls;
use palisade_report::bound::MAX_LIST;
use palisade_report::bound::MAX_LONG_TEXT;
use palisade_report::bound::MAX_TEXT;
use palisade_report::section::sockets::Protocol;

use super::lines_of;
use super::shown;

pub(super) fn process(bytes: &[u8]) {
    shown(&processes::parse_name(bytes), MAX_TEXT);
    let arguments = processes::parse_arguments(bytes);
    for argument in &arguments {
        shown(argument, MAX_LONG_TEXT);
    }
    let ends = usize::from(!bytes.is_empty() && !bytes.ends_with(b"\0"));
    assert_eq!(arguments.len(), bytes.iter().filter(|byte| **byte == 0).count() + ends);
    if let Some(uid) = processes::parse_uid(bytes) {
        let again = format!("Name:\tx\nUid:\t0\t{uid}\t0\t0\n");
        assert_eq!(processes::parse_uid(again.as_bytes()), Some(uid));
    }
    if let Some(field) = processes::parse_field(bytes, "NSpid:") {
        assert_eq!(field, field.trim());
        assert!(!field.contains('\n'));
    }
}

pub(super) fn namespace(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for kind in ["net", "mnt", "pid"] {
        if let Some(number) = namespace::parse_link(kind, &text) {
            let again = format!("{kind}:[{number}]");
            assert_eq!(namespace::parse_link(kind, &again), Some(number));
            assert!(text.starts_with(kind) && text.ends_with(']'));
        }
    }
}

pub(super) fn boot_time(bytes: &[u8]) {
    if let Some(at) = boot::parse_btime(bytes) {
        let again = format!("btime {}", at.unix());
        assert_eq!(boot::parse_btime(again.as_bytes()), Some(at));
    }
}

/// However a file is cut into pieces, its lines are the same, and those of the plain definition.
pub(super) fn lines(bytes: &[u8]) {
    let Some((first, text)) = bytes.split_first() else { return };
    let read = |size: usize| {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for piece in text.chunks(size) {
            lines.feed(piece, &mut |line| found.push(line.to_vec()));
        }
        let left_out = lines.finish(&mut |line| found.push(line.to_vec()));
        (found, left_out)
    };
    let (found, left_out) = read(usize::from(*first) + 1);
    assert_eq!((&found, left_out), (&read(usize::MAX).0, read(usize::MAX).1));
    let mut plain: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if plain.last().is_some_and(|last| last.is_empty()) {
        plain.pop();
    }
    let (short, long): (Vec<&[u8]>, Vec<&[u8]>) =
        plain.into_iter().partition(|line| line.len() <= MAX_LINE);
    assert_eq!(found, short);
    assert_eq!(left_out, long.len());
}

pub(super) fn sysctl_value(bytes: &[u8]) {
    let value = sysctls::parse_value(bytes);
    shown(&value, MAX_LONG_TEXT);
    assert_eq!(sysctls::parse_value(value.as_bytes()), value);
    assert_eq!(value.trim_ascii(), value);
}

pub(super) fn sysctl_command_line(bytes: &[u8]) {
    for (key, value) in sysctls::parse_command_line(bytes) {
        let again = format!("sysctl.{key}={value}");
        if !again.contains(|it: char| it.is_whitespace() || matches!(it, '"' | '\'' | '\\')) {
            let found = sysctls::parse_command_line(again.as_bytes());
            assert_eq!(found.get(&key), Some(&value), "{again:?}: {found:?}");
        }
    }
}

pub(super) fn sysctl_file(bytes: &[u8]) {
    let lines = sysctls::files::parse(bytes);
    lines_of(bytes, lines.iter().map(|line| line.number));
    assert!(lines.len() <= sysctls::files::MAX_ASSIGNMENTS + 1);
    for line in lines {
        // A slash first says that dots stand for themselves.
        assert_eq!(sysctls::files::normalize(&format!("/{}", line.path)), line.path);
        assert!(!line.path.starts_with('/') && !line.path.is_empty());
        if let Some(value) = line.value {
            assert_eq!(value.trim_ascii(), value);
        }
    }
}

/// Sockets that were found are found again in an answer made of them.
pub(super) fn socket_diag(bytes: &[u8]) {
    for (protocol, state) in [(Protocol::Tcp, 10), (Protocol::Udp, 7)] {
        let Ok(found) = sockets::diag::parse(bytes, protocol) else { continue };
        assert!(found.len() <= sockets::MAX_SOCKETS + 1);
        let mut answer: Vec<u8> = found.iter().flat_map(|socket| message(socket, state)).collect();
        answer.extend(header(16, 3));
        assert_eq!(sockets::diag::parse(&answer, protocol).as_ref(), Ok(&found));
        // Without its end a list would read as all of it.
        answer.truncate(answer.len() - 16);
        assert!(found.is_empty() || sockets::diag::parse(&answer, protocol).is_err());
    }
}

fn header(length: u32, kind: u16) -> Vec<u8> {
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.resize(16, 0);
    bytes
}

fn message(found: &Found, state: u8) -> Vec<u8> {
    let Found { address, port, uid, inode, .. } = found;
    let mut bytes = header(16 + 72, 20);
    bytes.extend([if address.is_ipv4() { 2 } else { 10 }, state, 0, 0]);
    bytes.extend(port.to_be_bytes());
    bytes.resize(16 + 8, 0);
    match address {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
    bytes.resize(16 + 64, 0);
    bytes.extend(uid.to_ne_bytes());
    bytes.extend(inode.to_ne_bytes());
    bytes
}

/// A socket that was found is found again in the line that the kernel writes for it.
pub(super) fn socket_table(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        for (protocol, state) in [(Protocol::Tcp, "0A"), (Protocol::Udp, "07")] {
            match sockets::table::parse_line(line, protocol) {
                Ok(Some(found)) => {
                    let local = table_address(&found);
                    let Found { uid, inode, .. } = found;
                    let again = format!(
                        "   0: {local} {local} {state} 00000000:00000000 00:00000000 00000000 {uid:5} 0 {inode} 1"
                    );
                    let parsed = sockets::table::parse_line(again.as_bytes(), protocol);
                    assert_eq!(parsed, Ok(Some(found)), "{again}");
                }
                Ok(None) => {}
                Err(malformed) => shown(&malformed.shown, 64),
            }
        }
    }
}

fn table_address(found: &Found) -> String {
    let octets = match found.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut text = String::new();
    for word in octets.chunks_exact(4) {
        let word = u32::from_ne_bytes(word.try_into().expect("four bytes"));
        write!(text, "{word:08X}").expect("a string takes text");
    }
    format!("{text}:{:04X}", found.port)
}

pub(super) fn os_release(bytes: &[u8]) {
    let os = machine::os::parse(bytes);
    for text in os.id_like.iter().chain([&os.id, &os.version, &os.name]).chain(&os.variant) {
        shown(text, MAX_TEXT);
    }
    assert!(os.id_like.len() <= 16);
}

pub(super) fn cpus(bytes: &[u8]) {
    let Some(count) = machine::parse_cpus(bytes) else { return };
    assert!(count > 0);
    let again = format!("0-{}", count - 1);
    // One list may name a CPU twice, and so more than there can be.
    if let Some(same) = machine::parse_cpus(again.as_bytes()) {
        assert_eq!(same, count);
    }
}

pub(super) fn memory(bytes: &[u8]) {
    if let Some(mib) = machine::parse_memory_mib(bytes) {
        assert!(mib <= u64::MAX / 1024);
        let again = format!("MemTotal: {} kB\n", mib * 1024);
        assert_eq!(machine::parse_memory_mib(again.as_bytes()), Some(mib));
    }
}

pub(super) fn swaps(bytes: &[u8]) {
    let Some(areas) = machine::parse_swaps(bytes) else { return };
    assert!(areas.len() <= MAX_LIST && areas.is_sorted());
    for area in &areas {
        shown(area, MAX_TEXT);
        assert!(!area.is_empty());
    }
}

pub(super) fn mounts(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some((_, mount)) = machine::mounts::parse_line(line) {
            shown(&mount.kind, MAX_TEXT);
            assert!(!(mount.options.contains("ro") && mount.options.contains("rw")));
            for option in &mount.options {
                shown(option, MAX_TEXT);
            }
        }
    }
    assert!(machine::mounts::unescape(bytes).len() <= bytes.len());
    // As the kernel's seq_escape() does.
    let mut escaped = Vec::new();
    for byte in bytes {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\\') {
            escaped.extend(format!("\\{byte:03o}").into_bytes());
        } else {
            escaped.push(*byte);
        }
    }
    assert_eq!(machine::mounts::unescape(&escaped), bytes);
}

pub(super) fn elf(bytes: &[u8]) {
    if let Some(name) = machine::parse_machine(bytes) {
        assert!(bytes.starts_with(b"\x7fELF") && !name.is_empty());
        assert_eq!(machine::parse_machine(&bytes[..20]), Some(name));
    }
}
