//! `report`: the facts of this host, as they would be sent.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;
use palisade_report::Digest;
use palisade_report::SectionName;
use palisade_report::canonical::CanonicalError;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Output;
use super::RootArgs;
use crate::sandbox;
use crate::sandbox::Confine;
use crate::sandbox::Granted;
use crate::sandbox::SplitError;

/// Prints the facts of this host, each with where it was read or why it could not be
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  palisade-agent report
  palisade-agent report --root /srv/captured/worker-7 | jq .sections.kernel")]
pub(super) struct ReportArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Profile that decides how far readers look; the built-in one if not given
    #[arg(long, value_name = "FILE", env = "PALISADE_PROFILE")]
    profile: Option<PathBuf>,
    /// Whether one process reads the host and another parses what it read
    #[arg(long, value_enum, default_value_t, env = "PALISADE_CONFINE")]
    confine: Confine,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
}

/// The report could not be made or printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    /// The profile cannot be loaded.
    #[error("failed to get the rules")]
    Profile(#[source] super::LoadProfileError),
    /// A section has no JSON form. At fault: us.
    #[error("failed to seal the report")]
    Seal(#[source] CanonicalError),
    /// The host cannot be read as it is wanted.
    #[error("failed to set up the inspection")]
    Split(#[source] SplitError),
    /// The report has no JSON form. At fault: us.
    #[error("failed to write the report as JSON")]
    Write(#[source] serde_json::Error),
}

/// What is printed.
#[derive(Serialize)]
struct Printed<'a> {
    report: Digest,
    sections: &'a BTreeMap<SectionName, Box<RawValue>>,
}

pub(super) fn run(args: ReportArgs) -> Result<Output, ReportError> {
    let ReportArgs { root: RootArgs { root }, profile, confine, format: Format::Json } = args;
    let profile = super::profile(profile.as_deref()).map_err(ReportError::Profile)?;
    let granted = Granted { readable: &[], port: None };
    let inspector = sandbox::inspector(&root, super::interest(&profile), confine, &granted);
    let report = inspector.map_err(ReportError::Split)?.inspect();
    let sealed = report.seal().map_err(ReportError::Seal)?;
    let printed = Printed { report: sealed.manifest().digest(), sections: sealed.sections() };
    let mut text = serde_json::to_string(&printed).map_err(ReportError::Write)?;
    text.push('\n');
    Ok(Output { text, code: 0 })
}
