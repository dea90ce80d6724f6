//! What of a host readers may ask for: the list by which a reading process serves a parsing one.
//!
//! Built from what the areas look at ([`table`]), the inventories of certificates, what rules are
//! interested in, and, while it serves, the paths that the host's kubelet, kubeconfigs and static
//! pods name. Looking (metadata, links) is allowed also for the directories on the way. What may
//! never be read is checked where a path has led to, links resolved.
//!
//! ```text
//! path ─> always refused? ─> literal | pattern | named ─> Serve
//! bytes that were served ─> names of files in them ─> served next
//! ```

mod name;
mod table;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::Interest;
use crate::certificates::inventory;
use crate::certificates::watch::beside;
use crate::certificates::watch::clean_path;
use crate::glob;
use crate::sysctls::files::normalize;

pub use table::NEVER;
pub use table::Serve;

/// Paths that a host may name; a control plane names about a hundred.
const MAX_NAMED: usize = 4096;

/// What readers may ask for.
#[derive(Clone, Debug)]
pub struct Reach {
    /// By path, without links and pattern characters.
    literals: BTreeMap<String, Serve>,
    /// By components; those of `/proc` first, as most questions are about processes.
    patterns: Vec<(Vec<String>, Serve)>,
    /// Directories on the way to any of them.
    ancestors: BTreeSet<String>,
    never: Vec<Vec<String>>,
    named: BTreeMap<String, Serve>,
    looked: BTreeSet<String>,
}

impl Reach {
    /// The list for a host of which `interest` wants to know more.
    #[must_use]
    pub fn new(interest: &Interest) -> Self {
        let mut reach = Self {
            literals: BTreeMap::new(),
            patterns: Vec::new(),
            ancestors: BTreeSet::new(),
            never: NEVER.iter().map(|(pattern, _)| components(pattern)).collect(),
            named: BTreeMap::new(),
            looked: BTreeSet::new(),
        };
        for (pattern, serve, _) in table::TABLE {
            reach.add(pattern, *serve);
        }
        reach.add_inventories();
        reach.add_interest(interest);
        reach
    }

    fn add_inventories(&mut self) {
        for distribution in table::DISTRIBUTIONS {
            for item in inventory::of(distribution).1 {
                self.add(item.path, Serve::Names);
                if let Some(stem) = item.path.strip_suffix(".crt") {
                    self.add(&format!("{stem}.key"), Serve::Screened);
                }
                if let Some(authority) = item.authority {
                    self.add(authority, Serve::Screened);
                }
            }
        }
    }

    fn add_interest(&mut self, interest: &Interest) {
        let Interest { sysctls, files, modules, mounts, certificates } = interest;
        for key in sysctls {
            self.add(&format!("/proc/sys/{}", normalize(key)), Serve::Plain);
        }
        for path in files.iter().chain(mounts) {
            self.add(path, Serve::Looks);
        }
        for module in modules {
            self.add(&format!("/sys/module/{}", module.replace('-', "_")), Serve::Looks);
        }
        for path in certificates {
            self.add(path, Serve::Names);
        }
    }

    /// Adds a path or pattern. One that starts at what a kubelet names waits for that name.
    fn add(&mut self, pattern: &str, serve: Serve) {
        if !pattern.starts_with('/') {
            return;
        }
        let parts = components(pattern);
        if glob::is_pattern(pattern) {
            let place = if pattern.starts_with("/proc/") { 0 } else { self.patterns.len() };
            self.patterns.insert(place, (parts, serve));
            return;
        }
        self.add_ancestors(pattern);
        let known = self.literals.entry(join(&parts)).or_insert(serve);
        *known = (*known).max(serve);
    }

    fn add_ancestors(&mut self, path: &str) {
        let mut rest = path;
        while let Some((above, _)) = rest.rsplit_once('/') {
            self.ancestors.insert(if above.is_empty() { "/" } else { above }.to_owned());
            rest = above;
        }
    }

    /// How the content of the file at `path` is served; `None` if it is not.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<Serve> {
        let serve = self.serve(path)?;
        (serve > Serve::Looks && !self.is_never_read(path)).then_some(serve)
    }

    /// Whether metadata and link texts of `path` are served.
    #[must_use]
    pub fn may_look(&self, path: &str) -> bool {
        self.serve(path).is_some()
            || self.ancestors.contains(path)
            || self.looked.contains(path)
            || self.patterns.iter().any(|(parts, _)| leads_to(parts, path).is_some())
    }

    /// Whether the names in the directory at `path` are served.
    #[must_use]
    pub fn may_list(&self, path: &str) -> bool {
        matches!(self.serve(path), Some(Serve::Lists))
            || self
                .patterns
                .iter()
                .any(|(parts, _)| leads_to(parts, path).is_some_and(glob::is_pattern))
            || matches!(self.named.get(path), Some(Serve::Lists))
    }

    /// Whether what is at `resolved`, a path without links, is never read.
    #[must_use]
    pub fn is_never_read(&self, resolved: &str) -> bool {
        self.never.iter().any(|parts| covers(parts, resolved))
    }

    fn serve(&self, path: &str) -> Option<Serve> {
        if !is_clean(path) {
            return None;
        }
        let by_literal = self.literals.get(path).copied();
        let by_name = self.named.get(path).copied().or_else(|| {
            // What lies in a directory that was named.
            let above = path.rsplit_once('/').map(|(above, _)| above)?;
            let further = above.rsplit_once('/').map(|(further, _)| further);
            let is_listed = |it: &str| self.named.get(it) == Some(&Serve::Lists);
            (is_listed(above) || further.is_some_and(is_listed)).then_some(Serve::Names)
        });
        if let Some(serve) = by_literal.max(by_name)
            && serve != Serve::Looks
        {
            return Some(serve);
        }
        let by_pattern = self
            .patterns
            .iter()
            .filter(|(parts, _)| fits(parts, path))
            .map(|(_, serve)| *serve)
            .max();
        by_pattern.max(by_literal).max(by_name)
    }

    /// Notes the paths that `bytes` name, which were served from the file at `path`.
    pub fn note(&mut self, path: &str, bytes: &[u8]) {
        for (serve, named) in name::names(bytes) {
            if let Some(named) = clean_path(&beside(path, &named)) {
                self.note_path(named, serve);
            }
        }
    }

    /// Notes where the link at `path` leads: it may be looked at on the way.
    pub fn note_link(&mut self, path: &str, target: &str) {
        if let Some(target) = clean_path(&beside(path, target))
            && self.looked.len() < MAX_NAMED
        {
            self.note_way(&target);
            self.looked.insert(target);
        }
    }

    fn note_path(&mut self, path: String, serve: Serve) {
        if self.named.len() >= MAX_NAMED || path == "/" {
            return;
        }
        self.note_way(&path);
        let known = self.named.entry(path).or_insert(serve);
        *known = (*known).max(serve);
    }

    fn note_way(&mut self, path: &str) {
        let mut rest = path;
        while let Some((above, _)) = rest.rsplit_once('/') {
            if self.looked.len() < MAX_NAMED {
                self.looked.insert(if above.is_empty() { "/" } else { above }.to_owned());
            }
            rest = above;
        }
    }
}

/// Whether a path has no empty, `.` or `..` component and is short enough to be one.
fn is_clean(path: &str) -> bool {
    const MAX_PATH: usize = 4096;
    path == "/"
        || path.len() <= MAX_PATH
            && path.starts_with('/')
            && path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."))
}

fn components(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn join(parts: &[String]) -> String {
    parts.iter().fold(String::new(), |path, part| path + "/" + part)
}

/// Whether a component fits its pattern. Unlike in the shell, `*` takes hidden names, too.
fn fits_one(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None if !glob::is_pattern(pattern) => pattern == name,
        Some((before, after)) if !glob::is_pattern(before) && !glob::is_pattern(after) => {
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        }
        Some(_) | None => glob::matches(pattern, name),
    }
}

/// Whether a path fits a pattern as a whole.
fn fits(parts: &[String], path: &str) -> bool {
    leads_to(parts, path) == Some("")
}

/// The component of a pattern that follows where `path` ends, `""` if the path is all of it; `None`
/// if the path is not on the way.
fn leads_to<'a>(parts: &'a [String], path: &str) -> Option<&'a str> {
    let mut pattern = parts.iter();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        if !fits_one(pattern.next()?, name) {
            return None;
        }
    }
    Some(pattern.next().map_or("", String::as_str))
}

/// Whether a path fits a pattern or lies below one that does.
fn covers(parts: &[String], path: &str) -> bool {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    parts.iter().all(|part| names.next().is_some_and(|name| fits_one(part, name)))
}

#[cfg(test)]
mod tests;
