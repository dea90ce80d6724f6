//! Bounds on what comes from outside, and the one way in which foreign text is made safe to show.

/// Bytes that a text fact may have before it is cut; cut text ends in `…`.
pub const MAX_TEXT: usize = 256;

/// Bytes that a long text fact may have: a kernel command line (`COMMAND_LINE_SIZE` is 2,048 on
/// x86-64 and 4,096 elsewhere), a process's arguments.
pub const MAX_LONG_TEXT: usize = 4096;

/// Entries that a list fact may have; a reader that meets more says so in its own section.
pub const MAX_LIST: usize = 4096;

/// Makes foreign bytes showable: at most `max` bytes of UTF-8, control and bidirectional-override
/// characters as `\u{..}` escapes, invalid UTF-8 as U+FFFD.
///
/// Hostile names reach logs, terminals and HTML through facts; here is the only place that decides
/// what they look like. The escape keeps two different names different.
#[must_use]
pub fn clean(bytes: &[u8], max: usize) -> String {
    // A cut input is shown as cut, so reading a few times the bound is enough.
    let window = bytes.get(..max.saturating_mul(4)).unwrap_or(bytes);
    let mut out = String::with_capacity(window.len());
    for character in String::from_utf8_lossy(window).chars() {
        if is_unsafe(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    if out.len() > max || window.len() < bytes.len() {
        while out.len() > max.saturating_sub('…'.len_utf8()) {
            out.pop();
        }
        out.push('…');
    }
    out
}

/// [`clean`] for text that is UTF-8 already, with [`MAX_TEXT`].
#[must_use]
pub fn clean_text(text: &str) -> String {
    clean(text.as_bytes(), MAX_TEXT)
}

/// Control characters, and those that reorder or hide what a person reads (Unicode UAX #9, and the
/// zero-width and tag characters used for look-alike names).
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidi_characters_are_escaped_not_dropped() {
        assert_eq!(clean(b"a\x1b[31mb", 64), "a\\u{1b}[31mb");
        assert_eq!(clean("a\u{202e}b".as_bytes(), 64), "a\\u{202e}b");
        assert_eq!(clean(b"a\xffb", 64), "a\u{fffd}b");
    }

    #[test]
    fn long_text_is_cut_visibly_and_never_exceeds_its_bound() {
        for len in 0..40 {
            let text = "é".repeat(len);
            let shown = clean(text.as_bytes(), 16);
            assert!(shown.len() <= 16, "{shown:?}");
            assert_eq!(shown.ends_with('…'), text.len() > 16, "{len}: {shown:?}");
        }
    }
}
