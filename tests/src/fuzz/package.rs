//! Package managers, their repositories, and what they leave behind that asks for a reboot.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use palisade_inspect::Entry;
use palisade_inspect::FileKind;
use palisade_inspect::Host;
use palisade_inspect::Metadata;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_inspect::reboot::deleted_files;
use palisade_inspect::reboot::flags as reboot_flags;
use palisade_inspect::reboot::rpm_log;
use palisade_inspect::updates;
use palisade_inspect::updates::apt;
use palisade_inspect::updates::apt::Change;
use palisade_inspect::updates::dpkg;
use palisade_inspect::updates::ini;
use palisade_inspect::updates::repositories;
use palisade_inspect::version;
use palisade_report::Moment;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_TEXT;
use palisade_report::section::sockets::Protocol;

use super::lines_of;
use super::shown;
use super::split;

/// Asserts the laws of a total order for three values.
pub(super) fn total_order<T: std::fmt::Debug>(
    a: &T,
    b: &T,
    c: &T,
    order: impl Fn(&T, &T) -> Ordering,
) {
    for (x, y, z) in [(a, b, c), (b, c, a), (c, a, b), (a, c, b), (b, a, c), (c, b, a)] {
        assert_eq!(order(x, x), Ordering::Equal, "{x:?}");
        assert_eq!(order(x, y), order(y, x).reverse(), "{x:?} and {y:?}");
        if order(x, y) == order(y, z) {
            assert_eq!(order(x, z), order(x, y), "{x:?}, {y:?}, {z:?}");
        }
        if order(x, y) == Ordering::Equal {
            assert_eq!(order(x, z), order(y, z), "{x:?} and {y:?} against {z:?}");
        }
    }
}

/// Three versions, one in each line.
pub(super) fn version_order(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let (Some(a), Some(b), Some(c)) = (lines.next(), lines.next(), lines.next()) else { return };
    for order in [version::dpkg, version::rpm, version::release] {
        total_order(&a, &b, &c, |a, b| order(a, b));
    }
    for release in [a, b, c] {
        // Of two releases of one kernel only the numbers differ, never the flavour.
        assert_eq!(version::flavour(release), version::flavour(release));
    }
}

/// One file, handed on in pieces of one size.
struct Pieces<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl Host for Pieces<'_> {
    fn nature(&self) -> Nature {
        Nature::Captured
    }

    fn read_with(
        &self,
        path: &str,
        _limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError> {
        self.bytes.chunks(self.size).for_each(sink);
        self.metadata(path)
    }

    fn metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        Ok(Metadata {
            kind: FileKind::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            modified_at: Moment::from_unix(0),
            resolved: path.to_owned(),
        })
    }

    fn link_metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.metadata(path)
    }

    fn read_link(&self, path: &str) -> Result<String, ReadError> {
        Err(ReadError::failed(path, WhyKind::Unsupported, "one file only"))
    }

    fn list(&self, path: &str, _limit: usize) -> Result<Vec<Entry>, ReadError> {
        Err(ReadError::failed(path, WhyKind::Unsupported, "one file only"))
    }

    fn socket_diag(&self, _protocol: Protocol) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::failed("", WhyKind::Unsupported, "one file only"))
    }

    fn write_locked(&self, path: &str) -> Result<bool, ReadError> {
        Err(ReadError::failed(path, WhyKind::Unsupported, "one file only"))
    }
}

/// The first byte says how large the pieces are; they do not matter.
pub(super) fn dpkg_status(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let whole = dpkg::parse_status(bytes);
    let pieces = Pieces { bytes, size: usize::from(*first) + 1 };
    assert_eq!(dpkg::read_status(&pieces).as_ref(), Ok(&whole));
    assert!(whole.half_done.len() <= 32 && whole.versions.len() <= 512);
    versions(&whole.versions);
    for package in &whole.half_done {
        shown(package, MAX_TEXT);
    }
}

fn versions(versions: &BTreeMap<String, String>) {
    for (package, version) in versions {
        assert!(dpkg::matters(package));
        shown(version, MAX_TEXT);
    }
}

pub(super) fn apk(bytes: &[u8]) {
    versions(&updates::parse_apk(bytes));
}

/// Settings that were understood are understood again when written in the one plain form.
pub(super) fn apt_conf(bytes: &[u8]) {
    let settings = apt::parse(bytes);
    lines_of(bytes, settings.iter().map(|setting| setting.line));
    let mut plain = String::new();
    let mut expected = Vec::new();
    for setting in settings {
        let name = setting.name;
        assert_eq!(name.to_ascii_lowercase(), name);
        let is_word = name.chars().all(|it| it.is_ascii_alphanumeric() || "-_:./".contains(it))
            && !name.contains("//")
            && !name.is_empty();
        let line = match &setting.change {
            Change::Clear => format!("#clear {name};\n"),
            Change::Set(value) if !value.contains(['"', '\\', '\n']) => {
                format!("{name} \"{value}\";\n")
            }
            Change::Set(_) => continue,
        };
        if is_word {
            plain.push_str(&line);
            expected.push((name, setting.change));
        }
    }
    let found: Vec<_> =
        apt::parse(plain.as_bytes()).into_iter().map(|it| (it.name, it.change)).collect();
    assert_eq!(found, expected, "{plain}");
}

pub(super) fn apt_sources(bytes: &[u8]) {
    lines_of(bytes, repositories::parse_list(bytes));
    lines_of(bytes, repositories::parse_stanzas(bytes));
}

pub(super) fn yum(bytes: &[u8]) {
    let parts = ini::parse(bytes);
    let mut text = String::new();
    for part in &parts {
        text.push_str(&format!("[{}]\n", part.name));
        for (key, value) in &part.keys {
            assert!(key.trim() == key && value.trim() == value);
            text.push_str(&format!("{key}={value}\n"));
            assert!(part.truth(key) != Some(true) || part.keys.contains_key(key));
        }
    }
    // A name of dnf has no bracket, and a key that starts with one would start a section.
    let odd = parts.iter().any(|part| {
        part.name.contains(['[', '\r'])
            || part.keys.keys().any(|key| key.starts_with(['[', '#', ';']))
    });
    if !odd && !text.contains('\r') {
        assert_eq!(ini::parse(text.as_bytes()), parts, "{text}");
    }
}

pub(super) fn dnf_log(bytes: &[u8]) {
    let mut found = BTreeMap::new();
    let mut later = BTreeMap::new();
    let since = Moment::from_unix(1_700_000_000);
    for line in bytes.split(|byte| *byte == b'\n') {
        rpm_log::parse_line(line, since, &mut found);
        rpm_log::parse_line(line, since.plus(86_400), &mut later);
        if let Some(stamp) = str::from_utf8(line).ok().and_then(|line| line.split(' ').next())
            && let Some(at) = rpm_log::parse_stamp(stamp)
        {
            // Years of four digits are all that a log has.
            assert_eq!(rpm_log::parse_stamp(&at.to_string()), Some(at), "{stamp}");
        }
    }
    assert!(found.len() <= 16);
    for (package, version) in &later {
        assert!(found.contains_key(package));
        shown(version, MAX_TEXT);
    }
}

pub(super) fn maps(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(path) = deleted_files::parse_mapping(line) {
            shown(&path, MAX_TEXT);
            assert!(line.ends_with(b" (deleted)") && path.starts_with('/'));
        }
    }
}

pub(super) fn flags(bytes: &[u8]) {
    for package in reboot_flags::parse_packages(bytes) {
        shown(&package, MAX_TEXT);
        assert!(!package.is_empty());
    }
    assert_eq!(reboot_flags::parse_level(bytes), reboot_flags::parse_level(bytes.trim_ascii()));
    for part in split(bytes) {
        assert_eq!(
            reboot_flags::parse_packages(part),
            reboot_flags::parse_packages(&[part, b"\n"].concat())
        );
    }
}
