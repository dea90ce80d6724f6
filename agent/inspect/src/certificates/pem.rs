//! PEM: blocks of base64 between marker lines, with anything around them (RFC 7468, RFC 1421).
//!
//! Lenient: text between blocks, CRLF, header lines inside a block and a missing final newline are
//! legal. A block that does not end does not hide the next one. Bodies are decoded on demand, so
//! that a block nobody asks for (a private key) is never decoded.

use super::base64;

/// Bytes that one block may decode to: a certificate of 64 KiB is larger than any that is served.
pub const MAX_BLOCK: usize = 64 * 1024;

/// A block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// What the marker says it is: `CERTIFICATE`.
    pub label: &'a [u8],
    body: &'a [u8],
    /// Whether it has the end marker that belongs to it.
    pub ending: Ending,
}

/// How a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By its own end marker.
    Proper,
    /// By another marker or the end of the file.
    Cut,
}

/// Says what it is, not what is in it: it may be a private key.
impl std::fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let label = String::from_utf8_lossy(self.label);
        f.debug_struct("Block").field("label", &label).finish_non_exhaustive()
    }
}

impl Block<'_> {
    /// The bytes of the block; nothing if it was cut, is no base64, or exceeds [`MAX_BLOCK`].
    #[must_use]
    pub fn decode(&self) -> Option<Vec<u8>> {
        let mut body = self.body;
        let mut ahead = body;
        let mut headers = false;
        // Header lines come first: a name, a colon, and perhaps indented continuation lines.
        while let Some(line) = take_line(&mut ahead) {
            let indented = headers && line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
            if !line.contains(&b':') && !indented {
                break;
            }
            headers = true;
            body = ahead;
        }
        match self.ending {
            Ending::Proper => base64::decode(body, MAX_BLOCK),
            Ending::Cut => None,
        }
    }

    /// Whether its headers say that the body is encrypted (RFC 1421 4.6.1.1).
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        let mut rest = self.body;
        while let Some(line) = take_line(&mut rest) {
            if line.starts_with(b"Proc-Type:") {
                return line.ends_with(b"ENCRYPTED");
            }
            if !line.contains(&b':') {
                return false;
            }
        }
        false
    }
}

/// The blocks of `bytes` in their order.
#[must_use]
pub const fn parse(bytes: &[u8]) -> Blocks<'_> {
    Blocks { rest: bytes }
}

/// The blocks of a file, see [`parse`].
#[derive(Clone)]
pub struct Blocks<'a> {
    rest: &'a [u8],
}

impl std::fmt::Debug for Blocks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").finish_non_exhaustive()
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let label = loop {
            let line = take_line(&mut self.rest)?;
            if let Some(label) = marker(line, b"-----BEGIN ") {
                break label;
            }
        };
        let start = self.rest;
        loop {
            let before = self.rest;
            let body = start.get(..start.len() - before.len()).unwrap_or_default();
            let Some(line) = take_line(&mut self.rest) else {
                return Some(Block { label, body, ending: Ending::Cut });
            };
            if let Some(end) = marker(line, b"-----END ") {
                let ending = if end == label { Ending::Proper } else { Ending::Cut };
                return Some(Block { label, body, ending });
            }
            if marker(line, b"-----BEGIN ").is_some() {
                self.rest = before;
                return Some(Block { label, body, ending: Ending::Cut });
            }
        }
    }
}

/// What a marker line names.
fn marker<'a>(line: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
    line.strip_prefix(prefix)?.strip_suffix(b"-----")
}

/// The next line without its end.
fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (line, after) = match end {
        Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
        None => (*rest, &[][..]),
    };
    *rest = after;
    Some(line.trim_ascii_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(String, Option<Vec<u8>>)> {
        parse(text.as_bytes())
            .map(|block| (String::from_utf8_lossy(block.label).into_owned(), block.decode()))
            .collect()
    }

    #[test]
    fn text_headers_line_ends_and_a_missing_newline_are_legal() {
        for text in [
            "-----BEGIN A-----\nZm9v\n-----END A-----\n",
            "words\n-----BEGIN A-----\r\nZm\r\n9v\r\n-----END A-----",
            "\u{feff}-----BEGIN A-----\nProc-Type: 4,X\nDEK-Info: a,\n b\n\nZm9v\n-----END A-----",
        ] {
            assert_eq!(shown(text), [("A".to_owned(), Some(b"foo".to_vec()))], "{text}");
        }
    }

    #[test]
    fn a_bad_block_does_not_hide_the_next() {
        let good = "-----BEGIN B-----\nZm9v\n-----END B-----\n";
        for bad in [
            "-----BEGIN A-----\nZm9v\n",
            "-----BEGIN A-----\nZm9v\n-----END C-----\n",
            "-----BEGIN A-----\n*\n-----END A-----\n",
        ] {
            let blocks = shown(&format!("{bad}{good}"));
            assert_eq!(blocks.len(), 2, "{bad}");
            assert_eq!(blocks[0].1, None, "{bad}");
            assert_eq!(blocks[1].1, Some(b"foo".to_vec()), "{bad}");
        }
        assert_eq!(shown("-----BEGIN A-----"), [("A".to_owned(), None)]);
    }

    #[test]
    fn encryption_is_read_from_the_headers_and_keys_are_not_shown() {
        let text = b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nZm9v\n";
        let block = parse(text).next().unwrap();
        assert!(block.is_encrypted());
        assert!(!format!("{block:?}").contains("Zm9v"));
    }
}
