//! A host in memory, for tests: the same resolution of links, the same refusals.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::WhyKind;
use palisade_report::section::sockets::Protocol;

use crate::host::Entry;
use crate::host::EntryKind;
use crate::host::FileKind;
use crate::host::Host;
use crate::host::Metadata;
use crate::host::Nature;
use crate::host::ReadError;

/// Links that one resolution follows before it gives up, as the kernel (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// A host in memory.
///
/// Does not model: permissions by mode bits (a file is unreadable only if made so), hard links,
/// mounts, and files that change while they are read.
#[derive(Clone, Debug)]
pub struct MemoryHost {
    nature: Nature,
    nodes: BTreeMap<String, Node>,
    locked: Vec<String>,
    diag: BTreeMap<Protocol, Vec<u8>>,
    roots: BTreeMap<Option<u32>, bool>,
}

#[derive(Clone, Debug)]
struct Node {
    what: What,
    mode: u32,
    uid: u32,
    gid: u32,
    modified_at: Moment,
}

#[derive(Clone, Debug)]
enum What {
    Directory,
    File(Vec<u8>),
    Link(String),
    Special,
    Unreadable(WhyKind),
}

impl Default for MemoryHost {
    fn default() -> Self {
        Self::new(Nature::Live)
    }
}

impl MemoryHost {
    /// An empty host: a root directory and nothing else.
    #[must_use]
    pub fn new(nature: Nature) -> Self {
        let mut host = Self {
            nature,
            nodes: BTreeMap::new(),
            locked: Vec::new(),
            diag: BTreeMap::new(),
            roots: BTreeMap::new(),
        };
        host.nodes.insert("/".to_owned(), Node::of(What::Directory, 0o755));
        host
    }

    /// With a regular file of mode 0644, root's, written at the epoch. Makes its directories.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.put(path, Node::of(What::File(content.as_ref().to_vec()), 0o644))
    }

    /// With a directory of mode 0755. Makes those above it.
    #[must_use]
    pub fn directory(self, path: &str) -> Self {
        self.put(path, Node::of(What::Directory, 0o755))
    }

    /// With a symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.put(path, Node::of(What::Link(target.to_owned()), 0o777))
    }

    /// With a FIFO, socket or device.
    #[must_use]
    pub fn special(self, path: &str) -> Self {
        self.put(path, Node::of(What::Special, 0o644))
    }

    /// With something at `path` that cannot be opened, listed or followed, for this reason.
    #[must_use]
    pub fn unreadable(self, path: &str, kind: WhyKind) -> Self {
        self.put(path, Node::of(What::Unreadable(kind), 0o600))
    }

    /// With another mode and owner for what is already at `path`.
    #[must_use]
    pub fn owned(mut self, path: &str, mode: u32, uid: u32, gid: u32) -> Self {
        if let Some(node) = self.nodes.get_mut(path) {
            (node.mode, node.uid, node.gid) = (mode, uid, gid);
        }
        self
    }

    /// With another moment of writing for what is already at `path`.
    #[must_use]
    pub fn modified(mut self, path: &str, at: Moment) -> Self {
        if let Some(node) = self.nodes.get_mut(path) {
            node.modified_at = at;
        }
        self
    }

    /// With a write lock held on `path`.
    #[must_use]
    pub fn locked(mut self, path: &str) -> Self {
        self.locked.push(path.to_owned());
        self
    }

    /// With this answer of sock_diag.
    #[must_use]
    pub fn diag(mut self, protocol: Protocol, answer: impl Into<Vec<u8>>) -> Self {
        self.diag.insert(protocol, answer.into());
        self
    }

    /// With this answer of [`Host::is_root_of`] for a process.
    #[must_use]
    pub fn root_of(mut self, pid: Option<u32>, is_inspected: bool) -> Self {
        self.roots.insert(pid, is_inspected);
        self
    }

    /// Without what is at `path` and below it.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        let below = format!("{path}/");
        self.nodes.retain(|at, _| at != path && !at.starts_with(&below));
        self
    }

    fn put(mut self, path: &str, node: Node) -> Self {
        let mut above = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            above = format!("{above}/{part}");
            if above != path {
                self.nodes.entry(above.clone()).or_insert_with(|| Node::of(What::Directory, 0o755));
            }
        }
        self.nodes.insert(above, node);
        self
    }

    /// Resolves `path` as the kernel does with the root as its whole world.
    fn resolve(&self, path: &str, last: Last) -> Result<(String, &Node), ReadError> {
        let mut links = 0;
        let mut todo: Vec<String> = split(path);
        let mut at = String::new();
        while let Some(part) = todo.pop() {
            if part == ".." {
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            let here = format!("{at}/{part}");
            let Some(node) = self.nodes.get(&here) else {
                return Err(ReadError::NotFound { path: path.to_owned() });
            };
            match &node.what {
                What::Link(target) if !(todo.is_empty() && last == Last::Kept) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(ReadError::failed(path, WhyKind::Loop, "too many links"));
                    }
                    if target.starts_with('/') {
                        at.clear();
                    }
                    todo.extend(split(target));
                }
                What::Unreadable(kind) => {
                    return Err(ReadError::failed(path, *kind, format!("{here}: {kind}")));
                }
                What::Directory | What::File(_) | What::Link(_) | What::Special => {
                    if !todo.is_empty() && !matches!(node.what, What::Directory) {
                        return Err(ReadError::NotFound { path: path.to_owned() });
                    }
                    at = here;
                }
            }
        }
        let at = if at.is_empty() { "/".to_owned() } else { at };
        match self.nodes.get(&at) {
            Some(node) => Ok((at, node)),
            None => Err(ReadError::NotFound { path: path.to_owned() }),
        }
    }
}

/// The components of a path, last first, so that `pop` takes them in order.
fn split(path: &str) -> Vec<String> {
    path.rsplit('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect()
}

/// What happens to a link in the last component.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Followed,
    Kept,
}

impl Node {
    fn of(what: What, mode: u32) -> Self {
        Self { what, mode, uid: 0, gid: 0, modified_at: Moment::from_unix(0) }
    }

    fn metadata(&self, resolved: String) -> Metadata {
        let (kind, size) = match &self.what {
            What::Directory => (FileKind::Directory, 0),
            What::File(bytes) => (FileKind::Regular, bytes.len() as u64),
            What::Link(target) => (FileKind::Link, target.len() as u64),
            What::Special | What::Unreadable(_) => (FileKind::Special, 0),
        };
        Metadata {
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            size,
            modified_at: self.modified_at,
            resolved,
        }
    }
}

impl Host for MemoryHost {
    fn nature(&self) -> Nature {
        self.nature
    }

    fn read_with(
        &self,
        path: &str,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError> {
        let (resolved, node) = self.resolve(path, Last::Followed)?;
        let What::File(bytes) = &node.what else {
            return Err(ReadError::failed(path, WhyKind::NotRegular, "not a regular file"));
        };
        if bytes.len() > limit {
            let detail = format!("larger than {limit} bytes");
            return Err(ReadError::failed(path, WhyKind::TooLarge, detail));
        }
        sink(bytes);
        Ok(node.metadata(resolved))
    }

    fn metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        let (resolved, node) = self.resolve(path, Last::Followed)?;
        Ok(node.metadata(resolved))
    }

    fn link_metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        let (resolved, node) = self.resolve(path, Last::Kept)?;
        Ok(node.metadata(resolved))
    }

    fn read_link(&self, path: &str) -> Result<String, ReadError> {
        match &self.resolve(path, Last::Kept)?.1.what {
            What::Link(target) => Ok(target.clone()),
            What::Directory | What::File(_) | What::Special | What::Unreadable(_) => {
                Err(ReadError::failed(path, WhyKind::NotRegular, "not a symbolic link"))
            }
        }
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let (resolved, node) = self.resolve(path, Last::Followed)?;
        if !matches!(node.what, What::Directory) {
            return Err(ReadError::failed(path, WhyKind::NotRegular, "not a directory"));
        }
        let above = if resolved == "/" { resolved } else { format!("{resolved}/") };
        let mut entries = Vec::new();
        for (at, node) in self.nodes.range(above.clone()..) {
            let Some(name) = at.strip_prefix(&above) else { break };
            if name.is_empty() || name.contains('/') {
                continue;
            }
            if entries.len() == limit {
                let detail = format!("more than {limit} entries");
                return Err(ReadError::failed(path, WhyKind::TooLarge, detail));
            }
            let kind = match &node.what {
                What::Directory => EntryKind::Directory,
                What::File(_) | What::Unreadable(_) => EntryKind::Regular,
                What::Link(_) => EntryKind::Link,
                What::Special => EntryKind::Special,
            };
            entries.push(Entry { name: name.to_owned(), kind });
        }
        entries.sort();
        Ok(entries)
    }

    fn socket_diag(&self, protocol: Protocol) -> Result<Vec<u8>, ReadError> {
        self.diag.get(&protocol).cloned().ok_or_else(|| {
            ReadError::failed("sock_diag", WhyKind::Unsupported, "this host has no sock_diag")
        })
    }

    fn write_locked(&self, path: &str) -> Result<bool, ReadError> {
        let (resolved, _) = self.resolve(path, Last::Followed)?;
        Ok(self.locked.contains(&resolved))
    }

    fn is_root_of(&self, pid: Option<u32>) -> Result<bool, ReadError> {
        self.roots.get(&pid).copied().ok_or_else(|| {
            ReadError::failed("/proc", WhyKind::PermissionDenied, "needs CAP_SYS_PTRACE")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside_the_root() {
        let host = MemoryHost::default()
            .file("/etc/shadow", "secret")
            .link("/srv/up", "../../../../etc/shadow")
            .link("/srv/absolute", "/etc")
            .link("/srv/loop", "/srv/loop");
        for path in ["/srv/up", "/srv/absolute/shadow", "//etc/./../etc/shadow"] {
            let contents = host.read(path, 100).unwrap();
            assert_eq!(contents.metadata.resolved, "/etc/shadow", "{path}");
        }
        let ReadError::Failed { why, .. } = host.metadata("/srv/loop").unwrap_err() else {
            panic!("a loop is not absence")
        };
        assert_eq!(why.kind, WhyKind::Loop);
        assert_eq!(host.link_metadata("/srv/loop").unwrap().kind, FileKind::Link);
    }

    #[test]
    fn a_directory_lists_its_own_entries_in_order() {
        let host = MemoryHost::default().file("/d/b", "").file("/d/a/x", "").link("/d/c", "b");
        let names: Vec<_> = host.list("/d", 9).unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(host.list("/d", 2).is_err());
    }
}
