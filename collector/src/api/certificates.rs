//! Certificates on the nodes' disks, in order of their end.

use palisade_report::Moment;
use serde::Serialize;

use super::answer::Answer;
use super::answer::Kind;
use super::answer::Refused;
use super::page;
use crate::http::call::CertificatesQuery;
use crate::store::CertificateFilter;
use crate::store::CertificateRow;
use crate::store::Page;
use crate::store::ReadError;
use crate::store::Reader;

/// The certificates that fit; `within` counts from `now`.
///
/// # Errors
/// [`Refused`] if the cursor is foreign or the store cannot be read.
pub async fn list(
    reader: &Reader,
    query: CertificatesQuery,
    now: Moment,
) -> Result<Answer, Refused> {
    #[derive(Serialize)]
    struct Body {
        certificates: Vec<CertificateRow>,
        next: Option<String>,
    }
    let CertificatesQuery { within, node, after, limit } = query;
    let ends_before =
        within.map(|within| now.plus(i64::try_from(within.as_secs()).unwrap_or(i64::MAX)));
    let filter = CertificateFilter { node, ends_before };
    // The store's cursor travels in our own wrapping, whatever it holds.
    let cursor = after.as_deref().map(page::key).transpose()?;
    let Page { rows, next } =
        reader.certificates(filter, cursor, limit).await.map_err(|error| match error {
            ReadError::Cursor => Refused::new(Kind::MalformedRequest, error.to_string()),
            ReadError::Malformed { .. } | ReadError::Query { .. } | ReadError::Stopped => {
                super::read_failed(&error)
            }
        })?;
    Ok(Answer::json(&Body { certificates: rows, next: next.as_deref().map(page::cursor) }))
}
