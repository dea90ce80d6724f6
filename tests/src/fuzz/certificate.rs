//! Certificates, keys and the files that name them.

use palisade_inspect::certificates::base64 as base64_digits;
use palisade_inspect::certificates::contents;
use palisade_inspect::certificates::contents::MAX_CERTIFICATES;
use palisade_inspect::certificates::half;
use palisade_inspect::certificates::half::Half;
use palisade_inspect::certificates::key as keys;
use palisade_inspect::certificates::kubeconfig as kubeconfigs;
use palisade_inspect::certificates::kubeconfig::Source;
use palisade_inspect::certificates::name::MAX_NAMES;
use palisade_inspect::certificates::pem as blocks;
use palisade_inspect::certificates::pem::MAX_BLOCK;
use palisade_inspect::certificates::static_pod as static_pods;
use palisade_inspect::certificates::x509;
use palisade_report::bound::MAX_TEXT;
use palisade_report::section::certificates::Certificate;
use palisade_report::section::certificates::KeyMatch;

use super::shown;

/// RFC 4648 section 4, lines of 64 digits as in RFC 7468.
fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (at, three) in bytes.chunks(3).enumerate() {
        if at > 0 && at % 16 == 0 {
            text.push('\n');
        }
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = usize::try_from(group >> (18 - 6 * place) & 63).expect("six bits");
            text.push(if place <= three.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

/// What is encoded decodes to itself, and what decodes is what its own encoding says.
pub(super) fn base64(bytes: &[u8]) {
    assert_eq!(
        base64_digits::decode(encode(bytes).as_bytes(), bytes.len()).as_deref(),
        Some(bytes)
    );
    if let Some(short) = bytes.len().checked_sub(1) {
        assert_eq!(base64_digits::decode(encode(bytes).as_bytes(), short), None);
    }
    if let Some(decoded) = base64_digits::decode(bytes, 1000) {
        assert!(decoded.len() <= 1000);
        assert_eq!(base64_digits::decode(encode(&decoded).as_bytes(), 1000), Some(decoded));
    }
}

/// A block that decodes is found again in a file of its own, and bytes before and after it do not
/// hide it.
pub(super) fn pem(bytes: &[u8]) {
    for block in blocks::parse(bytes).take(64) {
        assert!(!format!("{block:?}").contains("body"));
        let Some(decoded) = block.decode() else { continue };
        assert!(decoded.len() <= MAX_BLOCK);
        let Ok(label) = str::from_utf8(block.label) else { continue };
        let text = format!(
            "before\n-----BEGIN {label}-----\n{}\n-----END {label}-----\nafter",
            encode(&decoded)
        );
        let found: Vec<_> = blocks::parse(text.as_bytes()).map(|it| it.decode()).collect();
        assert_eq!(found, [Some(decoded)], "{label}");
    }
}

fn certificate(facts: &Certificate) {
    for text in [&facts.subject, &facts.issuer, &facts.serial, &facts.signature, &facts.key.kind] {
        shown(text, MAX_TEXT);
    }
    assert!(facts.names.len() <= MAX_NAMES);
    for name in facts.names.iter().chain(&facts.usages) {
        shown(name, MAX_TEXT);
    }
}

/// What follows a certificate changes nothing of it, and no certificate is larger than its bytes.
pub(super) fn der(bytes: &[u8]) {
    let Ok(parsed) = x509::parse(bytes) else { return };
    certificate(&parsed.facts);
    assert_eq!(x509::parse(&[bytes, b"0\0after"].concat()).as_ref(), Ok(&parsed));
    let text =
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", encode(bytes));
    if bytes.len() <= MAX_BLOCK {
        let found = contents::parse(text.as_bytes()).expect("one certificate");
        assert_eq!(found.certificates, [parsed]);
    }
}

pub(super) fn file(bytes: &[u8]) {
    match contents::parse(bytes) {
        Ok(found) => {
            assert!(found.certificates.len() <= MAX_CERTIFICATES && found.malformed.len() <= 17);
            assert!(!found.certificates.is_empty() || !found.malformed.is_empty());
            for (at, parsed) in found.certificates.iter().enumerate() {
                assert_eq!(usize::try_from(parsed.facts.index), Ok(at));
                certificate(&parsed.facts);
            }
            for why in &found.malformed {
                shown(&why.detail, MAX_TEXT);
            }
        }
        Err(why) => shown(&why.detail, MAX_TEXT),
    }
    assert!(contents::parse_keys(bytes).len() <= 4);
}

/// A key is its own; why one cannot be read never says what is in it.
pub(super) fn key(bytes: &[u8]) {
    match keys::parse_private(bytes) {
        Ok(public) => {
            if let Ok(matches) = half::compare(&public, &Half::of(&public)) {
                assert_eq!(matches, KeyMatch::Matches);
            }
        }
        Err(why) => {
            shown(&why.detail, MAX_TEXT);
            let again = keys::parse_private(b"").expect_err("no key");
            assert!(why.detail == again.detail || why.kind != again.kind, "{why}");
        }
    }
}

pub(super) fn kubeconfig(bytes: &[u8]) {
    let Ok(config) = kubeconfigs::parse(bytes) else { return };
    for entry in &config.entries {
        assert!(entry.name.starts_with("cluster ") || entry.name.starts_with("user "));
        for source in [&entry.certificates, &entry.key] {
            if let Source::Embedded(Some(secret)) = source {
                // Decoded base64 is shorter than its text.
                assert!(secret.bytes().len() <= bytes.len());
            }
        }
    }
}

pub(super) fn static_pod(bytes: &[u8]) {
    let Ok(containers) = static_pods::parse(bytes) else { return };
    let words: usize = containers.iter().map(|container| container.words.len()).sum();
    assert!(containers.len() <= bytes.len() && words <= 100 * bytes.len());
}
