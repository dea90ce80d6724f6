//! `palisade-agent`: see the library of the same name.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use palisade_agent::heap;
use palisade_agent::verb;

fn main() -> ExitCode {
    heap::tame();
    let cli = verb::Cli::parse();
    let stdout = std::io::stdout();
    let surface = verb::Surface {
        is_terminal: stdout.is_terminal(),
        no_colour: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    };
    verb::run(cli, surface, &mut stdout.lock(), &mut std::io::stderr())
}
