//! apt's configuration: apt.conf(5), as far as settings are values; `#include` is not followed.
//!
//! ```text
//! APT::Periodic::Unattended-Upgrade "1";
//! Unattended-Upgrade { Automatic-Reboot "true"; Origins { "a"; "b"; }; };
//! #clear Unattended-Upgrade::Automatic-Reboot;
//! ```

use std::collections::BTreeMap;

use palisade_report::Origin;

use crate::Host;
use crate::ReadError;
use crate::host::EntryKind;
use crate::host::MAX_CONFIG;

/// Where configuration is kept, in the order in which apt reads it.
const DIRECTORY: &str = "/etc/apt/apt.conf.d";
const MAIN: &str = "/etc/apt/apt.conf";

/// Files of [`DIRECTORY`].
const MAX_FILES: usize = 1000;

/// Braces inside each other; people write two or three.
const MAX_NESTING: usize = 32;

/// Settings of one file that are kept.
const MAX_SETTINGS: usize = 10_000;

/// Bytes of one name or value that are kept.
const MAX_WORD: usize = 1024;

/// A statement of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name with `::` between the levels, in lower case: apt knows no case.
    pub name: String,
    /// What becomes of it.
    pub change: Change,
    /// Its line, from 1.
    pub line: usize,
}

/// What a statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Forgets the name and everything below it.
    Clear,
    /// Gives it this value.
    Set(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Clear,
    Close,
    End,
    Open,
    Text(String),
}

/// The settings of a file, in order. What cannot be understood is passed over up to the next `;`.
#[must_use]
pub fn parse(config: &[u8]) -> Vec<Setting> {
    let mut settings = Vec::new();
    // The names of the open braces; what is nested too deeply is named by nobody.
    let mut above: Vec<String> = Vec::new();
    let mut statement: Vec<String> = Vec::new();
    let mut clears = false;
    for (word, line) in words(config) {
        if settings.len() == MAX_SETTINGS || above.len() > MAX_NESTING {
            break;
        }
        match word {
            Word::Text(text) => statement.push(text),
            Word::Clear => clears = true,
            Word::Open => {
                above.push(statement.first().cloned().unwrap_or_default());
                statement.clear();
            }
            Word::End | Word::Close => {
                let change = match (statement.get(1), clears) {
                    (_, true) => Some(Change::Clear),
                    (Some(value), false) => Some(Change::Set(value.clone())),
                    // One word alone is a member of a list.
                    (None, false) => None,
                };
                if let (Some(own), Some(change)) = (statement.first(), change) {
                    let levels = above.iter().chain([own]).map(String::as_str);
                    let name = levels.collect::<Vec<_>>().join("::").to_ascii_lowercase();
                    settings.push(Setting { name, change, line });
                }
                statement.clear();
                clears = false;
                if word == Word::Close {
                    above.pop();
                }
            }
        }
    }
    settings
}

/// Cuts a file into words and marks; comments fall away.
fn words(config: &[u8]) -> Vec<(Word, usize)> {
    let text = String::from_utf8_lossy(config);
    let mut found = Vec::new();
    let mut line = 1;
    let mut word = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let ends = character.is_whitespace() || matches!(character, '{' | '}' | ';' | '"' | '#');
        let comments = character == '/' && matches!(characters.peek(), Some('/' | '*'));
        if (ends || comments) && !word.is_empty() {
            found.push((Word::Text(std::mem::take(&mut word)), line));
        }
        match character {
            '\n' => line += 1,
            '{' => found.push((Word::Open, line)),
            '}' => found.push((Word::Close, line)),
            ';' => found.push((Word::End, line)),
            '"' => {
                let mut value = String::new();
                for inner in characters.by_ref() {
                    match inner {
                        '"' => break,
                        '\n' => line += 1,
                        other if value.len() < MAX_WORD => value.push(other),
                        _ => {}
                    }
                }
                found.push((Word::Text(value), line));
            }
            '#' => {
                let rest: String =
                    std::iter::from_fn(|| characters.next_if(|next| next.is_ascii_alphabetic()))
                        .collect();
                if rest == "clear" {
                    found.push((Word::Clear, line));
                } else {
                    while characters.next_if(|next| *next != '\n').is_some() {}
                }
            }
            '/' if characters.peek() == Some(&'/') => {
                while characters.next_if(|next| *next != '\n').is_some() {}
            }
            '/' if characters.peek() == Some(&'*') => {
                let mut before = ' ';
                characters.next();
                for inner in characters.by_ref() {
                    line += usize::from(inner == '\n');
                    if before == '*' && inner == '/' {
                        break;
                    }
                    before = inner;
                }
            }
            other if !other.is_whitespace() && word.len() < MAX_WORD => word.push(other),
            _ => {}
        }
    }
    if !word.is_empty() {
        found.push((Word::Text(word), line));
    }
    found
}

/// The configuration in force: the last value of each name, and where it stands.
pub type Configuration = BTreeMap<String, (String, Origin)>;

/// Applies the settings of one file on top of what is in force.
pub fn apply(configuration: &mut Configuration, path: &str, settings: Vec<Setting>) {
    for Setting { name, change, line } in settings {
        match change {
            Change::Set(value) => {
                configuration.insert(name, (value, Origin::line(path, line)));
            }
            Change::Clear => {
                let below = format!("{name}::");
                configuration.retain(|other, _| *other != name && !other.starts_with(&below));
            }
        }
    }
}

/// Reads the configuration in force.
///
/// # Errors
/// The first file that could not be read.
pub fn read(host: &dyn Host) -> Result<Configuration, ReadError> {
    let mut files = match host.list(DIRECTORY, MAX_FILES) {
        Ok(entries) => entries
            .into_iter()
            .filter(|entry| entry.kind != EntryKind::Directory && is_read(&entry.name))
            .map(|entry| format!("{DIRECTORY}/{}", entry.name))
            .collect(),
        Err(ReadError::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    files.push(MAIN.to_owned());
    let mut configuration = Configuration::new();
    for path in files {
        match host.read(&path, MAX_CONFIG) {
            Ok(contents) => apply(&mut configuration, &path, parse(&contents.bytes)),
            Err(ReadError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(configuration)
}

/// Whether apt reads a file of this name: no extension or `.conf`, and no backup of an editor.
fn is_read(name: &str) -> bool {
    let base = name.strip_suffix(".conf").unwrap_or(name);
    let plain = |part: char| part.is_ascii_alphanumeric() || matches!(part, '-' | '_');
    !base.is_empty() && base.chars().all(plain)
}

/// Whether apt takes a value for true; `None` if it is neither.
#[must_use]
pub fn truth(value: &str) -> Option<bool> {
    if let Ok(number) = value.trim().parse::<i64>() {
        return Some(number != 0);
    }
    match value.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "with" | "on" | "enable" | "always" => Some(true),
        "no" | "false" | "without" | "off" | "disable" | "" => Some(false),
        _ => None,
    }
}
