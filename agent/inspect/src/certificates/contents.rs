//! A file with certificates: PEM with several blocks, or DER.
//!
//! One bad block does not hide the good ones. CRLs, parameters and public keys are passed over;
//! private keys give up their public half and nothing else.

use palisade_report::Why;
use palisade_report::WhyKind;

use super::der;
use super::der::Reader;
use super::half;
use super::half::Half;
use super::key;
use super::pem;
use super::pem::Block;
use super::pem::Ending;
use super::secret::Secret;
use super::x509;
use super::x509::Parsed;

/// Certificates of one file that are read; the largest public bundles hold about 150.
pub const MAX_CERTIFICATES: usize = 512;

/// Blocks of one file that are looked at, of any kind.
const MAX_BLOCKS: usize = 4 * MAX_CERTIFICATES;

/// Malformed blocks of one file that are named; more of them say nothing new.
const MAX_MALFORMED: usize = 16;

/// Private keys of one file that are looked at.
const MAX_KEYS: usize = 4;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Found {
    /// Its certificates in their order.
    pub certificates: Vec<Parsed>,
    /// What could not be read, or only leniently.
    pub malformed: Vec<Why>,
    /// The public halves of private keys in it.
    pub keys: Vec<Result<Half, Why>>,
}

impl Found {
    fn note(&mut self, kind: WhyKind, detail: impl AsRef<str>) {
        if self.malformed.len() < MAX_MALFORMED {
            self.malformed.push(Why::new(kind, detail));
        }
    }

    fn certificate(&mut self, place: &str, bytes: &[u8]) {
        if bytes.len() > pem::MAX_BLOCK {
            self.note(
                WhyKind::TooLarge,
                format!("{place} is larger than {} bytes", pem::MAX_BLOCK),
            );
            return;
        }
        match x509::parse(bytes) {
            Ok(mut parsed) => {
                if let Some(doubt) = &parsed.doubt {
                    self.note(WhyKind::Malformed, format!("{place}: {doubt}"));
                }
                // At most MAX_CERTIFICATES, so it fits.
                parsed.facts.index = u32::try_from(self.certificates.len()).unwrap_or(u32::MAX);
                self.certificates.push(parsed);
            }
            Err(error) => self.note(WhyKind::Malformed, format!("{place}: {error}")),
        }
    }

    fn block(&mut self, place: &str, block: &Block<'_>) {
        match block.label {
            b"CERTIFICATE" | b"X509 CERTIFICATE" | b"TRUSTED CERTIFICATE" => {
                match (block.decode(), block.ending) {
                    (Some(bytes), _) => {
                        let trailing = block.label != b"TRUSTED CERTIFICATE" && has_more(&bytes);
                        if trailing {
                            self.note(WhyKind::Malformed, format!("{place}: bytes after it"));
                        }
                        self.certificate(place, &bytes);
                    }
                    (None, Ending::Cut) => {
                        self.note(WhyKind::Malformed, format!("{place}: has no end of its own"));
                    }
                    (None, Ending::Proper) => {
                        let limit = pem::MAX_BLOCK;
                        let detail = format!("{place}: no base64 of at most {limit} bytes");
                        self.note(WhyKind::Malformed, detail);
                    }
                }
            }
            label if is_key(label) && self.keys.len() < MAX_KEYS => {
                self.keys.push(private_key(block));
            }
            _ => {}
        }
    }
}

/// Reads the certificates of a file.
///
/// # Errors
/// `malformed` if the file is empty or holds no certificate at all, `unsupported` for key stores.
pub fn parse(bytes: &[u8]) -> Result<Found, Why> {
    let mut found = Found::default();
    if bytes.trim_ascii().is_empty() {
        return Err(Why::new(WhyKind::Malformed, "the file is empty"));
    }
    let mut blocks = 0;
    for block in pem::parse(bytes) {
        if found.certificates.len() == MAX_CERTIFICATES || blocks == MAX_BLOCKS {
            let detail = format!("only the first {MAX_CERTIFICATES} certificates are read");
            // Said first, so that it is not lost among malformed blocks.
            found.malformed.insert(0, Why::new(WhyKind::TooLarge, detail));
            return Ok(found);
        }
        found.block(&format!("block {blocks}"), &block);
        blocks += 1;
    }
    if blocks == 0 {
        if let Some(why) = key_store(bytes) {
            return Err(why);
        }
        if bytes.first() == Some(&der::SEQUENCE) {
            if has_more(bytes) {
                found.note(WhyKind::Malformed, "bytes after the certificate");
            }
            found.certificate("the file", bytes);
        }
    }
    if found.certificates.is_empty() && found.malformed.is_empty() {
        return Err(Why::new(WhyKind::Malformed, "the file holds no certificate"));
    }
    Ok(found)
}

/// The public halves of the private keys of a file: PEM, or DER.
#[must_use]
pub fn parse_keys(bytes: &[u8]) -> Vec<Result<Half, Why>> {
    let blocks = pem::parse(bytes).take(MAX_BLOCKS);
    let keys: Vec<_> = blocks.filter(|block| is_key(block.label)).take(MAX_KEYS).collect();
    if keys.is_empty() && bytes.first() == Some(&der::SEQUENCE) {
        return vec![key::parse_private(bytes).map(|public| Half::of(&public))];
    }
    keys.iter().map(private_key).collect()
}

/// Whether a block with this label is a private key, or stands for one.
fn is_key(label: &[u8]) -> bool {
    label.ends_with(b"PRIVATE KEY") || label == half::LABEL
}

/// What of the private key in a block is compared.
///
/// # Errors
/// Why it cannot be compared.
pub fn private_key(block: &Block<'_>) -> Result<Half, Why> {
    if block.label == half::LABEL {
        return half::read(block);
    }
    if block.is_encrypted() || block.label == b"ENCRYPTED PRIVATE KEY" {
        return Err(half::encrypted());
    }
    let bytes = Secret::new(block.decode().ok_or_else(half::malformed)?);
    key::parse_private(bytes.bytes()).map(|public| Half::of(&public))
}

/// Whether something follows the first element.
fn has_more(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    reader.take().is_some() && !reader.rest().is_empty()
}

/// Key stores are told apart so that the reason is right; their contents are not read.
fn key_store(bytes: &[u8]) -> Option<Why> {
    let java = bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed])
        || bytes.starts_with(&[0xce, 0xce, 0xce, 0xce]);
    // PFX ::= SEQUENCE { version INTEGER (3), … } (RFC 7292)
    let outer = Reader::new(bytes).take_tag(der::SEQUENCE);
    let version = outer.and_then(|outer| outer.inside().take_tag(der::INTEGER));
    let pfx = version.is_some_and(|version| version.content == [3]);
    let kind = match (java, pfx) {
        (true, _) => "Java key store",
        (false, true) => "PKCS#12 key store",
        (false, false) => return None,
    };
    Some(Why::new(WhyKind::Unsupported, format!("a {kind}, which is not read")))
}

#[cfg(test)]
mod tests;
