//! `palisade-collector`: reads arguments and hands them to the library.
//!
//! Exit codes: 0 after a graceful stop, or where the audit holds; 1 where it does not; 2 if it could
//! not run.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use palisade_collector::chain::Chain;
use palisade_collector::command::Command;
use palisade_collector::start::start;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let error = match start(Command::parse()) {
        Ok(code) => return code,
        Err(error) => error,
    };
    match writeln!(std::io::stderr(), "palisade-collector: {}", Chain(&error)) {
        Ok(()) | Err(_) => ExitCode::from(2),
    }
}
