//! How Kubernetes was installed here, and what this node does in its cluster.
//!
//! By files that an installation leaves, and by the kubelet that runs. Not by processes of pods: a
//! pod may run a k3s or an API server of its own.

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::host::Distribution;
use palisade_report::section::host::OperatingSystem;
use palisade_report::section::host::Role;
use palisade_report::section::kubelet::Kubelet;

use crate::Host;
use crate::ReadError;
use crate::host::MAX_ENTRIES;
use crate::host::MAX_PROC;
use crate::process::Process;
use crate::process::ProcessTable;

/// What an installation leaves, from the most to the least particular: RKE2 and the clouds also
/// have what kubeadm has.
const MARKERS: [(Distribution, &[&str]); 8] = [
    (Distribution::Rke2, &["/etc/rancher/rke2", "/var/lib/rancher/rke2"]),
    (Distribution::K3s, &["/etc/rancher/k3s", "/var/lib/rancher/k3s"]),
    (Distribution::K0s, &["/etc/k0s", "/var/lib/k0s"]),
    (Distribution::Microk8s, &["/var/snap/microk8s"]),
    (Distribution::Openshift, &["/etc/machine-config-daemon", "/etc/mco"]),
    (Distribution::Eks, &["/etc/eks"]),
    (Distribution::Aks, &["/opt/azure/containers"]),
    (Distribution::Gke, &["/home/kubernetes/bin", "/home/kubernetes/kube-env"]),
];

/// What kubeadm leaves on a node that it initialised or joined.
const KUBEADM: [&str; 4] = [
    "/var/lib/kubelet/kubeadm-flags.env",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
];

/// Where every kubelet keeps its state unless told otherwise.
const KUBELET_STATE: &str = "/var/lib/kubelet";

/// Directories of static pods beside the kubelet's own setting: kubeadm's, RKE2's.
const MANIFESTS: [&str; 2] =
    ["/etc/kubernetes/manifests", "/var/lib/rancher/rke2/agent/pod-manifests"];

/// Components that make a node part of the control plane, as their manifests are named.
const COMPONENTS: [&str; 4] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// The same as names of processes, cut to 15 bytes. Not etcd: others use it as well.
const PROCESSES: [&str; 4] = ["k3s-server", "kube-apiserver", "kube-controller", "kube-scheduler"];

/// How Kubernetes was installed; absent when nothing of it was found.
pub(super) fn read(
    host: &dyn Host,
    os: Option<&OperatingSystem>,
    kubelet: &Section<Kubelet>,
) -> Reading<Distribution> {
    let by_os = os.and_then(|os| match os.id.as_str() {
        "bottlerocket" => Some(Distribution::Bottlerocket),
        "rhcos" | "scos" => Some(Distribution::Openshift),
        "talos" => Some(Distribution::Talos),
        _ => None,
    });
    if let Some(distribution) = by_os {
        return Reading::known(distribution, Origin::words("ID of os-release(5)"));
    }
    let process = kubelet.known().map(|kubelet| &kubelet.process);
    let executable = process.and_then(Reading::value).map(|process| process.executable.as_str());
    if let Some(distribution) = executable.and_then(by_executable) {
        return Reading::known(distribution, Origin::words("executable of the kubelet"));
    }
    let kubeadm = (Distribution::Kubeadm, &KUBEADM[..]);
    for (distribution, paths) in MARKERS.into_iter().chain([kubeadm]) {
        for path in paths {
            match host.metadata(path) {
                Ok(_) => return Reading::known(distribution, Origin::path(path)),
                Err(ReadError::NotFound { .. }) => {}
                Err(error @ ReadError::Failed { .. }) => return error.reading(),
            }
        }
    }
    if executable.is_some() {
        return Reading::known(Distribution::Other, Origin::words("a kubelet runs"));
    }
    match host.metadata(KUBELET_STATE) {
        Ok(_) => return Reading::known(Distribution::Other, Origin::path(KUBELET_STATE)),
        Err(ReadError::NotFound { .. }) => {}
        Err(error @ ReadError::Failed { .. }) => return error.reading(),
    }
    let origin = Origin::words("files of known distributions, a running kubelet");
    match unknown_kubelet(kubelet) {
        Some(why) => Reading::unknown(why, origin),
        None => Reading::absent(origin),
    }
}

/// The distribution whose layout a kubelet's executable shows.
fn by_executable(path: &str) -> Option<Distribution> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    if path.contains("/rancher/rke2/") {
        Some(Distribution::Rke2)
    } else if path.ends_with("/k3s") {
        Some(Distribution::K3s)
    } else if path.contains("/k0s/") {
        Some(Distribution::K0s)
    } else if path.starts_with("/snap/microk8s/") {
        Some(Distribution::Microk8s)
    } else {
        None
    }
}

/// Why it is not known whether a kubelet runs; `None` if it is.
fn unknown_kubelet(kubelet: &Section<Kubelet>) -> Option<Why> {
    match kubelet {
        Section::Known(Kubelet { process: Reading::Unknown { why, .. }, .. })
        | Section::Unknown { why } => Some(why.clone()),
        Section::Known(_) => None,
    }
}

/// What the node does in its cluster.
///
/// A control plane is known by manifests of its static pods, by its processes outside pods, or by a
/// kubelet that is part of one (k3s, MicroK8s).
pub(super) fn read_role(
    host: &dyn Host,
    processes: &ProcessTable,
    kubelet: &Section<Kubelet>,
) -> Reading<Role> {
    let mut doubt = None;
    match find_manifest(host, kubelet) {
        Ok(Some(path)) => return Reading::known(Role::ControlPlane, Origin::path(&path)),
        Ok(None) => {}
        Err(why) => doubt = Some(why),
    }
    let table = processes.processes.as_ref().map_or(&[][..], Vec::as_slice);
    for process in table.iter().filter(|process| is_component(process)) {
        match runs_in_pod(host, process.pid) {
            Ok(false) => {
                let origin = Origin::words("processes of the control plane");
                return Reading::known(Role::ControlPlane, origin);
            }
            Ok(true) => {}
            Err(why) => doubt = doubt.or(Some(why)),
        }
    }
    let origin = Origin::words("the kubelet's process");
    let process = kubelet.known().map(|kubelet| &kubelet.process);
    let role = match process.and_then(Reading::value) {
        Some(process) if has_control_plane(&process.executable, &process.arguments) => {
            return Reading::known(Role::ControlPlane, origin);
        }
        Some(_) => Role::Worker,
        None => Role::Plain,
    };
    match doubt.or_else(|| unknown_kubelet(kubelet)) {
        Some(why) => Reading::unknown(why, origin),
        None => match &processes.processes {
            Ok(_) => Reading::known(role, origin),
            Err(why) => Reading::unknown(why.clone(), origin),
        },
    }
}

/// The manifest of a component of the control plane.
fn find_manifest(host: &dyn Host, kubelet: &Section<Kubelet>) -> Result<Option<String>, Why> {
    let own = kubelet
        .known()
        .and_then(|kubelet| kubelet.effective.get("staticPodPath"))
        .and_then(Reading::value)
        .and_then(serde_json::Value::as_str)
        .filter(|path| path.starts_with('/'));
    for directory in own.into_iter().chain(MANIFESTS) {
        let entries = match host.list(directory, MAX_ENTRIES) {
            Ok(entries) => entries,
            Err(ReadError::NotFound { .. }) => continue,
            Err(ReadError::Failed { why, .. }) if why.kind == WhyKind::NotRegular => continue,
            Err(error @ ReadError::Failed { .. }) => return Err(error.why()),
        };
        for entry in entries {
            // `kube-apiserver.yaml` everywhere, `kube-apiserver-pod.yaml` of OpenShift.
            let Some((stem, "yaml" | "yml" | "json")) = entry.name.rsplit_once('.') else {
                continue;
            };
            if COMPONENTS.contains(&stem.strip_suffix("-pod").unwrap_or(stem)) {
                return Ok(Some(format!("{directory}/{}", entry.name)));
            }
        }
    }
    Ok(None)
}

fn is_component(process: &Process) -> bool {
    PROCESSES.contains(&process.name.as_str())
}

/// Whether a process runs in a pod, by its control group.
fn runs_in_pod(host: &dyn Host, pid: u32) -> Result<bool, Why> {
    let contents = host.read(&format!("/proc/{pid}/cgroup"), MAX_PROC).map_err(|_| {
        // Names no process: its id changes from boot to boot.
        let detail = "whether a process of the control plane runs in a pod could not be read";
        Why::new(WhyKind::MissingSource, detail)
    })?;
    Ok(contents.bytes.windows(b"kubepods".len()).any(|part| part == b"kubepods"))
}

/// Whether a kubelet's own process holds the control plane as well.
fn has_control_plane(executable: &str, arguments: &[String]) -> bool {
    let executable = executable.strip_suffix(" (deleted)").unwrap_or(executable);
    match executable.rsplit('/').next() {
        Some("k3s") => arguments.first().is_some_and(|word| word == "server"),
        Some("kubelite") => !arguments.iter().any(|word| word == "--start-control-plane=false"),
        Some(_) | None => false,
    }
}
