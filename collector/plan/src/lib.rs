//! Which node may reboot now, what the others wait for, and what one reboot does next.
//!
//! ```text
//! policy text ──> Policy ─┐
//! what is known ─> Fleet ─┼─> plan(fleet, policy, now) ──> who starts, who waits for which gate
//!                         │
//! Request + Seen ─────────┴─> step(request, seen, now) ──> Persist(next) | Do(effects) | Wait
//! ```
//!
//! Data in, data out: no clock, no chance, no I/O. The collector carries out what is decided here; the
//! simulator carries it out against a fleet that exists only in memory. A state is persisted before its
//! effects, because effects are a function of the persisted state and of nothing else.

#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods, clippy::disallowed_types, reason = "pure: data in, data out")]

pub mod drain;
pub mod fleet;
pub mod gate;
pub mod kured;
pub mod law;
pub mod plan;
pub mod policy;
pub mod request;
pub mod seen;
pub mod simulate;
pub mod step;
pub mod window;
