//! Processes: one walk over `/proc` per inspection, shared by every reader that needs it.
//!
//! A process that ends during the walk is left out. What this does not do: decide which process is
//! whose, or follow a process over time.

use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_LONG_TEXT;
use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;

use crate::Host;
use crate::ReadError;
use crate::host::EntryKind;

/// Processes that are looked at; a node with Kubernetes' usual 110 pods has some hundreds.
pub const MAX_PROCESSES: usize = 32_768;

/// Entries of `/proc` beside processes: about 70 on today's kernels.
const MAX_OTHER_ENTRIES: usize = 1024;

/// Bytes of one command line that are read: the kernel's own bound on arguments is 6 MiB
/// (three quarters of `_STK_LIM`, execve(2)).
pub const MAX_COMMAND_LINE: usize = 8 * 1024 * 1024;

/// Bytes of one command line that are kept: the flags of a kubelet take 2 to 8 KiB.
pub const MAX_ARGUMENTS: usize = 32 * 1024;

/// Bytes that the arguments of all processes may take together, so that a pod with many large
/// processes cannot use up the agent's memory.
pub const MAX_ALL_ARGUMENTS: usize = 8 * 1024 * 1024;

/// Bytes of `/proc/PID/status`: 1.5 KiB, more with many supplementary groups.
pub const MAX_STATUS: usize = 1024 * 1024;

/// The processes of the host, or why they cannot be seen.
#[derive(Clone, Debug)]
pub struct ProcessTable {
    /// Every visible process, by process id.
    pub processes: Result<Vec<Process>, Why>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id, as the inspected `/proc` numbers it.
    pub pid: u32,
    /// Its name, at most 15 bytes. Source: `/proc/PID/comm`.
    pub name: String,
    /// Its arguments, the program's name first; empty for kernel threads.
    /// Source: `/proc/PID/cmdline`, split at NUL.
    pub arguments: Vec<String>,
    /// Its executable as the link says, ` (deleted)` included; or why it is not known.
    /// Source: `/proc/PID/exe`.
    pub executable: Result<String, Why>,
    /// Effective user id. Source: `Uid` of `/proc/PID/status`.
    pub uid: u32,
}

/// Reads the process table.
///
/// It is an error unless process 1 and more than the reader's own processes are visible: only then
/// does a process that is not listed not run. Whether the table is that of the *host* is another
/// question, see [`boot`](crate::boot).
#[must_use]
pub fn read(host: &dyn Host) -> ProcessTable {
    ProcessTable { processes: walk(host) }
}

fn walk(host: &dyn Host) -> Result<Vec<Process>, Why> {
    let mut processes = Vec::new();
    let mut budget = MAX_ALL_ARGUMENTS;
    for pid in list(host)? {
        let Some(process) = read_one(host, pid)? else { continue };
        let size: usize = process.arguments.iter().map(String::len).sum();
        budget = budget.checked_sub(size).ok_or_else(|| {
            let detail = format!("the arguments of all processes exceed {MAX_ALL_ARGUMENTS} bytes");
            Why::new(WhyKind::TooLarge, detail)
        })?;
        processes.push(process);
    }
    let own = host.read_link("/proc/self").ok().and_then(|text| text.parse::<u32>().ok());
    let sees_init = processes.iter().any(|process| process.pid == 1);
    // Reading and parsing may be processes of their own, which execute the same program.
    let reader = processes.iter().find(|process| Some(process.pid) == own);
    let program = reader.and_then(|process| process.executable.as_ref().ok());
    let is_own = |process: &Process| {
        Some(process.pid) == own || program.is_some() && process.executable.as_ref().ok() == program
    };
    let sees_others = processes.iter().any(|process| process.pid != 1 && !is_own(process));
    if !sees_init || !sees_others {
        let detail = "only the reader's own processes are visible in /proc; needs the host's \
                      process ids (hostPID), and CAP_SYS_PTRACE where /proc has hidepid";
        return Err(Why::new(WhyKind::PermissionDenied, detail));
    }
    Ok(processes)
}

/// The ids of all visible processes, ascending.
///
/// # Errors
/// Why `/proc` could not be listed.
pub fn list(host: &dyn Host) -> Result<Vec<u32>, Why> {
    let entries = host.list("/proc", MAX_PROCESSES + MAX_OTHER_ENTRIES).map_err(ReadError::why)?;
    let mut pids: Vec<u32> = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Directory)
        .filter_map(|entry| parse_pid(&entry.name))
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// One process; `None` if it has ended.
///
/// # Errors
/// Why it could not be told what the process is.
pub fn read_one(host: &dyn Host, pid: u32) -> Result<Option<Process>, Why> {
    let directory = format!("/proc/{pid}");
    let status = match host.read(&format!("{directory}/status"), MAX_STATUS) {
        Ok(contents) => contents.bytes,
        Err(error) => return ended(host, &directory, error),
    };
    let Some(uid) = parse_uid(&status) else {
        let detail = format!("{directory}/status has no line `Uid:` with four numbers");
        return Err(Why::new(WhyKind::Malformed, detail));
    };
    let name = match host.read(&format!("{directory}/comm"), MAX_TEXT) {
        Ok(contents) => parse_name(&contents.bytes),
        Err(error) => return ended(host, &directory, error),
    };
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| {
        let room = MAX_ARGUMENTS.saturating_sub(bytes.len()).min(piece.len());
        bytes.extend_from_slice(piece.get(..room).unwrap_or_default());
    };
    if let Err(error) = host.read_with(&format!("{directory}/cmdline"), MAX_COMMAND_LINE, &mut sink)
    {
        return ended(host, &directory, error);
    }
    let executable = host
        .read_link(&format!("{directory}/exe"))
        .map(|target| clean(target.as_bytes(), MAX_LONG_TEXT))
        .map_err(ReadError::why);
    Ok(Some(Process { pid, name, arguments: parse_arguments(&bytes), executable, uid }))
}

/// No process, if `error` came of its end: its directory is gone, or going.
fn ended(host: &dyn Host, directory: &str, error: ReadError) -> Result<Option<Process>, Why> {
    match host.metadata(directory) {
        Err(ReadError::NotFound { .. }) => Ok(None),
        Ok(_) | Err(ReadError::Failed { .. }) => Err(error.why()),
    }
}

/// A process id out of the name of a directory in `/proc`.
fn parse_pid(name: &str) -> Option<u32> {
    // No sign, no leading zero: `parse` alone would take `+1`.
    (name.starts_with(|first: char| first.is_ascii_digit() && first != '0'))
        .then(|| name.parse().ok())
        .flatten()
}

/// A process's name, made showable. Source: `/proc/PID/comm`, proc_pid_comm(5).
#[must_use]
pub fn parse_name(comm: &[u8]) -> String {
    clean(comm.strip_suffix(b"\n").unwrap_or(comm), MAX_TEXT)
}

/// A process's arguments, each made showable and at most [`MAX_LONG_TEXT`] bytes.
///
/// Shape: separated by NUL; the last NUL may be missing. Source: `/proc/PID/cmdline`,
/// proc_pid_cmdline(5).
#[must_use]
pub fn parse_arguments(command_line: &[u8]) -> Vec<String> {
    if command_line.is_empty() {
        return Vec::new();
    }
    let command_line = command_line.strip_suffix(b"\0").unwrap_or(command_line);
    command_line.split(|byte| *byte == 0).map(|argument| clean(argument, MAX_LONG_TEXT)).collect()
}

/// The effective user id: the second number of the line `Uid:`. Source: `/proc/PID/status`,
/// proc_pid_status(5). `None` if there is no such line.
#[must_use]
pub fn parse_uid(status: &[u8]) -> Option<u32> {
    parse_field(status, "Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The rest of the first line that starts with `name`, trimmed. Source: `/proc/PID/status`.
#[must_use]
pub fn parse_field<'a>(status: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = status.split(|byte| *byte == b'\n');
    let rest = lines.into_iter().find_map(|line| line.strip_prefix(name.as_bytes()))?;
    std::str::from_utf8(rest).ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryHost;
    use crate::host::Nature;

    use proptest::prelude::*;

    /// `/proc/1/status` of a Debian 12 machine, cut after the groups.
    const STATUS: &[u8] = b"Name:\tsystemd\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t1\n\
        Ngid:\t0\nPid:\t1\nPPid:\t0\nTracerPid:\t0\nUid:\t1000\t0\t0\t0\nGid:\t0\t0\t0\t0\n";

    fn with_process(host: MemoryHost, pid: u32, name: &str, command_line: &str) -> MemoryHost {
        host.file(&format!("/proc/{pid}/status"), STATUS)
            .file(&format!("/proc/{pid}/comm"), format!("{name}\n"))
            .file(&format!("/proc/{pid}/cmdline"), command_line)
            .link(&format!("/proc/{pid}/exe"), &format!("/usr/bin/{name}"))
    }

    fn small_host() -> MemoryHost {
        let host = MemoryHost::new(Nature::Live).link("/proc/self", "70").file("/proc/stat", "");
        let host = with_process(host, 1, "systemd", "/sbin/init\0splash\0");
        let host = with_process(host, 70, "palisade-agent", "palisade-agent\0scan");
        with_process(host, 8, "kubelet", "kubelet\0--config=/x y\0\0")
    }

    #[test]
    fn processes_come_by_id_with_their_arguments() {
        let host = small_host().file("/proc/2/status", STATUS).file("/proc/2/comm", "kthreadd\n");
        let processes = read(&host.file("/proc/2/cmdline", "")).processes.unwrap();
        let pids: Vec<_> = processes.iter().map(|process| process.pid).collect();
        assert_eq!(pids, [1, 2, 8, 70]);
        assert_eq!(processes[0].uid, 0);
        assert_eq!(processes[1].arguments, Vec::<String>::new());
        assert!(processes[1].executable.is_err());
        assert_eq!(processes[2].arguments, ["kubelet", "--config=/x y", ""]);
        assert_eq!(processes[2].executable.as_deref(), Ok("/usr/bin/kubelet"));
    }

    #[test]
    fn a_process_that_ended_is_left_out() {
        // Listed as a directory, and gone when it is opened.
        let host = small_host();
        assert_eq!(read_one(&host, 9), Ok(None));
    }

    #[test]
    fn a_table_with_own_processes_only_proves_nothing() {
        for host in [
            small_host().without("/proc/8"),
            small_host().without("/proc/1"),
            with_process(small_host().without("/proc/8"), 71, "palisade-agent", "x"),
            small_host().without("/proc/8").without("/proc/1"),
            MemoryHost::default(),
            small_host().unreadable("/proc/8/status", WhyKind::PermissionDenied),
            small_host().unreadable("/proc", WhyKind::PermissionDenied),
            small_host().file("/proc/8/status", "Name:\tx\n"),
        ] {
            assert!(read(&host).processes.is_err());
        }
    }

    #[test]
    fn a_huge_command_line_is_cut_and_many_of_them_are_refused() {
        let huge = "x\0".repeat(MAX_ARGUMENTS);
        let host = with_process(small_host(), 9, "java", &huge);
        let processes = read(&host).processes.unwrap();
        let size: usize =
            processes.iter().find(|p| p.pid == 9).unwrap().arguments.iter().map(String::len).sum();
        assert_eq!(size, MAX_ARGUMENTS / 2);
        let full = "x".repeat(MAX_LONG_TEXT);
        let full = vec![full; MAX_ARGUMENTS / (MAX_LONG_TEXT + 1)].join("\0");
        let host = (100..500).fold(small_host(), |host, pid| with_process(host, pid, "j", &full));
        assert_eq!(read(&host).processes.unwrap_err().kind, WhyKind::TooLarge);
    }

    #[test]
    fn names_cannot_smuggle_control_characters() {
        assert_eq!(parse_name(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb");
        assert_eq!(parse_arguments(b"a\nb\0c"), ["a\\u{a}b", "c"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let arguments = parse_arguments(&bytes);
            prop_assert!(arguments.len() <= bytes.len());
            prop_assert!(parse_name(&bytes).len() <= MAX_TEXT);
            let mut status = b"Uid:".to_vec();
            status.extend_from_slice(&bytes);
            prop_assert!(parse_uid(&status).is_none() || bytes.len() >= 3);
        }
    }
}
