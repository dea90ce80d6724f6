//! The agent: inspects this host, judges it on the spot, or reports it to a collector.
//!
//! A shell around two pure crates: `palisade-inspect` turns what [`Tree`] reads into facts,
//! `palisade-rules` judges them. Clocks, files, sockets and signals are touched here only.
//!
//! ```text
//! Tree ─> inspect (areas, one deadline each) ─> Report ─┬─> report: print it
//!                                                       ├─> scan: judge and print
//!                                                       └─> run: seal, heartbeat, sections
//! ```

#![deny(unsafe_code)]

pub mod backoff;
pub mod body;
pub mod clock;
pub mod conversation;
pub mod heap;
pub mod inspection;
pub mod load;
mod memo;
pub mod reaction;
pub mod reader;
pub mod rebooter;
pub mod reporter;
pub mod sandbox;
pub mod send;
pub mod settings;
mod subject;
pub mod tree;
pub mod verb;

pub use inspection::Inspector;
pub use tree::Tree;
