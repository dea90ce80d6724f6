//! B11: bytes on disk. The agent is one static file, and its image is that file and nothing else.

use std::path::Path;

use super::measure::Spread;
use super::peer;
use super::table::Goal;
use super::table::Row;
use crate::process::Agent;

/// Measures it.
pub(super) fn run() -> Vec<Row> {
    let what = "agent file / node_exporter file".to_owned();
    let (agent, exporter) = (size(&Agent::binary()), size(&peer::node_exporter()));
    let megabytes = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
    vec![Row {
        id: "B11",
        what,
        sides: Some((megabytes(agent), megabytes(exporter))),
        ratio: Ok(Spread::fixed(agent / exporter)),
        goal: Goal::AtMost(0.40),
    }]
}

fn size(path: &Path) -> f64 {
    let metadata = std::fs::metadata(path);
    metadata.unwrap_or_else(|error| panic!("{}: {error}", path.display())).len() as f64
}
