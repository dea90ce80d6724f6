//! Files: mode and owner of what rules name.
//!
//! ```text
//! pattern ─> what the kubelet names ─> what the pattern matches ─> metadata, directories above
//! ```
//!
//! A strict mode protects nothing in a directory where somebody else may put another file in its
//! place, so every directory on the way is looked at, those on the way to links included. Does not
//! read ACLs; with an ACL the group bits of the mode are its mask, the most that it grants.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_LIST;
use palisade_report::bound::MAX_LONG_TEXT;
use palisade_report::bound::clean;
use palisade_report::section::files::File;
use palisade_report::section::files::FileKind;
use palisade_report::section::files::Files;
use palisade_report::section::files::Mode;
use palisade_report::section::kubelet::Expanded;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::Interest;
use crate::Metadata;
use crate::ReadError;
use crate::glob;
use crate::host;

/// Most paths that one pattern may match.
const MAX_MATCHES: usize = 1000;

/// Links that one path may lead through, as the kernel (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// Most directories that are told as unsafe for one path.
const MAX_UNSAFE: usize = 16;

/// Reads the section.
///
/// A pattern whose expansion is not known stands under its own text. A pattern with special
/// characters that matches nothing is absent under its own text, with the kubelet's setting in
/// place of a variable. One that names a setting which this kubelet does not have contributes
/// nothing: that is told by the kubelet's own facts.
#[must_use]
pub fn read(host: &dyn Host, interest: &Interest, kubelet: &Section<Kubelet>) -> Section<Files> {
    let mut walker = Walker { host, directories: BTreeMap::new() };
    let mut paths = BTreeMap::new();
    for pattern in &interest.files {
        let expanded = match expand(host, pattern, kubelet) {
            Ok(Matches::Paths(paths)) => paths,
            Ok(Matches::Nothing { pattern }) => {
                paths.insert(key(&pattern), Reading::absent(Origin::path(&pattern)));
                continue;
            }
            Err(why) => {
                paths.insert(key(pattern), Reading::unknown(why, Origin::path(pattern)));
                continue;
            }
        };
        for path in expanded {
            if paths.len() >= MAX_LIST {
                let why = Why::new(WhyKind::TooLarge, format!("more than {MAX_LIST} paths"));
                paths.insert(key(pattern), Reading::unknown(why, Origin::path(pattern)));
                break;
            }
            let name = key(&path);
            paths.entry(name).or_insert_with(|| walker.read(&path));
        }
    }
    Section::Known(Files { paths })
}

/// What a pattern stands for on this host.
enum Matches {
    /// A pattern, variables replaced, that matches nothing.
    Nothing { pattern: String },
    /// These paths; whether each is there is another question.
    Paths(Vec<String>),
}

fn expand(host: &dyn Host, pattern: &str, kubelet: &Section<Kubelet>) -> Result<Matches, Why> {
    let expanded = match kubelet {
        Section::Known(kubelet) => kubelet.expand(pattern),
        Section::Unknown { why } if pattern.starts_with("${") => Expanded::Unknown(why.clone()),
        Section::Unknown { .. } => Expanded::Path(pattern.to_owned()),
    };
    let path = match expanded {
        Expanded::Path(path) => path,
        Expanded::Unset => return Ok(Matches::Paths(Vec::new())),
        Expanded::Unknown(why) => return Err(why),
    };
    if !path.starts_with('/') {
        return Err(Why::new(WhyKind::Malformed, format!("{path} is not an absolute path")));
    }
    if glob::is_pattern(&path) {
        let matches = glob::expand(host, &path, MAX_MATCHES).map_err(ReadError::why)?;
        if matches.is_empty() {
            return Ok(Matches::Nothing { pattern: path });
        }
        Ok(Matches::Paths(matches))
    } else {
        Ok(Matches::Paths(vec![path]))
    }
}

fn key(path: &str) -> String {
    clean(path.as_bytes(), MAX_LONG_TEXT)
}

/// Reads files, and every directory above them once.
struct Walker<'a> {
    host: &'a dyn Host,
    directories: BTreeMap<String, Metadata>,
}

/// What lies on the way to a file.
#[derive(Debug, Default)]
struct Way {
    /// Every directory in which a component was looked up, links resolved.
    directories: BTreeSet<String>,
    /// Every link that was followed, with the directory that holds it and its owner.
    links: Vec<(String, String, u32)>,
}

impl Walker<'_> {
    fn read(&mut self, path: &str) -> Reading<File> {
        match self.file(path) {
            Ok(file) => Reading::known(file, Origin::path(path)),
            Err(error) => error.reading(),
        }
    }

    fn file(&mut self, path: &str) -> Result<File, ReadError> {
        let metadata = self.host.metadata(path)?;
        let kind = match metadata.kind {
            host::FileKind::Directory => FileKind::Directory,
            host::FileKind::Regular => FileKind::Regular,
            host::FileKind::Link | host::FileKind::Special => FileKind::Special,
        };
        // Gone since: then it is not absent, it changed under us.
        let unsafe_ancestors = self.unsafe_ancestors(path, metadata.uid).map_err(|error| {
            if matches!(error, ReadError::NotFound { .. }) {
                ReadError::failed(path, WhyKind::Unstable, "changed while it was looked at")
            } else {
                error
            }
        })?;
        let resolved = if metadata.resolved == path { "" } else { metadata.resolved.as_str() };
        Ok(File {
            kind,
            mode: Mode::from_bits(metadata.mode),
            uid: metadata.uid,
            gid: metadata.gid,
            resolved: key(resolved),
            unsafe_ancestors,
        })
    }

    /// The directories in which somebody other than root and `owner` could replace what is on the
    /// way to `path`.
    fn unsafe_ancestors(&mut self, path: &str, owner: u32) -> Result<Vec<String>, ReadError> {
        let way = self.way(path)?;
        let trusted = |uid: u32| uid == 0 || uid == owner;
        let mut found = Vec::new();
        for directory in &way.directories {
            let metadata = self.directory(directory)?;
            let open = metadata.mode & 0o022 != 0 && metadata.mode & 0o1000 == 0;
            if open || !trusted(metadata.uid) {
                let (uid, gid) = (metadata.uid, metadata.gid);
                found.push(format!("{directory} {} {uid}:{gid}", Mode::from_bits(metadata.mode)));
            }
        }
        for (link, directory, uid) in &way.links {
            // The sticky bit leaves a link to its owner.
            if self.directory(directory)?.mode & 0o022 != 0 && !trusted(*uid) {
                found.push(format!("{link} link of {uid}"));
            }
        }
        found.truncate(MAX_UNSAFE);
        Ok(found.iter().map(|text| clean(text.as_bytes(), MAX_LONG_TEXT)).collect())
    }

    fn directory(&mut self, path: &str) -> Result<&Metadata, ReadError> {
        // Not `entry`: reading may fail, and the key is known far more often than not.
        if !self.directories.contains_key(path) {
            let metadata = self.host.metadata(path)?;
            self.directories.insert(path.to_owned(), metadata);
        }
        self.directories.get(path).ok_or_else(|| ReadError::NotFound { path: path.to_owned() })
    }

    /// Walks to `path` as the kernel does, and notes where it comes by.
    fn way(&self, path: &str) -> Result<Way, ReadError> {
        let mut way = Way::default();
        let mut links = 0;
        let mut todo = components(path);
        // The directory reached so far; empty for the root.
        let mut at = String::new();
        while let Some(part) = todo.pop() {
            if part == ".." {
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            let directory = if at.is_empty() { "/" } else { at.as_str() };
            way.directories.insert(directory.to_owned());
            let here = format!("{at}/{part}");
            let metadata = self.host.link_metadata(&here)?;
            if metadata.kind != host::FileKind::Link {
                at = here;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(ReadError::failed(path, WhyKind::Loop, "too many links"));
            }
            let target = self.host.read_link(&here)?;
            way.links.push((here, directory.to_owned(), metadata.uid));
            if target.starts_with('/') {
                at.clear();
            }
            todo.extend(components(&target));
        }
        Ok(way)
    }
}

/// The components of a path, last first, so that `pop` takes them in order.
fn components(path: &str) -> Vec<String> {
    path.rsplit('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::MemoryHost;

    fn interest(patterns: &[&str]) -> Interest {
        Interest {
            files: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
            ..Interest::default()
        }
    }

    fn paths(host: &MemoryHost, patterns: &[&str]) -> BTreeMap<String, Reading<File>> {
        paths_with(host, patterns, &no_kubelet())
    }

    fn paths_with(
        host: &MemoryHost,
        patterns: &[&str],
        kubelet: &Section<Kubelet>,
    ) -> BTreeMap<String, Reading<File>> {
        match read(host, &interest(patterns), kubelet) {
            Section::Known(files) => files.paths,
            Section::Unknown { why } => panic!("{why}"),
        }
    }

    fn no_kubelet() -> Section<Kubelet> {
        Section::Known(Kubelet {
            process: Reading::absent(Origin::words("no process")),
            sources: Vec::new(),
            effective: BTreeMap::new(),
            flags: BTreeMap::new(),
            refused: Vec::new(),
        })
    }

    #[test]
    fn absent_unknown_and_unmatched_differ() {
        let host = MemoryHost::default()
            .file("/etc/k/a.conf", "")
            .owned("/etc/k/a.conf", 0o4640, 7, 8)
            .unreadable("/etc/secret", WhyKind::PermissionDenied)
            .special("/run/fifo")
            .link("/etc/loop", "loop")
            .link("/etc/dangling", "nowhere");
        let seen = paths(
            &host,
            &[
                "/etc/k/*.conf",
                "/etc/k/*.none",
                "/none/*",
                "/etc/gone",
                "/etc/secret",
                "/run/fifo",
                "/etc/loop",
                "/etc/dangling",
                "/etc",
                "relative",
            ],
        );
        let file = seen["/etc/k/a.conf"].value().unwrap();
        assert_eq!((file.mode.to_string().as_str(), file.uid, file.gid), ("4640", 7, 8));
        assert_eq!((file.kind, file.resolved.as_str()), (FileKind::Regular, ""));
        assert!(matches!(seen["/etc/gone"], Reading::Absent { .. }));
        assert!(matches!(seen["/etc/dangling"], Reading::Absent { .. }));
        assert!(matches!(seen["/etc/k/*.none"], Reading::Absent { .. }));
        assert!(matches!(seen["/none/*"], Reading::Absent { .. }));
        for (path, kind) in [
            ("/etc/secret", WhyKind::PermissionDenied),
            ("/etc/loop", WhyKind::Loop),
            ("relative", WhyKind::Malformed),
        ] {
            let Reading::Unknown { why, .. } = &seen[path] else { panic!("{path}") };
            assert_eq!(why.kind, kind, "{path}");
        }
        assert_eq!(seen["/run/fifo"].value().unwrap().kind, FileKind::Special);
        assert_eq!(seen["/etc"].value().unwrap().kind, FileKind::Directory);
        assert_eq!(seen.len(), 10, "{:?}", seen.keys());
    }

    #[test]
    fn every_directory_on_the_way_must_be_safe() {
        let host = MemoryHost::default()
            .file("/srv/open/f", "")
            .owned("/srv/open", 0o777, 0, 0)
            .file("/srv/group/f", "")
            .owned("/srv/group", 0o775, 0, 50)
            .file("/tmp/f", "")
            .owned("/tmp", 0o1777, 0, 0)
            .file("/home/u/own", "")
            .file("/home/u/roots", "")
            .owned("/home/u", 0o755, 1000, 1000)
            .owned("/home/u/own", 0o600, 1000, 1000)
            .file("/safe/f", "")
            .link("/srv/open/link", "../../safe/f")
            .link("/safe/via", "/srv/open/link")
            .link("/tmp/planted", "/safe/f")
            .owned("/tmp/planted", 0o777, 1000, 1000)
            .link("/short", "/srv/group");
        for (path, resolved, expected) in [
            ("/srv/open/f", "", &["/srv/open 0777 0:0"][..]),
            ("/srv/group/f", "", &["/srv/group 0775 0:50"]),
            ("/short/f", "/srv/group/f", &["/srv/group 0775 0:50"]),
            ("/tmp/f", "", &[]),
            ("/home/u/own", "", &[]),
            ("/home/u/roots", "", &["/home/u 0755 1000:1000"]),
            ("/safe/f", "", &[]),
            ("/srv/open/link", "/safe/f", &["/srv/open 0777 0:0"]),
            ("/safe/via", "/safe/f", &["/srv/open 0777 0:0"]),
            ("/safe/../srv/open/f", "/srv/open/f", &["/srv/open 0777 0:0"]),
            ("/tmp/planted", "/safe/f", &["/tmp/planted link of 1000"]),
        ] {
            let seen = paths(&host, &[path]);
            let file = seen[path].value().unwrap_or_else(|| panic!("{path}: {:?}", seen[path]));
            assert_eq!(file.unsafe_ancestors, expected, "{path}");
            assert_eq!(file.resolved, resolved, "{path}");
        }
    }

    #[test]
    fn what_the_kubelet_names_is_followed() {
        let host = MemoryHost::default().file("/k.yaml", "").file("/m/a.yaml", "");
        let patterns =
            ["${kubelet.flags.config}", "${kubelet.effective.staticPodPath}/*.yaml", "/k.yaml"];
        let Section::Known(mut kubelet) = no_kubelet() else { panic!() };
        let origin = Origin::words("test");
        let unset = paths_with(&host, &patterns, &Section::Known(kubelet.clone()));
        assert_eq!(unset.keys().collect::<Vec<_>>(), ["/k.yaml"]);
        kubelet
            .flags
            .insert("config".to_owned(), Reading::known("/k.yaml".to_owned(), origin.clone()));
        let path = Reading::known(Value::from("/m"), origin);
        kubelet.effective.insert("staticPodPath".to_owned(), path);
        let named = paths_with(&host, &patterns, &Section::Known(kubelet));
        assert_eq!(named.keys().collect::<Vec<_>>(), ["/k.yaml", "/m/a.yaml"]);
        let why = Why::new(WhyKind::Crashed, "reader crashed");
        let blind = paths_with(&host, &patterns, &Section::Unknown { why: why.clone() });
        for pattern in patterns.into_iter().take(2) {
            assert!(matches!(&blind[pattern], Reading::Unknown { why: told, .. } if *told == why));
        }
        assert!(blind["/k.yaml"].value().is_some());
    }

    #[test]
    fn the_number_of_paths_is_bounded_and_its_excess_is_said() {
        let mut host = MemoryHost::default();
        for n in 0..=MAX_MATCHES {
            host = host.file(&format!("/many/{n}"), "");
        }
        let seen = paths(&host, &["/many/*", "/many/1"]);
        assert!(
            matches!(&seen["/many/*"], Reading::Unknown { why, .. } if why.kind == WhyKind::TooLarge)
        );
        assert!(seen["/many/1"].value().is_some());
    }
}
