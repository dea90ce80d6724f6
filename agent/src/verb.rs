//! The verbs of `palisade-agent`: arguments in, exit code out.
//!
//! Data goes to the writer that `main` hands down, talk to the other one. Each verb is one file.

mod report;

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

/// Exit code of a verb that could not do its work; 1 is kept for findings.
pub const COULD_NOT_RUN: u8 = 2;

/// Inspects this host: what is not hardened, must reboot, or runs out.
#[derive(Debug, Parser)]
#[command(name = "palisade-agent", version)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Report(report::ReportArgs),
}

/// Which host.
#[derive(Debug, Args)]
struct RootArgs {
    /// Directory that is inspected as a host: `/`, a mounted host, or a captured tree
    #[arg(long, value_name = "DIR", default_value = "/", env = "PALISADE_ROOT")]
    root: PathBuf,
}

/// Carries out what the arguments say.
pub fn run(cli: Cli, out: &mut impl Write, talk: &mut impl Write) -> ExitCode {
    let Cli { verb } = cli;
    let outcome = match verb {
        Verb::Report(args) => report::run(args, out).map_err(|error| Chain::of(&error)),
    };
    match outcome {
        Ok(code) => code,
        Err(chain) => {
            // Nobody is left to tell when stderr itself is gone.
            drop(writeln!(talk, "palisade-agent: {chain}"));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// An error and its causes, printed once, at the edge.
#[derive(Debug)]
pub struct Chain(String);

impl Chain {
    /// The words of `error` and of every cause below it.
    #[must_use]
    pub fn of(error: &dyn Error) -> Self {
        let mut words = error.to_string();
        let mut below = error.source();
        while let Some(cause) = below {
            words.push_str(": ");
            words.push_str(&cause.to_string());
            below = cause.source();
        }
        Self(words)
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
