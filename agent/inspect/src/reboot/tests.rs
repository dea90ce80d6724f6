//! Reboot signals of several distributions, in memory.

use palisade_report::BootId;
use palisade_report::Origin;
use palisade_report::section::reboot::PackageManager;
use proptest::prelude::*;

use super::*;
use crate::Interest;
use crate::MemoryHost;
use crate::process::Process;

const BOOTED_AT: i64 = 1_800_000_000;
const RUNNING: &str = "6.1.0-9-amd64";
const NEWER: &str = "6.1.0-50-amd64";

fn boot(root: Proof) -> Section<Boot> {
    let unknown = || Why::new(WhyKind::MissingSource, "not part of this test");
    let origin = Origin::words("test");
    let host = Proof::Host { evidence: "test".to_owned() };
    Section::Known(Boot {
        hostname: Reading::unknown(unknown(), origin.clone()),
        boot_id: Reading::<BootId>::unknown(unknown(), origin.clone()),
        booted_at: Reading::known(Moment::from_unix(BOOTED_AT), origin.clone()),
        command_line: Reading::unknown(unknown(), origin.clone()),
        reboot_flag_written_at: Reading::unknown(unknown(), origin.clone()),
        kubelet_identity: Reading::unknown(unknown(), origin),
        namespaces: BTreeMap::from([(NamespaceKind::Mount, root), (NamespaceKind::Pid, host)]),
        confinement: None,
    })
}

fn trusted() -> Section<Boot> {
    boot(Proof::Host { evidence: "test".to_owned() })
}

fn process(pid: u32, executable: &str) -> Process {
    Process {
        pid,
        name: "daemon".to_owned(),
        arguments: vec![executable.to_owned()],
        executable: Ok(executable.to_owned()),
        uid: 0,
    }
}

fn quiet() -> ProcessTable {
    ProcessTable { processes: Ok(vec![process(1, "/usr/lib/systemd/systemd")]) }
}

fn read_as(host: &MemoryHost, processes: &ProcessTable, boot: &Section<Boot>) -> Reboot {
    let kernel = crate::kernel::read(host, &Interest::default());
    match read(host, processes, &kernel, boot) {
        Section::Known(reboot) => reboot,
        Section::Unknown { why } => panic!("{why}"),
    }
}

fn reboot(host: &MemoryHost) -> Reboot {
    read_as(host, &quiet(), &trusted())
}

fn subjects(reboot: &Reboot) -> Vec<&str> {
    reboot.reasons.iter().map(|reason| reason.subject.as_str()).collect()
}

fn with_kernel(host: MemoryHost, release: &str) -> MemoryHost {
    host.file(&format!("/boot/vmlinuz-{release}"), "")
        .file(&format!("/lib/modules/{release}/modules.dep"), "")
}

fn bare(release: &str) -> MemoryHost {
    MemoryHost::default()
        .file("/proc/sys/kernel/osrelease", release)
        .file("/proc/1/maps", "1-2 r-xp 0 08:01 42   /usr/lib/systemd/systemd\n")
}

fn debian() -> MemoryHost {
    with_kernel(bare(RUNNING), RUNNING)
        .file("/var/lib/dpkg/status", "Package: libc6\nStatus: install ok installed\nVersion: 1\n")
        .directory("/var/lib/dpkg/updates")
        .file("/var/lib/dpkg/lock", "")
        .file("/etc/kernel/postinst.d/unattended-upgrades", "")
}

fn flagged(written_at: i64) -> MemoryHost {
    debian()
        .file("/run/reboot-required", "")
        .modified("/run/reboot-required", Moment::from_unix(written_at))
}

#[test]
fn an_updated_debian_needs_nothing() {
    let reboot = reboot(&debian());
    assert_eq!(reboot.need, Need::NotNeeded, "{reboot:?}");
    assert_eq!(reboot.action, Action::None);
    assert_eq!(reboot.reason_digest, None);
    assert!(matches!(reboot.signals[&Source::DebianFlag], Signal::NotNeeded { .. }));
    assert!(matches!(reboot.signals[&Source::Kernel], Signal::NotNeeded { .. }));
    assert!(matches!(reboot.signals[&Source::DeletedFiles], Signal::NotNeeded { .. }));
    assert!(matches!(reboot.signals[&Source::SuseFlag], Signal::Unused { .. }));
    assert!(matches!(reboot.signals[&Source::RpmCore], Signal::Unused { .. }));
    assert_eq!(reboot.package_manager.value(), Some(&PackageManager::Idle));
}

#[test]
fn debians_flag_gives_its_packages_as_reasons_once() {
    let alone = reboot(&flagged(BOOTED_AT + 5));
    assert_eq!((&alone.need, alone.action), (&Need::Needed, Action::Reboot));
    assert_eq!(subjects(&alone), ["/run/reboot-required"]);
    let list = "linux-image-6.1.0-50-amd64\nlibc6\nlinux-image-6.1.0-50-amd64\n\n";
    let listed = reboot(&flagged(BOOTED_AT + 5).file("/run/reboot-required.pkgs", list));
    assert_eq!(subjects(&listed), ["libc6", "linux-image-6.1.0-50-amd64"]);
    assert_ne!(alone.reason_digest, listed.reason_digest);
    let reversed = "libc6\nlinux-image-6.1.0-50-amd64\n";
    let again = reboot(&flagged(BOOTED_AT + 900).file("/run/reboot-required.pkgs", reversed));
    assert_eq!(listed.reason_digest, again.reason_digest, "neither time nor order counts");
}

#[test]
fn a_flag_from_before_this_boot_is_stale() {
    let stale = reboot(&flagged(BOOTED_AT - 61));
    assert_eq!(stale.need, Need::NotNeeded);
    assert!(matches!(stale.signals[&Source::DebianFlag], Signal::Stale { .. }));
    assert_eq!(reboot(&flagged(BOOTED_AT - 60)).need, Need::Needed, "clocks are set while booting");
}

#[test]
fn a_missing_flag_counts_only_where_it_would_be_written_and_seen() {
    let without_writer = reboot(&debian().without("/etc/kernel"));
    assert!(matches!(without_writer.signals[&Source::DebianFlag], Signal::Unused { .. }));
    let unproven = boot(Proof::Unproven { evidence: "no".to_owned() });
    let reboot = read_as(&debian(), &quiet(), &unproven);
    assert!(matches!(reboot.need, Need::Unknown { .. }));
    let flagged = read_as(&flagged(BOOTED_AT), &quiet(), &unproven);
    assert_eq!(flagged.need, Need::Needed, "what is there needs no proof of absence");
    let foreign = boot(Proof::Foreign { evidence: "no".to_owned() });
    let reboot = read_as(&self::flagged(BOOTED_AT), &quiet(), &foreign);
    assert!(matches!(reboot.need, Need::Unknown { .. }), "a container's own flag");
}

#[test]
fn an_unreadable_flag_is_unknown() {
    let host = debian().unreadable("/run/reboot-required", WhyKind::PermissionDenied);
    assert!(matches!(reboot(&host).need, Need::Unknown { .. }));
}

#[test]
fn a_newer_kernel_of_the_same_flavour_is_a_reason() {
    let newer = reboot(&with_kernel(debian(), NEWER));
    assert_eq!(newer.need, Need::Needed);
    let reason = newer.reasons.first().unwrap();
    assert_eq!((reason.subject.as_str(), reason.target.as_str()), (RUNNING, NEWER));
    assert_eq!(reboot(&with_kernel(debian(), "6.9.0-1-cloud-amd64")).need, Need::NotNeeded);
    assert_eq!(reboot(&with_kernel(debian(), "5.10.0-99-amd64")).need, Need::NotNeeded);
}

#[test]
fn a_newer_kernel_that_would_not_boot_is_no_reason() {
    let pinned = format!("menuentry 'x' {{\n linux /boot/vmlinuz-{RUNNING}\n}}\n");
    let host = with_kernel(debian(), NEWER).file("/boot/grub/grub.cfg", pinned);
    assert_eq!(reboot(&host).need, Need::NotNeeded);
    let default = format!("menuentry 'x' {{\n linux /boot/vmlinuz-{NEWER}\n}}\n");
    assert_eq!(reboot(&host.file("/boot/grub/grub.cfg", default)).need, Need::Needed);
}

#[test]
fn a_running_kernel_whose_modules_are_gone_needs_a_reboot() {
    let host = with_kernel(bare(NEWER), RUNNING);
    let gone = reboot(&host);
    assert_eq!(gone.need, Need::Needed);
    assert_eq!(subjects(&gone), ["modules of 6.1.0-50-amd64"]);
}

#[test]
fn a_kernel_from_outside_is_not_judged() {
    let none = reboot(&bare("6.18.44-fc-v595"));
    assert!(matches!(none.signals[&Source::Kernel], Signal::Unused { .. }));
    assert!(matches!(none.need, Need::Unknown { .. }), "no source applies");
    let other = reboot(&with_kernel(bare("6.18.44-fc-v595"), NEWER));
    assert!(matches!(other.signals[&Source::Kernel], Signal::Unknown { .. }));
}

#[test]
fn suse_says_its_level_in_a_word() {
    let release = "6.4.0-150600.23.17-default";
    let host = with_kernel(bare(release), release)
        .directory("/etc/zypp")
        .file("/usr/etc/zypp/zypp-boot-plugin.conf", "")
        .file("/usr/lib/sysimage/rpm/Packages.db", "")
        .modified("/usr/lib/sysimage/rpm/Packages.db", Moment::from_unix(BOOTED_AT + 9));
    let idle = reboot(&host);
    assert_eq!(idle.need, Need::NotNeeded, "{idle:?}");
    for (word, action) in [
        ("reboot\n", Action::Reboot),
        ("kexec", Action::Kexec),
        ("soft-reboot\n", Action::SoftReboot),
        ("", Action::Reboot),
        ("what?", Action::Reboot),
    ] {
        let flagged = host
            .clone()
            .file("/run/reboot-needed", word)
            .modified("/run/reboot-needed", Moment::from_unix(BOOTED_AT + 9));
        let reboot = reboot(&flagged);
        assert_eq!((&reboot.need, reboot.action), (&Need::Needed, action), "{word}");
    }
}

#[test]
fn an_rpm_database_older_than_the_boot_proves_that_nothing_changed() {
    let release = "5.14.0-427.el9.x86_64";
    let host = with_kernel(bare(release), release).file("/var/lib/rpm/rpmdb.sqlite", "");
    let written = |at| host.clone().modified("/var/lib/rpm/rpmdb.sqlite", Moment::from_unix(at));
    assert_eq!(reboot(&written(BOOTED_AT - 1)).need, Need::NotNeeded);
    let Need::Unknown { why } = reboot(&written(BOOTED_AT + 1)).need else { panic!("not unknown") };
    assert!(why.detail.contains("needs-restarting -r"), "{why}");
    let newer = with_kernel(written(BOOTED_AT + 1), "5.14.0-503.el9.x86_64");
    assert_eq!(reboot(&newer).need, Need::Needed, "a reason outweighs what is unknown");
}

#[test]
fn dnfs_log_names_core_packages_that_are_newer_than_the_boot() {
    let release = "5.14.0-427.el9.x86_64";
    let log = |at: i64| {
        let stamp = Moment::from_unix(at);
        format!(
            "{stamp} SUBDEBUG Upgrade: glibc-2.34-125.el9.x86_64\n\
             {stamp} SUBDEBUG Upgraded: systemd-252-1.el9.x86_64\n\
             {stamp} SUBDEBUG Installed: cowsay-3-1.el9.noarch\n"
        )
    };
    let host = with_kernel(bare(release), release)
        .file("/var/lib/rpm/rpmdb.sqlite", "")
        .modified("/var/lib/rpm/rpmdb.sqlite", Moment::from_unix(BOOTED_AT + 9));
    let newer = reboot(&host.clone().file("/var/log/dnf.rpm.log", log(BOOTED_AT + 5)));
    assert_eq!(newer.need, Need::Needed);
    let reason = newer.reasons.first().unwrap();
    assert_eq!((reason.subject.as_str(), reason.target.as_str()), ("glibc", "2.34-125.el9"));
    assert_eq!(newer.reasons.len(), 1);
    let older = reboot(&host.file("/var/log/dnf.rpm.log", log(BOOTED_AT - 5)));
    assert!(matches!(older.need, Need::Unknown { .. }), "silence in the log proves nothing");
}

#[test]
fn no_process_id_reaches_the_facts() {
    let processes = ProcessTable { processes: Ok(vec![process(4711, "/usr/sbin/x")]) };
    let host = debian().unreadable("/proc/4711/maps", WhyKind::PermissionDenied);
    let reboot = read_as(&host, &processes, &trusted());
    let text = format!("{reboot:?}");
    assert!(text.contains("CAP_SYS_PTRACE") && !text.contains("4711"), "{text}");
}

const REPLACED: &str = "\
    7f00-7f01 r--p 00000000 08:01 42                         /usr/lib/libssl.so.3 (deleted)\n\
    7f01-7f02 r-xp 00000000 08:01 42                         /usr/lib/libc.so.6;65a1b2c3 (deleted)\n\
    7f03-7f04 rwxp 00000000 00:05 42                         /memfd:jit (deleted)\n\
    7f05-7f06 r-xp 00000000 00:05 42                         /tmp/jna1.so (deleted)\n\
    7f06-7f07 r-xp 00000000 00:05 42                         /home/u/.cache/jna2.so (deleted)\n\
    7f07-7f08 r-xp 00000000 08:01 42                         /usr/lib/a b.so\n";

#[test]
fn replaced_libraries_ask_for_services_and_those_of_process_1_for_more() {
    let processes = ProcessTable {
        processes: Ok(vec![
            process(1, "/usr/lib/systemd/systemd"),
            process(7, "/usr/sbin/sshd (deleted)"),
            process(8, "/app (deleted)"),
        ]),
    };
    let host = debian()
        .file("/proc/7/maps", REPLACED)
        .file("/proc/8/maps", REPLACED)
        .file("/proc/8/cgroup", "0::/kubepods.slice/kubepods-pod1.slice/x\n");
    let services = read_as(&host, &processes, &trusted());
    assert_eq!((&services.need, services.action), (&Need::Needed, Action::RestartServices));
    assert_eq!(subjects(&services), ["/usr/lib/libc.so.6", "/usr/sbin/sshd"]);
    let init = read_as(&host.clone().file("/proc/1/maps", REPLACED), &processes, &trusted());
    assert_eq!(init.action, Action::SoftReboot);
    let kernel = read_as(&with_kernel(host, NEWER), &processes, &trusted());
    assert_eq!(kernel.action, Action::Reboot, "one reboot ends every reason");
}

#[test]
fn unreadable_maps_leave_their_source_unknown_and_the_answer_alone() {
    let host = debian().unreadable("/proc/1/maps", WhyKind::PermissionDenied);
    let reboot = reboot(&host);
    assert!(matches!(reboot.signals[&Source::DeletedFiles], Signal::Unknown { .. }));
    assert_eq!(reboot.need, Need::NotNeeded);
}

#[test]
fn the_package_manager_is_active_interrupted_or_idle() {
    let at_work =
        debian().file("/var/lib/dpkg/lock-frontend", "").locked("/var/lib/dpkg/lock-frontend");
    let half = "Package: nginx\nStatus: install ok half-configured\nVersion: 2\n\nPackage: x\n";
    let state = |host: MemoryHost| reboot(&host).package_manager;
    assert!(matches!(
        state(at_work.clone().file("/var/lib/dpkg/status", half)).value(),
        Some(PackageManager::Active { .. })
    ));
    let interrupted = debian()
        .file("/var/lib/dpkg/status", half)
        .file("/var/lib/dpkg/updates/0001", "Package: curl\nStatus: install ok unpacked\n");
    assert_eq!(
        state(interrupted).value(),
        Some(&PackageManager::HalfDone {
            packages: BTreeSet::from(["curl".to_owned(), "nginx".to_owned()])
        })
    );
    assert!(matches!(state(bare(RUNNING)), Reading::Absent { .. }));
    let blind = debian().unreadable("/var/lib/dpkg/lock", WhyKind::PermissionDenied);
    assert!(matches!(state(blind), Reading::Unknown { .. }));
}

#[test]
fn an_unknown_kernel_section_leaves_the_answer_open() {
    let kernel = Section::Unknown { why: Why::new(WhyKind::Crashed, "panicked") };
    let Section::Known(reboot) = read(&debian(), &quiet(), &kernel, &trusted()) else {
        panic!("the section is known")
    };
    assert!(matches!(reboot.need, Need::Unknown { .. }));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(flags::parse_packages(&bytes).len() <= 256);
        prop_assert!(flags::parse_level(&bytes) >= Action::SoftReboot);
        let mut line = bytes.clone();
        line.extend_from_slice(b" (deleted)");
        for line in [&bytes, &line] {
            let files = deleted_files::parse_mapping(line).into_iter();
            for file in files.chain(deleted_files::replaced(line)) {
                prop_assert!(file.starts_with('/') && file.len() <= 256);
            }
        }
        prop_assert!(crate::updates::dpkg::parse_status(&bytes).half_done.is_empty());
    }
}
