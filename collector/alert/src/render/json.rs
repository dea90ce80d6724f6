//! Requests with a JSON body.

use serde::Serialize;

use crate::outgoing::HttpRequest;
use crate::secret::Secret;

/// The media type of JSON.
pub(super) const JSON: &str = "application/json";

/// `POST` of `body` to `url`, if it is not larger than `max` bytes encoded. What is sent here always
/// encodes: texts, numbers, and maps with texts as keys.
pub(super) fn post(url: &Secret, body: &impl Serialize, max: usize) -> Option<HttpRequest> {
    let body = serde_json::to_vec(body).ok().filter(|it| it.len() <= max)?;
    Some(HttpRequest {
        method: "POST",
        url: url.clone(),
        headers: Vec::new(),
        content_type: JSON.into(),
        body,
        sign_with: None,
    })
}
