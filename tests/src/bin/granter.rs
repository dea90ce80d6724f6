//! Signs a grant for the machine that it runs in and hands it to the rebooter there, or hands over one
//! that was kept. Prints each answer as a line. In the machine, because a grant is good for a minute of
//! that machine's own clock.
//!
//! ```text
//! granter public SEED
//! granter sign SOCKET SEED NODE-UID EPOCH NUMBER KEEP-IN
//! granter again SOCKET KEPT
//! granter status SOCKET
//! ```

use std::path::Path;
use std::time::Duration;

use nix::time::ClockId;
use palisade_agent::rebooter::Answer;
use palisade_agent::rebooter::Status;
use palisade_agent::rebooter::hand_over;
use palisade_agent::rebooter::status;
use palisade_report::Digest;
use palisade_report::Grant;
use palisade_report::grant::Action;
use palisade_report::grant::GrantId;
use palisade_report::grant::KeyId;
use palisade_report::grant::RequestUid;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair;

/// Less than a grant may be ahead of the clock, and far more than handing it over takes.
const GOOD_FOR: Duration = Duration::from_secs(55);

/// How long an answer may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["public", seed] => println!("{}", Digest::from_bytes(public(&pair(seed)))),
        ["sign", socket, seed, node, epoch, number, keep] => {
            let grant = sign(&pair(seed), node, epoch, number);
            std::fs::write(keep, &grant).unwrap_or_else(|error| panic!("keep {keep}: {error}"));
            tell(socket, &grant);
        }
        ["again", socket, kept] => {
            let grant = std::fs::read(kept).unwrap_or_else(|error| panic!("read {kept}: {error}"));
            tell(socket, &grant);
        }
        ["status", socket] => {
            let Status { state, words } = status(Path::new(socket), WITHIN).expect("a status");
            println!("{state} {words}");
        }
        other => panic!("not understood: {other:?}"),
    }
}

fn tell(socket: &str, grant: &[u8]) {
    let told = |answer: &Answer| match answer {
        Answer::Accepted => println!("accepted"),
        Answer::Executing => println!("executing"),
        Answer::Failed { words } => println!("failed {words}"),
        Answer::Refused { code, words } => println!("refused {code} {words}"),
    };
    hand_over(Path::new(socket), grant, WITHIN, told).expect("hand a grant over");
}

fn pair(seed: &str) -> Ed25519KeyPair {
    let seed: u8 = seed.parse().expect("a seed below 256");
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key of a seed")
}

fn public(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().expect("32 bytes")
}

/// A grant for this boot and the next minute.
fn sign(pair: &Ed25519KeyPair, node: &str, epoch: &str, number: &str) -> Vec<u8> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    let now = nix::time::clock_gettime(ClockId::CLOCK_BOOTTIME).expect("a clock");
    let number: u8 = number.parse().expect("a number below 256");
    let grant = Grant {
        action: Action::Reboot,
        key: KeyId::of(&public(pair)),
        id: GrantId::from_bytes([number; 16]),
        request: RequestUid::from_bytes([number; 16]),
        node: node.parse().expect("a node UID"),
        boot: boot.trim_end().parse().expect("a boot id"),
        report: Digest::of(b"a report"),
        epoch: epoch.parse().expect("an epoch"),
        not_after: Duration::from(now) + GOOD_FOR,
    };
    let signature = pair.sign(&grant.signed_bytes());
    grant.encode(signature.as_ref().try_into().expect("64 bytes"))
}
