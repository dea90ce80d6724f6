//! The operating system's own description: os-release(5).

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use palisade_report::section::host::OperatingSystem;

use crate::Host;
use crate::ReadError;
use crate::host::MAX_CONFIG;

/// Where it may be; the first that exists counts.
const PATHS: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Words that `ID_LIKE` may have.
const MAX_LIKE: usize = 16;

/// Reads it.
pub(super) fn read(host: &dyn Host) -> Reading<OperatingSystem> {
    for path in PATHS {
        match host.read(path, MAX_CONFIG) {
            Ok(contents) => return Reading::known(parse(&contents.bytes), Origin::path(path)),
            Err(ReadError::NotFound { .. }) => {}
            Err(error @ ReadError::Failed { .. }) => return error.reading(),
        }
    }
    Reading::absent(Origin::words("/etc/os-release, /usr/lib/os-release"))
}

/// The description; what is not given has os-release(5)'s own default.
///
/// Shape: shell assignments, the last one of a name counts; every text at most [`MAX_TEXT`] bytes.
#[must_use]
pub fn parse(bytes: &[u8]) -> OperatingSystem {
    let mut os = OperatingSystem {
        id: "linux".to_owned(),
        id_like: Vec::new(),
        version: String::new(),
        name: "Linux".to_owned(),
        variant: None,
    };
    for line in bytes.split(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_ascii();
        let Some((name, value)) = text.split_once('=') else { continue };
        let value = clean(unquote(value).as_bytes(), MAX_TEXT);
        match name {
            "ID" => os.id = value,
            "ID_LIKE" => {
                let words = value.split_ascii_whitespace().take(MAX_LIKE);
                os.id_like = words.map(str::to_owned).collect();
            }
            "PRETTY_NAME" => os.name = value,
            "VARIANT_ID" => os.variant = Some(value),
            "VERSION_ID" => os.version = value,
            _ => {}
        }
    }
    os
}

/// A value without its shell quotes and escapes.
fn unquote(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let mut out = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.extend(characters.next()),
            other => out.push(other),
        }
    }
    out
}
