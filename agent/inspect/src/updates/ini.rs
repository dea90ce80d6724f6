//! Sections of `key = value`: yum.conf(5), repositories, dnf-automatic.

use std::collections::BTreeMap;

/// Sections, and keys of one section, that are kept.
const MAX_KEYS: usize = 1000;

/// A section of such a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its name, without the brackets.
    pub name: String,
    /// Values by key in lower case; the last one wins.
    pub keys: BTreeMap<String, String>,
}

impl Part {
    /// Whether a key is true, `None` if it is missing or neither.
    #[must_use]
    pub fn truth(&self, key: &str) -> Option<bool> {
        match self.keys.get(key)?.to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" | "on" => Some(true),
            "0" | "no" | "false" | "off" => Some(false),
            _ => None,
        }
    }
}

/// The sections of a file in order; lines outside of them and comments are passed over.
#[must_use]
pub fn parse(config: &[u8]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for line in String::from_utf8_lossy(config).lines() {
        let text = line.trim();
        if text.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            if parts.len() == MAX_KEYS {
                break;
            }
            parts.push(Part { name: name.to_owned(), ..Part::default() });
        } else if let (Some(part), Some((key, value))) = (parts.last_mut(), text.split_once('='))
            && part.keys.len() < MAX_KEYS
        {
            part.keys.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    parts
}
