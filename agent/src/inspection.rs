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
use palisade_inspect::process::Process;
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
use palisade_report::section::boot::Boot;
use palisade_report::section::certificates::Certificates;
use palisade_report::section::files::Files;
use palisade_report::section::host::Host as HostFacts;
use palisade_report::section::kernel::Kernel;
use palisade_report::section::kubelet::Kubelet;
use palisade_report::section::reboot::Reboot;
use palisade_report::section::sockets::Sockets;
use palisade_report::section::sysctls::Sysctls;
use palisade_report::section::updates::Updates;

use crate::Tree;
use crate::memo::Local;
use crate::sandbox;
use crate::subject::Area;
use crate::subject::Subject;

/// Time that one area may take.
pub const AREA_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that a whole inspection may take; areas that come too late are `out-of-time`.
pub const INSPECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that the file of the boot id may have; it has 37.
const MAX_BOOT_ID: usize = 64;

/// Age at which an area is read again although nothing that it read seems to have changed.
const MAX_AGE: Duration = Duration::from_secs(6 * 60 * 60);

/// The same for `reboot`: which libraries running processes map moves without a trace elsewhere.
const MAX_REBOOT_AGE: Duration = Duration::from_secs(60 * 60);

/// Inspects a host, again and again.
#[derive(Debug)]
pub struct Inspector {
    subject: Box<dyn Subject>,
    interest: Interest,
    kept: Option<Box<Areas>>,
}

/// What is kept of the last inspection.
#[derive(Debug)]
struct Areas {
    processes: ProcessTable,
    kubelet: Kept<Kubelet>,
    machine: Kept<HostFacts>,
    boot: Kept<Boot>,
    kernel: Kept<Kernel>,
    updates: Kept<Updates>,
    reboot: Kept<Reboot>,
    sysctls: Kept<Sysctls>,
    sockets: Kept<Sockets>,
    certificates: Kept<Certificates>,
    files: Kept<Files>,
}

/// A section, and what it rests on.
#[derive(Debug)]
struct Kept<T> {
    section: Section<T>,
    read_at: Instant,
    /// Whether the section differs from that of the inspection before.
    is_new: bool,
}

impl Inspector {
    /// An inspector of `tree` that looks as far as `interest` says, all in this process.
    #[must_use]
    pub fn new(tree: Tree, interest: Interest) -> Self {
        let confinement = sandbox::alone(&tree, Vec::new());
        Self::over(Box::new(Local::new(tree, confinement)), interest)
    }

    /// An inspector of what may be in another process.
    pub(crate) fn over(subject: Box<dyn Subject>, interest: Interest) -> Self {
        Self { subject, interest, kept: None }
    }

    /// The host that is inspected.
    #[must_use]
    pub fn host(&self) -> &dyn Host {
        self.subject.as_ref()
    }

    /// The id of the boot that runs; `None` if it cannot be read.
    #[must_use]
    pub fn boot_id(&self) -> Option<BootId> {
        let contents = self.subject.read("/proc/sys/kernel/random/boot_id", MAX_BOOT_ID).ok()?;
        std::str::from_utf8(&contents.bytes).ok()?.trim_end().parse().ok()
    }

    /// Inspects the host now. Areas of which nothing changed since the last time are not read.
    pub fn inspect(&mut self) -> Report {
        self.turn();
        self.kept.as_ref().map(|areas| areas.report()).unwrap_or_default()
    }

    /// As [`Inspector::inspect`]; `None` when every section is as it was the last time.
    pub fn inspect_again(&mut self) -> Option<Report> {
        self.turn();
        self.kept.as_ref().filter(|areas| areas.is_new()).map(|areas| areas.report())
    }

    fn turn(&mut self) {
        let Self { subject, interest, kept } = self;
        let end = Instant::now() + INSPECTION_TIMEOUT;
        subject.set_deadline(Some(end));
        subject.turn();
        let run = Run { subject: subject.as_ref(), end };
        let last = kept.take().map(|areas| *areas);
        *kept = Some(Box::new(run.areas(interest, last)));
        subject.set_deadline(None);
    }
}

impl Areas {
    /// Whether any section differs from that of the inspection before.
    fn is_new(&self) -> bool {
        let Self {
            processes: _,
            kubelet,
            machine,
            boot,
            kernel,
            updates,
            reboot,
            sysctls,
            sockets,
            certificates,
            files,
        } = self;
        kubelet.is_new
            || machine.is_new
            || boot.is_new
            || kernel.is_new
            || updates.is_new
            || reboot.is_new
            || sysctls.is_new
            || sockets.is_new
            || certificates.is_new
            || files.is_new
    }

    fn report(&self) -> Report {
        let Self {
            processes: _,
            kubelet,
            machine,
            boot,
            kernel,
            updates,
            reboot,
            sysctls,
            sockets,
            certificates,
            files,
        } = self;
        Report {
            host: Some(machine.section.clone()),
            boot: Some(boot.section.clone()),
            kernel: Some(kernel.section.clone()),
            reboot: Some(reboot.section.clone()),
            sysctls: Some(sysctls.section.clone()),
            sockets: Some(sockets.section.clone()),
            kubelet: Some(kubelet.section.clone()),
            certificates: Some(certificates.section.clone()),
            files: Some(files.section.clone()),
            updates: Some(updates.section.clone()),
        }
    }
}

/// The running inspection.
struct Run<'a> {
    subject: &'a dyn Subject,
    end: Instant,
}

impl Run<'_> {
    /// All areas in their order, each from what it rests on.
    fn areas(&self, interest: &Interest, last: Option<Areas>) -> Areas {
        let processes = self
            .caught(Area::Processes, || {
                self.subject.begin(Area::Processes);
                process::read(self.subject)
            })
            .unwrap_or_else(|why| ProcessTable { processes: Err(why) });
        let moved = last.as_ref().is_none_or(|it| !same_programs(&it.processes, &processes));
        let last = last.map_or_else(Last::default, Last::from);
        let kubelet =
            self.area(Area::Kubelet, last.kubelet, moved, |host| kubelet::read(host, &processes));
        let machine = self.area(Area::Host, last.machine, moved || kubelet.is_new, |host| {
            machine::read(host, interest, &processes, &kubelet.section)
        });
        let rights = last.boot.as_ref().and_then(|kept| kept.section.known()?.confinement.clone());
        let changed = moved || kubelet.is_new || rights != self.subject.confinement();
        let boot = self.area(Area::Boot, last.boot, changed, |host| {
            boot::read(host, &processes, &kubelet.section)
        });
        let kernel =
            self.area(Area::Kernel, last.kernel, false, |host| kernel::read(host, interest));
        let updates = self.area(Area::Updates, last.updates, false, updates::read);
        let stale = kernel.is_new || boot.is_new || updates.is_new;
        let aged = last.reboot.as_ref().is_some_and(|it| it.read_at.elapsed() > MAX_REBOOT_AGE);
        let reboot = self.area(Area::Reboot, last.reboot, stale || aged, |host| {
            reboot::read(host, &processes, &kernel.section, &boot.section)
        });
        let sysctls = self.area(Area::Sysctls, last.sysctls, boot.is_new, |host| {
            sysctls::read(host, interest, &boot.section)
        });
        // A new process cannot take a socket that another holds without that one's help; who holds
        // a listening socket is watched, and so is the set of sockets.
        let sockets = self.area(Area::Sockets, last.sockets, boot.is_new, |host| {
            sockets::read(host, &processes, &boot.section)
        });
        let stale = machine.is_new || kubelet.is_new;
        let certificates = self.area(Area::Certificates, last.certificates, stale, |host| {
            certificates::read(host, interest, &machine.section, &kubelet.section)
        });
        let files = self.area(Area::Files, last.files, kubelet.is_new, |host| {
            files::read(host, interest, &kubelet.section)
        });
        Areas {
            processes,
            kubelet,
            machine,
            boot,
            kernel,
            updates,
            reboot,
            sysctls,
            sockets,
            certificates,
            files,
        }
    }

    /// The section of an area: the last one while it stands, else read anew. `stale` says that
    /// something changed that it is given rather than asks for.
    fn area<T: PartialEq>(
        &self,
        area: Area,
        last: Option<Kept<T>>,
        stale: bool,
        read: impl FnOnce(&dyn Host) -> Section<T>,
    ) -> Kept<T> {
        if let Some(kept) = &last
            && !stale
            && kept.read_at.elapsed() < MAX_AGE
            && self.caught(area, || self.subject.holds(area)) == Ok(true)
        {
            let Some(kept) = last else { return self.anew(area, None, read) };
            return Kept { is_new: false, ..kept };
        }
        self.anew(area, last, read)
    }

    fn anew<T: PartialEq>(
        &self,
        area: Area,
        last: Option<Kept<T>>,
        read: impl FnOnce(&dyn Host) -> Section<T>,
    ) -> Kept<T> {
        let read = || {
            self.subject.begin(area);
            read(self.subject)
        };
        let section = self.caught(area, read).unwrap_or_else(|why| Section::Unknown { why });
        let is_new = last.is_none_or(|kept| kept.section != section);
        Kept { section, read_at: Instant::now(), is_new }
    }

    /// Runs `read` under its own deadline; a panic becomes a reason.
    fn caught<T>(&self, area: Area, read: impl FnOnce() -> T) -> Result<T, Why> {
        let own = Instant::now() + AREA_TIMEOUT;
        self.subject.set_deadline(Some(own.min(self.end)));
        // What a panicking area leaves half done is its own return value, which is dropped.
        catch_unwind(AssertUnwindSafe(read)).map_err(|_panic| {
            let detail =
                format!("the reader of {} crashed; please report this as a bug", area.as_str());
            Why::new(WhyKind::Crashed, detail)
        })
    }
}

/// The areas of the last inspection, each to be taken on its own.
#[derive(Default)]
struct Last {
    kubelet: Option<Kept<Kubelet>>,
    machine: Option<Kept<HostFacts>>,
    boot: Option<Kept<Boot>>,
    kernel: Option<Kept<Kernel>>,
    updates: Option<Kept<Updates>>,
    reboot: Option<Kept<Reboot>>,
    sysctls: Option<Kept<Sysctls>>,
    sockets: Option<Kept<Sockets>>,
    certificates: Option<Kept<Certificates>>,
    files: Option<Kept<Files>>,
}

impl From<Areas> for Last {
    fn from(areas: Areas) -> Self {
        let Areas {
            processes: _,
            kubelet,
            machine,
            boot,
            kernel,
            updates,
            reboot,
            sysctls,
            sockets,
            certificates,
            files,
        } = areas;
        Self {
            kubelet: Some(kubelet),
            machine: Some(machine),
            boot: Some(boot),
            kernel: Some(kernel),
            updates: Some(updates),
            reboot: Some(reboot),
            sysctls: Some(sysctls),
            sockets: Some(sockets),
            certificates: Some(certificates),
            files: Some(files),
        }
    }
}

/// Whether two tables show the same programs. Kernel threads are left out: they have no arguments,
/// come and go, and are renamed by the work that they do.
fn same_programs(one: &ProcessTable, other: &ProcessTable) -> bool {
    match (&one.processes, &other.processes) {
        (Ok(one), Ok(other)) => {
            let programs = |all: &'_ [Process]| -> Vec<Process> {
                all.iter().filter(|it| !it.arguments.is_empty()).cloned().collect()
            };
            programs(one) == programs(other)
        }
        (Err(one), Err(other)) => one == other,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_panics_costs_its_own_area_only() {
        let directory = std::env::temp_dir();
        let subject = Local::new(Tree::open(&directory).unwrap(), None);
        let run = Run { subject: &subject, end: Instant::now() + INSPECTION_TIMEOUT };
        let kept: Kept<()> = run.area(Area::Kernel, None, false, |_| panic!("on purpose"));
        let Section::Unknown { why } = kept.section else { panic!("a crash is not a fact") };
        assert_eq!(why.kind, WhyKind::Crashed);
        assert!(why.detail.contains("kernel"));
        let kept = run.area(Area::Files, None, false, |_| Section::Known(7));
        assert_eq!(kept.section.known(), Some(&7));
    }

    #[test]
    fn after_the_whole_time_is_used_up_every_read_is_out_of_time() {
        let subject = Local::new(Tree::open(&std::env::temp_dir()).unwrap(), None);
        let run = Run { subject: &subject, end: Instant::now() };
        let error = run.caught(Area::Files, || subject.metadata("/")).unwrap().unwrap_err();
        assert!(error.is_out_of_time(), "{error}");
    }

    #[test]
    fn a_changed_file_changes_its_own_section_and_nothing_else() {
        let root = std::env::temp_dir().join(format!("palisade-memo-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        let release = |name: &str| {
            let text = format!("ID=debian\nVERSION_ID=12\nPRETTY_NAME={name}\n");
            std::fs::write(root.join("etc/os-release"), text).unwrap();
        };
        release("before");
        let mut inspector = Inspector::new(Tree::open(&root).unwrap(), Interest::default());
        let first = inspector.inspect_again().unwrap();
        assert_eq!(inspector.inspect_again(), None);
        assert_eq!(inspector.inspect(), first);
        release("after");
        let second = inspector.inspect_again().unwrap();
        assert_ne!(second.host, first.host);
        assert_eq!(Report { host: first.host.clone(), ..second }, first);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn kernel_threads_do_not_make_a_table_another_one() {
        let process = |pid, name: &str, arguments: &[&str]| Process {
            pid,
            name: name.to_owned(),
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            executable: Ok(String::new()),
            uid: 0,
        };
        let table = |all: &[Process]| ProcessTable { processes: Ok(all.to_vec()) };
        let init = process(1, "init", &["init"]);
        let one = table(&[init.clone(), process(2, "kworker/0:1", &[])]);
        let two = table(&[init.clone(), process(9, "kworker/0:2-xfs", &[])]);
        assert!(same_programs(&one, &two));
        assert!(!same_programs(&one, &table(&[init, process(3, "sh", &["sh"])])));
        assert!(!same_programs(&one, &ProcessTable { processes: Err(Why::new(WhyKind::Io, "")) }));
    }
}
