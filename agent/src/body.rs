//! Bodies: sections packed so that each body stays below both of the collector's bounds.

use std::collections::BTreeMap;
use std::io;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use palisade_report::BootId;
use palisade_report::Sealed;
use palisade_report::SectionName;
use palisade_report::wire::MAX_BODY;
use palisade_report::wire::MAX_DECODED_BODY;
use palisade_report::wire::Upload;

use crate::send::Encoding;

/// A body could not be written. At fault: us.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The encoder failed; it writes to memory.
    #[error("failed to compress the body")]
    Compress(#[source] io::Error),
    /// The message has no JSON form.
    #[error("failed to write the message as JSON")]
    Json(#[source] serde_json::Error),
}

/// A body as sent.
#[derive(Debug)]
pub struct Encoded {
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether the collector would take it: within [`MAX_BODY`] as sent and [`MAX_DECODED_BODY`]
    /// once decompressed.
    pub fits: bool,
}

/// The body that brings `names` of the report up.
///
/// # Errors
/// [`EncodeError`]; none of its cases is expected.
pub fn upload(
    sealed: &Sealed,
    boot_id: &BootId,
    names: &[SectionName],
    encoding: Encoding,
) -> Result<Encoded, EncodeError> {
    let sections: BTreeMap<_, _> = names
        .iter()
        .filter_map(|name| Some((name.as_str().to_owned(), sealed.section(*name)?)))
        .collect();
    let upload = Upload { report: sealed.manifest().digest(), boot_id: boot_id.clone(), sections };
    let plain = serde_json::to_vec(&upload).map_err(EncodeError::Json)?;
    let plain_fits = plain.len() <= MAX_DECODED_BODY;
    let bytes = match encoding {
        Encoding::Identity => plain,
        Encoding::Gzip => gzip(&plain).map_err(EncodeError::Compress)?,
    };
    let fits = plain_fits && bytes.len() <= MAX_BODY;
    Ok(Encoded { bytes: bytes.into(), fits })
}

fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use palisade_report::Report;
    use palisade_report::Section;
    use palisade_report::Why;
    use palisade_report::WhyKind;

    use super::*;

    #[test]
    fn an_upload_carries_the_sealed_bytes() {
        let why = Why::new(WhyKind::Io, "x");
        let report = Report { kernel: Some(Section::Unknown { why }), ..Report::default() };
        let sealed = report.seal().unwrap();
        let boot_id = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap();
        let names = [SectionName::Kernel, SectionName::Files];
        let body = upload(&sealed, &boot_id, &names, Encoding::Gzip).unwrap();
        assert!(body.fits);
        let mut text = String::new();
        GzDecoder::new(&*body.bytes).read_to_string(&mut text).unwrap();
        let plain = upload(&sealed, &boot_id, &names, Encoding::Identity).unwrap();
        assert_eq!(text.as_bytes(), &*plain.bytes);
        let upload: Upload<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(upload.sections.len(), 1, "a section that is not there is not invented");
        let kernel = sealed.section(SectionName::Kernel).unwrap();
        assert_eq!(upload.sections["kernel"].get(), kernel.get());
    }
}
