//! The policy in force, read from its file again and again. What is in force, and what was refused, is
//! kept in `palisade_plan`; here the file is read, and changes are told.

use std::path::PathBuf;
use std::sync::Arc;

use palisade_plan::policy::Loaded;
use palisade_plan::policy::Policy;
use palisade_plan::policy::PolicyInForce;
use palisade_plan::policy::Source;
use palisade_report::Moment;
use palisade_report::bound::clean;

use crate::chain::Chain;
use crate::policy_file;

/// Bytes of a complaint that are shown.
const MAX_COMPLAINT: usize = 1024;

/// The file, and what came of it.
pub(super) struct PolicyFile {
    path: PathBuf,
    text: Option<String>,
    held: PolicyInForce,
    refused: Option<String>,
    /// Since when the file of a policy that was read is no more.
    gone_since: Option<Moment>,
}

impl PolicyFile {
    /// The policy at `path`, not read yet.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, text: None, held: PolicyInForce::default(), refused: None, gone_since: None }
    }

    /// The policy in force.
    pub(super) const fn policy(&self) -> &Arc<Policy> {
        self.held.policy()
    }

    /// Why the newest one is not in force.
    pub(super) const fn refused(&self) -> Option<&String> {
        self.refused.as_ref()
    }

    /// Since when there is no file any more. Whoever took it away wants its reboots to stop; what is under
    /// way goes by what it said.
    pub(super) const fn gone_since(&self) -> Option<Moment> {
        self.gone_since
    }

    /// Reads the file again. The policy that somebody's edit has just replaced; `None` if there was
    /// none, or if nothing has changed.
    pub(super) async fn reload(&mut self, now: Moment) -> Option<Arc<Policy>> {
        let path = self.path.clone();
        match tokio::task::spawn_blocking(move || policy_file::read_regular(&path)).await {
            Ok(Ok(text)) => self.take(text, now),
            Ok(Err(error)) => {
                if error.is_missing() && self.held.source() != Source::Default {
                    self.gone_since.get_or_insert(now);
                }
                self.refuse(Chain(&error).to_string());
                None
            }
            // The process is ending.
            Err(_) => None,
        }
    }

    fn take(&mut self, text: String, now: Moment) -> Option<Arc<Policy>> {
        self.gone_since = None;
        if self.text.as_ref() == Some(&text) {
            // It may have been unreadable in between.
            self.tell_refusal();
            return None;
        }
        let was_written = self.held.source() != Source::Default;
        let loaded = self.held.load(&text, now);
        self.text = Some(text);
        self.tell_refusal();
        match loaded {
            Loaded::Changed { before } => {
                tracing::info!(digest = %self.policy().digest.short(), "a policy is in force");
                was_written.then_some(before)
            }
            Loaded::Refused | Loaded::Same => None,
        }
    }

    fn tell_refusal(&mut self) {
        let why = self.held.refused().map(|refused| refused.error.to_string());
        match why {
            Some(why) => self.refuse(clean(why.as_bytes(), MAX_COMPLAINT)),
            None => self.refused = None,
        }
    }

    fn refuse(&mut self, why: String) {
        if self.refused.as_ref() != Some(&why) {
            tracing::warn!(cause = %why, "the policy cannot be used; the one before stays in force");
            self.refused = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n";

    #[test]
    fn nonsense_is_refused_with_a_reason_and_the_old_policy_stays() {
        let now = Moment::from_unix(1);
        let mut file = PolicyFile::at(PathBuf::new());
        let empty = file.policy().digest;
        let good = format!("{HEAD}cluster:\n  maxUnavailable: 3\n");
        assert!(file.take(good.clone(), now).is_none(), "nobody's policy was replaced");
        let digest = file.policy().digest;
        assert_ne!(digest, empty);
        assert!(file.take(format!("{HEAD}pools: 7\n"), now).is_none());
        assert_eq!(file.policy().digest, digest);
        assert!(file.refused().is_some_and(|why| why.contains("line 3")), "{:?}", file.refused());
        assert!(file.take(format!("# the same\n{good}"), now).is_none());
        assert_eq!(file.refused(), None);
        let before = file.take(good.replace('3', "4"), now).map(|it| it.digest);
        assert_eq!(before, Some(digest), "an edit tells what it replaced");
    }

    #[test]
    fn a_policy_that_is_taken_away_is_gone_until_it_is_there_again() {
        let at = Moment::from_unix;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let path = std::env::temp_dir().join(format!("palisade-{}-gone.yaml", std::process::id()));
        let mut file = PolicyFile::at(path.clone());
        let mut gone_at = |now: i64| {
            runtime.block_on(file.reload(at(now)));
            (file.gone_since(), file.policy().cluster.max_unavailable)
        };
        assert_eq!(gone_at(1).0, None, "there was none");
        let text = format!("{HEAD}cluster:\n  maxUnavailable: 3\n");
        std::fs::write(&path, &text).unwrap();
        let three = gone_at(2).1;
        std::fs::remove_file(&path).unwrap();
        assert_eq!(gone_at(3), (Some(at(3)), three));
        assert_eq!(gone_at(4), (Some(at(3)), three));
        std::fs::write(&path, &text).unwrap();
        assert_eq!(gone_at(5), (None, three), "the same text is a policy again");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_missing_or_no_file_is_refused_and_said() {
        let now = Moment::from_unix(1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for path in ["/proc/self/nothing", "/proc/self", "/dev/zero"] {
            let mut file = PolicyFile::at(PathBuf::from(path));
            assert!(runtime.block_on(file.reload(now)).is_none());
            let refused = file.refused().unwrap_or_else(|| panic!("{path} is a policy"));
            assert!(refused.contains(path), "{path}: {refused}");
        }
    }
}
