//! What a killed test run left: directories, and processes that were forked in its very last moment.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Removes the directories `palisade-NAME-PID-NUMBER` whose process is gone, after killing what still
/// runs with an argument below them.
pub(super) fn sweep(name: &str) {
    let prefix = format!("palisade-{name}-");
    let entries = fs::read_dir(std::env::temp_dir()).expect("list the temporary directory");
    for entry in entries.map_while(Result::ok) {
        let file_name = entry.file_name();
        let owner = file_name
            .to_str()
            .and_then(|text| text.strip_prefix(&prefix)?.split('-').next()?.parse::<u32>().ok());
        let Some(owner) = owner else { continue };
        if Path::new(&format!("/proc/{owner}")).exists() {
            continue;
        }
        kill_users(&entry.path());
        if let Err(error) = fs::remove_dir_all(entry.path())
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("left behind {}: {error}", entry.path().display());
        }
    }
}

fn kill_users(directory: &Path) {
    let needle = format!("{}/", directory.display());
    let processes = fs::read_dir("/proc").expect("list processes");
    let pids = processes
        .map_while(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids {
        // Gone meanwhile: nothing to kill.
        let Ok(arguments) = fs::read(PathBuf::from(format!("/proc/{pid}/cmdline"))) else {
            continue;
        };
        if String::from_utf8_lossy(&arguments).contains(&needle)
            && let Err(error) = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL)
        {
            eprintln!("left behind process {pid} of {}: {error}", directory.display());
        }
    }
}
