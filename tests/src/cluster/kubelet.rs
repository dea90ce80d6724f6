//! A real kubelet with a real containerd, runc, CNI bridge and kube-proxy on this machine, joined to
//! a [`ControlPlane`]. Pods that it runs are real processes of this machine.
//!
//! One at a time per machine: names in the kernel (bridge, cgroup, tables) are fixed, so that
//! whatever a killed test left is found by the next. A second one waits for the first.
//!
//! ```text
//!  pod ──> 10.213.0.1 = bridge ──Forward──> API server on loopback
//!  pod, host process ──> address of a Service ──kube-proxy (nftables)──> pod
//! ```
//!
//! The range of Services is routed to the bridge, so what kube-proxy does not know goes nowhere.
//! There is no cluster DNS: tests name Services in `hostAliases`.

mod leftovers;
mod settings;

use std::fs;
use std::fs::File;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use nix::fcntl::Flock;
use nix::fcntl::FlockArg;

use self::leftovers::BRIDGE;
use self::leftovers::PROXY_MARK;
use self::leftovers::ROOT;
use self::leftovers::STATE;
use super::ControlPlane;
use super::components::Component;
use super::components::binary;
use super::control_plane::SERVICES;
use super::forward::Forward;
use super::launch::Daemon;
use super::pause;

/// Held while a kubelet of these tests runs; outside the directories, which are removed.
const LOCK: &str = "/run/palisade-test-kubelet.lock";
/// Addresses of pods.
const SUBNET: &str = "10.213.0.0/24";
/// The node's own address, on the bridge.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);
/// How long anything here may take on a busy machine of two cores; measured: 15 s for all.
const WITHIN: Duration = Duration::from_secs(180);

/// A node of the cluster that is this machine; everything of it is gone when dropped.
#[derive(Debug)]
pub struct Kubelet {
    name: String,
    kubeconfig: PathBuf,
    daemons: Vec<Daemon>,
    api: Option<Forward>,
    _lock: Flock<File>,
}

impl Kubelet {
    /// Cleans up after a killed run, starts everything and joins as node `name`; does not wait for
    /// the node to be ready.
    ///
    /// # Panics
    /// Without root, if a component does not start, or if this machine runs a kube-proxy already.
    #[must_use]
    pub fn start(control_plane: &ControlPlane, name: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "a real kubelet needs root");
        let lock = File::create(LOCK).unwrap_or_else(|error| panic!("create {LOCK}: {error}"));
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .unwrap_or_else(|(_, error)| panic!("lock {LOCK}: {error}"));
        let problems = leftovers::clean();
        assert!(problems.is_empty(), "left by an earlier run: {problems:#?}");
        let foreign = leftovers::proxy_tables();
        assert!(foreign.is_empty(), "this machine runs a kube-proxy of its own: {foreign:?}");

        // From here on a panic must clean up, so the value exists before anything is made.
        let mut node = Self {
            name: name.to_owned(),
            kubeconfig: control_plane.kubeconfig().to_owned(),
            daemons: Vec::new(),
            api: None,
            _lock: lock,
        };
        for directory in [ROOT, STATE] {
            fs::create_dir_all(directory).expect("make the harness' directories");
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("close them");
        }
        leftovers::note_sysctls().expect("note kernel settings");
        node.bridge(control_plane);
        node.containerd();
        node.import_image(&pause::image(Path::new(STATE)));
        make_cgroups();
        node.kubelet(control_plane);
        node.proxy(control_plane);
        node
    }

    /// The name of the node.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's address, which pods with `hostNetwork` have too.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        ADDRESS
    }

    /// The way from pods to the API server, to cut it or to lead it elsewhere.
    ///
    /// # Panics
    /// Never once started.
    #[must_use]
    pub fn api(&self) -> &Forward {
        self.api.as_ref().expect("a started kubelet")
    }

    /// Puts an image from an OCI archive into containerd.
    ///
    /// # Panics
    /// If containerd refuses it.
    pub fn import_image(&self, archive: &Path) {
        let archive = archive.to_str().expect("a UTF-8 path");
        self.ctr(&["images", "import", "--snapshotter", "overlayfs", archive]);
    }

    /// Waits until the API server calls the node ready.
    ///
    /// # Panics
    /// If that takes too long, with the ends of all logs.
    pub fn wait_ready(&self) {
        let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        self.wait("the node is ready", || {
            self.try_kubectl(&["get", "node", &self.name, "-o", path])
                .ok()?
                .eq("True")
                .then_some(())
        });
    }

    /// What a pod's container has printed, its former instances left out.
    ///
    /// # Panics
    /// If there is no such pod, or kubelet does not answer the API server.
    #[must_use]
    pub fn logs(&self, namespace: &str, pod: &str) -> String {
        self.try_kubectl(&["logs", "--all-containers", "-n", namespace, pod])
            .unwrap_or_else(|error| panic!("the log of {namespace}/{pod}: {error}"))
    }

    /// Calls `look` until it finds something, and returns that.
    ///
    /// # Panics
    /// If that takes too long, or a daemon has ended.
    pub fn wait<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "not within {WITHIN:?}: {what}\n{}\n{}",
                self.state_of_pods(),
                self.last_words()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The bridge, the node's address on it, a route for Services, and the way to the API server.
    fn bridge(&mut self, control_plane: &ControlPlane) {
        ip(&["link", "add", BRIDGE, "type", "bridge"]);
        ip(&["address", "add", &format!("{ADDRESS}/24"), "dev", BRIDGE]);
        ip(&["link", "set", BRIDGE, "up"]);
        ip(&["route", "add", SERVICES, "dev", BRIDGE]);
        let server = control_plane.address();
        let forward = Forward::start(SocketAddr::from((ADDRESS, 0)), server);
        // The API server publishes no endpoints of its own: it has only a loopback address.
        control_plane.apply(&format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
             metadata: {{name: kubernetes, namespace: default, labels: {{kubernetes.io/service-name: kubernetes}}}}, \
             ports: [{{name: https, port: {port}, protocol: TCP}}], \
             endpoints: [{{addresses: [{ADDRESS}], conditions: {{ready: true}}}}]}}",
            port = forward.address().port(),
        ));
        self.api = Some(forward);
    }

    fn containerd(&mut self) {
        let daemon = binary(Component::Runtime, "containerd");
        let plugins = binary(Component::Runtime, "bridge");
        let plugins = plugins.parent().expect("a directory of plugins");
        write("containerd.toml", &settings::containerd(plugins, &binary(Component::Runc, "runc")));
        write("net.d/10-bridge.conflist", &settings::network(SUBNET, ADDRESS));
        let settings = format!("{STATE}/containerd.toml");
        self.daemon("containerd", &daemon, &["--config", &settings]);
        self.wait("containerd answers", || self.try_ctr(&["version"]).ok());
    }

    fn kubelet(&mut self, control_plane: &ControlPlane) {
        let user = format!("system:node:{}", self.name);
        let kubeconfig = control_plane.kubeconfig_for(&user, &["system:nodes"]);
        write("kubelet.yaml", &settings::kubelet(ADDRESS, &control_plane.ca_file()));
        let arguments = [
            format!("--config={STATE}/kubelet.yaml"),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--root-dir={ROOT}/kubelet"),
            format!("--cert-dir={ROOT}/pki"),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={ADDRESS}"),
        ];
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.daemon("kubelet", &binary(Component::Kubernetes, "kubelet"), &arguments);
    }

    fn proxy(&mut self, control_plane: &ControlPlane) {
        let kubeconfig = control_plane.kubeconfig_for("system:kube-proxy", &[]);
        write("kube-proxy.yaml", &settings::proxy(&self.name, &kubeconfig, SUBNET, ADDRESS));
        fs::write(PROXY_MARK, "").expect("mark the tables as ours");
        let settings = format!("--config={STATE}/kube-proxy.yaml");
        self.daemon("kube-proxy", &binary(Component::KubeProxy, "kube-proxy"), &[&settings]);
    }

    fn daemon(&mut self, name: &str, program: &Path, arguments: &[&str]) {
        let directory = program.parent().expect("a directory of binaries").display();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        // containerd looks for its shim on PATH.
        command.args(arguments).env("PATH", format!("{directory}:{path}"));
        self.daemons.push(Daemon::start(name, &command, Path::new(STATE)));
    }

    fn ctr(&self, arguments: &[&str]) -> String {
        self.try_ctr(arguments).unwrap_or_else(|error| {
            panic!("ctr {arguments:?}: {error}\n{}", self.last_words());
        })
    }

    fn try_ctr(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(binary(Component::Runtime, "ctr"));
        command.args(["--address", &format!("{STATE}/containerd.sock"), "--namespace", "k8s.io"]);
        said(command.args(arguments))
    }

    fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(binary(Component::Kubernetes, "kubectl"));
        said(command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments))
    }

    /// Pods and events, for a person who reads why a test failed.
    fn state_of_pods(&self) -> String {
        let pods = self.try_kubectl(&["get", "pods", "-A", "-o", "wide"]);
        let events = self.try_kubectl(&["get", "events", "-A", "--sort-by=.lastTimestamp"]);
        let print = |said: Result<String, String>| said.unwrap_or_else(|error| error);
        format!("{}\n{}", print(pods), print(events))
    }

    /// The last lines of every daemon's log.
    fn last_words(&self) -> String {
        self.daemons.iter().map(|daemon| format!("{daemon:?}\n{}\n", daemon.tail())).collect()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.last_words());
        }
        // kubelet before containerd, so that nothing is started again behind the cleaning.
        while let Some(daemon) = self.daemons.pop() {
            drop(daemon);
        }
        self.api = None;
        for problem in leftovers::clean() {
            eprintln!("left behind: {problem}");
        }
    }
}

/// Makes the cgroup that kubelet expects to find in every hierarchy.
fn make_cgroups() {
    for (hierarchy, cgroup) in leftovers::hierarchies().iter().zip(leftovers::cgroups()) {
        // Version 2: a child has the controllers that its parent hands on, and kubelet wants these.
        if let Ok(offered) = fs::read_to_string(hierarchy.join("cgroup.controllers")) {
            let wanted = ["cpu", "cpuset", "memory", "hugetlb", "pids"];
            for controller in offered.split_whitespace().filter(|it| wanted.contains(it)) {
                let file = hierarchy.join("cgroup.subtree_control");
                fs::write(&file, format!("+{controller}"))
                    .unwrap_or_else(|error| panic!("{controller} in {}: {error}", file.display()));
            }
        }
        fs::create_dir_all(&cgroup)
            .unwrap_or_else(|error| panic!("make {}: {error}", cgroup.display()));
        // A child of cpuset starts empty and takes no process until both are set.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read_to_string(hierarchy.join(file)) {
                fs::write(cgroup.join(file), all)
                    .unwrap_or_else(|error| panic!("{file} of {}: {error}", cgroup.display()));
            }
        }
    }
}

fn write(name: &str, content: &str) {
    let path = Path::new(STATE).join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("make directories");
    fs::write(&path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

fn ip(arguments: &[&str]) {
    said(Command::new("ip").args(arguments)).unwrap_or_else(|error| panic!("ip: {error}"));
}

/// Runs a command to its end: stdout, or what it said on stderr.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("start {:?}: {error}", command.get_program()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
