//! How long the collector's own authority and certificates live, and how a new authority is waited
//! for. The defaults are those of [`Policy`]; shorter lives are for clusters that live shortly, and
//! for seeing a rotation happen.

use super::InvalidSettings;
use crate::kube::authority::decide::Policy;

/// Seconds that may be given: a hundred years at most.
const BOUNDS: std::ops::RangeInclusive<i64> = 1..=3_153_600_000;

/// Seconds of the shortest certificate: it is looked at each ten seconds.
const MIN_CERTIFICATE_SECS: i64 = 30;

/// What arguments and environment say; everything may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Own authority")]
pub struct LifeRaw {
    /// Seconds that the collector's own authority lives [default: ten years]
    #[arg(long, env = "PALISADE_AUTHORITY_LIFE", value_name = "SECONDS")]
    pub authority_life: Option<i64>,
    /// Seconds that its serving certificate lives [default: 90 days]
    #[arg(long, env = "PALISADE_CERTIFICATE_LIFE", value_name = "SECONDS")]
    pub certificate_life: Option<i64>,
    /// Seconds that a new authority is published before it is used [default: 300]
    #[arg(long, env = "PALISADE_TRUST_SETTLE", value_name = "SECONDS")]
    pub trust_settle: Option<i64>,
    /// Seconds after which agents that do not trust a new authority are no longer waited for
    /// [default: one day]
    #[arg(long, env = "PALISADE_TRUST_PATIENCE", value_name = "SECONDS")]
    pub trust_patience: Option<i64>,
    /// Seconds that an authority stays trusted after it was replaced [default: seven days]
    #[arg(long, env = "PALISADE_TRUST_KEEP", value_name = "SECONDS")]
    pub trust_keep: Option<i64>,
}

impl LifeRaw {
    /// The first flag that was given.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        self.each().into_iter().find_map(|(flag, given)| given.map(|_| flag))
    }

    /// Checks what was given.
    ///
    /// # Errors
    /// [`InvalidSettings`], naming the flag.
    pub(super) fn policy(&self) -> Result<Policy, InvalidSettings> {
        for (flag, given) in self.each() {
            if let Some(got) = given.filter(|given| !BOUNDS.contains(given)) {
                let expected = "seconds, at least 1 and at most a hundred years";
                return Err(InvalidSettings::Kubernetes { flag, expected, got: got.to_string() });
            }
        }
        let default = Policy::default();
        let policy = Policy {
            authority_life_secs: self.authority_life.unwrap_or(default.authority_life_secs),
            leaf_life_secs: self.certificate_life.unwrap_or(default.leaf_life_secs),
            settle_secs: self.trust_settle.unwrap_or(default.settle_secs),
            patience_secs: self.trust_patience.unwrap_or(default.patience_secs),
            keep_old_secs: self.trust_keep.unwrap_or(default.keep_old_secs),
        };
        let bounds = MIN_CERTIFICATE_SECS..=policy.authority_life_secs;
        if !bounds.contains(&policy.leaf_life_secs) {
            return Err(InvalidSettings::Kubernetes {
                flag: "--certificate-life",
                expected: "at least 30 seconds and no longer than the authority's",
                got: policy.leaf_life_secs.to_string(),
            });
        }
        Ok(policy)
    }

    fn each(&self) -> [(&'static str, Option<i64>); 5] {
        let Self { authority_life, certificate_life, trust_settle, trust_patience, trust_keep } =
            self;
        [
            ("--authority-life", *authority_life),
            ("--certificate-life", *certificate_life),
            ("--trust-settle", *trust_settle),
            ("--trust-patience", *trust_patience),
            ("--trust-keep", *trust_keep),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_is_the_default_and_nonsense_is_refused_by_name() {
        assert_eq!(LifeRaw::default().policy(), Ok(Policy::default()));
        let short = LifeRaw { certificate_life: Some(60), ..LifeRaw::default() };
        assert_eq!(short.policy().unwrap().leaf_life_secs, 60);
        for (raw, flag) in [
            (LifeRaw { trust_settle: Some(0), ..LifeRaw::default() }, "--trust-settle"),
            (LifeRaw { trust_keep: Some(i64::MAX), ..LifeRaw::default() }, "--trust-keep"),
            (LifeRaw { certificate_life: Some(5), ..LifeRaw::default() }, "--certificate-life"),
            (LifeRaw { authority_life: Some(3600), ..LifeRaw::default() }, "--certificate-life"),
        ] {
            let refused = raw.policy().unwrap_err().to_string();
            assert!(refused.contains(flag), "{refused}");
            assert!(raw.first_given().is_some());
        }
    }
}
