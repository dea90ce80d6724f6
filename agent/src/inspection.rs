//! One inspection: every area in turn, each with its own time and none able to harm another.
//!
//! ```text
//! processes ─> kubelet ─> host ─> boot ─> kernel ─> updates ─> reboot ─> sysctls ─> sockets
//!           ─> certificates ─> files
//! ```
//!
//! What an area says is decided in `palisade-inspect`. Here an area that panics or runs out of time
//! becomes unknown, and the others go on.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::time::Duration;
use std::time::Instant;

use palisade_inspect::Host;
use palisade_inspect::Interest;
use palisade_inspect::boot;
use palisade_inspect::certificates;
use palisade_inspect::files;
use palisade_inspect::kernel;
use palisade_inspect::kubelet;
use palisade_inspect::machine;
use palisade_inspect::process;
use palisade_inspect::process::ProcessTable;
use palisade_inspect::reboot;
use palisade_inspect::sockets;
use palisade_inspect::sysctls;
use palisade_inspect::updates;
use palisade_report::BootId;
use palisade_report::Report;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;

use crate::Tree;

/// Time that one area may take.
pub const AREA_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that a whole inspection may take; areas that come too late are `out-of-time`.
pub const INSPECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that the file of the boot id may have; it has 37.
const MAX_BOOT_ID: usize = 64;

/// Inspects a host, again and again.
#[derive(Debug)]
pub struct Inspector {
    tree: Tree,
    interest: Interest,
}

impl Inspector {
    /// An inspector of `tree` that looks as far as `interest` says.
    #[must_use]
    pub const fn new(tree: Tree, interest: Interest) -> Self {
        Self { tree, interest }
    }

    /// The host that is inspected.
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The id of the boot that runs; `None` if it cannot be read.
    #[must_use]
    pub fn boot_id(&self) -> Option<BootId> {
        let contents = self.tree.read("/proc/sys/kernel/random/boot_id", MAX_BOOT_ID).ok()?;
        std::str::from_utf8(&contents.bytes).ok()?.trim_end().parse().ok()
    }

    /// Inspects the host now.
    pub fn inspect(&mut self) -> Report {
        let Self { tree, interest } = self;
        let end = Instant::now() + INSPECTION_TIMEOUT;
        let host: &dyn Host = tree;
        let run = Run { tree, end };
        let processes = run
            .caught("processes", || process::read(host))
            .unwrap_or_else(|why| ProcessTable { processes: Err(why) });
        let kubelet = run.area("kubelet", || kubelet::read(host, &processes));
        let machine = run.area("host", || machine::read(host, interest, &processes, &kubelet));
        let boot = run.area("boot", || boot::read(host, &processes, &kubelet));
        let kernel = run.area("kernel", || kernel::read(host, interest));
        let updates = run.area("updates", || updates::read(host));
        let reboot = run.area("reboot", || reboot::read(host, &processes, &kernel, &boot));
        let sysctls = run.area("sysctls", || sysctls::read(host, interest, &boot));
        let sockets = run.area("sockets", || sockets::read(host, &processes, &boot));
        let certificates =
            run.area("certificates", || certificates::read(host, interest, &machine, &kubelet));
        let files = run.area("files", || files::read(host, interest, &kubelet));
        tree.set_deadline(None);
        Report {
            host: Some(machine),
            boot: Some(boot),
            kernel: Some(kernel),
            reboot: Some(reboot),
            sysctls: Some(sysctls),
            sockets: Some(sockets),
            kubelet: Some(kubelet),
            certificates: Some(certificates),
            files: Some(files),
            updates: Some(updates),
        }
    }
}

/// The running inspection.
struct Run<'tree> {
    tree: &'tree Tree,
    end: Instant,
}

impl Run<'_> {
    fn area<T>(&self, name: &str, read: impl FnOnce() -> Section<T>) -> Section<T> {
        self.caught(name, read).unwrap_or_else(|why| Section::Unknown { why })
    }

    /// Runs `read` under its own deadline; a panic becomes a reason.
    fn caught<T>(&self, name: &str, read: impl FnOnce() -> T) -> Result<T, Why> {
        let own = Instant::now() + AREA_TIMEOUT;
        self.tree.set_deadline(Some(own.min(self.end)));
        // What a panicking area leaves half done is its own return value, which is dropped.
        catch_unwind(AssertUnwindSafe(read)).map_err(|_panic| {
            let detail = format!("the reader of {name} crashed; please report this as a bug");
            Why::new(WhyKind::Crashed, detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_panics_costs_its_own_area_only() {
        let directory = std::env::temp_dir();
        let tree = Tree::open(&directory).unwrap();
        let run = Run { tree: &tree, end: Instant::now() + INSPECTION_TIMEOUT };
        let section: Section<()> = run.area("kernel", || panic!("on purpose"));
        let Section::Unknown { why } = section else { panic!("a crash is not a fact") };
        assert_eq!(why.kind, WhyKind::Crashed);
        assert!(why.detail.contains("kernel"));
        let section = run.area("files", || Section::Known(7));
        assert_eq!(section.known(), Some(&7));
    }

    #[test]
    fn after_the_whole_time_is_used_up_every_read_is_out_of_time() {
        let tree = Tree::open(&std::env::temp_dir()).unwrap();
        let run = Run { tree: &tree, end: Instant::now() };
        let error = run.caught("files", || tree.metadata("/")).unwrap().unwrap_err();
        assert!(error.is_out_of_time(), "{error}");
    }
}
