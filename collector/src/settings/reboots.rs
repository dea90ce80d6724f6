//! Settings of reboots without a cluster: whose executables stand for cordon, drain and uncordon.
//!
//! They are settings and no part of the policy: whoever may say when nodes reboot is not thereby somebody
//! who runs programs on the collector's host.

use std::path::PathBuf;
use std::time::Duration;

use super::InvalidSettings;

/// Seconds that one call of a hook may take: it is asked again when it says so, so none has to be long.
const DEFAULT_TIMEOUT_SECS: u64 = 60;

/// Seconds that may be given: a call that takes longer holds up what the node waits for.
const TIMEOUT_BOUNDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// What arguments and environment say; everything may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Reboots without a cluster")]
pub struct RebootsRaw {
    /// Executable that empties a node before its reboot [default: nothing does]
    #[arg(long, env = "PALISADE_HOOK_BEFORE", value_name = "FILE")]
    pub hook_before: Option<PathBuf>,
    /// Executable that gives a node back after its reboot, or after it was given up
    /// [default: nothing does]
    #[arg(long, env = "PALISADE_HOOK_AFTER", value_name = "FILE")]
    pub hook_after: Option<PathBuf>,
    /// Seconds that one call of them may take [default: 60]
    #[arg(long, env = "PALISADE_HOOK_TIMEOUT", value_name = "SECONDS")]
    pub hook_timeout: Option<u64>,
}

/// Reboots without a cluster, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebootSettings {
    /// The policy by which nodes are rebooted.
    pub policy: PathBuf,
    /// What stands for cordon, drain and uncordon.
    pub hooks: Hooks,
}

/// Executables of whoever runs the fleet, by absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Called until it has emptied the node; `None`: a node needs not be emptied.
    pub before: Option<PathBuf>,
    /// Called until it has given the node back; `None`: nothing is to be undone.
    pub after: Option<PathBuf>,
    /// How long one call may take.
    pub timeout: Duration,
}

impl RebootSettings {
    /// Checks what was given; `None` in a cluster, and without a policy.
    ///
    /// # Errors
    /// [`InvalidSettings`], naming the flag.
    pub(super) fn from_raw(
        raw: RebootsRaw,
        policy: Option<PathBuf>,
        is_in_cluster: bool,
    ) -> Result<Option<Self>, InvalidSettings> {
        let given = raw.first_given();
        let Some(policy) = policy.filter(|_| !is_in_cluster) else {
            return match given {
                Some(flag) => Err(InvalidSettings::NoReboots { flag }),
                None => Ok(None),
            };
        };
        let RebootsRaw { hook_before, hook_after, hook_timeout } = raw;
        for (flag, path) in [("--hook-before", &hook_before), ("--hook-after", &hook_after)] {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                return Err(InvalidSettings::Hook { flag });
            }
        }
        let timeout = hook_timeout.unwrap_or(DEFAULT_TIMEOUT_SECS);
        if !TIMEOUT_BOUNDS.contains(&timeout) {
            return Err(InvalidSettings::HookTimeout { got: timeout });
        }
        let timeout = Duration::from_secs(timeout);
        let hooks = Hooks { before: hook_before, after: hook_after, timeout };
        Ok(Some(Self { policy, hooks }))
    }
}

impl RebootsRaw {
    /// The first flag that was given.
    fn first_given(&self) -> Option<&'static str> {
        let Self { hook_before, hook_after, hook_timeout } = self;
        [
            (hook_before.is_some(), "--hook-before"),
            (hook_after.is_some(), "--hook-after"),
            (hook_timeout.is_some(), "--hook-timeout"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_for_a_policy_without_a_cluster_and_have_absolute_paths() {
        let policy = || Some(PathBuf::from("policy.yaml"));
        let hooked = RebootsRaw { hook_before: Some("/opt/before".into()), ..Default::default() };
        let settings = RebootSettings::from_raw(hooked.clone(), policy(), false).unwrap().unwrap();
        assert_eq!(settings.hooks.before, Some(PathBuf::from("/opt/before")));
        assert_eq!(settings.hooks.timeout, Duration::from_secs(60));
        for (policy, is_in_cluster) in [(policy(), true), (None, false)] {
            let refused = RebootSettings::from_raw(hooked.clone(), policy, is_in_cluster);
            let refused = refused.unwrap_err().to_string();
            assert!(refused.starts_with("--hook-before"), "{refused}");
        }
        let relative = RebootsRaw { hook_after: Some("after".into()), ..hooked.clone() };
        let refused = RebootSettings::from_raw(relative, policy(), false).unwrap_err();
        assert_eq!(refused, InvalidSettings::Hook { flag: "--hook-after" });
        let endless = RebootsRaw { hook_timeout: Some(0), ..hooked };
        assert!(RebootSettings::from_raw(endless, policy(), false).is_err());
        assert_eq!(RebootSettings::from_raw(RebootsRaw::default(), policy(), true), Ok(None));
    }
}
