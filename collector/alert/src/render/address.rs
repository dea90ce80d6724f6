//! Addresses that people open, and keys by which receivers tell groups apart.

use palisade_report::Digest;

use crate::notice::Notice;

/// Bytes of an address in a message; a longer one is of no use in a chat, and the list of all alerts
/// is linked instead.
const MAX_ADDRESS: usize = 400;

/// The address of `path` below the collector; only the path if nobody said where the collector is.
///
/// Whatever is not plainly part of an address (RFC 3986) is percent-encoded, and in the path whatever
/// is markup or a mention somewhere, too. A `%` stays: what is encoded already is not encoded twice.
pub(super) fn address(external_url: &str, path: &str) -> String {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let path = percent(&format!("{slash}{path}"), |byte| b"-./?&=+,;:%".contains(&byte));
    let base = external_url.trim_end_matches('/');
    let base = percent(base, |byte| b"-._~/:?#@&=+,;%".contains(&byte));
    let whole = format!("{base}{path}");
    let list = || format!("{base}/v1/alerts");
    if whole.len() <= MAX_ADDRESS {
        whole
    } else if list().len() <= MAX_ADDRESS {
        list()
    } else {
        "/v1/alerts".into()
    }
}

/// The address of the group's alerts; of all, if it is not of one name.
pub(super) fn list(external_url: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => address(external_url, &format!("/v1/alerts?alert={}", component(name))),
        None => address(external_url, "/v1/alerts"),
    }
}

/// Whether it can be opened: some targets refuse links that are no addresses.
pub(super) fn opens(address: &str) -> bool {
    address.starts_with("https://") || address.starts_with("http://")
}

/// A part of an address: a value in its query, a segment of its path.
pub(crate) fn component(text: &str) -> String {
    percent(text, |byte| b"-._~".contains(&byte))
}

fn percent(text: &str, stays: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || stays(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Bytes that PagerDuty keeps of a key (`dedup_key`); Opsgenie keeps 512 of an alias.
const MAX_KEY: usize = 255;

/// The key of the group for receivers that fold messages by it: the same for the same group of the
/// same cluster for ever, and another for every other.
///
/// The severity is no part of it: an incident that gets louder stays the same incident.
pub(super) fn key(notice: &Notice) -> String {
    let key = format!("palisade/{}/{}", notice.cluster, notice.group_key);
    let is_plain = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if key.len() <= MAX_KEY && is_plain {
        key
    } else {
        format!("palisade/{}", Digest::of(key.as_bytes()))
    }
}
