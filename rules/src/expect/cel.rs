//! `cel`: an expression, as the way out for what the vocabulary lacks.
//!
//! This version reads it and judges it as unknown, wherever it runs: no evidence is no pass.

use serde_json::Value;

use super::Outcome;
use crate::body::MalformedBody;

/// Bytes that an expression may have.
const MAX_EXPRESSION: usize = 2048;

/// An expression.
#[derive(Clone, Debug)]
pub(crate) struct Cel;

impl Cel {
    /// The expression itself is the value of the kind.
    pub(crate) fn parse(value: &Value) -> Result<Self, MalformedBody> {
        match value.as_str() {
            Some(text) if !text.trim().is_empty() && text.len() <= MAX_EXPRESSION => Ok(Self),
            Some(_) | None => {
                Err(MalformedBody::Value { word: "cel", expected: "1 to 2048 bytes of text" })
            }
        }
    }

    pub(crate) fn judge(out: &mut Vec<Outcome>) {
        let reason = "expressions are judged by the collector, not by this version";
        out.push(Outcome::unknown("", reason, ""));
    }
}
