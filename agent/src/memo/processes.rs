//! What is known of single processes, kept from one cycle to the next.
//!
//! A process counts as the same while its executable's link reads the same: one call instead of a
//! dozen. The end of a process, its number used again by another program, an `exec` of another
//! program, and an executable that was replaced all change that link. What it does not show (the
//! same program executed again by the same process, a changed name) is found because every
//! process is read anew once in [`ROUNDS`] cycles.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_inspect::Host;
use palisade_inspect::Metadata;

use crate::Tree;

/// Cycles within which every process is read anew.
const ROUNDS: u32 = 16;

/// Bytes that are kept of all processes together; beyond, processes are read each time.
const MAX_KEPT: usize = 1024 * 1024;

/// Processes that are kept track of.
#[derive(Debug, Default)]
pub(crate) struct ProcessCache {
    processes: BTreeMap<u32, Kept>,
    /// Numbers that meant another program, or none, in the last cycle.
    changed: BTreeSet<u32>,
    bytes: usize,
    round: u32,
}

#[derive(Debug)]
struct Kept {
    /// The text of `exe`; `None` for kernel threads and where it may not be read.
    executable: Option<String>,
    /// What was read by the name below the process's directory.
    files: BTreeMap<String, (Metadata, Vec<u8>)>,
    /// Whether anybody asked for it in this cycle; nobody asks for what has ended.
    is_wanted: Cell<bool>,
}

impl ProcessCache {
    /// Starts a cycle: forgets what ended, became another program, or has its turn.
    pub(crate) fn check(&mut self, tree: &Tree) {
        let Self { processes, changed, bytes, round } = self;
        *round = (*round + 1) % ROUNDS;
        changed.clear();
        processes.retain(|pid, kept| {
            let is_same =
                kept.is_wanted.replace(false) && executable(tree, *pid) == kept.executable;
            if !is_same || pid % ROUNDS == *round {
                let freed = kept.files.values().map(|(_, content)| content.len()).sum();
                *bytes = bytes.saturating_sub(freed);
                kept.files.clear();
            }
            if !is_same {
                changed.insert(*pid);
            }
            is_same
        });
    }

    /// Whether the process is the one that was known in the last cycle.
    pub(crate) fn knows(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid) && !self.changed.contains(&pid)
    }

    /// What is kept of a file of a process.
    pub(super) fn content(&self, pid: u32, name: &str) -> Option<&(Metadata, Vec<u8>)> {
        let kept = self.processes.get(&pid)?;
        kept.is_wanted.set(true);
        kept.files.get(name)
    }

    /// Keeps the content of a file of a process, if there is room.
    pub(super) fn keep(&mut self, tree: &Tree, pid: u32, name: &str, file: (Metadata, Vec<u8>)) {
        let grown = self.bytes.saturating_add(file.1.len());
        if grown > MAX_KEPT {
            return;
        }
        self.bytes = grown;
        let kept = self.processes.entry(pid).or_insert_with(|| Kept {
            executable: executable(tree, pid),
            files: BTreeMap::new(),
            is_wanted: Cell::new(true),
        });
        if let Some((_, before)) = kept.files.insert(name.to_owned(), file) {
            self.bytes = self.bytes.saturating_sub(before.len());
        }
    }
}

fn executable(tree: &Tree, pid: u32) -> Option<String> {
    tree.read_link(&format!("/proc/{pid}/exe")).ok()
}
