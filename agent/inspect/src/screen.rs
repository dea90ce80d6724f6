//! Secrets taken out of what is read, before it is handed to another process for parsing.
//!
//! A scan over bytes that knows no format: private keys in PEM (in clear, or as base64 in a
//! kubeconfig), private keys and key stores in DER, tokens by their shape and the values of fields
//! that are named like secrets. A private key is replaced by the digest of its public half, see
//! [`half`]; everything else by a word. What a scan cannot find: secrets without a telling name or
//! shape, and those that a node's own root hides on purpose.
//!
//! ```text
//! bytes ─> key store? DER key? ─> cuts (PEM, base64 of PEM, tokens, named fields) ─> bytes
//! ```

mod field;

use std::ops::Range;

use crate::certificates::base64;
use crate::certificates::contents;
use crate::certificates::der;
use crate::certificates::der::Element;
use crate::certificates::der::Reader;
use crate::certificates::half;
use crate::certificates::key;
use crate::certificates::pem;

/// What stands in the place of a secret.
pub(crate) const REMOVED: &[u8] = b"REMOVED";

/// Bytes between the dashes of a PEM marker; labels in use have at most 30.
const MAX_LABEL: usize = 80;

/// Bytes that base64 in a text may decode to: a file has at most 4 MiB.
const MAX_DECODED: usize = 4 * 1024 * 1024;

/// How often base64 within base64 is looked into: a kubeconfig in a Secret is one level.
const MAX_DEPTH: u32 = 2;

/// Shortest part of a token between two dots; the header alone has more.
const MIN_TOKEN_PART: usize = 8;

/// The first word of every PEM marker, in base64.
const BEGIN_IN_BASE64: &[u8] = b"LS0tLS1CRUdJTi";

/// A secret, and what replaces it.
struct Cut {
    range: Range<usize>,
    by: Vec<u8>,
}

/// The same bytes without the secrets in them. Bytes without secrets come back as they are.
#[must_use]
pub fn screen(bytes: Vec<u8>) -> Vec<u8> {
    let screened = screen_at(&bytes, 0);
    match screened {
        Some(screened) => {
            drop(crate::certificates::secret::Secret::new(bytes));
            screened
        }
        None => bytes,
    }
}

/// `None` if there is nothing to take out.
fn screen_at(bytes: &[u8], depth: u32) -> Option<Vec<u8>> {
    if let Some(replaced) = binary(bytes) {
        return Some(replaced);
    }
    let mut cuts = Vec::new();
    private_blocks(bytes, &mut cuts);
    if depth < MAX_DEPTH {
        encoded_blocks(bytes, depth, &mut cuts);
    }
    tokens(bytes, &mut cuts);
    field::values(bytes, |range| {
        let by = value(bytes.get(range.clone()).unwrap_or_default(), depth);
        cuts.push(Cut { range, by });
    });
    if cuts.is_empty() {
        return None;
    }
    cuts.sort_by_key(|cut| cut.range.start);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for Cut { range, by } in cuts {
        if range.start >= at {
            out.extend_from_slice(bytes.get(at..range.start).unwrap_or_default());
            out.extend_from_slice(&by);
        }
        at = at.max(range.end);
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    Some(out)
}

/// What replaces a whole file that is a private key or a key store.
fn binary(bytes: &[u8]) -> Option<Vec<u8>> {
    let magic = bytes.get(..4).unwrap_or_default();
    if matches!(magic, [0xfe, 0xed, 0xfe, 0xed] | [0xce, 0xce, 0xce, 0xce]) {
        // Java key stores are told by their first four bytes.
        return Some(magic.to_vec());
    }
    if bytes.first() != Some(&der::SEQUENCE) {
        return None;
    }
    let mut inside = Reader::new(bytes).take_tag(der::SEQUENCE)?.inside();
    let first = inside.take()?;
    let second = inside.take();
    let is_encrypted_key = first.tag == der::SEQUENCE
        && second.is_some_and(|Element { tag, .. }| tag == der::OCTET_STRING);
    if is_encrypted_key {
        return Some(stand_in(&Err(half::encrypted())).into_bytes());
    }
    if first.tag != der::INTEGER {
        return None;
    }
    if first.content == [3] {
        // Enough of a PKCS#12 store to be told as one.
        return Some(vec![der::SEQUENCE, 3, der::INTEGER, 1, 3]);
    }
    let half = key::parse_private(bytes).map(|public| half::Half::of(&public));
    Some(stand_in(&half).into_bytes())
}

/// The block that stands for a private key.
fn stand_in(half: &Result<half::Half, palisade_report::Why>) -> String {
    half::armour(&base64::encode(half::write(half).as_bytes()))
}

/// Private keys in PEM. A block in the form in which halves are handed on is taken out as well: it
/// did not come from here.
fn private_blocks(bytes: &[u8], cuts: &mut Vec<Cut>) {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut from = 0;
    while let Some(start) = find(bytes, BEGIN, from) {
        let label_at = start + BEGIN.len();
        from = label_at;
        let Some(label_end) = find(bytes, b"-----", label_at) else { return };
        let label = bytes.get(label_at..label_end).unwrap_or_default();
        let is_private = contains(label, b"PRIVATE KEY");
        if label.len() > MAX_LABEL || !(is_private || label == half::LABEL) {
            continue;
        }
        let end = end_of_block(bytes, label_end + 5);
        let indent = indentation(bytes, start);
        let by = match (is_private, indent) {
            (true, Some(indent)) => {
                let block = pem::parse(bytes.get(start..end).unwrap_or_default()).next();
                let half =
                    block.map_or_else(|| Err(half::malformed()), |it| contents::private_key(&it));
                stand_in(&half).replace('\n', &format!("\n{indent}")).into_bytes()
            }
            (_, _) => REMOVED.to_vec(),
        };
        cuts.push(Cut { range: start..end, by });
        from = end;
    }
}

/// Where the block that began before `from` ends: behind its end marker, before the next block, or
/// with the bytes.
fn end_of_block(bytes: &[u8], from: usize) -> usize {
    let next = find(bytes, b"-----BEGIN ", from).unwrap_or(bytes.len());
    let Some(end) = find(bytes, b"-----END ", from).filter(|end| *end < next) else { return next };
    match find(bytes, b"-----", end + 9) {
        Some(dashes) if dashes <= end + 9 + MAX_LABEL => dashes + 5,
        Some(_) | None => next,
    }
}

/// The white space before `at`, if there is nothing else in its line.
fn indentation(bytes: &[u8], at: usize) -> Option<String> {
    let before = bytes.get(..at)?;
    let line = before.rsplit(|byte| *byte == b'\n').next()?;
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    line.iter().all(|byte| matches!(byte, b' ' | b'\t')).then(|| " ".repeat(line.len()))
}

/// Private keys in PEM that were encoded as a whole.
fn encoded_blocks(bytes: &[u8], depth: u32, cuts: &mut Vec<Cut>) {
    let mut from = 0;
    while let Some(start) = find(bytes, BEGIN_IN_BASE64, from) {
        let end = end_of_base64(bytes, start);
        let text = bytes.get(start..end).unwrap_or_default();
        if let Some(by) = encoded(text, depth) {
            cuts.push(Cut { range: start..end, by });
        }
        from = end.max(start + 1);
    }
}

/// What replaces base64, if it holds a secret or cannot be told.
fn encoded(text: &[u8], depth: u32) -> Option<Vec<u8>> {
    let Some(decoded) = base64::decode(text, MAX_DECODED) else { return Some(REMOVED.to_vec()) };
    let screened = screen_at(&decoded, depth + 1);
    drop(crate::certificates::secret::Secret::new(decoded));
    screened.map(|screened| base64::encode(&screened).into_bytes())
}

/// Where base64 ends that may go on over several lines.
fn end_of_base64(bytes: &[u8], start: usize) -> usize {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let length = |from: usize, of: &dyn Fn(&u8) -> bool| {
        bytes.get(from..).unwrap_or_default().iter().take_while(|byte| of(byte)).count()
    };
    let mut end = start + length(start, &is_digit);
    loop {
        let gap = length(end, &u8::is_ascii_whitespace);
        let more = length(end + gap, &is_digit);
        let stops = bytes.get(end + gap + more).is_none_or(u8::is_ascii_whitespace);
        if gap == 0 || more == 0 || !stops {
            return end;
        }
        end += gap + more;
    }
}

/// JSON Web Tokens: three parts of base64url with dots between them, the first an object.
fn tokens(bytes: &[u8], cuts: &mut Vec<Cut>) {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let part = |from: usize| {
        bytes.get(from..).unwrap_or_default().iter().take_while(|byte| is_digit(byte)).count()
    };
    let mut from = 0;
    while let Some(start) = find(bytes, b"eyJ", from) {
        from = start + 3;
        let header = part(start);
        let payload_at = start + header + 1;
        let payload = part(payload_at);
        let dots = bytes.get(start + header) == Some(&b'.')
            && bytes.get(payload_at + payload) == Some(&b'.');
        if !dots || header < MIN_TOKEN_PART || payload < MIN_TOKEN_PART {
            continue;
        }
        let end = payload_at + payload + 1 + part(payload_at + payload + 1);
        cuts.push(Cut { range: start..end, by: REMOVED.to_vec() });
        from = end;
    }
}

/// What replaces the value of a field that is named like a secret.
fn value(value: &[u8], depth: u32) -> Vec<u8> {
    // A block in YAML starts behind the line with its mark.
    let is_block = value.first().is_some_and(|byte| matches!(byte, b'|' | b'>'));
    let body = value.iter().position(|byte| *byte == b'\n').filter(|_| is_block).unwrap_or(0);
    let value = value.get(body..).unwrap_or_default().trim_ascii();
    let is_encoded = find(value, BEGIN_IN_BASE64, 0) == Some(0);
    let kept = if is_encoded { encoded(value, depth) } else { None };
    kept.unwrap_or_else(|| REMOVED.to_vec())
}

fn find(bytes: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(wanted.len()).position(|window| window == wanted).map(|at| from + at)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    find(bytes, wanted, 0).is_some()
}

#[cfg(test)]
mod tests;
