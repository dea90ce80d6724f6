//! The kubelet's flags: which take a value, and which are not part of `KubeletConfiguration`.
//!
//! Source: `kubelet --help` of Kubernetes 1.24 to 1.36, retired flags included, because a flag
//! that is not known here is taken apart by guess.

use super::fields::FIELDS;
use super::fields::Kind;

/// Whether a flag takes a value of its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// A boolean: only `--f` and `--f=v`.
    Switch,
    /// `--f v` and `--f=v`.
    Value,
}

/// What the flag called `name` takes; `None` for a flag that no covered version has.
pub(super) fn takes(name: &str) -> Option<Takes> {
    if let Some(field) = FIELDS.iter().find(|field| field.flag == name) {
        return Some(match field.kind {
            Kind::Boolean => Takes::Switch,
            Kind::Duration
            | Kind::Gates
            | Kind::Integer
            | Kind::List
            | Kind::Map { .. }
            | Kind::Path
            | Kind::Text => Takes::Value,
        });
    }
    if SWITCHES.contains(&name) {
        return Some(Takes::Switch);
    }
    let own = OWN.iter().any(|(own, _)| *own == name);
    (own || VALUES.contains(&name)).then_some(Takes::Value)
}

/// Flags outside `KubeletConfiguration` that are facts even when not given, with their default.
pub(super) const OWN: [(&str, Option<&str>); 14] = [
    ("bootstrap-kubeconfig", None),
    ("cert-dir", Some("/var/lib/kubelet/pki")),
    ("config", None),
    ("config-dir", None),
    ("hostname-override", None),
    ("image-credential-provider-bin-dir", None),
    ("image-credential-provider-config", None),
    ("kubeconfig", None),
    ("node-ip", None),
    ("node-labels", None),
    ("root-dir", Some("/var/lib/kubelet")),
    ("runtime-cgroups", None),
    ("v", Some("0")),
    ("vmodule", None),
];

/// Flags that name a file or directory; a relative one starts at the kubelet's working directory.
pub(super) const PATHS: [&str; 8] = [
    "bootstrap-kubeconfig",
    "cert-dir",
    "config",
    "config-dir",
    "image-credential-provider-bin-dir",
    "image-credential-provider-config",
    "kubeconfig",
    "root-dir",
];

/// Booleans that are not fields of the table.
const SWITCHES: [&str; 32] = [
    "add-dir-header",
    "allow-privileged",
    "alsologtostderr",
    "cgroups-per-qos",
    "containerized",
    "cpu-cfs-quota",
    "docker-only",
    "enable-controller-attach-detach",
    "enable-load-reader",
    "exit-on-lock-contention",
    "experimental-allocatable-ignore-eviction",
    "experimental-check-node-capabilities-before-mount",
    "experimental-kernel-memcg-notification",
    "fail-cgroupv1",
    "help",
    "keep-terminated-pod-volumes",
    "kernel-memcg-notification",
    "local-storage-capacity-isolation",
    "log-cadvisor-usage",
    "log-json-split-stream",
    "log-text-split-stream",
    "logtostderr",
    "one-output",
    "profiling",
    "really-crash-for-testing",
    "redirect-container-streaming",
    "register-node",
    "register-schedulable",
    "runonce",
    "skip-headers",
    "skip-log-headers",
    "version",
];

/// Flags with a value that are neither in the table of fields nor facts by themselves.
const VALUES: [&str; 71] = [
    "application-metrics-count-limit",
    "azure-container-registry-config",
    "boot-id-file",
    "cloud-config",
    "cloud-provider",
    "cni-bin-dir",
    "cni-cache-dir",
    "cni-conf-dir",
    "container-hints",
    "container-runtime",
    "containerd",
    "containerd-namespace",
    "cpu-cfs-quota-period",
    "cpu-manager-policy-options",
    "cpu-manager-reconcile-period",
    "docker-endpoint",
    "event-storage-age-limit",
    "event-storage-event-limit",
    "eviction-max-pod-grace-period",
    "eviction-minimum-reclaim",
    "eviction-pressure-transition-period",
    "eviction-soft",
    "eviction-soft-grace-period",
    "experimental-bootstrap-kubeconfig",
    "experimental-mounter-path",
    "global-housekeeping-interval",
    "hairpin-mode",
    "housekeeping-interval",
    "http-check-frequency",
    "image-service-endpoint",
    "iptables-drop-bit",
    "iptables-masquerade-bit",
    "kube-api-burst",
    "kube-api-content-type",
    "kube-api-qps",
    "lock-file",
    "log-backtrace-at",
    "log-dir",
    "log-file",
    "log-file-max-size",
    "log-flush-frequency",
    "log-json-info-buffer-size",
    "log-text-info-buffer-size",
    "logging-format",
    "machine-id-file",
    "manifest-url-header",
    "max-open-files",
    "maximum-dead-containers",
    "maximum-dead-containers-per-container",
    "minimum-container-ttl-duration",
    "network-plugin",
    "network-plugin-mtu",
    "node-status-max-images",
    "non-masquerade-cidr",
    "oom-score-adj",
    "pod-cidr",
    "pod-infra-container-image",
    "provider-id",
    "qos-reserved",
    "register-with-taints",
    "reserved-cpus",
    "reserved-memory",
    "seccomp-profile-root",
    "stderrthreshold",
    "sync-frequency",
    "system-cgroups",
    "system-reserved-cgroup",
    "topology-manager-policy-options",
    "topology-manager-scope",
    "volume-plugin-dir",
    "volume-stats-agg-period",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_flag_is_listed_once_and_spelled_with_dashes() {
        let mut seen = BTreeSet::new();
        let fields = FIELDS.iter().map(|field| field.flag).filter(|flag| !flag.is_empty());
        let own = OWN.iter().map(|(name, _)| *name);
        let listed = fields.chain(own).chain(SWITCHES).chain(VALUES);
        for name in listed {
            assert!(!name.contains('_'), "{name}");
            assert!(seen.insert(name), "{name} is listed twice");
        }
        assert!(PATHS.iter().all(|path| OWN.iter().any(|(own, _)| own == path)));
    }
}
