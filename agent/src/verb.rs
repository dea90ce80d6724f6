//! The verbs of `palisade-agent`: arguments in, exit code out.
//!
//! Data goes to the writer that `main` hands down, talk to the other one. Each verb is one file.

mod explain;
mod judged;
mod reading;
mod reboot;
mod report;
mod rules;
mod run;
mod scan;

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::io::ErrorKind;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use palisade_inspect::Interest;
use palisade_rules::Profile;

use crate::send::read_bounded;

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
    Explain(explain::ExplainArgs),
    #[command(hide = true)]
    Keeper(reading::ReadingArgs),
    #[command(hide = true)]
    Reader(reading::ReadingArgs),
    Reboot(reboot::RebootArgs),
    Report(report::ReportArgs),
    Rules(rules::RulesArgs),
    Run(run::RunArgs),
    Scan(scan::ScanArgs),
}

/// Which host.
#[derive(Debug, Args)]
struct RootArgs {
    /// Directory that is inspected as a host: `/`, a mounted host, or a captured tree
    #[arg(long, value_name = "DIR", default_value = "/", env = "PALISADE_ROOT")]
    root: PathBuf,
}

/// Where the words go: `main` looks, because only it reads the environment.
#[derive(Clone, Copy, Debug)]
pub struct Surface {
    /// Whether standard output is a terminal.
    pub is_terminal: bool,
    /// Whether `NO_COLOR` is set, see no-color.org.
    pub no_colour: bool,
}

/// What a verb has to say, and its exit code.
#[derive(Debug)]
struct Output {
    text: String,
    code: u8,
}

/// Carries out what the arguments say.
pub fn run(cli: Cli, surface: Surface, out: &mut impl Write, talk: &mut impl Write) -> ExitCode {
    let Cli { verb } = cli;
    let outcome = match verb {
        Verb::Explain(args) => explain::run(args).map_err(|error| Chain::of(&error)),
        Verb::Keeper(args) => reading::keep(args).map_err(|error| Chain::of(&error)),
        Verb::Reader(args) => reading::read(args).map_err(|error| Chain::of(&error)),
        Verb::Reboot(args) => reboot::run(args).map_err(|error| Chain::of(&error)),
        Verb::Report(args) => report::run(args).map_err(|error| Chain::of(&error)),
        Verb::Rules(args) => rules::run(args).map_err(|error| Chain::of(&error)),
        Verb::Run(args) => run::run(args).map_err(|error| Chain::of(&error)),
        Verb::Scan(args) => scan::run(args, surface).map_err(|error| Chain::of(&error)),
    };
    let chain = match outcome {
        Ok(Output { text, code }) => {
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                Ok(()) => return ExitCode::from(code),
                // The reader has seen enough (`scan | head`).
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::from(code),
                Err(error) => Chain(format!("failed to write to standard output: {error}")),
            }
        }
        Err(chain) => chain,
    };
    // Nobody is left to tell when stderr itself is gone.
    drop(writeln!(talk, "palisade-agent: {chain}"));
    ExitCode::from(COULD_NOT_RUN)
}

/// Bytes that a profile's file may have.
const MAX_PROFILE: u64 = 1024 * 1024;

/// A profile cannot be used. At fault: `--profile`.
#[derive(Debug, thiserror::Error)]
enum LoadProfileError {
    /// It makes no sense.
    #[error("failed to use the profile in {}", path.display())]
    Parse {
        /// As given.
        path: PathBuf,
        /// What is wrong, and where.
        source: palisade_rules::profile::LoadProfileError,
    },
    /// It cannot be read.
    #[error("failed to read the profile at {}", path.display())]
    Read {
        /// As given.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The profile in the file at `path`, or the built-in one.
fn profile(path: Option<&Path>) -> Result<Profile, LoadProfileError> {
    let Some(path) = path else { return Ok(Profile::built_in()) };
    let bytes = read_bounded(path, MAX_PROFILE)
        .map_err(|source| LoadProfileError::Read { path: path.to_owned(), source })?;
    Profile::parse(&String::from_utf8_lossy(&bytes))
        .map_err(|source| LoadProfileError::Parse { path: path.to_owned(), source })
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
