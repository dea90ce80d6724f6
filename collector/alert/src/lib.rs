//! Who is told what, when, and in which words.
//!
//! ```text
//! Sighting ──> Book ──> life of each alert: pending, firing, resolving, resolved
//!                │
//! Config ────────┴─> who is told: routes, silences, inhibition ──> Notice ──> render ──> Outgoing
//! ```
//!
//! Data in, data out: no clock, no chance, no I/O. The collector looks at its fleet, keeps the book in
//! its store, and sends what is rendered here; what a receiver answers is understood here, too.

#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods, clippy::disallowed_types, reason = "pure: data in, data out")]

pub mod answer;
pub mod book;
pub mod catalogue;
pub mod config;
pub mod desk;
pub mod key;
pub mod kind;
pub mod mute;
pub mod notice;
pub mod outgoing;
pub mod quiet;
pub mod receiver;
pub mod render;
pub mod route;
pub mod rules_file;
pub mod secret;
pub mod severity;
pub mod shoutrrr;
pub mod sighting;
pub mod silence;
pub mod span;
pub mod template;
pub mod yaml;
