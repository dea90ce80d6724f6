//! What agents send: heartbeats and sections.
//!
//! Each section is hashed as sent, must be its own canonical form, and must be the facts that its
//! name says. One bad section does not stop the others; nothing stored is never a success.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use palisade_report::Digest;
use palisade_report::NodeName;
use palisade_report::NodeUid;
use palisade_report::Report;
use palisade_report::SectionName;
use palisade_report::bound::clean_text;
use palisade_report::canonical;
use palisade_report::wire::MAX_SECTION;
use palisade_report::wire::Problem;
use palisade_report::wire::UploadReply;

use super::Loaded;
use super::answer::Answer;
use super::answer::Kind;
use super::answer::Refused;
use crate::chain::Chain;
use crate::engine::ReceivedSection;
use crate::engine::Refusal;
use crate::figures::Figures;
use crate::http::call::Uploaded;
use crate::http::limits::Buckets;

/// Who sends an upload.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The node's name.
    pub name: NodeName,
    /// What it is in its cluster; `None` standalone.
    pub uid: Option<NodeUid>,
}

/// Takes an upload; the answer is made after everything in it is durable.
///
/// # Errors
/// [`Refused`]: nothing was stored.
pub async fn sections(
    loaded: &Loaded,
    figures: &Figures,
    complaints: &Buckets<()>,
    sender: Sender,
    upload: Uploaded,
) -> Result<Answer, Refused> {
    let Sender { name: node, uid } = sender;
    let Uploaded { report, boot_id, sections } = upload;
    if sections.is_empty() {
        return Err(Refused::new(Kind::MalformedBody, "the upload holds no section"));
    }
    let checked = tokio::task::spawn_blocking(move || check_all(sections)).await;
    let Checked { good, unusable, mut refused } =
        checked.map_err(|_| Refused::new(Kind::Internal, "the sections could not be checked"))?;
    let began = Instant::now();
    let is_hopeless = good.is_empty();
    let mut reply =
        match loaded.engine.upload(node.clone(), uid, report, boot_id, good, unusable).await {
            Ok(reply) => reply,
            // What is wrong with each section says more than that nobody waits for them.
            Err(Refusal::NotAnnounced) if is_hopeless => UploadReply::default(),
            Err(refusal) => return Err(refusal.into()),
        };
    for (name, problem) in &refused {
        // A broken agent says the same again and again; the reply and the figures have them all.
        if complaints.take(&(), Instant::now()).is_err() {
            break;
        }
        let Problem { kind, message } = problem;
        tracing::warn!(%node, section = %name, %kind, %message, "a section is refused");
    }
    reply.refused.append(&mut refused);
    figures.count_upload(reply.stored.len(), reply.refused.len(), began.elapsed());
    Ok(if reply.stored.is_empty() { Answer::RefusedUpload(reply) } else { Answer::json(&reply) })
}

/// The sections of an upload, told apart.
#[derive(Debug, Default)]
struct Checked {
    good: Vec<ReceivedSection>,
    /// Known names, bytes that nobody can use.
    unusable: Vec<(SectionName, Digest)>,
    /// What was wrong, by name as sent.
    refused: BTreeMap<String, Problem>,
}

fn check_all(sections: Vec<(String, Box<str>)>) -> Checked {
    let mut checked = Checked::default();
    for (name, text) in sections {
        match check(&name, &text) {
            Ok(section) => checked.good.push(section),
            Err(problem) => {
                if let Ok(name) = name.parse() {
                    checked.unusable.push((name, Digest::of(text.as_bytes())));
                }
                checked.refused.insert(clean_text(&name), problem);
            }
        }
    }
    checked
}

fn check(name: &str, text: &str) -> Result<ReceivedSection, Problem> {
    let problem = |kind: &str, message: String| Problem { kind: kind.to_owned(), message };
    let name: SectionName =
        name.parse().map_err(|_| problem("unknown-section", "no such section here".to_owned()))?;
    if text.len() > MAX_SECTION {
        let message = format!("{} bytes, at most {MAX_SECTION} are taken", text.len());
        return Err(problem("section-too-large", message));
    }
    let bytes = text.as_bytes();
    let value = canonical::parse(bytes)
        .map_err(|error| problem("not-canonical", Chain(&error).to_string()))?;
    Report::default()
        .set(name, bytes)
        .map_err(|error| problem("malformed-section", clean_text(&Chain(&error).to_string())))?;
    let digest = Digest::of(bytes);
    Ok(ReceivedSection { name, digest, bytes: bytes.to_vec(), value: Arc::new(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_facts_of_the_named_section_pass() {
        let good = r#"{"keys":{},"state":"known"}"#;
        let section = check("sysctls", good).unwrap();
        assert_eq!(section.digest, Digest::of(good.as_bytes()));
        let large = format!("\"{}\"", "x".repeat(MAX_SECTION));
        let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
        for (name, text, kind) in [
            ("moon", good, "unknown-section"),
            ("sysctls", r#"{"state":"known","keys":{}}"#, "not-canonical"),
            ("sysctls", r#"{"keys":{},"keys":{},"state":"known"}"#, "not-canonical"),
            ("sysctls", r#"{"keys":1.5,"state":"known"}"#, "not-canonical"),
            ("sysctls", &deep, "not-canonical"),
            ("sysctls", r#"{"keys":[],"state":"known"}"#, "malformed-section"),
            ("sysctls", "7", "malformed-section"),
            ("sysctls", &large, "section-too-large"),
        ] {
            assert_eq!(check(name, text).unwrap_err().kind, kind, "{name}");
        }
    }
}
