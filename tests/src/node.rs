//! Nodes made of files: written down as one text, laid out below a directory, inspected through any
//! `Host`.

use std::os::unix::fs::symlink;

use palisade_inspect::Host;
use palisade_inspect::Interest;
use palisade_inspect::boot;
use palisade_inspect::certificates;
use palisade_inspect::files;
use palisade_inspect::kernel;
use palisade_inspect::kubelet;
use palisade_inspect::machine;
use palisade_inspect::process;
use palisade_inspect::reboot;
use palisade_inspect::sockets;
use palisade_inspect::sysctls;
use palisade_inspect::updates;
use palisade_report::Report;
use palisade_rules::Profile;

use crate::directory::Directory;

/// Marks the line that starts a file: `=== /path`, or `=== /path -> target` for a link. The line feed
/// before it belongs to it, so that a file may end without one.
const FILE: &[u8] = b"=== ";

/// A small worker in that form.
pub const WORKER: &[u8] = include_bytes!("../corpus/node/worker");

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A regular file with these bytes.
    File(Vec<u8>),
    /// A link to this path.
    Link(String),
}

/// The paths of a text of files, in its order, and what is at each.
#[must_use]
pub fn parse(text: &[u8]) -> Vec<(String, What)> {
    let mut found: Vec<(String, What)> = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if let Some(name) = line.strip_prefix(FILE) {
            close(&mut found);
            let name = String::from_utf8_lossy(name);
            let name = name.trim_end();
            found.push(match name.split_once(" -> ") {
                Some((path, target)) => (path.to_owned(), What::Link(target.to_owned())),
                None => (name.to_owned(), What::File(Vec::new())),
            });
        } else if let Some((_, What::File(content))) = found.last_mut() {
            content.extend_from_slice(line);
        }
    }
    close(&mut found);
    found
}

/// Takes the line feed that belongs to the next mark from the last file.
fn close(found: &mut [(String, What)]) {
    if let Some((_, What::File(content))) = found.last_mut()
        && content.ends_with(b"\n")
    {
        content.pop();
    }
}

/// Lays [`WORKER`] out below a directory of its own.
#[must_use]
pub fn worker(name: &str) -> Directory {
    let directory = Directory::new(name);
    for (path, what) in parse(WORKER) {
        match what {
            What::File(content) => directory.write(&path, content),
            What::Link(target) => {
                let path = directory.path().join(path.trim_start_matches('/'));
                std::fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
                symlink(target, path).expect("make a link");
            }
        }
    }
    directory
}

/// What the profile makes readers look at.
#[must_use]
pub fn interest(profile: &Profile) -> Interest {
    let palisade_rules::Interest { sysctls, files, modules, mounts } = profile.interest().clone();
    Interest { sysctls, files, modules, mounts, certificates: Default::default() }
}

/// Every area in the order in which the agent reads them, without its deadlines and its catching
/// of panics.
#[must_use]
pub fn inspect(host: &dyn Host, interest: &Interest) -> Report {
    let processes = process::read(host);
    let kubelet = kubelet::read(host, &processes);
    let machine = machine::read(host, interest, &processes, &kubelet);
    let boot = boot::read(host, &processes, &kubelet);
    let kernel = kernel::read(host, interest);
    Report {
        reboot: Some(reboot::read(host, &processes, &kernel, &boot)),
        sysctls: Some(sysctls::read(host, interest, &boot)),
        sockets: Some(sockets::read(host, &processes, &boot)),
        certificates: Some(certificates::read(host, interest, &machine, &kubelet)),
        files: Some(files::read(host, interest, &kubelet)),
        updates: Some(updates::read(host)),
        host: Some(machine),
        boot: Some(boot),
        kernel: Some(kernel),
        kubelet: Some(kubelet),
    }
}
