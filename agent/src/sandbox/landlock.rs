//! The file system and network of a parser, shut off but for what is named, see landlock(7).

use std::path::Path;

use landlock::ABI;
use landlock::Access;
use landlock::AccessFs;
use landlock::AccessNet;
use landlock::BitFlags;
use landlock::CompatLevel;
use landlock::Compatible;
use landlock::LandlockStatus;
use landlock::NetPort;
use landlock::Ruleset;
use landlock::RulesetAttr;
use landlock::RulesetCreatedAttr;
use landlock::RulesetError;
use landlock::Scope;
use landlock::path_beneath_rules;

/// The newest interface that is asked for; older kernels enforce what they know.
const NEWEST: ABI = ABI::V6;

/// What the C library's resolver reads; what is missing is left out.
const RESOLVER: [&str; 5] =
    ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];

/// What the agent reads of itself: its weight and rights, and the machine's load.
const OWN: [&str; 2] = ["/proc/self", "/proc/loadavg"];

/// Port of name servers, asked over TCP when an answer is long.
const NAME_SERVER: u16 = 53;

/// The first version with rules for TCP ports, Linux 6.7.
const WITH_PORTS: u32 = 4;

/// What a parser may use.
#[derive(Clone, Copy, Debug)]
pub struct Granted<'a> {
    /// Directories and files that it may read.
    pub readable: &'a [&'a Path],
    /// The TCP port that it may connect to, anywhere.
    pub port: Option<u16>,
}

/// Landlock could not be applied. At fault: us, as what a kernel lacks is no error.
#[derive(Debug, thiserror::Error)]
#[error("failed to shut off the file system")]
pub struct RestrictError(#[source] RulesetError);

/// Shuts everything off that is not granted, for this process and all that it starts. Hands back
/// the version of the interface that is enforced; 0 if the kernel has none.
///
/// # Errors
/// [`RestrictError`] if the rules make no sense to the kernel.
pub fn restrict(granted: &Granted<'_>) -> Result<u32, RestrictError> {
    let may_read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let readable = granted
        .readable
        .iter()
        .copied()
        .chain(RESOLVER.into_iter().chain(OWN).map(Path::new))
        .filter(|path| path.exists());
    let ports = granted.port.into_iter().chain([NAME_SERVER]);
    let enforce = || {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(readable, may_read))?;
        for port in ports {
            rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
        rules.restrict_self()
    };
    let status = enforce().map_err(RestrictError)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => version(effective_abi.min(NEWEST)),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    })
}

/// What a parser may do because the kernel's interface is older than the newest; `None` if nothing
/// that counts. UDP has no rule in any version.
#[must_use]
pub fn shortfall(version: u32) -> Option<String> {
    match version {
        0 => Some("the kernel has no Landlock: the parser may open files".to_owned()),
        1..WITH_PORTS => Some(format!(
            "the kernel's Landlock has version {version} and no rules for ports: the parser may \
             connect to any"
        )),
        WITH_PORTS.. => None,
    }
}

fn version(abi: ABI) -> u32 {
    u32::try_from(abi as i32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_cannot_shut_off_files_or_ports_says_so() {
        for (version, said) in [(0, "may open files"), (1, "no rules for ports"), (3, "version 3")]
        {
            assert!(shortfall(version).unwrap().contains(said), "{version}");
        }
        assert_eq!([4, 6, 7].map(shortfall), [None, None, None]);
    }
}
