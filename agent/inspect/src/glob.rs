//! Path patterns: `*`, `?` and `[…]` inside one component, as glob(7) has them.
//!
//! Matches bytes of names, never regular expressions, in time bounded by the product of the two
//! lengths. Does not know braces, tildes or `**`.

use palisade_report::WhyKind;

use crate::Host;
use crate::ReadError;
use crate::host::EntryKind;
use crate::host::MAX_ENTRIES;

/// Whether `text` holds a character with a meaning in patterns.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether one component of a path matches one component of a pattern, see glob(7).
///
/// A leading dot of `name` is matched by a dot only. A `[` without its `]` stands for itself.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // Where to go on after the last star: the pattern behind it, and how much of the name it eats.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(character) = name.get(in_name) {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            retry = Some((at, in_name));
            continue;
        }
        if let Some(next) = one(&pattern, at, *character) {
            at = next;
            in_name += 1;
            continue;
        }
        let Some((behind, eaten)) = retry else { return false };
        (at, in_name) = (behind, eaten + 1);
        retry = Some((behind, eaten + 1));
    }
    pattern.get(at..).unwrap_or_default().iter().all(|character| *character == '*')
}

/// Where the pattern goes on if its element at `at`, not a star, matches `character`.
fn one(pattern: &[char], at: usize, character: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match bracket(pattern, at + 1, character) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            None => (character == '[').then_some(at + 1),
        },
        other => (*other == character).then_some(at + 1),
    }
}

/// Whether `character` is in the set that starts at `start` (behind `[`), and where the pattern
/// goes on; `None` if the set has no end.
fn bracket(pattern: &[char], start: usize, character: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(start), Some('!' | '^'));
    let first = if negated { start + 1 } else { start };
    let (mut at, mut found) = (first, false);
    loop {
        let low = *pattern.get(at)?;
        // A bracket that closes at once is a member: `[]a]`.
        if low == ']' && at > first {
            return Some((found != negated, at + 1));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some('-'), Some(high)) if *high != ']' => {
                found |= (low..=*high).contains(&character);
                at += 3;
            }
            _ => {
                found |= low == character;
                at += 1;
            }
        }
    }
}

/// Every path below the host's root that matches `pattern`, in ascending order.
///
/// Shape: absolute paths, links in them not resolved, at most `limit`. A pattern without special
/// characters comes back as it is, whether or not something is there; every other path existed.
/// Nothing matches below a directory that does not exist.
///
/// # Errors
/// [`ReadError::Failed`] if a directory on the way could not be listed or an entry not looked at,
/// and with `too-large` above `limit` matches: part of an answer would read as all of it.
pub fn expand(host: &dyn Host, pattern: &str, limit: usize) -> Result<Vec<String>, ReadError> {
    if !is_pattern(pattern) {
        return Ok(vec![pattern.to_owned()]);
    }
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let last_pattern = parts.iter().rposition(|part| is_pattern(part)).unwrap_or(0);
    let mut found = vec![String::new()];
    for (place, part) in parts.iter().enumerate() {
        if !is_pattern(part) {
            for path in &mut found {
                path.push('/');
                path.push_str(part);
            }
            continue;
        }
        let mut next = Vec::new();
        for above in &found {
            let directory = if above.is_empty() { "/" } else { above };
            let entries = match host.list(directory, MAX_ENTRIES) {
                Ok(entries) => entries,
                Err(ReadError::NotFound { .. }) => continue,
                Err(ReadError::Failed { why, .. }) if why.kind == WhyKind::NotRegular => continue,
                Err(error @ ReadError::Failed { .. }) => return Err(error),
            };
            for entry in entries.iter().filter(|entry| matches(part, &entry.name)) {
                let leads_on = matches!(entry.kind, EntryKind::Directory | EntryKind::Link);
                if place + 1 < parts.len() && !leads_on {
                    continue;
                }
                if next.len() == limit {
                    let detail = format!("more than {limit} paths match");
                    return Err(ReadError::failed(pattern, WhyKind::TooLarge, detail));
                }
                next.push(format!("{above}/{}", entry.name));
            }
        }
        found = next;
    }
    if last_pattern + 1 < parts.len() {
        let mut there = Vec::with_capacity(found.len());
        for path in found {
            match host.link_metadata(&path) {
                Ok(_) => there.push(path),
                Err(ReadError::NotFound { .. }) => {}
                Err(error @ ReadError::Failed { .. }) => return Err(error),
            }
        }
        found = there;
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryHost;

    use proptest::prelude::*;

    #[test]
    fn components_match_as_glob_7_says() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "abc", true),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("?.hidden", ".hidden", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("*.conf", "10.conf", true),
            ("*.conf", "10.conf.bak", false),
            ("?", "é", true),
            ("??", "a", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]a]", "]", true),
            ("[a-]", "-", true),
            ("[a", "[a", true),
            ("[a", "a", false),
            ("eth[0-9]*", "eth12", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} against {name}");
        }
    }

    #[test]
    fn patterns_find_what_exists_and_literals_come_back() {
        let host = MemoryHost::default()
            .file("/etc/a/pki/x.crt", "")
            .file("/etc/b/pki/y.crt", "")
            .file("/etc/b/pki/.hidden.crt", "")
            .file("/etc/c", "")
            .link("/etc/link", "/etc/a");
        let expand = |pattern| expand(&host, pattern, 10).unwrap();
        assert_eq!(
            expand("/etc/*/pki/*.crt"),
            ["/etc/a/pki/x.crt", "/etc/b/pki/y.crt", "/etc/link/pki/x.crt"]
        );
        assert_eq!(expand("/etc/*/pki/x.crt"), ["/etc/a/pki/x.crt", "/etc/link/pki/x.crt"]);
        assert_eq!(expand("/*/c"), ["/etc/c"]);
        assert_eq!(expand("/no/such/*"), Vec::<String>::new());
        assert_eq!(expand("/etc/none"), ["/etc/none"]);
    }

    #[test]
    fn what_cannot_be_listed_is_not_empty() {
        let host = MemoryHost::default()
            .file("/etc/a/x", "")
            .file("/etc/a/y", "")
            .unreadable("/etc/b", WhyKind::PermissionDenied);
        assert!(expand(&host, "/etc/b/*", 10).is_err());
        assert!(expand(&host, "/etc/a/*", 1).is_err());
        assert_eq!(expand(&host, "/etc/a/*", 2).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn any_pattern_against_any_name_ends(
            pattern in "[a*?\\[\\]!^-]{0,12}",
            name in "[ab\\[\\].-]{0,20}",
        ) {
            let _matched = matches(&pattern, &name);
            if !name.is_empty() && !name.starts_with('.') {
                prop_assert!(matches("*", &name));
            }
        }
    }
}
