//! The Kubernetes side of the collector: questions to the API server, and what watches know.
//!
//! ```text
//! client ── review, access ──> auth        (who asks, and may they?)
//!        └─ directory <── watches          (what exists, from memory)
//! ```
//!
//! Without `--kubernetes` nothing in here runs. kube's types stay in here.

pub mod client;
pub mod directory;
