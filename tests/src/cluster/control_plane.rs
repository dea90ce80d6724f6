//! etcd and kube-apiserver, ready in about three seconds; controller-manager and scheduler on demand.
//!
//! Nothing listens on anything but 127.0.0.1, and no kubeconfig names another address unless a test
//! asks for one. What the processes are told is in `control_plane/flags.rs`.

use std::io;
use std::io::BufRead;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use serde_json::Value;

use super::api::Api;
use super::api::Call;
use super::components::Component;
use super::components::binary;
use super::kubeconfig::Credential;
use super::kubeconfig::kubeconfig;
use super::launch::Daemon;
use super::leftover;
use super::pki::Authority;
use super::pki::YEAR;
use super::port::Port;
use super::slot::Slot;
use crate::directory::Directory;

mod flags;

pub(in crate::cluster) use self::flags::SERVICES;

/// How long a component may take to be ready; three seconds on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// How long the API server may take to end by itself, before it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// The prefix of the directories, by which leftovers are found.
const NAME: &str = "control-plane";

/// Which API server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Release {
    /// The newest minor.
    #[default]
    Newest,
    /// The oldest minor that is still supported.
    Oldest,
}

/// What a test may want otherwise.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which API server.
    pub release: Release,
    /// Further names and addresses in its serving certificate.
    pub names: Vec<String>,
    /// Further arguments of the API server; the last of a kind counts.
    pub arguments: Vec<String>,
}

/// A running control plane. Its parts end when it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they must end: the API server hangs when etcd goes first.
    others: Mutex<Vec<(&'static str, Daemon)>>,
    api_server: Mutex<Option<Daemon>>,
    _etcd: Daemon,
    api: Api,
    authority: Authority,
    port: Port,
    etcd_port: Port,
    _peer_port: Port,
    options: Options,
    directory: Directory,
    kubeconfig: PathBuf,
    _slot: Arc<Slot>,
}

impl ControlPlane {
    /// The newest release.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// The oldest release.
    #[must_use]
    pub fn start_oldest() -> Self {
        Self::start_with(Options { release: Release::Oldest, ..Options::default() })
    }

    /// One of the newest release that all callers in this process share as long as one of them holds
    /// it. For tests that stay in namespaces of their own and touch nothing that is cluster-wide.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<ControlPlane>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        })
    }

    /// With other options.
    ///
    /// # Panics
    /// If it is not ready in time, with what it said.
    #[must_use]
    pub fn start_with(options: Options) -> Self {
        // Before the slot: building may take minutes.
        let programs = [
            binary(Component::Etcd, "etcd"),
            binary(flags::component(options.release), "kube-apiserver"),
            binary(Component::Kubernetes, "kubectl"),
        ];
        let slot = Slot::acquire();
        leftover::sweep(NAME);
        let directory = Directory::new(NAME);
        let (port, etcd_port, peer_port) = (Port::reserve(), Port::reserve(), Port::reserve());
        let authority = Authority::new("kubernetes");
        flags::write_pki(&directory, &authority, &options.names);

        let mut etcd = Command::new(&programs[0]);
        etcd.args(flags::etcd(directory.path(), &etcd_port, &peer_port));
        let etcd = Daemon::start("etcd", &etcd, directory.path());

        let admin = authority.client("admin", &["system:masters"], YEAR);
        let api = Api::new(port.address(), authority.certificate(), Some(&admin));
        let url = format!("https://{}", port.address());
        let admin = kubeconfig(&url, authority.certificate(), &Credential::Certificate(&admin));
        directory.write("admin.conf", admin.to_string());
        let kubeconfig = directory.path().join("admin.conf");
        let this = Self {
            others: Mutex::default(),
            api_server: Mutex::default(),
            _etcd: etcd,
            api,
            authority,
            port,
            etcd_port,
            _peer_port: peer_port,
            options,
            directory,
            kubeconfig,
            _slot: slot,
        };
        this.start_api_server();
        this
    }

    /// Starts the API server again and waits until it is ready; nothing if it runs.
    ///
    /// # Panics
    /// If it is not ready in time.
    pub fn start_api_server(&self) {
        let mut running = lock(&self.api_server);
        if running.is_some() {
            return;
        }
        let program = binary(flags::component(self.options.release), "kube-apiserver");
        let mut command = Command::new(program);
        let arguments = flags::api_server(self.directory.path(), &self.port, &self.etcd_port);
        command.args(arguments).args(&self.options.arguments);
        let mut started = Daemon::start("kube-apiserver", &command, self.directory.path());
        started.wait_until("the API server is ready", READY_WITHIN, || {
            let ready = self.api.send(Call::get("/readyz"));
            ready.is_ok_and(|answer| answer.status.is_success())
        });
        *running = Some(started);
    }

    /// Stops the API server; its port refuses connections until it is started again.
    pub fn stop_api_server(&self) {
        if let Some(running) = lock(&self.api_server).take() {
            running.terminate(ENDS_WITHIN);
        }
    }

    /// The process id of the API server, for stopping it with a signal.
    ///
    /// # Panics
    /// If it was stopped.
    #[must_use]
    pub fn api_server_pid(&self) -> u32 {
        lock(&self.api_server).as_ref().expect("a running API server").pid()
    }

    /// Starts kube-controller-manager, and waits until it has made a service account; nothing if it
    /// runs.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn controllers(&self) {
        let user = ("system:kube-controller-manager", "kube-controller-manager");
        self.start_other(user.1, |this| {
            let kubeconfig = this.kubeconfig_for(user.0, &[]);
            let mut command = Command::new(binary(Component::Kubernetes, user.1));
            command.args(flags::controllers(this.directory.path(), &kubeconfig));
            let mut started = Daemon::start(user.1, &command, this.directory.path());
            started.wait_until("the controllers work", READY_WITHIN, || {
                let path = "/api/v1/namespaces/default/serviceaccounts/default";
                this.api.send(Call::get(path)).is_ok_and(|answer| answer.status.is_success())
            });
            started
        });
    }

    /// Starts kube-scheduler; nothing if it runs.
    pub fn scheduler(&self) {
        let user = ("system:kube-scheduler", "kube-scheduler");
        self.start_other(user.1, |this| {
            let kubeconfig = this.kubeconfig_for(user.0, &[]);
            let mut command = Command::new(binary(Component::Kubernetes, user.1));
            command.args(flags::scheduler(&kubeconfig));
            Daemon::start(user.1, &command, this.directory.path())
        });
    }

    /// Starts a component that ends with this control plane; nothing if one of this name runs.
    pub(super) fn start_other(&self, name: &'static str, start: impl FnOnce(&Self) -> Daemon) {
        let mut others = lock(&self.others);
        if !others.iter().any(|(other, _)| *other == name) {
            others.push((name, start(self)));
        }
    }

    /// Ends the controllers (`kube-controller-manager`), the scheduler or KWOK (`kwok`).
    pub fn stop(&self, name: &str) {
        lock(&self.others).retain(|(other, _)| *other != name);
    }

    /// The administrator's kubeconfig, in the group `system:masters`.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubeconfig with a client certificate for a user in up to two groups. A kubelet is
    /// `system:node:NAME` in `system:nodes`.
    #[must_use]
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> PathBuf {
        self.kubeconfig_at(&self.url(), user, groups)
    }

    /// The same with another URL of this API server, for instance as a virtual machine sees it:
    /// `https://10.0.2.2:PORT`.
    #[must_use]
    pub fn kubeconfig_at(&self, url: &str, user: &str, groups: &[&str]) -> PathBuf {
        let pair = self.authority.client(user, groups, YEAR);
        self.write_kubeconfig(url, user, &Credential::Certificate(&pair))
    }

    /// A kubeconfig with a bearer token.
    #[must_use]
    pub fn kubeconfig_with_token(&self, name: &str, token: &str) -> PathBuf {
        self.kubeconfig_with_token_at(&self.url(), name, token)
    }

    /// The same with another URL of this API server.
    #[must_use]
    pub fn kubeconfig_with_token_at(&self, url: &str, name: &str, token: &str) -> PathBuf {
        self.write_kubeconfig(url, name, &Credential::Token(token))
    }

    fn write_kubeconfig(&self, url: &str, name: &str, credential: &Credential<'_>) -> PathBuf {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = format!("kubeconfigs/{}-{number}.conf", name.replace([':', '/'], "-"));
        let content = kubeconfig(url, self.authority.certificate(), credential);
        self.directory.write(&file, content.to_string());
        self.directory.path().join(file)
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// Where the API server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The file with the certificate of the cluster's authority.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join(flags::AUTHORITY)
    }

    /// The cluster's authority, for further certificates.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Its directory: logs (`NAME.log`), keys, the audit log. Removed with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A client for the administrator.
    #[must_use]
    pub const fn api(&self) -> &Api {
        &self.api
    }

    /// A client with a certificate for a user in up to two groups.
    #[must_use]
    pub fn api_as(&self, user: &str, groups: &[&str]) -> Api {
        let pair = self.authority.client(user, groups, YEAR);
        Api::new(self.address(), self.authority.certificate(), Some(&pair))
    }

    /// A client with a bearer token.
    #[must_use]
    pub fn api_with_token(&self, token: &str) -> Api {
        Api::new(self.address(), self.authority.certificate(), None).with_token(token)
    }

    /// What the API server has answered so far: its audit events in order of their completion. A watch
    /// appears twice, at the stages `ResponseStarted` and `ResponseComplete`. They are at level Metadata,
    /// and those that change nodes or requests for reboots at level RequestResponse.
    ///
    /// # Panics
    /// If the log cannot be read.
    #[must_use]
    pub fn audit_log(&self) -> Vec<Value> {
        let path = self.directory.path().join(flags::AUDIT_LOG);
        let file = std::fs::File::open(&path)
            .unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
        let lines = io::BufReader::new(file).lines().map_while(Result::ok);
        // The last line may be half written.
        lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
    }

    /// The log of a component: `etcd`, `kube-apiserver`, `kube-controller-manager`,
    /// `kube-scheduler`, `kwok`.
    ///
    /// # Panics
    /// If it was never started.
    #[must_use]
    pub fn log(&self, component: &str) -> String {
        let path = self.directory.path().join(format!("{component}.log"));
        let bytes =
            std::fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // The rest ends in the order of the fields.
        lock(&self.others).clear();
        lock(&self.api_server).take();
    }
}

/// A test that panicked while it held the lock left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
