//! Request bodies: bounded in time, in bytes as sent, and in bytes once decompressed.
//!
//! ```text
//! headers ─> Encoding ┐
//! frames ─deadline,cap┴─> bytes as sent ─cap, window─> JSON text ─nesting─> parsed in `call`
//! ```

use std::io::Read as _;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Body;
use hyper::body::Bytes;
use hyper::header::CONTENT_ENCODING;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderMap;
use palisade_report::canonical;

use super::limits::Limits;

/// How a body is packed; one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952, one member.
    Gzip,
    /// Not at all.
    Identity,
    /// RFC 8878, one frame.
    Zstd,
}

/// Base-2 logarithm of the largest zstd window: 8 MiB is what RFC 8878 asks a decoder to support,
/// and more lets a few bytes demand gigabytes.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Nesting of a request body: a section may have [`canonical::MAX_DEPTH`], and sits two levels deep.
const MAX_DEPTH: usize = canonical::MAX_DEPTH + 2;

/// Why a body was not taken. At fault: the peer.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Neither gzip, zstd nor plain, or more than one of them.
    #[error("send the body plain, or with exactly one content-encoding of gzip or zstd")]
    Encoding,
    /// A content type that is not JSON.
    #[error("send the body as application/json")]
    MediaType,
    /// Larger than the bound, as sent or once decompressed.
    #[error("the body exceeds {bound} bytes {form}")]
    TooLarge {
        /// The bound.
        bound: usize,
        /// `as sent` or `once decompressed`.
        form: &'static str,
    },
    /// Not complete in time.
    #[error("the body was not complete after {} ms", .0.as_millis())]
    TooSlow(Duration),
    /// The connection ended in the middle.
    #[error("the body ended before its announced length")]
    CutOff(#[source] hyper::Error),
    /// The packed bytes do not unpack.
    #[error("the body does not unpack as the content-encoding that it claims")]
    Corrupt(#[source] std::io::Error),
    /// Bytes after the end of the packed data.
    #[error("the body has bytes after the end of its packed data")]
    Trailing,
    /// Nested deeper than any message.
    #[error("the body is nested deeper than {MAX_DEPTH} levels")]
    Depth,
}

/// The encoding that the headers name, and a check that they do not call the body something else.
///
/// # Errors
/// [`BodyError::Encoding`] or [`BodyError::MediaType`].
pub fn encoding(headers: &HeaderMap) -> Result<Encoding, BodyError> {
    if let Some(media) = headers.get(CONTENT_TYPE) {
        let essence = media.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        if !essence.trim_ascii().eq_ignore_ascii_case(b"application/json") {
            return Err(BodyError::MediaType);
        }
    }
    let mut named = headers.get_all(CONTENT_ENCODING).iter();
    let Some(first) = named.next() else { return Ok(Encoding::Identity) };
    let word = first.as_bytes().trim_ascii().to_ascii_lowercase();
    match (word.as_slice(), named.next()) {
        (b"gzip", None) => Ok(Encoding::Gzip),
        (b"identity", None) => Ok(Encoding::Identity),
        (b"zstd", None) => Ok(Encoding::Zstd),
        _ => Err(BodyError::Encoding),
    }
}

/// Reads a body as sent. Bytes beyond the bound are never kept, those of an announced length
/// beyond it never read.
///
/// # Errors
/// [`BodyError::TooLarge`], [`BodyError::TooSlow`] or [`BodyError::CutOff`].
pub async fn receive<B>(mut body: B, limits: &Limits) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let bound = limits.body_bytes;
    let too_large = BodyError::TooLarge { bound, form: "as sent" };
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > bound) {
        return Err(too_large);
    }
    let all = async {
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::CutOff)?.into_data() else { continue };
            if all.len() + data.len() > bound {
                return Err(too_large);
            }
            all.extend_from_slice(&data);
        }
        Ok(Bytes::from(all))
    };
    let within = limits.body_timeout;
    tokio::time::timeout(within, all).await.unwrap_or(Err(BodyError::TooSlow(within)))
}

/// Unpacks a body and checks its nesting before anything recursive sees it.
///
/// # Errors
/// [`BodyError::TooLarge`], [`BodyError::Corrupt`], [`BodyError::Trailing`] or
/// [`BodyError::Depth`].
pub fn unpack(body: Bytes, encoding: Encoding, bound: usize) -> Result<Bytes, BodyError> {
    let text = match encoding {
        Encoding::Identity => body,
        Encoding::Gzip => {
            let mut decoder = flate2::bufread::GzDecoder::new(&*body);
            let text = read_bounded(&mut decoder, bound)?;
            if !decoder.into_inner().is_empty() {
                return Err(BodyError::Trailing);
            }
            text
        }
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&*body)
                .map_err(BodyError::Corrupt)?
                .single_frame();
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(BodyError::Corrupt)?;
            let text = read_bounded(&mut decoder, bound)?;
            if !decoder.finish().is_empty() {
                return Err(BodyError::Trailing);
            }
            text
        }
    };
    if is_deeper_than(&text, MAX_DEPTH) { Err(BodyError::Depth) } else { Ok(text) }
}

fn read_bounded(from: &mut impl std::io::Read, bound: usize) -> Result<Bytes, BodyError> {
    // At once: growing by doubling would touch four times as much, and each piece of it stays with
    // the allocator for a while. Pages that are not written cost nothing.
    let mut text = Vec::with_capacity(bound.saturating_add(1));
    let one_more = u64::try_from(bound).unwrap_or(u64::MAX).saturating_add(1);
    from.take(one_more).read_to_end(&mut text).map_err(BodyError::Corrupt)?;
    if text.len() > bound {
        return Err(BodyError::TooLarge { bound, form: "once decompressed" });
    }
    Ok(text.into())
}

/// Whether JSON text nests deeper than `bound`; text that is no JSON may be answered either way.
fn is_deeper_than(text: &[u8], bound: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > bound {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const BOUND: usize = 1 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 19).unwrap()
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let text = br#"{"a":"b"}"#;
        for (packed, encoding) in [
            (text.to_vec(), Encoding::Identity),
            (gzip(text), Encoding::Gzip),
            (zstd(text), Encoding::Zstd),
        ] {
            assert_eq!(unpack(packed.into(), encoding, BOUND).unwrap(), &text[..]);
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound_and_just_below_it_is_taken() {
        let zeros = vec![b' '; BOUND + 1];
        for (pack, encoding) in
            [(gzip as fn(&[u8]) -> Vec<u8>, Encoding::Gzip), (zstd, Encoding::Zstd)]
        {
            let refused = unpack(pack(&zeros).into(), encoding, BOUND).unwrap_err();
            assert!(matches!(refused, BodyError::TooLarge { bound: BOUND, .. }), "{refused}");
            assert_eq!(unpack(pack(&zeros[1..]).into(), encoding, BOUND).unwrap().len(), BOUND);
        }
    }

    #[test]
    fn a_wide_zstd_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.write_all(b"{}").unwrap();
        let packed = encoder.finish().unwrap();
        let refused = unpack(packed.into(), Encoding::Zstd, BOUND).unwrap_err();
        assert!(matches!(refused, BodyError::Corrupt(_)), "{refused}");
    }

    #[test]
    fn cut_and_trailing_bytes_are_refused() {
        for (packed, encoding) in [(gzip(b"{}"), Encoding::Gzip), (zstd(b"{}"), Encoding::Zstd)] {
            let cut = packed[..packed.len() - 3].to_vec();
            let refused = unpack(cut.into(), encoding, BOUND).unwrap_err();
            assert!(matches!(refused, BodyError::Corrupt(_)), "{encoding:?} {refused}");
            let twice = [packed.clone(), packed].concat();
            let refused = unpack(twice.into(), encoding, BOUND).unwrap_err();
            assert!(matches!(refused, BodyError::Trailing), "{encoding:?} {refused}");
        }
    }

    #[test]
    fn nesting_is_counted_outside_strings_only() {
        let deep = "[".repeat(MAX_DEPTH + 1);
        let refused = unpack(deep.clone().into(), Encoding::Identity, BOUND).unwrap_err();
        assert!(matches!(refused, BodyError::Depth));
        let text = format!(r#"{{"a\"":"{deep}"}}"#);
        assert!(unpack(text.into(), Encoding::Identity, BOUND).is_ok());
        assert!(unpack("[]".repeat(100).into(), Encoding::Identity, BOUND).is_ok());
    }

    #[test]
    fn only_one_known_encoding_is_taken() {
        let named = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            encoding(&headers)
        };
        assert_eq!(named(&[]).unwrap(), Encoding::Identity);
        assert_eq!(named(&["GZIP"]).unwrap(), Encoding::Gzip);
        for bad in [&["gzip, zstd"][..], &["gzip", "gzip"], &["br"], &[""]] {
            assert!(matches!(named(bad), Err(BodyError::Encoding)), "{bad:?}");
        }
    }
}
