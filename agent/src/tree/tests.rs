//! The same cases for both ways of resolving paths, on real files below a directory of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use nix::sys::stat::SFlag;
use palisade_inspect::FileKind;
use palisade_inspect::host::EntryKind;
use palisade_report::WhyKind;

use super::*;

/// A directory of one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("palisade-{}-{name}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(path.join("root/etc")).unwrap();
        fs::write(path.join("secret"), "outside").unwrap();
        Self(path)
    }

    fn at(&self, below_root: &str) -> PathBuf {
        self.0.join("root").join(below_root)
    }

    fn trees(&self) -> [Tree; 2] {
        [Way::Openat2, Way::Walk]
            .map(|way| Tree::with_way(&self.0.join("root"), Some(way)).unwrap())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn kind_of(error: ReadError) -> Option<WhyKind> {
    match error {
        ReadError::NotFound { .. } => None,
        ReadError::Failed { why, .. } => Some(why.kind),
    }
}

#[test]
fn links_never_leave_the_root() {
    let scratch = Scratch::new("escape");
    fs::write(scratch.at("etc/inside"), "inside").unwrap();
    for (link, target) in [
        ("up", "../../../../../secret"),
        ("far-up", "../../../../../../../../../../../../etc/passwd"),
        ("absolute", "/secret"),
        ("host", scratch.0.join("secret").to_str().unwrap()),
        ("chain", "up"),
        ("etc/deep", "../../secret"),
    ] {
        symlink(target, scratch.at(link)).unwrap();
    }
    symlink("/etc", scratch.at("short")).unwrap();
    symlink("../../../short/inside", scratch.at("etc/round")).unwrap();
    for tree in scratch.trees() {
        for path in
            ["/up", "/far-up", "/absolute", "/host", "/chain", "/etc/deep", "/../secret", "/.."]
        {
            let error = tree.read(path, 100).unwrap_err();
            let expected = (path == "/..").then_some(WhyKind::NotRegular);
            assert_eq!(kind_of(error), expected, "{path} {:?}", tree.way());
        }
        for path in ["/short/inside", "/etc/round", "//etc/./../short/inside", "/../etc/inside"] {
            let contents = tree.read(path, 100).unwrap();
            assert_eq!(contents.bytes, b"inside", "{path}");
            assert_eq!(contents.metadata.resolved, "/etc/inside", "{path}");
        }
        assert_eq!(tree.read_link("/up").unwrap(), "../../../../../secret");
        assert_eq!(tree.metadata("/").unwrap().resolved, "/");
    }
}

#[test]
fn loops_of_links_are_unknown_and_dangling_links_absent() {
    let scratch = Scratch::new("loops");
    symlink("loop", scratch.at("loop")).unwrap();
    symlink("b", scratch.at("a")).unwrap();
    symlink("a", scratch.at("b")).unwrap();
    symlink("nowhere", scratch.at("dangling")).unwrap();
    for tree in scratch.trees() {
        assert_eq!(kind_of(tree.read("/loop", 9).unwrap_err()), Some(WhyKind::Loop));
        assert_eq!(kind_of(tree.metadata("/a/x").unwrap_err()), Some(WhyKind::Loop));
        assert_eq!(kind_of(tree.metadata("/dangling").unwrap_err()), None);
        assert_eq!(tree.link_metadata("/loop").unwrap().kind, FileKind::Link);
        assert_eq!(tree.link_metadata("/loop").unwrap().resolved, "/loop");
    }
}

#[test]
fn nothing_but_regular_files_is_opened() {
    let scratch = Scratch::new("special");
    nix::unistd::mkfifo(&scratch.at("fifo"), Mode::S_IRWXU).unwrap();
    let device = nix::sys::stat::makedev(1, 5);
    // Only a privileged test may make the device; the FIFO stands for both otherwise.
    nix::sys::stat::mknod(&scratch.at("device"), SFlag::S_IFCHR, Mode::S_IRWXU, device).ok();
    let socket = std::os::unix::net::UnixListener::bind(scratch.at("socket")).unwrap();
    for tree in scratch.trees() {
        for path in ["/fifo", "/device", "/socket", "/etc"] {
            let error = tree.read(path, 100).unwrap_err();
            if path == "/device" && !scratch.at("device").exists() {
                continue;
            }
            assert_eq!(kind_of(error), Some(WhyKind::NotRegular), "{path}");
        }
        assert_eq!(kind_of(tree.list("/fifo", 9).unwrap_err()), Some(WhyKind::NotRegular));
        assert_eq!(kind_of(tree.list("/none", 9).unwrap_err()), None);
        assert_eq!(kind_of(tree.read("/fifo/x", 9).unwrap_err()), None);
        assert_eq!(tree.metadata("/fifo").unwrap().kind, FileKind::Special);
    }
    drop(socket);
}

#[test]
fn a_huge_sparse_file_is_refused_before_it_is_read() {
    let scratch = Scratch::new("sparse");
    fs::File::create(scratch.at("huge")).unwrap().set_len(10 << 30).unwrap();
    fs::write(scratch.at("exact"), vec![7; 200_000]).unwrap();
    for tree in scratch.trees() {
        let mut pieces = 0;
        let error = tree.read_with("/huge", 1 << 20, &mut |_| pieces += 1).unwrap_err();
        assert_eq!(kind_of(error), Some(WhyKind::TooLarge));
        assert_eq!(pieces, 0);
        assert_eq!(tree.read("/exact", 200_000).unwrap().bytes.len(), 200_000);
        assert_eq!(kind_of(tree.read("/exact", 199_999).unwrap_err()), Some(WhyKind::TooLarge));
    }
}

#[test]
fn an_unreadable_file_is_not_an_empty_one() {
    let scratch = Scratch::new("unreadable");
    fs::write(scratch.at("shut"), "x").unwrap();
    fs::set_permissions(scratch.at("shut"), fs::Permissions::from_mode(0o0)).unwrap();
    let privileged = nix::unistd::geteuid().is_root();
    for tree in scratch.trees() {
        match tree.read("/shut", 9) {
            // Root reads everything; the case is then covered by the mapping of errors alone.
            Ok(contents) => assert!(privileged, "{contents:?}"),
            Err(error) => assert_eq!(kind_of(error), Some(WhyKind::PermissionDenied)),
        }
        assert_eq!(tree.metadata("/shut").unwrap().mode, 0);
    }
    let error = error::failed("/x", "open", nix::errno::Errno::EACCES);
    assert_eq!(kind_of(error), Some(WhyKind::PermissionDenied));
}

#[test]
fn entries_come_in_order_and_above_the_limit_not_at_all() {
    let scratch = Scratch::new("entries");
    for name in ["b", "a", "c\u{e9}"] {
        fs::write(scratch.at("etc").join(name), "").unwrap();
    }
    symlink("a", scratch.at("etc/l")).unwrap();
    for tree in scratch.trees() {
        let entries = tree.list("/etc", 4).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c\u{e9}", "l"]);
        assert_eq!(entries.last().unwrap().kind, EntryKind::Link);
        assert_eq!(kind_of(tree.list("/etc", 3).unwrap_err()), Some(WhyKind::TooLarge));
    }
}

#[test]
fn the_running_machine_is_live_and_its_magic_links_are_not_followed() {
    for way in [Way::Openat2, Way::Walk] {
        let tree = Tree::with_way(Path::new("/"), Some(way)).unwrap();
        assert_eq!(tree.nature(), Nature::Live);
        let pid = std::process::id();
        let exe = tree.read_link(&format!("/proc/{pid}/exe")).unwrap();
        assert!(exe.starts_with('/'), "{exe}");
        let error = tree.metadata(&format!("/proc/{pid}/root/etc")).unwrap_err();
        assert_eq!(kind_of(error), Some(WhyKind::OutsideRoot), "{way:?}");
        let comm = tree.read(&format!("/proc/{pid}/comm"), 64).unwrap();
        assert!(!comm.bytes.is_empty());
        assert_eq!(comm.metadata.resolved, format!("/proc/{pid}/comm"));
        assert!(!tree.read("/proc/net/tcp", 1 << 20).unwrap().bytes.is_empty());
        assert_eq!(kind_of(tree.read("/proc/4194305/comm", 9).unwrap_err()), None);
        let too_large = tree.read("/proc/cpuinfo", 10).unwrap_err();
        assert_eq!(kind_of(too_large), Some(WhyKind::TooLarge), "it claims size 0");
    }
}

#[test]
fn a_capture_is_no_running_machine() {
    let scratch = Scratch::new("capture");
    fs::create_dir_all(scratch.at("proc/1")).unwrap();
    fs::write(scratch.at("proc/1/comm"), "systemd\n").unwrap();
    for tree in scratch.trees() {
        assert_eq!(tree.nature(), Nature::Captured);
        assert_eq!(tree.read("/proc/1/comm", 64).unwrap().bytes, b"systemd\n");
        let error = tree.socket_diag(Protocol::Tcp).unwrap_err();
        assert_eq!(kind_of(error), Some(WhyKind::Unsupported));
        let error = tree.write_locked("/proc/1/comm").unwrap_err();
        assert_eq!(kind_of(error), Some(WhyKind::Unsupported));
    }
}

#[test]
fn sock_diag_shows_a_listener_of_our_own() {
    let tree = Tree::open(Path::new("/")).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_be_bytes();
    match tree.socket_diag(Protocol::Tcp) {
        Ok(answer) => assert!(answer.windows(2).any(|bytes| bytes == port)),
        Err(error) => {
            let kind = kind_of(error);
            assert!(
                matches!(kind, Some(WhyKind::WrongNamespace | WhyKind::Unsupported)),
                "{kind:?}"
            );
        }
    }
}

#[test]
fn a_replaced_file_of_the_same_size_and_mtime_has_another_identity() {
    let scratch = Scratch::new("identity");
    let path = scratch.at("etc/cert");
    fs::write(&path, "one").unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    for tree in scratch.trees() {
        let before = tree.identity("/etc/cert").unwrap();
        assert_eq!(tree.identity("/etc/cert").unwrap(), before);
        // ctime moves in ticks of the kernel's clock; wait for the next one.
        while tree.identity("/etc/cert").unwrap() == before {
            fs::write(&path, "two").unwrap();
            fs::File::open(&path).unwrap().set_modified(modified).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
    }
}

#[test]
fn a_write_lock_is_seen() {
    use nix::fcntl::FcntlArg;
    use nix::libc;

    let scratch = Scratch::new("lock");
    let tree = Tree::open(Path::new("/")).unwrap();
    let path = scratch.at("etc/lock");
    let file = fs::File::create(&path).unwrap();
    let path = path.to_str().unwrap();
    assert!(!tree.write_locked(path).unwrap());
    // A lock of an open file description conflicts also within one process.
    let lock = libc::flock {
        l_type: libc::F_WRLCK.try_into().unwrap(),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    assert!(tree.write_locked(path).unwrap());
}
