//! Inspecting and judging on the spot, for the verbs that show findings.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::Report;
use palisade_report::canonical::CanonicalError;
use palisade_rules::Facts;
use palisade_rules::Judgement;
use palisade_rules::Profile;
use palisade_rules::Waivers;
use palisade_rules::waiver::LoadWaiversError;

use crate::Inspector;
use crate::Tree;
use crate::send::read_bounded;
use crate::tree::OpenTreeError;

/// Bytes that a file of waivers may have.
const MAX_WAIVERS: u64 = 1024 * 1024;

/// A host, its facts and what the profile says of them.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) report: Report,
    pub(super) profile: Profile,
    pub(super) judgement: Judgement,
}

/// The host could not be judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum JudgeError {
    /// The root is no host. At fault: `--root`.
    #[error("failed to open the host")]
    Open(#[source] OpenTreeError),
    /// The waivers are malformed. At fault: their author.
    #[error("failed to use the waivers in {}", path.display())]
    ParseWaivers { path: PathBuf, source: LoadWaiversError },
    /// The profile cannot be loaded. At fault: `--profile`.
    #[error("failed to get the rules")]
    Profile(#[source] super::LoadProfileError),
    /// The waivers cannot be read. At fault: `--waivers`.
    #[error("failed to read the waivers at {}", path.display())]
    ReadWaivers { path: PathBuf, source: io::Error },
    /// A section has no JSON form. At fault: us.
    #[error("failed to seal the report")]
    Seal(#[source] CanonicalError),
    /// Sealed facts cannot be read again. At fault: us.
    #[error("failed to read the sealed facts")]
    Unseal(#[source] serde_json::Error),
}

/// Inspects the host below `root` and judges it.
pub(super) fn judge(
    root: &Path,
    profile: Option<&Path>,
    waivers: Option<&Path>,
    now: Moment,
) -> Result<Judged, JudgeError> {
    let profile = super::profile(profile).map_err(JudgeError::Profile)?;
    let waivers = waivers.map_or_else(|| Ok(Waivers::default()), load_waivers)?;
    let tree = Tree::open(root).map_err(JudgeError::Open)?;
    let report = Inspector::new(tree, super::interest(&profile)).inspect();
    let sealed = report.seal().map_err(JudgeError::Seal)?;
    let mut facts = Facts::default();
    for (name, raw) in sealed.sections() {
        let section = serde_json::from_str(raw.get()).map_err(JudgeError::Unseal)?;
        facts.insert(*name, Arc::new(section));
    }
    let node = own_name(&report);
    let judgement = palisade_rules::judge(&facts, &profile, &waivers, node.as_ref(), now);
    Ok(Judged { report, profile, judgement })
}

fn load_waivers(path: &Path) -> Result<Waivers, JudgeError> {
    let bytes = read_bounded(path, MAX_WAIVERS)
        .map_err(|source| JudgeError::ReadWaivers { path: path.to_owned(), source })?;
    Waivers::parse(&String::from_utf8_lossy(&bytes))
        .map_err(|source| JudgeError::ParseWaivers { path: path.to_owned(), source })
}

/// The host's name as a node's name, for waivers that name nodes.
fn own_name(report: &Report) -> Option<NodeName> {
    let hostname = report.boot.as_ref()?.known()?.hostname.value()?;
    hostname.to_ascii_lowercase().parse().ok()
}
