//! The engine's laws, on a real store in a temporary directory and a clock that is moved by hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Manifest;
use palisade_report::ManifestEntry;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::SectionName;
use palisade_report::Sequence;
use palisade_report::wire::Heartbeat;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::UploadReply;
use palisade_report::wire::WIRE_VERSION;
use palisade_report::wire::Want;
use palisade_rules::Facts;
use palisade_rules::Finding;
use palisade_rules::Judgement;
use palisade_rules::Severity;
use palisade_rules::Verdict;
use serde_json::Value;
use serde_json::json;
use tokio::sync::oneshot;

use super::core::Core;
use super::core::Now;
use super::core::Outcome;
use super::core::Reply;
use super::judging::Judge;
use super::message::*;
use super::upload::Upload;
use crate::audit::Happening;
use crate::audit::Kind;
use crate::clock::Clock;
use crate::clock::ManualClock;
use crate::snapshot::Node;
use crate::snapshot::Snapshot;
use crate::store::Store;

mod cluster;
mod durability;
mod edited;
mod fleet;
mod grants;
mod life;
mod opened;

const BOOT: &str = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";
const NEXT_BOOT: &str = "11111111-91c5-4d9d-9e6c-4e4a1f4f3d11";

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("palisade-engine-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> Store {
        Store::open(&self.0.join("palisade.db")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A judge of two groups. `kernel`: fails while the section says `{"bad":…}`. `certificates`: fails
/// from the moment in `{"ends":…}` on, and says that it will.
#[derive(Debug)]
struct TestJudge(&'static str);

impl Judge for TestJudge {
    fn profile(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    fn basis(&self) -> Digest {
        self.profile()
    }

    fn groups(&self) -> Vec<Vec<SectionName>> {
        vec![vec![SectionName::Kernel], vec![SectionName::Certificates]]
    }

    fn is_apart(&self, node: &NodeName) -> bool {
        node.as_str() == "apart"
    }

    fn judge(
        &self,
        group: usize,
        facts: &Facts,
        node: Option<&NodeName>,
        now: Moment,
    ) -> Judgement {
        let name = self.groups()[group][0];
        let section = facts.section(name).unwrap_or(&Value::Null);
        assert!(section.get("panic").is_none(), "a rule with a defect");
        let ends = section.get("ends").and_then(Value::as_i64).map(Moment::from_unix);
        let bad = section.get("bad").is_some() || ends.is_some_and(|ends| ends <= now);
        let verdict = match (section, node) {
            (Value::Null, _) => Verdict::Unknown,
            (_, Some(_)) => Verdict::Waived,
            (_, None) if bad => Verdict::Fail,
            (_, None) => Verdict::Pass,
        };
        let finding = Finding {
            rule: format!("{name}.{}", self.0).parse().unwrap(),
            verdict,
            severity: Severity::High,
            subject: String::new(),
            evidence: palisade_rules::Evidence::default(),
            waiver: None,
        };
        let next_change_at = ends.filter(|ends| *ends > now);
        Judgement { findings: vec![finding], next_change_at }
    }
}

/// The core with everything around it.
struct Bench {
    core: Core,
    clock: ManualClock,
}

impl Bench {
    fn open(scratch: &Scratch, clock: ManualClock) -> Self {
        Self::with(scratch, clock, EngineSettings::default(), "rule")
    }

    fn with(
        scratch: &Scratch,
        clock: ManualClock,
        settings: EngineSettings,
        rule: &'static str,
    ) -> Self {
        let judge = Arc::new(TestJudge(rule));
        let core = Core::start(scratch.store(), settings, judge, Now::read(&clock)).unwrap();
        Self { core, clock }
    }

    /// What `kill -9` does: nothing more is written; what is left is the file.
    fn crash(self, scratch: &Scratch) -> Self {
        let Self { core, clock } = self;
        drop(core);
        Self::open(scratch, ManualClock::at(clock.now()))
    }

    fn now(&self) -> Now {
        Now::read(&self.clock)
    }

    fn beat(&mut self, node: &TestNode) -> Result<HeartbeatReply, Refusal> {
        let reply = self.hear(node);
        self.turn();
        reply.blocking_recv().unwrap()
    }

    /// Takes a heartbeat without ending the batch.
    fn hear(&mut self, node: &TestNode) -> oneshot::Receiver<Result<HeartbeatReply, Refusal>> {
        let now = self.now();
        let outcome = self.core.heartbeat(&node.name, &node.heartbeat(now), now.at, now);
        let (to, reply) = oneshot::channel();
        self.core.answer(outcome, |result| Reply::Heartbeat(to, result));
        reply
    }

    fn upload(&mut self, node: &TestNode, names: &[SectionName]) -> Result<UploadReply, Refusal> {
        self.upload_beside(node, names, &[])
    }

    /// The same, with sections beside them whose bytes cannot be taken.
    fn upload_beside(
        &mut self,
        node: &TestNode,
        names: &[SectionName],
        unusable: &[SectionName],
    ) -> Result<UploadReply, Refusal> {
        let now = self.now();
        let unusable = unusable.iter().map(|name| (*name, node.section(*name).digest)).collect();
        let sections = names.iter().map(|name| node.section(*name)).collect();
        let report = node.manifest().digest();
        let boot_id = node.boot.clone();
        let upload = Upload { report, boot_id, sections, unusable };
        let outcome = self.core.upload(&node.name, upload, now);
        let (to, reply) = oneshot::channel();
        self.core.answer(outcome, |result| Reply::Upload(to, result));
        self.turn();
        reply.blocking_recv().unwrap()
    }

    fn retire(&mut self, name: &NodeName, now: Now) -> Outcome<()> {
        let by =
            Happening::own(Kind::NodeRetired, format!("node {name}"), "a test").about(name.clone());
        self.core.retire(name, by, now)
    }

    /// Ends the batch, as the thread does.
    fn turn(&mut self) -> Vec<Change> {
        let now = self.now();
        self.core.tick(now);
        self.core.commit(now)
    }

    /// The whole exchange of an agent whose report is new; returns what it was asked for.
    fn report(&mut self, node: &mut TestNode) -> Vec<SectionName> {
        node.sequence += 1;
        if self.beat(node).unwrap().want == Want::Manifest {
            node.sequence += 1;
            node.with_manifest = true;
        }
        let want = self.beat(node).unwrap().want;
        node.with_manifest = false;
        let Want::Sections(names) = want else {
            assert_eq!(want, Want::Nothing);
            return Vec::new();
        };
        let reply = self.upload(node, &names).unwrap();
        assert_eq!(reply.stored.len(), names.len());
        assert!(reply.refused.is_empty(), "{reply:?}");
        names
    }

    /// Whether a new node is refused somewhere on its way.
    fn enrol_fails(&mut self, node: &mut TestNode) -> bool {
        node.with_manifest = true;
        node.sequence += 1;
        match self.beat(node).map(|reply| reply.want) {
            Ok(Want::Sections(names)) => self.upload(node, &names).is_err(),
            Ok(Want::Manifest | Want::Nothing) => false,
            Err(_) => true,
        }
    }

    fn snapshot(&mut self) -> Arc<Snapshot> {
        let now = self.now();
        self.core.publish(now)
    }

    fn node(&mut self, name: &str) -> Arc<Node> {
        Arc::clone(self.snapshot().node(name).unwrap())
    }

    fn advance(&mut self, secs: u32) -> Vec<Change> {
        self.clock.advance(secs);
        self.turn()
    }
}

/// A node as its agent would speak for it.
#[derive(Clone)]
struct TestNode {
    name: NodeName,
    boot: BootId,
    sequence: u64,
    with_manifest: bool,
    sections: Vec<(SectionName, Value)>,
}

impl TestNode {
    /// A node with a shared kernel section and a certificates section of its own.
    fn new(name: &str, kernel: &Value) -> Self {
        Self {
            name: name.parse().unwrap(),
            boot: BOOT.parse().unwrap(),
            sequence: 0,
            with_manifest: false,
            sections: vec![
                (SectionName::Kernel, kernel.clone()),
                (SectionName::Certificates, unknown(name)),
            ],
        }
    }

    fn set(&mut self, name: SectionName, value: Value) {
        self.sections.retain(|(it, _)| *it != name);
        self.sections.push((name, value));
    }

    fn section(&self, name: SectionName) -> ReceivedSection {
        let (_, value) = self.sections.iter().find(|(it, _)| *it == name).unwrap();
        let bytes = serde_json::to_vec(value).unwrap();
        let digest = Digest::of(&bytes);
        ReceivedSection { name, digest, bytes, value: Arc::new(value.clone()) }
    }

    fn manifest(&self) -> Manifest {
        let mut manifest = Manifest::default();
        for (name, _) in &self.sections {
            let ReceivedSection { digest, bytes, .. } = self.section(*name);
            let size = u32::try_from(bytes.len()).unwrap();
            let entry = ManifestEntry { schema: name.schema(), digest, size };
            manifest.0.insert(name.to_string(), entry);
        }
        manifest
    }

    fn heartbeat(&self, now: Now) -> Heartbeat {
        let manifest = self.manifest();
        Heartbeat {
            wire: WIRE_VERSION,
            agent: "0.1.0".to_owned(),
            report: manifest.digest(),
            boot_id: self.boot.clone(),
            sequence: Sequence(self.sequence),
            sent_at: now.at,
            trust: None,
            boottime_ms: None,
            rebooter: None,
            manifest: self.with_manifest.then_some(manifest),
        }
    }
}

/// A clock at a fixed moment.
fn clock() -> ManualClock {
    ManualClock::at(Moment::from_unix(1_800_000_000))
}

/// Any section may be unknown as a whole; the detail makes it differ.
fn unknown(detail: &str) -> Value {
    json!({"state":"unknown","why":{"kind":"other","detail":detail}})
}

/// A kernel section that fails.
fn bad(detail: &str) -> Value {
    let mut value = unknown(detail);
    value["bad"] = json!(true);
    value
}
