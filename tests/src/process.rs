//! The real binaries as child processes: started, watched, killed.

use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

/// How long a process may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A child process whose log is kept, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("a piped stderr");
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("the log").push(line);
            }
        });
        Self { child, log }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("the log").clone()
    }

    /// Waits until a log line, as JSON, satisfies `wanted`, and returns what that returned.
    pub fn wait_for_log<T>(&mut self, what: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let found = self
                .log()
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find_map(|line| wanted(&line));
            if let Some(found) = found {
                return found;
            }
            let ended = self.child.try_wait().expect("the state of a child");
            assert!(ended.is_none(), "{what}: ended with {ended:?}: {:#?}", self.log());
            assert!(
                Instant::now() < deadline,
                "{what}: not within {READY_WITHIN:?}: {:#?}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `SIGKILL`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("kill a child");
        self.child.wait().expect("wait for a child");
    }

    /// `SIGTERM`, and waits for the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, Signal::SIGTERM).expect("signal a child");
        let status = self.child.wait().expect("wait for a child");
        status.code()
    }

    /// A line of `/proc/PID/status` in KiB: `VmRSS`, `VmHWM`.
    #[must_use]
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("status");
        let value = status
            .lines()
            .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))
            .unwrap_or_else(|| panic!("no {line} in {status}"));
        value.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already after `kill` and `terminate`; here for tests that panic.
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().expect("kill a child");
            self.child.wait().expect("wait for a child");
        }
    }
}

/// A collector on a loopback port of its own.
#[derive(Debug)]
pub struct Collector {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Collector {
    /// Starts it over `state`, with further arguments, and waits until it listens.
    #[must_use]
    pub fn start(state: &Path, more: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", state, more)
    }

    /// The same on a given address.
    #[must_use]
    pub fn start_at(listen: &str, state: &Path, more: &[&str]) -> Self {
        let mut process = Self::launch(listen, state, more);
        let address = process
            .wait_for_log("the collector listens", |line| line["address"].as_str()?.parse().ok());
        Self { process, address }
    }

    /// The same without waiting for anything.
    #[must_use]
    pub fn launch(listen: &str, state: &Path, more: &[&str]) -> Process {
        let state = state.to_str().expect("a UTF-8 path");
        let mut arguments = vec!["--listen", listen, "--state-dir", state];
        arguments.extend_from_slice(more);
        Process::start(&binary("PALISADE_COLLECTOR", "palisade-collector"), &arguments)
    }

    /// The same by a program that is given the command as its last arguments and becomes the
    /// collector, under the same process id.
    #[must_use]
    pub fn start_by(program: &[&str], state: &Path, more: &[&str]) -> Self {
        let collector = binary("PALISADE_COLLECTOR", "palisade-collector");
        let state = state.to_str().expect("a UTF-8 path");
        let mut words = program.to_vec();
        words.push(collector.to_str().expect("a UTF-8 path"));
        words.extend_from_slice(&["--listen", "127.0.0.1:0", "--state-dir", state]);
        words.extend_from_slice(more);
        let (program, arguments) = words.split_first().expect("the collector at least");
        let mut process = Process::start(Path::new(program), arguments);
        let address = process
            .wait_for_log("the collector listens", |line| line["address"].as_str()?.parse().ok());
        Self { process, address }
    }

    /// The same with a disk of so many MiB below `state`, in a mount namespace of its own; `None`
    /// if this machine does not allow that.
    #[must_use]
    pub fn start_on_small_disk(state: &Path, mebibytes: usize) -> Option<Self> {
        let namespace =
            if nix::unistd::geteuid().is_root() { "--mount" } else { "--map-root-user" };
        let mount = format!("mount -t tmpfs -o size={mebibytes}m palisade \"$0\"");
        let state = state.to_str().expect("a UTF-8 path");
        let may = Command::new("unshare")
            .args([namespace, "--mount", "sh", "-c", &mount, state])
            .stderr(Stdio::null())
            .status();
        if !may.is_ok_and(|status| status.success()) {
            return None;
        }
        let run = format!("{mount} && exec \"$@\"");
        let program = binary("PALISADE_COLLECTOR", "palisade-collector");
        let program = program.to_str().expect("a UTF-8 path");
        let arguments = [
            namespace,
            "--mount",
            "sh",
            "-c",
            &run,
            state,
            program,
            "--listen",
            "127.0.0.1:0",
            "--state-dir",
            state,
        ];
        let mut process = Process::start(Path::new("unshare"), &arguments);
        let address = process
            .wait_for_log("the collector listens", |line| line["address"].as_str()?.parse().ok());
        Some(Self { process, address })
    }

    /// Starts it where it cannot run: its exit code and what it said.
    ///
    /// # Panics
    /// If it ends by a signal.
    #[must_use]
    pub fn fails(state: &Path) -> (i32, String) {
        let output = Command::new(binary("PALISADE_COLLECTOR", "palisade-collector"))
            .args(["--listen", "127.0.0.1:0", "--state-dir"])
            .arg(state)
            .stdin(Stdio::null())
            .output()
            .expect("run the collector");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("an exit code"), error)
    }

    /// The path at which this process finds what the collector has at `state`.
    #[must_use]
    pub fn state_seen_from_here(&self, state: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.process.pid()));
        root.join(state.strip_prefix("/").unwrap_or(state))
    }
}

/// An agent.
#[derive(Debug)]
pub struct Agent;

impl Agent {
    /// Starts `palisade-agent run` for `node` with the root `root`.
    #[must_use]
    pub fn run(collector: SocketAddr, node: &str, root: &Path, more: &[&str]) -> Process {
        let url = format!("http://{collector}");
        let root = root.to_str().expect("a UTF-8 path");
        let mut arguments = vec!["run", "--collector", &url, "--node", node, "--root", root];
        arguments.extend_from_slice(more);
        Process::start(&Self::binary(), &arguments)
    }

    /// The same for a collector that is reached by a URL.
    #[must_use]
    pub fn run_to(url: &str, node: &str, root: &Path, more: &[&str]) -> Process {
        let root = root.to_str().expect("a UTF-8 path");
        let mut arguments = vec!["run", "--collector", url, "--node", node, "--root", root];
        arguments.extend_from_slice(more);
        Process::start(&Self::binary(), &arguments)
    }

    /// The same with the binary that is shipped: static, small, optimised. Built now unless the
    /// environment names it; for tests about its size and memory.
    ///
    /// # Panics
    /// If it cannot be built.
    #[must_use]
    pub fn run_shipped(collector: SocketAddr, node: &str, root: &Path) -> Process {
        let url = format!("http://{collector}");
        let root = root.to_str().expect("a UTF-8 path");
        let arguments = ["run", "--collector", &url, "--node", node, "--root", root];
        Process::start(&shipped_agent(), &arguments)
    }

    /// Starts `palisade-agent reboot`.
    #[must_use]
    pub fn reboot(arguments: &[&str]) -> Process {
        let arguments = [&["reboot"], arguments].concat();
        Process::start(&Self::binary(), &arguments)
    }

    /// Runs a verb to its end: exit code, stdout, stderr.
    #[must_use]
    pub fn call(arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(Self::binary())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("run the agent");
        (
            output.status.code().expect("an exit code"),
            String::from_utf8(output.stdout).expect("UTF-8"),
            String::from_utf8(output.stderr).expect("UTF-8"),
        )
    }

    /// Where its binary is.
    #[must_use]
    pub fn binary() -> PathBuf {
        binary("PALISADE_AGENT", "palisade-agent")
    }
}

/// The static agent: the one that the environment names, else built as the Makefile does.
fn shipped_agent() -> PathBuf {
    if let Some(path) = std::env::var_os("PALISADE_AGENT") {
        return path.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let status =
        Command::new("make").arg("agent-static").current_dir(workspace).status().expect("run make");
    assert!(status.success(), "make agent-static failed");
    let target =
        format!("target/{}-unknown-linux-gnu/agent/palisade-agent", std::env::consts::ARCH);
    workspace.join(target)
}

/// The binary that the environment names, else the one that cargo builds, built now if need be.
fn binary(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let status = Command::new(env!("CARGO"))
            // The whole workspace, so that the features are those of this test's own build.
            .args(["build", "--locked", "--quiet", "--workspace", "--bins"])
            .status()
            .expect("run cargo");
        assert!(status.success(), "cargo build failed");
    });
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().find(|path| path.join(name).is_file());
    profile.unwrap_or_else(|| panic!("no {name} above {}", test.display())).join(name)
}
