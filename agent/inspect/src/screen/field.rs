//! Values of fields that are named like secrets: in YAML, JSON, INI files, GRUB's configuration and
//! argument lists; and who logs in by an URL.

use std::ops::Range;

/// What the name of such a field ends in, in lowercase.
const NAMES: [&[u8]; 16] = [
    b"api-key",
    b"api_key",
    b"apikey",
    b"client-key-data",
    b"passphrase",
    b"passwd",
    b"password",
    b"pwd",
    b"secret",
    b"secret-access-key",
    b"secret-key",
    b"secret_access_key",
    b"secret_key",
    b"secretaccesskey",
    b"secretkey",
    b"token",
];

/// Commands of GRUB that take a user and a password, with blanks between.
const GRUB: [&[u8]; 2] = [b"password", b"password_pbkdf2"];

/// What follows the type `password` in a line of pam.conf(5), which is no secret.
const PAM: [&[u8]; 6] =
    [b"include", b"optional", b"required", b"requisite", b"substack", b"sufficient"];

/// Bytes of a name that are looked at.
const MAX_NAME: usize = 128;

/// Hands on where the values are, quotes left out.
pub(super) fn values(bytes: &[u8], mut found: impl FnMut(Range<usize>)) {
    for (at, byte) in bytes.iter().enumerate() {
        let is_named = match byte {
            b':' | b'=' => ends_a_name(bytes, at),
            0 => ends_a_flag(bytes, at),
            _ => false,
        };
        if is_named && let Some(range) = value(bytes, at) {
            found(range);
        }
    }
    let mut start = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(at) = grub_password(line) {
            found(start + at..start + line.trim_ascii_end().len());
        }
        start += line.len() + 1;
    }
    userinfo(bytes, found);
}

/// Where the password starts in a line of GRUB's configuration.
fn grub_password(line: &[u8]) -> Option<usize> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut at = 0;
    let mut word = || {
        let rest = line.get(at..)?;
        let blanks = rest.iter().take_while(|byte| is_blank(byte)).count();
        let length = rest.iter().skip(blanks).take_while(|byte| !is_blank(byte)).count();
        let start = at + blanks;
        at = start + length;
        line.get(start..at).filter(|word| !word.trim_ascii().is_empty()).map(|word| (start, word))
    };
    let (_, command) = word()?;
    let (_, user) = word()?;
    let (start, _) = word()?;
    let is_pam = PAM.contains(&user) || user.starts_with(b"[");
    (GRUB.contains(&command) && !is_pam).then_some(start)
}

/// Hands on what stands before the `@` in the authority of an URL, RFC 3986 section 3.2.
fn userinfo(bytes: &[u8], mut found: impl FnMut(Range<usize>)) {
    let mut from = 0;
    while let Some(scheme) = super::find(bytes, b"://", from) {
        let start = scheme + 3;
        let rest = bytes.get(start..).unwrap_or_default();
        let ends = |byte: &u8| {
            byte.is_ascii_control()
                || matches!(byte, b' ' | b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>')
        };
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        let authority = rest.get(..length).unwrap_or_default();
        if let Some(at) = authority.iter().rposition(|byte| *byte == b'@').filter(|at| *at > 0) {
            found(start..start + at);
        }
        from = start + length;
    }
}

/// Whether such a name stands before the separator at `at`.
fn ends_a_name(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(at.saturating_sub(MAX_NAME)..at).unwrap_or_default().trim_ascii_end();
    let name = before.strip_suffix(b"\"").or_else(|| before.strip_suffix(b"'")).unwrap_or(before);
    NAMES.iter().any(|wanted| ends_with(name, wanted))
}

/// Whether the argument that ends at `at` is such a flag, its value the next argument.
fn ends_a_flag(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(at.saturating_sub(MAX_NAME)..at).unwrap_or_default();
    let argument = before.rsplit(|byte| *byte == 0).next().unwrap_or_default();
    argument.starts_with(b"-") && NAMES.iter().any(|wanted| ends_with(argument, wanted))
}

fn ends_with(name: &[u8], wanted: &[u8]) -> bool {
    let tail = name.len().checked_sub(wanted.len()).and_then(|from| name.get(from..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(wanted))
}

/// The value behind the separator at `separator`; `None` if there is none.
fn value(bytes: &[u8], separator: usize) -> Option<Range<usize>> {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let rest = bytes.get(separator + 1..)?;
    let start = separator + 1 + rest.iter().take_while(blank).count();
    let first = *bytes.get(start)?;
    match first {
        b'\n' | b'\r' if bytes.get(separator) == Some(&b':') => below(bytes, separator, start),
        b'\n' | b'\r' | 0 => None,
        b'"' | b'\'' => quoted(bytes, start, first),
        b'#' if bytes.get(separator) == Some(&b':') => {
            let length = rest_of_line(bytes, start);
            below(bytes, separator, start + length)
        }
        b'|' | b'>' => Some(start..end_of_block(bytes, separator, start)),
        _ => {
            let end = start + rest_of_line(bytes, start);
            // In YAML it goes on in the lines that are indented deeper.
            let is_yaml = bytes.get(separator) == Some(&b':') && start > separator + 1;
            if is_yaml && !matches!(first, b'{' | b'[') {
                return Some(start..end.max(end_of_block(bytes, separator, start)));
            }
            Some(start..end)
        }
    }
}

fn rest_of_line(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    rest.iter().take_while(|byte| !matches!(byte, b'\n' | b'\r' | 0)).count()
}

/// The text between quotes, of which the first is at `start`.
fn quoted(bytes: &[u8], start: usize, quote: u8) -> Option<Range<usize>> {
    let inner = bytes.get(start + 1..)?;
    let mut is_escaped = false;
    let length = inner.iter().position(|byte| {
        let ends = *byte == quote && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    let end = start + 1 + length.unwrap_or(inner.len());
    (end > start + 1).then_some(start + 1..end)
}

/// A text in YAML or JSON that starts in a line below its name. What starts there may as well be a
/// mapping or a list, whose fields have names of their own, or the next field.
fn below(bytes: &[u8], separator: usize, line_end: usize) -> Option<Range<usize>> {
    let rest = bytes.get(line_end..)?;
    let start = line_end + rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let first = *bytes.get(start)?;
    if matches!(first, b'"' | b'\'') {
        let text = quoted(bytes, start, first)?;
        let after = bytes.get(text.end + 1..).unwrap_or_default().trim_ascii_start();
        return (after.first() != Some(&b':')).then_some(text);
    }
    let end = end_of_block(bytes, separator, line_end);
    let mut lines = bytes.get(line_end..end)?.split_inclusive(|byte| *byte == b'\n');
    let is_of_text =
        |line: &&[u8]| line.trim_ascii_start().first().is_some_and(|byte| *byte != b'#');
    let line = lines.find(is_of_text)?.trim_ascii();
    let has_names = line.ends_with(b":") || line.windows(2).any(|pair| pair == b": ");
    let is_list = line == b"-" || line.starts_with(b"- ");
    let is_text = !has_names && !is_list && !matches!(line.first(), Some(b'{' | b'['));
    is_text.then_some(start..end)
}

/// Where the lines end that are indented deeper than the one with the separator.
fn end_of_block(bytes: &[u8], separator: usize, start: usize) -> usize {
    let depth = |line: &[u8]| line.iter().take_while(|byte| **byte == b' ').count();
    let before = bytes.get(..separator).unwrap_or_default();
    let own = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    // The mark of an item of a list counts as indentation.
    let own = own.iter().take_while(|byte| matches!(byte, b' ' | b'-')).count();
    let rest = bytes.get(start..).unwrap_or_default();
    let mut end = start;
    for (number, line) in rest.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_blank = line.trim_ascii().is_empty();
        if number > 0 && !is_blank && depth(line) <= own {
            break;
        }
        end += line.len();
    }
    // The line feed stays, so that what follows keeps its line.
    if bytes.get(end.saturating_sub(1)) == Some(&b'\n') { end - 1 } else { end }
}
