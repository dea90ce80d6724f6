//! Reboots without a cluster: the same plan and the same steps, with other hands.
//!
//! ```text
//! snapshot, sections ─> fleet ─> plan() ─> claims ─> count() ─> step() for each request
//!                                                                 │
//!     Persist: a row of the store, with its words in the audit <──┼──> Do: hooks, offers
//! ```
//!
//! What a cluster gives, and what stands for it here:
//!
//! | there | here |
//! |---|---|
//! | RebootRequest | a row of the store, durable before anything follows from it |
//! | Node | an agent that reports; its UID follows from its name, and it is gone when a person retires it |
//! | Ready | its agent is heard, since when without a gap of two intervals |
//! | cordon, drain | `--hook-before`, until it says that the node is empty; without it nothing |
//! | uncordon | `--hook-after`, until it succeeds; without it nothing |
//! | Lease and epoch | the lock on the store, and a number in it that grows with each start |
//! | labels, zones | `kubernetes.io/hostname`, its name; no zones |
//!
//! There are no pods, budgets, taints, cordons of others or Leases of other tools: nothing waits for them.

mod coordinator;
mod drive;
mod errand;
mod hands;
mod hook;
mod lock;
mod register;
mod roster;
#[cfg(test)]
mod stand;

pub use coordinator::Ground;
pub use coordinator::coordinate;
