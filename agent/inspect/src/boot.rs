//! Boot: this machine, this boot, and in whose namespaces the agent reads.
//!
//! What differs on every node by nature is read here, so that the other sections are equal across a
//! pool. How namespaces are proven is in [`namespace`].

use std::collections::BTreeMap;

use palisade_report::BootId;
use palisade_report::Moment;
use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::MAX_LONG_TEXT;
use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use palisade_report::section::boot::Boot;
use palisade_report::section::boot::NamespaceKind;
use palisade_report::section::boot::Proof;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::ReadError;
use crate::kubelet;
use crate::lines;
use crate::namespace;
use crate::process::ProcessTable;

/// Files whose presence asks for a reboot: Debian's and Ubuntu's, then SUSE's.
const REBOOT_FLAGS: [&str; 4] = [
    "/run/reboot-required",
    "/var/run/reboot-required",
    "/run/reboot-needed",
    "/var/run/reboot-needed",
];

/// Bytes of the kernel command line: `COMMAND_LINE_SIZE` is at most 4,096, plus a line feed.
const MAX_COMMAND_LINE: usize = 64 * 1024;

/// Reads the section.
#[must_use]
pub fn read(
    host: &dyn Host,
    processes: &ProcessTable,
    kubelet: &Section<Kubelet>,
) -> Section<Boot> {
    Section::Known(Boot {
        hostname: read_hostname(host),
        boot_id: read_boot_id(host),
        booted_at: read_booted_at(host),
        command_line: read_command_line(host),
        reboot_flag_written_at: read_reboot_flag(host),
        kubelet_identity: read_identity(host, processes, kubelet),
        namespaces: namespace::prove(host),
        confinement: host.confinement(),
    })
}

fn read_hostname(host: &dyn Host) -> Reading<String> {
    let path = "/proc/sys/kernel/hostname";
    if let Some(evidence) = namespace::prove_names(host).distrust() {
        return Reading::unknown(Why::new(WhyKind::WrongNamespace, evidence), Origin::path(path));
    }
    match host.read(path, MAX_TEXT) {
        Ok(contents) => {
            Reading::known(clean(contents.bytes.trim_ascii(), MAX_TEXT), Origin::path(path))
        }
        Err(error) => error.reading(),
    }
}

fn read_boot_id(host: &dyn Host) -> Reading<BootId> {
    let path = "/proc/sys/kernel/random/boot_id";
    match host.read(path, MAX_TEXT) {
        Ok(contents) => {
            let text = String::from_utf8_lossy(contents.bytes.trim_ascii());
            match text.parse() {
                Ok(boot_id) => Reading::known(boot_id, Origin::path(path)),
                Err(error) => {
                    let why = Why::new(WhyKind::Malformed, format!("{path}: {error}"));
                    Reading::unknown(why, Origin::path(path))
                }
            }
        }
        Err(error) => error.reading(),
    }
}

fn read_booted_at(host: &dyn Host) -> Reading<Moment> {
    let path = "/proc/stat";
    let mut found = None;
    let read = lines::read(host, path, &mut |line| found = found.or_else(|| parse_btime(line)));
    match (read, found) {
        (_, Some(moment)) => Reading::known(moment, Origin::path(path)),
        (Ok(_), None) => {
            let why = Why::new(WhyKind::Malformed, "/proc/stat has no line `btime`");
            Reading::unknown(why, Origin::path(path))
        }
        (Err(error), None) => error.reading(),
    }
}

/// When the kernel started, out of the line `btime SECONDS` of `/proc/stat`, proc_stat(5).
#[must_use]
pub fn parse_btime(line: &[u8]) -> Option<Moment> {
    let number = std::str::from_utf8(line.strip_prefix(b"btime ")?).ok()?;
    number.trim().parse().ok().map(Moment::from_unix)
}

fn read_command_line(host: &dyn Host) -> Reading<String> {
    let path = "/proc/cmdline";
    match host.read(path, MAX_COMMAND_LINE) {
        Ok(contents) => {
            Reading::known(clean(contents.bytes.trim_ascii(), MAX_LONG_TEXT), Origin::path(path))
        }
        Err(error) => error.reading(),
    }
}

fn read_reboot_flag(host: &dyn Host) -> Reading<Moment> {
    for path in REBOOT_FLAGS {
        match host.metadata(path) {
            Ok(metadata) => return Reading::known(metadata.modified_at, Origin::path(path)),
            Err(ReadError::NotFound { .. }) => {}
            Err(error @ ReadError::Failed { .. }) => return error.reading(),
        }
    }
    Reading::absent(Origin::words("/run/reboot-required, /run/reboot-needed"))
}

fn read_identity(
    host: &dyn Host,
    processes: &ProcessTable,
    kubelet: &Section<Kubelet>,
) -> Reading<BTreeMap<String, String>> {
    match kubelet {
        Section::Known(_) => kubelet::identity(host, processes),
        // What stopped that reader would stop this one as well, and cost the whole section.
        Section::Unknown { why } => {
            Reading::unknown(why.clone(), Origin::words("the kubelet's arguments"))
        }
    }
}

/// Whether facts of this kind may rest on readings that are made now: `None`, or why not.
#[must_use]
pub fn distrust(boot: &Section<Boot>, kind: NamespaceKind) -> Option<Why> {
    let boot = match boot {
        Section::Known(boot) => boot,
        Section::Unknown { why } => return Some(why.clone()),
    };
    match boot.namespaces.get(&kind).map(Proof::distrust) {
        Some(None) => None,
        Some(Some(evidence)) => Some(Why::new(WhyKind::WrongNamespace, evidence)),
        None => Some(Why::new(WhyKind::WrongNamespace, "this kind of namespace is not proven")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryHost;
    use crate::host::Nature;

    fn known(section: Section<Boot>) -> Boot {
        section.known().cloned().expect("the section is known")
    }

    fn no_kubelet() -> Section<Kubelet> {
        Section::Known(Kubelet {
            process: Reading::absent(Origin::words("no process")),
            sources: Vec::new(),
            effective: BTreeMap::new(),
            flags: BTreeMap::new(),
            refused: Vec::new(),
        })
    }

    const NONE: ProcessTable = ProcessTable { processes: Ok(Vec::new()) };

    #[test]
    fn a_captured_boot_is_read() {
        let host = MemoryHost::new(Nature::Captured)
            .file("/proc/sys/kernel/hostname", "worker-7\n")
            .file("/proc/sys/kernel/random/boot_id", "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11\n")
            .file("/proc/stat", "cpu  1 2 3\nintr 5\nbtime 1795324210\nprocesses 9\n")
            .file("/proc/cmdline", "console=ttyS0 quiet panic=1\n")
            .file("/run/reboot-required", "")
            .modified("/run/reboot-required", Moment::from_unix(1_795_324_300))
            .link("/var/run", "/run");
        let boot = known(read(&host, &NONE, &no_kubelet()));
        assert_eq!(boot.hostname.value().map(String::as_str), Some("worker-7"));
        assert!(boot.boot_id.value().is_some());
        assert_eq!(boot.booted_at.value(), Some(&Moment::from_unix(1_795_324_210)));
        assert_eq!(
            boot.command_line.value().map(String::as_str),
            Some("console=ttyS0 quiet panic=1")
        );
        assert_eq!(boot.reboot_flag_written_at.value(), Some(&Moment::from_unix(1_795_324_300)));
        assert!(matches!(boot.kubelet_identity, Reading::Absent { .. }));
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_never_absent() {
        let host = MemoryHost::default()
            .file("/proc/sys/kernel/hostname", "pod-1\n")
            .link("/proc/self/ns/uts", "uts:[4026532500]")
            .file("/proc/sys/kernel/random/boot_id", "not a uuid\n")
            .file("/proc/stat", "cpu 1\n")
            .unreadable("/proc/cmdline", WhyKind::PermissionDenied)
            .unreadable("/run", WhyKind::PermissionDenied);
        let unread = Section::Unknown { why: Why::new(WhyKind::Crashed, "panicked") };
        let boot = known(read(&host, &NONE, &unread));
        assert!(matches!(boot.hostname, Reading::Unknown { .. }));
        assert!(matches!(boot.boot_id, Reading::Unknown { .. }));
        assert!(matches!(boot.booted_at, Reading::Unknown { .. }));
        assert!(matches!(boot.command_line, Reading::Unknown { .. }));
        assert!(matches!(boot.reboot_flag_written_at, Reading::Unknown { .. }));
        assert!(matches!(boot.kubelet_identity, Reading::Unknown { .. }));
    }

    #[test]
    fn no_flag_is_absence() {
        let boot = known(read(&MemoryHost::default(), &NONE, &no_kubelet()));
        assert!(matches!(boot.reboot_flag_written_at, Reading::Absent { .. }));
    }

    #[test]
    fn trust_needs_a_proof() {
        let boot = read(&MemoryHost::default(), &NONE, &no_kubelet());
        assert!(distrust(&boot, NamespaceKind::Network).is_some());
        let boot = read(&MemoryHost::new(Nature::Captured), &NONE, &no_kubelet());
        assert_eq!(distrust(&boot, NamespaceKind::Network), None);
    }
}
