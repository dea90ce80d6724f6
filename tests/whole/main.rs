//! Whole-system tests: real binaries, real files, real sockets, on loopback.

mod alone;
mod captured;
mod cluster;
mod conditions;
mod deployed;
mod durable;
mod faults;
mod fleet;
mod fuzz;
mod grants;
mod hostile_http;
mod hostile_tree;
mod identity;
mod image;
mod kubelet;
mod leadership;
mod machine;
mod manifests;
mod rebooter;
mod reboots;
mod sandbox;
mod scale;
mod shape;
mod spine;
mod trust;
mod wire;
