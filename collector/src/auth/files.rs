//! Token files: who is who without a cluster.
//!
//! Tokens are kept as SHA-256 digests and compared in constant time; neither tokens nor digests
//! reach a log or an error.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use palisade_report::Digest;

use crate::settings::TokenFiles;

/// Bytes that a token file may have.
const MAX_TOKEN_FILE: u64 = 64 * 1024;

/// Bytes that a token must have: 16 random bytes in base64 are 22.
const MIN_TOKEN: usize = 16;

/// Tokens that one file may hold: enough to replace one after the other.
const MAX_TOKENS: usize = 64;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reports.
    Agent,
    /// Asks and changes.
    Operator,
    /// Asks.
    Viewer,
}

/// Why a token file cannot be used. At fault: configuration.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("failed to read the token file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Larger than any token file.
    #[error("failed to use the token file {path}: larger than {MAX_TOKEN_FILE} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line that cannot be a token.
    #[error(
        "failed to use the token file {path}: line {line} is not a token of at least {MIN_TOKEN} visible ASCII characters without spaces"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// No token, or too many.
    #[error(
        "failed to use the token file {path}: it holds {found} tokens, expected 1 to {MAX_TOKENS}"
    )]
    Count {
        /// The file.
        path: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// The same token for two roles.
    #[error("failed to use the token files: one token stands in the files of two roles")]
    Shared,
}

/// The digests of all tokens.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens(pub(super) Vec<(Role, Digest)>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} secrets)", self.0.len())
    }
}

impl Tokens {
    /// Reads the files of all roles.
    ///
    /// # Errors
    /// [`TokenError`], naming the file.
    pub fn read(files: &TokenFiles) -> Result<Self, TokenError> {
        let TokenFiles { agent, viewer, operator } = files;
        let mut all = Self::default();
        all.add(Role::Agent, agent)?;
        all.add(Role::Viewer, viewer)?;
        if let Some(operator) = operator {
            all.add(Role::Operator, operator)?;
        }
        Ok(all)
    }

    fn add(&mut self, role: Role, path: &Path) -> Result<(), TokenError> {
        use std::io::Read as _;
        let cannot_read = |source| TokenError::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(cannot_read)?;
        let mut text = Vec::new();
        file.take(MAX_TOKEN_FILE + 1).read_to_end(&mut text).map_err(cannot_read)?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_TOKEN_FILE {
            return Err(TokenError::TooLarge { path: path.to_owned() });
        }
        let mut found = 0;
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let token = line.trim_ascii();
            if token.is_empty() || token.starts_with(b"#") {
                continue;
            }
            if token.len() < MIN_TOKEN || !token.iter().all(u8::is_ascii_graphic) {
                return Err(TokenError::Malformed { path: path.to_owned(), line: index + 1 });
            }
            let digest = Digest::of(token);
            if self.0.iter().any(|(other, there)| *there == digest && *other != role) {
                return Err(TokenError::Shared);
            }
            self.0.push((role, digest));
            found += 1;
        }
        if !(1..=MAX_TOKENS).contains(&found) {
            return Err(TokenError::Count { path: path.to_owned(), found });
        }
        Ok(())
    }

    /// The role of a token. Every entry is compared, so the time tells nothing.
    pub(super) fn role_of(&self, token: &[u8]) -> Option<Role> {
        let presented = Digest::of(token);
        let mut role = None;
        for (known_role, known) in &self.0 {
            if constant_time_eq(presented.as_bytes(), known.as_bytes()) {
                role = Some(*known_role);
            }
        }
        role
    }
}

/// Compares without leaving early.
fn constant_time_eq(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differing = a.iter().zip(b).fold(0, |acc, (a, b)| acc | (a ^ b));
    std::hint::black_box(differing) == 0
}
