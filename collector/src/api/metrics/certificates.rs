//! Certificates by the names and labels of x509-certificate-exporter, so that its rules and dashboards
//! work on ours.
//!
//! Ours beyond that: the label `node`, since one collector speaks for all nodes. What it has and nodes
//! do not is left out: Secrets, ConfigMaps, revocation lists. A source is a node.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Digest;
use palisade_report::Moment;
use palisade_rules::Finding;
use palisade_rules::Verdict;

use super::exposition::Exposition;
use super::exposition::Labels;
use super::exposition::Shape;
use super::name;
use crate::snapshot::Node;
use crate::snapshot::NodeState;
use crate::snapshot::Snapshot;
use crate::store::CertificateRow;

/// Certificates that are shown, those that end first: three series each, about 20 MB in all, which a
/// Prometheus of common size takes. A gauge counts the others.
pub const MAX_CERTIFICATES: usize = 20_000;

/// Files that could not be read and are shown, in order of nodes and paths.
const MAX_ERRORS: usize = 5_000;

/// The rule whose findings say which files could not be read.
const READABLE: &str = "certificate.readable";

/// `source_kind` of a file that holds certificates, and of one that embeds them.
const FILE: &str = "file";

/// Why a file could not be read, in the words of x509-certificate-exporter: those of its reasons that
/// a file on a node can have.
const REASONS: [&str; 8] = [
    "bad_pem",
    "broken_symlink",
    "decode_failed",
    "no_certificate_found",
    "not_found",
    "out_of_scope_symlink",
    "permission_denied",
    "read_failed",
];

/// What is known of the certificates of a fleet.
#[derive(Debug)]
pub struct Certificates<'a> {
    /// Those that end first, [`MAX_CERTIFICATES`] at most.
    pub rows: &'a [CertificateRow],
    /// How many there are in all.
    pub count: u64,
    /// The picture that says which files could not be read.
    pub snapshot: &'a Snapshot,
}

/// What is counted from one text to the next.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Files that could not be read when it was looked last; `None`: that is the first look.
    unread: Option<BTreeSet<(String, String)>>,
    /// By [`REASONS`].
    errors: [u64; REASONS.len()],
    /// Label sets that belong to more than one certificate, in the look before and in all.
    colliding: u64,
    collisions: u64,
}

/// The text; `None` where the state is not this collector's to know, which describes the families only.
pub fn text(known: Option<&Certificates<'_>>, tally: &mut Tally, now: Moment) -> String {
    let none = Vec::new();
    let rows = known.map_or(&none[..], |known| known.rows);
    let unread = known.map(|known| unread(known.snapshot)).unwrap_or_default();
    let series = series(rows, tally);
    if known.is_some() {
        tally.look(&unread);
    }
    let mut out = Exposition::default();
    certificates(&mut out, &series, &unread, now);
    sources(&mut out, known.map(|known| known.snapshot), tally);
    let left_out = known.map(|known| {
        known.count.saturating_sub(u64::try_from(known.rows.len()).unwrap_or(u64::MAX))
    });
    let help = "Certificates on nodes that are not shown here, those that end last";
    let mut samples = out.family("palisade_certificates_left_out", Shape::Gauge, help);
    if let Some(left_out) = left_out {
        samples.count(&Labels::default(), left_out);
    }
    out.into_text()
}

/// A certificate as its series have it.
struct Series<'a> {
    labels: Labels,
    row: &'a CertificateRow,
}

fn certificates(
    out: &mut Exposition,
    series: &[Series<'_>],
    unread: &BTreeMap<(String, String), usize>,
    now: Moment,
) {
    let help = "End of the certificate, in Unix time";
    let mut samples = out.family("x509_cert_not_after", Shape::Gauge, help);
    for Series { labels, row } in series {
        if let Some(end) = row.not_after {
            samples.set(labels, end.unix());
        }
    }
    let help = "Start of the certificate, in Unix time";
    let mut samples = out.family("x509_cert_not_before", Shape::Gauge, help);
    for Series { labels, row } in series {
        if let Some(start) = row.certificate.not_before.value() {
            samples.set(labels, start.unix());
        }
    }
    let help = "Whether the certificate has ended: 1, else 0";
    let mut samples = out.family("x509_cert_expired", Shape::Gauge, help);
    for Series { labels, row } in series {
        if let Some(end) = row.not_after {
            samples.set(labels, i64::from(now > end));
        }
    }
    let help =
        "1 for a watched file or certificate that could not be read; those that could have none";
    let mut samples = out.family("x509_cert_error", Shape::Gauge, help);
    let endless = series.iter().filter(|it| it.row.not_after.is_none()).map(|it| it.labels.clone());
    let files = unread.keys().take(MAX_ERRORS).map(|(node, path)| place(node, path));
    // A set, since a certificate without any name would have its file's labels.
    for labels in endless.chain(files).collect::<BTreeSet<_>>() {
        samples.set(&labels, 1);
    }
}

fn sources(out: &mut Exposition, snapshot: Option<&Snapshot>, tally: &Tally) {
    let nodes: Vec<_> = snapshot
        .into_iter()
        .flat_map(|snapshot| snapshot.nodes.iter())
        .filter(|node| node.state.is_live())
        .collect();
    let source = |node: &Node| {
        let name = node.name.as_str();
        let labels = Labels::default().with("node", name).with("source_kind", FILE);
        labels.with("source_name", name)
    };
    let help = "Whether the node is heard and told what certificates it has: 1, else 0";
    let mut samples = out.family("x509_source_up", Shape::Gauge, help);
    for node in &nodes {
        samples.set(&source(node), i64::from(is_up(node)));
    }
    let help = "Files with certificates that the node has";
    let mut samples = out.family("x509_source_bundles", Shape::Gauge, help);
    for node in &nodes {
        let read = readable(node).filter(|it| it.verdict == Verdict::Pass).count();
        samples.count(&source(node), u64::try_from(read).unwrap_or(u64::MAX));
    }
    let help =
        "Files that could be read before, or were not watched, and cannot be read, by reason";
    let mut samples = out.family("x509_source_errors", Shape::Counter, help);
    for (reason, count) in REASONS.iter().zip(tally.errors) {
        // Not by node: that many series of zeros would drown the rest.
        let labels = Labels::default().with("source_kind", FILE).with("source_name", "nodes");
        samples.count(&labels.with("reason", reason), count);
    }
    let kind = Labels::default().with("source_kind", FILE);
    let help = "Certificates that a discriminator had to tell from others";
    out.family("x509_cert_collision", Shape::Counter, help).count(&kind, tally.collisions);
    let help = "Certificates left out since others have the same labels: none, ever";
    out.family("x509_cert_collision_dropped", Shape::Counter, help).count(&kind, 0);
}

/// Each certificate with labels of its own; one that is there twice under the same labels counts once.
fn series<'a>(rows: &'a [CertificateRow], tally: &mut Tally) -> Vec<Series<'a>> {
    let mut groups: BTreeMap<Labels, BTreeMap<Digest, &CertificateRow>> = BTreeMap::new();
    for row in rows {
        let group = groups.entry(labels(row)).or_default();
        group.entry(row.certificate.fingerprint).or_insert(row);
    }
    let mut out = Vec::with_capacity(rows.len());
    let mut colliding: u64 = 0;
    for (labels, group) in groups {
        let alone = group.len() == 1;
        let mut taken = BTreeSet::new();
        for (fingerprint, row) in group {
            let labels = labels.clone();
            if alone {
                out.push(Series { labels, row });
                continue;
            }
            colliding = colliding.saturating_add(1);
            let mut discriminator = fingerprint.to_string();
            // Whoever makes certificates can make two of which the first digits are the same.
            if taken.insert(discriminator.get(..8).unwrap_or_default().to_owned()) {
                discriminator.truncate(8);
            }
            out.push(Series { labels: labels.with("discriminator", &discriminator), row });
        }
    }
    tally.collisions = tally.collisions.saturating_add(colliding.saturating_sub(tally.colliding));
    tally.colliding = colliding;
    out
}

fn place(node: &str, path: &str) -> Labels {
    let base = path.rsplit('/').next().unwrap_or_default();
    Labels::default().with("node", node).with("filename", base).with("filepath", path)
}

fn labels(row: &CertificateRow) -> Labels {
    let CertificateRow { node, path, not_after: _, certificate, watched: _ } = row;
    let mut labels = place(node.as_str(), path);
    if let Some((kind, key)) = certificate.entry.split_once(' ') {
        labels = labels.with("embedded_kind", kind).with("embedded_key", key);
    }
    labels = labels.with("serial_number", &certificate.serial);
    for (side, name) in [("issuer", &certificate.issuer), ("subject", &certificate.subject)] {
        for (field, value) in name::FIELDS.iter().zip(name::fields(name)) {
            labels = labels.with(&format!("{side}_{field}"), &value);
        }
    }
    labels
}

fn readable(node: &Node) -> impl Iterator<Item = &Finding> {
    node.findings().filter(|it| it.rule.as_str() == READABLE && !it.subject.is_empty())
}

/// A silent node may have renewed or lost anything; one whose certificates could not be looked for
/// as a whole has one finding about none of its files.
fn is_up(node: &Node) -> bool {
    let blind = node.findings().any(|it| {
        it.rule.as_str() == READABLE && it.subject.is_empty() && it.verdict == Verdict::Unknown
    });
    matches!(node.state, NodeState::Fresh | NodeState::Late) && node.report.is_some() && !blind
}

/// Node, path, and the reason's place in [`REASONS`], of every file that could not be read.
fn unread(snapshot: &Snapshot) -> BTreeMap<(String, String), usize> {
    let mut unread = BTreeMap::new();
    for node in snapshot.nodes.iter().filter(|node| node.state.is_live()) {
        for finding in readable(node).filter(|it| it.subject.starts_with('/')) {
            let verdict = finding.waiver.as_ref().map_or(finding.verdict, |it| it.instead_of);
            let reason = match verdict {
                Verdict::Fail | Verdict::Unknown => reason(finding),
                Verdict::NotApplicable | Verdict::Pass | Verdict::Waived => continue,
            };
            let at = REASONS.iter().position(|it| *it == reason).unwrap_or_default();
            unread.insert((node.name.to_string(), finding.subject.to_string()), at);
        }
    }
    unread
}

/// By the words of the evidence, which is all that a finding keeps of the cause. What has other words
/// is a read that failed.
fn reason(finding: &Finding) -> &'static str {
    let evidence = &finding.evidence;
    let words = [evidence.observed.as_str(), evidence.reason.as_str()];
    let says = |part: &str| words.iter().any(|it| it.contains(part));
    if says("no such file") {
        "not_found"
    } else if says("unreadable blocks") {
        "bad_pem"
    } else if says("ermission denied") || says("not permitted") {
        "permission_denied"
    } else if says("levels of symbolic links") {
        "broken_symlink"
    } else if says("leads out of") {
        "out_of_scope_symlink"
    } else if says("no certificate") || says("is empty") {
        "no_certificate_found"
    } else if says("could be read") {
        "decode_failed"
    } else {
        "read_failed"
    }
}

impl Tally {
    /// Counts what cannot be read now and was not so before. What was so from the start is no news.
    fn look(&mut self, unread: &BTreeMap<(String, String), usize>) {
        if let Some(before) = &self.unread {
            for (place, reason) in unread {
                if !before.contains(place)
                    && let Some(count) = self.errors.get_mut(*reason)
                {
                    *count = count.saturating_add(1);
                }
            }
        }
        self.unread = Some(unread.keys().cloned().collect());
    }
}

#[cfg(test)]
mod tests;
