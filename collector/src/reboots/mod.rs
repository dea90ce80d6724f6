//! Reboots: what is planned and stepped in `palisade_plan`, carried out here. One loop, one owner.
//!
//! ```text
//! snapshot, watches, sections ─> fleet ─> plan() ─> claims ─> quorum list ─> count()
//!                                                                │
//!            ┌── read node, pods, Lease, answers ─> Seen ─> step() for each request
//!            │                                                   │
//!            │        Persist: write with resourceVersion <──────┼──> Do: carry_out, then look again
//!            └───────────────────────<───────────────────────────┘
//! ```
//!
//! Nothing is decided in here. What could not be read is handed on as unknown, and a leader that cannot
//! reach the API server does nothing: all that is under way waits, and no grant is handed out.

mod allowance;
pub mod alone;
mod answered;
mod around;
mod carry_out;
mod clock;
mod confirm;
mod coordinator;
mod drain;
mod errand;
mod facts;
mod fleet;
mod foresee;
mod hand_over;
mod objections;
mod occurrence;
mod pass;
mod past;
mod policy;
mod reading;
mod refusals;
mod remember;
mod rest;
mod returns;
mod rooms;
#[cfg(test)]
mod sample;
mod seen;
#[cfg(test)]
mod stand;
mod storm;
mod tell;
mod turns;
mod unplanned;
mod untold;

pub use answered::Answered;
pub use coordinator::Coordinator;
pub use coordinator::Ground;
pub(crate) use tell::UNASKED;
