//! The settings files of containerd, its pod network, kubelet and kube-proxy.
//!
//! Text only. What a value is for stands beside it where it is not the component's default.

use std::net::Ipv4Addr;
use std::path::Path;

use super::leftovers::BRIDGE;
use super::leftovers::CGROUP;
use super::leftovers::NETWORK;
use super::leftovers::ROOT;
use super::leftovers::STATE;
use crate::cluster::pause::PAUSE;

/// containerd's settings: everything below the harness' directories, no registry, no plugin that
/// needs a socket of its own.
///
/// `restrict_oom_score_adj`: without `CAP_SYS_RESOURCE` nobody may lower it, and runc would fail.
pub(super) fn containerd(plugins: &Path, runc: &Path) -> String {
    format!(
        r#"version = 3
root = "{ROOT}/containerd"
state = "{STATE}/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.blockfile"]

[grpc]
  address = "{STATE}/containerd.sock"

[plugins.'io.containerd.cri.v1.images']
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "docker.io/library/{PAUSE}"

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{STATE}/net.d"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      Root = "{STATE}/runc"
      SystemdCgroup = false
"#,
        plugins = plugins.display(),
        runc = runc.display(),
    )
}

/// The pods' network: one bridge, addresses from `subnet`, no masquerading: nothing leaves.
pub(super) fn network(subnet: &str, gateway: Ipv4Addr) -> String {
    format!(
        r#"{{
  "cniVersion": "1.0.0",
  "name": "{NETWORK}",
  "plugins": [
    {{
      "type": "bridge", "bridge": "{BRIDGE}", "isGateway": true, "ipMasq": false, "hairpinMode": true,
      "ipam": {{
        "type": "host-local", "dataDir": "{STATE}/addresses",
        "ranges": [[{{"subnet": "{subnet}", "gateway": "{gateway}"}}]],
        "routes": [{{"dst": "0.0.0.0/0"}}]
      }}
    }}
  ]
}}
"#
    )
}

/// kubelet's settings. Pods are evicted at no fill level of the disk that a test machine has, and
/// mounted ConfigMaps follow within seconds.
pub(super) fn kubelet(address: Ipv4Addr, ca: &Path) -> String {
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
healthzPort: 0
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {ca}}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
cgroupRoot: /{CGROUP}
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
oomScoreAdj: 0
containerRuntimeEndpoint: unix://{STATE}/containerd.sock
imageServiceEndpoint: unix://{STATE}/containerd.sock
podLogsDir: {ROOT}/logs
volumePluginDir: {ROOT}/volume-plugins
evictionHard: {{memory.available: 1Mi, nodefs.available: 1Mi, imagefs.available: 1Mi}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 2s
syncFrequency: 5s
shutdownGracePeriod: 0s
"#,
        ca = ca.display(),
    )
}

/// kube-proxy's settings: nftables, connection tracking left as the machine has it.
pub(super) fn proxy(node: &str, kubeconfig: &Path, subnet: &str, address: Ipv4Addr) -> String {
    format!(
        r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
bindAddress: {address}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
hostnameOverride: {node}
clusterCIDR: {subnet}
clientConnection: {{kubeconfig: {kubeconfig}}}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
nodePortAddresses: ["{address}/32"]
"#,
        kubeconfig = kubeconfig.display(),
    )
}
