//! Removes whatever a kubelet of these tests left on this machine, also one whose test was killed:
//! processes, containers, mounts, network, cgroups, directories, kernel settings.
//!
//! Only what carries this harness' own names is touched: its two directories, its cgroup, its
//! bridge, and the tables of kube-proxy if this harness noted that they are its own. Nothing here
//! asks containerd, because after a kill there is none.
//!
//! ```text
//! processes ──> cgroup.procs until empty ──> mounts, deepest first ──> network ──> cgroups ──> files
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use nix::errno::Errno;
use nix::mount::MntFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// What stays on disk: images, snapshots, volumes.
pub(super) const ROOT: &str = "/var/lib/palisade-test-kubelet";
/// What is gone with the machine: sockets, settings, logs. Short, because sockets have short names.
pub(super) const STATE: &str = "/run/palisade-test-kubelet";
/// The cgroup, in every hierarchy, below which all pods are.
pub(super) const CGROUP: &str = "palisade-test-kubelet";
/// The bridge of the pods.
pub(super) const BRIDGE: &str = "palisade-test0";
/// The name of the pods' network.
pub(super) const NETWORK: &str = "palisade-test";
/// Exists while the tables of kube-proxy are this harness' own.
pub(super) const PROXY_MARK: &str = "/run/palisade-test-kubelet/kube-proxy-is-ours";
/// Kernel settings that kubelet, kube-proxy and CNI plugins change.
pub(super) const SYSCTLS: &[&str] = &[
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];
/// Directories with fixed names that the components make; removed only where empty.
const SHARED: &[&str] = &[
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/run/containerd/s",
    "/run/containerd",
];
/// A killed process that touches no dead remote file system is gone at once; this is generous.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Removes everything; what could not be removed is returned as sentences. Never panics, because it
/// runs while a failed test unwinds.
pub(super) fn clean() -> Vec<String> {
    let mut problems = Vec::new();
    kill(&mut problems);
    unmount(&mut problems);
    network(&mut problems);
    for directory in cgroups() {
        remove_cgroup(&directory, &mut problems);
    }
    restore_sysctls(&mut problems);
    files(&mut problems);
    problems
}

/// The cgroup of all pods in each hierarchy of this machine (one on cgroup v2).
pub(super) fn cgroups() -> Vec<PathBuf> {
    hierarchies().into_iter().map(|hierarchy| hierarchy.join(CGROUP)).collect()
}

/// The mounted cgroup hierarchies, links between them left out.
pub(super) fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (place, kind) = (fields.next()?, fields.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(place))
        })
        .collect()
}

/// Ends daemons and shims (known by the paths in their arguments), then all members of the cgroups.
fn kill(problems: &mut Vec<String>) {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let mut left: BTreeSet<i32> = daemons();
        for cgroup in cgroups() {
            members(&cgroup, &mut left);
        }
        left.remove(&i32::try_from(std::process::id()).unwrap_or(0));
        if left.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            problems.push(format!("processes {left:?} do not end"));
            return;
        }
        for pid in left {
            match nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL) {
                // Gone in the meantime is what is wanted.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => {
                    problems.push(format!("kill {pid}: {error}"));
                    return;
                }
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Processes that live and were started with one of this harness' directories as argument.
fn daemons() -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else { continue };
        let program = arguments.split(|byte| *byte == 0).next().unwrap_or_default();
        let program = String::from_utf8_lossy(program);
        let name = program.rsplit('/').next().unwrap_or_default().to_owned();
        let ours = arguments.split(|byte| *byte == 0).skip(1).any(|argument| {
            let argument = String::from_utf8_lossy(argument);
            argument.starts_with(STATE) || argument.contains(&format!("={STATE}"))
        });
        let kinds = ["containerd", "containerd-shim-runc-v2", "kubelet", "kube-proxy", "runc"];
        if ours && kinds.contains(&name.as_str()) {
            found.insert(pid);
        }
    }
    found
}

fn members(cgroup: &Path, found: &mut BTreeSet<i32>) {
    let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    found.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            members(&entry.path(), found);
        }
    }
}

/// Mount points below the two directories, in the order of mounting.
fn mounts() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|place| place.starts_with(ROOT) || place.starts_with(STATE))
        .map(|place| PathBuf::from(place.replace("\\040", " ")))
        .collect()
}

fn unmount(problems: &mut Vec<String>) {
    for place in mounts().iter().rev() {
        if let Err(error) = nix::mount::umount2(place, MntFlags::MNT_DETACH) {
            problems.push(format!("unmount {}: {error}", place.display()));
        }
    }
}

fn network(problems: &mut Vec<String>) {
    // Ports of the bridge go with their namespaces, which were mounts; the bridge stays.
    if Path::new("/sys/class/net").join(BRIDGE).exists() {
        run("ip", &["link", "delete", BRIDGE], problems);
    }
    if Path::new(PROXY_MARK).exists() {
        for family in proxy_tables() {
            run("nft", &["delete", "table", &family, "kube-proxy"], problems);
        }
    }
}

/// Families of nftables that have a table of kube-proxy.
pub(super) fn proxy_tables() -> Vec<String> {
    let output = Command::new("nft").args(["list", "tables"]).stdin(Stdio::null()).output();
    let Ok(output) = output else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("table ")?.strip_suffix(" kube-proxy"))
        .map(str::to_owned)
        .collect()
}

fn run(program: &str, arguments: &[&str], problems: &mut Vec<String>) {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => problems.push(format!(
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => problems.push(format!("{program} {arguments:?}: {error}")),
    }
}

/// Removes a cgroup, its children first; a member that was just killed may keep it busy shortly.
fn remove_cgroup(directory: &Path, problems: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path(), problems);
        }
    }
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) if Instant::now() > deadline => {
                problems.push(format!("remove {}: {error}", directory.display()));
                return;
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn remove(file: &Path, problems: &mut Vec<String>) {
    if let Err(error) = fs::remove_file(file) {
        problems.push(format!("remove {}: {error}", file.display()));
    }
}

/// Notes the values that kernel settings have now, for [`clean`] to put back.
///
/// # Errors
/// If they cannot be written down.
pub(super) fn note_sysctls() -> io::Result<()> {
    for name in SYSCTLS {
        let Ok(value) = fs::read_to_string(Path::new("/proc/sys").join(name)) else { continue };
        let note = Path::new(STATE).join("sysctl").join(name);
        fs::create_dir_all(note.parent().unwrap_or(Path::new(STATE)))?;
        fs::write(note, value)?;
    }
    Ok(())
}

fn restore_sysctls(problems: &mut Vec<String>) {
    for name in SYSCTLS {
        let Ok(before) = fs::read_to_string(Path::new(STATE).join("sysctl").join(name)) else {
            continue;
        };
        let place = Path::new("/proc/sys").join(name);
        if fs::read_to_string(&place).is_ok_and(|now| now == before) {
            continue;
        }
        if let Err(error) = fs::write(&place, before) {
            problems.push(format!("restore {}: {error}", place.display()));
        }
    }
}

fn files(problems: &mut Vec<String>) {
    // By runc's own records, before these go.
    let containers: Vec<_> = fs::read_dir(Path::new(STATE).join("runc/k8s.io"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    // Removal must never follow a mount into something else, such as the host's root.
    let left = mounts();
    if !left.is_empty() {
        problems.push(format!("still mounted, so files stay: {left:?}"));
        return;
    }
    for directory in [ROOT, STATE] {
        match fs::remove_dir_all(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => problems.push(format!("remove {directory}: {error}")),
        }
    }
    for entry in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if containers.iter().any(|id| name.contains(id)) {
            remove(&entry.path(), problems);
        }
    }
    // A shim's socket has a hash for a name; what nobody listens on any more refuses.
    for directory in ["/run/containerd/s", "/var/lib/kubelet/device-plugins"] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let refused = UnixStream::connect(entry.path())
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if refused {
                remove(&entry.path(), problems);
            }
        }
    }
    for directory in SHARED {
        // Not empty means that somebody else uses it; absent, that nobody made it.
        match fs::remove_dir(directory) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                ) => {}
            Err(error) => problems.push(format!("remove {directory}: {error}")),
        }
    }
}
