//! Paths that a file names, found without parsing it: words beside the names of settings that hold
//! paths of certificates, keys, kubeconfigs and configuration.

use super::Serve;

/// Bytes of one word that are looked at; a path has at most 4,096.
const MAX_WORD: usize = 4096;

/// Settings that name a directory, without dashes and in lowercase.
const DIRECTORIES: [&str; 4] = ["certdir", "configdir", "podmanifestpath", "staticpodpath"];

/// What the names of settings end in that name a file to be read.
const FILES: [&str; 7] = [
    "cafile",
    "certfile",
    "certificateauthority",
    "clientcertificate",
    "clientkey",
    "keyfile",
    "kubeconfig",
];

/// Settings with exactly this name, which name a file to be read.
const EXACT: [&str; 1] = ["config"];

/// The settings in `bytes` that name paths, with how those are served. Other settings that hold an
/// absolute path allow to look at it.
pub(super) fn names(bytes: &[u8]) -> Vec<(Serve, String)> {
    let mut found = Vec::new();
    // The word before, and the name whose value is to come.
    let (mut before, mut name): (&[u8], Option<&[u8]>) = (b"", None);
    let is_between = |byte: &u8| {
        byte.is_ascii_whitespace()
            || matches!(byte, 0 | b'"' | b'\'' | b',' | b'[' | b']' | b'{' | b'}')
    };
    for word in bytes.split(is_between).filter(|word| !word.is_empty()) {
        if word == b":" {
            name = Some(before);
        } else if let Some(stem) = word.strip_suffix(b":") {
            name = Some(stem);
        } else if word.starts_with(b"-") {
            let flag = word.trim_ascii();
            match flag.iter().position(|byte| *byte == b'=') {
                Some(at) => {
                    let value = flag.get(at + 1..).unwrap_or_default();
                    take(flag.get(..at).unwrap_or_default(), value, &mut found);
                    name = None;
                }
                None if flag != b"-" => name = Some(flag),
                None => {}
            }
        } else if let Some(named) = name.take() {
            take(named, word, &mut found);
        }
        before = word;
    }
    found
}

fn take(name: &[u8], value: &[u8], found: &mut Vec<(Serve, String)>) {
    let Ok(value) = std::str::from_utf8(value) else { return };
    if value.is_empty() || value.len() > MAX_WORD {
        return;
    }
    let name: String = String::from_utf8_lossy(name)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_lowercase())
        .collect();
    if DIRECTORIES.contains(&name.as_str()) {
        // A manifest may be named in place of their directory.
        found.push((Serve::Lists, value.trim_end_matches('/').to_owned()));
    } else if EXACT.contains(&name.as_str()) || FILES.iter().any(|end| name.ends_with(end)) {
        found.push((Serve::Names, value.to_owned()));
    } else if value.starts_with('/') {
        found.push((Serve::Looks, value.to_owned()));
    }
}
