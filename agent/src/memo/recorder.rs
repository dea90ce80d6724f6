//! A host that notes what it is asked, and answers for known processes from memory.

use std::cell::RefCell;

use palisade_inspect::Host;
use palisade_inspect::Metadata;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_inspect::host::Entry;
use palisade_report::section::sockets::Protocol;

use super::Ask;
use super::Compare;
use super::Print;
use super::ProcessCache;
use super::Trace;
use super::is_of_kernel;
use super::process_of;
use super::steady;
use crate::Tree;

/// Bytes of one file of a process that are worth keeping; longer ones are read each time.
const MAX_CONTENT: usize = 16 * 1024;

/// A host that notes what it is asked.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    tree: &'a Tree,
    compare: &'a Compare,
    processes: &'a RefCell<ProcessCache>,
    trace: &'a RefCell<Trace>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(
        tree: &'a Tree,
        compare: &'a Compare,
        processes: &'a RefCell<ProcessCache>,
        trace: &'a RefCell<Trace>,
    ) -> Self {
        Self { tree, compare, processes, trace }
    }

    /// Notes a question and what its answer looked like.
    fn note(&self, ask: Ask, print: Print) {
        self.trace.borrow_mut().asks.insert(ask, print);
    }

    /// Notes a question about a file on disk, before it is answered: what changes in between is
    /// then found next time. `false` if it is one for the kernel.
    fn note_disk(&self, path: &str, ask: impl FnOnce() -> Ask) -> bool {
        let is_of_disk = !is_of_kernel(self.tree, path);
        if is_of_disk {
            let ask = ask();
            let print = self.compare.print(self.tree, &ask);
            self.note(ask, print);
        }
        is_of_disk
    }

    /// The process that a path of a running machine is about, and what is asked of it.
    fn process<'p>(&self, path: &'p str) -> Option<(u32, &'p str)> {
        if self.tree.nature() == Nature::Live { process_of(path) } else { None }
    }

    /// Notes that the facts rest on this process: while it lives, its answers stay.
    fn note_process(&self, pid: u32) {
        self.trace.borrow_mut().processes.insert(pid);
    }

    fn read_of_process(
        &self,
        (pid, name): (u32, &str),
        path: &str,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError> {
        let is_identity = matches!(name, "status" | "comm" | "cmdline");
        if is_identity
            && let Some((metadata, content)) = self.processes.borrow().content(pid, name)
            && content.len() <= limit
        {
            sink(content);
            return Ok(metadata.clone());
        }
        let mut content = Some(Vec::new());
        let mut deleted = Deleted::default();
        let metadata = self.tree.read_with(path, limit, &mut |piece| {
            deleted.look(piece);
            content = content.take().filter(|it| it.len() + piece.len() <= MAX_CONTENT);
            if let Some(content) = &mut content {
                content.extend_from_slice(piece);
            }
            sink(piece);
        })?;
        if is_identity && let Some(content) = content {
            self.processes.borrow_mut().keep(self.tree, pid, name, (metadata.clone(), content));
        }
        if name != "maps" || deleted.is_found {
            self.note_process(pid);
        }
        Ok(metadata)
    }
}

/// Looks for files that were deleted under a process, in pieces of its `maps`.
#[derive(Default)]
struct Deleted {
    is_found: bool,
    tail: Vec<u8>,
}

impl Deleted {
    const MARK: &[u8] = b"(deleted)";

    fn look(&mut self, piece: &[u8]) {
        let has = |bytes: &[u8]| bytes.windows(Self::MARK.len()).any(|it| it == Self::MARK);
        let keep = Self::MARK.len() - 1;
        self.tail.extend_from_slice(piece.get(..keep).unwrap_or(piece));
        self.is_found |= has(&self.tail) || has(piece);
        let from = piece.len().saturating_sub(keep);
        self.tail = piece.get(from..).unwrap_or_default().to_vec();
    }
}

impl Host for Recorder<'_> {
    fn nature(&self) -> Nature {
        self.tree.nature()
    }

    fn read_with(
        &self,
        path: &str,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError> {
        if let Some(of) = self.process(path) {
            return self.read_of_process(of, path, limit, sink);
        }
        let ask = || Ask::Read(path.to_owned(), limit);
        if self.note_disk(path, ask) {
            return self.tree.read_with(path, limit, sink);
        }
        let mut bytes = Vec::new();
        let answer = self.tree.read_with(path, limit, &mut |piece| {
            bytes.extend_from_slice(piece);
            sink(piece);
        });
        let print = match &answer {
            Ok(_) => self.compare.of(Ok(steady::part(path, bytes))),
            Err(error) => Some(self.compare.of_failure(error)),
        };
        self.note(ask(), print);
        answer
    }

    fn metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        let ask = || Ask::Metadata(path.to_owned());
        if let Some((pid, _)) = self.process(path) {
            self.note_process(pid);
            return self.tree.metadata(path);
        }
        let is_noted = self.note_disk(path, ask);
        let answer = self.tree.metadata(path);
        if !is_noted {
            self.note(ask(), self.compare.of(as_words(&answer)));
        }
        answer
    }

    fn link_metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        let ask = || Ask::LinkMetadata(path.to_owned());
        let is_noted = self.note_disk(path, ask);
        let answer = self.tree.link_metadata(path);
        if !is_noted {
            self.note(ask(), self.compare.of(as_words(&answer)));
        }
        answer
    }

    fn read_link(&self, path: &str) -> Result<String, ReadError> {
        if let Some((pid, name)) = self.process(path) {
            let answer = self.tree.read_link(path);
            if name.starts_with("fd/") {
                // Only who holds a listening socket matters; the sockets themselves are compared.
                let inode = answer.as_deref().ok().and_then(socket_inode);
                if inode.is_some_and(|it| self.trace.borrow().listening.contains(&it)) {
                    self.note_process(pid);
                }
            } else if name != "exe" {
                self.note(Ask::Link(path.to_owned()), self.compare.of(same(&answer)));
            }
            return answer;
        }
        let ask = || Ask::Link(path.to_owned());
        let is_noted = self.note_disk(path, ask);
        let answer = self.tree.read_link(path);
        if !is_noted {
            self.note(ask(), self.compare.of(same(&answer)));
        }
        answer
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<Entry>, ReadError> {
        // Which descriptors a process has open moves; see `read_link` for the ones that matter.
        if self.process(path).is_some_and(|(_, name)| name == "fd") {
            return self.tree.list(path, limit);
        }
        let ask = || Ask::List(path.to_owned(), limit);
        let is_noted = self.note_disk(path, ask);
        let answer = self.tree.list(path, limit);
        if !is_noted && path != "/proc" {
            self.note(ask(), self.compare.of(as_words(&answer)));
        }
        answer
    }

    fn socket_diag(&self, protocol: Protocol) -> Result<Vec<u8>, ReadError> {
        let answer = self.tree.socket_diag(protocol);
        let print = match &answer {
            Ok(bytes) => {
                self.trace.borrow_mut().listening.extend(steady::inodes(bytes));
                self.compare.of(Ok(steady::sockets(bytes)))
            }
            Err(error) => Some(self.compare.of_failure(error)),
        };
        self.note(Ask::Sockets(protocol), print);
        answer
    }

    fn write_locked(&self, path: &str) -> Result<bool, ReadError> {
        let answer = self.tree.write_locked(path);
        self.note(Ask::Locked(path.to_owned()), self.compare.of(same(&answer)));
        answer
    }

    fn is_root_of(&self, pid: Option<u32>) -> Result<bool, ReadError> {
        let answer = self.tree.is_root_of(pid);
        self.note(Ask::RootOf(pid), self.compare.of(same(&answer)));
        answer
    }
}

/// The answer again, for comparing.
fn same<T: Clone>(answer: &Result<T, ReadError>) -> Result<T, ReadError> {
    answer.clone()
}

/// The answer in words, for comparing what has no hash.
fn as_words<T: std::fmt::Debug>(answer: &Result<T, ReadError>) -> Result<String, ReadError> {
    answer.as_ref().map(|it| format!("{it:?}")).map_err(Clone::clone)
}

/// The inode number in the text of a descriptor's link: `socket:[4711]`.
fn socket_inode(text: &str) -> Option<u64> {
    text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_on_the_edge_of_two_pieces_is_found() {
        let text = b"7f00-7f01 r-xp /usr/lib/libc.so.6 (deleted)
";
        for cut in 0..text.len() {
            let (first, second) = text.split_at(cut);
            let mut deleted = Deleted::default();
            deleted.look(first);
            deleted.look(second);
            assert!(deleted.is_found, "cut at {cut}");
        }
        let mut deleted = Deleted::default();
        deleted.look(b"(delete");
        deleted.look(b"x)");
        assert!(!deleted.is_found);
    }
}
