//! The audit: who was refused what and what was done, newest first.

use serde::Serialize;

use super::answer::Answer;
use super::answer::Media;
use super::answer::Refused;
use super::page::csv_line;
use crate::audit::Actor;
pub use crate::audit::Kind;
use crate::auth::Caller;
use crate::http::call::AuditQuery;
use crate::http::call::Format;
use crate::store::AuditEntry;
use crate::store::Page;
use crate::store::Reader;

/// The columns of the list as CSV.
const COLUMNS: [&str; 12] = [
    "id",
    "at",
    "kind",
    "severity",
    "actor",
    "source",
    "object",
    "node",
    "decision",
    "reason",
    "suppressed",
    "hash",
];

/// The actor behind a call; whom it claims to be, if nobody vouches for it.
#[must_use]
pub fn actor(caller: &Caller, claimed: Option<String>) -> Actor {
    match caller {
        Caller::Agent(Some(identity)) => Actor::agent(identity),
        Caller::Agent(None) => Actor::Node { name: None, uid: None, credential: None },
        Caller::Anybody => Actor::Unknown { claimed },
        Caller::Person(person) => Actor::person(person),
    }
}

/// The entries that fit.
///
/// # Errors
/// [`Refused`] if the store cannot be read.
pub async fn list(reader: &Reader, query: AuditQuery) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body<'a> {
        entries: &'a [AuditEntry],
        next: Option<String>,
    }
    let AuditQuery { filter, before, limit, format } = query;
    let page = reader.audit(filter, before, limit).await;
    let Page { rows, next } = page.map_err(|error| super::read_failed(&error))?;
    Ok(match format {
        Format::Json => Answer::json(&Body { entries: &rows, next }),
        Format::Csv => Answer::text(Media::Csv, csv(&rows)),
    })
}

fn csv(rows: &[AuditEntry]) -> String {
    let mut out = String::new();
    csv_line(&mut out, &COLUMNS);
    for AuditEntry { entry, hash, follows: _ } in rows {
        let severity = match entry.severity {
            crate::audit::Weight::High => "high",
            crate::audit::Weight::Info => "info",
            crate::audit::Weight::Medium => "medium",
        };
        csv_line(
            &mut out,
            &[
                &entry.id.to_string(),
                &entry.at.unix().to_string(),
                entry.kind.as_str(),
                severity,
                &entry.actor.to_string(),
                &entry.source.map(|it| it.to_string()).unwrap_or_default(),
                &entry.object,
                entry.node.as_ref().map_or("", |node| node.as_str()),
                entry.decision.as_str(),
                &entry.reason,
                &entry.suppressed.to_string(),
                &hash.to_string(),
            ],
        );
    }
    out
}
