//! Whole-system tests: real binaries, real files, real sockets, on loopback.

mod captured;
mod fleet;
mod fuzz;
mod hostile_tree;
mod shape;
mod spine;
mod wire;
