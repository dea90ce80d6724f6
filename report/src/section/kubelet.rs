//! Kubelet: its process, and its configuration as it computes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::reading::Reading;
use crate::reading::Why;

/// Facts about the kubelet of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubelet {
    /// The process; absent when processes were visible and none is a kubelet.
    pub process: Reading<Process>,
    /// Files that make up the configuration, in the order in which they apply.
    pub sources: Vec<ConfigSource>,
    /// Every effective value by its path in `KubeletConfiguration`
    /// (`authentication.anonymous.enabled`), with its origin: flag, drop-in, file or default.
    /// Empty when there is no kubelet. Absent: no layer sets it and the default is "not set".
    /// Source: `KubeletConfiguration` v1beta1 and kubelet(1) flags.
    pub effective: BTreeMap<String, Reading<Value>>,
    /// Effective flags that are not part of `KubeletConfiguration`, by name without dashes
    /// (`kubeconfig`, `hostname-override`); values that identify one node are `*`.
    pub flags: BTreeMap<String, Reading<String>>,
    /// What the kubelet would refuse at its next start.
    pub refused: Vec<Why>,
}

/// The kubelet's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its executable; empty where it may not be seen.
    pub executable: String,
    /// Its arguments without the first; values that identify one node are `*`.
    pub arguments: Vec<String>,
    /// The user id it runs as.
    pub uid: u32,
}

/// A file that contributes to the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSource {
    /// Its path.
    pub path: String,
    /// `known` once merged; else why it was not.
    pub merged: Reading<String>,
}
