//! The collector: receives reports, judges, stores and answers.

#![forbid(unsafe_code)]

pub mod clock;
pub mod engine;
#[expect(dead_code, reason = "the core of the engine, which fills it, lands next")]
pub mod snapshot;
pub mod store;
