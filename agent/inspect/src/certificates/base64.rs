//! Base64 as PEM and kubeconfigs use it (RFC 4648 section 4), with white space anywhere.

/// Decodes `text` to at most `limit` bytes; nothing if it is not base64 or decodes to more.
///
/// White space is skipped. Padding may be missing, as some tools leave it out; bits of the last
/// digit that no byte uses are ignored.
#[must_use]
pub fn decode(text: &[u8], limit: usize) -> Option<Vec<u8>> {
    // Exact enough to never grow: a copy left behind by growing could be a private key.
    let mut out = Vec::with_capacity(limit.min(text.len() / 4 * 3 + 3));
    let mut group: u32 = 0;
    let mut digits = 0;
    let mut padding = 0;
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        group = group << 6 | u32::from(digit);
        digits += 1;
        if digits == 4 {
            let [_, bytes @ ..] = group.to_be_bytes();
            push(&mut out, &bytes, limit)?;
            (group, digits) = (0, 0);
        }
    }
    let [_, first, second, _] = (group << (6 * (4 - digits))).to_be_bytes();
    match (digits, padding) {
        (0, 0) => {}
        (2, 0 | 2) => push(&mut out, &[first], limit)?,
        (3, 0 | 1) => push(&mut out, &[first, second], limit)?,
        _ => return None,
    }
    Some(out)
}

/// The base64 of `bytes`, padded, in one line.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * digit) & 0x3f).unwrap_or_default();
            let is_used = digit <= group.len();
            let character = DIGITS.get(index).filter(|_| is_used).copied().unwrap_or(b'=');
            out.push(char::from(character));
        }
    }
    out
}

fn push(out: &mut Vec<u8>, bytes: &[u8], limit: usize) -> Option<()> {
    if out.len() + bytes.len() > limit {
        return None;
    }
    out.extend_from_slice(bytes);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc_decode_and_nonsense_does_not() {
        for (text, bytes) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm8", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9v\r\n YmFy", Some("foobar")),
            ("Zm9vYg==", Some("foob")),
            ("Zm9vY", None),
            ("Zg==Zg==", None),
            ("Zm9v*", None),
            ("=", None),
        ] {
            assert_eq!(decode(text.as_bytes(), 100).as_deref(), bytes.map(str::as_bytes), "{text}");
        }
        assert_eq!(decode(b"Zm9v", 2), None);
        for bytes in [&b""[..], b"f", b"fo", b"foo", b"foob", b"\xff\x00\xfe\x01"] {
            assert_eq!(decode(encode(bytes).as_bytes(), 100).as_deref(), Some(bytes));
        }
        assert_eq!(encode(b"fo"), "Zm8=");
    }
}
