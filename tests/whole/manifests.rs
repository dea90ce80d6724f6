//! What is deployed, rendered and held against what it may be, then against real API servers.
//!
//! ```text
//! manifests/{base,overlays,components} ──kustomize──> objects ──> rights, pods   (no cluster)
//!                    │                                   ├──────> chart          (helm renders the same)
//!                    └──────── files of the chart        └──────> server, policy, request
//!                                                                (both API servers)
//! ```
//!
//! `PALISADE_GOLDEN=write` writes what is generated: the CRD, and the objects that the chart holds.

mod alert;
mod alert_config;
mod chart;
mod pods;
mod policy;
mod reboot_policy;
mod render;
mod request;
mod rights;
mod server;

/// What the component for Prometheus and Grafana renders to, by `Kind/name`.
pub(crate) fn with_monitoring() -> render::Objects {
    render::combined("kubeadm", &["monitoring"])
}
