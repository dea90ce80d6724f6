//! `kubelet` and `kubelet_flag`: one effective value of the kubelet, whoever set it.

use super::Outcome;
use super::Scene;
use super::Source;
use super::fact::Fact;
use crate::body::Body;
use crate::body::MalformedBody;
use crate::compare::Compare;
use crate::facts::FactPath;

/// A field of `KubeletConfiguration`, or a flag that is no part of it. Where no kubelet runs, the
/// rule does not apply.
#[derive(Clone, Debug)]
pub(crate) struct Kubelet(Fact);

impl Kubelet {
    /// Words: `field` (its path in `KubeletConfiguration`), comparators.
    pub(crate) fn parse_field(body: &Body<'_>) -> Result<Self, MalformedBody> {
        Self::parse(body, &format!("kubelet.effective.{}", body.required("field")?))
    }

    /// Words: `flag` (its name without dashes), comparators.
    pub(crate) fn parse_flag(body: &Body<'_>) -> Result<Self, MalformedBody> {
        Self::parse(body, &format!("kubelet.flags.{}", body.required("flag")?))
    }

    fn parse(body: &Body<'_>, path: &str) -> Result<Self, MalformedBody> {
        let source = Source::parse(path)?;
        Ok(Self(Fact::new(source, Compare::required(body)?, None)))
    }

    pub(crate) fn reads(&self) -> Vec<FactPath> {
        self.0.reads()
    }

    pub(crate) fn judge(&self, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
        out.push(self.0.outcome(scene));
    }
}
