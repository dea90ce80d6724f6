//! A small Kubernetes worker made of files: what whole-system tests inspect when the host that they
//! run on would be different everywhere.
//!
//! It does not try to be a complete machine; `tests/nodes` holds captured ones.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::LazyLock;

use palisade_agent::Inspector;
use palisade_agent::Tree;
use palisade_inspect::Interest;
use palisade_report::Report;
use palisade_rules::Profile;
use rcgen::CertificateParams;
use rcgen::KeyPair;

use crate::directory::Directory;

/// A certificate and its key in PEM, made once a run: making them is the slow part.
static CERTIFICATE: LazyLock<(String, String)> = LazyLock::new(|| {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["worker".to_owned()]).expect("certificate parameters");
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
});

/// Writes a worker below `directory`. Workers of different `configuration` differ in every shared
/// section; those of the same are equal to the byte.
pub fn write(directory: &Directory, configuration: usize) {
    let release = format!("6.1.0-{}-amd64", 40 + configuration);
    let put = |path: &str, content: &str| directory.write(path, content);
    put(
        "/etc/os-release",
        &format!(
            "ID=debian\nVERSION_ID=\"12.{configuration}\"\nPRETTY_NAME=\"Debian 12.{configuration}\"\n"
        ),
    );
    for (path, mode) in [("/etc/passwd", 0o644), ("/etc/group", 0o644), ("/etc/shadow", 0o640)] {
        put(path, "root:x:0:0:root:/root:/bin/sh\n");
        set_mode(directory.path(), path, mode);
    }
    // A path whose mode differs from configuration to configuration.
    put("/etc/crontab", "");
    set_mode(
        directory.path(),
        "/etc/crontab",
        [0o600, 0o640, 0o644, 0o400, 0o440][configuration % 5],
    );
    put("/proc/sys/kernel/osrelease", &format!("{release}\n"));
    put("/proc/sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian\n");
    put("/proc/sys/kernel/hostname", "worker\n");
    put("/proc/sys/kernel/arch", "x86_64\n");
    put("/proc/sys/kernel/tainted", "0\n");
    put("/proc/sys/kernel/random/boot_id", "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11\n");
    put("/proc/sys/kernel/kptr_restrict", &format!("{}\n", configuration % 3));
    put("/proc/sys/kernel/dmesg_restrict", &format!("{}\n", configuration));
    put("/proc/sys/kernel/randomize_va_space", "2\n");
    put("/proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz root=UUID=2f6a ro quiet\n");
    put("/proc/stat", "cpu 1 2 3 4\nbtime 1795000000\n");
    put("/proc/meminfo", "MemTotal:        8000000 kB\n");
    put("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
    put("/proc/modules", "overlay 151552 0 - Live 0x0000000000000000\n");
    put("/sys/devices/system/cpu/online", "0-3\n");
    put("/sys/devices/system/cpu/smt/active", "0\n");
    put("/sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n");
    put("/proc/1/comm", "systemd\n");
    put("/proc/1/cmdline", "/sbin/init\0");
    put("/proc/1/status", "Name:\tsystemd\nUid:\t0\t0\t0\t0\n");
    put("/proc/1/mountinfo", "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n");
    let listener = |port: usize| {
        format!(
            "   0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0\n"
        )
    };
    let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    put(
        "/proc/1/net/tcp",
        &format!("{head}{}{}", listener(10250), listener(20000 + configuration)),
    );
    put("/proc/1/net/tcp6", head);
    put("/proc/1/net/udp", head);
    put("/proc/1/net/udp6", head);
    put("/proc/812/comm", "kubelet\n");
    put(
        "/proc/812/cmdline",
        "/usr/bin/kubelet\0--config=/var/lib/kubelet/config.yaml\0--kubeconfig=/etc/kubernetes/kubelet.conf\0",
    );
    put("/proc/812/status", "Name:\tkubelet\nUid:\t0\t0\t0\t0\n");
    put("/usr/bin/kubelet", "");
    link(directory.path(), "/proc/812/exe", "/usr/bin/kubelet");
    put(
        "/var/lib/kubelet/config.yaml",
        &format!(
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication:\n  anonymous:\n    enabled: false\nmaxPods: {}\npodPidsLimit: 4096\nrotateCertificates: true\n",
            110 + configuration
        ),
    );
    let (certificate, key) = &*CERTIFICATE;
    put("/var/lib/kubelet/pki/kubelet-client-current.pem", &format!("{certificate}{key}"));
    set_mode(directory.path(), "/var/lib/kubelet/pki/kubelet-client-current.pem", 0o600);
    put(
        "/etc/kubernetes/kubelet.conf",
        "apiVersion: v1\nkind: Config\nusers:\n- name: default\n  user:\n    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n    client-key: /var/lib/kubelet/pki/kubelet-client-current.pem\n",
    );
    set_mode(directory.path(), "/etc/kubernetes/kubelet.conf", 0o600);
    put(&format!("/lib/modules/{release}/modules.dep"), "");
    put(&format!("/boot/vmlinuz-{release}"), "");
    put(
        "/var/lib/dpkg/status",
        &format!(
            "Package: linux-image-{release}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 6.1.{configuration}-1\n\nPackage: systemd\nStatus: install ok installed\nArchitecture: amd64\nVersion: 252.{configuration}\n\n"
        ),
    );
    put("/run/systemd/system/.keep", "");
}

/// Sets the mode of a file below `root`.
///
/// # Panics
/// If it cannot be set.
pub fn set_mode(root: &Path, path: &str, mode: u32) {
    let path = root.join(path.trim_start_matches('/'));
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set a mode");
}

fn link(root: &Path, path: &str, target: &str) {
    symlink(target, root.join(path.trim_start_matches('/'))).expect("make a link");
}

/// What the agent's own code reports about the tree below `root`.
///
/// # Panics
/// If the tree cannot be opened.
#[must_use]
pub fn inspect(root: &Path) -> Report {
    let profile = Profile::built_in();
    let palisade_rules::Interest { sysctls, files, modules, mounts } = profile.interest().clone();
    let interest = Interest { sysctls, files, modules, mounts, certificates: BTreeSet::new() };
    Inspector::new(Tree::open(root).expect("open the tree"), interest).inspect()
}

/// The reports of `count` different configurations.
#[must_use]
pub fn configurations(count: usize) -> Vec<Report> {
    let report = |configuration| {
        let directory = Directory::new("node");
        write(&directory, configuration);
        inspect(directory.path())
    };
    (0..count).map(report).collect()
}
