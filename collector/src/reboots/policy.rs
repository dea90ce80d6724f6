//! The policy in force: read from its file again and again. One that cannot be used is said once and
//! shown, and the one before stays in force; before there was one, nothing acts.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use palisade_plan::policy::Policy;
use palisade_report::bound::clean;

/// Bytes of a policy: thousands of pools, and far from filling memory.
const MAX_BYTES: u64 = 1 << 20;

/// Bytes of a complaint that are shown.
const MAX_COMPLAINT: usize = 1024;

/// The policy in force.
pub(super) struct PolicyFile {
    path: Option<PathBuf>,
    text: Option<String>,
    policy: Arc<Policy>,
    refused: Option<String>,
}

impl PolicyFile {
    /// The policy at `path`, not read yet; without a path, the one that touches nothing.
    pub(super) fn at(path: Option<PathBuf>) -> Self {
        Self { path, text: None, policy: Arc::new(Policy::default()), refused: None }
    }

    /// The policy in force.
    pub(super) const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Why the newest one is not in force.
    pub(super) const fn refused(&self) -> Option<&String> {
        self.refused.as_ref()
    }

    /// Reads the file again. The former policy, if another one is in force now.
    pub(super) async fn reload(&mut self) -> Option<Arc<Policy>> {
        let path = self.path.clone()?;
        match tokio::task::spawn_blocking(move || read(&path)).await {
            Ok(Ok(text)) => self.take(text),
            Ok(Err(why)) => {
                self.refuse(why);
                None
            }
            // The process is ending.
            Err(_) => None,
        }
    }

    fn take(&mut self, text: String) -> Option<Arc<Policy>> {
        if self.text.as_ref() == Some(&text) {
            return None;
        }
        let parsed = Policy::parse(&text);
        self.text = Some(text);
        match parsed {
            Ok(policy) => {
                self.refused = None;
                if policy.digest == self.policy.digest {
                    return None;
                }
                tracing::info!(digest = %policy.digest.short(), "a policy is in force");
                Some(std::mem::replace(&mut self.policy, Arc::new(policy)))
            }
            Err(error) => {
                self.refuse(clean(error.to_string().as_bytes(), MAX_COMPLAINT));
                None
            }
        }
    }

    fn refuse(&mut self, why: String) {
        if self.refused.as_ref() != Some(&why) {
            tracing::warn!(cause = %why, "the policy cannot be used; the one before stays in force");
            self.refused = Some(why);
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("failed to read {}: {error}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES.saturating_add(1)).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(format!("failed to read {}: more than {MAX_BYTES} bytes", path.display()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_with_a_reason_and_the_old_policy_stays() {
        const HEAD: &str = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n";
        let mut file = PolicyFile::at(None);
        let empty = file.policy().digest;
        assert!(file.take(format!("{HEAD}cluster:\n  maxUnavailable: 3\n")).is_some());
        let good = file.policy().digest;
        assert_ne!(good, empty);
        assert!(file.take(format!("{HEAD}pools: 7\n")).is_none());
        assert_eq!(file.policy().digest, good);
        assert!(file.refused().is_some());
        assert!(file.take(format!("# the same\n{HEAD}cluster: {{maxUnavailable: 3}}\n")).is_none());
        assert_eq!(file.refused(), None);
    }
}
