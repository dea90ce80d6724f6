//! Makes a machine a node: containerd and kubelet as systemd units that come back after a reboot, with
//! the files where kubeadm would put them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::HOST;
use super::Machine;
use crate::cluster::ControlPlane;
use crate::cluster::api::Call;
use crate::cluster::pause;
use crate::cluster::pause::PAUSE;

/// 25 s on an idle machine of two cores.
const READY_WITHIN: Duration = Duration::from_secs(10 * 60);

const COMPONENTS: &str = "\
[Unit]
Description=Kubernetes components
[Mount]
What=/dev/disk/by-id/virtio-components
Where=/usr/local/bin
Type=ext4
Options=ro
[Install]
WantedBy=multi-user.target
";

const CONTAINERD: &str = "\
[Unit]
Description=containerd
After=dbus.service network.target
RequiresMountsFor=/usr/local/bin
[Service]
Type=notify
ExecStart=/usr/local/bin/containerd
Delegate=yes
KillMode=process
Restart=always
RestartSec=1
LimitNOFILE=1048576
TasksMax=infinity
OOMScoreAdjust=-999
[Install]
WantedBy=multi-user.target
";

const CONTAINERD_SETTINGS: &str = r#"version = 3
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.blockfile"]

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "docker.io/library/@PAUSE@"

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/local/bin/cni"]
  conf_dir = "/etc/cni/net.d"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    SystemdCgroup = true
"#;

/// One bridge; nothing leaves the machine, so nothing is masqueraded.
const POD_NETWORK: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": {
      "type": "host-local", "ranges": [[{ "subnet": "10.214.0.0/24" }]],
      "routes": [{ "dst": "0.0.0.0/0" }]
    }
  }]
}
"#;

const KUBELET: &str = "\
[Unit]
Description=kubelet
Wants=containerd.service
After=containerd.service
RequiresMountsFor=/usr/local/bin
[Service]
ExecStart=/usr/local/bin/kubelet --config=/var/lib/kubelet/config.yaml \
--kubeconfig=/etc/kubernetes/kubelet.conf --node-ip=@ADDRESS@
Restart=always
RestartSec=2
[Install]
WantedBy=multi-user.target
";

/// kubeadm's settings; ConfigMaps and the node's status follow faster than by default.
const KUBELET_SETTINGS: &str = "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}
authorization: {mode: Webhook}
cgroupDriver: systemd
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
makeIPTablesUtilChains: false
nodeStatusUpdateFrequency: 2s
resolvConf: /etc/resolv.conf
rotateCertificates: true
staticPodPath: /etc/kubernetes/manifests
syncFrequency: 5s
";

impl Machine {
    /// Joins the cluster: puts settings and a client certificate for its node, starts containerd and
    /// kubelet, and imports the image that every pod needs. Does not wait for the node to be ready.
    ///
    /// The API server's certificate must have [`HOST`] among its names.
    ///
    /// # Panics
    /// If something cannot be written or started.
    pub fn join(&self, control_plane: &ControlPlane) {
        // The API server is asked by this address; its certificate has it.
        let url = format!("https://{HOST}:{}", control_plane.address().port());
        let user = format!("system:node:{}", self.name());
        let kubeconfig = control_plane.kubeconfig_at(&url, &user, &["system:nodes"]);
        let read = |path: &Path| {
            fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let containerd = CONTAINERD_SETTINGS.replace("@PAUSE@", PAUSE);
        let kubelet = KUBELET.replace("@ADDRESS@", &self.address().to_string());
        let files = [
            ("/etc/systemd/system/usr-local-bin.mount", COMPONENTS),
            ("/etc/systemd/system/containerd.service", CONTAINERD),
            ("/etc/systemd/system/kubelet.service", &kubelet),
            ("/etc/containerd/config.toml", &containerd),
            ("/etc/cni/net.d/10-pods.conflist", POD_NETWORK),
            ("/etc/kubernetes/pki/ca.crt", &read(&control_plane.ca_file())),
            ("/etc/kubernetes/kubelet.conf", &read(&kubeconfig)),
            ("/var/lib/kubelet/config.yaml", KUBELET_SETTINGS),
            ("/etc/resolv.conf", ""),
        ];
        let mut script = "set -e; mkdir -p -m 755 /etc/kubernetes/manifests\n".to_owned();
        for (path, content) in files {
            script.push_str(&format!(
                "mkdir -p \"$(dirname {path})\"; cat > {path} << 'END-OF-FILE'\n{content}\nEND-OF-FILE\n"
            ));
        }
        script.push_str(
            "chmod 600 /etc/kubernetes/kubelet.conf /var/lib/kubelet/config.yaml
             systemctl daemon-reload
             systemctl enable usr-local-bin.mount containerd kubelet
             systemctl start --no-block usr-local-bin.mount containerd kubelet\n",
        );
        self.run(&script);
        self.import_image(&pause::image(self.directory.path()));
    }

    /// Waits until the API server has the node, ready, in the boot that the machine is in now, and
    /// returns the Node.
    ///
    /// # Panics
    /// If that takes too long, with the end of kubelet's log.
    pub fn wait_node_ready(&self, control_plane: &ControlPlane) -> Value {
        let boot_id = self.boot_id();
        let path = format!("/api/v1/nodes/{}", self.name());
        let deadline = std::time::Instant::now() + READY_WITHIN;
        loop {
            let answer = control_plane.api().send(Call::get(&path));
            if let Ok(answer) = answer
                && answer.status.is_success()
            {
                let node: Value = answer.json();
                if node["status"]["nodeInfo"]["bootID"] == boot_id.as_str() && is_ready(&node) {
                    return node;
                }
            }
            if std::time::Instant::now() > deadline {
                let log = self.attempt("journalctl -b -n 60 -u containerd -u kubelet --no-pager");
                let log = String::from_utf8_lossy(&log.stdout).into_owned();
                panic!("node {}: not ready within {READY_WITHIN:?}\n{log}", self.name());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Puts an image of an OCI archive into the machine's containerd.
    ///
    /// # Panics
    /// If containerd refuses it.
    pub fn import_image(&self, archive: &Path) {
        let path = "/var/tmp/image.tar";
        self.put_file(path, archive, "600");
        self.wait("containerd answers", READY_WITHIN, || {
            (self.attempt("ctr version").code == Some(0)).then_some(())
        });
        self.run(&format!("ctr --namespace k8s.io images import {path} && rm {path}"));
    }
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(ready))
}
