//! dpkg's database: versions of the packages that matter on a node, and packages left half done.
//!
//! The database is a stream of stanzas, see dpkg(1) `status`. It has megabytes; what is kept of it
//! has a few hundred bytes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::bound::clean_text;

use crate::Host;
use crate::ReadError;
use crate::lines::Lines;

/// The database.
pub const STATUS: &str = "/var/lib/dpkg/status";

/// What dpkg writes while it works, one numbered file for each change; normally empty.
pub const UPDATES: &str = "/var/lib/dpkg/updates";

/// Bytes of the database; 10,000 packages have about 10 MiB.
const MAX_STATUS: usize = 64 * 1024 * 1024;

/// Numbered files in [`UPDATES`] that are read; dpkg merges them after 250.
const MAX_UPDATES: usize = 1000;

/// Bytes of one numbered file: one stanza.
const MAX_UPDATE: usize = 1024 * 1024;

/// Packages that are kept; a node has about 30 of those in [`matters`].
const MAX_PACKAGES: usize = 512;

/// Half-done packages that are kept.
const MAX_HALF_DONE: usize = 32;

/// Packages whose version rules and people ask for, on any distribution.
const NAMES: [&str; 44] = [
    "amd64-microcode",
    "apparmor",
    "apt",
    "audit",
    "auditd",
    "chrony",
    "containerd",
    "containerd.io",
    "cri-o",
    "cri-tools",
    "crun",
    "dbus",
    "dnf-automatic",
    "docker-ce",
    "docker.io",
    "dpkg",
    "etcd",
    "etcd-server",
    "glibc",
    "grub-common",
    "intel-microcode",
    "iptables",
    "kubeadm",
    "kubectl",
    "kubelet",
    "kubernetes-cni",
    "libc6",
    "libssl1.1",
    "libssl3",
    "libssl3t64",
    "musl",
    "needrestart",
    "nftables",
    "openssh",
    "openssh-server",
    "openssl",
    "podman",
    "runc",
    "sudo",
    "systemd",
    "systemd-timesyncd",
    "ubuntu-advantage-tools",
    "unattended-upgrades",
    "update-notifier-common",
];

/// Whether rules or people ask for this package: the runtime, the kubelet, kernels, core libraries.
#[must_use]
pub fn matters(package: &str) -> bool {
    NAMES.contains(&package)
        || package.starts_with("linux-image-")
        || package.starts_with("linux-lts")
        || package.starts_with("linux-virt")
}

/// What the database says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Versions of installed packages that [`matters`] accepts.
    pub versions: BTreeMap<String, String>,
    /// Packages that are unpacked but not configured, or wait for triggers; at most 32.
    pub half_done: BTreeSet<String>,
}

/// Reads stanzas line by line.
#[derive(Debug, Default)]
struct Stanzas {
    status: Status,
    package: String,
    version: String,
    state: String,
}

impl Stanzas {
    fn line(&mut self, line: &[u8]) {
        match line.first() {
            None => self.end(),
            Some(b'P' | b'S' | b'V') => {
                for (key, field) in [
                    (b"Package: ".as_slice(), &mut self.package),
                    (b"Status: ".as_slice(), &mut self.state),
                    (b"Version: ".as_slice(), &mut self.version),
                ] {
                    if let Some(value) = line.strip_prefix(key) {
                        *field = String::from_utf8_lossy(value.trim_ascii()).into_owned();
                    }
                }
            }
            Some(_) => {}
        }
    }

    /// Ends a stanza. The third word of `Status` is the state: `install ok installed`.
    fn end(&mut self) {
        let package = std::mem::take(&mut self.package);
        let version = std::mem::take(&mut self.version);
        let words = std::mem::take(&mut self.state);
        match words.split_ascii_whitespace().nth(2) {
            Some("half-configured" | "half-installed" | "triggers-pending" | "unpacked")
                if self.status.half_done.len() < MAX_HALF_DONE =>
            {
                self.status.half_done.insert(clean_text(&package));
            }
            Some("installed" | "triggers-awaited" | "triggers-pending")
                if matters(&package) && self.status.versions.len() < MAX_PACKAGES =>
            {
                self.status.versions.insert(clean_text(&package), clean_text(&version));
            }
            Some(_) | None => {}
        }
    }
}

/// Reads a database from bytes.
#[must_use]
pub fn parse_status(bytes: &[u8]) -> Status {
    let (mut lines, mut stanzas) = (Lines::default(), Stanzas::default());
    lines.feed(bytes, &mut |line| stanzas.line(line));
    // A line too long for us belongs to none of the three fields.
    lines.finish(&mut |line| stanzas.line(line));
    stanzas.end();
    stanzas.status
}

/// Reads the database of a host, piece by piece.
///
/// # Errors
/// As [`Host::read_with`]; not found where there is no dpkg.
pub fn read_status(host: &dyn Host) -> Result<Status, ReadError> {
    let (mut lines, mut stanzas) = (Lines::default(), Stanzas::default());
    host.read_with(STATUS, MAX_STATUS, &mut |piece| {
        lines.feed(piece, &mut |line| stanzas.line(line));
    })?;
    lines.finish(&mut |line| stanzas.line(line));
    stanzas.end();
    Ok(stanzas.status)
}

/// Reads the names of the packages that dpkg was changing when it last wrote its journal; empty
/// when it ended in order.
///
/// # Errors
/// As [`Host::list`].
pub fn read_journal(host: &dyn Host) -> Result<BTreeSet<String>, ReadError> {
    let entries = match host.list(UPDATES, MAX_UPDATES) {
        Ok(entries) => entries,
        Err(ReadError::NotFound { .. }) => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let mut packages = BTreeSet::new();
    for entry in entries {
        if packages.len() == MAX_HALF_DONE || !entry.name.bytes().all(|byte| byte.is_ascii_digit())
        {
            continue;
        }
        let contents = match host.read(&format!("{UPDATES}/{}", entry.name), MAX_UPDATE) {
            Ok(contents) => contents,
            Err(ReadError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        let name = contents.bytes.split(|byte| *byte == b'\n').find_map(|line| {
            line.strip_prefix(b"Package: ").map(|name| String::from_utf8_lossy(name).into_owned())
        });
        packages.insert(clean_text(&name.unwrap_or_else(|| format!("journal {}", entry.name))));
    }
    Ok(packages)
}
