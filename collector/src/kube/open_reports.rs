//! One OpenReports ClusterReport (`openreports.io/v1alpha1`) for each node, if asked for: what fails
//! or cannot be told, capped, and a summary that is always complete. Written when its content
//! changed and not more often than once in five minutes for one node; it goes with its Node object.
//!
//! What a report holds is decided in [`report`], which is pure. Our own store stays the place of
//! findings: this is a copy for tools that read nothing else.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use kube::Api;
use kube::ResourceExt as _;
use kube::api::ApiResource;
use kube::api::DynamicObject;
use kube::api::GroupVersionKind;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use palisade_report::Digest;
use palisade_report::Moment;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::bound::clean;
use palisade_rules::Finding;
use palisade_rules::Verdict;
use serde_json::Value;
use serde_json::json;

use super::client::CALL_TIMEOUT;
use super::client::CallError;
use super::client::Clients;
use super::client::call;
use super::conditions::MANAGER;
use crate::figures::Figures;
use crate::figures::Output;
use crate::http::limits::Buckets;
use crate::http::limits::MAX_NODES;
use crate::snapshot::Node;

/// Results in one report; the summary counts the others too. 100 of the largest are 100 KiB.
const MAX_RESULTS: usize = 100;

/// Bytes of a text within a result.
const MAX_TEXT: usize = 256;

/// Bytes of the name of a node within the name of a report.
const MAX_NAME: usize = 200;

/// The annotation that says what was written, so that nobody has to read results to compare.
const DIGEST: &str = "palisade.dev/digest";

/// The label by which our reports are found.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Reports of the whole fleet over time, and at once.
const FLEET_BURST: u32 = 10;
const FLEET_GAIN: Duration = Duration::from_millis(200);

/// Reports of one node.
const NODE_BURST: u32 = 2;
const NODE_GAIN: Duration = Duration::from_secs(300);

/// Reports in one page of the list at the start of a term.
const PAGE: u32 = 500;

/// Pages of a list: as many as there may be nodes.
const MAX_PAGES: usize = 300;

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// It has to wait for the budget.
    Later,
    /// It is there already, or there is nothing to say yet.
    Unchanged,
    /// It was written.
    Written,
}

/// Writes reports.
pub struct OpenReports {
    acting: Api<DynamicObject>,
    reading: Api<DynamicObject>,
    profile: String,
    fleet: Buckets<()>,
    each: Buckets<NodeName>,
    /// Digests of what is written, by the name of the report; `None`: not read in this term.
    written: Option<BTreeMap<String, String>>,
}

impl std::fmt::Debug for OpenReports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenReports").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl OpenReports {
    /// Reports by the profile of this name.
    #[must_use]
    pub fn new(clients: &Clients, profile: String) -> Self {
        let kind = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("openreports.io", "v1alpha1", "ClusterReport"),
            "clusterreports",
        );
        Self {
            acting: Api::all_with(clients.acting.clone(), &kind),
            reading: Api::all_with(clients.reading.clone(), &kind),
            profile,
            fleet: Buckets::new(FLEET_BURST, FLEET_GAIN, 1),
            each: Buckets::new(NODE_BURST, NODE_GAIN, MAX_NODES),
            written: None,
        }
    }

    /// Whether it is known what was written in earlier terms.
    #[must_use]
    pub const fn is_learned(&self) -> bool {
        self.written.is_some()
    }

    /// A new term begins.
    pub fn forget(&mut self) {
        self.written = None;
    }

    /// Reads what was written in earlier terms.
    ///
    /// # Errors
    /// [`CallError`]; 404 if the CRD is not installed.
    pub async fn learn(&mut self) -> Result<(), CallError> {
        let mut written = BTreeMap::new();
        let label = format!("{MANAGED_BY}={MANAGER}");
        let mut parameters = ListParams::default().labels(&label).limit(PAGE);
        for _ in 0..MAX_PAGES {
            let page = call(CALL_TIMEOUT, self.reading.list_metadata(&parameters)).await?;
            for report in page.items {
                if let Some(digest) = report.annotations().get(DIGEST) {
                    written.insert(report.name_any(), digest.clone());
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => break,
            }
        }
        self.written = Some(written);
        Ok(())
    }

    /// Writes the report of a node, if it changed and the budget allows it.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn publish(
        &mut self,
        node: &Node,
        uid: &NodeUid,
        now: Moment,
        figures: &Figures,
    ) -> Result<Published, CallError> {
        if node.report.is_none() {
            return Ok(Published::Unchanged);
        }
        let (name, mut object) = report(node, uid, &self.profile);
        let digest = Digest::of(object.to_string().as_bytes()).to_string();
        let written = self.written.get_or_insert_default();
        if written.get(&name) == Some(&digest) {
            return Ok(Published::Unchanged);
        }
        if self.each.take(&node.name, Instant::now()).is_err() {
            return Ok(Published::Later);
        }
        while let Err(wait) = self.fleet.take(&(), Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        if let Some(metadata) = object.get_mut("metadata") {
            let written_at = now.to_string();
            let annotations = json!({ DIGEST: digest, "palisade.dev/written-at": written_at });
            metadata.as_object_mut().map(|it| it.insert("annotations".to_owned(), annotations));
        }
        let parameters = PatchParams::apply(MANAGER).force();
        match call(CALL_TIMEOUT, self.acting.patch(&name, &parameters, &Patch::Apply(&object)))
            .await
        {
            Ok(_) => {
                figures.count_output(Output::ReportWritten);
                written.insert(name, digest);
                Ok(Published::Written)
            }
            Err(error) => {
                figures.count_output(Output::Failed);
                Err(error)
            }
        }
    }
}

/// Name and content of a node's report. The same findings always give the same content.
#[must_use]
pub fn report(node: &Node, uid: &NodeUid, profile: &str) -> (String, Value) {
    let mut summary =
        BTreeMap::from(["pass", "fail", "warn", "error", "skip"].map(|it| (it, 0_u64)));
    let mut open: Vec<&Finding> = Vec::new();
    for finding in node.findings() {
        let result = result(finding.verdict);
        summary.entry(result).and_modify(|count| *count += 1).or_insert(1);
        if matches!(finding.verdict, Verdict::Fail | Verdict::Unknown) {
            open.push(finding);
        }
    }
    // What fails before what cannot be told, the most severe first.
    open.sort_by_key(|it| (it.verdict, std::cmp::Reverse(it.severity), &it.rule, &it.subject));
    let results: Vec<Value> =
        open.iter().take(MAX_RESULTS).map(|finding| one(node, finding, profile)).collect();
    let short = node.name.as_str().get(..MAX_NAME);
    let name = match short {
        Some(short) if short.len() < node.name.as_str().len() => {
            let rest = Digest::of(node.name.as_str().as_bytes()).short();
            format!("palisade-{}-{rest}", short.trim_end_matches(['.', '-']))
        }
        Some(_) | None => format!("palisade-{}", node.name),
    };
    let reference = json!({ "apiVersion": "v1", "kind": "Node", "name": node.name.as_str(), "uid": uid.as_str() });
    let object = json!({
        "apiVersion": "openreports.io/v1alpha1",
        "kind": "ClusterReport",
        "metadata": {
            "name": name,
            "labels": { MANAGED_BY: MANAGER },
            "ownerReferences": [reference],
        },
        "source": "palisade",
        "scope": reference,
        "configuration": {
            "limits": { "maxResults": MAX_RESULTS, "statusFilter": ["fail", "error"] },
        },
        "summary": summary,
        "results": results,
    });
    (name, object)
}

fn one(node: &Node, finding: &Finding, profile: &str) -> Value {
    let Finding { rule, verdict, severity, subject, evidence, waiver: _ } = finding;
    let text = |text: &str| clean(text.as_bytes(), MAX_TEXT);
    let changed = node.episode(rule, subject).map_or(0, |episode| episode.changed_at.unix());
    let said = if evidence.reason.is_empty() {
        format!("{subject} is {}, expected {}", evidence.observed, evidence.expected)
    } else {
        format!("{subject} {}", evidence.reason)
    };
    let mut properties = BTreeMap::new();
    for (key, value) in [
        ("subject", subject.as_str()),
        ("fact", &evidence.fact),
        ("observed", &evidence.observed),
        ("expected", &evidence.expected),
        ("origin", &evidence.origin),
    ] {
        if !value.is_empty() {
            properties.insert(key, text(value));
        }
    }
    json!({
        "policy": profile,
        "rule": rule.as_str(),
        "category": rule.area(),
        "severity": severity.as_str(),
        "result": result(*verdict),
        "scored": true,
        "timestamp": { "seconds": changed, "nanos": 0 },
        "message": text(said.trim_start()),
        "properties": properties,
    })
}

/// The word of OpenReports for a verdict.
const fn result(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fail => "fail",
        Verdict::NotApplicable | Verdict::Waived => "skip",
        Verdict::Pass => "pass",
        Verdict::Unknown => "error",
    }
}
