//! Alerts on their way to people: a real Alertmanager, and what it does with what it is sent.

mod alertmanager;
mod arrive;
mod edits;
mod kills;
mod sent;
mod storm;
mod together;
