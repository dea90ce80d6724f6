//! What a node says: ids, typed facts in sections, digests, and the messages of wire version 1.
//!
//! A *report* is a set of *sections*. Each section is content-addressed: its digest is the SHA-256
//! of its canonical bytes, and the report's digest covers the digests of its sections. Facts are
//! [`Reading`]s: known, absent, or unknown with a reason. There is no verdict in here; what is
//! expected of a node is the business of `palisade-rules`.
//!
//! ```text
//! facts -> Section -> canonical bytes -> Digest ┐
//!                                               ├-> Manifest -> report Digest -> Heartbeat
//! facts -> Section -> canonical bytes -> Digest ┘
//! ```

#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods, clippy::disallowed_types, reason = "pure: data in, data out")]

pub mod bound;
pub mod canonical;
pub mod digest;
pub mod grant;
pub mod id;
pub mod reading;
pub mod section;
pub mod time;
pub mod trust;
pub mod wire;

mod report;

pub use digest::Digest;
pub use grant::Grant;
pub use id::{BootId, NodeName, NodeUid, Sequence};
pub use reading::{Origin, Reading, Why, WhyKind};
pub use report::{MalformedSection, Manifest, ManifestEntry, Report, Sealed};
pub use section::{Section, SectionName};
pub use time::Moment;
pub use trust::TrustId;
