//! What peers send to the collector: requests and packed bodies.

use std::io::Write;

use hyper::Method;
use hyper::body::Bytes;
use palisade_collector::api::page;
use palisade_collector::http::body as bodies;
use palisade_collector::http::body::Encoding;
use palisade_collector::http::call;
use palisade_collector::http::call::Call;
use palisade_collector::http::query::MAX_LIMIT;
use palisade_collector::http::query::Plus;
use palisade_collector::http::query::decode;
use palisade_collector::http::route;

use super::shown;

/// Bytes that a body may have once unpacked; small, so that bombs are within reach.
const BOUND: usize = 10_000;

/// Bodies that unpack stay within the bound, and what is packed unpacks to itself.
pub(super) fn body(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    for encoding in [Encoding::Gzip, Encoding::Identity, Encoding::Zstd] {
        if let Ok(text) = bodies::unpack(bytes.clone(), encoding, BOUND) {
            assert!(encoding == Encoding::Identity || text.len() <= BOUND);
        }
    }
    let text = bytes.slice(..bytes.len().min(BOUND));
    let Ok(plain) = bodies::unpack(text.clone(), Encoding::Identity, BOUND) else { return };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&text).expect("a vector takes bytes");
    let gzip = gzip.finish().expect("a vector takes bytes");
    let zstd = zstd::encode_all(&*text, 1).expect("bytes compress");
    for (packed, encoding) in [(gzip, Encoding::Gzip), (zstd, Encoding::Zstd)] {
        let unpacked = bodies::unpack(packed.into(), encoding, BOUND).expect("what was packed");
        assert_eq!(unpacked, plain);
    }
}

/// `METHOD /path?query`, then the body.
pub(super) fn request(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, body) = bytes.split_at(end);
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    let line = String::from_utf8_lossy(line);
    if let Ok(key) = page::key(&line) {
        assert_eq!(page::cursor(&key), line.to_ascii_lowercase());
    }
    assert_eq!(page::key(&page::cursor(&line)).ok().as_deref(), Some(&*line));
    for plus in [Plus::IsItself, Plus::IsSpace] {
        if let Ok(text) = decode(&line, plus) {
            assert!(text.len() <= line.len());
        }
    }
    let mut cells = String::new();
    page::csv_line(&mut cells, &[&line]);
    let cell = cells.trim_start_matches('"');
    assert!(!cell.starts_with(['=', '+', '-', '@', '\t']), "{cells:?} is a formula");
    let Some((method, target)) = line.split_once(' ') else { return };
    let Ok(method) = method.parse::<Method>() else { return };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Ok(matched) = route::find(&method, path) else { return };
    match call::parse(&matched, query, "", body) {
        Ok(call) => assert!(limit(&call).is_none_or(|limit| limit <= MAX_LIMIT)),
        Err(refused) => shown(&refused.to_string(), 4096),
    }
}

fn limit(call: &Call) -> Option<usize> {
    match call {
        Call::Certificates(query) => Some(query.limit),
        Call::Findings(query) => query.limit,
        Call::History(query) => Some(query.limit),
        Call::Nodes(query) => Some(query.limit),
        _ => None,
    }
}
