use proptest::prelude::*;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair;

use palisade_report::Digest;
use palisade_report::grant::Action;
use palisade_report::grant::RequestUid;

use super::*;
use crate::rebooter::Deed;

const BOOT: &str = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";
const OTHER_BOOT: &str = "1f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";
const NODE: &str = "2f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";
const UP: Duration = Duration::from_secs(3600);

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().unwrap()
}

fn keys(pairs: &[&Ed25519KeyPair]) -> Keys {
    let lines: Vec<String> =
        pairs.iter().map(|pair| Digest::from_bytes(public(pair)).to_string()).collect();
    Keys::parse(&lines.join("\n")).unwrap()
}

fn grant() -> Grant {
    Grant {
        action: Action::Reboot,
        key: KeyId::of(&public(&pair(1))),
        id: GrantId::from_bytes([1; 16]),
        request: RequestUid::from_bytes([2; 16]),
        node: NODE.parse().unwrap(),
        boot: BOOT.parse().unwrap(),
        report: Digest::of(b"report"),
        epoch: 5,
        not_after: UP + Duration::from_secs(60),
    }
}

fn sign(grant: &Grant, pair: &Ed25519KeyPair) -> Vec<u8> {
    grant.encode(pair.sign(&grant.signed_bytes()).as_ref().try_into().unwrap())
}

fn good() -> Vec<u8> {
    sign(&grant(), &pair(1))
}

fn local() -> Local {
    Local {
        boot: BOOT.parse().unwrap(),
        node: Some(NODE.parse().unwrap()),
        since_boot: UP,
        now: Moment::from_unix(1_700_000_000),
        record: Record { epoch: 5, ..Record::default() },
        hold: Hold::Absent,
        floor: Floor { uptime: Duration::from_secs(600), interval: Duration::from_secs(86_400) },
    }
}

fn refusal(bytes: &[u8], local: &Local) -> &'static str {
    check(bytes, &keys(&[&pair(1)]), local).unwrap_err().why.code()
}

#[test]
fn a_good_grant_is_an_order_with_either_of_two_keys() {
    assert_eq!(check(&good(), &keys(&[&pair(1)]), &local()).unwrap().grant, grant());
    let both = keys(&[&pair(1), &pair(2)]);
    assert!(check(&good(), &both, &local()).is_ok());
    let newer = Grant { key: KeyId::of(&public(&pair(2))), ..grant() };
    assert!(check(&sign(&newer, &pair(2)), &both, &local()).is_ok());
    // An epoch that is newer, and the first grant of all.
    let newer = Grant { epoch: 6, ..grant() };
    assert!(check(&sign(&newer, &pair(1)), &both, &local()).is_ok());
    let first = Local { node: None, record: Record::default(), ..local() };
    assert!(check(&good(), &both, &first).is_ok());
}

/// Everything is wrong; each step mends what was named, and the next in the fixed order is named.
#[test]
fn the_checks_stand_in_their_order() {
    let mut local = Local {
        node: Some("another".parse().unwrap()),
        since_boot: Duration::from_secs(300),
        record: Record {
            epoch: 9,
            node: None,
            last: Some(Deed {
                boot: BOOT.parse().unwrap(),
                at: Moment::from_unix(1_700_000_000),
                since_boot_ms: 299_000,
                grant: grant().id,
                request: grant().request,
            }),
            used: vec![grant().id],
        },
        hold: Hold::Present,
        ..local()
    };
    let mut wrong = Grant {
        key: KeyId::of(&[0; 32]),
        boot: OTHER_BOOT.parse().unwrap(),
        not_after: Duration::from_secs(300),
        ..grant()
    };
    let other = pair(3);
    let bytes = sign(&wrong, &other);
    assert_eq!(refusal(&bytes[1..], &local), "malformed");
    assert_eq!(refusal(&[&[2], &bytes[1..]].concat(), &local), "malformed");
    assert_eq!(refusal(&bytes, &local), "key");
    wrong.key = grant().key;
    assert_eq!(refusal(&sign(&wrong, &other), &local), "signature");
    assert_eq!(refusal(&sign(&wrong, &pair(1)), &local), "boot");
    wrong.boot = grant().boot;
    assert_eq!(refusal(&sign(&wrong, &pair(1)), &local), "node");
    local.node = None;
    // The record's pin counts as well.
    local.record.node = Some("another".parse().unwrap());
    assert_eq!(refusal(&sign(&wrong, &pair(1)), &local), "node");
    local.record.node = Some(NODE.parse().unwrap());
    assert_eq!(refusal(&sign(&wrong, &pair(1)), &local), "epoch");
    wrong.epoch = 9;
    assert_eq!(refusal(&sign(&wrong, &pair(1)), &local), "expired");
    wrong.not_after = Duration::from_millis(360_001);
    assert_eq!(refusal(&sign(&wrong, &pair(1)), &local), "ahead");
    wrong.not_after = Duration::from_secs(360);
    let bytes = sign(&wrong, &pair(1));
    assert_eq!(refusal(&bytes, &local), "used");
    local.record.used = (0..64).map(|byte| GrantId::from_bytes([byte + 7; 16])).collect();
    assert_eq!(refusal(&bytes, &local), "many");
    local.record.used.clear();
    assert_eq!(refusal(&bytes, &local), "hold");
    local.hold = Hold::Unknown("no directory".to_owned());
    assert_eq!(refusal(&bytes, &local), "hold-unknown");
    local.hold = Hold::Absent;
    assert_eq!(refusal(&bytes, &local), "uptime");
    local.floor.uptime = Duration::from_secs(300);
    assert_eq!(refusal(&bytes, &local), "interval");
    local.floor.interval = Duration::from_secs(1);
    assert!(check(&bytes, &keys(&[&pair(1)]), &local).is_ok());
}

#[test]
fn the_last_millisecond_counts_and_the_next_does_not() {
    let at = |since_boot| Local { since_boot, ..local() };
    let end = grant().not_after;
    assert!(check(&good(), &keys(&[&pair(1)]), &at(end - Duration::from_millis(1))).is_ok());
    assert_eq!(refusal(&good(), &at(end)), "expired");
    assert_eq!(refusal(&good(), &at(UP - Duration::from_millis(1))), "ahead");
}

#[test]
fn only_a_true_grant_of_this_boot_and_node_makes_an_epoch_seen() {
    let newer = Grant { epoch: 99, ..grant() };
    let seen = |bytes: &[u8], local: &Local| {
        check(bytes, &keys(&[&pair(1)]), local).unwrap_err().grant.map(|grant| grant.epoch)
    };
    let held = Local { hold: Hold::Present, ..local() };
    assert_eq!(seen(&sign(&newer, &pair(1)), &held), Some(99));
    assert_eq!(seen(&sign(&newer, &pair(2)), &held), None);
    let elsewhere = Local { boot: OTHER_BOOT.parse().unwrap(), ..held };
    assert_eq!(seen(&sign(&newer, &pair(1)), &elsewhere), None);
}

#[test]
fn after_an_order_the_same_grant_is_used_and_after_the_boot_it_is_another_boots() {
    let before = local();
    let record = before.record.after(&grant(), before.since_boot, before.now);
    assert_eq!(record.node, Some(NODE.parse().unwrap()));
    let after = Local { record: record.clone(), ..local() };
    assert_eq!(refusal(&good(), &after), "used");
    let booted = Local { boot: OTHER_BOOT.parse().unwrap(), ..after };
    assert_eq!(refusal(&good(), &booted), "boot");
    // A new grant of the new boot waits for the floor, though the clock was set back.
    let next = Grant { boot: booted.boot.clone(), id: GrantId::from_bytes([9; 16]), ..grant() };
    let set_back = Local { now: Moment::from_unix(0), ..booted };
    assert_eq!(refusal(&sign(&next, &pair(1)), &set_back), "interval");
}

/// A grant that another one's bytes were made of: replayed, altered, expired, of another boot.
fn spoiled() -> impl Strategy<Value = (Vec<u8>, Local)> {
    let replayed = Just({
        let before = local();
        let record = before.record.after(&grant(), before.since_boot, before.now);
        (good(), Local { record, ..before })
    });
    let flipped = (0_usize..234, 0_u8..8).prop_map(|(at, bit)| {
        let mut bytes = good();
        bytes[at] ^= 1_u8 << bit;
        (bytes, local())
    });
    let cut = (0_usize..234).prop_map(|length| (good()[..length].to_vec(), local()));
    let longer = proptest::collection::vec(any::<u8>(), 1..64)
        .prop_map(|more| ([good(), more].concat(), local()));
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..300).prop_map(|it| (it, local()));
    let resigned = any::<u8>()
        .prop_filter("the key itself", |seed| *seed != 1)
        .prop_map(|seed| (sign(&grant(), &pair(seed)), local()));
    let expired = (60_000_u64..u64::MAX / 2).prop_map(|later| {
        (good(), Local { since_boot: UP + Duration::from_millis(later), ..local() })
    });
    let ahead = (1_u64..3_600_000).prop_map(|earlier| {
        (good(), Local { since_boot: UP - Duration::from_millis(earlier), ..local() })
    });
    let foreign = any::<[u8; 16]>()
        .prop_map(|boot| (good(), Local { boot: BootId::from_bytes(&boot), ..local() }));
    let stale = (6_u64..).prop_map(|epoch| {
        let record = Record { epoch, ..Record::default() };
        (good(), Local { record, ..local() })
    });
    prop_oneof![replayed, flipped, cut, longer, any_bytes, resigned, expired, ahead, foreign, stale]
}

#[test]
fn of_ten_thousand_spoiled_grants_none_is_accepted() {
    let config = ProptestConfig { cases: 10_000, failure_persistence: None, ..Default::default() };
    let keys = keys(&[&pair(1)]);
    let outcome =
        proptest::test_runner::TestRunner::new(config).run(&spoiled(), |(bytes, local)| {
            prop_assert!(check(&bytes, &keys, &local).is_err());
            Ok(())
        });
    outcome.unwrap();
}
