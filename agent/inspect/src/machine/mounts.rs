//! Mounts of process 1 at the places that rules ask about, and the control group hierarchy.
//!
//! `/proc/1/mountinfo` is always live, unlike what a pod sees through its own mounts. It is walked
//! line by line: a node with many pods has thousands of mounts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use palisade_report::section::host::CgroupVersion;
use palisade_report::section::host::Mount;

use crate::Host;
use crate::Interest;
use crate::lines;

const PATH: &str = "/proc/1/mountinfo";

const CGROUP: &str = "/sys/fs/cgroup";

/// Options with a value that tell how strict a mount is; sizes and ids differ between machines.
const VALUED: [&str; 5] = ["data=", "errors=", "hidepid=", "mode=", "subset="];

/// Options that one mount may have; file systems know some dozens.
const MAX_OPTIONS: usize = 64;

/// Reads the mounts of interest and the version of control groups.
pub(super) fn read(
    host: &dyn Host,
    interest: &Interest,
    distrust: Option<&Why>,
) -> (Reading<BTreeMap<String, Mount>>, Reading<CgroupVersion>) {
    let origin = Origin::path(PATH);
    let unknown = |why: Why| {
        (Reading::unknown(why.clone(), origin.clone()), Reading::unknown(why, origin.clone()))
    };
    if let Some(why) = distrust {
        return unknown(why.clone());
    }
    let mut mounts = BTreeMap::new();
    let mut cgroup = None;
    let mut malformed = 0_usize;
    let read = lines::read(host, PATH, &mut |line| match parse_line(line) {
        Some((point, mount)) => {
            if point == CGROUP {
                cgroup = Some(match mount.kind.as_str() {
                    "cgroup2" => CgroupVersion::V2,
                    _ => CgroupVersion::V1,
                });
            }
            if interest.mounts.contains(&point) {
                mounts.insert(point, mount);
            }
        }
        None => malformed = malformed.saturating_add(1),
    });
    match read {
        Ok(0) if malformed == 0 => {}
        Ok(_) => {
            let detail = format!("{PATH} has lines that are not as proc_pid_mountinfo(5) says");
            return unknown(Why::new(WhyKind::Malformed, detail));
        }
        // A host without mounts does not exist, so a missing table is no answer.
        Err(error) => return unknown(error.why()),
    }
    let cgroup = match cgroup {
        Some(version) => Reading::known(version, origin.clone()),
        None => Reading::absent(origin.clone()),
    };
    (Reading::known(mounts, origin), cgroup)
}

/// A mount point and its mount, out of a line of mountinfo.
///
/// Shape: `id parent major:minor root point options [tags…] - type source super-options`; white
/// space and backslashes as octal escapes. Bytes that are not UTF-8 read as U+FFFD. Source: proc_pid_mountinfo(5).
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<(String, Mount)> {
    // Any user may mount at a path that is not UTF-8; that must not hide the other mounts.
    let text = String::from_utf8_lossy(line);
    let (before, after) = text.split_once(" - ")?;
    let mut before = before.split(' ').skip(4);
    let (point, per_mount) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, _, of_file_system) = (after.next()?, after.next()?, after.next().unwrap_or(""));
    let mut options: BTreeSet<String> = per_mount
        .split(',')
        .chain(of_file_system.split(','))
        .filter(|option| !option.is_empty())
        .filter(|option| {
            !option.contains('=') || VALUED.iter().any(|valued| option.starts_with(valued))
        })
        .take(MAX_OPTIONS)
        .map(|option| clean(option.as_bytes(), MAX_TEXT))
        .collect();
    // Either of the two makes it so.
    if options.contains("ro") {
        options.remove("rw");
    }
    let point = String::from_utf8_lossy(&unescape(point.as_bytes())).into_owned();
    Some((point, Mount { kind: clean(kind.as_bytes(), MAX_TEXT), options }))
}

/// The bytes behind octal escapes as the kernel's tables have them: `\040` is a space.
#[must_use]
pub fn unescape(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'\\') {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match (*first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    Cow::Owned(out)
}
