//! `palisade-agent`: see the library of the same name.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use palisade_agent::verb;

fn main() -> ExitCode {
    let cli = verb::Cli::parse();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    verb::run(cli, &mut out, &mut std::io::stderr())
}
