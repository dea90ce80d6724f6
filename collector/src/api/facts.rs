//! Facts: what the fleet says at one path, each distinct answer once with its nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_report::NodeName;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_rules::FactPath;
use serde::Serialize;
use serde_json::Value;

use super::answer::Answer;
use super::answer::Refused;
use crate::snapshot::Snapshot;
use crate::store::FactAnswer;
use crate::store::Reader;

/// Nodes named beside one answer; the count covers the others.
const MAX_NAMES: usize = 1000;

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum Said {
    Known { value: Value },
    Absent,
    Unknown { why: Why },
}

#[derive(Serialize)]
struct Entry {
    #[serde(skip_serializing_if = "String::is_empty")]
    origin: String,
    count: usize,
    nodes: Vec<NodeName>,
    said: Said,
}

/// Every distinct answer to `path`, the most frequent first. Equal values of different origins
/// are one answer; the origin shown is that of the first node.
///
/// # Errors
/// [`Refused`] if the store cannot be read.
pub async fn list(
    snapshot: Arc<Snapshot>,
    reader: &Reader,
    path: FactPath,
) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Page {
        path: String,
        nodes: usize,
        answers: Vec<Entry>,
    }
    let by_section = reader
        .facts(Arc::clone(&snapshot), path.clone())
        .await
        .map_err(|error| super::read_failed(&error))?;
    let missing = FactAnswer::Unknown(Why::new(
        WhyKind::MissingSource,
        format!("the report has no section {}", path.section()),
    ));
    let mut answers: BTreeMap<String, Entry> = BTreeMap::new();
    let mut nodes = 0;
    for node in snapshot.nodes.iter().filter(|node| node.state.is_live()) {
        nodes += 1;
        let answer = node.section(path.section()).and_then(|digest| by_section.get(&digest));
        let (said, origin) = said(answer.unwrap_or(&missing));
        let key = serde_json::to_string(&said).unwrap_or_default();
        let entry = answers.entry(key).or_insert_with(|| Entry {
            said,
            origin,
            count: 0,
            nodes: Vec::new(),
        });
        entry.count += 1;
        if entry.nodes.len() < MAX_NAMES {
            entry.nodes.push(node.name.clone());
        }
    }
    let mut answers: Vec<Entry> = answers.into_values().collect();
    answers.sort_by_key(|entry| std::cmp::Reverse(entry.count));
    Ok(Answer::json(&Page { path: path.to_string(), nodes, answers }))
}

fn said(answer: &FactAnswer) -> (Said, String) {
    match answer {
        FactAnswer::Known { value, origin } => {
            (Said::Known { value: value.clone() }, origin.clone())
        }
        FactAnswer::Absent { origin } => (Said::Absent, origin.clone()),
        FactAnswer::Unknown(why) => (Said::Unknown { why: why.clone() }, String::new()),
    }
}
