//! libFuzzer around one target, named by `PALISADE_FUZZ`. Started by `make fuzz`.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use palisade_tests::fuzz::TARGETS;
use palisade_tests::fuzz::Target;

fuzz_target!(|bytes: &[u8]| {
    static TARGET: OnceLock<Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let wanted = std::env::var("PALISADE_FUZZ").expect("PALISADE_FUZZ names a target");
        *TARGETS.iter().find(|target| target.name == wanted).expect("a target of that name")
    });
    (target.run)(bytes);
});
