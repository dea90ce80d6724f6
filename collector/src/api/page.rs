//! Cursors and lines: where a page of an ordered list starts, and how a cell of CSV is written.

use super::answer::Kind;
use super::answer::Refused;

/// A place in an ordered list: the sort key of the last entry of a page, in hexadecimal digits, so
/// that it passes through addresses unchanged and nobody is tempted to read it.
#[must_use]
pub fn cursor(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The sort key behind a cursor.
///
/// # Errors
/// [`Refused`] if it is none of ours.
pub fn key(cursor: &str) -> Result<String, Refused> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (pairs, rest) = cursor.as_bytes().as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect::<Option<Vec<u8>>>()
        .filter(|_| rest.is_empty());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        let message = "the parameter after is not a cursor: pass on what `next` said";
        Refused::new(Kind::MalformedRequest, message)
    })
}

/// Writes one line of CSV (RFC 4180).
pub fn csv_line(out: &mut String, cells: &[&str]) {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        csv_cell(out, cell);
    }
    out.push_str("\r\n");
}

/// A cell that a spreadsheet would take for a formula is quoted and led by an apostrophe, which
/// spreadsheets show as text.
fn csv_cell(out: &mut String, cell: &str) {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !is_formula && !cell.contains([',', '"', '\n', '\r']) {
        out.push_str(cell);
        return;
    }
    out.push('"');
    if is_formula {
        out.push('\'');
    }
    out.push_str(&cell.replace('"', "\"\""));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_way_and_others_are_refused() {
        for text in ["", "worker-1", "a\u{1f}b é"] {
            assert_eq!(key(&cursor(text)).unwrap(), text);
        }
        for bad in ["1", "zz", "ff", "0g"] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cells_never_become_formulas_or_other_cells() {
        let mut out = String::new();
        csv_line(&mut out, &["a", "=1+1", "+x", "-x", "@x", "b,c", "d\"e", "f\ng"]);
        assert_eq!(out, "a,\"'=1+1\",\"'+x\",\"'-x\",\"'@x\",\"b,c\",\"d\"\"e\",\"f\ng\"\r\n");
    }
}
