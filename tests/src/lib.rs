//! What whole-system tests and benchmarks stand on: real processes, a small HTTP client, nodes made
//! of files, and a fleet that speaks the real protocol.
//!
//! Nothing here judges; tests do. Everything listens on loopback and is gone when dropped, also
//! when a test panics.

pub mod bench;
pub mod bus;
pub mod cluster;
pub mod directory;
pub mod fleet;
pub mod fuzz;
pub mod golden;
pub mod http;
pub mod image;
pub mod node;
pub mod process;
pub mod receiver;
pub mod wait;
pub mod worker;
