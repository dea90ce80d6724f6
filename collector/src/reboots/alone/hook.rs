//! Hooks: executables on the collector's own host that empty a node before its reboot, and give it back.
//!
//! ```text
//! PATH before|after NODE REQUEST     no shell, an environment of its own, `/` as directory
//! standard input                     one line of JSON: what is asked and why
//! 0                                  it is so
//! 75 (EX_TEMPFAIL, sysexits.h)       not yet, ask again: the first line that it wrote says why
//! anything else, or too late         failed: the first line that it wrote says how
//! ```
//!
//! One call for a node at a time, see `lock.rs`. A collector that ends ends the calls too; what one leaves
//! running that is killed its successor ends, and asks again: hooks must be idempotent, which the README
//! demands.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use nix::fcntl::FcntlArg;
use nix::fcntl::OFlag;
use nix::fcntl::fcntl;
use nix::sys::signal::Signal;
use nix::sys::signal::killpg;
use nix::unistd::Pid;
use palisade_plan::request::Request;
use palisade_report::Moment;
use palisade_report::NodeUid;
use palisade_report::bound::clean;
use serde_json::json;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::lock::NodeLock;
use crate::settings::Hooks;

/// "Temporary failure, user is invited to retry", see sysexits.h(3head).
const EX_TEMPFAIL: i32 = 75;

/// Seconds after which a hook is asked again that said "not yet".
const AGAIN_SECS: i64 = 5;

/// Seconds after which the hook that gives a node back is asked again after a failure.
const AFTER_FAILURE_SECS: i64 = 30;

/// Bytes of output that are looked at; the rest is read and dropped, so that nobody waits for a reader.
const MAX_OUTPUT: usize = 4096;

/// Bytes of the first line that are kept.
const MAX_LINE: usize = 256;

/// Calls that run at once, for all nodes: each is a process on the collector's host.
const MAX_CALLS: usize = 32;

/// How many of them may empty a node: however long these take, nodes are given back.
const MAX_BEFORE: usize = 24;

/// Between two looks at a process that runs.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where executables look for others; the environment of the collector is not theirs.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It empties the node.
    Before,
    /// It gives the node back.
    After,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// What a hook said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is so.
    Done,
    /// Not yet, and what is waited for.
    NotYet(String),
    /// It cannot be, and why.
    Failed(String),
}

/// The calls for one request in one phase.
struct Call {
    request: String,
    phase: Phase,
    running: Option<oneshot::Receiver<Word>>,
    last: Option<(Moment, Word)>,
}

/// All calls; what they said is lost with this process, and asked anew.
pub(super) struct Calls {
    hooks: Hooks,
    locks: PathBuf,
    calls: BTreeMap<NodeUid, Call>,
    is_over: Arc<AtomicBool>,
    ended: Arc<Notify>,
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

impl Calls {
    /// Calls of these hooks, with the locks of nodes in a directory of their own; `ended` is told when
    /// one has ended.
    pub(super) fn new(hooks: Hooks, locks: PathBuf, ended: Arc<Notify>) -> Self {
        Self { hooks, locks, calls: BTreeMap::new(), is_over: Arc::default(), ended }
    }

    /// Whether there is a hook for this phase.
    pub(super) const fn has(&self, phase: Phase) -> bool {
        self.path(phase).is_some()
    }

    const fn path(&self, phase: Phase) -> Option<&PathBuf> {
        match phase {
            Phase::Before => self.hooks.before.as_ref(),
            Phase::After => self.hooks.after.as_ref(),
        }
    }

    /// Takes in what has ended.
    pub(super) fn hear(&mut self, now: Moment) {
        for call in self.calls.values_mut() {
            let word = match call.running.as_mut().map(oneshot::Receiver::try_recv) {
                None | Some(Err(TryRecvError::Empty)) => continue,
                Some(Ok(word)) => word,
                // It panicked, or the process is ending.
                Some(Err(TryRecvError::Closed)) => Word::Failed("it was cut off".to_owned()),
            };
            call.running = None;
            call.last = Some((now, word));
        }
    }

    /// What the hook of this phase said last for a request, and when.
    pub(super) fn last(&self, request: &Request, phase: Phase) -> Option<&(Moment, Word)> {
        let call = self.calls.get(&request.uid)?;
        let is_it = call.phase == phase && call.request == request.id;
        call.last.as_ref().filter(|_| is_it)
    }

    /// Whether a call for this node runs.
    pub(super) fn is_running(&self, uid: &NodeUid) -> bool {
        self.calls.get(uid).is_some_and(|call| call.running.is_some())
    }

    /// Whether no call for this node runs, not even one of an earlier collector.
    ///
    /// # Errors
    /// Of the file system: then nobody knows.
    pub(super) async fn is_quiet(&self, uid: &NodeUid) -> io::Result<bool> {
        if self.is_running(uid) {
            return Ok(false);
        }
        let (locks, uid) = (self.locks.clone(), uid.clone());
        let look = tokio::task::spawn_blocking(move || NodeLock::is_free(&locks, &uid));
        look.await.map_err(io::Error::other)?
    }

    /// Forgets what was said about a node: its request has come to an end with it, or asks anew.
    pub(super) fn forget(&mut self, uid: &NodeUid) {
        self.calls.remove(uid);
    }

    /// Whether one more call may run.
    fn has_room(&self, phase: Phase) -> bool {
        let running = || self.calls.values().filter(|call| call.running.is_some());
        let before = running().filter(|call| call.phase == Phase::Before).count();
        let is_free = match phase {
            Phase::Before => before < MAX_BEFORE,
            Phase::After => true,
        };
        is_free && running().count() < MAX_CALLS
    }

    /// Calls the hook of this phase, if there is one, nothing runs for the node, and it is time to.
    pub(super) fn call(&mut self, request: &Request, phase: Phase, now: Moment) {
        let Some(path) = self.path(phase).cloned() else { return };
        if self.is_running(&request.uid) || !self.has_room(phase) {
            return;
        }
        let is_same = |call: &&Call| call.phase == phase && call.request == request.id;
        let last = self.calls.get(&request.uid).filter(is_same).and_then(|it| it.last.clone());
        let wait = match &last {
            None => 0,
            Some((_, Word::NotYet(_))) => AGAIN_SECS,
            Some((_, Word::Failed(_))) => AFTER_FAILURE_SECS,
            Some((_, Word::Done)) => return,
        };
        if last.as_ref().is_some_and(|(at, _)| now.since(*at) < wait) {
            return;
        }
        let asked = Asked::of(path, &self.locks, request, phase, self.hooks.timeout);
        let (is_over, ended) = (Arc::clone(&self.is_over), Arc::clone(&self.ended));
        let (word, running) = oneshot::channel();
        drop(tokio::task::spawn_blocking(move || tell(asked.run(&is_over), word, &ended)));
        let id = request.id.clone();
        let call = Call { request: id, phase, running: Some(running), last };
        self.calls.insert(request.uid.clone(), call);
    }
}

/// Says what a call said: first the word, so that whoever is woken finds it.
fn tell(said: Word, word: oneshot::Sender<Word>, ended: &Notify) {
    // Nobody wants it any more if it cannot be sent.
    drop(word.send(said));
    ended.notify_one();
}

/// One call.
struct Asked {
    path: PathBuf,
    locks: PathBuf,
    uid: NodeUid,
    phase: Phase,
    node: String,
    request: String,
    input: String,
    timeout: Duration,
}

impl Asked {
    fn of(path: PathBuf, locks: &Path, request: &Request, phase: Phase, timeout: Duration) -> Self {
        let input = json!({
            "phase": phase.to_string(),
            "node": request.node,
            "request": request.id,
            "pool": request.progress.placement.pool,
            "requestedBy": request.wish.requested_by,
            "reasons": request.wish.reasons,
            "state": format!("{:?}", request.progress.state),
        });
        Self {
            path,
            locks: locks.to_owned(),
            uid: request.uid.clone(),
            phase,
            node: request.node.to_string(),
            request: request.id.clone(),
            input: format!("{input}\n"),
            timeout,
        }
    }

    /// Runs it to its end, its time, or ours.
    fn run(self, is_over: &AtomicBool) -> Word {
        let lock = match NodeLock::take(&self.locks, &self.uid) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Word::NotYet("what an earlier collector called runs".to_owned()),
            Err(error) => {
                let what = "nobody can tell whether what an earlier collector called runs";
                return Word::NotYet(format!("{what}: {error}"));
            }
        };
        let input = match lock.input(&self.input) {
            Ok(input) => input,
            // A full disk is no fault of the hook.
            Err(error) => return Word::NotYet(format!("it cannot be told what is asked: {error}")),
        };
        let mut output = Vec::new();
        match self.watch(input, is_over, &mut output) {
            Ok(ended) => said(ended, &output),
            // Whoever replaces it is about to be done.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                Word::NotYet(format!("{} is being written", self.path.display()))
            }
            Err(error) => Word::Failed(format!("{} cannot be run: {error}", self.path.display())),
        }
    }

    fn watch(&self, input: Stdio, is_over: &AtomicBool, output: &mut Vec<u8>) -> io::Result<Ended> {
        let arguments = [&self.phase.to_string(), &self.node, &self.request];
        let mut child = start(&self.path, &arguments, input)?;
        let watched = self.follow(&mut child, is_over, output);
        if !matches!(watched, Ok(Ended::By(_))) {
            end(&mut child);
        }
        watched
    }

    fn follow(
        &self,
        child: &mut Child,
        is_over: &AtomicBool,
        output: &mut Vec<u8>,
    ) -> io::Result<Ended> {
        let mut stdout = child.stdout.take();
        if let Some(stdout) = &stdout {
            set_nonblocking(stdout)?;
        }
        let began = Instant::now();
        loop {
            let ended = child.try_wait()?;
            if let Some(stdout) = &mut stdout {
                read_some(stdout, output);
            }
            if let Some(status) = ended {
                return Ok(Ended::By(status));
            }
            if began.elapsed() >= self.timeout {
                return Ok(Ended::Late(self.timeout));
            }
            if is_over.load(Ordering::SeqCst) {
                return Ok(Ended::CutOff);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// How a call ended.
enum Ended {
    By(ExitStatus),
    Late(Duration),
    CutOff,
}

fn start(path: &Path, arguments: &[&String], input: Stdio) -> io::Result<Child> {
    Command::new(path)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", SEARCH)
        .current_dir("/")
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A group of its own, which is ended as a whole.
        .process_group(0)
        .spawn()
}

/// Ends a process and all of its group.
fn end(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id())
        && let Err(error) = killpg(Pid::from_raw(group), Signal::SIGKILL)
    {
        tracing::debug!(%error, "a hook had ended before it was ended");
    }
    if let Err(error) = child.wait() {
        tracing::debug!(%error, "a hook could not be waited for");
    }
}

fn set_nonblocking(pipe: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(pipe.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(pipe.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Reads what is there, and keeps the beginning.
fn read_some(pipe: &mut impl io::Read, output: &mut Vec<u8>) {
    let mut bytes = [0; MAX_OUTPUT];
    // At most what a pipe holds: whoever writes faster than this reads is read again.
    for _ in 0..16 {
        let Ok(count @ 1..) = pipe.by_ref().read(&mut bytes) else { return };
        let room = MAX_OUTPUT.saturating_sub(output.len());
        output.extend(bytes.iter().take(count.min(room)));
    }
}

/// What a call says.
fn said(ended: Ended, output: &[u8]) -> Word {
    let line = output.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = clean(line.trim_ascii(), MAX_LINE);
    let with = |how: String| if line.is_empty() { how } else { format!("{how}: {line}") };
    match ended {
        Ended::By(status) => match status.code() {
            Some(0) => Word::Done,
            Some(EX_TEMPFAIL) if line.is_empty() => Word::NotYet("it gives no reason".to_owned()),
            Some(EX_TEMPFAIL) => Word::NotYet(line),
            Some(_) | None => Word::Failed(with(status.to_string())),
        },
        Ended::Late(timeout) => {
            Word::Failed(with(format!("it did not end within {} s", timeout.as_secs())))
        }
        Ended::CutOff => Word::Failed("the collector ends".to_owned()),
    }
}

#[cfg(test)]
mod tests;
