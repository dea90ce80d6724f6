//! One row for each rule of sysctl.d(5), and for each way in which a value cannot be told.

use std::collections::BTreeMap;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::boot::Boot;
use palisade_report::section::boot::NamespaceKind;
use palisade_report::section::boot::Proof;
use palisade_report::section::sysctls::Sysctl;
use proptest::prelude::*;

use super::*;
use crate::MemoryHost;
use crate::host::Nature;

fn in_namespaces(proof: &Proof) -> Section<Boot> {
    let absent = || Origin::words("not asked");
    Section::Known(Boot {
        hostname: Reading::absent(absent()),
        boot_id: Reading::absent(absent()),
        booted_at: Reading::absent(absent()),
        command_line: Reading::absent(absent()),
        reboot_flag_written_at: Reading::absent(absent()),
        kubelet_identity: Reading::absent(absent()),
        namespaces: [NamespaceKind::Network, NamespaceKind::Pid, NamespaceKind::User]
            .into_iter()
            .map(|kind| (kind, proof.clone()))
            .collect(),
        confinement: None,
    })
}

fn read_keys(host: &MemoryHost, keys: &[&str], boot: &Section<Boot>) -> BTreeMap<String, Sysctl> {
    let interest = Interest {
        sysctls: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Interest::default()
    };
    read(host, &interest, boot).known().cloned().expect("the section is known").keys
}

fn show(reading: &Reading<String>) -> String {
    match reading {
        Reading::Known { value, origin } => format!("{value} by {origin}"),
        Reading::Absent { .. } => "absent".to_owned(),
        Reading::Unknown { why, .. } => format!("unknown: {}", why.kind),
    }
}

/// The prediction for `kernel.panic` on a host whose `sysctl.d` files and command line are these.
fn next_panic(files: &[(&str, &str)], command_line: &str) -> String {
    let mut host = MemoryHost::new(Nature::Captured)
        .file("/proc/cmdline", command_line)
        .file("/proc/sys/kernel/panic", "0\n")
        .special("/dev/null");
    for (path, content) in files {
        host = match content.strip_prefix("-> ") {
            Some(target) => host.link(path, target),
            None => host.file(path, content),
        };
    }
    let keys = read_keys(&host, &["kernel.panic"], &in_namespaces(&Proof::Captured));
    show(&keys["kernel.panic"].next_boot)
}

#[test]
fn every_rule_of_sysctl_d() {
    let etc = "/etc/sysctl.d/50-a.conf";
    for (case, files, expected) in [
        ("none", vec![], "absent"),
        ("one", vec![(etc, "# c\n; c\n\nkernel.panic = 10 \n")], "10 by /etc/sysctl.d/50-a.conf:4"),
        ("no feed at the end", vec![(etc, "kernel.panic=10")], "10 by /etc/sysctl.d/50-a.conf:1"),
        ("slashes", vec![(etc, "kernel/panic=10")], "10 by /etc/sysctl.d/50-a.conf:1"),
        ("leading slash", vec![(etc, "/kernel//panic=10")], "10 by /etc/sysctl.d/50-a.conf:1"),
        ("errors ignored", vec![(etc, "-kernel.panic=10")], "10 by /etc/sysctl.d/50-a.conf:1"),
        (
            "last line",
            vec![(etc, "kernel.panic=1\nkernel/panic=2")],
            "2 by /etc/sysctl.d/50-a.conf:2",
        ),
        ("equals in value", vec![(etc, "kernel.panic=a=b")], "a=b by /etc/sysctl.d/50-a.conf:1"),
        ("no assignment", vec![(etc, "kernel.panic 10\nkernel.panic")], "absent"),
        (
            "comment behind a value stays",
            vec![(etc, "kernel.panic=1 # x")],
            "1 # x by /etc/sysctl.d/50-a.conf:1",
        ),
        (
            "names sort over directories",
            vec![("/usr/lib/sysctl.d/60-b.conf", "kernel.panic=2"), (etc, "kernel.panic=1")],
            "2 by /usr/lib/sysctl.d/60-b.conf:1",
        ),
        (
            "a name hides later directories",
            vec![(etc, "kernel.x=1"), ("/usr/lib/sysctl.d/50-a.conf", "kernel.panic=2")],
            "absent",
        ),
        (
            "run before usr/local/lib before usr/lib",
            vec![
                ("/usr/lib/sysctl.d/1.conf", "kernel.panic=3"),
                ("/usr/local/lib/sysctl.d/1.conf", "kernel.panic=2"),
                ("/run/sysctl.d/1.conf", "kernel.panic=1"),
            ],
            "1 by /run/sysctl.d/1.conf:1",
        ),
        (
            "a link to /dev/null masks",
            vec![(etc, "-> /dev/null"), ("/usr/lib/sysctl.d/50-a.conf", "kernel.panic=2")],
            "absent",
        ),
        (
            "a dangling link hides",
            vec![(etc, "-> ../none"), ("/usr/lib/sysctl.d/50-a.conf", "kernel.panic=2")],
            "absent",
        ),
        (
            "sysctl.conf alone does not count",
            vec![("/etc/sysctl.conf", "kernel.panic=9")],
            "absent",
        ),
        (
            "sysctl.conf through its link",
            vec![
                ("/etc/sysctl.conf", "kernel.panic=9"),
                ("/etc/sysctl.d/99-sysctl.conf", "-> ../sysctl.conf"),
            ],
            "9 by /etc/sysctl.d/99-sysctl.conf:1",
        ),
        ("another suffix", vec![("/etc/sysctl.d/50-a.conf.bak", "kernel.panic=9")], "absent"),
        ("a hidden file", vec![("/etc/sysctl.d/.50-a.conf", "kernel.panic=9")], "absent"),
        ("a wildcard", vec![(etc, "kernel.pan* = 4")], "4 by /etc/sysctl.d/50-a.conf:1"),
        ("a wildcard stays in its component", vec![(etc, "* = 4\nk*=5")], "absent"),
        (
            "a key beats a later wildcard",
            vec![(etc, "kernel.panic=1\nkernel.*=2")],
            "1 by /etc/sysctl.d/50-a.conf:1",
        ),
        (
            "the last wildcard",
            vec![(etc, "kernel.p*=1\nkernel.*=2")],
            "2 by /etc/sysctl.d/50-a.conf:2",
        ),
        ("an exclusion from wildcards", vec![(etc, "kernel.*=2\n-kernel.panic")], "absent"),
        (
            "an exclusion drops what came before",
            vec![(etc, "kernel.panic=2\n-kernel.panic")],
            "absent",
        ),
        (
            "a value after an exclusion",
            vec![(etc, "-kernel.panic\nkernel.panic=2")],
            "2 by /etc/sysctl.d/50-a.conf:2",
        ),
        (
            "the same again keeps the first line",
            vec![(etc, "kernel.panic=2\nkernel.panic=2")],
            "2 by /etc/sysctl.d/50-a.conf:1",
        ),
    ] {
        assert_eq!(next_panic(&files, "quiet"), expected, "{case}");
    }
}

#[test]
fn the_command_line_comes_before_the_files() {
    let by = "by the kernel command line";
    for (command_line, expected) in [
        ("sysctl.kernel.panic=5", format!("5 {by}")),
        ("sysctl/kernel/panic=5 sysctl.kernel.panic=6", format!("6 {by}")),
        ("panic=7 quiet", format!("7 {by}")),
        ("sysctl.kernel.panic=5 panic=7", format!("5 {by}")),
        ("a=\"b sysctl.kernel.panic=5\"", "absent".to_owned()),
        ("quiet -- sysctl.kernel.panic=5", "absent".to_owned()),
        ("sysctl.kernel.panic= sysctlx=1 sysctl.=3", "absent".to_owned()),
    ] {
        assert_eq!(next_panic(&[], command_line), expected, "{command_line}");
    }
    let files = [("/etc/sysctl.d/1.conf", "kernel.panic=10")];
    assert_eq!(next_panic(&files, "sysctl.kernel.panic=5"), "10 by /etc/sysctl.d/1.conf:1");
    assert_eq!(parse_command_line(b"oops=panic")["kernel/panic_on_oops"], "1");
}

#[test]
fn what_cannot_be_read_makes_unknown_what_it_could_set() {
    let host = MemoryHost::new(Nature::Captured)
        .file("/proc/cmdline", "")
        .file("/etc/sysctl.d/10.conf", "kernel.a=1\nkernel.b=1")
        .unreadable("/etc/sysctl.d/20.conf", WhyKind::PermissionDenied)
        .file("/etc/sysctl.d/30.conf", "kernel.b=1\nkernel.*=2");
    let boot = in_namespaces(&Proof::Captured);
    let keys = read_keys(&host, &["kernel.a", "kernel.b", "kernel.c"], &boot);
    assert_eq!(show(&keys["kernel.a"].next_boot), "unknown: permission-denied");
    assert_eq!(show(&keys["kernel.b"].next_boot), "1 by /etc/sysctl.d/30.conf:1");
    assert_eq!(show(&keys["kernel.c"].next_boot), "unknown: permission-denied");
    let host = host.unreadable("/run/sysctl.d", WhyKind::PermissionDenied);
    let keys = read_keys(&host, &["kernel.b"], &boot);
    assert_eq!(show(&keys["kernel.b"].next_boot), "unknown: permission-denied");
    let host = MemoryHost::new(Nature::Captured).unreadable("/proc/cmdline", WhyKind::Io);
    assert_eq!(show(&read_keys(&host, &["kernel.b"], &boot)["kernel.b"].next_boot), "unknown: io");
}

#[test]
fn a_missing_key_is_absent_and_wildcards_do_not_find_it() {
    let host = MemoryHost::new(Nature::Captured)
        .file("/proc/cmdline", "")
        .file("/proc/sys/kernel/panic", "0\n")
        .file("/etc/sysctl.d/10.conf", "kernel.*=1\nkernel.named=2");
    let boot = in_namespaces(&Proof::Captured);
    let keys = read_keys(&host, &["kernel.none", "kernel.named"], &boot);
    assert_eq!(show(&keys["kernel.none"].running), "absent");
    assert_eq!(show(&keys["kernel.none"].next_boot), "absent");
    assert_eq!(show(&keys["kernel.named"].next_boot), "2 by /etc/sysctl.d/10.conf:2");
}

#[test]
fn namespaced_keys_are_unknown_in_a_foreign_namespace() {
    let host = MemoryHost::default()
        .file("/proc/cmdline", "")
        .link("/proc/self/ns/ipc", "ipc:[4026532600]")
        .file("/proc/sys/net/ipv4/ip_forward", "0\n")
        .file("/proc/sys/kernel/pid_max", "4194304\n")
        .file("/proc/sys/kernel/shmmax", "1\n")
        .file("/proc/sys/user/max_user_namespaces", "2147483647\n")
        .file("/proc/sys/kernel/sysrq", "176\n");
    let names = [
        "net.ipv4.ip_forward",
        "net.ipv4.none",
        "kernel.pid_max",
        "kernel.shmmax",
        "user.max_user_namespaces",
    ];
    let foreign = in_namespaces(&Proof::Foreign { evidence: "a pod".to_owned() });
    let keys = read_keys(&host, &names, &foreign);
    for name in names {
        assert_eq!(show(&keys[name].running), "unknown: wrong-namespace", "{name}");
    }
    let sysrq = read_keys(&host, &["kernel.sysrq"], &foreign);
    assert_eq!(show(&sysrq["kernel.sysrq"].running), "176 by /proc/sys/kernel/sysrq");

    let proven = in_namespaces(&Proof::Host { evidence: "proven".to_owned() });
    let host = host.link("/proc/self/ns/ipc", "ipc:[4026531839]");
    let keys = read_keys(&host, &names, &proven);
    assert_eq!(show(&keys["net.ipv4.ip_forward"].running), "0 by /proc/sys/net/ipv4/ip_forward");
    assert_eq!(show(&keys["net.ipv4.none"].running), "absent");
    assert_eq!(show(&keys["kernel.shmmax"].running), "1 by /proc/sys/kernel/shmmax");

    let crashed = Section::Unknown { why: Why::new(WhyKind::Crashed, "panicked") };
    let keys = read_keys(&host, &["net.ipv4.ip_forward"], &crashed);
    assert_eq!(show(&keys["net.ipv4.ip_forward"].running), "unknown: crashed");
}

#[test]
fn values_fold_white_space_and_keys_keep_dots_in_interface_names() {
    assert_eq!(parse_value(b"32768\t60999\n"), "32768 60999");
    for (key, path) in [
        ("kernel.kptr_restrict", "kernel/kptr_restrict"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("/kernel/panic", "kernel/panic"),
        ("panic", "panic"),
        ("", ""),
    ] {
        assert_eq!(files::normalize(key), path);
    }
    let host = MemoryHost::new(Nature::Captured)
        .file("/proc/cmdline", "")
        .file("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
        .unreadable("/proc/sys/vm/mmap_rnd_bits", WhyKind::PermissionDenied);
    let boot = in_namespaces(&Proof::Captured);
    let keys = read_keys(&host, &["net.ipv4.ip_local_port_range", "vm.mmap_rnd_bits"], &boot);
    assert_eq!(
        show(&keys["net.ipv4.ip_local_port_range"].running),
        "32768 60999 by /proc/sys/net/ipv4/ip_local_port_range"
    );
    assert_eq!(show(&keys["vm.mmap_rnd_bits"].running), "unknown: permission-denied");
}

/// The files of a Debian 12 machine with procps: two of its own, and the link to `sysctl.conf`.
#[test]
fn a_debian_machine_is_predicted() {
    let host = MemoryHost::new(Nature::Captured)
        .file("/proc/cmdline", "console=ttyS0 panic=1 nomodule rdinit=/x -- --panic=2\n")
        .file("/etc/sysctl.conf", "#\n# /etc/sysctl.conf\n#kernel.sysrq=438\n")
        .link("/etc/sysctl.d/99-sysctl.conf", "../sysctl.conf")
        .file("/etc/sysctl.d/README.sysctl", "kernel.sysrq = 1\n")
        .file("/usr/lib/sysctl.d/50-pid-max.conf", "# comment\n\nkernel.pid_max = 4194304\n")
        .file(
            "/usr/lib/sysctl.d/99-protect-links.conf",
            "# Protected links\n#\nfs.protected_fifos = 1\nfs.protected_hardlinks = 1\n\
             fs.protected_regular = 2\nfs.protected_symlinks = 1\n",
        );
    let names = ["kernel.pid_max", "fs.protected_regular", "kernel.sysrq", "kernel.panic"];
    let keys = read_keys(&host, &names, &in_namespaces(&Proof::Captured));
    assert_eq!(
        names.map(|name| show(&keys[name].next_boot)),
        [
            "4194304 by /usr/lib/sysctl.d/50-pid-max.conf:3",
            "2 by /usr/lib/sysctl.d/99-protect-links.conf:5",
            "absent",
            "1 by the kernel command line",
        ]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        text in "[-#;=./*a \n\"]{0,80}",
    ) {
        for bytes in [&bytes[..], text.as_bytes()] {
            for line in files::parse(bytes) {
                prop_assert!(!line.path.is_empty() && !line.path.starts_with('/'));
            }
            prop_assert!(parse_value(bytes).len() <= MAX_LONG_TEXT);
            for key in parse_command_line(bytes).keys() {
                prop_assert!(!key.contains('.'));
            }
        }
    }

    #[test]
    fn normalizing_twice_changes_nothing(key in "[a./]{0,20}") {
        let path = files::normalize(&key);
        if path.contains('/') && path.find('.').is_none_or(|dot| path.find('/') < Some(dot)) {
            prop_assert_eq!(files::normalize(&path), path);
        }
    }
}

#[test]
fn without_proc_sys_a_key_is_not_known_to_be_absent() {
    let boot = in_namespaces(&Proof::Captured);
    let bare = read_keys(&MemoryHost::new(Nature::Captured), &["kernel.panic"], &boot);
    assert_eq!(show(&bare["kernel.panic"].running), "unknown: missing-source");
    let other = MemoryHost::new(Nature::Captured).file("/proc/sys/vm/swappiness", "60\n");
    let keys = read_keys(&other, &["kernel.panic"], &boot);
    assert_eq!(show(&keys["kernel.panic"].running), "absent");
}
