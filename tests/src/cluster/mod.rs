//! A real Kubernetes on loopback: etcd and kube-apiserver always, controllers, scheduler, KWOK nodes
//! and a fault-injecting proxy on demand.
//!
//! ```text
//! tests/tools/components -> components -> launch -> control_plane -> kubectl, api, kwok, proxy
//!                                           pki ----^
//! ```
//!
//! Each control plane has ports, certificates and a directory of its own. Everything ends when it is
//! dropped, and also when the test process is killed: see [`launch`]. At most a few run at once on
//! one machine: see [`slot`].

pub mod alertmanager;
pub mod api;
mod base64;
pub mod components;
pub mod control_plane;
mod equipped;
pub mod forward;
pub mod installation;
mod kubeconfig;
mod kubectl;
pub mod kubelet;
pub mod kwok;
pub mod launch;
mod leftover;
pub mod machine;
pub mod mounted;
mod objects;
mod pause;
pub mod pki;
pub mod port;
pub mod prometheus;
pub mod proxy;
pub mod slot;

pub use control_plane::ControlPlane;
pub use control_plane::Options;
pub use control_plane::Release;
pub use kubelet::Kubelet;
pub use objects::BoundPod;
