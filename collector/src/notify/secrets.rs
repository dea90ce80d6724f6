//! Secrets from files, read again and again: what a file holds now is what is used next. A file that
//! holds nothing usable any more costs nothing but a word: what it held before stays in use.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use nix::fcntl::OFlag;
use palisade_alert::secret::Secret;

/// Bytes of a secret; the longest are tokens of some thousand.
pub const MAX_SECRET: u64 = 64 * 1024;

/// Why the content of a file is not used. At fault: the file, or whoever named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Nothing but white space.
    #[error("it is empty")]
    Empty,
    /// There is no such file.
    #[error("it is missing")]
    Missing,
    /// Several lines, other control characters, or no UTF-8.
    #[error("it is not one line of text")]
    NotALine,
    /// A directory, a pipe, a device.
    #[error("it is no regular file")]
    NotRegular,
    /// The system does not let it be read.
    #[error("it cannot be read: {0}")]
    Read(io::ErrorKind),
    /// More than any secret has.
    #[error("it is larger than {MAX_SECRET} bytes")]
    TooLarge,
    /// No certificates where there should be some.
    #[error("it holds no certificates, or something else")]
    NoCertificates,
}

/// A file whose present content is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to use {}: {why}", file.display())]
pub struct Trouble {
    /// The file.
    pub file: PathBuf,
    /// Why not.
    pub why: Unusable,
}

/// The secrets of all files that are named somewhere.
#[derive(Debug, Default)]
pub struct Secrets {
    files: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    value: Option<Secret>,
    trouble: Option<Unusable>,
}

impl Secrets {
    /// From now on these files. What is known of those that stay is kept; others are forgotten.
    /// Reads them all: [`Self::reload`].
    pub fn follow(&mut self, files: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
        let mut before = std::mem::take(&mut self.files);
        for file in files {
            let entry = before.remove(&file).unwrap_or_default();
            self.files.insert(file, entry);
        }
        self.reload()
    }

    /// Reads all files again, and gives those whose secret is another one than before.
    pub fn reload(&mut self) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for (file, entry) in &mut self.files {
            match read_secret(file) {
                Ok(secret) => {
                    entry.trouble = None;
                    if entry.value.as_ref() != Some(&secret) {
                        entry.value = Some(secret);
                        changed.push(file.clone());
                    }
                }
                Err(why) => entry.trouble = Some(why),
            }
        }
        changed
    }

    /// What `file` held when it was last usable.
    #[must_use]
    pub fn secret(&self, file: &Path) -> Option<&Secret> {
        self.files.get(file)?.value.as_ref()
    }

    /// The files whose content is not used at present.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let troubles = self.files.iter().filter_map(|(file, entry)| {
            entry.trouble.map(|why| Trouble { file: file.clone(), why })
        });
        troubles.collect()
    }
}

fn read_secret(file: &Path) -> Result<Secret, Unusable> {
    let bytes = read_regular(file, MAX_SECRET)?;
    let text = String::from_utf8(bytes).map_err(|_| Unusable::NotALine)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Unusable::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(Unusable::NotALine);
    }
    Ok(Secret::new(text))
}

/// At most `max` bytes of a regular file, which is never waited for.
pub(super) fn read_regular(file: &Path, max: u64) -> Result<Vec<u8>, Unusable> {
    let cannot = |error: io::Error| {
        let kind = error.kind();
        if kind == io::ErrorKind::NotFound { Unusable::Missing } else { Unusable::Read(kind) }
    };
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(file).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(Unusable::NotRegular);
    }
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(cannot)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
        return Err(Unusable::TooLarge);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::slice;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn a_secret_is_trimmed_followed_and_not_shown() {
        let scratch = Scratch::new();
        let file = scratch.write("token", "  TOP-SECRET-1\r\n");
        let mut secrets = Secrets::default();
        assert_eq!(secrets.follow([file.clone()]), slice::from_ref(&file));
        assert_eq!(secrets.secret(&file), Some(&Secret::new("TOP-SECRET-1")));
        assert!(!format!("{secrets:?}").contains("TOP"), "{secrets:?}");
        assert_eq!(secrets.reload(), [] as [PathBuf; 0]);
        // As a Secret's volume is renewed: another file under the same name.
        std::fs::rename(scratch.write("next", "TOP-SECRET-2"), &file).unwrap();
        assert_eq!(secrets.reload(), slice::from_ref(&file));
        assert_eq!(secrets.secret(&file), Some(&Secret::new("TOP-SECRET-2")));
        assert_eq!(secrets.follow([]), [] as [PathBuf; 0]);
        assert_eq!(secrets.secret(&file), None);
    }

    #[test]
    fn wrong_content_keeps_the_old_and_says_so_until_it_is_right_again() {
        let scratch = Scratch::new();
        let file = scratch.write("token", "one");
        let mut secrets = Secrets::default();
        secrets.follow([file.clone()]);
        let kept = Secret::new("one");
        let mut expect = |why| {
            assert_eq!(secrets.reload(), [] as [PathBuf; 0], "{why:?}");
            assert_eq!(secrets.secret(&file), Some(&kept), "{why:?}");
            assert_eq!(secrets.troubles(), [Trouble { file: file.clone(), why }]);
        };
        scratch.write("token", " \n\t");
        expect(Unusable::Empty);
        scratch.write("token", "two\nlines");
        expect(Unusable::NotALine);
        scratch.write("token", "nul\0");
        expect(Unusable::NotALine);
        std::fs::write(&file, b"\xff\xfe").unwrap();
        expect(Unusable::NotALine);
        scratch.write("token", &"x".repeat(64 * 1024 + 1));
        expect(Unusable::TooLarge);
        std::fs::remove_file(&file).unwrap();
        expect(Unusable::Missing);
        // A pipe that nobody writes to would be waited for.
        mkfifo(&file, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        expect(Unusable::NotRegular);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        expect(Unusable::NotRegular);
        std::fs::remove_dir(&file).unwrap();
        scratch.write("token", &"y".repeat(64 * 1024));
        assert_eq!(secrets.reload(), slice::from_ref(&file));
        assert_eq!(secrets.troubles(), []);
    }

    #[test]
    fn a_file_that_was_never_usable_has_no_secret() {
        let scratch = Scratch::new();
        let file = scratch.0.join("nowhere");
        let mut secrets = Secrets::default();
        assert_eq!(secrets.follow([file.clone()]), [] as [PathBuf; 0]);
        assert_eq!(secrets.secret(&file), None);
        let said = secrets.troubles()[0].to_string();
        assert_eq!(said, format!("failed to use {}: it is missing", file.display()));
    }
}
