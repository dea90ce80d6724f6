//! The agent's own weight and the machine's load, for the log. The only user of sysinfo: it shows
//! the agent's own view and cannot be pointed at another root, so no fact comes from here.

use sysinfo::ProcessRefreshKind;
use sysinfo::ProcessesToUpdate;
use sysinfo::System;

/// A look at the agent and its machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Resident memory of the agent, in KiB; `None` if it cannot be told.
    pub resident_kib: Option<u64>,
    /// Load average of the last minute; `None` if it cannot be told.
    pub average: Option<f64>,
}

/// Looks once.
#[must_use]
pub fn look() -> Load {
    Load { resident_kib: resident_kib(), average: System::load_average().ok().map(|it| it.one) }
}

fn resident_kib() -> Option<u64> {
    let own = sysinfo::get_current_pid().ok()?;
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, what);
    system.process(own).map(|process| process.memory() / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_weighs_something() {
        assert!(look().resident_kib.unwrap() > 500);
    }
}
