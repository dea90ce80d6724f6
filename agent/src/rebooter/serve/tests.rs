//! Through the real socket and the real record, with keys that nobody has: nothing gets as far as a
//! reboot here. What does is in `tests/whole/rebooter.rs`, in a machine of its own.

use palisade_report::Digest;
use palisade_report::Grant;
use palisade_report::grant::Action;
use palisade_report::grant::GrantId;
use palisade_report::grant::KeyId;
use palisade_report::grant::RequestUid;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair;

use super::*;
use crate::rebooter::HandOverError;
use crate::rebooter::hand_over;

const WITHIN: Duration = Duration::from_secs(60);

/// A rebooter of a directory of its own, without a key and without a bus.
fn settings(name: &str) -> Settings {
    let directory = std::env::temp_dir().join(format!("palisade-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    Settings {
        socket: directory.join("socket"),
        keys: directory.join("keys"),
        state: directory.clone(),
        hold: directory.join("hold"),
        node: None,
        floor: Floor { uptime: Duration::ZERO, interval: Duration::ZERO },
        means: Means::Logind(directory.join("bus")),
        pause: Duration::ZERO,
    }
}

/// The code of the refusal of `bytes`.
fn refused(rebooter: &Rebooter, bytes: &[u8]) -> String {
    let socket = rebooter.settings.socket.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (stream, _) = rebooter.listener.accept().unwrap();
            assert!(!rebooter.take(stream));
        });
        let answer = hand_over(&socket, bytes, WITHIN, |_| {}).unwrap();
        let Answer::Refused { code, .. } = answer else { panic!("{answer:?}") };
        code
    })
}

fn signed(pair: &Ed25519KeyPair) -> Vec<u8> {
    let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
    let grant = Grant {
        action: Action::Reboot,
        key: KeyId::of(&public),
        id: GrantId::from_bytes([1; 16]),
        request: RequestUid::from_bytes([2; 16]),
        node: "uid-1".parse().unwrap(),
        boot: boot_id().unwrap(),
        report: Digest::of(b""),
        epoch: 3,
        not_after: clock::since_boot() + Duration::from_secs(50),
    };
    grant.encode(pair.sign(&grant.signed_bytes()).as_ref().try_into().unwrap())
}

#[test]
fn without_key_record_hold_directory_or_means_it_refuses_and_says_which() {
    let settings = settings("refuses");
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let good = signed(&pair);
    let rebooter = Rebooter::start(settings.clone()).unwrap();
    let mode = settings.socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, SOCKET_MODE);
    rebooter.introduce();
    assert_eq!(refused(&rebooter, &good), "key");
    assert_eq!(refused(&rebooter, &good[1..]), "malformed");
    assert_eq!(refused(&rebooter, &[good.as_slice(), &[0; 4096]].concat()), "malformed");
    std::fs::write(&settings.keys, "none\n").unwrap();
    assert_eq!(refused(&rebooter, &good), "unable");
    let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
    std::fs::write(&settings.keys, Digest::from_bytes(public).to_string()).unwrap();
    std::fs::write(&settings.hold, "").unwrap();
    assert_eq!(refused(&rebooter, &good), "hold");
    // Refused, but its epoch was seen.
    assert_eq!(Record::load(&settings.state).unwrap().epoch, 3);
    std::fs::remove_file(&settings.hold).unwrap();
    assert_eq!(refused(&rebooter, &good), "means");
    assert_eq!(Record::load(&settings.state).unwrap().last, None);

    let elsewhere = settings.state.join("elsewhere");
    for (changed, code) in [
        (Settings { hold: elsewhere.join("hold"), ..settings.clone() }, "hold-unknown"),
        (Settings { state: elsewhere, ..settings.clone() }, "unable"),
    ] {
        // In place of the other's socket, as after a process that was killed.
        let rebooter = Rebooter::start(changed).unwrap();
        rebooter.introduce();
        assert_eq!(refused(&rebooter, &good), code);
    }
    let rebooter = Rebooter::start(settings.clone()).unwrap();
    let held = lock(&settings.state).unwrap();
    assert_eq!(refused(&rebooter, &good), "unable");
    drop(held);
    std::fs::remove_dir_all(&settings.state).unwrap();
    let nobody = hand_over(&settings.socket, &good, WITHIN, |_| {});
    assert!(matches!(nobody, Err(HandOverError::Connect { .. })));
}
