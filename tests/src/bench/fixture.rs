//! The host that is measured: a root with files like those of a worker node and the running
//! kernel's `/proc` and `/sys`, 300 sleeping processes, a kubelet to be found, 500 listening
//! sockets.
//!
//! ```text
//! ROOT/proc, ROOT/sys   bind mounts, in a mount namespace of the benchmark's own
//! ROOT/etc, var, boot   files made here: 60 certificates, 1,500 packages, the kubelet's
//! ```
//!
//! Processes and sockets live in this machine's namespaces: in others the agent would rightly say
//! that it cannot tell, and look at less. Processes wait for the end of a pipe that only the
//! benchmark holds, so none outlives it.

use std::fs;
use std::io::PipeWriter;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use nix::mount::MntFlags;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::resource::Resource;
use nix::sys::resource::getrlimit;
use nix::sys::resource::setrlimit;

use super::files;

/// Name of the program that the agent takes for a kubelet.
pub(super) const KUBELET: &str = "kubelet";

/// Processes that do nothing.
const PROCESSES: usize = 300;

/// Sockets that listen, half of them on IPv6.
const SOCKETS: usize = 500;

/// What is mounted below the root.
const MOUNTS: [(&str, MsFlags); 2] =
    [("proc", MsFlags::MS_BIND), ("sys", MsFlags::MS_BIND.union(MsFlags::MS_REC))];

/// The measured host.
#[derive(Debug)]
pub(super) struct Fixture {
    root: PathBuf,
    processes: Vec<Child>,
    keep: Option<PipeWriter>,
    _sockets: Vec<TcpListener>,
}

impl Fixture {
    /// Makes it. The calling thread is in a mount namespace of its own from then on.
    pub(super) fn new() -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit of files");
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(soft.max(4096)), hard).expect("more files");
        let root = std::env::temp_dir().join(format!("palisade-bench-host-{}", std::process::id()));
        fs::create_dir_all(&root).expect("a root");
        files::write(&root);
        let (input, keep) = std::io::pipe().expect("a pipe");
        let wait = |program: &Path, name: &str, arguments: &[&str]| {
            Command::new(program)
                .arg0(name)
                .args(arguments)
                .stdin(Stdio::from(input.try_clone().expect("one more end of the pipe")))
                .stdout(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("start {}: {error}", program.display()))
        };
        let cat = Path::new("/bin/cat");
        let mut processes: Vec<Child> = (0..PROCESSES)
            .map(|index| wait(cat, &format!("/usr/local/bin/service-{index}"), &["-u", "-"]))
            .collect();
        // Before the namespace: a kubelet with mounts of its own is not believed.
        let kubelet = root.join("usr/bin").join(KUBELET);
        fs::copy(std::env::current_exe().expect("this program"), &kubelet).expect("a program");
        processes.push(wait(&kubelet, "/usr/bin/kubelet", files::KUBELET_ARGUMENTS));
        let sockets = (0..SOCKETS)
            .map(|index| if index % 2 == 0 { "127.0.0.1:0" } else { "[::1]:0" })
            .map(|address| TcpListener::bind(address).expect("a port"))
            .collect();
        let fixture = Self { root, processes, keep: Some(keep), _sockets: sockets };
        fixture.mount();
        fixture
    }

    /// The root directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn mount(&self) {
        const NONE: Option<&str> = None;
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (needs root)");
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        nix::mount::mount(NONE, "/", NONE, private, NONE).expect("private mounts");
        for (name, flags) in MOUNTS {
            let target = self.root.join(name);
            fs::create_dir_all(&target).expect("a place to mount on");
            let source = Path::new("/").join(name);
            nix::mount::mount(Some(&source), &target, NONE, flags, NONE).expect("a bind mount");
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(self.keep.take());
        for process in &mut self.processes {
            if let Err(error) = process.wait() {
                eprintln!("a process of the fixture cannot be waited for: {error}");
            }
        }
        // Nothing is removed while the machine's own /proc or /sys may still be below it.
        for (name, _) in MOUNTS {
            let target = self.root.join(name);
            if let Err(error) = nix::mount::umount2(&target, MntFlags::MNT_DETACH) {
                eprintln!("left behind {}: {name} stays mounted: {error}", self.root.display());
                return;
            }
            if let Err(error) = fs::remove_dir(&target) {
                eprintln!("left behind {}: {name} is not empty: {error}", self.root.display());
                return;
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("left behind {}: {error}", self.root.display());
        }
    }
}

/// What the fixture's processes do: wait until the benchmark ends.
pub(super) fn wait_for_the_end() {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("wait for the end");
}
