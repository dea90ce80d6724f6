//! Names and numbers that identify things. Each is parsed at the border and trusted afterwards.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Visitor;

/// Deserialises a `FromStr` type from a borrowed or owned string without an extra allocation.
pub(crate) fn parse_text<'de, D, T>(deserializer: D, expecting: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(&'static str, std::marker::PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(expecting, std::marker::PhantomData))
}

macro_rules! text_id {
    ($name:ident, $expecting:literal) => {
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parse_text(deserializer, $expecting)
            }
        }
    };
}

/// The name of a node.
///
/// Shape: an RFC 1123 subdomain: 1 to 253 bytes of lowercase letters, digits, `-` and `.`, each
/// label 1 to 63 bytes and starting and ending with a letter or digit. Source: the rule of the
/// Kubernetes API for `Node.metadata.name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Box<str>);

/// The text is not an RFC 1123 subdomain. At fault: the peer, or the `--node` setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "malformed node name: expected 1 to 253 bytes of lowercase letters, digits, '-' and '.' (RFC 1123 subdomain)"
)]
pub struct MalformedNodeName;

impl FromStr for NodeName {
    type Err = MalformedNodeName;

    fn from_str(text: &str) -> Result<Self, MalformedNodeName> {
        let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let label_fits = |label: &str| {
            let bytes = label.as_bytes();
            bytes.len() <= 63
                && bytes.first().is_some_and(edge)
                && bytes.last().is_some_and(edge)
                && bytes.iter().all(|byte| edge(byte) || *byte == b'-')
        };
        if text.len() > 253 || !text.split('.').all(label_fits) {
            return Err(MalformedNodeName);
        }
        Ok(Self(text.into()))
    }
}

text_id!(NodeName, "an RFC 1123 subdomain");

/// The identity of one boot of one machine.
///
/// Shape: a UUID in lowercase 8-4-4-4-12 form. Source: `/proc/sys/kernel/random/boot_id`,
/// random(4). Only a changed value proves a boot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(Box<str>);

/// The text is not a lowercase UUID. At fault: the peer, or the node's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed boot id: expected a lowercase UUID")]
pub struct MalformedBootId;

impl FromStr for BootId {
    type Err = MalformedBootId;

    fn from_str(text: &str) -> Result<Self, MalformedBootId> {
        let fits = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
            });
        if fits { Ok(Self(text.into())) } else { Err(MalformedBootId) }
    }
}

text_id!(BootId, "a lowercase UUID");

impl BootId {
    /// The id of these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 16]) -> Self {
        Self(crate::grant::uuid_text(bytes).into())
    }
}

/// The identity of one Node object: what a node is, where its name is only what it is called.
///
/// Shape: 1 to 64 bytes of ASCII letters, digits and `-`. Kubernetes writes UUIDs and promises no
/// more than uniqueness: `metadata.uid` in the API conventions, "Metadata".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeUid(Box<str>);

/// The text cannot be the UID of an object. At fault: the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed node UID: expected 1 to 64 letters, digits and '-'")]
pub struct MalformedNodeUid;

impl FromStr for NodeUid {
    type Err = MalformedNodeUid;

    fn from_str(text: &str) -> Result<Self, MalformedNodeUid> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits { Ok(Self(text.into())) } else { Err(MalformedNodeUid) }
    }
}

text_id!(NodeUid, "the UID of a Node object");

/// Where a heartbeat stands among those of one boot.
///
/// Unit: milliseconds of `CLOCK_BOOTTIME` when it was made, so it keeps growing over restarts of
/// the agent without any state on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_rfc_1123_subdomains() {
        for good in ["a", "worker-7", "ip-10-0-0-7.eu-central-1.compute.internal", "7"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(64);
        let longest = format!("{}.{}", "a.".repeat(126), "b");
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a..b",
            "a_b",
            "a/b",
            "a\n",
            "a\u{202e}",
            &long,
            "../etc",
            &longest,
        ] {
            assert_eq!(bad.parse::<NodeName>(), Err(MalformedNodeName), "{bad:?}");
        }
    }

    #[test]
    fn node_uids_are_short_and_plain() {
        assert!("0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse::<NodeUid>().is_ok());
        let long = "a".repeat(65);
        for bad in ["", "a b", "a/b", "a\n", long.as_str()] {
            assert_eq!(bad.parse::<NodeUid>(), Err(MalformedNodeUid), "{bad:?}");
        }
    }

    #[test]
    fn boot_ids_are_lowercase_uuids() {
        assert!("0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse::<BootId>().is_ok());
        for bad in ["", "0F9B2A52-91C5-4D9D-9E6C-4E4A1F4F3D11", "0f9b2a5291c54d9d9e6c4e4a1f4f3d11"]
        {
            assert_eq!(bad.parse::<BootId>(), Err(MalformedBootId), "{bad:?}");
        }
    }
}
