//! The command line: serve, look at an audit or a policy, or simulate one.
//!
//! ```text
//! palisade-collector [FLAGS] ──────────────────> start
//! palisade-collector verify-audit --store FILE ─> store::verify_audit ─> one line, 0 or 1
//! palisade-collector check-policy FILE ────────> policy_file::check ───> problems with lines, 0 or 1
//! palisade-collector check-alerts FILE ────────> notify::file::check ──> the problem's place, 0 or 1
//! palisade-collector import-kured FILE ────────> policy_file::import ──> a policy, and what differs
//! palisade-collector simulate POLICY SNAPSHOT ─> simulate::run ────────> timeline, laws, 0 or 1
//! ```

use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use self::simulate::Simulate;
use crate::settings::Raw;
use crate::store::VerifyError;
use crate::store::verify_audit;

pub mod simulate;

/// What arguments and environment ask for.
#[derive(Debug, clap::Parser)]
#[command(
    name = "palisade-collector",
    version,
    about = "Receives node reports, judges, stores and answers",
    after_help = "Examples:\n  palisade-collector --state-dir ./state\n  palisade-collector --listen 0.0.0.0:7443 --state-dir /var/lib/palisade \\\n    --tls-cert tls.crt --tls-key tls.key --agent-token-file agent --viewer-token-file viewer\n  palisade-collector verify-audit --store ./state/palisade.db\n  palisade-collector simulate policy.yaml fleet.json --faults all --at-most 1 --of app=storage",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Command {
    /// How to serve.
    #[command(flatten)]
    pub raw: Raw,
    /// What to do instead.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What the collector does instead of serving.
#[derive(Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Verb {
    /// Say whether a file is a configuration of alerts
    ///
    /// Ends with 0 where it is, with 1 and the place of what is wrong where it is not, with 2 where
    /// the file cannot be read. Files of secrets are not read.
    CheckAlerts {
        /// The configuration
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Say whether a file is a policy for reboots
    ///
    /// Ends with 0 where it is, with 1 and every problem with its line and what to write instead
    /// where it is not, with 2 where the file cannot be read.
    CheckPolicy {
        /// The policy
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Turn a DaemonSet of kured into a policy for reboots
    ///
    /// Prints the policy, and on standard error what became of each flag. `kubectl -n kube-system
    /// get daemonset kured -o yaml | palisade-collector import-kured /dev/stdin`
    ImportKured {
        /// The manifest
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Simulate what a policy would do to a fleet, judged by the laws of reboots and by assertions
    ///
    /// Ends with 0 where everything holds, with 1 where a law or an assertion does not, with 2 where
    /// policy or snapshot cannot be used.
    Simulate(Simulate),
    /// Follow the chain of the audit in a store, which a collector may have open
    ///
    /// Ends with 0 where it holds, with 1 and the first entry where it does not, with 2 where the
    /// store cannot be read.
    VerifyAudit {
        /// The store
        #[arg(long, value_name = "FILE", default_value = "/var/lib/palisade/palisade.db")]
        store: PathBuf,
    },
}

/// Why the audit could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyAuditError {
    /// Nobody reads what would be said. At fault: whoever started it.
    #[error("failed to say what was found")]
    Say(#[source] io::Error),
    /// The store cannot be read. At fault: whoever named it, or the disk.
    #[error(transparent)]
    Verify(VerifyError),
}

/// Says in one line whether the audit in the store at `path` holds, and ends with it.
///
/// # Errors
/// [`VerifyAuditError`] if it could not be told.
pub fn say_whether_it_holds(
    path: &Path,
    out: &mut impl Write,
) -> Result<ExitCode, VerifyAuditError> {
    let (line, code) = match verify_audit(path) {
        Ok(verified) => (format!("the audit holds: {verified}"), ExitCode::SUCCESS),
        Err(VerifyError::Broken(broken)) => {
            (format!("the audit does not hold: {broken}"), ExitCode::from(1))
        }
        Err(error @ (VerifyError::Open { .. } | VerifyError::Read(_))) => {
            return Err(VerifyAuditError::Verify(error));
        }
    };
    writeln!(out, "{line}").map_err(VerifyAuditError::Say)?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn flags_serve_and_the_verb_takes_none_of_them() {
        let parse = |words: &[&str]| {
            Command::try_parse_from(std::iter::once(&"palisade-collector").chain(words))
        };
        let serving = parse(&["--state-dir", "s"]).unwrap();
        assert_eq!((serving.raw.state_dir, serving.verb), (Some("s".into()), None));
        let verb = Verb::VerifyAudit { store: "s.db".into() };
        assert_eq!(parse(&["verify-audit", "--store", "s.db"]).unwrap().verb, Some(verb));
        assert!(parse(&["--state-dir", "s", "verify-audit"]).is_err());
        let verb = Verb::ImportKured { file: "kured.yaml".into() };
        assert_eq!(parse(&["import-kured", "kured.yaml"]).unwrap().verb, Some(verb));
        let verb = Verb::CheckAlerts { file: "alerts.yaml".into() };
        assert_eq!(parse(&["check-alerts", "alerts.yaml"]).unwrap().verb, Some(verb));
        assert!(parse(&["check-policy"]).is_err());
    }

    #[test]
    fn a_store_that_is_not_there_is_neither_whole_nor_broken() {
        let mut out = Vec::new();
        let refused = say_whether_it_holds(Path::new("/nowhere/palisade.db"), &mut out);
        let refused = crate::chain::Chain(&refused.unwrap_err()).to_string();
        assert!(refused.contains("/nowhere/palisade.db"), "{refused}");
        assert_eq!(out, b"");
    }
}
