//! What the rebooter remembers over its own end and the machine's: the highest epoch, the grants that
//! were used, when it last acted, and which node it is.
//!
//! One JSON file in a directory of its own on the host. It is replaced as a whole, and the file and
//! then the directory are synced, before anything is done: a grant that may have been used counts as
//! used.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use palisade_report::BootId;
use palisade_report::Grant;
use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::grant::GrantId;
use palisade_report::grant::RequestUid;
use serde::Deserialize;
use serde::Serialize;

use crate::send::read_bounded;

/// Grants that are remembered of one boot. With the default floor there is one a day.
pub(super) const MAX_USED: usize = 64;

/// Bytes that the file may have: several times what is ever written.
const MAX_FILE: u64 = 64 * 1024;

/// The file's name in its directory.
const NAME: &str = "reboots.json";

/// The name while it is written.
const NEW: &str = "reboots.json.new";

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The highest epoch of a true grant for this node.
    pub epoch: u64,
    /// The UID of the node, pinned by the first grant that was carried out.
    pub node: Option<NodeUid>,
    /// The last attempt to reboot.
    pub last: Option<Deed>,
    /// Grants that were used in the boot of `last`; those of older boots are void.
    pub used: Vec<GrantId>,
}

/// An attempt to reboot. Whether it came to a boot, only the next boot id tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// The boot that it was to end.
    pub boot: BootId,
    /// When, by the wall clock.
    pub at: Moment,
    /// When, in ms of that boot.
    pub since_boot_ms: u64,
    /// By which grant.
    pub grant: GrantId,
    /// For which request.
    pub request: RequestUid,
}

impl Deed {
    /// How long ago it is at least.
    ///
    /// In the same boot the boot's clock tells. In another one the node is up for less than that, so
    /// the larger of uptime and difference of wall clocks; one that was set back tells nothing.
    #[must_use]
    pub fn past(&self, boot: &BootId, since_boot: Duration, now: Moment) -> Duration {
        if *boot == self.boot {
            return since_boot.saturating_sub(Duration::from_millis(self.since_boot_ms));
        }
        let by_wall_clock = now.unix().saturating_sub(self.at.unix());
        let by_wall_clock = Duration::from_secs(u64::try_from(by_wall_clock).unwrap_or_default());
        since_boot.max(by_wall_clock)
    }
}

/// The record cannot be read or written. At fault: the directory's mount, or its disk.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not what was written.
    #[error("failed to understand {}; remove it if you know why", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The kernel refused.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("failed to write {} and have it synced", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Record {
    /// The grants that were used in `boot`.
    #[must_use]
    pub fn used(&self, boot: &BootId) -> &[GrantId] {
        match &self.last {
            Some(last) if last.boot == *boot => &self.used,
            Some(_) | None => &[],
        }
    }

    /// The record after `grant` was used.
    #[must_use]
    pub fn after(&self, grant: &Grant, since_boot: Duration, now: Moment) -> Self {
        let mut used = self.used(&grant.boot).to_vec();
        used.push(grant.id);
        Self {
            epoch: self.epoch.max(grant.epoch),
            node: Some(grant.node.clone()),
            last: Some(Deed {
                boot: grant.boot.clone(),
                at: now,
                since_boot_ms: u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX),
                grant: grant.id,
                request: grant.request,
            }),
            used,
        }
    }

    /// The record in `directory`; an empty one if nothing was ever written there.
    ///
    /// # Errors
    /// [`RecordError`]: the directory is not there, or the file cannot be read or understood.
    pub fn load(directory: &Path) -> Result<Self, RecordError> {
        let path = directory.join(NAME);
        match read_bounded(&path, MAX_FILE) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| RecordError::Parse { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Absent in a directory, or without one: only the first is an empty record.
                fs::read_dir(directory)
                    .map(|_| Self::default())
                    .map_err(|source| RecordError::Read { path: directory.to_owned(), source })
            }
            Err(source) => Err(RecordError::Read { path, source }),
        }
    }

    /// Writes the record to `directory`. When this returns, it outlives a loss of power.
    ///
    /// # Errors
    /// [`RecordError::Write`]; the former record is there then, or the new one.
    pub fn store(&self, directory: &Path) -> Result<(), RecordError> {
        let path = directory.join(NAME);
        let write = || {
            let new = directory.join(NEW);
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            let mut bytes = serde_json::to_vec(self)?;
            bytes.push(b'\n');
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|source| RecordError::Write { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";
    const NEXT: &str = "1f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";

    fn deed() -> Deed {
        Deed {
            boot: BOOT.parse().unwrap(),
            at: Moment::from_unix(1_000_000),
            since_boot_ms: 700_000,
            grant: GrantId::from_bytes([1; 16]),
            request: RequestUid::from_bytes([2; 16]),
        }
    }

    #[test]
    fn what_is_stored_is_loaded_and_what_is_damaged_is_not_empty() {
        let directory =
            std::env::temp_dir().join(format!("palisade-record-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        assert_eq!(Record::load(&directory).unwrap(), Record::default());
        let record = Record {
            epoch: 7,
            node: Some("uid-1".parse().unwrap()),
            last: Some(deed()),
            used: vec![GrantId::from_bytes([1; 16])],
        };
        record.store(&directory).unwrap();
        record.store(&directory).unwrap();
        assert_eq!(Record::load(&directory).unwrap(), record);
        fs::write(directory.join(NAME), b"").unwrap();
        assert!(matches!(Record::load(&directory), Err(RecordError::Parse { .. })));
        fs::remove_dir_all(&directory).unwrap();
        assert!(matches!(Record::load(&directory), Err(RecordError::Read { .. })));
        assert!(matches!(record.store(&directory), Err(RecordError::Write { .. })));
    }

    #[test]
    fn an_attempt_is_as_long_ago_as_some_clock_can_prove() {
        let past = |boot: &str, since_boot, now| {
            deed().past(
                &boot.parse().unwrap(),
                Duration::from_secs(since_boot),
                Moment::from_unix(now),
            )
        };
        // The same boot: its clock, whatever the wall clock says.
        assert_eq!(past(BOOT, 760, 9_000_000), Duration::from_secs(60));
        // Another one: whichever proves more; a clock that was set back proves nothing.
        assert_eq!(past(NEXT, 60, 1_000_300), Duration::from_secs(300));
        assert_eq!(past(NEXT, 60, 500), Duration::from_secs(60));
        assert_eq!(past(NEXT, 90_000, 1_000_300), Duration::from_secs(90_000));
    }
}
