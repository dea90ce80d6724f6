//! That one hook at a time is at work on a node, whoever is killed meanwhile.
//!
//! ```text
//! STATE/hooks/UID     one line of JSON: the standard input of the hook
//!   flock ── inherited with the file ──> let go of when the collector has seen the end of the call,
//!                                        else by the end of the last process that has it as input
//! ```
//!
//! A lock of flock(2) belongs to the open file and not to a process: a hook whose collector was killed
//! holds it on. Its successor ends such a hook as it ends one that is late, and calls none for the node
//! until it is gone. A hook that replaces its standard input is not found this way, which the README says.
//! Files of one store have one collector: nobody else takes these locks.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::io;
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

/// Ends whoever has this file as standard input, each with all of its process group.
fn end_holders(file: &File) -> io::Result<()> {
    let known = file.metadata()?;
    for entry in fs::read_dir("/proc")?.take(MAX_PROCESSES) {
        let entry = entry?;
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw);
        // One that ends meanwhile, or is somebody else's: then it is waited for.
        let (Some(pid), Ok(input)) = (pid, fs::metadata(entry.path().join("fd/0"))) else {
            continue;
        };
        if (input.dev(), input.ino()) != (known.dev(), known.ino()) {
            continue;
        }
        match getpgid(Some(pid)).map(|group| (group != getpgrp()).then_some(group)) {
            Ok(Some(group)) => {
                let ended = killpg(group, Signal::SIGKILL);
                tracing::warn!(%pid, ?ended, "a hook of an earlier collector still runs: it is ended");
            }
            Ok(None) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::process::CommandExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Child;
    use std::process::Command;
    use std::time::Instant;

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
