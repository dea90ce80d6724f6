//! Which files are watched, and why.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_LONG_TEXT;
use palisade_report::bound::clean_text;
use palisade_report::section::certificates::Expectation;

/// Files that one inspection watches; a control plane has about 25.
pub const MAX_FILES: usize = 2000;

/// Reasons that one file keeps.
const MAX_REASONS: usize = 16;

/// What a file is expected to hold. In ascending order: what is said later wins over what is said
/// earlier if several sources name a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whatever a person named: told by its content.
    Any,
    /// Certificates, perhaps with their key.
    Certificates,
    /// A bundle of authorities, which may be large.
    Bundle,
    /// A kubeconfig.
    Kubeconfig,
}

/// A file to watch, as one source of the inventory names it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its absolute path.
    pub path: String,
    /// Why, in words.
    pub reason: String,
    /// Whether it must be there.
    pub expected: Expectation,
    /// What it holds.
    pub kind: Kind,
    /// The file with the private key of its first certificate, if that is another file.
    pub key: Option<String>,
    /// The bundle that its first certificate has to lead to.
    pub authority: Option<String>,
}

/// A watched file, everything that names it taken together.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Why it is watched.
    pub reasons: BTreeSet<String>,
    /// Required if anything requires it.
    pub expected: Expectation,
    /// The most specific of what is said about it.
    pub kind: Kind,
    /// The first that was named.
    pub key: Option<String>,
    /// The first that was named.
    pub authority: Option<String>,
}

/// All watched files.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    /// By path.
    pub files: BTreeMap<String, Watch>,
    /// What is not watched although it should be, and why.
    pub left_out: Vec<Why>,
}

impl Watches {
    /// Adds a file, or one more reason to watch it.
    pub fn add(&mut self, wanted: Wanted) {
        let Wanted { path, reason, expected, kind, key, authority } = wanted;
        let Some(path) = clean_path(&path) else {
            let detail = format!("{reason}: {path:?} is no absolute path");
            self.leave_out(Why::new(WhyKind::Malformed, detail));
            return;
        };
        let (key, authority) =
            (key.and_then(|path| clean_path(&path)), authority.and_then(|path| clean_path(&path)));
        // The key may sit in the same file, as the kubelet writes it.
        let key = key.filter(|key| *key != path);
        if self.files.len() >= MAX_FILES && !self.files.contains_key(&path) {
            let detail = format!("more than {MAX_FILES} files; the first left out is {path}");
            if self.left_out.iter().all(|why| why.kind != WhyKind::TooLarge) {
                self.leave_out(Why::new(WhyKind::TooLarge, detail));
            }
            return;
        }
        let watch = self.files.entry(path).or_insert_with(|| Watch {
            reasons: BTreeSet::new(),
            expected,
            kind,
            key: None,
            authority: None,
        });
        if watch.reasons.len() < MAX_REASONS {
            watch.reasons.insert(clean_text(&reason));
        }
        watch.expected = watch.expected.max(expected);
        watch.kind = watch.kind.max(kind);
        watch.key = watch.key.take().or(key);
        watch.authority = watch.authority.take().or(authority);
    }

    /// Notes what is not watched although it should be.
    pub fn leave_out(&mut self, why: Why) {
        if self.left_out.len() < MAX_REASONS {
            self.left_out.push(why);
        }
    }
}

/// An absolute path without doubled slashes, `.` and `..`, as the components of Kubernetes clean
/// the paths that they are given (`filepath.Clean`); nothing if it is relative, over-long or cannot
/// be shown as it is.
#[must_use]
pub fn clean_path(path: &str) -> Option<String> {
    let shown = path.len() <= MAX_LONG_TEXT && !path.chars().any(char::is_control);
    if !path.starts_with('/') || !shown {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// `path`, relative to the directory of `file` unless it is absolute.
#[must_use]
pub fn beside(file: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let directory = file.rsplit_once('/').map_or("", |(directory, _)| directory);
    format!("{directory}/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_kubernetes_does() {
        for (path, cleaned) in [
            ("/a//b/./c/../d", Some("/a/b/d")),
            ("/../a", Some("/a")),
            ("a", None),
            ("", None),
            ("/a\nb", None),
        ] {
            assert_eq!(clean_path(path).as_deref(), cleaned, "{path:?}");
        }
        assert_eq!(beside("/etc/kubernetes/a.conf", "pki/ca.crt"), "/etc/kubernetes/pki/ca.crt");
        assert_eq!(beside("/etc/kubernetes/a.conf", "/pki/ca.crt"), "/pki/ca.crt");
    }

    #[test]
    fn every_reason_is_kept_and_required_wins() {
        let wanted = |reason: &str, expected, key: Option<&str>| Wanted {
            path: "/a".to_owned(),
            reason: reason.to_owned(),
            expected,
            kind: Kind::Certificates,
            key: key.map(str::to_owned),
            authority: None,
        };
        let mut watches = Watches::default();
        watches.add(wanted("one", Expectation::Optional, Some("/a")));
        watches.add(wanted("two", Expectation::Required, Some("/k")));
        watches.add(wanted("three", Expectation::Optional, None));
        let watch = &watches.files["/a"];
        assert_eq!(watch.reasons.len(), 3);
        assert_eq!(watch.expected, Expectation::Required);
        assert_eq!(watch.key.as_deref(), Some("/k"));
    }

    #[test]
    fn too_many_files_are_left_out_with_a_reason() {
        let mut watches = Watches::default();
        for number in 0..MAX_FILES + 5 {
            watches.add(Wanted {
                path: format!("/{number}"),
                reason: "setting".to_owned(),
                expected: Expectation::Optional,
                kind: Kind::Any,
                key: None,
                authority: None,
            });
        }
        assert_eq!(watches.files.len(), MAX_FILES);
        assert_eq!(watches.left_out.len(), 1);
    }
}
