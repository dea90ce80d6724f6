//! Owners of sockets: which process holds a file descriptor of an inode.
//!
//! Of several holders the one with the lowest process id counts, process 1 last: with socket
//! activation the init holds every socket beside the service that serves it. A socket that no
//! process holds belongs to the kernel (NFS, WireGuard), provided that every process could be looked
//! at. Reasons name no process: process ids change from boot to boot.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::sockets::Owner;

use crate::Host;
use crate::ReadError;
use crate::host::Nature;
use crate::process;
use crate::process::Process;

/// File descriptors of one process that are looked at; the kernel's usual limit for a service is
/// 524,288, and those who come near it are not those who listen.
const MAX_DESCRIPTORS: usize = 65_536;

/// The owner of each socket in `wanted`, by inode.
#[must_use]
pub fn find(
    host: &dyn Host,
    processes: &[Process],
    wanted: BTreeSet<u32>,
) -> BTreeMap<u32, Reading<Owner>> {
    let mut search = Search { host, wanted, found: BTreeMap::new(), missed: BTreeSet::new() };
    let (init, others): (Vec<_>, Vec<_>) = processes.iter().partition(|process| process.pid == 1);
    for process in others.into_iter().chain(init) {
        search.look_at(process);
    }
    // A process that began after the table was read may hold what no other holds.
    if !search.is_done() && host.nature() == Nature::Live {
        search.look_at_new(processes);
    }
    search.finish()
}

struct Search<'a> {
    host: &'a dyn Host,
    wanted: BTreeSet<u32>,
    found: BTreeMap<u32, Reading<Owner>>,
    /// Why some process could not be looked at.
    missed: BTreeSet<WhyKind>,
}

impl Search<'_> {
    fn is_done(&self) -> bool {
        self.wanted.is_empty() || self.missed.contains(&WhyKind::OutOfTime)
    }

    fn look_at(&mut self, process: &Process) {
        // Threads of the kernel have no executable and no descriptors.
        let is_kernel = process.arguments.is_empty()
            && matches!(&process.executable, Err(why) if why.kind == WhyKind::MissingSource);
        if self.is_done() || is_kernel {
            return;
        }
        let directory = format!("/proc/{}/fd", process.pid);
        let entries = match self.host.list(&directory, MAX_DESCRIPTORS) {
            Ok(entries) => entries,
            Err(error) => return self.miss(error),
        };
        for entry in entries {
            match self.host.read_link(&format!("{directory}/{}", entry.name)) {
                Ok(target) => {
                    let Some(inode) = parse_socket(&target) else { continue };
                    if self.wanted.remove(&inode) {
                        let origin = Origin::words("/proc/PID/fd");
                        self.found.insert(inode, Reading::known(owner(process), origin));
                    }
                }
                // A file whose name is not UTF-8 is no socket.
                Err(ReadError::Failed { why, .. }) if why.kind == WhyKind::NotRegular => {}
                // Closed meanwhile.
                Err(ReadError::NotFound { .. }) => {}
                Err(error @ ReadError::Failed { .. }) => {
                    self.miss(error);
                    if self.is_done() {
                        return;
                    }
                }
            }
        }
    }

    fn look_at_new(&mut self, known: &[Process]) {
        let known: BTreeSet<u32> = known.iter().map(|process| process.pid).collect();
        let pids = match process::list(self.host) {
            Ok(pids) => pids,
            Err(why) => {
                self.missed.insert(why.kind);
                return;
            }
        };
        for pid in pids.into_iter().filter(|pid| !known.contains(pid)) {
            match process::read_one(self.host, pid) {
                Ok(Some(process)) => self.look_at(&process),
                Ok(None) => {}
                Err(why) => {
                    self.missed.insert(why.kind);
                }
            }
        }
    }

    fn miss(&mut self, error: ReadError) {
        match error {
            // The process has ended; in a captured tree its descriptors were not captured.
            ReadError::NotFound { .. } if self.host.nature() == Nature::Live => {}
            ReadError::NotFound { .. } => {
                self.missed.insert(WhyKind::MissingSource);
            }
            ReadError::Failed { why, .. } => {
                self.missed.insert(why.kind);
            }
        }
    }

    fn finish(self) -> BTreeMap<u32, Reading<Owner>> {
        let Self { host: _, wanted, mut found, missed } = self;
        let kind = [WhyKind::PermissionDenied, WhyKind::OutOfTime]
            .into_iter()
            .find(|kind| missed.contains(kind))
            .or_else(|| missed.first().copied());
        for inode in wanted {
            let reading = match kind {
                None => Reading::absent(Origin::words("held by no process")),
                Some(kind) => {
                    let detail = match kind == WhyKind::PermissionDenied {
                        true => {
                            "open files of some processes may not be seen; needs \
                             CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE"
                        }
                        false => "open files of some processes could not be looked at",
                    };
                    Reading::unknown(Why::new(kind, detail), Origin::words("/proc/PID/fd"))
                }
            };
            found.insert(inode, reading);
        }
        found
    }
}

fn owner(process: &Process) -> Owner {
    let executable = process.executable.clone().unwrap_or_default();
    Owner { name: process.name.clone(), executable }
}

/// The inode out of the text of a descriptor's link: `socket:[12345]`. Source: proc_pid_fd(5).
#[must_use]
pub fn parse_socket(target: &str) -> Option<u32> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
