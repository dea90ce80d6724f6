//! Answers that repeat what they were asked.
//!
//! Pages of proxies show the address, some services the header or the key that they refuse. People
//! see these texts, so whatever of the request is a secret is taken out first, before anything is cut:
//! half a secret would not be found.

use crate::outgoing::HttpRequest;

/// The shortest that is taken for a secret. Shorter ones would tear words apart.
const LEAST: usize = 8;

/// `body` with `***` wherever it repeats a part of the request's address or headers that may be secret.
pub(super) fn hidden(request: &HttpRequest, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    secrets(request).iter().fold(text, |text, secret| text.replace(secret, "***"))
}

/// What may be secret, longest first: one may be a part of another.
fn secrets(request: &HttpRequest) -> Vec<String> {
    let url = request.url.reveal();
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, rest) = match after_scheme.find(['/', '?']) {
        Some(at) => after_scheme.split_at_checked(at).unwrap_or((after_scheme, "")),
        None => (after_scheme, ""),
    };
    let login = authority.rsplit_once('@').map(|(login, _)| login).unwrap_or_default();
    let of_url = login.split(':').chain(rest.split(['/', '?', '&', '=', '#']));
    let of_headers = request.headers.iter().flat_map(|(_, value)| {
        std::iter::once(value.reveal()).chain(value.reveal().split_whitespace())
    });
    let mut all: Vec<String> =
        of_url.chain(of_headers).filter(|it| is_secret(it)).map(str::to_owned).collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.len()));
    all.dedup();
    all
}

/// Words of an address (`services`, `workflows`) are none: they have no digit and no capital.
fn is_secret(text: &str) -> bool {
    let is_mixed = text.bytes().any(|it| it.is_ascii_digit() || it.is_ascii_uppercase());
    text.len() >= LEAST && (is_mixed || text.len() >= 2 * LEAST)
}
