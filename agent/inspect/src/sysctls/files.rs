//! The files of sysctl.d(5), merged as systemd-sysctl(8) merges them.
//!
//! A file name found in an earlier directory hides the same name in later ones, also when it is a
//! link to `/dev/null` or to nothing. The files that remain are taken in the order of their names,
//! whatever their directory, and the last assignment to a key wins. `key = value` names one key or,
//! with wildcards, those that no line names; `-key` alone takes a key out of the reach of wildcards
//! and drops what earlier lines said of it. `-key = value` only hides errors.

use std::collections::BTreeMap;

use palisade_report::Origin;
use palisade_report::Why;
use palisade_report::WhyKind;

use crate::Host;
use crate::ReadError;
use crate::glob;
use crate::host::EntryKind;
use crate::host::FileKind;
use crate::host::MAX_CONFIG;
use crate::host::MAX_ENTRIES;

/// Where files are looked for, earlier ones first.
pub const DIRECTORIES: [&str; 4] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];

/// Assignments that all files may hold together; distributions ship some dozens.
pub const MAX_ASSIGNMENTS: usize = 20_000;

/// What all files say.
#[derive(Debug)]
pub struct Settings {
    /// By key or pattern, as paths below `/proc/sys`.
    assignments: BTreeMap<String, Assignment>,
    /// Files and directories that could not be read, with the place from which they hide lines.
    unread: Vec<Unread>,
}

#[derive(Debug)]
struct Assignment {
    /// `None` takes the key out of the reach of wildcards.
    value: Option<String>,
    origin: Origin,
    /// Its place in the order in which assignments are carried out.
    place: usize,
}

#[derive(Debug)]
struct Unread {
    /// Lines at or after this place come after what could not be read.
    place: usize,
    why: Why,
    origin: Origin,
}

/// What the files assign to one key.
#[derive(Debug, PartialEq, Eq)]
pub enum Assigned {
    /// No file assigns it, or a line excludes it.
    Nothing,
    /// What could not be read may assign it.
    Unknown {
        /// Why that could not be read.
        why: Why,
        /// What could not be read.
        origin: Origin,
    },
    /// The last assignment.
    Value {
        /// As the file has it, trimmed.
        value: String,
        /// The file and line.
        origin: Origin,
    },
}

/// Whether the key is there now: wildcards find only keys that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existence {
    /// Proven to be missing.
    Missing,
    /// There, or that could not be told.
    Possible,
}

/// A line of a file that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which line, from 1.
    pub number: usize,
    /// The key or pattern as a path below `/proc/sys`.
    pub path: String,
    /// The value, trimmed; `None` for an exclusion.
    pub value: Option<String>,
}

/// Reads every file that counts.
#[must_use]
pub fn read(host: &dyn Host) -> Settings {
    let mut settings = Settings { assignments: BTreeMap::new(), unread: Vec::new() };
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for directory in DIRECTORIES {
        match host.list(directory, MAX_ENTRIES) {
            Ok(entries) => {
                for entry in entries {
                    let counts = matches!(entry.kind, EntryKind::Link | EntryKind::Regular)
                        && entry.name.ends_with(".conf")
                        && !entry.name.starts_with('.');
                    if counts {
                        let path = format!("{directory}/{}", entry.name);
                        files.entry(entry.name).or_insert(path);
                    }
                }
            }
            Err(ReadError::NotFound { .. }) => {}
            // It may hide any name of a later directory, and assign anything, anywhere.
            Err(error @ ReadError::Failed { .. }) => settings.miss(usize::MAX, directory, error),
        }
    }
    let mut place = 0_usize;
    for path in files.values() {
        if is_masked(host, path) {
            continue;
        }
        match host.read(path, MAX_CONFIG) {
            Ok(contents) => {
                for line in parse(&contents.bytes) {
                    place = place.saturating_add(1);
                    settings.assign(line, path, place);
                }
            }
            Err(ReadError::NotFound { .. }) => {}
            Err(error @ ReadError::Failed { .. }) => {
                settings.miss(place.saturating_add(1), path, error);
            }
        }
    }
    settings
}

/// Whether a file is switched off by a link to `/dev/null`, which is no regular file to read.
fn is_masked(host: &dyn Host, path: &str) -> bool {
    host.metadata(path).is_ok_and(|metadata| {
        metadata.kind == FileKind::Special && metadata.resolved == "/dev/null"
    }) || host.read_link(path).is_ok_and(|target| target == "/dev/null")
}

impl Settings {
    fn assign(&mut self, line: Line, path: &str, place: usize) {
        let Line { number, path: key, value } = line;
        if let Some(existing) = self.assignments.get(&key)
            && existing.value == value
            && !self.unread.iter().any(|unread| unread.place > existing.place)
        {
            // systemd keeps the earlier line and its place when a later one says the same.
            return;
        }
        if self.assignments.len() >= MAX_ASSIGNMENTS && !self.assignments.contains_key(&key) {
            let detail = format!("more than {MAX_ASSIGNMENTS} keys are assigned");
            let error = ReadError::failed(path, WhyKind::TooLarge, detail);
            self.miss(usize::MAX, path, error);
            return;
        }
        let origin = Origin::line(path, number);
        self.assignments.insert(key, Assignment { value, origin, place });
    }

    fn miss(&mut self, place: usize, path: &str, error: ReadError) {
        if self.unread.len() < MAX_ENTRIES {
            self.unread.push(Unread { place, why: error.why(), origin: Origin::path(path) });
        }
    }

    /// What the files assign to the key with this path below `/proc/sys`.
    #[must_use]
    pub fn assigned(&self, path: &str, existence: Existence) -> Assigned {
        if let Some(exact) = self.assignments.get(path) {
            // Only what comes after the last assignment could still change it.
            if let Some(unread) = self.unread.iter().find(|unread| unread.place > exact.place) {
                return Assigned::Unknown {
                    why: unread.why.clone(),
                    origin: unread.origin.clone(),
                };
            }
            return match &exact.value {
                Some(value) => {
                    Assigned::Value { value: value.clone(), origin: exact.origin.clone() }
                }
                None => Assigned::Nothing,
            };
        }
        // Whatever could not be read may name the key, and so beat every wildcard.
        if let Some(unread) = self.unread.first() {
            return Assigned::Unknown { why: unread.why.clone(), origin: unread.origin.clone() };
        }
        if existence == Existence::Missing {
            return Assigned::Nothing;
        }
        let mut last: Option<(&str, &Assignment)> = None;
        for (pattern, assignment) in &self.assignments {
            let Some(value) = &assignment.value else { continue };
            if glob::is_pattern(pattern)
                && matches_path(pattern, path)
                && last.is_none_or(|(_, earlier)| earlier.place < assignment.place)
            {
                last = Some((value, assignment));
            }
        }
        match last {
            Some((value, assignment)) => {
                Assigned::Value { value: value.to_owned(), origin: assignment.origin.clone() }
            }
            None => Assigned::Nothing,
        }
    }
}

/// Whether a path matches a pattern component by component.
fn matches_path(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if glob::matches(pattern, part) => {}
            (Some(_) | None, Some(_)) | (Some(_), None) => return false,
        }
    }
}

/// The lines of a file that say something, in order. Source: sysctl.d(5).
///
/// Shape: `#` and `;` start comments at the start of a line; a line without `=` counts only as the
/// exclusion `-key`. Bytes that are not UTF-8 read as U+FFFD.
#[must_use]
pub fn parse(bytes: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if lines.len() > MAX_ASSIGNMENTS {
            break;
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_ascii();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => {
                (key.strip_prefix('-').unwrap_or(key), Some(value.trim_ascii().to_owned()))
            }
            None => match text.strip_prefix('-') {
                Some(key) => (key, None),
                None => continue,
            },
        };
        let path = normalize(key.trim_ascii());
        if path.is_empty() {
            continue;
        }
        lines.push(Line { number: at.saturating_add(1), path, value });
    }
    lines
}

/// A key as a path below `/proc/sys`, without doubled, leading and trailing slashes.
///
/// The first separator decides: a dot first means that dots are slashes and slashes are dots
/// (`net.ipv4.conf.eth0/100.forwarding`), a slash first that the key is a path already.
/// Source: sysctl.d(5).
#[must_use]
pub fn normalize(key: &str) -> String {
    let swap = key.find(['/', '.']).is_some_and(|at| key.as_bytes().get(at) == Some(&b'.'));
    let swapped: String = key
        .chars()
        .map(|character| match character {
            '.' if swap => '/',
            '/' if swap => '.',
            other => other,
        })
        .collect();
    let parts: Vec<&str> =
        swapped.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}
