//! A fleet of simulated agents that speak the real protocol: a load generator, and the other end of
//! whole-system tests.
//!
//! A simulated agent has a real report, sealed by the same code as the agent's. It does not inspect
//! anything, does not compress and does not back off: what the collector says is what the test sees.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::Method;
use hyper::StatusCode;
use hyper::body::Bytes;
use palisade_report::BootId;
use palisade_report::Digest;
use palisade_report::Manifest;
use palisade_report::Moment;
use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Report;
use palisade_report::Section;
use palisade_report::Sequence;
use palisade_report::TrustId;
use palisade_report::section::SectionName;
use palisade_report::wire::GrantText;
use palisade_report::wire::Heartbeat;
use palisade_report::wire::HeartbeatReply;
use palisade_report::wire::RebooterState;
use palisade_report::wire::Upload;
use palisade_report::wire::WIRE_VERSION;
use palisade_report::wire::Want;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::http::Answer;
use crate::http::Client;
use crate::http::Trust;

/// Agents that talk at the same time: below the number of connections that a collector takes from
/// one address before any of them has shown who it is.
const AT_ONCE: usize = 24;

/// How long a simulated node runs before its first heartbeat: longer than any least time of an agent.
const UPTIME_MS: u64 = 3_600_000;

/// A simulated agent.
#[derive(Clone, Debug)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// The boot that it pretends to be in.
    pub boot_id: BootId,
    /// The number of its next heartbeat.
    pub sequence: u64,
    /// The authorities that it says it trusts.
    pub trust: Option<TrustId>,
    /// What it says of the process that could reboot it.
    pub rebooter: Option<RebooterState>,
    /// When it booted; only then does it tell the time since, without which there are no grants.
    pub booted: Option<Instant>,
    /// The grant that it was handed last.
    pub grant: Option<GrantText>,
    /// What its clock shows with its next heartbeat.
    pub sent_at: Moment,
    /// Its bearer token, for collectors that ask who is there.
    pub token: Option<String>,
    manifest: Manifest,
    sections: Arc<BTreeMap<SectionName, String>>,
    own: BTreeMap<SectionName, String>,
}

/// What happened while one or many agents talked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Talk {
    /// Heartbeats sent.
    pub heartbeats: usize,
    /// Manifests that the collector asked for.
    pub manifests: usize,
    /// Sections uploaded, by name.
    pub sections: BTreeMap<SectionName, usize>,
    /// Bytes of all request bodies.
    pub bytes: usize,
    /// Agents of which nothing is wanted any more.
    pub settled: usize,
}

impl Talk {
    /// Adds what happened elsewhere.
    pub fn add(&mut self, other: Self) {
        let Self { heartbeats, manifests, sections, bytes, settled } = other;
        self.heartbeats += heartbeats;
        self.manifests += manifests;
        for (name, count) in sections {
            *self.sections.entry(name).or_default() += count;
        }
        self.bytes += bytes;
        self.settled += settled;
    }

    /// Sections uploaded, of all names.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.sections.values().sum()
    }
}

/// `count` nodes of the configurations `reports`, in turn. Names, boot ids and certificates differ;
/// everything else of a configuration is equal to the byte.
#[must_use]
pub fn nodes(reports: &[Report], count: usize) -> Vec<Node> {
    let shared: Vec<_> = reports.iter().map(|report| Arc::new(texts(report))).collect();
    (0..count)
        .map(|index| {
            let configuration = index % reports.len();
            Node::new(index, &reports[configuration], &shared[configuration])
        })
        .collect()
}

fn texts(report: &Report) -> BTreeMap<SectionName, String> {
    let sealed = report.seal().expect("a report has canonical bytes");
    sealed.sections().iter().map(|(name, raw)| (*name, raw.get().to_owned())).collect()
}

impl Node {
    fn new(index: usize, report: &Report, shared: &Arc<BTreeMap<SectionName, String>>) -> Self {
        let name = format!("node-{index}");
        let boot_id: BootId =
            format!("00000000-0000-4000-8000-{index:012x}").parse().expect("a boot id");
        let mut own = Report {
            boot: report.boot.clone(),
            certificates: report.certificates.clone(),
            ..Report::default()
        };
        if let Some(Section::Known(boot)) = &mut own.boot {
            boot.hostname = Reading::known(name.clone(), Origin::words("simulated"));
            boot.boot_id = Reading::known(boot_id.clone(), Origin::words("simulated"));
        }
        if let Some(Section::Known(certificates)) = &mut own.certificates {
            for file in certificates.files.values_mut() {
                if let Reading::Known { value, .. } = &mut file.certificates {
                    for certificate in value {
                        certificate.fingerprint =
                            Digest::of(format!("{name} {}", certificate.fingerprint).as_bytes());
                    }
                }
            }
        }
        let mut manifest = report.seal().expect("canonical bytes").manifest().clone();
        manifest.0.extend(own.seal().expect("canonical bytes").manifest().0.clone());
        Self {
            name,
            boot_id,
            sequence: 1,
            trust: None,
            rebooter: None,
            booted: None,
            grant: None,
            sent_at: Moment::from_unix(1_795_000_000),
            token: None,
            manifest,
            sections: Arc::clone(shared),
            own: texts(&own),
        }
    }

    /// Another report from now on: the sections of `report` that are there replace the present ones.
    pub fn change(&mut self, report: &Report) {
        self.manifest.0.extend(report.seal().expect("canonical bytes").manifest().0.clone());
        self.own.extend(texts(report));
    }

    /// Boots: another boot id, numbers from the start, this report.
    pub fn reboot(&mut self, boot_id: BootId, report: &Report) {
        let mut report = report.clone();
        if let Some(Section::Known(boot)) = &mut report.boot {
            boot.hostname = Reading::known(self.name.clone(), Origin::words("simulated"));
            boot.boot_id = Reading::known(boot_id.clone(), Origin::words("simulated"));
        }
        self.change(&report);
        self.boot_id = boot_id;
        self.sequence = 1;
        self.booted = Some(Instant::now());
        self.grant = None;
    }

    /// The digest of its report.
    #[must_use]
    pub fn report(&self) -> Digest {
        self.manifest.digest()
    }

    /// The digests of its sections by name.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its next heartbeat.
    pub fn heartbeat(&mut self, manifest: Option<Manifest>) -> Heartbeat {
        let sequence = Sequence(self.sequence);
        self.sequence += 1;
        Heartbeat {
            wire: WIRE_VERSION,
            agent: "0.1.0".to_owned(),
            report: self.report(),
            boot_id: self.boot_id.clone(),
            sequence,
            sent_at: self.sent_at,
            trust: self.trust,
            boottime_ms: self.booted.map(|at| {
                UPTIME_MS + u64::try_from(at.elapsed().as_millis()).expect("a test's time")
            }),
            rebooter: self.rebooter,
            manifest,
        }
    }

    /// The body of an upload of `names`.
    #[must_use]
    pub fn upload(&self, names: &[SectionName]) -> Vec<u8> {
        let sections = names
            .iter()
            .map(|name| {
                let text =
                    self.own.get(name).or_else(|| self.sections.get(name)).expect("a section");
                (name.as_str().to_owned(), serde_json::from_str(text).expect("JSON"))
            })
            .collect();
        let upload = Upload { report: self.report(), boot_id: self.boot_id.clone(), sections };
        serde_json::to_vec(&upload).expect("JSON")
    }

    /// Sends a heartbeat and whatever the collector then wants, until it wants nothing more or
    /// makes this agent wait.
    pub async fn talk(&mut self, client: &mut Client) -> Talk {
        let mut talk = Talk::default();
        let mut manifest = None;
        // Once for the digest, once with the manifest, once after the upload.
        for _ in 0..4 {
            let with_manifest = manifest.take();
            let wanted_sections = with_manifest.is_some();
            let reply = self.beat(client, with_manifest, &mut talk).await;
            match reply.want {
                Want::Manifest => {
                    talk.manifests += 1;
                    manifest = Some(self.manifest.clone());
                }
                Want::Sections(names) => {
                    let body = self.upload(&names);
                    talk.bytes += body.len();
                    let answer = self.put(client, body).await;
                    assert!(
                        answer.status.is_success(),
                        "{}: {} {}",
                        self.name,
                        answer.status,
                        answer.text()
                    );
                    for name in names {
                        *talk.sections.entry(name).or_default() += 1;
                    }
                }
                Want::Nothing => {
                    talk.settled += usize::from(!wanted_sections || talk.uploads() > 0);
                    return talk;
                }
            }
        }
        talk
    }

    /// Talks like [`Self::talk`], to a collector that may be away or not lead: then `None`.
    pub async fn try_talk(&mut self, client: &mut Client) -> Option<HeartbeatReply> {
        let mut manifest = None;
        for _ in 0..4 {
            let body = serde_json::to_vec(&self.heartbeat(manifest.take())).expect("JSON");
            let path = format!("/v1/nodes/{}/heartbeat", self.name);
            let answer =
                client.try_send(Method::POST, &path, JSON, Bytes::from(body)).await.ok()?;
            if answer.status != StatusCode::OK {
                return None;
            }
            let reply: HeartbeatReply = answer.parse();
            if reply.grant.is_some() {
                self.grant.clone_from(&reply.grant);
            }
            match reply.want {
                Want::Manifest => manifest = Some(self.manifest.clone()),
                Want::Sections(names) => {
                    let path = format!("/v1/nodes/{}/sections", self.name);
                    let body = Bytes::from(self.upload(&names));
                    client.try_send(Method::PUT, &path, JSON, body).await.ok()?;
                }
                Want::Nothing => return Some(reply),
            }
        }
        None
    }

    /// Sends one heartbeat, which must be accepted.
    pub async fn beat(
        &mut self,
        client: &mut Client,
        manifest: Option<Manifest>,
        talk: &mut Talk,
    ) -> HeartbeatReply {
        let body = serde_json::to_vec(&self.heartbeat(manifest)).expect("JSON");
        talk.heartbeats += 1;
        talk.bytes += body.len();
        let answer = self.post(client, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}: {}", self.name, answer.text());
        answer.parse()
    }

    /// `POST /v1/nodes/{node}/heartbeat` with this body.
    pub async fn post(&self, client: &mut Client, body: Vec<u8>) -> Answer {
        let path = format!("/v1/nodes/{}/heartbeat", self.name);
        client.send(Method::POST, &path, JSON, Bytes::from(body)).await.expect("an answer")
    }

    /// `PUT /v1/nodes/{node}/sections` with this body.
    pub async fn put(&self, client: &mut Client, body: Vec<u8>) -> Answer {
        let path = format!("/v1/nodes/{}/sections", self.name);
        client.send(Method::PUT, &path, JSON, Bytes::from(body)).await.expect("an answer")
    }
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Where agents find their collector.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its address.
    pub address: SocketAddr,
    /// Whom they believe; `None`: clear text.
    pub trust: Option<Trust>,
}

impl From<SocketAddr> for Server {
    fn from(address: SocketAddr) -> Self {
        Self { address, trust: None }
    }
}

impl Server {
    /// A client that speaks for `node`.
    #[must_use]
    pub fn client(&self, node: &Node) -> Client {
        let mut client = Client::new(self.address);
        if let Some(trust) = &self.trust {
            client = client.with_trust(trust);
        }
        if let Some(token) = &node.token {
            client = client.with_token(token);
        }
        client
    }
}

/// Lets every node talk once, a few at a time over connections of their own.
pub async fn talk(server: impl Into<Server>, nodes: Vec<Node>) -> (Vec<Node>, Talk) {
    let server = server.into();
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for mut node in nodes {
        let permits = Arc::clone(&permits);
        let mut client = server.client(&node);
        tasks.spawn(async move {
            let _permit = permits.acquire_owned().await.expect("an open semaphore");
            let talk = node.talk(&mut client).await;
            (node, talk)
        });
    }
    let mut all = Talk::default();
    let mut nodes = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (node, talk) = done.expect("an agent that did not panic");
        all.add(talk);
        nodes.push(node);
    }
    nodes.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    (nodes, all)
}

/// Lets all nodes talk until the collector wants nothing of anybody; at most `rounds` times.
pub async fn settle(
    server: impl Into<Server>,
    mut nodes: Vec<Node>,
    rounds: usize,
) -> (Vec<Node>, Talk) {
    let server = server.into();
    let mut all = Talk::default();
    for _ in 0..rounds {
        let round;
        (nodes, round) = talk(server.clone(), nodes).await;
        let quiet = round.manifests == 0 && round.uploads() == 0;
        all.add(round);
        if quiet {
            return (nodes, all);
        }
    }
    panic!("the collector still wants something after {rounds} rounds: {all:?}");
}

/// The distinct digests of each section over all nodes.
#[must_use]
pub fn distinct(nodes: &[Node]) -> BTreeMap<String, BTreeSet<Digest>> {
    let mut distinct: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    for node in nodes {
        for (name, entry) in &node.manifest.0 {
            distinct.entry(name.clone()).or_default().insert(entry.digest);
        }
    }
    distinct
}
