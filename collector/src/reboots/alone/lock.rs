//! That one hook at a time is at work on a node, whoever is killed meanwhile.
//!
//! ```text
//! STATE/hook-locks/UID     one line of JSON: the standard input of the hook
//!   flock ── inherited with the file ──> let go of when the collector has seen the end of the call,
//!                                        else by the end of the last process that has it as input
//! ```
//!
//! A lock of flock(2) belongs to the open file and not to a process: a hook whose collector was killed
//! holds it on. Its successor ends such a hook as it ends one that is late, and calls none for the node
//! until it is gone. Who only reads the file is left alone. A hook that replaces its standard input is not
//! found this way, which the README says.
//! Files of one store have one collector: nobody else takes these locks.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::fcntl::FlockArg;
use nix::sys::signal::Signal;
use nix::sys::signal::killpg;
use nix::unistd::Pid;
use nix::unistd::getpgid;
use nix::unistd::getpgrp;
use palisade_report::NodeUid;

/// Processes that are looked at: a kernel has no more (`PID_MAX_LIMIT`, proc_sys_kernel(5)).
const MAX_PROCESSES: usize = 1 << 22;

/// Bytes that are read of what the kernel tells of an open file: some lines, that of flock(2) first of all
/// locks.
const MAX_FDINFO: u64 = 16 * 1024;

/// The lock of one node: no other call for it runs while this is there.
#[derive(Debug)]
pub(super) struct NodeLock(Flock<File>);

impl NodeLock {
    /// Takes the lock of a node. `None`: what an earlier collector called still runs, and was told to end.
    ///
    /// # Errors
    /// Of the file system: then nobody knows.
    pub(super) fn take(directory: &Path, uid: &NodeUid) -> io::Result<Option<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut options = File::options();
        let path = path(directory, uid);
        lock(options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?)
    }

    /// Whether nothing runs for a node; what an earlier collector called is told to end.
    ///
    /// # Errors
    /// Of the file system: then nobody knows.
    pub(super) fn is_free(directory: &Path, uid: &NodeUid) -> io::Result<bool> {
        match File::open(path(directory, uid)) {
            Ok(file) => Ok(lock(file)?.is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Standard input of a call that is told `input`. Whoever has it holds the lock, too.
    pub(super) fn input(&self, input: &str) -> io::Result<Stdio> {
        self.0.set_len(0)?;
        self.0.write_all_at(input.as_bytes(), 0)?;
        Ok(Stdio::from(self.0.try_clone()?))
    }
}

fn path(directory: &Path, uid: &NodeUid) -> PathBuf {
    // Letters, digits and dashes.
    directory.join(uid.as_str())
}

fn lock(file: File) -> io::Result<Option<NodeLock>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(NodeLock(held))),
        Err((file, Errno::EWOULDBLOCK)) => {
            end_holders(&file)?;
            Ok(None)
        }
        Err((_, error)) => Err(error.into()),
    }
}

/// Ends whoever holds the lock of this file by its standard input, each with all of its process group.
fn end_holders(file: &File) -> io::Result<()> {
    let known = file.metadata()?;
    for entry in fs::read_dir("/proc")?.take(MAX_PROCESSES) {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends meanwhile, or is somebody else's: then it is waited for.
        let process = entry.path();
        if !is_holder(&process, &known) {
            continue;
        }
        let pid = Pid::from_raw(pid);
        let group = match getpgid(Some(pid)) {
            Ok(group) => group,
            Err(Errno::ESRCH) => continue,
            Err(error) => return Err(error.into()),
        };
        let Some(group) = endable(group, getpgrp()) else {
            tracing::warn!(%pid, %group, "a hook of an earlier collector has no group of its own");
            continue;
        };
        // The number may be another one's by now.
        if is_holder(&process, &known) {
            let ended = killpg(group, Signal::SIGKILL);
            tracing::warn!(%pid, ?ended, "a hook of an earlier collector still runs: it is ended");
        }
    }
    Ok(())
}

/// The group, if a signal to it reaches nobody else. kill(2): 0 is that of the caller, and 1 would be
/// everybody. getpgid(2) says 0 of a process whose group is in no PID namespace of ours.
fn endable(group: Pid, own: Pid) -> Option<Pid> {
    (group.as_raw() > 1 && group != own).then_some(group)
}

/// Whether a process below /proc has the file that is `known` as standard input, and a lock by that: who
/// only reads it is somebody else.
fn is_holder(process: &Path, known: &Metadata) -> bool {
    let Ok(input) = fs::metadata(process.join("fd/0")) else { return false };
    if (input.dev(), input.ino()) != (known.dev(), known.ino()) {
        return false;
    }
    let mut told = Vec::new();
    let read = File::open(process.join("fdinfo/0"))
        .and_then(|file| file.take(MAX_FDINFO).read_to_end(&mut told));
    read.is_ok() && tells_of_lock(&String::from_utf8_lossy(&told))
}

/// Whether what the kernel tells of an open file has a lock of flock(2), see proc_pid_fdinfo(5).
fn tells_of_lock(fdinfo: &str) -> bool {
    let mut locks = fdinfo.lines().filter_map(|line| line.strip_prefix("lock:"));
    locks.any(|lock| lock.split_ascii_whitespace().any(|word| word == "FLOCK"))
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::process::CommandExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Child;
    use std::process::Command;
    use std::time::Duration;
    use std::time::Instant;

    use nix::sys::signal::kill;
    use nix::unistd::close;

    use super::*;
    use crate::testing::PATIENCE;
    use crate::testing::Scratch;

    fn uid() -> NodeUid {
        "db-1".parse().unwrap()
    }

    fn taken(scratch: &Scratch) -> NodeLock {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match NodeLock::take(&scratch.0, &uid()).unwrap() {
                Some(lock) => return lock,
                None => assert!(Instant::now() < deadline, "it is never let go"),
            }
            // Each turn reads all of /proc.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn hook(lock: &NodeLock, script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command.stdin(lock.input("told\n").unwrap()).process_group(0).spawn().unwrap()
    }

    /// What a kill leaves of a lock: the file is closed, and nobody unlocks.
    fn lose(lock: NodeLock) {
        let lock = ManuallyDrop::new(lock);
        close(lock.0.as_raw_fd()).unwrap();
    }

    #[test]
    fn nobody_is_called_for_a_node_while_another_one_is_there() {
        let scratch = Scratch::new();
        assert!(NodeLock::is_free(&scratch.0, &uid()).unwrap(), "never called");
        let lock = taken(&scratch);
        assert!(NodeLock::take(&scratch.0, &uid()).unwrap().is_none());
        assert!(!NodeLock::is_free(&scratch.0, &uid()).unwrap());
        let other = "db-2".parse().unwrap();
        assert!(NodeLock::take(&scratch.0, &other).unwrap().is_some(), "another node");
        drop(lock);
        assert!(NodeLock::is_free(&scratch.0, &uid()).unwrap());
    }

    #[test]
    fn what_a_killed_collector_called_is_ended_before_anything_else_is_called() {
        let scratch = Scratch::new();
        let lock = taken(&scratch);
        let mut hook = hook(&lock, "sleep 600 & wait");
        lose(lock);
        assert!(NodeLock::take(&scratch.0, &uid()).unwrap().is_none(), "it still runs");
        let status = hook.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{status}");
        // The rest of its group ends, too, if not in the same moment.
        drop(taken(&scratch));
    }

    #[test]
    fn whoever_only_reads_what_a_hook_is_told_is_left_alone() {
        let scratch = Scratch::new();
        let lock = taken(&scratch);
        let mut hook = hook(&lock, "sleep 600");
        lose(lock);
        let mut reader = Command::new("sleep");
        let told = File::open(path(&scratch.0, &uid())).unwrap();
        let mut reader = reader.arg("600").stdin(told).process_group(0).spawn().unwrap();
        assert!(NodeLock::take(&scratch.0, &uid()).unwrap().is_none(), "it still runs");
        // Of two signals that end a process the first one counts.
        kill(Pid::from_raw(reader.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(reader.wait().unwrap().signal(), Some(15));
        assert_eq!(hook.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn no_signal_reaches_our_own_group_or_everybody() {
        let own = Pid::from_raw(40);
        let groups = [-1, 0, 1, 40, 2, 41].map(Pid::from_raw);
        let ended = groups.map(|group| endable(group, own).map(Pid::as_raw));
        assert_eq!(ended, [None, None, None, None, Some(2), Some(41)]);
    }

    #[test]
    fn only_a_lock_of_flock_is_one_of_ours() {
        let head = "pos:\t0\nflags:\t0100002\nmnt_id:\t27\nino:\t4711\n";
        let lock = |kind| format!("{head}lock:\t1: {kind}  ADVISORY  WRITE 0 fe:00:4711 0 EOF\n");
        assert!(tells_of_lock(&lock("FLOCK")));
        assert!(!tells_of_lock(&lock("POSIX")) && !tells_of_lock(head) && !tells_of_lock(""));
        assert!(tells_of_lock(&format!("{}{}", lock("POSIX"), lock("FLOCK"))));
    }

    #[test]
    fn what_a_call_leaves_in_the_background_keeps_nobody_out() {
        let scratch = Scratch::new();
        let lock = taken(&scratch);
        let mut hook = hook(&lock, "read told; test \"$told\" = told");
        // Somebody else has the file, too, as a process in the background would.
        let same = lock.0.try_clone().unwrap();
        assert!(hook.wait().unwrap().success(), "it is told what it is");
        drop(lock);
        assert!(NodeLock::is_free(&scratch.0, &uid()).unwrap());
        drop(same);
    }
}
