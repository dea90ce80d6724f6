//! Machine: the operating system, the Kubernetes distribution, the role, memory and mounts.
//!
//! What a node pool has in common, so nothing here names one machine. Facts under `/proc/1` count
//! only where the process ids are proven to be the host's.

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_LIST;
use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use palisade_report::section::host::Host as HostFacts;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::Interest;
use crate::ReadError;
use crate::host::MAX_PROC;
use crate::namespace;
use crate::process::ProcessTable;

pub mod distribution;
pub mod mounts;
pub mod os;

/// CPUs that a list may name; the kernel's own bound (`NR_CPUS`) is 8,192.
const MAX_CPUS: u32 = 65_536;

/// Programs of which one is on every host that can run a kubelet: their header names the
/// architecture where the kernel does not.
const PROGRAMS: [&str; 3] = ["/bin/sh", "/usr/lib/systemd/systemd", "/sbin/init"];

/// Bytes of such a program that are read at most, of which the first twenty are looked at.
const MAX_PROGRAM: usize = 16 * 1024 * 1024;

/// Reads the section.
#[must_use]
pub fn read(
    host: &dyn Host,
    interest: &Interest,
    processes: &ProcessTable,
    kubelet: &Section<Kubelet>,
) -> Section<HostFacts> {
    let proof = namespace::prove_processes(host);
    let distrust = proof.distrust().map(|evidence| Why::new(WhyKind::WrongNamespace, evidence));
    let os = os::read(host);
    let (mounts, cgroup) = mounts::read(host, interest, distrust.as_ref());
    Section::Known(HostFacts {
        architecture: read_architecture(host),
        distribution: distribution::read(host, os.value(), kubelet),
        role: distribution::read_role(host, processes, kubelet),
        cpus: read_parsed(host, "/sys/devices/system/cpu/online", parse_cpus),
        memory_mib: read_parsed(host, "/proc/meminfo", parse_memory_mib),
        init: match distrust {
            Some(why) => Reading::unknown(why, Origin::path("/proc/1/comm")),
            None => read_parsed(host, "/proc/1/comm", parse_word),
        },
        swap: read_parsed(host, "/proc/swaps", parse_swaps),
        os,
        cgroup,
        mounts,
    })
}

/// Reads a small file that one parser understands; malformed if it does not.
fn read_parsed<T>(
    host: &dyn Host,
    path: &str,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Reading<T> {
    match host.read(path, MAX_PROC) {
        Ok(contents) => match parse(&contents.bytes) {
            Some(value) => Reading::known(value, Origin::path(path)),
            None => {
                let why = Why::new(WhyKind::Malformed, format!("{path} is not as proc(5) says"));
                Reading::unknown(why, Origin::path(path))
            }
        },
        Err(error) => error.reading(),
    }
}

/// The architecture: `/proc/sys/kernel/arch` (since Linux 6.1), else that of a system program.
fn read_architecture(host: &dyn Host) -> Reading<String> {
    let path = "/proc/sys/kernel/arch";
    match host.read(path, MAX_TEXT) {
        Ok(contents) => {
            if let Some(word) = parse_word(&contents.bytes) {
                return Reading::known(word, Origin::path(path));
            }
        }
        Err(ReadError::NotFound { .. }) => {}
        Err(error @ ReadError::Failed { .. }) => return error.reading(),
    }
    for program in PROGRAMS {
        let mut start = Vec::new();
        let read = host.read_with(program, MAX_PROGRAM, &mut |piece| {
            let room = ELF_START.saturating_sub(start.len()).min(piece.len());
            start.extend_from_slice(piece.get(..room).unwrap_or_default());
        });
        // A header is enough, even of a program that is too large or may not be read to its end.
        if let Some(name) = parse_machine(&start) {
            return Reading::known(name.to_owned(), Origin::path(program));
        }
        if let Err(error) = read
            && error.is_out_of_time()
        {
            return error.reading();
        }
    }
    let why = Why::new(WhyKind::MissingSource, "neither the kernel nor a system program names it");
    Reading::unknown(why, Origin::path(path))
}

/// Bytes of an ELF header up to and with `e_machine`.
const ELF_START: usize = 20;

/// The architecture out of the start of an ELF file, by the kernel's name for it. Source: elf(5).
#[must_use]
pub fn parse_machine(start: &[u8]) -> Option<&'static str> {
    let header = start.first_chunk::<ELF_START>()?;
    let [0x7f, b'E', b'L', b'F', class, order, .., low, high] = *header else { return None };
    let is_big = order == 2;
    let machine =
        if is_big { u16::from_be_bytes([low, high]) } else { u16::from_le_bytes([low, high]) };
    match (machine, class, is_big) {
        (62, 2, false) => Some("x86_64"),
        (183, 2, false) => Some("aarch64"),
        (243, 2, false) => Some("riscv64"),
        (258, 2, false) => Some("loongarch64"),
        (21, 2, false) => Some("ppc64le"),
        (21, 2, true) => Some("ppc64"),
        (22, 2, true) => Some("s390x"),
        (40, 1, false) => Some("armv7l"),
        (3, 1, false) => Some("i686"),
        _ => None,
    }
}

/// The only word of a file of the kernel, made showable; `None` if there is none.
#[must_use]
pub fn parse_word(bytes: &[u8]) -> Option<String> {
    let word = bytes.trim_ascii();
    (!word.is_empty()).then(|| clean(word, MAX_TEXT))
}

/// How many CPUs a list names: `0-3,8` names five. Source: cpuset(7), "List format".
#[must_use]
pub fn parse_cpus(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let mut count = 0_u32;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if last >= MAX_CPUS {
            return None;
        }
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// Memory in MiB, rounded down. Source: `MemTotal` in kB of `/proc/meminfo`, proc_meminfo(5).
#[must_use]
pub fn parse_memory_mib(bytes: &[u8]) -> Option<u64> {
    let line = bytes.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"MemTotal:"));
    let kib = std::str::from_utf8(line?).ok()?.trim().strip_suffix("kB")?;
    kib.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

/// Active swap areas, sorted; empty is swap off. Source: `/proc/swaps`, proc_swaps(5).
///
/// Shape: at most [`MAX_LIST`] paths. `None` without the heading.
#[must_use]
pub fn parse_swaps(bytes: &[u8]) -> Option<Vec<String>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    if !lines.next()?.starts_with(b"Filename") {
        return None;
    }
    let mut areas: Vec<String> = lines
        .filter_map(|line| line.split(u8::is_ascii_whitespace).next())
        .filter(|area| !area.is_empty())
        .take(MAX_LIST)
        .map(|area| clean(&mounts::unescape(area), MAX_TEXT))
        .collect();
    areas.sort();
    Some(areas)
}

#[cfg(test)]
mod tests;
