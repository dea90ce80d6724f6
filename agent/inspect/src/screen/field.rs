//! Values of fields that are named like secrets: in YAML, JSON, INI files and argument lists.

use std::ops::Range;

/// What the name of such a field ends in, in lowercase.
const NAMES: [&[u8]; 7] =
    [b"client-key-data", b"passphrase", b"passwd", b"password", b"secret", b"secretkey", b"token"];

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
        b'\n' | b'\r' | 0 => None,
        b'"' | b'\'' => {
            let inner = bytes.get(start + 1..)?;
            let mut is_escaped = false;
            let length = inner.iter().position(|byte| {
                let ends = *byte == first && !is_escaped;
                is_escaped = *byte == b'\\' && !is_escaped;
                ends
            });
            let end = start + 1 + length.unwrap_or(inner.len());
            (end > start + 1).then_some(start + 1..end)
        }
        b'|' | b'>' => Some(start..end_of_block(bytes, separator, start)),
        _ => {
            let plain = bytes.get(start..)?;
            let length = plain.iter().take_while(|byte| !matches!(byte, b'\n' | b'\r' | 0)).count();
            Some(start..start + length)
        }
    }
}

/// Where the lines end that are indented deeper than the one with the separator.
fn end_of_block(bytes: &[u8], separator: usize, start: usize) -> usize {
    let depth = |line: &[u8]| line.iter().take_while(|byte| **byte == b' ').count();
    let before = bytes.get(..separator).unwrap_or_default();
    let own = depth(before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default());
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
