//! Reading and parsing in two processes, so that what parses hostile bytes cannot open a file.
//!
//! The *reader* opens files below the host's root, with the rights for that, and hands on bytes; it
//! does not know what they mean. It serves a list of paths ([`palisade_inspect::reach`]), takes
//! secrets out ([`palisade_inspect::screen`]) and remembers what each area read, so that one question
//! tells whether an area changed. The *parser* asks through [`Remote`], a host like any other. The
//! *keeper* starts the reader again when it ends. What each may do is in [`crate::sandbox`].
//!
//! ```text
//! parser: Inspector ─> Remote ═══ socket pair, one packet per batch of questions ═══ Server ─> Local
//!                                      └── keeper: starts the reader, says when it is gone
//! ```

mod answer;
pub(crate) mod charter;
pub mod keeper;
mod plan;
mod remote;
mod serve;
mod wire;

pub(crate) use answer::Hello;
pub use keeper::StartError;
pub use remote::ConnectError;
pub(crate) use remote::Own;
pub(crate) use remote::Remote;
pub use serve::ServeError;
pub(crate) use serve::Server;
pub use wire::Malformed;

#[cfg(test)]
mod tests;
