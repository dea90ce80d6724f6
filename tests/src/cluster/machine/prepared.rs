//! What machines start from: the disk that `tests/tools/machine` makes, and machines that were
//! frozen on the way, memory included, because emulated work is dear: booting, and installing a
//! kernel package.
//!
//! ```text
//! disk.img <- booted: disk, memory <- pending: disk, memory      (for each place)
//!        ^------------- a machine's own disk, gone with it
//! ```
//!
//! Frozen machines lie beside the disk, keyed by the hardware and by what was done to them; the first
//! test that needs one makes it while others wait.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;

use super::Machine;
use super::Place;
use super::State;
use super::qemu;
use crate::cluster::components;
use crate::cluster::components::Component;

/// To be changed with whatever is done to a machine before it is frozen.
const RECIPE: u32 = 1;

/// The disk, the kernels and where frozen machines are kept.
#[derive(Debug)]
pub struct Prepared {
    directory: PathBuf,
    older: String,
    newer: String,
}

/// Where a machine starts.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) disk: PathBuf,
    pub(super) format: &'static str,
    pub(super) memory: Option<PathBuf>,
}

impl Prepared {
    /// What is in the cache, made now if it is not (minutes).
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn get() -> &'static Self {
        static PREPARED: OnceLock<Prepared> = OnceLock::new();
        PREPARED.get_or_init(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/machine");
            let output = Command::new(&script)
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .output()
                .unwrap_or_else(|error| panic!("run {}: {error}", script.display()));
            assert!(output.status.success(), "{}: {}", script.display(), output.status);
            let directory = String::from_utf8(output.stdout).expect("a UTF-8 path");
            let directory = PathBuf::from(directory.trim_end());
            let kernels = fs::read_to_string(directory.join("kernels")).expect("read the kernels");
            let kernel = |name: &str| {
                let line =
                    kernels.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
                line.unwrap_or_else(|| panic!("no {name} in {kernels}")).to_owned()
            };
            let (older, newer) = (kernel("older"), kernel("newer"));
            Self { directory, older, newer }
        })
    }

    /// The release of the kernel that the disk boots, as uname(2) has it.
    #[must_use]
    pub fn older_kernel(&self) -> &str {
        &self.older
    }

    /// The release of the kernel that [`State::Pending`] has installed.
    #[must_use]
    pub fn newer_kernel(&self) -> &str {
        &self.newer
    }

    /// Disk and memory of `state` at `place`.
    pub(super) fn beginning(&self, place: Place, state: State) -> Beginning {
        match state {
            State::PoweredOff => {
                Beginning { disk: self.directory.join("disk.img"), format: "raw", memory: None }
            }
            State::Booted => self.frozen(place, state, State::PoweredOff, |machine| {
                machine.run("systemctl is-system-running --wait");
                // The menu of the built disk was written by hand.
                machine.run("update-grub");
            }),
            State::Pending => self.frozen(place, state, State::Booted, |machine| {
                machine.run("dpkg -i /var/cache/machine/linux-image-*.deb");
            }),
        }
    }

    /// The machine that was frozen after `work`, made now from one in `state` if there is none.
    fn frozen(
        &self,
        place: Place,
        state: State,
        from: State,
        work: impl Fn(&Machine),
    ) -> Beginning {
        let kept = self.directory.join(format!("frozen-{RECIPE}-{:016x}", qemu::hardware()));
        fs::create_dir_all(&kept).expect("make the directory of frozen machines");
        let name = format!("{place:?}-{state:?}").to_lowercase();
        let lock = kept.join(format!("{name}.lock"));
        let lock =
            File::create(&lock).unwrap_or_else(|error| panic!("{}: {error}", lock.display()));
        lock.lock().expect("lock a frozen machine");
        let directory = kept.join(&name);
        if !directory.exists() {
            let new = kept.join(format!("{name}.new"));
            if new.exists() {
                fs::remove_dir_all(&new).expect("remove what a killed run left");
            }
            fs::create_dir(&new).expect("make a directory");
            let disk = new.join("disk.qcow2");
            let beginning = self.beginning(place, from);
            let machine = Machine::on_disk(&beginning, &disk, &self.empty_disk(), place);
            work(&machine);
            machine.run("sync");
            machine.freeze(&new.join("memory"));
            fs::rename(&new, &directory).expect("keep a frozen machine");
        }
        Beginning {
            disk: directory.join("disk.qcow2"),
            format: "qcow2",
            memory: Some(directory.join("memory")),
        }
    }

    /// A disk as large as the one with the components, for machines that are about to be frozen.
    pub(super) fn empty_disk(&self) -> PathBuf {
        let path = self.directory.join("empty.img");
        let file = File::options().create(true).append(true).open(&path).expect("make a disk");
        file.set_len(qemu::COMPONENTS_BYTES).expect("size a disk");
        path
    }

    /// A disk with kubelet, containerd, runc and CNI plugins, made anew when one of them changed.
    pub(super) fn components_disk(&self) -> PathBuf {
        static DISK: OnceLock<PathBuf> = OnceLock::new();
        DISK.get_or_init(|| components_disk(&self.directory)).clone()
    }
}

fn components_disk(directory: &Path) -> PathBuf {
    let binaries = [
        (Component::Kubernetes, "kubelet", "kubelet"),
        (Component::Runtime, "containerd", "containerd"),
        (Component::Runtime, "containerd-shim-runc-v2", "containerd-shim-runc-v2"),
        (Component::Runtime, "ctr", "ctr"),
        (Component::Runc, "runc", "runc"),
        (Component::Runtime, "bridge", "cni/bridge"),
        (Component::Runtime, "host-local", "cni/host-local"),
        (Component::Runtime, "loopback", "cni/loopback"),
        (Component::Runtime, "portmap", "cni/portmap"),
    ];
    let binaries = binaries.map(|(component, name, to)| (components::binary(component, name), to));
    let mut hasher = std::hash::DefaultHasher::new();
    for (path, to) in &binaries {
        let metadata =
            fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let changed = metadata.modified().expect("a file system with times");
        std::hash::Hash::hash(&(path, to, metadata.len(), changed), &mut hasher);
    }
    let name = format!("components-{:016x}.img", std::hash::Hasher::finish(&hasher));
    let lock = File::create(directory.join("components.lock")).expect("make a lock");
    lock.lock().expect("lock the disk of components");
    let disk = directory.join(name);
    if disk.exists() {
        return disk;
    }
    let stage = directory.join("components.new");
    if stage.exists() {
        fs::remove_dir_all(&stage).expect("remove what a killed run left");
    }
    fs::create_dir_all(stage.join("root/cni")).expect("make directories");
    for (path, to) in &binaries {
        fs::copy(path, stage.join("root").join(to))
            .unwrap_or_else(|error| panic!("copy {}: {error}", path.display()));
    }
    let image = stage.join("disk.img");
    File::create(&image)
        .and_then(|file| file.set_len(qemu::COMPONENTS_BYTES))
        .expect("make a disk");
    let output = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d"])
        .args([stage.join("root"), image.clone()])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("run mke2fs: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "make the disk of components: {error}");
    fs::rename(&image, &disk).expect("keep the disk of components");
    fs::remove_dir_all(&stage).expect("remove the copies");
    disk
}
