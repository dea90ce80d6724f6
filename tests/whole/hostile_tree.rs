//! Trees that a hostile node would show the agent: the real binary over links that lead outside,
//! files that block or never end, bombs, garbage, and names that change while they are looked at.
//!
//! Each asserts that nothing from outside appears, that what was attacked says why it is not known,
//! and that everything else is known all the same. The agent runs within 128 MiB of address space
//! and must come to its end within the time that it gives itself.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use nix::fcntl::AT_FDCWD;
use nix::fcntl::RenameFlags;
use nix::fcntl::renameat2;
use nix::sys::stat::Mode;
use nix::sys::stat::SFlag;
use nix::sys::stat::makedev;
use nix::sys::stat::mknod;
use nix::unistd::Uid;
use nix::unistd::mkfifo;
use palisade_agent::inspection::INSPECTION_TIMEOUT;
use palisade_tests::directory::Directory;
use palisade_tests::node;
use palisade_tests::process::Agent;
use serde_json::Value;

/// What stands outside of the root and must never be seen.
const SECRET: &str = "sentinel-7d3f-outside";

/// Address space of the agent, in KiB: far above what it needs, far below what a bomb demands.
const ADDRESS_SPACE_KIB: u32 = 128 * 1024;

/// What starting a process on a busy machine may cost on top of the agent's own limit.
const SLACK: Duration = Duration::from_secs(20);

/// Files of a node that an inspection reads, from every area.
const READ: [&str; 14] = [
    "boot/grub/grub.cfg",
    "etc/apt/sources.list",
    "etc/kubernetes/kubelet.conf",
    "etc/kubernetes/pki/ca.crt",
    "etc/os-release",
    "etc/sysctl.d/60-a.conf",
    "proc/1/net/tcp",
    "proc/cmdline",
    "proc/sys/kernel/osrelease",
    "proc/sys/kernel/hostname",
    "proc/sys/kernel/tainted",
    "run/reboot-required.pkgs",
    "var/lib/dpkg/status",
    "var/lib/kubelet/config.yaml",
];

fn start(root: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {ADDRESS_SPACE_KIB}; exec \"$0\" \"$@\"")]);
    command.arg(Agent::binary()).args(["report", "--root"]).arg(root);
    command
}

/// What the agent reports of `root`.
fn report(root: &Path) -> Value {
    finish(start(root))
}

fn finish(mut command: Command) -> Value {
    let started = Instant::now();
    let output = command.output().expect("run the agent");
    let took = started.elapsed();
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {log}", output.status);
    assert!(took < INSPECTION_TIMEOUT + SLACK, "took {took:?}");
    assert!(!text.contains(SECRET) && !log.contains(SECRET), "read outside of the root: {text}");
    assert!(!text.contains("\"crashed\""), "a reader crashed: {text}");
    let report: Value = serde_json::from_str(&text).expect("a report");
    let sections = report["sections"].as_object().expect("sections").clone();
    assert_eq!(sections.len(), 10);
    for (name, section) in &sections {
        assert_eq!(section["state"], "known", "{name}: {section}");
    }
    Value::Object(sections)
}

/// What the report of an unharmed worker says at these places, at which the others differ only
/// where they were attacked.
fn unharmed(sections: &Value, except: &[&str]) {
    for (pointer, expected) in [
        ("/boot/hostname/value", "worker-1"),
        ("/host/os/value/id", "debian"),
        ("/kernel/release/value", "6.1.0-50-amd64"),
        ("/kubelet/effective/authorization.mode/value", "Webhook"),
        ("/kubelet/process/value/executable", "/usr/bin/kubelet"),
        ("/sysctls/keys/kernel.kptr_restrict/running/value", "1"),
        ("/updates/packages/value/libc6", "2.36-9"),
    ] {
        if !except.contains(&pointer) {
            assert_eq!(sections.pointer(pointer), Some(&expected.into()), "{pointer}");
        }
    }
}

/// Why the reading at `pointer` is unknown.
fn why(sections: &Value, pointer: &str) -> String {
    let reading = sections.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    assert_eq!(reading["state"], "unknown", "{pointer}: {reading}");
    let why = reading["why"]["kind"].as_str().expect("a reason");
    assert!(!reading["why"]["detail"].as_str().expect("a detail").is_empty());
    why.to_owned()
}

fn replace(root: &Path, path: &str, make: impl FnOnce(&Path)) {
    let path = root.join(path);
    if path.is_dir() {
        fs::remove_dir_all(&path).expect("remove a directory");
    } else if path.symlink_metadata().is_ok() {
        fs::remove_file(&path).expect("remove a file");
    }
    fs::create_dir_all(path.parent().expect("a directory")).expect("make directories");
    make(&path);
}

#[test]
fn an_unharmed_worker_is_known() {
    let root = node::worker("unharmed");
    unharmed(&report(root.path()), &[]);
}

#[test]
fn links_never_lead_out_of_the_root() {
    let outside = Directory::new("outside");
    let secret = format!("ID={SECRET}\nauthorization: {{mode: {SECRET}}}\nkernel.a={SECRET}\n");
    outside.write("secret", &secret);
    outside.write("d/60-a.conf", &secret);
    outside.write("d/ca.crt", &secret);
    let target = outside.path().join("secret");
    let up =
        format!("{}{}", "../".repeat(40), target.display().to_string().trim_start_matches('/'));
    for target in [target.as_path(), Path::new(&up)] {
        let root = node::worker("links");
        for path in READ {
            replace(root.path(), path, |path| symlink(target, path).expect("make a link"));
        }
        let sections = report(root.path());
        assert_ne!(sections["host"]["os"]["state"], "known");
        assert_ne!(sections["kernel"]["release"]["state"], "known");
    }
    // Whole directories, a link to a link, and the magic links of this very process.
    let root = node::worker("links-of-directories");
    for path in ["etc/sysctl.d", "etc/kubernetes/pki", "boot", "var/lib/dpkg", "proc/9"] {
        replace(root.path(), path, |path| {
            symlink(outside.path().join("d"), path).expect("make a link");
        });
    }
    replace(root.path(), "etc/os-release", |path| symlink("hop", path).expect("make a link"));
    replace(root.path(), "etc/hop", |path| symlink(&target, path).expect("make a link"));
    replace(root.path(), "proc/sys/kernel/hostname", |path| {
        symlink(format!("/proc/self/root{}", target.display()), path).expect("make a link");
    });
    report(root.path());
}

#[test]
fn loops_of_links_are_told_and_do_not_hang() {
    let root = node::worker("loops");
    for path in ["proc/sys/kernel/hostname", "etc/os-release", "proc/sys/kernel/osrelease"] {
        replace(root.path(), path, |path| {
            symlink(path.file_name().expect("a name"), path).expect("make a link")
        });
    }
    replace(root.path(), "usr/lib/modprobe.d", |path| {
        symlink("../lib/modprobe.d", path).expect("make a link")
    });
    let sections = report(root.path());
    assert_eq!(why(&sections, "/host/os"), "loop");
    assert_eq!(why(&sections, "/kernel/release"), "loop");
    unharmed(&sections, &["/boot/hostname/value", "/host/os/value/id", "/kernel/release/value"]);
}

#[test]
fn what_is_no_regular_file_is_neither_opened_nor_waited_for() {
    let root = node::worker("special");
    replace(root.path(), "etc/os-release", |path| {
        mkfifo(path, Mode::S_IRWXU).expect("make a FIFO")
    });
    replace(root.path(), "var/lib/kubelet/config.yaml", |path| {
        fs::create_dir(path).expect("make a directory")
    });
    replace(root.path(), "proc/sys/kernel/osrelease", |path| {
        drop(std::os::unix::net::UnixListener::bind(path).expect("make a socket"));
    });
    let sections = report(root.path());
    assert_eq!(why(&sections, "/host/os"), "not-regular");
    assert_eq!(why(&sections, "/kernel/release"), "not-regular");
    assert_eq!(why(&sections, "/kubelet/effective/authorization.mode"), "not-regular");
    unharmed(
        &sections,
        &[
            "/host/os/value/id",
            "/kernel/release/value",
            "/kubelet/effective/authorization.mode/value",
        ],
    );
}

#[test]
fn a_device_is_not_opened() {
    let root = node::worker("device");
    let path = root.path().join("var/lib/dpkg/status");
    fs::remove_file(&path).expect("remove a file");
    // /dev/zero, which never ends.
    if let Err(error) = mknod(&path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5)) {
        eprintln!("skipped: this user may not make devices: {error}");
        return;
    }
    let sections = report(root.path());
    assert_eq!(why(&sections, "/updates/packages"), "not-regular");
    unharmed(&sections, &["/updates/packages/value/libc6"]);
}

#[test]
fn files_without_end_are_too_large_and_cost_nothing() {
    const LENGTH: u64 = 10 * 1024 * 1024 * 1024;
    let root = node::worker("sparse");
    for path in READ {
        let file = fs::File::create(root.path().join(path)).expect("make a file");
        file.set_len(LENGTH).expect("make a sparse file");
    }
    let sections = report(root.path());
    for pointer in [
        "/host/os",
        "/kernel/release",
        "/kubelet/effective/authorization.mode",
        "/updates/packages",
        "/sockets/listeners",
    ] {
        assert_eq!(why(&sections, pointer), "too-large", "{pointer}");
    }
}

#[test]
fn garbage_in_every_file_is_survived() {
    for seed in 1..=4_u64 {
        let root = node::worker("garbage");
        let mut state = seed;
        for (path, _) in node::parse(node::WORKER) {
            let path = root.path().join(path.trim_start_matches('/'));
            if path.symlink_metadata().is_ok_and(|it| it.is_file()) {
                // xorshift64: any bytes will do, but the same ones in every run.
                let mut next = || {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_le_bytes()
                };
                let garbage: Vec<u8> = (0..512 * seed).flat_map(|_| next()).collect();
                fs::write(path, garbage).expect("write garbage");
            }
        }
        report(root.path());
    }
}

#[test]
fn bombs_of_yaml_are_refused_with_a_reason() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let deep = format!("authorization: {}1{}\n", "{a: ".repeat(100_000), "}".repeat(100_000));
    let flow = "[".repeat(900_000);
    let keys: String = (0..150_000).map(|key| format!("k{key}: 1\n")).collect();
    for bomb in [laughs, deep, flow, keys] {
        let root = node::worker("yaml");
        for path in [
            "var/lib/kubelet/config.yaml",
            "etc/kubernetes/kubelet.conf",
            "etc/kubernetes/manifests/kube-apiserver.yaml",
        ] {
            root.write(path, &bomb);
        }
        let sections = report(root.path());
        let kind = why(&sections, "/kubelet/effective/authorization.mode");
        assert!(matches!(kind.as_str(), "too-large" | "malformed"), "{kind}");
        unharmed(&sections, &["/kubelet/effective/authorization.mode/value"]);
    }
}

#[test]
fn a_million_blocks_and_one_huge_block_are_bounded() {
    let block = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let root = node::worker("pem");
    let path = "etc/kubernetes/pki/ca.crt";
    for (text, kind) in [
        (block.repeat(1_000_000), "too-large"),
        (format!("-----BEGIN CERTIFICATE-----\n{}", "A".repeat(64 * 1024 * 1024)), "too-large"),
    ] {
        root.write(path, text);
        let sections = report(root.path());
        assert_eq!(
            why(&sections, "/certificates/files/~1etc~1kubernetes~1pki~1ca.crt/certificates"),
            kind
        );
        unharmed(&sections, &[]);
    }
    // As many as a file may have, none of them a certificate.
    root.write(path, block.repeat(1024 * 1024 / block.len()));
    let sections = report(root.path());
    let file = &sections["certificates"]["files"]["/etc/kubernetes/pki/ca.crt"];
    let malformed = file["malformed"].as_array().expect("a list");
    assert!((1..=20).contains(&malformed.len()), "{file}");
    unharmed(&sections, &[]);
}

#[test]
fn names_that_are_no_text_and_directories_without_end_are_survived() {
    let root = node::worker("names");
    for directory in ["etc/sysctl.d", "etc/kubernetes/manifests", "proc", "usr/lib/modprobe.d"] {
        let directory = root.path().join(directory);
        fs::create_dir_all(&directory).expect("make a directory");
        for name in
            [&b"\xff\xfe.conf"[..], b"a\nb.conf", b"\x1b[31m.conf", "\u{202e}x.conf".as_bytes()]
        {
            let name = std::ffi::OsStr::from_bytes(name);
            fs::write(directory.join(name), "kernel.x=1\n").expect("write a file");
        }
    }
    let sections = report(root.path());
    let text = sections.to_string();
    assert!(!text.contains('\u{202e}') && !text.contains("\\u001b"), "{text}");
    unharmed(&sections, &[]);

    let directory = root.path().join("etc/sysctl.d");
    for number in 0..100_000 {
        fs::File::create(directory.join(format!("{number}.conf"))).expect("make a file");
    }
    let sections = report(root.path());
    assert_eq!(why(&sections, "/sysctls/keys/kernel.kptr_restrict/next_boot"), "too-large");
    unharmed(&sections, &[]);
}

#[test]
fn what_may_not_be_read_is_unknown_and_never_absent() {
    let root = node::worker("unreadable");
    let open = |path: &str, mode| {
        let path = root.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("change a mode");
    };
    open("etc/os-release", 0o000);
    open("var/lib/kubelet/config.yaml", 0o000);
    open("etc/sysctl.d", 0o000);
    open("etc/kubernetes/pki", 0o000);
    let mut command = start(root.path());
    if Uid::effective().is_root() {
        // Root reads everything; 65534 owns nothing here. It may read the tree, which is 0755.
        command.uid(65534).gid(65534);
    }
    let sections = finish(command);
    assert_eq!(why(&sections, "/host/os"), "permission-denied");
    assert_eq!(why(&sections, "/kubelet/effective/authorization.mode"), "permission-denied");
    assert_eq!(why(&sections, "/sysctls/keys/kernel.kptr_restrict/next_boot"), "permission-denied");
    let file = "/certificates/files/~1etc~1kubernetes~1pki~1ca.crt/certificates";
    assert_eq!(why(&sections, file), "permission-denied");
    unharmed(&sections, &["/host/os/value/id", "/kubelet/effective/authorization.mode/value"]);
    // So that the directory can be removed.
    open("etc/sysctl.d", 0o755);
    open("etc/kubernetes/pki", 0o755);
}

/// A file, and the directory of another one, change places with links to the outside all the time.
#[test]
fn links_that_are_swapped_in_while_it_looks_never_lead_outside() {
    const SCANS: usize = 12;
    const MAX_SWAPS: usize = 100_000;
    let outside = Directory::new("swapped");
    outside.write("secret", format!("ID={SECRET}\n"));
    outside.write("d/60-a.conf", format!("kernel.kptr_restrict={SECRET}\n"));
    let root = node::worker("swap");
    let pairs = [
        ("etc/os-release", "etc/os-release.other", outside.path().join("secret")),
        ("etc/sysctl.d", "etc/sysctl.other", outside.path().join("d")),
    ]
    .map(|(one, other, target)| {
        let (one, other) = (root.path().join(one), root.path().join(other));
        symlink(target, &other).expect("make a link");
        (one, other)
    });
    let (done, mut swaps) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let mut swaps = 0;
            while swaps < MAX_SWAPS && !done.load(Ordering::Relaxed) {
                for (one, other) in &pairs {
                    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)
                        .expect("exchange two names");
                }
                swaps += 1;
            }
            swaps
        });
        for _ in 0..SCANS {
            unharmed(&report(root.path()), &["/host/os/value/id"]);
        }
        done.store(true, Ordering::Relaxed);
        swaps = swapping.join().expect("swaps");
    });
    assert!(swaps >= SCANS, "only {swaps} swaps");
}

/// The largest files that are read to their end, all in one tree.
#[test]
fn the_largest_tree_that_is_read_fits_into_the_same_memory() {
    let root = node::worker("peak");
    let stanza = "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n";
    root.write("var/lib/dpkg/status", stanza.repeat(63 * 1024 * 1024 / stanza.len()));
    let certificate =
        fs::read_to_string(root.path().join("etc/kubernetes/pki/ca.crt")).expect("a certificate");
    root.write("etc/kubernetes/pki/ca.crt", certificate.repeat(1024 * 1024 / certificate.len()));
    let mut lines = fs::File::create(root.path().join("proc/1/mountinfo")).expect("make a file");
    for number in 0..60_000 {
        writeln!(lines, "{number} 1 0:1 / /m/{number} rw - ext4 /dev/x rw").expect("write");
    }
    drop(lines);
    let sections = report(root.path());
    unharmed(&sections, &["/updates/packages/value/libc6"]);
    // 63 MiB take a build without optimisation longer than an area may take on a busy machine.
    if sections["updates"]["packages"]["state"] != "known" {
        assert_eq!(why(&sections, "/updates/packages"), "out-of-time");
    }
}
