//! The virtual hardware: one PC with two processors and 2 GiB, emulated, since /dev/kvm of a test
//! machine is often missing or does not work.
//!
//! Network: the machine has no way out. It reaches 10.0.2.2, which is this machine's loopback, and
//! what this machine reaches by routes that a test adds; nobody reaches it but through a forwarded
//! loopback port.

use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use serde_json::json;

use super::monitor::Monitor;
use crate::cluster::launch::Daemon;

/// What a saved memory must find again: bytes of the disk with the components.
pub(super) const COMPONENTS_BYTES: u64 = 768 << 20;

/// Bytes of the disk through which files come in, and so of the largest file.
pub(super) const TRANSFER_BYTES: u64 = 1 << 30;

/// The files that a machine is made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// Its own disk, written to (qcow2).
    pub(super) disk: &'a Path,
    /// Kubernetes' components, read only.
    pub(super) components: &'a Path,
    /// Through which files come in, read only for the machine.
    pub(super) transfer: &'a Path,
    /// For sockets and logs.
    pub(super) directory: &'a Path,
    /// A saved memory to go on from; without one it is powered on.
    pub(super) memory: Option<&'a Path>,
}

impl Parts<'_> {
    /// Starts QEMU.
    pub(super) fn start(&self) -> Daemon {
        let mut command = Command::new("nice");
        command.args(["-n", "5", "qemu-system-x86_64"]).args(self.arguments());
        if let Some(memory) = self.memory {
            command.arg("-incoming").arg(format!("exec:cat '{}'", memory.display()));
        }
        Daemon::start("qemu", &command, self.directory)
    }

    fn arguments(&self) -> Vec<String> {
        let Self { disk, components, transfer, directory, memory: _ } = self;
        let drive = |name: &str, path: &Path, more: &str| {
            [
                "-drive".to_owned(),
                format!("if=none,id={name},file={},{more}", path.display()),
                "-device".to_owned(),
                format!("virtio-blk-pci,drive={name},serial={name}"),
            ]
        };
        let mut arguments: Vec<String> = [
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "pc",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2048",
            "-rtc",
            "base=utc,clock=host",
            "-device",
            "virtio-rng-pci",
            "-netdev",
            "user,id=network,ipv6=off",
            "-device",
            "virtio-net-pci,netdev=network,romfile=",
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        ]
        .map(str::to_owned)
        .into();
        arguments.extend(drive("root", disk, "format=qcow2,cache=unsafe"));
        arguments.extend(drive("components", components, "format=raw,readonly=on"));
        arguments.extend(drive("transfer", transfer, "format=raw,readonly=on"));
        let socket = |path: PathBuf| format!("{},server=on,wait=off", path.display());
        arguments.extend([
            "-chardev".to_owned(),
            format!("socket,id=agent,path={}", socket(agent_socket(directory))),
            "-qmp".to_owned(),
            format!("unix:{}", socket(monitor_socket(directory))),
            "-serial".to_owned(),
            format!("file:{}", directory.join("console.log").display()),
        ]);
        arguments
    }
}

/// Where the guest agent of a machine with this directory is asked.
pub(super) fn agent_socket(directory: &Path) -> PathBuf {
    directory.join("agent")
}

/// Where QEMU itself is asked.
pub(super) fn monitor_socket(directory: &Path) -> PathBuf {
    directory.join("monitor")
}

/// A number that differs between hardware on which a saved memory would not run: QEMU's version and
/// the arguments above.
pub(super) fn hardware() -> u64 {
    let version = Command::new("qemu-system-x86_64")
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("run qemu-system-x86_64 (see tests/tools/packages): {error}")
        });
    let nowhere = Path::new("");
    let parts = Parts {
        disk: nowhere,
        components: nowhere,
        transfer: nowhere,
        directory: nowhere,
        memory: None,
    };
    let mut hasher = DefaultHasher::new();
    (version.stdout, parts.arguments(), COMPONENTS_BYTES, TRANSFER_BYTES).hash(&mut hasher);
    hasher.finish()
}

/// Makes a qcow2 disk at `disk` that reads from `base` what it was not given itself.
pub(super) fn overlay(base: &Path, format: &str, disk: &Path) {
    let output = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .args([base, disk])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("run qemu-img: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "make a disk over {}: {error}", base.display());
}

/// Freezes the machine behind `socket`, writes its memory to `file` and ends it. Its disk belongs to
/// that memory from then on and must not change.
///
/// # Errors
/// When QEMU cannot.
pub(super) fn save(socket: &Path, file: &Path) -> io::Result<()> {
    let mut monitor = Monitor::connect(socket)?;
    monitor.call("stop", &json!({}))?;
    // Frozen, so nothing is written twice; the default limit is meant for networks.
    monitor.call("migrate-set-parameters", &json!({ "max-bandwidth": 10_000_000_000_u64 }))?;
    monitor.call("migrate", &json!({ "uri": format!("exec:cat > '{}'", file.display()) }))?;
    loop {
        let state = monitor.call("query-migrate", &json!({}))?;
        match state["status"].as_str() {
            Some("completed") => break,
            Some("failed" | "cancelled") | None => {
                return Err(io::Error::other(format!("save a machine: {state}")));
            }
            Some(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    }
    monitor.call("quit", &json!({}))?;
    Ok(())
}

/// Waits until the machine behind `socket` has its memory back, and lets it run. A frozen machine
/// remembers that it stood still.
///
/// # Errors
/// When QEMU does not listen yet, or still reads.
pub(super) fn resume(socket: &Path) -> io::Result<()> {
    let mut monitor = Monitor::connect(socket)?;
    let state = monitor.call("query-status", &json!({}))?;
    if state["status"] != "paused" {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("not loaded: {state}")));
    }
    monitor.call("cont", &json!({}))?;
    Ok(())
}
