//! Lines out of pieces: walks a file of any length in constant memory.
//!
//! `/proc/1/net/tcp` and `/proc/1/mountinfo` grow with the load of the host, and readers need a few
//! of their lines. What this does not do: look into lines, or tell a cut line from a whole one
//! other than by leaving it out and counting it.

use crate::Host;
use crate::ReadError;

/// Bytes of one line that are kept; the longest line of interest is a mount: overlay lists its
/// layers there, up to 500 of them.
pub const MAX_LINE: usize = 64 * 1024;

/// Bytes of a table in `/proc` that are read: 100,000 sockets of 150 bytes, or 10,000 mounts of
/// 1.5 KiB.
pub const MAX_TABLE: usize = 16 * 1024 * 1024;

/// Collects lines from pieces of a file.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    too_long: bool,
    left_out: usize,
}

impl Lines {
    /// Hands each line that `piece` completes to `sink`, without its line feed.
    pub fn feed(&mut self, piece: &[u8], sink: &mut dyn FnMut(&[u8])) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            self.keep(line);
            self.flush(sink);
            rest = after.get(1..).unwrap_or_default();
        }
        self.keep(rest);
    }

    /// Hands the last line to `sink` if the file did not end in a line feed. Returns how many
    /// lines were longer than [`MAX_LINE`] and left out.
    pub fn finish(mut self, sink: &mut dyn FnMut(&[u8])) -> usize {
        if !self.partial.is_empty() || self.too_long {
            self.flush(sink);
        }
        self.left_out
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.too_long || self.partial.len().saturating_add(bytes.len()) > MAX_LINE {
            self.too_long = true;
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    fn flush(&mut self, sink: &mut dyn FnMut(&[u8])) {
        if self.too_long {
            self.left_out = self.left_out.saturating_add(1);
        } else {
            sink(&self.partial);
        }
        self.too_long = false;
        self.partial.clear();
    }
}

/// Reads the file at `path` line by line. Returns how many lines were too long and left out.
///
/// # Errors
/// As [`Host::read_with`], with [`MAX_TABLE`] as the limit; lines before the failure were handed
/// to `sink`.
pub fn read(host: &dyn Host, path: &str, sink: &mut dyn FnMut(&[u8])) -> Result<usize, ReadError> {
    let mut lines = Lines::default();
    host.read_with(path, MAX_TABLE, &mut |piece| lines.feed(piece, sink))?;
    Ok(lines.finish(sink))
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn collect(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, usize) {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, &mut |line| found.push(line.to_vec()));
        }
        let left_out = lines.finish(&mut |line| found.push(line.to_vec()));
        (found, left_out)
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_counted() {
        let long = vec![b'x'; MAX_LINE];
        let (found, left_out) = collect(&[b"a\n", &long, b"y", b"\nb"]);
        assert_eq!(found, [b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(left_out, 1);
    }

    proptest! {
        #[test]
        fn pieces_do_not_change_the_lines(text in "[a-c\n]{0,40}", cut in 0usize..40) {
            let bytes = text.as_bytes();
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            let whole: Vec<_> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
            prop_assert_eq!(collect(&[left, right]).0, whole);
        }
    }
}
