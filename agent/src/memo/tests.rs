//! Memory against real files that change under it, and against the running machine.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("palisade-memo-{}-{name}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(path.join("d")).unwrap();
        fs::write(path.join("d/file"), "one").unwrap();
        symlink("d/file", path.join("link")).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Long after every change that a test makes.
fn later() -> Compare {
    let compare = Compare::new();
    compare.set_now(crate::clock::now_ns() + 3 * SETTLED_NS);
    compare
}

fn ask(host: &dyn Host) {
    drop(host.read("/d/file", 100));
    drop(host.metadata("/link"));
    drop(host.read_link("/link"));
    drop(host.list("/d", 100));
    drop(host.metadata("/missing"));
}

/// Whether a change is noticed; the file system's clock is given time to tick before it.
fn notices(name: &str, change: impl FnOnce(&Path)) -> bool {
    let scratch = Scratch::new(name);
    let tree = Tree::open(&scratch.0).unwrap();
    let (compare, cache) = (later(), RefCell::default());
    let trace = RefCell::default();
    let recorder = Recorder::new(&tree, &compare, &cache, &trace);
    ask(&recorder);
    let trace = trace.into_inner();
    assert!(trace.holds(&tree, &compare, &cache.borrow()), "nothing changed yet");
    std::thread::sleep(Duration::from_millis(20));
    change(&scratch.0);
    !trace.holds(&tree, &compare, &cache.borrow())
}

#[test]
fn what_an_area_read_is_noticed_when_it_changes() {
    assert!(!notices("nothing", |_| {}));
    assert!(!notices("unrelated", |root| fs::write(root.join("other"), "").unwrap()));
    assert!(notices("content", |root| fs::write(root.join("d/file"), "two").unwrap()));
    assert!(notices("entry", |root| fs::write(root.join("d/new"), "").unwrap()));
    assert!(notices("appears", |root| fs::write(root.join("missing"), "").unwrap()));
    assert!(notices("gone", |root| fs::remove_file(root.join("d/file")).unwrap()));
    assert!(notices("mode", |root| {
        fs::set_permissions(root.join("d/file"), fs::Permissions::from_mode(0o600)).unwrap();
    }));
    assert!(notices("link", |root| {
        fs::remove_file(root.join("link")).unwrap();
        symlink("d", root.join("link")).unwrap();
    }));
}

#[test]
fn a_renewed_file_of_the_same_size_and_mtime_is_noticed() {
    assert!(notices("renewed", |root| {
        let path = root.join("d/file");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        fs::File::open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
    }));
}

#[test]
fn a_file_that_changed_just_now_is_not_trusted() {
    let scratch = Scratch::new("young");
    let tree = Tree::open(&scratch.0).unwrap();
    let compare = Compare::new();
    compare.set_now(crate::clock::now_ns());
    let cache = RefCell::default();
    let trace = RefCell::default();
    let recorder = Recorder::new(&tree, &compare, &cache, &trace);
    recorder.read("/d/file", 100).unwrap();
    assert!(!trace.into_inner().holds(&tree, &compare, &cache.borrow()));
}

#[test]
fn a_known_process_is_answered_for_from_memory_until_it_ends() {
    let tree = Tree::open(Path::new("/")).unwrap();
    let (compare, cache) = (later(), RefCell::<ProcessCache>::default());
    let pid = std::process::id();
    let path = format!("/proc/{pid}/status");
    let trace = RefCell::default();
    let recorder = Recorder::new(&tree, &compare, &cache, &trace);
    let first = recorder.read(&path, 1 << 16).unwrap();
    let again = recorder.read(&path, 1 << 16).unwrap();
    assert_eq!(first, again, "counters in it would have moved");
    let trace = trace.into_inner();
    assert!(trace.holds(&tree, &compare, &cache.borrow()));
    cache.borrow_mut().check(&tree);
    assert!(trace.holds(&tree, &compare, &cache.borrow()), "it still runs");
    // Nobody asked for it in this cycle, as nobody asks for a process that is not listed.
    cache.borrow_mut().check(&tree);
    assert!(!trace.holds(&tree, &compare, &cache.borrow()));
}

#[test]
fn values_of_the_kernel_are_compared_by_content() {
    let tree = Tree::open(Path::new("/")).unwrap();
    let (compare, cache) = (later(), RefCell::default());
    let trace = RefCell::default();
    let recorder = Recorder::new(&tree, &compare, &cache, &trace);
    recorder.read("/proc/sys/kernel/osrelease", 100).unwrap();
    recorder.read("/proc/stat", 1 << 18).unwrap();
    assert!(trace.into_inner().holds(&tree, &compare, &cache.borrow()));
    let trace = RefCell::default();
    let recorder = Recorder::new(&tree, &compare, &cache, &trace);
    recorder.read("/proc/uptime", 100).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(!trace.into_inner().holds(&tree, &compare, &cache.borrow()));
}
