//! A real Debian machine with systemd, emulated by QEMU, that boots through a boot loader of its own
//! and really reboots: the only place where a boot id changes, and a new kernel runs afterwards.
//!
//! ```text
//! tests/tools/machine -> disk -> prepared (frozen machines) -> qemu -> Machine --node--> a cluster
//!                                                     guest: commands, files --^
//! ```
//!
//! What is in it beyond a minimal Debian 12: unattended-upgrades (whose hook says after a kernel
//! upgrade that a reboot is required), AppArmor, GRUB, two kernels of which the newer is a package
//! file until it is installed. Nothing runs by itself and no route leads out.
//!
//! It needs root for the disk, QEMU, and about 2 GB of memory while it runs. It ends when dropped,
//! and with a test process that is killed.

mod guest;
mod monitor;
mod node;
mod prepared;
mod qemu;

use std::fs;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde_json::json;

use self::guest::Guest;
use self::monitor::Monitor;
use self::prepared::Beginning;
use super::launch::Daemon;
use super::leftover;
use crate::directory::Directory;

pub use self::guest::Ended;
pub use self::prepared::Prepared;

/// What a machine sees of this one: connections to it end at 127.0.0.1.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The machine's network, read by systemd-networkd.
const NETWORK: &str = "/etc/systemd/network/10-machine.network";

/// 25 s on an idle machine of two cores, several times that on a busy one.
const BOOTS_WITHIN: Duration = Duration::from_secs(10 * 60);

/// The dearest command is the installation of a kernel, half a minute on an idle machine.
const RUNS_WITHIN: Duration = Duration::from_secs(20 * 60);

/// A short command while the machine may be going down: after that it is asked anew.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// The prefix of the directories, by which leftovers are found.
const NAME: &str = "machine";

/// Which of the two machines that one cluster can have: they differ in address and boot id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// 10.0.2.15.
    First,
    /// 10.0.2.16.
    Second,
}

impl Place {
    /// The machine's address, which is its node's too.
    #[must_use]
    pub const fn address(self) -> Ipv4Addr {
        match self {
            Self::First => Ipv4Addr::new(10, 0, 2, 15),
            Self::Second => Ipv4Addr::new(10, 0, 2, 16),
        }
    }
}

/// How far a machine is when it starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Off; it boots the older kernel.
    PoweredOff,
    /// Runs the older kernel, which is the only one that is installed. Up in seconds.
    Booted,
    /// Runs the older kernel after the newer was installed: a reboot is pending. Up in seconds.
    Pending,
}

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    // Before the directory: QEMU ends first.
    qemu: Mutex<Daemon>,
    guest: Guest,
    transfer: Mutex<File>,
    name: String,
    place: Place,
    directory: Directory,
}

impl Machine {
    /// Starts a machine with this host name and waits until it takes commands.
    ///
    /// # Panics
    /// If it does not come up, with the end of its console.
    #[must_use]
    pub fn start(name: &str, place: Place, state: State) -> Self {
        let prepared = Prepared::get();
        let components = prepared.components_disk();
        let beginning = prepared.beginning(place, state);
        leftover::sweep(NAME);
        let directory = Directory::new(NAME);
        let disk = directory.path().join("disk.qcow2");
        Self::launch(&beginning, &disk, &components, (name, place), directory)
    }

    /// The same with a disk that stays, without components: a machine that is about to be frozen.
    fn on_disk(beginning: &Beginning, disk: &Path, components: &Path, place: Place) -> Self {
        leftover::sweep(NAME);
        Self::launch(beginning, disk, components, ("machine", place), Directory::new(NAME))
    }

    fn launch(
        beginning: &Beginning,
        disk: &Path,
        components: &Path,
        (name, place): (&str, Place),
        directory: Directory,
    ) -> Self {
        let Beginning { disk: base, format, memory } = beginning;
        qemu::overlay(base, format, disk);
        let transfer = directory.path().join("transfer.img");
        let file = File::create(&transfer).expect("make a disk");
        file.set_len(qemu::TRANSFER_BYTES).expect("size a disk");
        let parts = qemu::Parts {
            disk,
            components,
            transfer: &transfer,
            directory: directory.path(),
            memory: memory.as_deref(),
        };
        let machine = Self {
            qemu: Mutex::new(parts.start()),
            guest: Guest::new(qemu::agent_socket(directory.path())),
            transfer: Mutex::new(file),
            name: name.to_owned(),
            place,
            directory,
        };
        if memory.is_some() {
            let socket = qemu::monitor_socket(machine.directory.path());
            machine.wait("its memory is back", BOOTS_WITHIN, || qemu::resume(&socket).ok());
        }
        machine.wait("it takes commands", BOOTS_WITHIN, || machine.current_boot());
        if memory.is_some() {
            machine.set_clock();
        }
        machine.configure();
        machine
    }

    /// Its host name, and the name of its node.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address, which only it itself sees.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.place.address()
    }

    /// Runs a shell command as root and returns what it printed.
    ///
    /// # Panics
    /// If it fails, with everything it said.
    pub fn run(&self, command: &str) -> String {
        let Ended { code, stdout, stderr } = self.attempt(command);
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        assert!(
            code == Some(0),
            "in machine {}: {command}: exit code {code:?}\n{stdout}{stderr}",
            self.name
        );
        stdout
    }

    /// Runs a shell command as root that may fail, once, however often it must be asked about. It must
    /// not reboot the machine.
    ///
    /// # Panics
    /// If the machine is gone, or the command does not end.
    pub fn attempt(&self, command: &str) -> Ended {
        let once = guest::once(command);
        let mut number = None;
        let mut complaint = None;
        self.wait(command, RUNS_WITHIN, || {
            let answer = match number {
                None => self.guest.start(&once).map(|it| {
                    number = Some(it);
                    None
                }),
                Some(number) => self.guest.ended(number),
            };
            answer.unwrap_or_else(|error| {
                let error = error.to_string();
                if complaint.as_ref() != Some(&error) {
                    eprintln!("machine {}: {error}: {command} is asked about again", self.name);
                    complaint = Some(error);
                }
                number = None;
                None
            })
        })
    }

    /// Writes a file of the machine with this mode (octal digits), with the directories above it.
    ///
    /// # Panics
    /// If it is larger than the disk through which it goes, or cannot be written.
    pub fn put(&self, path: &str, bytes: &[u8], mode: &str) {
        let transfer = self.transfer.lock().unwrap_or_else(PoisonError::into_inner);
        transfer.write_all_at(bytes, 0).expect("write to the transfer disk");
        // The machine's own cache of that disk knows nothing of the new bytes.
        self.run(&format!(
            "set -e; mkdir -p \"$(dirname '{path}')\"; rm -f '{path}'
             dd if=/dev/disk/by-id/virtio-transfer iflag=direct,fullblock bs=1M count={blocks} \
                status=none | head -c {length} > '{path}'
             chmod {mode} '{path}'; test $(stat -c %s '{path}') = {length}",
            blocks = bytes.len().div_ceil(1 << 20),
            length = bytes.len(),
        ));
    }

    /// The same with a file of this machine.
    ///
    /// # Panics
    /// If one cannot be read or the other not be written.
    pub fn put_file(&self, path: &str, from: &Path, mode: &str) {
        let bytes = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        self.put(path, &bytes, mode);
    }

    /// What identifies the boot it is in.
    ///
    /// # Panics
    /// If the machine is gone.
    #[must_use]
    pub fn boot_id(&self) -> String {
        self.run("cat /proc/sys/kernel/random/boot_id").trim_end().to_owned()
    }

    /// The release of the kernel that runs.
    ///
    /// # Panics
    /// If the machine is gone.
    #[must_use]
    pub fn kernel(&self) -> String {
        self.run("uname -r").trim_end().to_owned()
    }

    /// Sends SIGRTMIN+5 to the machine's PID 1, see systemd(1), and waits until it has booted anew.
    ///
    /// # Panics
    /// If it does not.
    pub fn reboot_by_signal(&self) {
        let before = self.boot_id();
        // The number is glibc's; a shell's name for it may be another's. The answer may be lost.
        self.guest.start("kill -39 1").unwrap_or_else(|error| panic!("kill -39 1: {error}"));
        self.wait_boot_after(&before);
    }

    /// Waits until the machine is in another boot than `before` and takes commands, whoever made it
    /// reboot.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn wait_boot_after(&self, before: &str) {
        self.wait("it has booted anew", BOOTS_WITHIN, || {
            self.current_boot().filter(|now| now != before)
        });
    }

    /// The boot id, if the machine takes commands now.
    fn current_boot(&self) -> Option<String> {
        let number = self.guest.start("cat /proc/sys/kernel/random/boot_id").ok()?;
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while Instant::now() < deadline {
            if let Some(Ended { code, stdout, stderr: _ }) = self.guest.ended(number).ok()? {
                let text = String::from_utf8(stdout).ok()?;
                return (code == Some(0)).then(|| text.trim_end().to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// Lets it reach addresses of `range` (CIDR) that this machine reaches, such as Services and pods
    /// of a kubelet here; for this boot and those after it.
    ///
    /// # Panics
    /// If its network refuses.
    pub fn route(&self, range: &str) {
        let file = range.replace('/', "-");
        self.run(&format!(
            "set -e; mkdir -p {NETWORK}.d
             printf '[Route]\\nDestination={range}\\nGateway={HOST}\\n' > {NETWORK}.d/{file}.conf
             systemctl restart systemd-networkd"
        ));
        self.wait("the route is there", BOOTS_WITHIN, || {
            let ended = self.attempt(&format!("ip route show {range} via {HOST} | grep -q ."));
            (ended.code == Some(0)).then_some(())
        });
    }

    /// A loopback address of this machine that leads to a TCP port of that machine.
    ///
    /// # Panics
    /// If QEMU refuses.
    #[must_use]
    pub fn forward(&self, port: u16) -> SocketAddr {
        // Free until a moment ago; QEMU says if somebody else took it since.
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let command = format!(
            "hostfwd_add network tcp:127.0.0.1:{}-{}:{port}",
            address.port(),
            self.place.address()
        );
        let mut monitor =
            Monitor::connect(&qemu::monitor_socket(self.directory.path())).expect("QEMU's monitor");
        let said = monitor
            .call("human-monitor-command", &json!({ "command-line": command }))
            .unwrap_or_else(|error| panic!("{command}: {error}"));
        assert_eq!(said, "", "{command}");
        address
    }

    /// Cuts the power.
    pub fn kill(self) {
        drop(self);
    }

    /// Everything that it wrote to its serial console.
    ///
    /// # Panics
    /// If that cannot be read.
    #[must_use]
    pub fn console(&self) -> String {
        let bytes = fs::read(self.directory.path().join("console.log")).expect("read the console");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Calls `look` until it finds something, and returns that.
    ///
    /// # Panics
    /// If that takes longer than `within`, or QEMU has ended.
    pub fn wait<T>(&self, what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let ended = self.qemu.lock().unwrap_or_else(PoisonError::into_inner).ended();
            assert!(ended.is_none(), "{what}: QEMU ended with {ended:?}\n{}", self.last_words());
            assert!(
                Instant::now() < deadline,
                "machine {}: {what}: not within {within:?}\n{}",
                self.name,
                self.last_words()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The ends of QEMU's log and of the console.
    fn last_words(&self) -> String {
        let qemu = self.qemu.lock().unwrap_or_else(PoisonError::into_inner).tail();
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("--- QEMU\n{qemu}\n--- console\n{end}")
    }

    /// Time stood still in a frozen machine. The clock is set, and the flags of a pending reboot move
    /// with it: their age against the boot is a fact that must stay true.
    fn set_clock(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        self.run(&format!(
            "set -e; before=$(date +%s); date -u -s @{now} > /dev/null
             for flag in /run/reboot-required /run/reboot-required.pkgs; do
               if [ -e $flag ]; then
                 touch -d @$(($(stat -c %Y $flag) + {now} - before)) $flag
               fi
             done",
            now = now.as_secs()
        ));
    }

    /// Name, address and the id of machine-id(5), for this boot and those after it. All disks are
    /// copies of one, which has such an id since dbus was installed.
    fn configure(&self) {
        let (name, address) = (&self.name, self.place.address());
        self.run(&format!(
            "set -e; echo {name} > /etc/hostname; hostname {name}
             tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id
             printf '127.0.0.1 localhost\\n{address} {name}\\n' > /etc/hosts
             printf '[Match]\\nDriver=virtio_net\\n[Network]\\nAddress={address}/24\\nLinkLocalAddressing=no\\n' \
               > {NETWORK}
             systemctl restart systemd-networkd"
        ));
        self.wait("its network is up", BOOTS_WITHIN, || {
            let ended = self.attempt(&format!("ip -4 address show to {address} up | grep -q ."));
            (ended.code == Some(0)).then_some(())
        });
    }

    /// Writes its memory to `file` and ends it.
    fn freeze(&self, file: &Path) {
        qemu::save(&qemu::monitor_socket(self.directory.path()), file)
            .unwrap_or_else(|error: io::Error| panic!("freeze a machine: {error}"));
        let deadline = Instant::now() + BOOTS_WITHIN;
        while self.qemu.lock().unwrap_or_else(PoisonError::into_inner).ended().is_none() {
            assert!(Instant::now() < deadline, "QEMU does not end after freezing");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
