//! The checks that a certificate can be held to.

use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use serde_json::Value;

use super::One;
use super::expiry::Expiry;
use super::expiry::moment;
use crate::body::Body;
use crate::body::MalformedBody;
use crate::expect::Outcome;
use crate::facts::Found;
use crate::facts::look_through;

/// Clocks of issuer and node may differ by this much.
const SKEW_SECS: i64 = 300;
const DAY_SECS: i64 = 86_400;
/// Signature algorithms that can be forged today.
const WEAK_SIGNATURES: [&str; 4] = ["md2", "md5", "sha1", "dsa-with-sha1"];

/// One check with its values.
#[derive(Clone, Debug)]
pub(super) enum Check {
    Chain { self_signed: SelfSigned },
    Expiry(Expiry),
    KeyMatch,
    KeyStrength { rsa_bits: u32, ec_bits: u32, expected: Box<str> },
    Readable,
    Validity { max_life_days: Option<u32>, expected: Box<str> },
}

/// What a leaf that signed itself is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SelfSigned {
    Fail,
    Pass,
}

/// Which check.
#[derive(Clone, Copy, Debug)]
enum Name {
    Chain,
    Expiry,
    KeyMatch,
    KeyStrength,
    Readable,
    Validity,
}

impl Check {
    /// Words: `check`, and for chain `self_signed` (of a leaf: fail or pass), for expiry `warning`
    /// and `critical`, for key-strength `rsa_bits` and `ec_bits`, for validity `max_life_days`.
    pub(super) fn parse(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let names = [
            ("chain", Name::Chain),
            ("expiry", Name::Expiry),
            ("key-match", Name::KeyMatch),
            ("key-strength", Name::KeyStrength),
            ("readable", Name::Readable),
            ("validity", Name::Validity),
        ];
        let expected = "expiry, key-match, key-strength, chain, readable or validity";
        let name = body
            .choice("check", &names, expected)?
            .ok_or(MalformedBody::Missing { word: "check" })?;
        Ok(match name {
            Name::Chain => {
                let choices = [("fail", SelfSigned::Fail), ("pass", SelfSigned::Pass)];
                let self_signed = body.choice("self_signed", &choices, "fail or pass")?;
                Self::Chain { self_signed: self_signed.unwrap_or(SelfSigned::Fail) }
            }
            Name::Expiry => Self::Expiry(Expiry::parse(body)?),
            Name::KeyMatch => Self::KeyMatch,
            Name::KeyStrength => {
                let rsa_bits = body.number("rsa_bits")?.unwrap_or(2048);
                let ec_bits = body.number("ec_bits")?.unwrap_or(256);
                let expected = format!(
                    "RSA of at least {rsa_bits} bits or elliptic curve of at least {ec_bits}, \
                     signed without MD5 or SHA-1"
                );
                Self::KeyStrength { rsa_bits, ec_bits, expected: expected.into() }
            }
            Name::Readable => Self::Readable,
            Name::Validity => {
                let max_life_days = body.number("max_life_days")?;
                let expected = match max_life_days {
                    Some(days) => format!("starts before it ends, and lives at most {days} days"),
                    None => "starts before it ends, and has started".to_owned(),
                };
                Self::Validity { max_life_days, expected: expected.into() }
            }
        })
    }

    /// What would pass, in words.
    pub(super) fn expected(&self) -> &str {
        match self {
            Self::Chain { .. } => "verifies to the authority that its consumer names",
            Self::Expiry(expiry) => expiry.expected(),
            Self::KeyMatch => "the private key belongs to the certificate",
            Self::KeyStrength { expected, .. } | Self::Validity { expected, .. } => expected,
            Self::Readable => "there, and every block can be read",
        }
    }

    /// Holds one certificate against it; `None` if the check says nothing about this one.
    pub(super) fn judge(&self, found: &One<'_>) -> Option<Outcome> {
        let expected = self.expected();
        match self {
            Self::Chain { self_signed } => chain(*self_signed, found, expected),
            Self::Expiry(expiry) => Some(expiry.judge(found)),
            Self::KeyMatch => key_match(found, expected),
            Self::KeyStrength { rsa_bits, ec_bits, expected } => {
                Some(key_strength(*rsa_bits, *ec_bits, found, expected))
            }
            // Judged for the file, not for each certificate in it.
            Self::Readable => None,
            Self::Validity { max_life_days, expected } => {
                Some(validity(*max_life_days, found, expected))
            }
        }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn chain(self_signed: SelfSigned, found: &One<'_>, expected: &str) -> Option<Outcome> {
    let One { fact, value, now: _ } = *found;
    let word = match value.get("chain").map(look_through) {
        None | Some(Found::Absent(_)) => return None,
        Some(Found::Unknown(why)) => return Some(Outcome::unknown_because(fact, why, expected)),
        Some(Found::Known(word, _)) => word.as_str().unwrap_or_default(),
    };
    let holds = match word {
        // Agents without public-key cryptography prove the name and the key identifier; the word in
        // the evidence tells that the signature was not checked.
        "verified" | "key-id-matches" => true,
        // An authority is where a chain ends.
        "self-signed" => text(value, "class") == "authority" || self_signed == SelfSigned::Pass,
        "unknown-issuer" | "wrong-key" => false,
        _ => {
            let reason = format!("the chain `{word}` is not known to this version");
            return Some(Outcome::unknown(fact, reason, expected));
        }
    };
    let observed = format!("{word}: issuer {}", text(value, "issuer"));
    Some(Outcome::seen(holds, fact, clean(observed.as_bytes(), MAX_TEXT), "", expected))
}

fn key_match(found: &One<'_>, expected: &str) -> Option<Outcome> {
    let One { fact, value, now: _ } = *found;
    match value.get("key_match").map(look_through) {
        None | Some(Found::Absent(_)) => None,
        Some(Found::Unknown(why)) => Some(Outcome::unknown_because(fact, why, expected)),
        Some(Found::Known(word, _)) => match word.as_str() {
            Some("matches") => Some(Outcome::seen(true, fact, "matches".into(), "", expected)),
            Some("mismatch") => Some(Outcome::seen(false, fact, "mismatch".into(), "", expected)),
            Some(_) | None => {
                let reason = "the answer is not known to this version";
                Some(Outcome::unknown(fact, reason, expected))
            }
        },
    }
}

fn key_strength(rsa_bits: u32, ec_bits: u32, found: &One<'_>, expected: &str) -> Outcome {
    let One { fact, value, now: _ } = *found;
    let key = value.get("key");
    let kind = key.and_then(|key| key.get("kind")).and_then(Value::as_str).unwrap_or_default();
    let bits = key.and_then(|key| key.get("bits")).and_then(Value::as_u64).unwrap_or_default();
    let signature = text(value, "signature");
    let lower = signature.to_ascii_lowercase();
    // Nothing rests on the signature of a root: it is trusted by its key.
    let root =
        text(value, "class") == "authority" && text(value, "subject") == text(value, "issuer");
    let weak_signature = !root && WEAK_SIGNATURES.iter().any(|weak| lower.contains(weak));
    let strong_key = match kind {
        "rsa" if bits > 0 => Some(bits >= u64::from(rsa_bits)),
        "ec" if bits > 0 => Some(bits >= u64::from(ec_bits)),
        "ed25519" | "ed448" => Some(true),
        "dsa" => Some(false),
        _ => None,
    };
    let observed = clean(format!("{kind} {bits}, {signature}").as_bytes(), MAX_TEXT);
    match strong_key {
        Some(strong) => Outcome::seen(strong && !weak_signature, fact, observed, "", expected),
        None if weak_signature => Outcome::seen(false, fact, observed, "", expected),
        None => Outcome::unknown(fact, format!("the key `{kind}` could not be sized"), expected),
    }
}

fn validity(max_life_days: Option<u32>, found: &One<'_>, expected: &str) -> Outcome {
    let One { fact, value, now } = *found;
    let (start, end) = match (moment(value, "not_before"), moment(value, "not_after")) {
        (Ok(start), Ok(end)) => (start, end),
        (Err(why), _) | (_, Err(why)) => return Outcome::unknown(fact, why, expected),
    };
    let observed = format!("{start} to {end}");
    let life = end.since(start);
    let bound = max_life_days.map(|days| i64::from(days).saturating_mul(DAY_SECS));
    let started = start.since(now) <= SKEW_SECS;
    let holds = life > 0 && started && bound.is_none_or(|bound| life <= bound);
    let mut outcome = Outcome::seen(holds, fact, observed, "", expected);
    if !started {
        outcome.changes_at = Some(start.plus(-SKEW_SECS));
    }
    outcome
}

/// Whether every block of a file could be read.
pub(super) fn readable(fact: &str, origin: &str, file: &Value, count: usize) -> Outcome {
    let malformed = file.get("malformed").and_then(Value::as_array).map(Vec::as_slice);
    let malformed = malformed.unwrap_or_default();
    let observed = match malformed.first() {
        None => format!("{count} certificates"),
        Some(first) => {
            let detail = first.get("detail").and_then(Value::as_str).unwrap_or_default();
            let observed = format!("{} unreadable blocks: {detail}", malformed.len());
            clean(observed.as_bytes(), MAX_TEXT)
        }
    };
    let expected = Check::Readable.expected().to_owned();
    Outcome::seen(malformed.is_empty(), fact, observed, origin, &expected)
}
