//! What a parser is likely to ask next, so that it can be asked in one packet; and how much an answer
//! may hold.

use std::collections::VecDeque;

use palisade_inspect::host::Entry;
use palisade_inspect::host::EntryKind;
use palisade_inspect::process;
use palisade_report::bound::MAX_TEXT;

use super::wire::PIECE;
use crate::memo::Ask;
use crate::subject::Area;

/// Bytes of an answer of sock_diag, a little more than the reader's own bound.
const MAX_SOCKETS: usize = 5 * 1024 * 1024;

/// Bytes of an entry of a directory: a name of 255, and three beside it.
const MAX_ENTRY: usize = 258;

/// Questions that are expected to follow, at most: the links of a process with many descriptors.
const MAX_PLAN: usize = 16 * 1024;

/// What is likely to be asked after the entries of a directory: everything about each process, and
/// where its descriptors lead.
pub(super) fn plan(path: &str, entries: &[Entry], area: Area) -> Option<VecDeque<Ask>> {
    let is_number = |entry: &&Entry| entry.name.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = || entries.iter().filter(is_number);
    if path == "/proc" && area == Area::Processes {
        let directories = numbered().filter(|entry| entry.kind == EntryKind::Directory);
        let mut pids: Vec<u32> = directories.filter_map(|it| it.name.parse().ok()).collect();
        pids.sort_unstable();
        let asks = pids.into_iter().flat_map(|pid| {
            let file = |name: &str| format!("/proc/{pid}/{name}");
            [
                Ask::Read(file("status"), process::MAX_STATUS),
                Ask::Read(file("comm"), MAX_TEXT),
                Ask::Read(file("cmdline"), process::MAX_COMMAND_LINE),
                Ask::Link(file("exe")),
            ]
        });
        return Some(asks.collect());
    }
    if path.starts_with("/proc/") && path.ends_with("/fd") {
        let asks = numbered().take(MAX_PLAN).map(|it| Ask::Link(format!("{path}/{}", it.name)));
        return Some(asks.collect());
    }
    None
}

/// Bytes that the content of an answer may have.
pub(super) fn bound(ask: &Ask) -> usize {
    match ask {
        // What stands for a secret may be longer than it.
        Ask::Read(_, limit) => limit.saturating_add(PIECE),
        Ask::List(_, limit) => limit.saturating_mul(MAX_ENTRY),
        Ask::Sockets(_) => MAX_SOCKETS,
        Ask::Link(_)
        | Ask::LinkMetadata(_)
        | Ask::Locked(_)
        | Ask::Metadata(_)
        | Ask::RootOf(_) => 0,
    }
}
