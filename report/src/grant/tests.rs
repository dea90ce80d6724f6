use proptest::prelude::*;

use super::*;

const NODE: &str = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";

fn grant() -> Grant {
    Grant {
        action: Action::Reboot,
        key: KeyId::of(&[7; 32]),
        id: GrantId([1; 16]),
        request: RequestUid([2; 16]),
        node: NODE.parse().unwrap(),
        boot: "33333333-3333-3333-3333-333333333333".parse().unwrap(),
        report: Digest::from_bytes([4; 32]),
        epoch: 0x0506,
        not_after: Duration::from_millis(0x0708),
    }
}

prop_compose! {
    fn any_grant()(
        (key, id, request) in (any::<[u8; 32]>(), any::<[u8; 16]>(), any::<[u8; 16]>()),
        node in "[A-Za-z0-9-]{1,64}",
        boot in any::<[u8; 16]>(),
        report in any::<[u8; 32]>(),
        epoch in any::<u64>(),
        not_after in any::<u64>(),
    ) -> Grant {
        Grant {
            action: Action::Reboot,
            key: KeyId::of(&key),
            id: GrantId(id),
            request: RequestUid(request),
            node: node.parse().unwrap(),
            boot: BootId::from_bytes(&boot),
            report: Digest::from_bytes(report),
            epoch,
            not_after: Duration::from_millis(not_after),
        }
    }
}

proptest! {
    #[test]
    fn a_grant_survives_its_bytes(grant in any_grant(), signature in any::<[u8; 32]>()) {
        let signature: [u8; 64] = [signature, signature].concat().try_into().unwrap();
        let bytes = grant.encode(&signature);
        prop_assert_eq!(bytes.len(), LENGTH);
        let envelope = Envelope::open(&bytes).unwrap();
        prop_assert_eq!(envelope.key(), grant.key);
        prop_assert_eq!(envelope.signature(), &signature);
        prop_assert_eq!(envelope.signed_bytes(), grant.signed_bytes());
        prop_assert_eq!(Grant::decode(&bytes), Ok(grant));
    }

    #[test]
    fn whatever_decodes_has_one_form(mut bytes in proptest::collection::vec(any::<u8>(), LENGTH)) {
        // The rest is seldom right by chance.
        for (to, from) in bytes.iter_mut().zip([VERSION, 1]) {
            *to = from;
        }
        for (to, from) in bytes.iter_mut().skip(42).take(64).zip(NODE.bytes().chain([0; 28])) {
            *to = from;
        }
        let envelope = Envelope::open(&bytes).unwrap();
        let again = envelope.grant().unwrap().encode(envelope.signature());
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn each_byte_before_the_signature_is_signed(grant in any_grant(), at in 2..SIGNED, bit in 0_u8..8) {
        let mut bytes = grant.encode(&[0; 64]);
        bytes[at] ^= 1_u8 << bit;
        prop_assert_ne!(Envelope::open(&bytes).unwrap().signed_bytes(), grant.signed_bytes());
    }
}

#[test]
fn the_fields_lie_where_the_table_says() {
    let bytes = grant().encode(&[9; 64]);
    assert_eq!(bytes[0..2], [1, 1]);
    assert_eq!(bytes[2..10], Digest::of(&[7; 32]).as_bytes()[..8]);
    assert_eq!(bytes[10..26], [1; 16]);
    assert_eq!(bytes[26..42], [2; 16]);
    assert_eq!(bytes[42..78], *NODE.as_bytes());
    assert_eq!(bytes[78..106], [0; 28]);
    assert_eq!(bytes[106..122], [0x33; 16]);
    assert_eq!(bytes[122..154], [4; 32]);
    assert_eq!(bytes[154..162], [0, 0, 0, 0, 0, 0, 5, 6]);
    assert_eq!(bytes[162..170], [0, 0, 0, 0, 0, 0, 7, 8]);
    assert_eq!(bytes[170..234], [9; 64]);
    assert_eq!(bytes.len(), 234);
    assert_eq!(
        grant().signed_bytes(),
        [b"palisade.dev/grant/v1\0".as_slice(), &bytes[..170]].concat()
    );
}

#[test]
fn what_is_wrong_first_is_named() {
    let good = grant().encode(&[0; 64]);
    for length in [0, 1, 169, 170, 233] {
        assert_eq!(Grant::decode(&good[..length]), Err(MalformedGrant::Length(length)));
    }
    let long = [good.as_slice(), &[0]].concat();
    assert_eq!(Grant::decode(&long), Err(MalformedGrant::Length(235)));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Grant::decode(&bytes)
    };
    assert_eq!(with(0, 2), Err(MalformedGrant::Version(2)));
    assert_eq!(with(1, 0), Err(MalformedGrant::Action(0)));
    for (at, byte) in [(42, 0), (50, b' '), (50, 0), (50, 0xff), (90, b'a'), (105, 1)] {
        assert_eq!(with(at, byte), Err(MalformedGrant::NodeUid), "byte {at} is {byte}");
    }
}

#[test]
fn ids_are_written_as_uuids() {
    let text = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";
    assert_eq!(text.parse::<GrantId>().unwrap().to_string(), text);
    assert_eq!(BootId::from_bytes(text.parse::<RequestUid>().unwrap().as_bytes()).as_str(), text);
    assert_eq!("0f9b2a52".parse::<GrantId>(), Err(MalformedUuid));
}
