//! The permission to reboot one node once: fixed size, signed by the collector, checked on the node by
//! the process that can reboot it. Layout and bytes only; keys, clocks and the decision are elsewhere.
//!
//! | offset | bytes | field | meaning |
//! |---|---|---|---|
//! | 0 | 1 | version | [`VERSION`] |
//! | 1 | 1 | action | 1: reboot |
//! | 2 | 8 | key id | the first bytes of the SHA-256 of the public key that verifies it |
//! | 10 | 16 | grant id | random; a node uses each once |
//! | 26 | 16 | request UID | the request that it carries out, a UUID |
//! | 42 | 64 | node UID | ASCII, filled up with zeros |
//! | 106 | 16 | boot id | the boot that it may end, a UUID |
//! | 122 | 32 | report digest | what the decision was based on |
//! | 154 | 8 | epoch | of the leader that granted it, big-endian |
//! | 162 | 8 | not after | ms of the node's own `CLOCK_BOOTTIME`, big-endian |
//! | 170 | 64 | signature | Ed25519 (RFC 8032) over [`PREFIX`] and the 170 bytes before it |
//!
//! ```text
//! bytes -> Envelope: length, version ─> key id ─> signature ─> Grant: the other fields
//! ```
//!
//! Each grant has exactly one form: what decodes is encoded to the same bytes again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::BootId;
use crate::Digest;
use crate::NodeUid;

/// The only version of the layout.
pub const VERSION: u8 = 1;

/// Bytes of a grant.
pub const LENGTH: usize = SIGNED + SIGNATURE;

/// What is signed begins with this, so that no signature made for anything else is one of a grant.
pub const PREFIX: &[u8; 22] = b"palisade.dev/grant/v1\0";

/// How far ahead of the node's clock a grant may still be good. The collector counts on it: after that
/// time on its own clock the grant can start nothing more.
pub const MAX_AHEAD: Duration = Duration::from_secs(60);

/// Bytes that are signed, after the prefix.
const SIGNED: usize = 170;

/// Bytes of an Ed25519 signature.
const SIGNATURE: usize = 64;

/// Bytes of a node UID, see [`NodeUid`].
const NODE_UID: usize = 64;

/// What may be done. Closed: a node does nothing that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reboot, in an orderly way.
    Reboot,
}

/// Which of a node's keys verifies a grant: the first bytes of the SHA-256 of the public key. It only
/// selects; trust comes from the signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The id of a public key (32 bytes, RFC 8032).
    #[must_use]
    pub fn of(public: &[u8; 32]) -> Self {
        let mut id = [0; 8];
        for (to, from) in id.iter_mut().zip(Digest::of(public).as_bytes()) {
            *to = *from;
        }
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a lowercase UUID. At fault: whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed id: expected a lowercase UUID")]
pub struct MalformedUuid;

macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id of these 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&uuid_text(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::id::parse_text(deserializer, "a lowercase UUID")
            }
        }

        impl FromStr for $name {
            type Err = MalformedUuid;

            fn from_str(text: &str) -> Result<Self, MalformedUuid> {
                text.parse().ok().and_then(|id| uuid_bytes(&id)).map(Self).ok_or(MalformedUuid)
            }
        }
    };
}

uuid! {
    /// Which grant it is. Shape: 16 random bytes, written as a UUID.
    GrantId
}

uuid! {
    /// Which request a grant carries out, for people and logs: nothing is compared with it on a node.
    /// Shape: a UUID, `metadata.uid` of the request.
    RequestUid
}

/// A permission, whoever signed it or did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What may be done.
    pub action: Action,
    /// The key that verifies the signature.
    pub key: KeyId,
    /// Which grant it is.
    pub id: GrantId,
    /// The request that it carries out.
    pub request: RequestUid,
    /// The node that may act.
    pub node: NodeUid,
    /// The boot that it may end.
    pub boot: BootId,
    /// The report that the decision was based on.
    pub report: Digest,
    /// The epoch of the leader that granted it: grows with every change of the leader.
    pub epoch: u64,
    /// Until when it may be used, since that boot of the node (`CLOCK_BOOTTIME`), in whole ms.
    pub not_after: Duration,
}

/// The bytes are no grant. At fault: the peer; a signed one, the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedGrant {
    /// The action is none that this version knows.
    #[error("the action {0} is not known")]
    Action(u8),
    /// Not as long as a grant.
    #[error("{0} bytes are no grant: expected {LENGTH}")]
    Length(usize),
    /// The node UID is no text of a UID, or not filled up with zeros.
    #[error("malformed node UID")]
    NodeUid,
    /// Another version of the layout.
    #[error("version {0} is not known: expected {VERSION}")]
    Version(u8),
}

impl Grant {
    /// The grant in `bytes`, not verified: see [`Envelope`] for how to.
    ///
    /// # Errors
    /// [`MalformedGrant`] with what is wrong first.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedGrant> {
        Envelope::open(bytes)?.grant()
    }

    /// What a signature is made of.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        with_prefix(&self.body())
    }

    /// The grant with its signature, [`LENGTH`] bytes.
    #[must_use]
    pub fn encode(&self, signature: &[u8; 64]) -> Vec<u8> {
        let mut bytes = self.body();
        bytes.extend_from_slice(signature);
        bytes
    }

    /// All before the signature.
    fn body(&self) -> Vec<u8> {
        let Self { action, key, id, request, node, boot, report, epoch, not_after } = self;
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.push(match action {
            Action::Reboot => 1,
        });
        bytes.extend(key.0);
        bytes.extend(id.0);
        bytes.extend(request.0);
        let padding = std::iter::repeat(0);
        bytes.extend(node.as_str().bytes().chain(padding).take(NODE_UID));
        // A boot id is a UUID, so there are such bytes.
        bytes.extend(uuid_bytes(boot).unwrap_or_default());
        bytes.extend(report.as_bytes());
        bytes.extend(epoch.to_be_bytes());
        let not_after = u64::try_from(not_after.as_millis()).unwrap_or(u64::MAX);
        bytes.extend(not_after.to_be_bytes());
        bytes
    }
}

/// Bytes that are as long as a grant and of its version: all that must be known before the signature
/// is checked. Nothing else is looked at until then.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    body: &'a [u8; SIGNED],
    signature: &'a [u8; SIGNATURE],
}

impl<'a> Envelope<'a> {
    /// The envelope around `bytes`.
    ///
    /// # Errors
    /// [`MalformedGrant`]: their length or version.
    pub fn open(bytes: &'a [u8]) -> Result<Self, MalformedGrant> {
        let length = MalformedGrant::Length(bytes.len());
        let (body, rest) = bytes.split_first_chunk::<SIGNED>().ok_or(length)?;
        let signature = rest.try_into().map_err(|_| length)?;
        let [version, ..] = body;
        if *version != VERSION {
            return Err(MalformedGrant::Version(*version));
        }
        Ok(Self { body, signature })
    }

    /// The key that is said to verify the signature.
    #[must_use]
    pub fn key(&self) -> KeyId {
        let mut fields = Fields(self.body);
        let [_version, _action] = fields.take();
        KeyId(fields.take())
    }

    /// What was signed, if it was.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        with_prefix(self.body)
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &'a [u8; 64] {
        self.signature
    }

    /// The fields.
    ///
    /// # Errors
    /// [`MalformedGrant`] with what is wrong first.
    pub fn grant(&self) -> Result<Grant, MalformedGrant> {
        let mut fields = Fields(self.body);
        let [_version, action] = fields.take();
        let action = match action {
            1 => Action::Reboot,
            unknown => return Err(MalformedGrant::Action(unknown)),
        };
        Ok(Grant {
            action,
            key: KeyId(fields.take()),
            id: GrantId(fields.take()),
            request: RequestUid(fields.take()),
            node: node_uid(&fields.take()).ok_or(MalformedGrant::NodeUid)?,
            boot: BootId::from_bytes(&fields.take()),
            report: Digest::from_bytes(fields.take()),
            epoch: u64::from_be_bytes(fields.take()),
            not_after: Duration::from_millis(u64::from_be_bytes(fields.take())),
        })
    }
}

/// The fields that are left.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next field. There are as many bytes as the table above says; zeros after that.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *field
    }
}

fn with_prefix(body: &[u8]) -> Vec<u8> {
    [PREFIX, body].concat()
}

/// The UID of 64 bytes: text, then zeros only.
fn node_uid(bytes: &[u8; NODE_UID]) -> Option<NodeUid> {
    let text = std::str::from_utf8(bytes).ok()?;
    // A zero within the text is no character of a UID.
    text.trim_end_matches('\0').parse().ok()
}

/// A UUID of 16 bytes in the form 8-4-4-4-12.
pub(crate) fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}

/// The 16 bytes of a UUID; always there, see [`BootId`].
fn uuid_bytes(id: &BootId) -> Option<[u8; 16]> {
    let digits: Vec<u8> = id
        .as_str()
        .chars()
        .filter_map(|character| character.to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    let (pairs, _rest) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests;
