//! Where the real components are. `tests/tools/components` decides and builds what is missing; this
//! only asks it, once per component and process.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;

/// A directory below `tests/components`: what is versioned and built together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Component {
    /// `alertmanager`.
    Alertmanager,
    /// `helm`, `kustomize`.
    Deploy,
    /// `etcd`.
    Etcd,
    /// `kube-proxy`.
    KubeProxy,
    /// `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`, `kubeadm`, `kubectl`,
    /// `kubelet` of the newest minor.
    Kubernetes,
    /// `kube-apiserver` of the oldest minor that is supported.
    KubernetesOldest,
    /// `prometheus`, which finds no targets by itself.
    Prometheus,
    /// `runc`, with seccomp.
    Runc,
    /// `containerd`, `containerd-shim-runc-v2`, `ctr`, `bridge`, `loopback`, `host-local`,
    /// `portmap`, `kwok`.
    Runtime,
}

impl Component {
    const fn directory(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Deploy => "deploy",
            Self::Etcd => "etcd",
            Self::KubeProxy => "kube-proxy",
            Self::Kubernetes => "kubernetes",
            Self::KubernetesOldest => "kubernetes-oldest",
            Self::Prometheus => "prometheus",
            Self::Runc => "runc",
            Self::Runtime => "runtime",
        }
    }
}

/// The binary `name` of `component`, built now if it is nowhere yet (which takes minutes).
///
/// # Panics
/// If it cannot be built, or the component has no such binary.
#[must_use]
pub fn binary(component: Component, name: &str) -> PathBuf {
    static KNOWN: Mutex<BTreeMap<Component, BTreeMap<String, PathBuf>>> =
        Mutex::new(BTreeMap::new());
    // Held while the script runs: the others wait for the same answer.
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let binaries = known.entry(component).or_insert_with(|| ask(component));
    let path = binaries.get(name);
    path.unwrap_or_else(|| panic!("{component:?} has no {name}: {binaries:?}")).clone()
}

fn ask(component: Component) -> BTreeMap<String, PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/components");
    let output = Command::new(&script)
        .arg(component.directory())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("run {}: {error}", script.display()));
    assert!(
        output.status.success(),
        "{} {}: {}",
        script.display(),
        component.directory(),
        output.status
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().map(|line| {
        let (name, path) = line.split_once(' ').expect("NAME PATH");
        let (_, name) = name.split_once('/').expect("COMPONENT/NAME");
        (name.to_owned(), PathBuf::from(path))
    });
    lines.collect()
}
