//! The fuzz targets as ordinary tests: committed corpus, and seeded mutations of it.

use std::path::Path;

use palisade_tests::fuzz::TARGETS;

/// Mutations of each committed input; the long run is `make fuzz`.
const MUTATIONS: u64 = 200;

/// Targets that judge by every rule or read a whole node with each input, and so get fewer.
const HEAVY: [&str; 7] = [
    "boot-entries",
    "kubelet-host",
    "node",
    "rule-file",
    "rule-judge",
    "rule-profile",
    "rule-waivers",
];

/// Mutations for those.
const HEAVY_MUTATIONS: u64 = 8;

#[test]
fn no_committed_input_or_mutation_of_it_breaks_a_parser() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in TARGETS {
        let directory = corpus.join(target.name);
        let entries = std::fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mutations = if HEAVY.contains(&target.name) { HEAVY_MUTATIONS } else { MUTATIONS };
        let mut inputs = 0;
        for entry in entries {
            let path = entry.expect("an entry").path();
            let bytes = std::fs::read(&path).expect("an input");
            (target.run)(&bytes);
            for seed in 0..mutations {
                (target.run)(&mutated(&bytes, seed));
            }
            inputs += 1;
        }
        assert!(inputs > 0, "{} has no input in {}", target.name, directory.display());
    }
}

/// One of the usual damages, chosen by `seed`: a flipped bit, a cut, a repeated stretch.
fn mutated(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // SplitMix64: spreads the seed, so that neighbouring seeds damage different places.
    let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let at = usize::try_from(state % (bytes.len() as u64 + 1)).expect("an index");
    match state >> 62 {
        0 => bytes.truncate(at),
        1 => bytes.extend_from_within(at..),
        2 => bytes.insert(at, (state >> 8).to_le_bytes()[0]),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (state >> 16 & 7);
            }
        }
    }
    bytes
}
