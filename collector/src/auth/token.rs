//! The outside of a bearer token: shape and claims, before and after anybody vouches for it.
//!
//! An agent's token is a JWS in compact form (RFC 7515, 3.1). What does not even look like one is
//! refused here, without a question to the API server. Claims read here prove nothing: the end of a
//! token's life is used only after the API server accepted the token, and the pod only to tell which
//! tokens are worth a question when strangers at the same address ask too many.

use palisade_report::bound::clean_text;
use serde::Deserialize;

use crate::kube::directory::PodUid;

/// Bytes that a token may have. Projected tokens have 1.0 to 1.3 KB; the head of a request has
/// 16 KiB in all.
pub const MAX_TOKEN: usize = 8 * 1024;

/// Why a text is no agent's token. At fault: the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Signed by nobody, or not saying how.
    #[error("the token is not signed")]
    Algorithm,
    /// The header or the claims are no JSON object.
    #[error("the token is malformed: its {part} is not a JSON object in base64url")]
    Part {
        /// Which.
        part: &'static str,
    },
    /// Not three parts.
    #[error("the token is malformed: expected three parts in base64url, separated by dots")]
    Shape,
    /// Longer than any token.
    #[error("the token exceeds {MAX_TOKEN} bytes")]
    TooLong,
}

/// What a token says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// When it ends, in seconds of Unix time: `exp`, RFC 7519 4.1.4.
    pub ends_at: Option<i64>,
    /// Whom and which node it claims to be, bounded and safe to show; nobody vouches for it.
    pub claimed: Option<String>,
    /// The pod that it claims to be bound to: `kubernetes.io.pod.uid`; nobody vouches for it.
    pub pod: Option<PodUid>,
}

/// The header; only the algorithm matters.
#[derive(Deserialize)]
struct Header {
    alg: Option<String>,
}

/// The claims that are looked at.
#[derive(Deserialize)]
struct Payload {
    exp: Option<serde_json::Number>,
    sub: Option<String>,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
struct Kubernetes {
    node: Option<Named>,
    pod: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
    uid: Option<String>,
}

/// Looks at a token from outside.
///
/// # Errors
/// [`Malformed`]: no API server would take it as an agent's.
pub fn inspect(token: &[u8]) -> Result<Claims, Malformed> {
    if token.len() > MAX_TOKEN {
        return Err(Malformed::TooLong);
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed::Shape);
    };
    if [header, payload, signature].iter().any(|part| part.is_empty()) {
        return Err(Malformed::Shape);
    }
    if decode(signature).is_none() {
        return Err(Malformed::Shape);
    }
    let header: Header = object(header).ok_or(Malformed::Part { part: "header" })?;
    // "none" in any case: some libraries once took it (RFC 8725, 2.1).
    if header.alg.is_none_or(|alg| alg.is_empty() || alg.eq_ignore_ascii_case("none")) {
        return Err(Malformed::Algorithm);
    }
    let payload: Payload = object(payload).ok_or(Malformed::Part { part: "payload" })?;
    Ok(claims(payload))
}

/// What anybody's token says about itself, for the record: nothing if it is no JWS.
#[must_use]
pub fn claimed(token: &[u8]) -> Option<String> {
    inspect(token).ok()?.claimed
}

fn claims(payload: Payload) -> Claims {
    let Payload { exp, sub, kubernetes } = payload;
    // NumericDate may have a fraction (RFC 7519, 2).
    let ends_at = exp.and_then(|exp| {
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, which is as good")]
        exp.as_i64().or_else(|| exp.as_f64().map(|secs| secs as i64))
    });
    let (node, pod) = kubernetes.map_or((None, None), |it| (it.node, it.pod));
    let node = node.and_then(|node| node.name);
    let pod = pod.and_then(|pod| pod.uid?.parse().ok());
    let claimed = match (sub, node) {
        (None, None) => None,
        (Some(sub), None) => Some(sub),
        (None, Some(node)) => Some(format!("node {node}")),
        (Some(sub), Some(node)) => Some(format!("{sub} on {node}")),
    };
    Claims { ends_at, claimed: claimed.map(|claimed| clean_text(&claimed)), pod }
}

fn object<T: for<'de> Deserialize<'de>>(part: &[u8]) -> Option<T> {
    let bytes = decode(part)?;
    // A sequence would pass for a struct.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(&bytes).ok()
}

/// Undoes base64url without padding (RFC 4648, 5; RFC 7515, 2).
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(held >> bits & 0xff).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    // A single digit left over, or bits that belong to nothing, are no base64url.
    (text.len() % 4 != 1 && held == 0).then_some(out)
}

/// Writes base64url without padding, to make tokens in tests.
#[cfg(test)]
pub(crate) fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let held = chunk.iter().fold(0_u32, |held, byte| held << 8 | u32::from(*byte));
        let held = held << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            let digit = held >> (18 - 6 * at) & 0x3f;
            out.push(char::from(DIGITS[usize::try_from(digit).unwrap()]));
        }
    }
    out
}

/// A token with these claims and a signature of nobody.
#[cfg(test)]
pub(crate) fn forged(claims: &str) -> String {
    let header = encode(br#"{"alg":"RS256","kid":"a"}"#);
    format!("{header}.{}.{}", encode(claims.as_bytes()), encode(b"signature"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_undone_and_nothing_else_is() {
        for text in ["", "f", "fo", "foo", "foob", "fooba", "foobar", "\u{3ff}\u{fff}"] {
            assert_eq!(decode(encode(text.as_bytes()).as_bytes()).unwrap(), text.as_bytes());
        }
        for bad in ["Zg==", "Zm9v\n", "a", "Zh", "Zm+v", "Zm/v", "Zm9vY", "\u{e9}"] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn claims_are_read_and_bounded() {
        let sub = "system:serviceaccount:palisade-system:palisade-agent";
        let of = |claims: &str| inspect(forged(claims).as_bytes()).unwrap();
        let claims = format!(
            r#"{{"exp":1900000000,"sub":"{sub}","kubernetes.io":{{"node":{{"name":"a"}}}}}}"#
        );
        assert_eq!(of(&claims).ends_at, Some(1_900_000_000));
        assert_eq!(of(&claims).claimed.unwrap(), format!("{sub} on a"));
        let pod =
            |uid: &str| format!(r#"{{"kubernetes.io":{{"pod":{{"name":"a","uid":"{uid}"}}}}}}"#);
        assert_eq!(of(&pod("pod-1")).pod, Some("pod-1".parse().unwrap()));
        assert_eq!(of(&pod("../x")).pod, None);
        assert_eq!(of(r#"{"exp":1.9e9}"#).ends_at, Some(1_900_000_000));
        assert_eq!(of(r#"{"exp":1e300}"#).ends_at, Some(i64::MAX));
        assert_eq!(of("{}"), Claims::default());
        let hostile = of(r#"{"sub":"a\u001b[31m\u202e"}"#).claimed.unwrap();
        assert!(!hostile.chars().any(|it| it.is_control() || it == '\u{202e}'), "{hostile}");
        assert!(of(&format!(r#"{{"sub":"{}"}}"#, "x".repeat(4000))).claimed.unwrap().len() <= 256);
    }

    #[test]
    fn what_cannot_be_a_token_is_refused_with_a_reason() {
        let good = forged("{}");
        let [header, payload, signature] = [0, 1, 2].map(|at| good.split('.').nth(at).unwrap());
        let with_header = |text: &str| format!("{}.{payload}.{signature}", encode(text.as_bytes()));
        let refused = |token: &str| inspect(token.as_bytes()).unwrap_err();
        for shape in [
            String::new(),
            "a".to_owned(),
            "..".to_owned(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!("{good}.{signature}"),
            format!("{header}.{payload}.a+b/"),
        ] {
            assert_eq!(refused(&shape), Malformed::Shape, "{shape}");
        }
        for alg in [r#"{"alg":"none"}"#, r#"{"alg":"NoNe"}"#, r#"{"alg":""}"#, "{}"] {
            assert_eq!(refused(&with_header(alg)), Malformed::Algorithm, "{alg}");
        }
        for text in ["", "[]", "7", "{", "{\"alg\":7}", "null"] {
            let token = with_header(text);
            let refused = refused(&token);
            assert!(matches!(refused, Malformed::Part { .. } | Malformed::Shape), "{text}");
        }
        assert_eq!(refused(&forged("[1]")), Malformed::Part { part: "payload" });
        let deep = "[".repeat(3000);
        let deep = format!("{{\"exp\":{deep}");
        assert_eq!(refused(&forged(&deep)), Malformed::Part { part: "payload" });
        assert_eq!(refused(&"a".repeat(MAX_TOKEN + 1)), Malformed::TooLong);
    }
}
