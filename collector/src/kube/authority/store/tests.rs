//! Real keys and certificates through Secret values and back, and the whole life of an authority
//! with an agent's own verification at each step.

use rustls::client::verify_server_name;
use rustls_pki_types::ServerName;

use super::super::decide;
use super::super::decide::Action;
use super::super::decide::Policy;
use super::super::decide::State;
use super::super::make;
use super::*;

const START: Moment = Moment::from_unix(1_800_000_000);
const DAY: i64 = 86_400;
const NAMES: [&str; 3] =
    ["palisade-collector", "palisade-collector.palisade-system.svc", "127.0.0.1"];

fn names() -> Vec<String> {
    NAMES.map(str::to_owned).to_vec()
}

fn wanted() -> BTreeSet<String> {
    names().into_iter().collect()
}

fn read_one(pair: &Pair) -> Certificate {
    certificate::parse_all(pair.certificate.as_bytes()).unwrap().remove(0)
}

fn signer(now: Moment) -> Signer {
    let pair = make::authority(3650 * DAY, now).unwrap();
    Signer { certificate: read_one(&pair), pair }
}

fn leaf(signer: &Signer, now: Moment) -> (Certificate, Pair) {
    let pair = make::leaf(&names(), &signer.pair.key, now.plus(90 * DAY), now).unwrap();
    (read_one(&pair), pair)
}

/// Whether an agent with this bundle accepts this certificate at this moment, for every name.
fn accepts(bundle: &str, leaf: &Certificate, now: Moment) -> bool {
    let mut roots = RootCertStore::empty();
    for it in certificate::parse_all(bundle.as_bytes()).unwrap() {
        roots.add(it.der).unwrap();
    }
    let parsed = ParsedCertificate::try_from(&leaf.der).unwrap();
    let now = std::time::Duration::from_secs(now.unix().try_into().unwrap());
    let now = UnixTime::since_unix_epoch(now);
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let named = NAMES
        .iter()
        .all(|name| verify_server_name(&parsed, &ServerName::try_from(*name).unwrap()).is_ok());
    named
        && verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms).is_ok()
}

fn full() -> Material {
    let (signing, next, old) = (signer(START), signer(START), signer(START));
    let leaf = leaf(&signing, START);
    Material {
        signing: Some(signing),
        next: Some(next),
        old: vec![old.certificate],
        old_since: Some(START),
        leaf: Some(leaf),
    }
}

#[test]
fn what_is_written_is_read_again() {
    let material = full();
    let values = material.write();
    assert_eq!(values.keys().map(String::as_str).collect::<BTreeSet<_>>(), KEYS.into());
    assert_eq!(Material::read(&values), Ok(material));
    assert_eq!(Material::read(&Values::new()), Ok(Material::default()));
    let empty = [CA_CERT, CA_KEY, TLS_CERT, TLS_KEY].map(|key| (key.to_owned(), Vec::new()));
    assert_eq!(
        Material::read(&Values::from(empty)),
        Ok(Material::default()),
        "as a chart makes it"
    );
    assert!(!format!("{:?}", full()).contains("PRIVATE"), "a key is printed");
}

#[test]
fn each_key_that_is_corrupt_is_named() {
    let values = full().write();
    let other = full().write();
    for (key, value, named) in [
        (CA_CERT, b"junk".to_vec(), CA_CERT),
        (CA_CERT, Vec::new(), CA_CERT),
        (CA_KEY, b"junk".to_vec(), CA_KEY),
        (CA_KEY, Vec::new(), CA_KEY),
        (CA_KEY, other[CA_KEY].clone(), CA_KEY),
        (CA_CERT, values[TLS_CERT].clone(), CA_CERT),
        (CA_CERT, [values[CA_CERT].clone(), other[CA_CERT].clone()].concat(), CA_CERT),
        (NEXT_KEY, values[CA_KEY].clone(), NEXT_KEY),
        (OLD_CERTS, b"\xff\xfe".to_vec(), OLD_CERTS),
        (OLD_SINCE, b"soon".to_vec(), OLD_SINCE),
        (OLD_SINCE, Vec::new(), OLD_SINCE),
    ] {
        let mut values = values.clone();
        values.insert(key.to_owned(), value);
        let Err(Unusable::Corrupt { key, what }) = Material::read(&values) else {
            panic!("{key} is taken");
        };
        assert_eq!(key, named, "{what}");
    }
    // A serving certificate that cannot be used is made anew, so it is no reason to stop.
    for (key, value) in [(TLS_KEY, other[TLS_KEY].clone()), (TLS_CERT, b"junk".to_vec())] {
        let mut values = values.clone();
        values.insert(key.to_owned(), value);
        assert_eq!(Material::read(&values).unwrap().leaf, None);
    }
}

#[test]
fn an_issuer_is_told_by_its_signature_and_names_exactly() {
    let material = full();
    let held = material.held(&wanted(), Rotation::NotAsked);
    let leaf = held.leaf.clone().unwrap();
    assert_eq!(leaf.issuer, Some(held.signing.clone().unwrap().id));
    assert_eq!(leaf.names, Names::AsWanted);
    let more = names().into_iter().chain(["another".to_owned()]).collect();
    assert_eq!(material.held(&more, Rotation::NotAsked).leaf.unwrap().names, Names::Other);
    let stranger = Material { leaf: full().leaf, ..material };
    assert_eq!(stranger.held(&wanted(), Rotation::NotAsked).leaf.unwrap().issuer, None);
}

#[test]
fn a_bundle_has_the_same_bytes_whatever_the_roles() {
    let material = full();
    let ids = material.held(&wanted(), Rotation::NotAsked).bundle(START);
    assert_eq!(ids.len(), 3);
    let before = material.bundle(&ids);
    let next = leaf(material.next.as_ref().unwrap(), START);
    let after = material.switched(next, START);
    assert_eq!(after.old.len(), 2);
    assert_eq!(after.bundle(&ids), before, "agents need not follow anything at the switch");
    let (found, certificates) = published(Some(&before), Some(" 1800000000\n"));
    assert_eq!(certificates.len(), 3);
    assert_eq!(found.at, Some(START));
    assert_eq!(published(Some("junk"), Some("soon")), (Published::default(), Vec::new()));
}

/// Twenty years by real cryptography: an agent that follows days late verifies at each step.
#[test]
fn an_agent_verifies_at_every_step_of_twenty_years() {
    let policy = Policy { settle_secs: 2 * DAY, patience_secs: 100 * DAY, ..Policy::default() };
    let mut values = Values::new();
    let mut bundle: Option<(String, Moment)> = None;
    let mut follows = String::new();
    let (mut now, mut switches) = (START, 0);
    while now < START.plus(20 * 365 * DAY) {
        let material = Material::read(&values).unwrap();
        let held = material.held(&wanted(), Rotation::NotAsked);
        let at = bundle.as_ref().map(|(_, at)| at.unix().to_string());
        let text = bundle.as_ref().map(|(text, _)| text.as_str());
        let (published, _) = published(text, at.as_deref());
        let late = text.is_none_or(|text| text != follows);
        let behind = late.then(|| "worker".parse().unwrap()).into_iter().collect();
        let state = State { held: Ok(held.clone()), published, behind };
        let next = match decide::next(&state, &policy, now) {
            Action::Wait { until, .. } => {
                let (served, _) = material.leaf.as_ref().unwrap();
                if follows.is_empty() {
                    follows = text.unwrap().to_owned();
                }
                assert!(accepts(&follows, served, now), "at {now}");
                // What was published is followed when some days have gone by.
                now = until.min(now.plus(10 * DAY)).max(now.plus(1));
                assert!(accepts(&follows, served, now), "before the next step at {now}");
                follows = text.unwrap().to_owned();
                continue;
            }
            Action::Publish => {
                bundle = Some((material.bundle(&held.bundle(now)), now));
                continue;
            }
            Action::Forget(gone) => material.forgetting(&gone),
            Action::IssueLeaf => {
                let leaf = leaf(material.signing.as_ref().unwrap(), now);
                Material { leaf: Some(leaf), ..material }
            }
            Action::MakeNext { adopt } => {
                assert!(adopt.is_empty());
                material.with_next(signer(now), Vec::new(), now)
            }
            Action::Switch { stragglers } => {
                assert!(stragglers.is_empty());
                switches += 1;
                let leaf = leaf(material.next.as_ref().unwrap(), now);
                material.switched(leaf, now)
            }
            Action::Refuse(unusable) => panic!("{unusable}"),
        };
        values = next.write();
    }
    assert_eq!(switches, 3, "the first one, and one each six years and eight months");
}
