//! A host in this process, with what each area read of it.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use palisade_inspect::Host;
use palisade_inspect::Metadata;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_inspect::host::Entry;
use palisade_report::section::boot::Confinement;
use palisade_report::section::sockets::Protocol;

use super::Compare;
use super::ProcessCache;
use super::Recorder;
use super::Trace;
use crate::Tree;
use crate::clock;
use crate::subject::Area;
use crate::subject::Subject;

/// A host in this process.
#[derive(Debug)]
pub(crate) struct Local {
    tree: Tree,
    compare: Compare,
    processes: RefCell<ProcessCache>,
    traces: RefCell<BTreeMap<Area, Trace>>,
    area: Cell<Area>,
    /// What was read for the area that is being read.
    trace: RefCell<Trace>,
    confinement: Option<Confinement>,
}

impl Local {
    /// Over a tree. `confinement` is what is reported of this process.
    pub(crate) fn new(tree: Tree, confinement: Option<Confinement>) -> Self {
        Self {
            tree,
            compare: Compare::new(),
            processes: RefCell::default(),
            traces: RefCell::default(),
            area: Cell::new(Area::Processes),
            trace: RefCell::default(),
            confinement,
        }
    }

    /// The tree, past the memory.
    pub(crate) const fn tree(&self) -> &Tree {
        &self.tree
    }

    fn recorder(&self) -> Recorder<'_> {
        Recorder::new(&self.tree, &self.compare, &self.processes, &self.trace)
    }

    /// Puts the trace of the area that was read to the others.
    fn settle(&self) {
        let trace = self.trace.take();
        // Every process that ends or starts changes the table, so it is read each time.
        if self.area.get() != Area::Processes {
            self.traces.borrow_mut().insert(self.area.get(), trace);
        }
    }
}

impl Subject for Local {
    fn turn(&self) {
        self.compare.set_now(clock::now_ns());
        self.processes.borrow_mut().check(&self.tree);
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.tree.set_deadline(deadline);
    }

    fn begin(&self, area: Area) {
        self.settle();
        self.traces.borrow_mut().remove(&area);
        self.area.set(area);
    }

    fn holds(&self, area: Area) -> bool {
        self.settle();
        self.area.set(Area::Processes);
        let traces = self.traces.borrow();
        let Some(trace) = traces.get(&area) else { return false };
        trace.holds(&self.tree, &self.compare, &self.processes.borrow())
    }
}

impl Host for Local {
    fn nature(&self) -> Nature {
        self.tree.nature()
    }

    fn read_with(
        &self,
        path: &str,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError> {
        self.recorder().read_with(path, limit, sink)
    }

    fn metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.recorder().metadata(path)
    }

    fn link_metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.recorder().link_metadata(path)
    }

    fn read_link(&self, path: &str) -> Result<String, ReadError> {
        self.recorder().read_link(path)
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.recorder().list(path, limit)
    }

    fn socket_diag(&self, protocol: Protocol) -> Result<Vec<u8>, ReadError> {
        self.recorder().socket_diag(protocol)
    }

    fn write_locked(&self, path: &str) -> Result<bool, ReadError> {
        self.recorder().write_locked(path)
    }

    fn is_root_of(&self, pid: Option<u32>) -> Result<bool, ReadError> {
        self.recorder().is_root_of(pid)
    }

    fn confinement(&self) -> Option<Confinement> {
        self.confinement.clone()
    }
}
