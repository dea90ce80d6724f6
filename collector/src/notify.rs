//! What carries messages about alerts out: HTTP and mail, through a guard, with secrets from files.
//!
//! ```text
//! HttpRequest ─> post ─┐                                 ┌─> TLS by the trusted roots ─> receiver
//!                      ├─> egress: name ─> addresses ─> connect
//! Email ───────> mail ─┘    every one of them checked, and connected to as it was checked
//! ```
//!
//! Nothing is decided here: who is told what, in which words, and what an answer means, is in
//! `palisade-alert`.

pub(crate) mod core;
pub mod courier;
pub mod dial;
pub mod egress;
pub mod file;
pub(crate) mod looker;
pub mod mail;
pub mod owner;
pub mod post;
pub mod secrets;
pub mod sources;
pub mod store;
pub mod trust;
pub mod view;

#[cfg(test)]
mod peer;
