//! Static pods: certificates and kubeconfigs that the flags of their containers name.
//!
//! A path inside the container is assumed to be the same on the host, as every installer of control
//! planes mounts them; a container that mounts another host path there shows up as a missing file.

use serde::Deserialize;

use palisade_report::Why;
use palisade_report::section::certificates::Expectation;

use super::kubeconfig::yaml_options;
use super::watch::Kind;
use super::watch::Wanted;
use super::watch::Watches;
use crate::Host;
use crate::ReadError;
use crate::host::EntryKind;
use crate::host::MAX_CONFIG;

/// Manifests that are read; a control plane has four or five.
const MAX_MANIFESTS: usize = 100;

/// Containers and arguments that are read of one manifest.
const MAX_CONTAINERS: usize = 32;
const MAX_ARGUMENTS: usize = 1000;

/// Flags that name certificates: the flag, the flag with its key, and the flag with the bundle that
/// it has to lead to, where the same component names one. Source: the `--help` of kube-apiserver,
/// kube-controller-manager, kube-scheduler, etcd and cloud controllers.
const CERTIFICATES: &[(&str, &str, &str)] = &[
    ("tls-cert-file", "tls-private-key-file", ""),
    ("kubelet-client-certificate", "kubelet-client-key", ""),
    ("proxy-client-cert-file", "proxy-client-key-file", "requestheader-client-ca-file"),
    ("etcd-certfile", "etcd-keyfile", ""),
    ("cert-file", "key-file", ""),
    ("peer-cert-file", "peer-key-file", "peer-trusted-ca-file"),
    ("client-cert-file", "client-key-file", ""),
];

/// Flags that name bundles of authorities; the second is the flag with the key of the first
/// certificate, where there is one.
const BUNDLES: &[(&str, &str)] = &[
    ("client-ca-file", ""),
    ("requestheader-client-ca-file", ""),
    ("etcd-cafile", ""),
    ("trusted-ca-file", ""),
    ("peer-trusted-ca-file", ""),
    ("kubelet-certificate-authority", ""),
    ("root-ca-file", ""),
    ("cluster-signing-cert-file", "cluster-signing-key-file"),
];

/// Flags that name kubeconfigs.
const KUBECONFIGS: &[&str] =
    &["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"];

/// Adds what the static pods of `path` (a directory, or one manifest) use.
pub fn watch(host: &dyn Host, path: &str, watches: &mut Watches) {
    let manifests = match host.list(path, MAX_MANIFESTS) {
        Ok(entries) => entries
            .into_iter()
            .filter(|entry| matches!(entry.kind, EntryKind::Regular | EntryKind::Link))
            // The kubelet passes over hidden files.
            .filter(|entry| !entry.name.starts_with('.'))
            .map(|entry| format!("{}/{}", path.trim_end_matches('/'), entry.name))
            .collect(),
        Err(ReadError::NotFound { .. }) => return,
        Err(ReadError::Failed { why, .. }) => {
            if why.kind != palisade_report::WhyKind::NotRegular {
                watches.leave_out(Why::new(why.kind, format!("static pods of {path}: {why}")));
                return;
            }
            vec![path.to_owned()]
        }
    };
    for manifest in manifests {
        match host.read(&manifest, MAX_CONFIG) {
            Ok(contents) => match parse(&contents.bytes) {
                Ok(containers) => {
                    for container in &containers {
                        add(container, &manifest, watches);
                    }
                }
                Err(error) => {
                    let kind = palisade_report::WhyKind::Malformed;
                    watches.leave_out(Why::new(kind, format!("{manifest}: {error}")));
                }
            },
            // Removed since it was listed.
            Err(ReadError::NotFound { .. }) => {}
            Err(ReadError::Failed { why, .. }) => {
                watches.leave_out(Why::new(why.kind, format!("{manifest}: {why}")));
            }
        }
    }
}

/// The name and words of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// Its command and arguments.
    pub words: Vec<String>,
}

impl Container {
    /// The value of a flag, `--flag=value` or `--flag value`, with one dash or two; the last wins.
    fn flag(&self, flag: &str) -> Option<&str> {
        let mut value = None;
        for (at, word) in self.words.iter().enumerate() {
            let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                continue;
            };
            match rest.split_once('=') {
                Some((name, text)) if name == flag => value = Some(text),
                None if rest == flag => value = self.words.get(at + 1).map(String::as_str),
                Some(_) | None => {}
            }
        }
        value.filter(|value| !value.is_empty())
    }
}

/// The bytes are no manifest of a pod. At fault: the node's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed manifest: expected YAML or JSON of a pod")]
pub struct Malformed;

/// The containers of a static pod's manifest.
///
/// # Errors
/// [`Malformed`] if it is neither YAML nor JSON of that shape, or exceeds the bounds for host files.
pub fn parse(manifest: &[u8]) -> Result<Vec<Container>, Malformed> {
    let pod: Pod =
        serde_saphyr::from_slice_with_options(manifest, yaml_options()).map_err(|_| Malformed)?;
    let containers = pod.spec.unwrap_or_default().containers.unwrap_or_default();
    Ok(containers
        .into_iter()
        .take(MAX_CONTAINERS)
        .map(|RawContainer { name, command, args }| {
            let words = command.into_iter().flatten().chain(args.into_iter().flatten());
            Container { name, words: words.take(MAX_ARGUMENTS).collect() }
        })
        .collect())
}

fn add(container: &Container, manifest: &str, watches: &mut Watches) {
    let named = |flag: &str| container.flag(flag).map(str::to_owned);
    let mut want = |flag: &str, kind, key: &str, authority: &str| {
        let Some(path) = named(flag) else { return };
        watches.add(Wanted {
            path,
            reason: format!("{} --{flag} ({manifest})", container.name),
            expected: Expectation::Required,
            kind,
            key: named(key),
            authority: named(authority),
        });
    };
    for (flag, key, authority) in CERTIFICATES {
        want(flag, Kind::Certificates, key, authority);
    }
    for (flag, key) in BUNDLES {
        want(flag, Kind::Bundle, key, "");
    }
    for flag in KUBECONFIGS {
        want(flag, Kind::Kubeconfig, "", "");
    }
}

#[derive(Deserialize)]
struct Pod {
    spec: Option<Spec>,
}

#[derive(Default, Deserialize)]
struct Spec {
    containers: Option<Vec<RawContainer>>,
}

#[derive(Deserialize)]
struct RawContainer {
    #[serde(default)]
    name: String,
    command: Option<Vec<String>>,
    args: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_in_every_form() {
        let text = "apiVersion: v1\nkind: Pod\nspec:\n  hostNetwork: true\n  containers:\n  - name: etcd\n    \
                    command: [etcd, -cert-file, /a, --key-file=/b, --name=x]\n    args: [--cert-file=/c]\n";
        let containers = parse(text.as_bytes()).unwrap();
        assert_eq!(containers[0].flag("cert-file"), Some("/c"));
        assert_eq!(containers[0].flag("key-file"), Some("/b"));
        assert_eq!(containers[0].flag("peer-cert-file"), None);
        assert_eq!(containers[0].flag(""), None);
    }

    #[test]
    fn json_and_pods_without_containers_are_legal_and_nonsense_is_not() {
        assert_eq!(parse(b"{\"kind\": \"Pod\", \"spec\": {}}"), Ok(Vec::new()));
        assert_eq!(parse(b"- a"), Err(Malformed));
        assert_eq!(parse(b"\xff"), Err(Malformed));
    }
}
