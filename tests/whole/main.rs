//! Whole-system tests: real binaries, real files, real sockets, on loopback.

mod fleet;
mod fuzz;
mod shape;
mod spine;
mod wire;
