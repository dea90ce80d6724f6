//! The text after the `?`: pairs, percent-decoded; nothing unknown, nothing twice.

use std::str::FromStr;
use std::time::Duration;

use palisade_report::bound::clean_text;

/// Entries of one page unless asked otherwise.
pub const DEFAULT_LIMIT: usize = 100;

/// Entries that one page may have; more are asked for with the cursor.
pub const MAX_LIMIT: usize = 1000;

/// Why a query is refused. At fault: the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedQuery {
    /// `%` without two hexadecimal digits, or bytes that are no UTF-8.
    #[error("the address holds a malformed percent-encoding")]
    Encoding,
    /// A value that its parameter does not take.
    #[error("the parameter {name} has a malformed value `{value}`: {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What was sent, made safe to show.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// The same parameter twice.
    #[error("the parameter `{name}` is given twice")]
    Twice {
        /// The parameter, made safe to show.
        name: String,
    },
    /// Parameters that this address does not take.
    #[error("unknown parameter `{name}`: this address takes {known}")]
    Unknown {
        /// The parameter, made safe to show.
        name: String,
        /// Those that it takes.
        known: String,
    },
}

/// The pairs of a query; each is taken once.
#[derive(Debug)]
pub struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Query {
    /// Reads the text after the `?`.
    ///
    /// # Errors
    /// [`MalformedQuery::Encoding`] or [`MalformedQuery::Twice`].
    pub fn parse(text: &str) -> Result<Self, MalformedQuery> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, Plus::IsSpace)?;
            if pairs.iter().any(|(there, _)| *there == name) {
                return Err(MalformedQuery::Twice { name: clean_text(&name) });
            }
            pairs.push((name, decode(value, Plus::IsSpace)?));
        }
        Ok(Self { pairs, known: Vec::new() })
    }

    /// Takes the text of parameter `name`; an empty value counts as not given.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let at = self.pairs.iter().position(|(there, _)| there == name)?;
        let (_, value) = self.pairs.remove(at);
        (!value.is_empty()).then_some(value)
    }

    /// Takes parameter `name` as a `T`.
    ///
    /// # Errors
    /// [`MalformedQuery::Value`] with what `T` expects.
    pub fn value<T>(&mut self, name: &'static str) -> Result<Option<T>, MalformedQuery>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error: T::Err| MalformedQuery::Value {
            name,
            value: clean_text(&text),
            expected: error.to_string(),
        })
    }

    /// Takes `limit`: entries of one page, 1 to [`MAX_LIMIT`]; `None` if it is not given.
    ///
    /// # Errors
    /// [`MalformedQuery::Value`].
    pub fn limit(&mut self) -> Result<Option<usize>, MalformedQuery> {
        let Some(text) = self.text("limit") else { return Ok(None) };
        let expected = || format!("expected a number from 1 to {MAX_LIMIT}");
        match text.parse() {
            Ok(limit @ 1..=MAX_LIMIT) => Ok(Some(limit)),
            Ok(_) | Err(_) => Err(MalformedQuery::Value {
                name: "limit",
                value: clean_text(&text),
                expected: expected(),
            }),
        }
    }

    /// Takes parameter `name` as a span of time: `90s`, `15m`, `12h`, `30d`, `2w`.
    ///
    /// # Errors
    /// [`MalformedQuery::Value`].
    pub fn span(&mut self, name: &'static str) -> Result<Option<Duration>, MalformedQuery> {
        let Some(text) = self.text(name) else { return Ok(None) };
        parse_span(&text).map(Some).ok_or_else(|| MalformedQuery::Value {
            name,
            value: clean_text(&text),
            expected: "expected a number and s, m, h, d or w, such as 30d".to_owned(),
        })
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`MalformedQuery::Unknown`] with what the address takes.
    pub fn end(self) -> Result<(), MalformedQuery> {
        let Self { pairs, known } = self;
        let Some((name, _)) = pairs.into_iter().next() else { return Ok(()) };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(MalformedQuery::Unknown { name: clean_text(&name), known })
    }
}

/// Longest span that is taken: a hundred years. Certificates reach further, people do not ask it.
const MAX_SPAN_SECS: u64 = 100 * 366 * 86_400;

fn parse_span(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let secs_per_unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let secs = number.checked_mul(secs_per_unit)?;
    (secs <= MAX_SPAN_SECS).then_some(Duration::from_secs(secs))
}

/// What `+` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plus {
    /// A space, in a query.
    IsSpace,
    /// Itself, in a path.
    IsItself,
}

/// Undoes percent-encoding (RFC 3986 2.1).
///
/// # Errors
/// [`MalformedQuery::Encoding`].
pub fn decode(text: &str, plus: Plus) -> Result<String, MalformedQuery> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || {
                    bytes.next().and_then(|byte| char::from(byte).to_digit(16)).map(u8::try_from)
                };
                let (Some(Ok(high)), Some(Ok(low))) = (digit(), digit()) else {
                    return Err(MalformedQuery::Encoding);
                };
                out.push(high << 4 | low);
            }
            b'+' if plus == Plus::IsSpace => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).map_err(|_| MalformedQuery::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_taken_once() {
        let mut query = Query::parse("name=work%2Aer+1&limit=7&within=30d").unwrap();
        assert_eq!(query.text("name").unwrap(), "work*er 1");
        assert_eq!(query.limit().unwrap(), Some(7));
        assert_eq!(query.span("within").unwrap(), Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(query.end(), Ok(()));
    }

    #[test]
    fn a_misspelt_parameter_is_an_error_that_lists_the_right_ones() {
        let mut query = Query::parse("stat=late").unwrap();
        assert_eq!(query.text("state"), None);
        let refused = query.end().unwrap_err().to_string();
        assert!(refused.contains("`stat`") && refused.contains("state"), "{refused}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Query::parse("a=%4").unwrap_err(), MalformedQuery::Encoding);
        assert_eq!(Query::parse("a=%ff").unwrap_err(), MalformedQuery::Encoding);
        assert_eq!(Query::parse("a=%+1").unwrap_err(), MalformedQuery::Encoding);
        assert!(matches!(Query::parse("a=1&a=2"), Err(MalformedQuery::Twice { .. })));
        for limit in ["0", "1001", "-1", "x"] {
            assert!(Query::parse(&format!("limit={limit}")).unwrap().limit().is_err(), "{limit}");
        }
        for span in ["d", "3", "3y", "-3d", "99999999999999999999d", "400000w", "3é"] {
            assert_eq!(parse_span(span), None, "{span}");
        }
    }
}
