//! Files made by OpenSSL, and bytes made by nobody.

use palisade_report::Moment;
use palisade_report::Reading;
use palisade_report::section::certificates::Class;
use palisade_report::section::certificates::KeyMatch;
use proptest::prelude::*;

use super::*;
use crate::certificates::half;
use crate::certificates::kubeconfig;
use crate::certificates::static_pod;

const APISERVER: &[u8] = include_bytes!("../testdata/apiserver.pem");
const CA: &[u8] = include_bytes!("../testdata/ca.pem");
const CLIENT: &[u8] = include_bytes!("../testdata/client.pem");
const CLIENT_DER: &[u8] = include_bytes!("../testdata/client.der");
const ED25519: &[u8] = include_bytes!("../testdata/ed25519.text.pem");
const KUBECONFIG: &[u8] = include_bytes!("../testdata/kubeconfig.yaml");
const KUBELET: &[u8] = include_bytes!("../testdata/kubelet-client.pem");
const NO_EXPIRY: &[u8] = include_bytes!("../testdata/no-expiry.pem");
const TRUSTED: &[u8] = include_bytes!("../testdata/trusted.pem");

fn only(bytes: &[u8]) -> Parsed {
    let found = parse(bytes).unwrap();
    assert_eq!(found.malformed, []);
    assert_eq!(found.certificates.len(), 1);
    found.certificates.into_iter().next().unwrap()
}

fn not_after(parsed: &Parsed) -> Option<String> {
    parsed.facts.not_after.value().map(ToString::to_string)
}

#[test]
fn a_certificate_reads_as_openssl_shows_it() {
    let facts = only(APISERVER).facts;
    assert_eq!(
        facts.fingerprint.to_string(),
        "34d3d6ecd6192f6951fdc6b66cd55fc8c597d7613e008a8c1812fcc98c3c90ee"
    );
    assert_eq!(facts.subject, "CN=kube-apiserver,O=system:masters");
    assert_eq!(facts.issuer, "CN=kubernetes");
    assert_eq!(facts.serial, "288772099376643763925186816488581234255544837427");
    assert_eq!(facts.names, ["DNS:node-1", "DNS:kubernetes.default", "IP:10.0.0.5", "IP:fd00::1"]);
    assert_eq!((facts.key.kind.as_str(), facts.key.bits), ("rsa", 2048));
    assert_eq!(facts.signature, "ecdsa-with-SHA256");
    assert_eq!(facts.not_after.value(), Some(&Moment::from_unix(1_826_862_998)));
    assert_eq!(facts.class, Class::Leaf);
    assert_eq!(facts.usages, ["serverAuth", "clientAuth"]);
}

#[test]
fn every_form_of_a_file_gives_its_certificates() {
    for (name, bytes, kinds) in [
        ("authority", CA, &[("ec", 256, Class::Authority)][..]),
        ("der", CLIENT_DER, &[("ec", 256, Class::Leaf)]),
        ("text around", ED25519, &[("ed25519", 256, Class::Leaf)]),
        ("trusted", TRUSTED, &[("rsa", 2048, Class::Leaf)]),
        ("kubelet", KUBELET, &[("ec", 256, Class::Leaf), ("ec", 256, Class::Authority)]),
        ("no expiry", NO_EXPIRY, &[("ec", 384, Class::Leaf)]),
    ] {
        let found = parse(bytes).unwrap();
        assert_eq!(found.malformed, [], "{name}");
        let seen: Vec<_> = found
            .certificates
            .iter()
            .map(|parsed| &parsed.facts)
            .map(|facts| (facts.key.kind.as_str(), facts.key.bits, facts.class))
            .collect();
        assert_eq!(seen, kinds, "{name}");
    }
    assert_eq!(only(CLIENT).facts.fingerprint, only(CLIENT_DER).facts.fingerprint);
    assert_eq!(only(TRUSTED).facts.fingerprint, only(APISERVER).facts.fingerprint);
    assert_eq!(only(ED25519).facts.subject, "CN=ed\\, odd");
    assert_eq!(not_after(&only(NO_EXPIRY)).as_deref(), Some("9999-12-31T23:59:59Z"));
}

#[test]
fn line_ends_and_a_missing_newline_do_not_matter() {
    let text = String::from_utf8_lossy(CLIENT).replace('\n', "\r\n");
    assert_eq!(only(text.trim_end().as_bytes()), only(CLIENT));
    let header = text.replace("CATE-----\r\nMII", "CATE-----\r\nX: y\r\n\r\nMII");
    assert_ne!(header, text);
    assert_eq!(only(header.as_bytes()), only(CLIENT));
}

#[test]
fn a_bad_block_costs_itself_only_and_is_named() {
    let bad = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n";
    let file = [CLIENT, bad.as_bytes(), cut.as_bytes(), CA].concat();
    let found = parse(&file).unwrap();
    assert_eq!(found.certificates.len(), 2);
    let indices: Vec<_> = found.certificates.iter().map(|parsed| parsed.facts.index).collect();
    assert_eq!(indices, [0, 1]);
    let details: Vec<_> = found.malformed.iter().map(|why| why.detail.as_str()).collect();
    assert_eq!(
        details,
        [
            "block 1: malformed certificate: no certificate where one was expected",
            "block 2: has no end of its own"
        ]
    );
}

/// The client's certificate with other bytes of the same length in one place.
fn patched(from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = CLIENT_DER.windows(from.len()).position(|window| window == from).unwrap();
    let mut bytes = CLIENT_DER.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn odd_validity_is_read_and_impossible_dates_are_unknown() {
    for (date, shown) in [
        ("491122055638Z", Some("2049-11-22T05:56:38Z")),
        ("501122055638Z", Some("1950-11-22T05:56:38Z")),
        ("2711220556+01", Some("2027-11-22T04:56:00Z")),
        ("270230055638Z", None),
        ("xxxxxxxxxxxxx", None),
    ] {
        let found = parse(&patched(b"271122055638Z", date.as_bytes())).unwrap();
        let parsed = &found.certificates[0];
        assert_eq!(not_after(parsed).as_deref(), shown, "{date}");
        assert!(parsed.facts.not_before.value().is_some(), "{date}");
        assert_eq!(parsed.facts.subject, "CN=system:node:node-1,O=system:nodes", "{date}");
        let unread = matches!(parsed.facts.not_after, Reading::Unknown { .. });
        assert_eq!(unread, shown.is_none(), "{date}");
        // What a strict reader refuses is said beside the facts.
        let refused = !date.ends_with('Z') || shown.is_none();
        assert_eq!(!found.malformed.is_empty(), refused, "{date}: {:?}", found.malformed);
    }
}

#[test]
fn negative_serials_and_foreign_algorithms_are_read() {
    let serial = &[0x02, 0x14, 0x32, 0x94];
    let found = parse(&patched(serial, &[0x02, 0x14, 0xb2, 0x94])).unwrap();
    assert!(found.certificates[0].facts.serial.starts_with('-'));
    // id-ecPublicKey with its last arc changed
    let algorithm = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    let found = parse(&patched(algorithm, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 9])).unwrap();
    let facts = &found.certificates[0].facts;
    assert_eq!((facts.key.kind.as_str(), facts.key.bits), ("1.2.840.10045.2.9", 0));
    assert!(facts.not_after.value().is_some());
}

#[test]
fn trailing_bytes_are_said_and_cost_nothing() {
    let found = parse(&[CLIENT_DER, b"more"].concat()).unwrap();
    assert_eq!(found.certificates.len(), 1);
    assert_eq!(found.malformed.len(), 1);
}

#[test]
fn files_without_certificates_say_why() {
    for (bytes, kind, detail) in [
        (&b""[..], WhyKind::Malformed, "the file is empty"),
        (b" \n", WhyKind::Malformed, "the file is empty"),
        (b"hello", WhyKind::Malformed, "the file holds no certificate"),
        (&KUBELET[KUBELET.len() - 227..], WhyKind::Malformed, "the file holds no certificate"),
        (
            b"\xfe\xed\xfe\xed\0\0\0\x02",
            WhyKind::Unsupported,
            "a Java key store, which is not read",
        ),
        (
            b"\x30\x05\x02\x01\x03\x30\0",
            WhyKind::Unsupported,
            "a PKCS#12 key store, which is not read",
        ),
    ] {
        let why = parse(bytes).unwrap_err();
        assert_eq!((why.kind, why.detail.as_str()), (kind, detail));
    }
}

#[test]
fn bounds_hold() {
    let block = "-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n";
    let found = parse(block.repeat(5000).as_bytes()).unwrap();
    assert_eq!(found.malformed.len(), MAX_MALFORMED + 1);
    assert_eq!(found.malformed[0].kind, WhyKind::TooLarge);
    let found = parse(&CLIENT.repeat(MAX_CERTIFICATES + 1)).unwrap();
    assert_eq!(found.certificates.len(), MAX_CERTIFICATES);
    assert_eq!(found.malformed[0].kind, WhyKind::TooLarge);
    let large = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        "A".repeat(100_000)
    );
    assert!(parse(large.as_bytes()).unwrap().certificates.is_empty());
}

#[test]
fn keys_are_compared_by_their_public_halves() {
    let client = include_bytes!("../testdata/client.key");
    for (name, certificate, key, verdict) in [
        ("sec1", CLIENT, &client[..], Some(KeyMatch::Matches)),
        ("pkcs8", CLIENT, include_bytes!("../testdata/client.pkcs8.key"), Some(KeyMatch::Matches)),
        ("same file", CLIENT, KUBELET, Some(KeyMatch::Matches)),
        ("rsa", APISERVER, include_bytes!("../testdata/apiserver.key"), Some(KeyMatch::Matches)),
        (
            "pkcs1",
            APISERVER,
            include_bytes!("../testdata/apiserver.pkcs1.key"),
            Some(KeyMatch::Matches),
        ),
        ("other kind", APISERVER, client, Some(KeyMatch::Mismatch)),
        ("other key", CA, client, Some(KeyMatch::Mismatch)),
        ("other kind", CLIENT, include_bytes!("../testdata/ed25519.key"), Some(KeyMatch::Mismatch)),
        ("no public half", ED25519, include_bytes!("../testdata/ed25519.key"), None),
        ("encrypted", CLIENT, include_bytes!("../testdata/client.encrypted.key"), None),
    ] {
        let public = parse(certificate).unwrap().certificates[0].public.clone().unwrap();
        let keys = parse_keys(key);
        assert_eq!(keys.len(), 1, "{name}");
        let compared = keys[0].clone().and_then(|key| half::compare(&public, &key));
        assert_eq!(compared.clone().ok(), verdict, "{name}");
        if let Err(why) = compared {
            assert_eq!(why.kind, WhyKind::Unsupported, "{name}");
        }
    }
    assert!(parse_keys(b"nothing").is_empty());
}

/// Runs every parser and checks what must hold for any bytes.
fn survives(bytes: &[u8]) {
    if let Ok(found) = parse(bytes) {
        assert!(found.certificates.len() <= MAX_CERTIFICATES);
        assert!(found.malformed.len() <= MAX_MALFORMED + 1);
        for Parsed { facts, .. } in &found.certificates {
            assert!(facts.subject.len() <= 256 && facts.issuer.len() <= 256);
            assert!(facts.serial.len() <= 320);
            assert!(facts.names.iter().all(|name| name.len() <= 256));
        }
    }
    let keys = parse_keys(bytes);
    assert!(keys.len() <= MAX_KEYS);
    if let Ok(config) = kubeconfig::parse(bytes) {
        assert!(config.entries.len() <= 512);
    }
    if let Ok(containers) = static_pod::parse(bytes) {
        assert!(containers.len() <= 32);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        survives(&bytes);
    }

    #[test]
    fn changed_files_are_survived(
        which in 0usize..6,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let file = [CLIENT_DER, KUBELET, APISERVER, KUBECONFIG, TRUSTED, CLIENT][which];
        let mut bytes = file.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        survives(&bytes);
    }
}
