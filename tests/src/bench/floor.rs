//! B3: an inspection against the least that any program could do: open, read and close the files
//! that it read, each once.
//!
//! Both sides run in this process, built alike. What was read is told by a host that notes every
//! question and passes it on, asked by the readers in the agent's order.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use nix::time::ClockId;
use nix::time::clock_gettime;
use palisade_agent::Inspector;
use palisade_agent::Tree;
use palisade_inspect::Host;
use palisade_inspect::Interest;
use palisade_inspect::Metadata;
use palisade_inspect::Nature;
use palisade_inspect::ReadError;
use palisade_inspect::host::Entry;
use palisade_report::section::sockets::Protocol;

use super::fixture::Fixture;
use super::measure::Pairs;
use super::measure::Side;
use super::server;
use super::table::Goal;
use super::table::Row;

/// Inspections, and walks over the files, of which the mean is one figure.
const REPEATS: u32 = 20;

/// Measures it on a fixture of its own.
pub(super) fn run() -> Vec<Row> {
    let fixture = Fixture::new();
    let root = fixture.root();
    let interest = server::interest();
    let asked = asked(root, &interest);
    let (files, questions) = (asked.files.len(), asked.all());
    let [strict] = Pairs::measure(|side| match side {
        Side::A => [mean(|| inspect(root, &interest))],
        Side::B => [mean(|| asked.read_files())],
    });
    let [whole] = Pairs::measure(|side| match side {
        Side::A => [mean(|| inspect(root, &interest))],
        Side::B => [mean(|| asked.repeat())],
    });
    let millis = |seconds: f64| format!("{:.2} ms", seconds * 1e3);
    vec![
        Row {
            id: "B3",
            what: format!("CPU of a full inspection / open, read, close of the {files} files read"),
            sides: Some((millis(strict.a().median), millis(strict.b().median))),
            ratio: Ok(strict.ratio()),
            goal: Goal::AtMost(2.0),
        },
        Row {
            id: "B3 all",
            what: format!("the same / with its lists, links and stats, {questions} in all"),
            sides: Some((millis(whole.a().median), millis(whole.b().median))),
            ratio: Ok(whole.ratio()),
            goal: Goal::None,
        },
    ]
}

fn inspect(root: &Path, interest: &Interest) {
    let tree = Tree::open(root).expect("the fixture");
    std::hint::black_box(Inspector::new(tree, interest.clone()).inspect());
}

/// CPU seconds of this thread for one call.
fn mean(call: impl Fn()) -> f64 {
    let spent =
        || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock"));
    let before = spent();
    for _ in 0..REPEATS {
        call();
    }
    (spent() - before).as_secs_f64() / f64::from(REPEATS)
}

/// What the readers ask of the host, in the agent's order.
fn asked(root: &Path, interest: &Interest) -> Asked {
    use palisade_inspect as inspect;
    let tree = Tree::open(root).expect("the fixture");
    let host = Noting { tree, root: root.to_owned(), asked: RefCell::default() };
    let processes = inspect::process::read(&host);
    let kubelet = inspect::kubelet::read(&host, &processes);
    let machine = inspect::machine::read(&host, interest, &processes, &kubelet);
    let boot = inspect::boot::read(&host, &processes, &kubelet);
    let kernel = inspect::kernel::read(&host, interest);
    drop(inspect::updates::read(&host));
    drop(inspect::reboot::read(&host, &processes, &kernel, &boot));
    drop(inspect::sysctls::read(&host, interest, &boot));
    drop(inspect::sockets::read(&host, &processes, &boot));
    drop(inspect::certificates::read(&host, interest, &machine, &kubelet));
    drop(inspect::files::read(&host, interest, &kubelet));
    host.asked.into_inner()
}

/// What was asked, each thing once. Files and directories that were found, everything else as asked.
#[derive(Debug, Default)]
struct Asked {
    files: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
    links: BTreeSet<PathBuf>,
    stats: BTreeSet<PathBuf>,
}

impl Asked {
    fn all(&self) -> usize {
        let Self { files, directories, links, stats } = self;
        files.len() + directories.len() + links.len() + stats.len()
    }

    fn read_files(&self) {
        let mut buffer = vec![0; 64 * 1024];
        for path in &self.files {
            // A process that has ended since is no file any more.
            let Ok(mut file) = File::open(path) else { continue };
            while matches!(file.read(&mut buffer), Ok(1..)) {}
        }
    }

    fn repeat(&self) {
        self.read_files();
        for path in &self.directories {
            std::hint::black_box(fs::read_dir(path).map(Iterator::count).ok());
        }
        for path in &self.links {
            std::hint::black_box(fs::read_link(path).ok());
        }
        for path in &self.stats {
            std::hint::black_box(fs::metadata(path).ok());
        }
    }
}

/// A host that notes what it is asked.
struct Noting {
    tree: Tree,
    root: PathBuf,
    asked: RefCell<Asked>,
}

impl Noting {
    fn real(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Host for Noting {
    fn nature(&self) -> Nature {
        self.tree.nature()
    }

    fn read_with(
        &self,
        path: &str,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Metadata, ReadError> {
        let read = self.tree.read_with(path, limit, sink);
        let mut asked = self.asked.borrow_mut();
        match &read {
            // Links would leave the root here; where they led is known.
            Ok(metadata) => asked.files.insert(self.real(&metadata.resolved)),
            Err(_) => asked.stats.insert(self.real(path)),
        };
        read
    }

    fn metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.asked.borrow_mut().stats.insert(self.real(path));
        self.tree.metadata(path)
    }

    fn link_metadata(&self, path: &str) -> Result<Metadata, ReadError> {
        self.asked.borrow_mut().stats.insert(self.real(path));
        self.tree.link_metadata(path)
    }

    fn read_link(&self, path: &str) -> Result<String, ReadError> {
        self.asked.borrow_mut().links.insert(self.real(path));
        self.tree.read_link(path)
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.asked.borrow_mut().directories.insert(self.real(path));
        self.tree.list(path, limit)
    }

    fn socket_diag(&self, protocol: Protocol) -> Result<Vec<u8>, ReadError> {
        self.tree.socket_diag(protocol)
    }

    fn write_locked(&self, path: &str) -> Result<bool, ReadError> {
        self.tree.write_locked(path)
    }

    fn is_root_of(&self, pid: Option<u32>) -> Result<bool, ReadError> {
        self.tree.is_root_of(pid)
    }
}
