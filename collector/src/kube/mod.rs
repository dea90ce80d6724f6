//! The Kubernetes side of the collector: what the API server says comes in, what must be seen there
//! goes out. Nothing is decided here but who leads, and that in a pure part of its own.
//!
//! ```text
//! Lease ──> leader ──> fence ─────────────┐ asked before each request that changes something
//! Nodes, agents' pods ──> nodes ──> engine │
//!                         leader's tasks ──┴──> acting client ──> API server
//! client ── review, access ──> auth        (who asks, and may they?)
//!        └─ directory <── nodes            (what exists, from memory)
//! ```
//!
//! Without `--kubernetes` nothing in here runs. kube's types stay in here.

pub mod access;
pub(crate) mod alert_events;
pub mod authority;
pub mod client;
pub mod cluster;
pub mod conditions;
pub mod cordon;
pub mod directory;
pub mod events;
pub mod evict;
pub mod fence;
pub mod grant_keys;
pub mod hand_over;
pub mod leader;
pub mod lease;
pub(crate) mod node_event;
pub mod node_lease;
pub mod nodes;
pub mod open_reports;
pub mod reboot_request;
pub mod requests;
pub mod review;
pub mod tasks;
pub mod workloads;

pub use client::CallError;
pub use client::Clients;
pub use cluster::Cluster;
pub use cluster::Own;
pub use fence::Fence;
pub use fence::NotLeader;
pub use leader::Leadership;
pub use lease::Epoch;
pub use lease::Standing;
