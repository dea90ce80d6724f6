//! Users and capabilities: what a process holds, and how it lets go, see capabilities(7).

use std::collections::BTreeSet;
use std::io;

use caps::CapSet;
use caps::Capability;
use caps::CapsHashSet;
use caps::errors::CapsError;
use nix::errno::Errno;
use nix::unistd::Gid;
use nix::unistd::Uid;
use palisade_report::section::boot::ProcessRights;

/// What the container must give so that reading and parsing can be split, and what for.
pub const TO_SPLIT: [(&str, &str); 4] = [
    ("DAC_READ_SEARCH", "files of other users are not read"),
    ("SYS_PTRACE", "programs, namespaces and sockets of processes are not known"),
    ("SETUID", "the agent cannot give up uid 0"),
    ("SETGID", "the agent cannot give up its groups"),
];

/// What a reader keeps.
const OF_READERS: [Capability; 2] = [Capability::CAP_DAC_READ_SEARCH, Capability::CAP_SYS_PTRACE];

/// User or capabilities could not be changed. At fault: the container's rights.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// A set of capabilities.
    #[error("failed to set the {set:?} capabilities")]
    Capabilities {
        /// Which.
        set: CapSet,
        /// What the kernel said.
        source: CapsError,
    },
    /// Keeping others of the same user out of its memory.
    #[error("failed to shut the own memory to others")]
    Dumpable(#[source] Errno),
    /// The groups; needs SETGID.
    #[error("failed to change the groups")]
    Groups(#[source] Errno),
    /// Keeping capabilities over the change of user.
    #[error("failed to keep capabilities")]
    Keep(#[source] CapsError),
    /// The user; needs SETUID.
    #[error("failed to change the user")]
    User(#[source] Errno),
}

/// Becomes user `id` with the two capabilities of a reader, also in programs that it executes.
///
/// # Errors
/// [`RightsError`] with the step that failed; some rights may be gone by then.
pub fn become_reader(id: u32) -> Result<(), RightsError> {
    caps::securebits::set_keepcaps(true).map_err(RightsError::Keep)?;
    change_user(id)?;
    let held: CapsHashSet = OF_READERS.into_iter().collect();
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted, CapSet::Ambient] {
        caps::set(None, set, &held).map_err(|source| RightsError::Capabilities { set, source })?;
    }
    Ok(())
}

/// Becomes user `id` without any capability.
///
/// # Errors
/// As [`become_reader`].
pub fn become_nobody(id: u32) -> Result<(), RightsError> {
    change_user(id)?;
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(|source| RightsError::Capabilities { set, source })?;
    }
    Ok(())
}

fn change_user(id: u32) -> Result<(), RightsError> {
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    nix::unistd::setgroups(&[]).map_err(RightsError::Groups)?;
    nix::unistd::setresgid(group, group, group).map_err(RightsError::Groups)?;
    nix::unistd::setresuid(user, user, user).map_err(RightsError::User)?;
    // So it is already, unless fs.suid_dumpable says otherwise: files in /proc are root's.
    nix::sys::prctl::set_dumpable(false).map_err(RightsError::Dumpable)
}

/// What this process holds now.
///
/// # Errors
/// `/proc/self/status` cannot be read, or lacks a line.
pub fn rights() -> Result<ProcessRights, io::Error> {
    parse_rights(&std::fs::read_to_string("/proc/self/status")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/status lacks a line"))
}

/// The rights in `/proc/PID/status`, proc_pid_status(5).
fn parse_rights(status: &str) -> Option<ProcessRights> {
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let held = u64::from_str_radix(field("CapEff")?, 16).ok()?;
    let names: BTreeSet<String> = caps::all()
        .into_iter()
        .filter(|capability| held & capability.bitmask() != 0)
        .map(|capability| capability.to_string().trim_start_matches("CAP_").to_owned())
        .collect();
    Some(ProcessRights {
        uid: field("Uid")?.split_ascii_whitespace().nth(1)?.parse().ok()?,
        capabilities: names,
        seccomp: match field("Seccomp")? {
            "0" => "none",
            "1" => "strict",
            _ => "filter",
        }
        .to_owned(),
        no_new_privileges: field("NoNewPrivs")? == "1",
    })
}

/// What is not read for want of rights.
pub fn costs(rights: &ProcessRights) -> impl Iterator<Item = String> {
    let missing = TO_SPLIT.iter().take(2).filter(|(name, _)| !rights.capabilities.contains(*name));
    let mut costs: Vec<String> =
        missing.map(|(name, cost)| format!("without {name} {cost}")).collect();
    if rights.uid != 0 {
        let uid = rights.uid;
        costs.push(format!("as user {uid} kernel parameters of mode 0600 are not read"));
    }
    costs.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t0\t61101\t0\t0\nCapEff:\t0000000000080004\n\
        NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";

    #[test]
    fn rights_are_read_from_the_status() {
        let rights = parse_rights(STATUS).unwrap();
        assert_eq!(rights.uid, 61101);
        assert_eq!(
            rights.capabilities.iter().map(String::as_str).collect::<Vec<_>>(),
            ["DAC_READ_SEARCH", "SYS_PTRACE"]
        );
        assert_eq!(rights.seccomp, "filter");
        assert!(rights.no_new_privileges);
        assert_eq!(parse_rights("Name:\tx\n"), None);
    }

    #[test]
    fn every_missing_right_has_its_price() {
        let rights = parse_rights(STATUS).unwrap();
        assert_eq!(costs(&rights).count(), 1);
        let nobody = ProcessRights { capabilities: BTreeSet::new(), ..rights };
        assert_eq!(costs(&nobody).count(), 3);
    }
}
