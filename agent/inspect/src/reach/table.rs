//! The list itself: what the areas look at on every host.
//!
//! A reader that starts to look at another path adds it here; a test that inspects through this list
//! fails otherwise.

use palisade_report::section::host::Distribution;

/// How a path is served, each kind including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Serve {
    /// Metadata and link texts only.
    Looks,
    /// Bytes as they are: what the kernel or a package manager writes, without secrets.
    Plain,
    /// The start of an argument list, secrets taken out.
    Arguments,
    /// Bytes without the secrets in them.
    Screened,
    /// The same, and what they name is served as well.
    Names,
    /// A directory with such files, or one such file.
    Lists,
}

use Serve::Arguments;
use Serve::Lists;
use Serve::Looks;
use Serve::Names;
use Serve::Plain;
use Serve::Screened;

/// What is never read, whatever leads to it, and why.
pub const NEVER: [(&str, &str); 14] = [
    ("/etc/gshadow*", "password hashes"),
    ("/etc/shadow*", "password hashes"),
    ("/etc/ssh/ssh_host_*_key", "host keys"),
    ("/home/*/.*", "what people keep to themselves"),
    ("/root/.*", "what the administrator keeps to himself"),
    ("/run/secrets", "tokens of service accounts"),
    ("/var/run/secrets", "tokens of service accounts"),
    ("/var/lib/containers", "file systems of containers"),
    ("/var/lib/containerd", "file systems of containers"),
    ("/var/lib/docker", "file systems of containers"),
    ("/var/lib/etcd", "the cluster's state"),
    ("/var/lib/kubelet/pods", "volumes of pods, Secrets among them"),
    ("/var/lib/rancher/*/server/cred", "join tokens and passwords"),
    ("/var/lib/rancher/*/server/token", "join tokens"),
];

/// Every distribution: which one a host runs is not known before it is read.
pub(super) const DISTRIBUTIONS: [Distribution; 12] = [
    Distribution::Aks,
    Distribution::Bottlerocket,
    Distribution::Eks,
    Distribution::Gke,
    Distribution::K0s,
    Distribution::K3s,
    Distribution::Kubeadm,
    Distribution::Microk8s,
    Distribution::Openshift,
    Distribution::Rke2,
    Distribution::Talos,
    Distribution::Other,
];

const BOOT: &str = "boot";
const CERTIFICATES: &str = "certificates";
const HOST: &str = "host";
const KERNEL: &str = "kernel";
const KUBELET: &str = "kubelet";
const NAMESPACE: &str = "namespace";
const PROCESS: &str = "process";
const REBOOT: &str = "reboot";
const SOCKETS: &str = "sockets";
const SYSCTLS: &str = "sysctls";
const UPDATES: &str = "updates";

/// Path or pattern, how it is served, and the area that looks at it.
#[rustfmt::skip]
pub(super) const TABLE: &[(&str, Serve, &str)] = &[
    ("/proc/*", Looks, PROCESS),
    ("/proc/*/cgroup", Plain, PROCESS),
    ("/proc/*/cmdline", Arguments, PROCESS),
    ("/proc/*/comm", Plain, PROCESS),
    ("/proc/*/exe", Looks, PROCESS),
    ("/proc/*/fd/*", Looks, SOCKETS),
    ("/proc/*/maps", Plain, REBOOT),
    ("/proc/*/ns/*", Looks, NAMESPACE),
    ("/proc/*/status", Plain, PROCESS),
    ("/proc/1/mountinfo", Plain, HOST),
    ("/proc/1/net/if_inet6", Looks, SOCKETS),
    ("/proc/1/net/tcp", Plain, SOCKETS),
    ("/proc/1/net/tcp6", Plain, SOCKETS),
    ("/proc/1/net/udp", Plain, SOCKETS),
    ("/proc/1/net/udp6", Plain, SOCKETS),
    ("/proc/cmdline", Plain, KERNEL),
    ("/proc/filesystems", Plain, KERNEL),
    ("/proc/meminfo", Plain, HOST),
    ("/proc/modules", Plain, KERNEL),
    ("/proc/stat", Plain, BOOT),
    ("/proc/swaps", Plain, HOST),
    ("/proc/sys/kernel/arch", Plain, HOST),
    ("/proc/sys/kernel/hostname", Plain, BOOT),
    ("/proc/sys/kernel/modules_disabled", Plain, KERNEL),
    ("/proc/sys/kernel/osrelease", Plain, KERNEL),
    ("/proc/sys/kernel/random/boot_id", Plain, BOOT),
    ("/proc/sys/kernel/tainted", Plain, KERNEL),
    ("/proc/sys/kernel/version", Plain, KERNEL),
    ("/proc/sys/net/core/netdev_max_backlog", Looks, NAMESPACE),
    ("/proc/sys/net/core/somaxconn", Looks, NAMESPACE),
    ("/proc/sys/net/ipv6", Looks, SOCKETS),

    ("/sys/devices/system/cpu/online", Plain, HOST),
    ("/sys/devices/system/cpu/smt/active", Plain, KERNEL),
    ("/sys/devices/system/cpu/vulnerabilities/*", Plain, KERNEL),
    ("/sys/firmware/*", Looks, KERNEL),
    ("/sys/firmware/efi/efivars/*", Looks, KERNEL),
    ("/sys/firmware/efi/efivars/LoaderEntry*", Plain, KERNEL),
    ("/sys/firmware/efi/efivars/SecureBoot-*", Plain, KERNEL),
    ("/sys/fs/selinux/enforce", Plain, KERNEL),
    ("/sys/kernel/livepatch/*/enabled", Plain, KERNEL),
    ("/sys/kernel/livepatch/*/transition", Plain, KERNEL),
    ("/sys/kernel/security/*", Looks, KERNEL),
    ("/sys/kernel/security/lockdown", Plain, KERNEL),
    ("/sys/kernel/security/lsm", Plain, KERNEL),
    ("/sys/module/apparmor/parameters/enabled", Plain, KERNEL),
    ("/sys/module/module/parameters/sig_enforce", Plain, KERNEL),

    ("/bin/sh", Plain, HOST),
    ("/sbin/init", Plain, HOST),
    ("/usr/lib/systemd/systemd", Plain, HOST),
    ("/etc/os-release", Plain, HOST),
    ("/usr/lib/os-release", Plain, HOST),

    ("/boot/*", Looks, KERNEL),
    ("/boot/efi/EFI/Linux/*", Looks, KERNEL),
    ("/boot/efi/loader/entries/*", Screened, KERNEL),
    ("/boot/efi/loader/loader.conf", Screened, KERNEL),
    ("/boot/EFI/Linux/*", Looks, KERNEL),
    ("/boot/grub/grub.cfg", Screened, KERNEL),
    ("/boot/grub/grubenv", Screened, KERNEL),
    ("/boot/grub2/grub.cfg", Screened, KERNEL),
    ("/boot/grub2/grubenv", Screened, KERNEL),
    ("/boot/loader/entries/*", Screened, KERNEL),
    ("/boot/loader/loader.conf", Screened, KERNEL),
    ("/efi/EFI/Linux/*", Looks, KERNEL),
    ("/efi/loader/entries/*", Screened, KERNEL),
    ("/efi/loader/loader.conf", Screened, KERNEL),
    ("/lib/modules/*/*", Looks, KERNEL),
    ("/lib/modules/*/modules.builtin", Plain, KERNEL),
    ("/lib/modules/*/modules.dep", Plain, KERNEL),
    ("/usr/lib/modules/*/*", Looks, KERNEL),
    ("/usr/lib/modules/*/modules.builtin", Plain, KERNEL),
    ("/usr/lib/modules/*/modules.dep", Plain, KERNEL),
    ("/etc/modprobe.d/*", Screened, KERNEL),
    ("/lib/modprobe.d/*", Screened, KERNEL),
    ("/run/modprobe.d/*", Screened, KERNEL),
    ("/usr/lib/modprobe.d/*", Screened, KERNEL),
    ("/usr/local/lib/modprobe.d/*", Screened, KERNEL),

    ("/etc/sysctl.conf", Screened, SYSCTLS),
    ("/etc/sysctl.d/*", Screened, SYSCTLS),
    ("/run/sysctl.d/*", Screened, SYSCTLS),
    ("/usr/lib/sysctl.d/*", Screened, SYSCTLS),
    ("/usr/local/lib/sysctl.d/*", Screened, SYSCTLS),

    ("/etc/eks", Looks, HOST),
    ("/etc/k0s", Looks, HOST),
    ("/etc/machine-config-daemon", Looks, HOST),
    ("/etc/mco", Looks, HOST),
    ("/etc/rancher/k3s", Looks, HOST),
    ("/etc/rancher/rke2", Looks, HOST),
    ("/home/kubernetes/bin", Looks, HOST),
    ("/home/kubernetes/kube-env", Looks, HOST),
    ("/opt/azure/containers", Looks, HOST),
    ("/var/lib/k0s", Looks, HOST),
    ("/var/lib/kubelet/kubeadm-flags.env", Looks, HOST),
    ("/var/lib/rancher/k3s", Looks, HOST),
    ("/var/lib/rancher/rke2", Looks, HOST),
    ("/var/snap/microk8s", Looks, HOST),
    ("/etc/kubernetes/manifests", Lists, HOST),
    ("/etc/kubernetes/manifests/*", Names, CERTIFICATES),
    ("/var/lib/rancher/rke2/agent/pod-manifests/*", Names, CERTIFICATES),

    ("/var/lib/kubelet/config.yaml", Names, KUBELET),
    ("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/*", Names, KUBELET),
    ("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/*/*", Names, KUBELET),
    ("/var/lib/kubelet/pki/*.pem", Screened, CERTIFICATES),
    ("/var/lib/kubelet/pki/kubelet.crt", Screened, CERTIFICATES),
    ("/var/lib/kubelet/pki/kubelet.key", Screened, CERTIFICATES),

    ("/etc/kernel/postinst.d/unattended-upgrades", Looks, REBOOT),
    ("/etc/kernel/postinst.d/update-notifier", Looks, REBOOT),
    ("/etc/zypp/zypp-boot-plugin.conf", Looks, REBOOT),
    ("/run/ostree-booted", Looks, REBOOT),
    ("/run/reboot-needed", Plain, REBOOT),
    ("/run/reboot-required", Looks, REBOOT),
    ("/run/reboot-required.pkgs", Plain, REBOOT),
    ("/usr/etc/zypp/zypp-boot-plugin.conf", Looks, REBOOT),
    ("/usr/lib/zypp/plugins/commit/boot-plugin", Looks, REBOOT),
    ("/usr/share/update-notifier/notify-reboot-required", Looks, REBOOT),
    ("/var/run/reboot-needed", Plain, REBOOT),
    ("/var/run/reboot-required", Looks, REBOOT),
    ("/var/cache/apt/archives/lock", Plain, REBOOT),
    ("/var/lib/dpkg/lock", Plain, REBOOT),
    ("/var/lib/dpkg/lock-frontend", Plain, REBOOT),
    ("/var/lib/rpm/.rpm.lock", Plain, REBOOT),
    ("/var/log/dnf.rpm.log", Plain, REBOOT),

    ("/etc/apt/apt.conf", Screened, UPDATES),
    ("/etc/apt/apt.conf.d/*", Screened, UPDATES),
    ("/etc/apt/sources.list", Screened, UPDATES),
    ("/etc/apt/sources.list.d/*", Screened, UPDATES),
    ("/etc/dnf/automatic.conf", Screened, UPDATES),
    ("/etc/dnf/dnf.conf", Screened, UPDATES),
    ("/etc/dnf/dnf5-plugins/automatic.conf", Screened, UPDATES),
    ("/etc/systemd/system/apt-daily-upgrade.service", Looks, UPDATES),
    ("/etc/systemd/system/apt-daily-upgrade.timer", Looks, UPDATES),
    ("/etc/systemd/system/timers.target.wants/*", Looks, UPDATES),
    ("/etc/yum.conf", Screened, UPDATES),
    ("/etc/yum.repos.d/*", Screened, UPDATES),
    ("/etc/zypp/repos.d/*", Screened, UPDATES),
    ("/lib/apk/db/installed", Plain, UPDATES),
    ("/usr/bin/unattended-upgrade", Looks, UPDATES),
    ("/usr/lib/sysimage/rpm/*", Looks, UPDATES),
    ("/usr/share/dnf5/dnf5-plugins/automatic.conf", Screened, UPDATES),
    ("/usr/share/rpm/rpmdb.sqlite", Looks, UPDATES),
    ("/var/lib/dpkg/status", Plain, UPDATES),
    ("/var/lib/dpkg/updates/*", Plain, UPDATES),
    ("/var/lib/rpm/*", Looks, UPDATES),
];
