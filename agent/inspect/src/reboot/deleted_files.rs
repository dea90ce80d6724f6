//! Executables and libraries that were replaced under running processes.
//!
//! A process keeps the file that it started from; after an update the kernel shows it as
//! `(deleted)`. Containers are left out: their files come with their image and leave with it. Only
//! directories of packages count: elsewhere programs delete on purpose.

use std::collections::BTreeSet;

use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use palisade_report::section::reboot::Action;
use palisade_report::section::reboot::Reason;
use palisade_report::section::reboot::Signal;
use palisade_report::section::reboot::Source;

use super::Said;
use super::Witness;
use crate::Host;
use crate::ReadError;
use crate::host::MAX_PROC;
use crate::lines::Lines;
use crate::process::Process;
use crate::process::ProcessTable;

/// Files that become reasons, in order of their names. After a release upgrade thousands would.
const MAX_FILES: usize = 64;

/// Processes outside of containers whose maps are read; each costs the kernel some 100 us.
const MAX_PROCESSES: usize = 2048;

/// Bytes of one process's maps; a JVM has about 1 MiB.
const MAX_MAPS: usize = 16 * 1024 * 1024;

/// What the kernel appends to the path of a file that has no name any more.
const DELETED: &str = " (deleted)";

/// Where package managers put what they replace. Elsewhere programs unpack and delete libraries of
/// their own under names that change (JNA, JIT buffers), and any user could raise a reason.
const PACKAGED: [&str; 8] =
    ["/bin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/opt/", "/sbin/", "/usr/"];

/// Parts of a control group's path that stand for a container or pod.
const CONTAINERS: [&str; 8] = [
    "kubepods",
    "/docker",
    "cri-containerd",
    "/crio-",
    "libpod",
    "/lxc",
    "machine.slice",
    "k8s.io",
];

/// What the processes say.
pub(super) fn look(host: &dyn Host, processes: &ProcessTable, witness: &Witness) -> Said {
    let processes = match &processes.processes {
        Ok(processes) => processes,
        Err(why) => return Said::unknown(why.clone()),
    };
    if let Some(why) = &witness.foreign_processes {
        return Said::unknown(why.clone());
    }
    let mut files = BTreeSet::new();
    let mut action = Action::None;
    let mut blind = None;
    let mut looked = 0;
    for process in processes.iter().filter(|process| !is_kernel_thread(process)) {
        if is_contained(host, process.pid) {
            continue;
        }
        looked += 1;
        if looked > MAX_PROCESSES {
            let detail = format!("more than {MAX_PROCESSES} processes outside of containers");
            blind.get_or_insert_with(|| Why::new(WhyKind::TooLarge, detail));
            break;
        }
        let (found, unread) = of_process(host, process);
        if !found.is_empty() {
            action = action.max(match process.pid {
                1 => Action::SoftReboot,
                _ => Action::RestartServices,
            });
        }
        files.extend(found);
        match unread {
            Some(error) if error.is_out_of_time() => {
                blind = Some(unread_maps(&error));
                break;
            }
            Some(error) => {
                blind.get_or_insert_with(|| unread_maps(&error));
            }
            None => {}
        }
    }
    let Some(first) = files.first() else {
        return match blind {
            Some(why) => Said::unknown(why),
            None => Said::not_needed("no process runs a file that was replaced"),
        };
    };
    let evidence = format!("{first} was replaced under a running process, see /proc/PID/maps");
    let reason = |subject| Reason { source: Source::DeletedFiles, subject, target: String::new() };
    Said {
        signal: Signal::Needed { evidence },
        reasons: files.into_iter().take(MAX_FILES).map(reason).collect(),
        action,
    }
}

/// Why maps were not read, without the id of the process: ids differ from boot to boot.
fn unread_maps(error: &ReadError) -> Why {
    let kind = match error {
        ReadError::Failed { why, .. } => why.kind,
        ReadError::NotFound { .. } => WhyKind::MissingSource,
    };
    let detail = format!("/proc/PID/maps of some process: {kind}; needs CAP_SYS_PTRACE");
    Why::new(kind, detail)
}

/// Kernel threads have neither arguments nor an executable.
fn is_kernel_thread(process: &Process) -> bool {
    process.arguments.is_empty() && process.executable.is_err() && process.pid != 1
}

/// Whether the process's control group is that of a container. One that cannot be read is taken
/// for the host's, so that nothing is missed.
fn is_contained(host: &dyn Host, pid: u32) -> bool {
    let Ok(contents) = host.read(&format!("/proc/{pid}/cgroup"), MAX_PROC) else { return false };
    let text = String::from_utf8_lossy(&contents.bytes);
    CONTAINERS.iter().any(|part| text.contains(part))
}

/// The replaced files of one process, and why its maps were not read to the end.
fn of_process(host: &dyn Host, process: &Process) -> (BTreeSet<String>, Option<ReadError>) {
    let mut files = BTreeSet::new();
    if let Ok(executable) = &process.executable {
        files.extend(replaced(executable.as_bytes()));
    }
    let mut lines = Lines::default();
    let mut each = |line: &[u8]| files.extend(parse_mapping(line));
    let path = format!("/proc/{}/maps", process.pid);
    match host.read_with(&path, MAX_MAPS, &mut |piece| lines.feed(piece, &mut each)) {
        Ok(_) => {
            lines.finish(&mut each);
            (files, None)
        }
        Err(ReadError::NotFound { .. }) => (files, None),
        Err(error) => {
            let gone = host.metadata(&format!("/proc/{}", process.pid)).is_err();
            (files, (!gone || error.is_out_of_time()).then_some(error))
        }
    }
}

/// The replaced file that a line of `/proc/PID/maps` is about, if it is executable.
///
/// Shape: `7f0-7f1 r-xp 0 08:01 42    /usr/lib/libc.so.6 (deleted)`, see proc_pid_maps(5).
#[must_use]
pub fn parse_mapping(line: &[u8]) -> Option<String> {
    if !line.ends_with(DELETED.as_bytes()) {
        return None;
    }
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let executable = fields.nth(1)?.get(2) == Some(&b'x');
    let path = fields.nth(3)?.trim_ascii_start();
    executable.then(|| replaced(path)).flatten()
}

/// The path of a file that was replaced, without what the kernel and package managers append.
#[must_use]
pub fn replaced(path: &[u8]) -> Option<String> {
    let path = path.strip_suffix(DELETED.as_bytes())?;
    let text = String::from_utf8_lossy(path);
    if !PACKAGED.iter().any(|start| text.starts_with(start)) {
        return None;
    }
    // rpm writes `NAME;65a1b2c3` and renames it, dpkg `NAME.dpkg-new`.
    let name = match text.rsplit_once(';') {
        Some((name, hex))
            if hex.len() == 8 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()) =>
        {
            name
        }
        Some(_) | None => &text,
    };
    let name =
        name.strip_suffix(".dpkg-new").or_else(|| name.strip_suffix(".dpkg-tmp")).unwrap_or(name);
    Some(clean(name.as_bytes(), MAX_TEXT))
}
