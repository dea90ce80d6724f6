//! Distinguished Encoding Rules, read one element at a time (ITU-T X.690).
//!
//! Lenient where it costs nothing: lengths need not be in their shortest form. Nothing here
//! recurses; callers walk to a fixed depth, so the depth of hostile input does not matter. Tags of
//! more than one byte and indefinite lengths are refused: no certificate or key has them.

/// Tag of an INTEGER.
pub const INTEGER: u8 = 0x02;
/// Tag of a BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// Tag of an OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// Tag of an OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// Tag of a SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// Tag of a SET.
pub const SET: u8 = 0x31;

/// Most arcs of an object identifier that are shown; registered ones have about a dozen.
const MAX_ARCS: usize = 32;

/// One element: its tag and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// The tag byte, with class and constructed bits.
    pub tag: u8,
    /// The bytes of its value.
    pub content: &'a [u8],
    /// Tag, length and value together.
    pub whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// A reader over the elements inside.
    #[must_use]
    pub const fn inside(&self) -> Reader<'a> {
        Reader { rest: self.content }
    }
}

/// Reads elements that follow one another.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the first byte of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next element; nothing at the end, or if it does not fit into what is left.
    pub fn take(&mut self) -> Option<Element<'a>> {
        let (&tag, after_tag) = self.rest.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, after_first) = after_tag.split_first()?;
        let (length, after_length) = match first {
            0..=0x7f => (usize::from(first), after_first),
            // Four bytes of length reach beyond every bound of this crate.
            0x81..=0x84 => {
                let (bytes, rest) = after_first.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = after_length.split_at_checked(length)?;
        let whole = self.rest.get(..self.rest.len().checked_sub(rest.len())?)?;
        self.rest = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element if it has this tag; otherwise nothing is read.
    pub fn take_tag(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.take().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }
}

/// The bytes of a BIT STRING's content that holds whole bytes.
#[must_use]
pub fn bits<'a>(element: &Element<'a>) -> Option<&'a [u8]> {
    match element.content.split_first() {
        Some((0, bytes)) => Some(bytes),
        Some(_) | None => None,
    }
}

/// An INTEGER's content without the zero bytes in front.
#[must_use]
pub fn magnitude(content: &[u8]) -> &[u8] {
    let zeros = content.iter().take_while(|byte| **byte == 0).count();
    content.get(zeros..).unwrap_or_default()
}

/// An object identifier in dotted form: `1.2.840.113549.1.1.1`. Malformed or over-long ones end in
/// `…`.
#[must_use]
pub fn dotted(content: &[u8]) -> String {
    let mut out = String::new();
    let mut arcs = 0;
    let mut arc: u64 = 0;
    for byte in content {
        let Some(shifted) = arc.checked_mul(128).filter(|_| arcs < MAX_ARCS) else {
            out.push('…');
            return out;
        };
        arc = shifted | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if arcs == 0 {
            let top = (arc / 40).min(2);
            out = format!("{top}.{}", arc.saturating_sub(top * 40));
        } else {
            out.push('.');
            out.push_str(&arc.to_string());
        }
        arcs += 1;
        arc = 0;
    }
    if content.last().is_none_or(|byte| byte & 0x80 != 0) {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_follow_one_another_and_never_reach_past_the_end() {
        let mut reader = Reader::new(&[2, 1, 5, 4, 0x81, 2, 8, 9]);
        assert!(reader.take_tag(OCTET_STRING).is_none());
        assert_eq!(reader.take_tag(INTEGER).unwrap().content, [5]);
        assert_eq!(reader.take().unwrap().content, [8, 9]);
        assert!(reader.take().is_none());
        for hostile in [
            &[][..],
            &[2],
            &[2, 2, 0],
            &[2, 0x80, 0, 0],
            &[2, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x1f, 0x81, 1, 0],
            &[2, 0x88, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(Reader::new(hostile).take().is_none(), "{hostile:?}");
        }
    }

    #[test]
    fn object_identifiers_are_dotted() {
        for (bytes, text) in [
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1][..], "1.2.840.113549.1.1.1"),
            (&[0x55, 0x1d, 0x25, 0], "2.5.29.37.0"),
            (&[0x2b, 0x81], "1.3…"),
            (&[], "…"),
        ] {
            assert_eq!(dotted(bytes), text);
        }
        assert!(dotted(&[0xff; 400]).len() < 800);
    }
}
