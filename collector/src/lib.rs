//! The collector: receives reports, judges, stores and answers.

#![forbid(unsafe_code)]

pub mod alerts;
pub mod api;
pub mod audit;
pub mod auth;
pub mod chain;
pub mod clock;
pub mod command;
pub mod engine;
pub mod figures;
pub mod grants;
pub mod http;
pub mod judge;
pub mod kube;
mod listen;
pub mod notify;
pub mod planned;
pub mod policy_file;
pub mod reboots;
mod replace;
pub mod run;
pub mod settings;
pub mod snapshot;
pub mod start;
pub mod store;
pub mod tls;

#[cfg(test)]
mod testing;

pub use run::Collector;
pub use run::run;
