//! Captured nodes: trees of real files below `tests/nodes`, read through the agent's own host tree,
//! judged at a fixed moment, held against golden files.
//!
//! Modes, owners and times do not survive version control: `MODES` beside each tree says what they
//! were, and everything that it does not name is root's, 0644 or 0755, written after the boot.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use palisade_agent::Tree;
use palisade_inspect::Entry;
use palisade_inspect::FileKind;
use palisade_inspect::Host;
use palisade_inspect::Metadata;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_report::Moment;
use palisade_report::section::sockets::Protocol;
use palisade_rules::Facts;
use palisade_rules::Finding;
use palisade_rules::Profile;
use palisade_rules::Verdict;
use palisade_rules::Waivers;
use palisade_tests::golden;
use palisade_tests::node;
use serde_json::Value;

/// When every captured node is judged: a day after the certificates of the youngest were made.
const NOW: Moment = Moment::from_unix(1_795_478_400);

/// When every file was written: after the boot that the trees tell of, as a reboot flag is.
const WRITTEN_AT: Moment = Moment::from_unix(1_795_400_000);

/// A tree with the modes and owners that it had on its node.
struct Captured {
    tree: Tree,
    modes: BTreeMap<String, (u32, u32, u32)>,
}

impl Captured {
    fn open(node: &Path) -> Self {
        let modes = fs::read_to_string(node.join("MODES")).expect("MODES");
        let modes = modes.lines().map(|line| {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("MODES: {line}"));
            let mode = u32::from_str_radix(word(), 8).expect("a mode");
            let (uid, gid) = (word().parse().expect("a uid"), word().parse().expect("a gid"));
            (word().to_owned(), (mode, uid, gid))
        });
        let modes = modes.collect();
        Self { tree: Tree::open(&node.join("root")).expect("a tree"), modes }
    }

    fn as_captured(&self, metadata: Metadata) -> Metadata {
        let mode = match metadata.kind {
            FileKind::Directory => 0o755,
            FileKind::Link => 0o777,
            FileKind::Regular | FileKind::Special => 0o644,
        };
        let (mode, uid, gid) = self.modes.get(&metadata.resolved).copied().unwrap_or((mode, 0, 0));
        Metadata { mode, uid, gid, modified_at: WRITTEN_AT, ..metadata }
    }
}

impl Host for Captured {
    fn nature(&self) -> Nature {
        self.tree.nature()
    }

    fn read_with(
        &self,
        path: &str,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError> {
        self.tree.read_with(path, limit, sink).map(|it| self.as_captured(it))
    }

    fn metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.tree.metadata(path).map(|it| self.as_captured(it))
    }

    fn link_metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.tree.link_metadata(path).map(|it| self.as_captured(it))
    }

    fn read_link(&self, path: &str) -> Result<String, ReadError> {
        self.tree.read_link(path)
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.tree.list(path, limit)
    }

    fn socket_diag(&self, protocol: Protocol) -> Result<Vec<u8>, ReadError> {
        self.tree.socket_diag(protocol)
    }

    fn write_locked(&self, path: &str) -> Result<bool, ReadError> {
        self.tree.write_locked(path)
    }
}

fn holds(name: &str) {
    let nodes = Path::new(env!("CARGO_MANIFEST_DIR")).join("nodes");
    let host = Captured::open(&nodes.join(name));
    let profile = Profile::built_in();
    let report = node::inspect(&host, &node::interest(&profile));
    let sealed = report.seal().expect("facts have a canonical form");
    let mut facts = Facts::default();
    let mut sections = BTreeMap::new();
    for (name, raw) in sealed.sections() {
        let section: Value = serde_json::from_str(raw.get()).expect("JSON");
        sections.insert(*name, section.clone());
        facts.insert(*name, Arc::new(section));
    }
    let judgement = palisade_rules::judge(&facts, &profile, &Waivers::default(), None, NOW);
    let mut text = serde_json::to_string_pretty(&sections).expect("JSON");
    text.push('\n');
    golden::file(&format!("tests/golden/{name}/report.json"), &text);
    golden::file(&format!("tests/golden/{name}/findings.txt"), &table(&judgement.findings));
}

/// How many there are of each verdict, then every open finding, worst first, then what passes and
/// what does not apply by its id.
fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    for verdict in Verdict::ALL {
        let count = findings.iter().filter(|finding| finding.verdict == verdict).count();
        writeln!(text, "{count:4} {}", verdict.as_str()).expect("a string takes text");
    }
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|it| (it.verdict, Reverse(it.severity), &it.rule, &it.subject));
    for finding in sorted {
        let Finding { rule, verdict, severity, subject, evidence, waiver: _ } = finding;
        let what = format!("{} {} {rule}", verdict.as_str(), severity.as_str());
        if *verdict == Verdict::Pass {
            writeln!(text, "{what} {subject}").expect("a string takes text");
            continue;
        }
        writeln!(text, "{what}\n    subject  {subject}").expect("a string takes text");
        for (name, value) in [
            ("observed", &evidence.observed),
            ("origin", &evidence.origin),
            ("expected", &evidence.expected),
            ("reason", &evidence.reason),
        ] {
            if !value.is_empty() {
                writeln!(text, "    {name:8} {value}").expect("a string takes text");
            }
        }
    }
    text
}

#[test]
fn a_debian_machine_without_a_kubelet() {
    holds("debian-vm");
}

#[test]
fn a_control_plane_made_by_kubeadm() {
    holds("kubeadm-control-plane");
}

#[test]
fn no_captured_node_holds_a_private_key() {
    fn each(directory: &Path, visit: &mut impl FnMut(&Path)) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() { each(&path, visit) } else { visit(&path) }
        }
    }
    let mut seen = 0;
    each(&Path::new(env!("CARGO_MANIFEST_DIR")).join("nodes"), &mut |path| {
        let Ok(bytes) = fs::read(path) else { return };
        let text = String::from_utf8_lossy(&bytes);
        // `PRIVATE KEY-----` in clear, and the start of its marker in base64 as kubeconfigs have it.
        for mark in [
            "PRIVATE KEY-----",
            "LS0tLS1CRUdJTiBSU0EgUFJJV",
            "LS0tLS1CRUdJTiBFQyBQUklW",
            "LS0tLS1CRUdJTiBQUklW",
        ] {
            assert!(!text.contains(mark), "{} holds a private key", path.display());
        }
        seen += 1;
    });
    assert!(seen > 100, "only {seen} files");
}
