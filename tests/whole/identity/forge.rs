//! Tokens as an attacker makes them out of a stolen one, and out of stolen keys.

use rcgen::KeyPair;
use rcgen::SigningKey;
use serde_json::Value;
use serde_json::json;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// base64url without padding (RFC 4648, 5).
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let held = chunk.iter().fold(0_u32, |held, byte| held << 8 | u32::from(*byte));
        let held = held << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            out.push(char::from(DIGITS[(held >> (18 - 6 * at) & 0x3f) as usize]));
        }
    }
    out
}

fn decode(text: &str) -> Vec<u8> {
    let (mut held, mut bits, mut out) = (0_u32, 0, Vec::new());
    for byte in text.bytes() {
        let value = DIGITS.iter().position(|digit| *digit == byte).expect("base64url");
        held = held << 6 | u32::try_from(value).expect("six bits");
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xff) as u8);
            held &= (1 << bits) - 1;
        }
    }
    out
}

/// The three parts of a token.
pub fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<_> = token.split('.').collect();
    parts.try_into().expect("three parts")
}

fn object(part: &str) -> Value {
    serde_json::from_slice(&decode(part)).expect("a JSON object")
}

/// A token with this header and these claims, signed by nobody: with the signature of another one.
pub fn altered(
    token: &str,
    header: impl FnOnce(&mut Value),
    claims: impl FnOnce(&mut Value),
) -> String {
    let [old_header, old_claims, signature] = parts(token);
    let (mut new_header, mut new_claims) = (object(old_header), object(old_claims));
    header(&mut new_header);
    claims(&mut new_claims);
    let text = |value: &Value| encode(value.to_string().as_bytes());
    format!("{}.{}.{signature}", text(&new_header), text(&new_claims))
}

/// A token with other claims, rightly signed (ES256, RFC 7518 3.4) by this key.
pub fn signed(token: &str, key: &str, claims: impl FnOnce(&mut Value)) -> String {
    let unsigned = altered(token, |header| header["alg"] = json!("ES256"), claims);
    let (text, _) = unsigned.rsplit_once('.').expect("a signature");
    let key = KeyPair::from_pem(key).expect("a key");
    let signature = fixed(&key.sign(text.as_bytes()).expect("a signature"));
    format!("{text}.{}", encode(&signature))
}

/// `r` and `s` at 32 bytes each out of their DER form (RFC 3279, 2.2.3).
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        rest = &rest[2 + length..];
        let number = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend_from_slice(number);
    }
    out
}
