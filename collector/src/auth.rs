//! Who is asking: bearer tokens, one set for each role.
//!
//! Tokens are kept as SHA-256 digests and compared in constant time; neither tokens nor digests
//! reach a log or an error. Without token files the collector listens on loopback only, and
//! whoever is on the machine may do everything. Nothing here knows HTTP.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;
use std::time::Instant;

use palisade_report::Digest;

use crate::http::limits::Buckets;
use crate::http::limits::Limits;
use crate::http::limits::MAX_ADDRESSES;
use crate::http::limits::gain;
use crate::http::limits::source;
use crate::http::route::Audience;
use crate::settings::TokenFiles;

/// Bytes that a token file may have.
const MAX_TOKEN_FILE: u64 = 64 * 1024;

/// Bytes that a token must have: 16 random bytes in base64 are 22.
const MIN_TOKEN: usize = 16;

/// Tokens that one file may hold: enough to replace one after the other.
const MAX_TOKENS: usize = 64;

/// Wrong tokens that one address may send at once: a person's typing, an agent's old file.
const WRONG_BURST: u32 = 5;

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

/// Why somebody is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token, or not as `Bearer`.
    #[error("say who you are: send `authorization: Bearer TOKEN`")]
    Missing,
    /// No role has this token.
    #[error("this token is not known here")]
    Wrong,
    /// Wrong tokens came too fast from this address.
    #[error("too many wrong tokens from this address")]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// A known token whose role may not do this.
    #[error("this token may not do this: {0}")]
    Role(&'static str),
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
pub struct Tokens(Vec<(Role, Digest)>);

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
    fn role_of(&self, token: &[u8]) -> Option<Role> {
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

/// Decides who may do what.
#[derive(Debug)]
pub struct Auth {
    /// `None`: no tokens, loopback only.
    tokens: Option<RwLock<Arc<Tokens>>>,
    reach: Reach,
    wrong: Buckets<IpAddr>,
}

/// From where the collector can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// From this machine only.
    Loopback,
    /// From elsewhere too.
    Network,
}

impl Auth {
    /// Decides by `tokens`, or lets everybody on this machine do everything.
    #[must_use]
    pub fn new(tokens: Option<Tokens>, reach: Reach, limits: &Limits) -> Self {
        Self {
            tokens: tokens.map(|tokens| RwLock::new(Arc::new(tokens))),
            reach,
            wrong: Buckets::new(WRONG_BURST, gain(limits.wrong_tokens_per_second), MAX_ADDRESSES),
        }
    }

    /// Whether nobody has to say who they are.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.tokens.is_none()
    }

    /// Takes newer tokens; says whether they differ.
    pub fn replace(&self, newer: Tokens) -> bool {
        let Some(tokens) = &self.tokens else { return false };
        let mut tokens = tokens.write().unwrap_or_else(PoisonError::into_inner);
        let differ = **tokens != newer;
        *tokens = Arc::new(newer);
        differ
    }

    /// Lets in whoever belongs to the audience. `authorization` is that field's value.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn admit(
        &self,
        audience: Audience,
        authorization: Option<&[u8]>,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Denied> {
        let is_public = match audience {
            Audience::Anybody => true,
            Audience::ViewersUnlessLoopback => self.reach == Reach::Loopback,
            Audience::Agents | Audience::Operators | Audience::Viewers => false,
        };
        let (false, Some(tokens)) = (is_public, &self.tokens) else { return Ok(()) };
        let token = bearer(authorization).ok_or(Denied::Missing)?;
        let tokens = Arc::clone(&tokens.read().unwrap_or_else(PoisonError::into_inner));
        let Some(role) = tokens.role_of(token) else {
            let taken = self.wrong.take(&source(address), now);
            return Err(taken
                .map_or_else(|retry_after| Denied::TooMany { retry_after }, |()| Denied::Wrong));
        };
        match (audience, role) {
            (Audience::Anybody, Role::Agent | Role::Operator | Role::Viewer)
            | (Audience::Agents, Role::Agent)
            | (Audience::Operators, Role::Operator)
            | (
                Audience::Viewers | Audience::ViewersUnlessLoopback,
                Role::Operator | Role::Viewer,
            ) => Ok(()),
            (Audience::Agents, Role::Operator | Role::Viewer) => {
                Err(Denied::Role("only an agent's token may report"))
            }
            (Audience::Operators, Role::Agent | Role::Viewer) => {
                Err(Denied::Role("it takes an operator's token"))
            }
            (Audience::Viewers | Audience::ViewersUnlessLoopback, Role::Agent) => {
                Err(Denied::Role("an agent's token may not ask; use a viewer's or an operator's"))
            }
        }
    }
}

fn bearer(authorization: Option<&[u8]>) -> Option<&[u8]> {
    let (scheme, token) = authorization?.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = "agent-token-0123456789";
    const VIEWER: &str = "viewer-token-0123456789";
    const OPERATOR: &str = "operator-token-0123456789";

    fn auth(reach: Reach) -> Auth {
        let tokens = Tokens(vec![
            (Role::Agent, Digest::of(AGENT.as_bytes())),
            (Role::Viewer, Digest::of(VIEWER.as_bytes())),
            (Role::Operator, Digest::of(OPERATOR.as_bytes())),
        ]);
        Auth::new(Some(tokens), reach, &Limits::default())
    }

    fn ask(auth: &Auth, audience: Audience, token: &str) -> Result<(), Denied> {
        let field = format!("Bearer {token}");
        auth.admit(audience, Some(field.as_bytes()), [10, 0, 0, 1].into(), Instant::now())
    }

    #[test]
    fn each_role_may_do_its_own_and_no_more() {
        let auth = auth(Reach::Network);
        for (audience, allowed) in [
            (Audience::Agents, &[AGENT][..]),
            (Audience::Viewers, &[VIEWER, OPERATOR]),
            (Audience::ViewersUnlessLoopback, &[VIEWER, OPERATOR]),
            (Audience::Operators, &[OPERATOR]),
        ] {
            for token in [AGENT, VIEWER, OPERATOR] {
                let got = ask(&auth, audience, token);
                assert_eq!(got.is_ok(), allowed.contains(&token), "{audience:?} {token} {got:?}");
                assert!(got.is_ok() || matches!(got, Err(Denied::Role(_))), "{got:?}");
            }
        }
        let anybody = auth.admit(Audience::Anybody, None, [10, 0, 0, 1].into(), Instant::now());
        assert_eq!(anybody, Ok(()));
    }

    #[test]
    fn only_a_bearer_token_is_one() {
        let auth = auth(Reach::Network);
        let long = format!("Basic {VIEWER}");
        for field in [None, Some(""), Some("Bearer "), Some("Bearer"), Some(VIEWER), Some(&*long)] {
            let got = auth.admit(
                Audience::Viewers,
                field.map(str::as_bytes),
                [10, 0, 0, 1].into(),
                Instant::now(),
            );
            assert!(matches!(got, Err(Denied::Missing)), "{field:?} {got:?}");
        }
    }

    #[test]
    fn wrong_tokens_are_slowed_down_and_right_ones_are_not() {
        let auth = auth(Reach::Network);
        for _ in 0..WRONG_BURST {
            assert_eq!(ask(&auth, Audience::Viewers, "guess"), Err(Denied::Wrong));
        }
        assert!(matches!(ask(&auth, Audience::Viewers, "guess"), Err(Denied::TooMany { .. })));
        assert_eq!(ask(&auth, Audience::Viewers, VIEWER), Ok(()));
    }

    #[test]
    fn figures_are_public_on_loopback_only() {
        let ask = |reach| {
            let address = [127, 0, 0, 1].into();
            auth(reach).admit(Audience::ViewersUnlessLoopback, None, address, Instant::now())
        };
        assert_eq!(ask(Reach::Loopback), Ok(()));
        assert_eq!(ask(Reach::Network), Err(Denied::Missing));
    }

    #[test]
    fn a_replaced_token_no_longer_works() {
        let auth = auth(Reach::Network);
        let newer = Tokens(vec![(Role::Viewer, Digest::of(b"another-token-01234"))]);
        assert!(auth.replace(newer.clone()));
        assert!(!auth.replace(newer));
        assert_eq!(ask(&auth, Audience::Viewers, VIEWER), Err(Denied::Wrong));
        assert_eq!(ask(&auth, Audience::Viewers, "another-token-01234"), Ok(()));
    }
}
