//! A machine in memory, and each fact with a value, without one, and unreadable.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use palisade_report::section::host::CgroupVersion;
use palisade_report::section::host::Distribution;
use palisade_report::section::host::Role;
use palisade_report::section::kubelet::Process as KubeletProcess;
use proptest::prelude::*;

use super::*;
use crate::MemoryHost;
use crate::host::Nature;
use crate::process::Process;

/// `/proc/1/mountinfo` of a Linux 6.18 host, with a bind mount and a second mount on `/tmp` added.
const MOUNTINFO: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw,hidepid=invisible\n\
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684096k\n\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,resv_strict,resuid=65534,resgid=65534\n\
28 27 0:25 / /mnt/a\\040b ro,nosuid,nodev,relatime - tmpfs model ro,size=4k,mode=755\n\
29 27 0:29 / /tmp rw,nosuid,nodev shared:7 master:1 - tmpfs tmpfs rw,size=1k,inode64\n\
30 29 0:30 / /tmp ro,nosuid,nodev,noexec,relatime shared:8 - tmpfs tmpfs rw,size=1k,inode64\n\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

fn debian() -> MemoryHost {
    MemoryHost::new(Nature::Captured)
        .file(
            "/usr/lib/os-release",
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n\
             VERSION_ID=\"12\"\nID=debian\n# a comment\nHOME_URL=\"https://www.debian.org/\"\n",
        )
        .link("/etc/os-release", "../usr/lib/os-release")
        .file("/proc/sys/kernel/arch", "x86_64\n")
        .file("/sys/devices/system/cpu/online", "0-1\n")
        .file("/proc/meminfo", "MemTotal:       24684096 kB\nMemFree:        23223484 kB\n")
        .file("/proc/1/comm", "systemd\n")
        .file("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
        .file("/proc/1/mountinfo", MOUNTINFO)
}

fn process(pid: u32, name: &str) -> Process {
    Process {
        pid,
        name: name.to_owned(),
        arguments: vec![name.to_owned()],
        executable: Ok(format!("/usr/bin/{name}")),
        uid: 0,
    }
}

fn table(processes: &[Process]) -> ProcessTable {
    ProcessTable { processes: Ok(processes.to_vec()) }
}

fn kubelet(executable: Option<&str>, arguments: &[&str]) -> Section<Kubelet> {
    let origin = Origin::words("processes");
    let process = match executable {
        Some(executable) => Reading::known(
            KubeletProcess {
                executable: executable.to_owned(),
                arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
                uid: 0,
            },
            origin,
        ),
        None => Reading::absent(origin),
    };
    Section::Known(Kubelet {
        process,
        sources: Vec::new(),
        effective: BTreeMap::new(),
        flags: BTreeMap::new(),
        refused: Vec::new(),
    })
}

fn facts(host: &MemoryHost, processes: &ProcessTable, kubelet: &Section<Kubelet>) -> HostFacts {
    let mounts = ["/tmp", "/dev/shm", "/proc", "/home", "/mnt/a b"];
    let interest = Interest {
        mounts: mounts.iter().map(|path| (*path).to_owned()).collect(),
        ..Interest::default()
    };
    read(host, &interest, processes, kubelet).known().cloned().expect("the section is known")
}

fn plain(host: &MemoryHost) -> HostFacts {
    facts(host, &table(&[]), &kubelet(None, &[]))
}

fn options(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_plain_debian_machine_is_read() {
    let facts = plain(&debian());
    let os = facts.os.value().expect("an os");
    assert_eq!((os.id.as_str(), os.version.as_str()), ("debian", "12"));
    assert_eq!(os.name, "Debian GNU/Linux 12 (bookworm)");
    assert_eq!(facts.architecture.value().map(String::as_str), Some("x86_64"));
    assert_eq!(facts.cpus.value(), Some(&2));
    assert_eq!(facts.memory_mib.value(), Some(&24_105));
    assert_eq!(facts.init.value().map(String::as_str), Some("systemd"));
    assert_eq!(facts.swap.value(), Some(&Vec::new()));
    assert_eq!(facts.cgroup.value(), Some(&CgroupVersion::V1));
    assert_eq!(facts.role.value(), Some(&Role::Plain));
    assert!(matches!(facts.distribution, Reading::Absent { .. }));
}

#[test]
fn the_last_mount_on_a_path_counts_without_sizes_and_ids() {
    let facts = plain(&debian());
    let mounts = facts.mounts.value().expect("mounts");
    let tmp = &mounts["/tmp"];
    assert_eq!(tmp.kind, "tmpfs");
    assert_eq!(tmp.options, options(&["inode64", "nodev", "noexec", "nosuid", "relatime", "ro"]));
    assert_eq!(mounts["/dev/shm"].options, options(&["relatime", "rw"]));
    assert_eq!(mounts["/proc"].options, options(&["hidepid=invisible", "relatime", "rw"]));
    assert!(mounts.contains_key("/mnt/a b"));
    assert!(!mounts.contains_key("/home"));
    let unified = "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
    let facts = plain(&debian().file("/proc/1/mountinfo", unified));
    assert_eq!(facts.cgroup.value(), Some(&CgroupVersion::V2));
}

#[test]
fn what_cannot_be_read_is_unknown() {
    let mut host = debian();
    for path in [
        "/usr/lib/os-release",
        "/proc/sys/kernel/arch",
        "/sys/devices/system/cpu/online",
        "/proc/meminfo",
        "/proc/1/comm",
        "/proc/swaps",
        "/proc/1/mountinfo",
    ] {
        host = host.unreadable(path, WhyKind::PermissionDenied);
    }
    let facts = plain(&host);
    assert!(matches!(facts.os, Reading::Unknown { .. }));
    assert!(matches!(facts.architecture, Reading::Unknown { .. }));
    assert!(matches!(facts.cpus, Reading::Unknown { .. }));
    assert!(matches!(facts.memory_mib, Reading::Unknown { .. }));
    assert!(matches!(facts.init, Reading::Unknown { .. }));
    assert!(matches!(facts.swap, Reading::Unknown { .. }));
    assert!(matches!(facts.cgroup, Reading::Unknown { .. }));
    assert!(matches!(facts.mounts, Reading::Unknown { .. }));
    for broken in ["", "no mount\n", "22 27 0:21 / /proc rw\n"] {
        let facts = plain(&debian().file("/proc/1/mountinfo", broken));
        assert_eq!(facts.mounts.value().is_some(), broken.is_empty(), "{broken}");
    }
    assert!(matches!(
        plain(&debian().without("/proc/1/mountinfo")).mounts,
        Reading::Unknown { .. }
    ));
}

#[test]
fn the_pods_own_process_1_is_not_the_hosts_init() {
    let pod = MemoryHost::default()
        .link("/proc/self/ns/pid", "pid:[4026532500]")
        .file("/proc/1/comm", "pause\n")
        .file("/proc/1/mountinfo", MOUNTINFO);
    let facts = plain(&pod);
    for why in [facts.init.value().is_none(), facts.mounts.value().is_none()] {
        assert!(why);
    }
    assert!(matches!(facts.cgroup, Reading::Unknown { .. }));
}

#[test]
fn an_old_kernel_leaves_the_architecture_to_a_program() {
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    elf.resize(16, 0);
    elf.extend([3, 0, 183, 0, 1]);
    let host = debian().without("/proc/sys/kernel/arch");
    assert!(matches!(plain(&host).architecture, Reading::Unknown { .. }));
    let host = host.file("/bin/sh", "#!/bin/busybox").file("/sbin/init", &elf);
    assert_eq!(plain(&host).architecture.value().map(String::as_str), Some("aarch64"));
    assert_eq!(parse_machine(b"\x7fELF"), None);
}

#[test]
fn a_distribution_is_known_by_what_it_leaves() {
    use Distribution::*;
    for (paths, executable, expected) in [
        (&[][..], None, None),
        (&["/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/x"], None, Some(Kubeadm)),
        (&["/etc/kubernetes/kubelet.conf", "/etc/eks/nodeadm"], None, Some(Eks)),
        (&["/opt/azure/containers/x", "/var/lib/kubelet/x"], None, Some(Aks)),
        (&["/home/kubernetes/bin/kubelet"], None, Some(Gke)),
        (&["/var/lib/rancher/rke2/x"], None, Some(Rke2)),
        (&["/etc/rancher/k3s/k3s.yaml"], None, Some(K3s)),
        (&["/var/lib/k0s/x"], None, Some(K0s)),
        (&["/var/snap/microk8s/current/x"], None, Some(Microk8s)),
        (&["/etc/machine-config-daemon/x"], None, Some(Openshift)),
        (&["/var/lib/kubelet/x"], None, Some(Other)),
        (&[], Some("/usr/bin/kubelet"), Some(Other)),
        (&[], Some("/data/rancher/rke2/bin/kubelet"), Some(Rke2)),
        (&[], Some("/usr/local/bin/k3s (deleted)"), Some(K3s)),
        (&[], Some("/var/lib/k0s/bin/kubelet"), Some(K0s)),
        (&[], Some("/snap/microk8s/8/kubelite"), Some(Microk8s)),
    ] {
        let host = paths.iter().fold(debian(), |host, path| host.file(path, ""));
        let facts = facts(&host, &table(&[]), &kubelet(executable, &[]));
        assert_eq!(facts.distribution.value(), expected.as_ref(), "{paths:?} {executable:?}");
    }
    for (id, expected) in [("bottlerocket", Bottlerocket), ("talos", Talos), ("rhcos", Openshift)] {
        let host = debian().file("/etc/os-release", format!("ID='{id}'\n"));
        assert_eq!(plain(&host).distribution.value(), Some(&expected));
    }
}

#[test]
fn no_kubernetes_is_claimed_only_where_it_could_have_been_seen() {
    let unread = Section::Unknown { why: Why::new(WhyKind::Crashed, "panicked") };
    let facts_of = |host: &MemoryHost| facts(host, &table(&[]), &unread);
    assert!(matches!(facts_of(&debian()).distribution, Reading::Unknown { .. }));
    assert!(matches!(facts_of(&debian()).role, Reading::Unknown { .. }));
    let host = debian().unreadable("/etc/rancher", WhyKind::PermissionDenied);
    assert!(matches!(plain(&host).distribution, Reading::Unknown { .. }));
    let host = debian().unreadable("/etc/kubernetes/manifests", WhyKind::PermissionDenied);
    assert!(matches!(plain(&host).role, Reading::Unknown { .. }));
    let hidden = ProcessTable { processes: Err(Why::new(WhyKind::PermissionDenied, "hidepid")) };
    let facts = facts(&debian(), &hidden, &kubelet(None, &[]));
    assert!(matches!(facts.role, Reading::Unknown { .. }));
}

#[test]
fn a_control_plane_is_known_by_its_components_outside_pods() {
    let worker = kubelet(Some("/usr/bin/kubelet"), &[]);
    let role = |host: &MemoryHost, processes: &[Process], kubelet: &Section<Kubelet>| {
        facts(host, &table(processes), kubelet).role.value().copied()
    };
    assert_eq!(role(&debian(), &[], &worker), Some(Role::Worker));
    for (path, expected) in [
        ("/etc/kubernetes/manifests/kube-apiserver.yaml", Role::ControlPlane),
        ("/etc/kubernetes/manifests/etcd-pod.yaml", Role::ControlPlane),
        ("/var/lib/rancher/rke2/agent/pod-manifests/etcd.yaml", Role::ControlPlane),
        ("/etc/kubernetes/manifests/etcd-backup.yaml", Role::Worker),
        ("/etc/kubernetes/manifests/kube-proxy.yaml", Role::Worker),
        ("/etc/kubernetes/manifests/.etcd.yaml", Role::Worker),
    ] {
        assert_eq!(role(&debian().file(path, ""), &[], &worker), Some(expected), "{path}");
    }
    let servers = [process(9, "kube-apiserver")];
    let host = debian().file("/proc/9/cgroup", "0::/system.slice/k0scontroller.service\n");
    assert_eq!(role(&host, &servers, &worker), Some(Role::ControlPlane));
    let host = debian().file("/proc/9/cgroup", "0::/kubepods.slice/kubepods-pod1.slice/x\n");
    assert_eq!(role(&host, &servers, &worker), Some(Role::Worker));
    assert_eq!(role(&debian(), &servers, &worker), None);
    for (executable, arguments, expected) in [
        ("/usr/local/bin/k3s", &["server"][..], Role::ControlPlane),
        ("/usr/local/bin/k3s", &["agent"], Role::Worker),
        ("/snap/microk8s/8/kubelite", &[], Role::ControlPlane),
        ("/snap/microk8s/8/kubelite", &["--start-control-plane=false"], Role::Worker),
    ] {
        let kubelet = kubelet(Some(executable), arguments);
        assert_eq!(role(&debian(), &[], &kubelet), Some(expected), "{executable} {arguments:?}");
    }
}

#[test]
fn numbers_and_lists_of_the_kernel_are_counted() {
    for (list, expected) in [
        ("0\n", Some(1)),
        ("0-3,8\n", Some(5)),
        ("3-0", None),
        ("", None),
        ("0-4294967295", None),
        ("a", None),
    ] {
        assert_eq!(parse_cpus(list.as_bytes()), expected, "{list}");
    }
    let swaps = b"Filename\tType\n/swap\\040file   file\t1\t0\t-2\n/dev/sda2 partition 1 0 -3\n";
    assert_eq!(parse_swaps(swaps).unwrap(), ["/dev/sda2", "/swap file"]);
    assert_eq!(parse_swaps(b"x"), None);
    assert_eq!(mounts::unescape(b"a\\134b\\04").as_ref(), b"a\\b\\04");
    let os = os::parse(b"ID=x\nID_LIKE='rhel fedora'\nVARIANT_ID=\"a\\\"b\"\nPRETTY_NAME=\n");
    assert_eq!(os.id_like, ["rhel", "fedora"]);
    assert_eq!((os.variant.as_deref(), os.name.as_str()), (Some("a\"b"), ""));
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        text in "[0-9 ,\\\\=\"'/a:\n-]{0,80}",
    ) {
        for bytes in [&bytes[..], text.as_bytes()] {
            prop_assert!(os::parse(bytes).id.len() <= MAX_TEXT);
            prop_assert!(mounts::unescape(bytes).len() <= bytes.len());
            prop_assert!(parse_cpus(bytes).is_none_or(|count| count > 0));
            prop_assert!(parse_memory_mib(bytes).is_none() && parse_swaps(bytes).is_none());
            if let Some((_, mount)) = mounts::parse_line(bytes) {
                prop_assert!(mount.options.len() <= 64);
            }
            prop_assert!(parse_word(bytes).is_none_or(|word| word.len() <= MAX_TEXT));
            prop_assert_eq!(parse_machine(bytes), None);
        }
    }
}
