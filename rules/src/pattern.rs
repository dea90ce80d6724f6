//! Patterns with `*` (any number of characters) and `?` (exactly one).

use std::fmt;

/// A pattern. Shape: 1 to 256 bytes; there is no escape, because no id or path here needs one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

/// What `*` and `?` may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Across {
    /// Every character.
    Everything,
    /// Every character but `/`.
    OneComponent,
}

impl Pattern {
    /// The pattern `text`; `None` if it is empty or longer than 256 bytes.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= 256).then(|| Self(text.into()))
    }

    /// Whether it covers `text` from end to end.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        covers(self.0.as_bytes(), text.as_bytes(), Across::Everything)
    }

    /// Whether it covers the path, `*` and `?` staying inside one component.
    #[must_use]
    pub fn matches_path(&self, path: &str) -> bool {
        path_matches(&self.0, path)
    }

    /// Whether it covers everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        &*self.0 == "*"
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether the text holds `*` or `?`.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether `pattern` covers `path`, `*` and `?` staying inside one component.
pub(crate) fn path_matches(pattern: &str, path: &str) -> bool {
    covers(pattern.as_bytes(), path.as_bytes(), Across::OneComponent)
}

/// Walks both texts once and goes back to the last `*` only, so the cost is at most the product of
/// the lengths. `?` stands for one byte of ASCII or one whole character.
fn covers(pattern: &[u8], text: &[u8], across: Across) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    let stops = |byte: u8| across == Across::OneComponent && byte == b'/';
    while let Some(byte) = text.get(at_text) {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                at_pattern += 1;
                retry = Some((at_pattern, at_text));
                continue;
            }
            Some(b'?') if !stops(*byte) => {
                at_pattern += 1;
                at_text += 1;
                while text.get(at_text).is_some_and(|byte| byte & 0xC0 == 0x80) {
                    at_text += 1;
                }
                continue;
            }
            Some(wanted) if wanted == byte => {
                at_pattern += 1;
                at_text += 1;
                continue;
            }
            Some(_) | None => {}
        }
        match retry {
            Some((after, from)) if !text.get(from).is_some_and(|byte| stops(*byte)) => {
                at_pattern = after;
                at_text = from + 1;
                retry = Some((after, from + 1));
            }
            Some(_) | None => return false,
        }
    }
    pattern.get(at_pattern..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_the_whole_text() {
        for (pattern, text, covered) in [
            ("*", "", true),
            ("*", "a.b", true),
            ("sysctl.*", "sysctl.kptr-restrict", true),
            ("sysctl.*", "kubelet.sysctl.x", false),
            ("a*b*c", "aXbbYc", true),
            ("a*b*c", "aXbbY", false),
            ("a?c", "abc", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("a", "ab", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(text), covered, "{pattern} {text}");
        }
        assert!(Pattern::new("").is_none());
    }

    #[test]
    fn in_a_path_a_star_stays_inside_its_component() {
        for (pattern, path, covered) in [
            ("/etc/*.conf", "/etc/a.conf", true),
            ("/etc/*.conf", "/etc/a/b.conf", false),
            ("/etc/*/x", "/etc/a/x", true),
            ("/etc/?", "/etc//", false),
            ("/etc/*", "/etc/", true),
        ] {
            assert_eq!(path_matches(pattern, path), covered, "{pattern} {path}");
        }
    }
}
