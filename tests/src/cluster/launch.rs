//! Foreign servers as child processes that cannot outlive the tests.
//!
//! They are started through setpriv(1) with a parent-death signal of SIGKILL, see
//! `PR_SET_PDEATHSIG` in prctl(2), so that they die with a test process that is killed. The kernel
//! counts the *thread* that forked as the parent; tests are threads that end, hence all are started by
//! one thread that never does.

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// How much of a log a failure shows, in lines.
const TAIL: usize = 40;

type Started = (Command, mpsc::SyncSender<io::Result<Child>>);

/// A server that runs until dropped, with its output in a file.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`; its output is appended to `NAME.log` in `directory`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &Command, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap_or_else(|error| panic!("open {}: {error}", log.display()));
        let mut bound = with_parent(command);
        bound
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output);
        let child = spawn(bound).unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said.
    ///
    /// # Panics
    /// If its log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log)
            .unwrap_or_else(|error| panic!("read {}: {error}", self.log.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines it has said.
    #[must_use]
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Whether it has ended, and how.
    ///
    /// # Panics
    /// If it is no child of ours any more.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|error| panic!("the state of {}: {error}", self.name))
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// If it does not within `within`, or the process ends before.
    pub fn wait_until(
        &mut self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut() -> bool,
    ) {
        let deadline = Instant::now() + within;
        while !condition() {
            if let Some(status) = self.ended() {
                panic!("{what}: {} ended with {status}:\n{}", self.name, self.tail());
            }
            assert!(Instant::now() < deadline, "{what}: not within {within:?}:\n{}", self.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends it a signal: `SIGSTOP`, `SIGCONT`, `SIGHUP`.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, signal)
            .unwrap_or_else(|error| panic!("send {signal} to {}: {error}", self.name));
    }

    /// `SIGTERM`, and `SIGKILL` if it still runs after `within`.
    ///
    /// # Panics
    /// If it can be neither signalled nor waited for.
    pub fn terminate(mut self, within: Duration) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + within;
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let killed = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = killed {
            eprintln!("left behind {} ({}): {error}", self.name, self.child.id());
        }
    }
}

/// `command` under setpriv(1), which replaces itself by it: same process id.
fn with_parent(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        bound.current_dir(directory);
    }
    bound
}

/// Spawns in the thread that lives as long as the process.
fn spawn(command: Command) -> io::Result<Child> {
    static PARENT: OnceLock<mpsc::Sender<Started>> = OnceLock::new();
    let parent = PARENT.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Started>();
        let parent = move || {
            for (mut command, answer) in receiver {
                // Who asked always waits for the answer.
                answer.send(command.spawn()).expect("somebody waits for the child");
            }
        };
        std::thread::Builder::new().name("parent".to_owned()).spawn(parent).expect("a thread");
        sender
    });
    let (answer, child) = mpsc::sync_channel(1);
    parent.send((command, answer)).expect("the thread that starts processes");
    child.recv().expect("a child or an error")
}
