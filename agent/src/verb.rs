//! The verbs of `palisade-agent`: arguments in, exit code out.
//!
//! Data goes to the writer that `main` hands down, talk to the other one. Each verb is one file.

mod report;
mod run;

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use palisade_inspect::Interest;
use palisade_rules::Profile;

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
    Run(run::RunArgs),
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
        Verb::Run(args) => run::run(args).map_err(|error| Chain::of(&error)),
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

/// A profile cannot be used. At fault: `--profile`.
#[derive(Debug, thiserror::Error)]
enum LoadProfileError {
    /// Own profiles are not supported yet.
    #[error("failed to load {}: only the built-in profile is there yet", path.display())]
    Unsupported {
        /// As given.
        path: PathBuf,
    },
}

/// The profile in the file at `path`, or the built-in one.
fn profile(path: Option<&Path>) -> Result<Profile, LoadProfileError> {
    match path {
        Some(path) => Err(LoadProfileError::Unsupported { path: path.to_owned() }),
        None => Ok(Profile::built_in()),
    }
}

/// How far readers look for the rules of `profile`.
fn interest(profile: &Profile) -> Interest {
    let palisade_rules::Interest { sysctls, files, modules, mounts } = profile.interest().clone();
    Interest { sysctls, files, modules, mounts, certificates: BTreeSet::new() }
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
