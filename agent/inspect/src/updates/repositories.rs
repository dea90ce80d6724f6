//! Repositories that are used without checking signatures: sources.list(5) in both of its forms,
//! yum.conf(5) and zypp's own.

use std::collections::BTreeSet;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::bound::clean_text;

use super::apt;
use super::ini;
use crate::Host;
use crate::ReadError;
use crate::host::Entry;
use crate::host::EntryKind;
use crate::host::MAX_CONFIG;

/// Files of one directory of repositories.
const MAX_FILES: usize = 1000;

const APT_LIST: &str = "/etc/apt/sources.list";
const APT_PARTS: &str = "/etc/apt/sources.list.d";

/// Directories of repositories in yum's form, and what holds where a repository says nothing: yum
/// and dnf check nothing by default, zypp does.
const YUM: [(&str, Silence); 2] =
    [("/etc/yum.repos.d", Silence::Unchecked), ("/etc/zypp/repos.d", Silence::Checked)];

/// Where `[main]` of yum and dnf is.
const YUM_MAIN: [&str; 2] = ["/etc/dnf/dnf.conf", "/etc/yum.conf"];

/// Settings that switch apt's checks off for every repository.
const APT_SWITCHES: [&str; 4] = [
    "acquire::allowinsecurerepositories",
    "acquire::allowweakrepositories",
    "apt::get::allowunauthenticated",
    "aptitude::cmdline::ignore-trust-violations",
];

/// What holds for a repository that says nothing about signatures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    Checked,
    Unchecked,
}

/// Reads the repositories without signature checks; absent on a host without any repository.
pub(super) fn read(host: &dyn Host) -> Reading<Vec<String>> {
    let origin = Origin::words("/etc/apt, /etc/yum.repos.d, /etc/zypp/repos.d");
    let mut unsigned = BTreeSet::new();
    let apt = read_apt(host, &mut unsigned);
    let yum = read_yum(host, &mut unsigned);
    match (apt, yum) {
        (Err(error), _) | (_, Err(error)) => Reading::unknown(error.why(), origin),
        (Ok(Seen::Nothing), Ok(Seen::Nothing)) => Reading::absent(origin),
        (Ok(_), Ok(_)) => Reading::known(unsigned.into_iter().collect(), origin),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Repositories,
}

fn read_apt(host: &dyn Host, unsigned: &mut BTreeSet<String>) -> Result<Seen, ReadError> {
    let mut seen = Seen::Nothing;
    let mut files = vec![APT_LIST.to_owned()];
    for entry in list(host, APT_PARTS)? {
        if entry.name.ends_with(".list") || entry.name.ends_with(".sources") {
            files.push(format!("{APT_PARTS}/{}", entry.name));
        }
    }
    for path in files {
        let contents = match host.read(&path, MAX_CONFIG) {
            Ok(contents) => contents,
            Err(ReadError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        seen = Seen::Repositories;
        let lines = match path.ends_with(".sources") {
            true => parse_stanzas(&contents.bytes),
            false => parse_list(&contents.bytes),
        };
        unsigned.extend(lines.into_iter().map(|line| clean_text(&format!("{path}:{line}"))));
    }
    if seen == Seen::Repositories {
        for (name, (value, origin)) in apt::read(host)? {
            if APT_SWITCHES.contains(&name.as_str()) && apt::truth(&value) == Some(true) {
                unsigned.insert(origin.as_str().to_owned());
            }
        }
    }
    Ok(seen)
}

/// The lines, from 1, of repositories in the one-line form that say `trusted=yes` or
/// `allow-insecure=yes`.
#[must_use]
pub fn parse_list(list: &[u8]) -> Vec<usize> {
    let text = String::from_utf8_lossy(list);
    let unsigned = text.lines().enumerate().filter(|(_, line)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some((kind, rest)) = line.split_once([' ', '\t']) else { return false };
        let options = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let Some((options, _)) = options else { return false };
        matches!(kind, "deb" | "deb-src")
            && options.split_ascii_whitespace().any(|option| {
                option.split_once('=').is_some_and(|(key, value)| gives_up(key, value))
            })
    });
    unsigned.map(|(at, _)| at + 1).collect()
}

/// The lines, from 1, on which enabled stanzas of the deb822 form say `Trusted: yes` or
/// `Allow-Insecure: yes`.
#[must_use]
pub fn parse_stanzas(sources: &[u8]) -> Vec<usize> {
    let text = String::from_utf8_lossy(sources);
    let mut unsigned = Vec::new();
    let mut here = Vec::new();
    let mut enabled = true;
    for (at, line) in text.lines().chain([""]).enumerate() {
        if line.trim().is_empty() {
            if enabled {
                unsigned.append(&mut here);
            }
            here.clear();
            enabled = true;
        } else if let Some((key, value)) = line.split_once(':')
            && !line.starts_with([' ', '\t', '#'])
        {
            if key.eq_ignore_ascii_case("enabled") {
                enabled = apt::truth(value) != Some(false);
            } else if gives_up(key, value) {
                here.push(at + 1);
            }
        }
    }
    unsigned
}

/// Whether an option of a repository gives up signature checks.
fn gives_up(key: &str, value: &str) -> bool {
    ["allow-insecure", "trusted"].iter().any(|option| key.trim().eq_ignore_ascii_case(option))
        && apt::truth(value) == Some(true)
}

fn read_yum(host: &dyn Host, unsigned: &mut BTreeSet<String>) -> Result<Seen, ReadError> {
    let mut seen = Seen::Nothing;
    let mut main = None;
    for path in YUM_MAIN {
        match host.read(path, MAX_CONFIG) {
            Ok(contents) => {
                let parts = ini::parse(&contents.bytes);
                let part = parts.iter().find(|part| part.name == "main");
                main = main.or_else(|| part.and_then(|part| part.truth("gpgcheck")));
            }
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    for (directory, default) in YUM {
        let default = match default {
            Silence::Checked => true,
            Silence::Unchecked => main.unwrap_or(false),
        };
        for entry in list(host, directory)? {
            if !entry.name.ends_with(".repo") {
                continue;
            }
            let path = format!("{directory}/{}", entry.name);
            let contents = match host.read(&path, MAX_CONFIG) {
                Ok(contents) => contents,
                Err(ReadError::NotFound { .. }) => continue,
                Err(error) => return Err(error),
            };
            seen = Seen::Repositories;
            for part in ini::parse(&contents.bytes) {
                let enabled = part.truth("enabled").unwrap_or(true);
                if enabled && !part.truth("gpgcheck").unwrap_or(default) {
                    unsigned.insert(clean_text(&format!("{path} [{}]", part.name)));
                }
            }
        }
    }
    Ok(seen)
}

fn list(host: &dyn Host, directory: &str) -> Result<Vec<Entry>, ReadError> {
    match host.list(directory, MAX_FILES) {
        Ok(mut entries) => {
            entries.retain(|entry| entry.kind != EntryKind::Directory);
            Ok(entries)
        }
        Err(ReadError::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
