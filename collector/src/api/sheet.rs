//! One node on one page, for a person with `curl`: the same sheet that `palisade-agent scan` prints.

use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::Report;
use palisade_report::SectionName;
use palisade_rules::Finding;
use palisade_rules::Profile;
use palisade_rules::Sheet;
use palisade_rules::page::Colours;
use palisade_rules::sheet::Shown;

use super::answer::Answer;
use super::answer::Kind;
use super::answer::Media;
use super::answer::Refused;
use crate::chain::Chain;
use crate::snapshot::Node;
use crate::snapshot::Snapshot;
use crate::store::Reader;

/// The sections that a sheet looks into; the others are behind its findings already.
const LOOKED_INTO: [SectionName; 5] = [
    SectionName::Host,
    SectionName::Boot,
    SectionName::Kernel,
    SectionName::Reboot,
    SectionName::Certificates,
];

/// The sheet of one node.
///
/// # Errors
/// [`Refused`] if there is no such node, or its facts cannot be read.
pub async fn of(
    snapshot: &Snapshot,
    reader: &Reader,
    profile: &Profile,
    name: &NodeName,
    now: Moment,
) -> Result<Answer, Refused> {
    let node = snapshot
        .node(name.as_str())
        .ok_or_else(|| Refused::new(Kind::NotFound, "no node of that name is known"))?;
    let mut report = Report::default();
    for section in LOOKED_INTO {
        let Some(digest) = node.section(section) else { continue };
        let bytes = reader.section(digest).await.map_err(|error| super::read_failed(&error))?;
        let Some(bytes) = bytes else { continue };
        if let Err(error) = report.set(section, &bytes) {
            // A newer agent's facts may have a shape that this version does not know; its findings
            // are shown all the same.
            tracing::warn!(%digest, cause = %Chain(&error), "a stored section has another shape");
        }
    }
    let findings: Vec<&Finding> = node.findings().collect();
    let about = about(node);
    let sheet = Sheet {
        name: name.as_str(),
        about: &about,
        report: &report,
        profile,
        findings: &findings,
        shown: Shown::NeedsPerson,
    };
    Ok(Answer::text(Media::Text, sheet.text(Colours::None, now)))
}

/// What the fleet knows of the node beside its facts.
fn about(node: &Node) -> String {
    match (node.report, node.pending) {
        (None, _) => format!("{}, its first report is on its way", node.state),
        (Some(_), None) => format!("{} since {}", node.state, node.state_since),
        (Some(_), Some(_)) => {
            format!("{} since {}, a newer report is on its way", node.state, node.state_since)
        }
    }
}
