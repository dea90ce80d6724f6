//! Canonical bytes: the one JSON text of a value, so that equal facts have equal digests.
//!
//! Shape: UTF-8 JSON without white space, object keys in ascending byte order, integers only.
//! Sets are sorted by the type that holds them. What fails to hold this shape is refused on
//! receipt, so two digests never stand for the same facts.

use serde::Serialize;
use serde_json::Value;

/// Nesting that a section may have. serde_json itself stops at 128.
pub const MAX_DEPTH: usize = 32;

/// A value has no canonical form. At fault: us; the types of this crate all have one.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// A map key is not a string, or a type refuses to be written.
    #[error("failed to turn the facts into JSON")]
    Serialize(#[source] serde_json::Error),
}

/// The canonical bytes of `value`.
///
/// # Errors
/// [`CanonicalError::Serialize`] if the value has no JSON form.
pub fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    // `Value` keeps its keys in a `BTreeMap`, which is what sorts them.
    let value = serde_json::to_value(value).map_err(CanonicalError::Serialize)?;
    serde_json::to_vec(&value).map_err(CanonicalError::Serialize)
}

/// Why received bytes are not the canonical form of anything. At fault: the peer.
#[derive(Debug, thiserror::Error)]
pub enum NotCanonical {
    /// The bytes are no JSON text.
    #[error("failed to parse the section as JSON")]
    Parse(#[source] serde_json::Error),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// White space, unsorted or repeated keys, or another spelling of the same value.
    #[error("not in canonical form: expected sorted, unrepeated keys and no white space")]
    Form,
    /// A number with a fraction or exponent.
    #[error("holds a number that is not an integer")]
    Float,
}

/// Parses `bytes` and demands that they are their own canonical form.
///
/// # Errors
/// [`NotCanonical`], naming what was wrong.
pub fn parse(bytes: &[u8]) -> Result<Value, NotCanonical> {
    let value: Value = serde_json::from_slice(bytes).map_err(NotCanonical::Parse)?;
    check(&value, MAX_DEPTH)?;
    let again = serde_json::to_vec(&value).map_err(NotCanonical::Parse)?;
    if again == bytes { Ok(value) } else { Err(NotCanonical::Form) }
}

fn check(value: &Value, depth: usize) -> Result<(), NotCanonical> {
    let Some(depth) = depth.checked_sub(1) else { return Err(NotCanonical::Depth) };
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check(item, depth)),
        Value::Object(map) => map.values().try_for_each(|item| check(item, depth)),
        Value::Number(number) if number.is_f64() => Err(NotCanonical::Float),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_out_sorted() {
        #[derive(Serialize)]
        struct Unsorted {
            b: u8,
            a: u8,
        }
        assert_eq!(bytes(&Unsorted { b: 1, a: 2 }).unwrap(), br#"{"a":2,"b":1}"#);
    }

    #[test]
    fn only_the_canonical_spelling_is_accepted() {
        assert!(parse(br#"{"a":2,"b":[1,"x"]}"#).is_ok());
        let deep = [b"[".repeat(33), b"]".repeat(33)].concat();
        for bad in [
            &br#"{"b":1,"a":2}"#[..],
            br#"{"a":1,"a":2}"#,
            br#"{ "a":2}"#,
            br#"{"a":2}x"#,
            br#"{"a":1.5}"#,
            br#"{"a":"\u0041"}"#,
            br#"{"a":"#,
            &deep,
        ] {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
