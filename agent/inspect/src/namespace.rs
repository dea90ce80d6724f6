//! Namespaces: whether the agent reads the host's processes, sockets, users and mounts.
//!
//! A reading made in a pod's namespace is not an error but a plausible wrong value, so each kind
//! that matters is proven before facts rest on it, see namespaces(7). Initial namespaces have fixed
//! inode numbers (`include/uapi/linux/nsfs.h`; those of mount and network since Linux 6.18, and
//! never those of another namespace, which count up from 0xF0000000). Comparing with process 1
//! proves nothing until the process ids are proven: in a pod, process 1 is the pod's own.
//!
//! Evidence names no inode of a namespace other than an initial one: those change at every start.

use std::collections::BTreeMap;

use palisade_report::section::boot::NamespaceKind;
use palisade_report::section::boot::Proof;

use crate::Host;
use crate::ReadError;
use crate::host::Nature;
use crate::process;

/// Inodes of the initial namespaces, `enum init_ns_ino` of the kernel.
mod initial {
    pub(super) const MOUNT: u32 = 0xEFFF_FFF8;
    pub(super) const NETWORK: u32 = 0xEFFF_FFF9;
    pub(super) const UTS: u32 = 0xEFFF_FFFE;
    pub(super) const IPC: u32 = 0xEFFF_FFFF;
    pub(super) const USER: u32 = 0xEFFF_FFFD;
    pub(super) const PID: u32 = 0xEFFF_FFFC;
}

/// Bytes of files that this area reads: the longest is `/proc/2/status`.
const MAX_SMALL: usize = 64 * 1024;

/// For each kind of namespace, whether readings are made in the host's.
#[must_use]
pub fn prove(host: &dyn Host) -> BTreeMap<NamespaceKind, Proof> {
    let pid = prove_processes(host);
    let of_init = Compared { with_init: pid.distrust().is_none() };
    BTreeMap::from([
        (NamespaceKind::Mount, prove_mounts(host, of_init)),
        (NamespaceKind::Network, prove_network(host, of_init)),
        (NamespaceKind::Pid, pid),
        (NamespaceKind::User, prove_initial(host, "user", initial::USER)),
    ])
}

/// Whether `/proc` lists the host's processes.
///
/// Proof: the own process-id namespace is the initial one, or process 2 is the kernel's thread
/// daemon (as in a mount of the host's `/proc` that is read from a pod).
#[must_use]
pub fn prove_processes(host: &dyn Host) -> Proof {
    let by_inode = prove_initial(host, "pid", initial::PID);
    if by_inode.distrust().is_none() {
        return by_inode;
    }
    match is_thread_daemon(host) {
        Ok(true) => host_by("process 2 is kthreadd, a thread of the kernel"),
        Ok(false) => match by_inode {
            Proof::Foreign { .. } => foreign_by(
                "the own process-id namespace is not the initial one, and process 2 is not \
                 kthreadd; needs the host's process ids (hostPID)",
            ),
            Proof::Captured | Proof::Host { .. } | Proof::Unproven { .. } => by_inode,
        },
        Err(error) => unproven_by(format!(
            "the own process-id namespace is not proven to be the initial one, and {error}"
        )),
    }
}

/// Whether the host's name is read in the initial namespace for names (UTS).
#[must_use]
pub fn prove_names(host: &dyn Host) -> Proof {
    prove_initial(host, "uts", initial::UTS)
}

/// Whether System V IPC parameters are read in the initial namespace for them.
#[must_use]
pub fn prove_ipc(host: &dyn Host) -> Proof {
    prove_initial(host, "ipc", initial::IPC)
}

/// Whether process 1 of the proven process table may be taken for the host's.
#[derive(Clone, Copy)]
struct Compared {
    with_init: bool,
}

fn prove_initial(host: &dyn Host, kind: &str, inode: u32) -> Proof {
    if host.nature() == Nature::Captured {
        return Proof::Captured;
    }
    match own(host, kind) {
        Ok(Some(own)) if own == inode => {
            host_by(format!("the own {kind} namespace is the initial one ({inode})"))
        }
        Ok(Some(_)) => foreign_by(format!("the own {kind} namespace is not the initial one")),
        Ok(None) => unproven_by(format!("/proc/self/ns/{kind} is no namespace link")),
        Err(error) => unproven_by(error.to_string()),
    }
}

fn prove_network(host: &dyn Host, compared: Compared) -> Proof {
    let by_inode = prove_initial(host, "net", initial::NETWORK);
    if by_inode.distrust().is_none() {
        return by_inode;
    }
    if compared.with_init
        && let (Ok(Some(own)), Ok(Some(init))) = (own(host, "net"), of_init(host, "net"))
    {
        return if own == init {
            host_by("the own net namespace is that of process 1")
        } else {
            foreign_by("the own net namespace is not that of process 1; needs hostNetwork")
        };
    }
    // Registered for the initial namespace only (net/core/sysctl_net_core.c); `somaxconn` exists
    // in every one, so its presence tells "not there" from "nothing is there".
    let only_initial = host.metadata("/proc/sys/net/core/netdev_max_backlog");
    let everywhere = host.metadata("/proc/sys/net/core/somaxconn");
    match (only_initial, everywhere) {
        (Ok(_), _) => host_by("net.core.netdev_max_backlog exists in the initial namespace only"),
        (Err(ReadError::NotFound { .. }), Ok(_)) => {
            foreign_by("net.core.netdev_max_backlog is missing, as in every other namespace")
        }
        (Err(error), _) => unproven_by(format!(
            "the own net namespace is not proven to be that of process 1 (needs hostPID and \
             CAP_SYS_PTRACE), and {error}"
        )),
    }
}

fn prove_mounts(host: &dyn Host, compared: Compared) -> Proof {
    if host.nature() == Nature::Captured {
        return Proof::Captured;
    }
    if compared.with_init {
        match host.is_root_of(Some(1)) {
            Ok(true) => return host_by("device and inode of the root are those of /proc/1/root"),
            Ok(false) => return foreign_by("the inspected root is not the root of process 1"),
            Err(_) => {}
        }
    }
    let is_own_root = host.is_root_of(None);
    if is_own_root == Ok(true) {
        let by_inode = prove_initial(host, "mnt", initial::MOUNT);
        if by_inode.distrust().is_none() {
            return by_inode;
        }
        if compared.with_init
            && let (Ok(Some(own)), Ok(Some(init))) = (own(host, "mnt"), of_init(host, "mnt"))
            && own == init
        {
            return host_by("the own root, in the mount namespace of process 1");
        }
    }
    unproven_by("/proc/1/root could not be compared with the inspected root; needs CAP_SYS_PTRACE")
}

fn own(host: &dyn Host, kind: &str) -> Result<Option<u32>, ReadError> {
    host.read_link(&format!("/proc/self/ns/{kind}")).map(|text| parse_link(kind, &text))
}

fn of_init(host: &dyn Host, kind: &str) -> Result<Option<u32>, ReadError> {
    host.read_link(&format!("/proc/1/ns/{kind}")).map(|text| parse_link(kind, &text))
}

/// Whether process 2 is `kthreadd`: a child of no process, without arguments, by that name.
fn is_thread_daemon(host: &dyn Host) -> Result<bool, ReadError> {
    let status = match host.read("/proc/2/status", MAX_SMALL) {
        Ok(contents) => contents.bytes,
        Err(ReadError::NotFound { .. }) => return Ok(false),
        Err(error @ ReadError::Failed { .. }) => return Err(error),
    };
    let arguments = host.read("/proc/2/cmdline", MAX_SMALL)?;
    let field = |name| process::parse_field(&status, name);
    Ok(field("Name:") == Some("kthreadd")
        && field("PPid:") == Some("0")
        // Since Linux 6.8 the kernel says so itself.
        && field("Kthread:").is_none_or(|value| value == "1")
        && arguments.bytes.is_empty())
}

/// The inode out of the text of a link in `/proc/PID/ns`: `pid:[4026531836]`.
///
/// `None` if it is not of that kind and shape. Source: namespaces(7).
#[must_use]
pub fn parse_link(kind: &str, text: &str) -> Option<u32> {
    let number = text.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok()).flatten()
}

fn host_by(evidence: impl Into<String>) -> Proof {
    Proof::Host { evidence: evidence.into() }
}

fn foreign_by(evidence: impl Into<String>) -> Proof {
    Proof::Foreign { evidence: evidence.into() }
}

fn unproven_by(evidence: impl Into<String>) -> Proof {
    Proof::Unproven { evidence: evidence.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryHost;

    use palisade_report::WhyKind;

    use NamespaceKind::Mount;
    use NamespaceKind::Network;
    use NamespaceKind::Pid;
    use NamespaceKind::User;

    fn with_own(kinds: &[(&str, u32)]) -> MemoryHost {
        kinds.iter().fold(MemoryHost::default(), |host, (kind, inode)| {
            host.link(&format!("/proc/self/ns/{kind}"), &format!("{kind}:[{inode}]"))
        })
    }

    fn verdict(host: &MemoryHost, kind: NamespaceKind) -> &'static str {
        match prove(host).get(&kind) {
            Some(Proof::Captured) => "captured",
            Some(Proof::Foreign { .. }) => "foreign",
            Some(Proof::Host { .. }) => "host",
            Some(Proof::Unproven { .. }) => "unproven",
            None => "missing",
        }
    }

    const KTHREADD: &str = "Name:\tkthreadd\nPid:\t2\nPPid:\t0\nKthread:\t1\n";

    #[test]
    fn fixed_inodes_prove_initial_namespaces_without_any_right() {
        // As read on a Linux 6.18 host without the right to read /proc/1/ns.
        let host = with_own(&[
            ("pid", 4_026_531_836),
            ("net", 4_026_531_833),
            ("user", 4_026_531_837),
            ("mnt", 4_026_531_832),
        ])
        .unreadable("/proc/1/ns", WhyKind::PermissionDenied)
        .root_of(None, true);
        for kind in [Pid, Network, User, Mount] {
            assert_eq!(verdict(&host, kind), "host", "{kind:?}");
        }
    }

    #[test]
    fn a_pod_does_not_pass_against_its_own_process_1() {
        let pod = [("pid", 4_026_532_500), ("net", 4_026_532_400), ("mnt", 4_026_532_401)];
        let mut host = with_own(&pod).root_of(Some(1), true).root_of(None, true);
        for (kind, inode) in pod {
            host = host.link(&format!("/proc/1/ns/{kind}"), &format!("{kind}:[{inode}]"));
        }
        assert_eq!(verdict(&host, Pid), "foreign");
        assert_eq!(verdict(&host, Network), "unproven");
        assert_eq!(verdict(&host, Mount), "unproven");
        let host = host.file("/proc/sys/net/core/somaxconn", "4096");
        assert_eq!(verdict(&host, Network), "foreign");
    }

    #[test]
    fn host_processes_alone_do_not_prove_the_network() {
        let host = with_own(&[("pid", 4_026_531_836), ("net", 4_026_532_400)])
            .link("/proc/1/ns/net", "net:[4026531840]");
        assert_eq!(verdict(&host, Network), "foreign");
        let host = host.link("/proc/1/ns/net", "net:[4026532400]");
        assert_eq!(verdict(&host, Network), "host");
    }

    #[test]
    fn a_key_of_the_initial_namespace_proves_the_network_where_links_may_not_be_read() {
        let host = with_own(&[("pid", 4_026_531_836), ("net", 4_026_531_840)])
            .unreadable("/proc/1/ns", WhyKind::PermissionDenied)
            .file("/proc/sys/net/core/netdev_max_backlog", "1000\n");
        assert_eq!(verdict(&host, Network), "host");
        let host = host
            .unreadable("/proc/sys/net/core/netdev_max_backlog", WhyKind::Io)
            .file("/proc/sys/net/core/somaxconn", "4096");
        assert_eq!(verdict(&host, Network), "unproven");
    }

    #[test]
    fn the_hosts_proc_read_from_a_pod_is_known_by_its_kernel_threads() {
        let pod = with_own(&[("pid", 4_026_532_500)]).file("/proc/2/cmdline", "");
        let host = pod.clone().file("/proc/2/status", KTHREADD);
        assert_eq!(verdict(&host, Pid), "host");
        for forged in [
            "Name:\tkthreadd\nPid:\t2\nPPid:\t1\n",
            "Name:\tkthreadd\nPid:\t2\nPPid:\t0\nKthread:\t0\n",
            "Name:\tsleep\nPid:\t2\nPPid:\t0\n",
        ] {
            assert_eq!(verdict(&pod.clone().file("/proc/2/status", forged), Pid), "foreign");
        }
        let host = host.file("/proc/2/cmdline", "kthreadd");
        assert_eq!(verdict(&host, Pid), "foreign");
        let host = host.unreadable("/proc/2/status", WhyKind::PermissionDenied);
        assert_eq!(verdict(&host, Pid), "unproven");
    }

    #[test]
    fn another_root_than_that_of_process_1_is_foreign() {
        let host = with_own(&[("pid", 4_026_531_836), ("mnt", 4_026_531_832)]);
        assert_eq!(verdict(&host, Mount), "unproven");
        assert_eq!(verdict(&host.clone().root_of(Some(1), false), Mount), "foreign");
        assert_eq!(verdict(&host.clone().root_of(None, false), Mount), "unproven");
        assert_eq!(verdict(&host.root_of(Some(1), true), Mount), "host");
    }

    #[test]
    fn a_captured_tree_says_so() {
        let host = MemoryHost::new(Nature::Captured);
        for kind in [Pid, Network, User, Mount] {
            assert_eq!(verdict(&host, kind), "captured", "{kind:?}");
        }
    }

    #[test]
    fn links_of_another_shape_are_no_namespaces() {
        for text in ["", "pid", "pid:[]", "pid:[+1]", "net:[1]", "pid:[99999999999]", "pid:[1]x"] {
            assert_eq!(parse_link("pid", text), None, "{text}");
        }
        assert_eq!(parse_link("pid", "pid:[4026531836]"), Some(initial::PID));
    }
}
