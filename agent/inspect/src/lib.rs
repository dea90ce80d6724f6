//! Readers from a host to facts, and parsers from bytes to types. One file per area.
//!
//! A parser takes bytes; a reader takes a [`Host`]; no function does both. Everything below the
//! host's root is hostile: readers bound what they ask for, and what they cannot tell becomes
//! [`Unknown`](palisade_report::Reading::Unknown) in their own facts and nowhere else.
//!
//! ```text
//! Host ──> process table ──┬─> kubelet ──┬─> certificates, files, boot
//!                          ├─> sockets   │
//!                          └─> reboot <── kernel, updates
//! ```

#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods, clippy::disallowed_types, reason = "pure: data in, data out")]

pub mod boot;
pub mod certificates;
pub mod files;
pub mod glob;
pub mod host;
pub mod interest;
pub mod kernel;
pub mod kubelet;
pub mod lines;
pub mod machine;
pub mod memory;
pub mod namespace;
pub mod process;
pub mod reach;
pub mod reboot;
pub mod screen;
pub mod sockets;
pub mod sysctls;
pub mod updates;
pub mod version;

pub use host::Contents;
pub use host::Entry;
pub use host::FileKind;
pub use host::Host;
pub use host::Metadata;
pub use host::Nature;
pub use host::ReadError;
pub use interest::Interest;
pub use memory::MemoryHost;
