//! `scan`: inspects this host and judges it on the spot, without a collector.

use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;
use palisade_report::Digest;
use palisade_rules::Finding;
use palisade_rules::Profile;
use palisade_rules::RuleId;
use palisade_rules::Severity;
use palisade_rules::Verdict;
use palisade_rules::finding::AppliedWaiver;
use palisade_rules::finding::Evidence;
use palisade_rules::page::Colours;
use palisade_rules::sheet::Sheet;
use palisade_rules::sheet::Shown;
use palisade_rules::sheet::Summary;
use serde::Serialize;

use super::Output;
use super::RootArgs;
use super::Surface;
use super::judged;
use super::judged::JudgeError;
use super::judged::Judged;
use crate::clock;

/// Inspects this host and judges it on the spot
///
/// Exit code: 0 when nothing fails, 1 when something fails or cannot be told, 2 when the scan could
/// not run. Waived findings do not count.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  palisade-agent scan
  palisade-agent scan --area kubelet --severity high
  palisade-agent scan --root /srv/captured/worker-7 --format json | jq .summary
  palisade-agent scan --all --waivers /etc/palisade/waivers.yaml")]
pub(super) struct ScanArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Profile to judge by; the built-in one if not given
    #[arg(long, value_name = "FILE", env = "PALISADE_PROFILE")]
    profile: Option<PathBuf>,
    /// Exceptions that are in force
    #[arg(long, value_name = "FILE", env = "PALISADE_WAIVERS")]
    waivers: Option<PathBuf>,
    /// How to print; JSON always holds every verdict
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Show what passes and what does not apply, too
    #[arg(long)]
    all: bool,
    /// Only rules of this area: the part of the id before the dot
    #[arg(long, value_name = "AREA")]
    area: Option<String>,
    /// Only findings at least this severe: critical, high, medium, low, info
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// Colour; never in JSON
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    color: Colour,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The scan did not come to an end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    /// The profile has no rule of that area. At fault: `--area`.
    #[error("the profile has no area {area}; it has {known}")]
    Area { area: String, known: String },
    /// The host could not be judged.
    #[error("failed to judge the host")]
    Judge(#[source] JudgeError),
    /// The findings have no JSON form. At fault: us.
    #[error("failed to write the findings as JSON")]
    Write(#[source] serde_json::Error),
}

#[derive(Serialize)]
struct Printed<'a> {
    profile: &'a str,
    profile_digest: Digest,
    summary: Summary,
    findings: Vec<PrintedFinding<'a>>,
}

#[derive(Serialize)]
struct PrintedFinding<'a> {
    rule: &'a RuleId,
    verdict: Verdict,
    severity: Severity,
    subject: &'a str,
    title: &'a str,
    evidence: &'a Evidence,
    fix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiver: Option<&'a AppliedWaiver>,
}

pub(super) fn run(args: ScanArgs, surface: Surface) -> Result<Output, ScanError> {
    let ScanArgs { root, profile, waivers, format, all, area, severity, color } = args;
    let now = clock::now();
    let judged = judged::judge(&root.root, profile.as_deref(), waivers.as_deref(), now);
    let Judged { report, profile, mut judgement } = judged.map_err(ScanError::Judge)?;
    if let Some(area) = &area {
        check_area(&profile, area)?;
        judgement.findings.retain(|finding| finding.rule.area() == area);
    }
    if let Some(least) = severity {
        judgement.findings.retain(|finding| finding.severity >= least);
    }
    let summary = Summary::of(&judgement.findings);
    let text = match format {
        Format::Json => json(&profile, summary, &judgement.findings)?,
        Format::Table => {
            let colours = match color {
                Colour::Always => Colours::Ansi,
                Colour::Auto if surface.is_terminal && !surface.no_colour => Colours::Ansi,
                Colour::Auto | Colour::Never => Colours::None,
            };
            let findings: Vec<_> = judgement.findings.iter().collect();
            let sheet = Sheet {
                name: "",
                about: "",
                report: &report,
                profile: &profile,
                findings: &findings,
                shown: if all { Shown::Everything } else { Shown::NeedsPerson },
            };
            sheet.text(colours, now)
        }
    };
    Ok(Output { text, code: u8::from(summary.fail + summary.unknown > 0) })
}

fn check_area(profile: &Profile, area: &str) -> Result<(), ScanError> {
    let known: std::collections::BTreeSet<_> =
        profile.rules().iter().map(|rule| rule.id().area()).collect();
    if known.contains(area) {
        return Ok(());
    }
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    Err(ScanError::Area { area: palisade_report::bound::clean_text(area), known })
}

fn json(profile: &Profile, summary: Summary, findings: &[Finding]) -> Result<String, ScanError> {
    let findings = findings
        .iter()
        .map(|finding| {
            let Finding { rule, verdict, severity, subject, evidence, waiver } = finding;
            let documented = profile.rules().iter().find(|it| it.id() == rule);
            PrintedFinding {
                rule,
                verdict: *verdict,
                severity: *severity,
                subject,
                title: documented.map_or("", |it| it.title()),
                evidence,
                fix: documented.map_or("", |it| it.fix()),
                waiver: waiver.as_ref(),
            }
        })
        .collect();
    let printed =
        Printed { profile: profile.name(), profile_digest: profile.digest(), summary, findings };
    let mut text = serde_json::to_string_pretty(&printed).map_err(ScanError::Write)?;
    text.push('\n');
    Ok(text)
}
