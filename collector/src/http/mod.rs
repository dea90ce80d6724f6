//! HTTP: from bytes of a connection to a [`Call`], and from an answer back to bytes.
//!
//! ```text
//! accept ─limits─> TLS ─> head ─route─> identity ─> body ─bounds─> Call ─> api ─> Answer ─> reply
//! ```
//!
//! What a call does is decided in `api`; nothing in there knows HTTP, nothing in here knows nodes.

mod admission;
pub mod body;
pub mod call;
mod classic;
pub mod connection;
pub mod limits;
pub mod query;
pub mod reply;
pub mod route;
pub mod server;

pub use call::Call;
