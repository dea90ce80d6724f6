//! `bench`: see the module of the same name in the library.

use std::process::ExitCode;

/// The same as in the collector, so that the servers which are compared allocate alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    palisade_tests::bench::main(std::env::args())
}
