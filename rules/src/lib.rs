//! What is expected of a node: rules as data, profiles, waivers, and the judge.
//!
//! ```text
//! data/*.yaml ──> Rule ──┐
//! profile ───────────────┼─> Profile ──> groups by section ──> judge(facts, now) ──> Findings
//! waivers ───────────────┘
//! ```
//!
//! The same crate judges on the node (`palisade-agent scan`) and in the collector. A rule looks at
//! facts by their path; facts that are unknown make its verdict unknown, never a pass.

#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods, clippy::disallowed_types, reason = "pure: data in, data out")]

pub mod catalogue;
pub mod expect;
pub mod facts;
pub mod finding;
pub mod group;
pub mod interest;
pub mod judge;
pub mod page;
pub mod pattern;
pub mod profile;
pub mod rule;
pub mod schema;
pub mod sheet;
pub mod table;
pub mod waiver;

mod body;
mod compare;
pub mod duration;
mod when;
mod yaml;

#[cfg(test)]
mod table_test;

pub use body::MalformedBody;
pub use facts::FactPath;
pub use facts::Facts;
pub use facts::Found;
pub use finding::Evidence;
pub use finding::Finding;
pub use finding::Judgement;
pub use finding::RuleId;
pub use finding::Severity;
pub use finding::Verdict;
pub use group::Group;
pub use interest::Interest;
pub use judge::judge;
pub use judge::judge_group;
pub use pattern::Pattern;
pub use profile::Profile;
pub use rule::Rule;
pub use schema::schema;
pub use sheet::Sheet;
pub use waiver::Waivers;
pub use yaml::ParseYamlError;
