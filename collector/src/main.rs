//! `palisade-collector`: reads arguments and hands them to the library.
//!
//! Exit codes: 0 after a graceful stop, 2 if it could not run.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use palisade_collector::chain::Chain;
use palisade_collector::settings::Raw;
use palisade_collector::start::start;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Err(error) = start(Raw::parse()) else { return ExitCode::SUCCESS };
    match writeln!(std::io::stderr(), "palisade-collector: {}", Chain(&error)) {
        Ok(()) | Err(_) => ExitCode::from(2),
    }
}
