//! `mount`: the options of a mount point.

use serde_json::Value;

use super::Outcome;
use super::Scene;
use crate::body::Body;
use crate::body::MalformedBody;
use crate::body::path;
use crate::compare::AbsentIs;
use crate::compare::show;
use crate::facts::FactPath;
use crate::facts::Found;
use crate::interest::Interest;

/// A mount point and the options that it must have.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    point: Box<str>,
    fact: Box<str>,
    mounts: FactPath,
    options: Vec<Box<str>>,
    absent: AbsentIs,
    expected: Box<str>,
}

impl Mount {
    /// Words: `path`, `options` (a list), `absent` (what no mount there means; by default the rule
    /// does not apply).
    pub(crate) fn parse(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let point = body.required("path")?;
        let options = body.texts("options")?;
        if options.is_empty() {
            return Err(MalformedBody::Missing { word: "options" });
        }
        Ok(Self {
            point: point.into(),
            fact: format!("host.mounts.{point}.options").into(),
            mounts: path("host.mounts")?,
            expected: options.join(", ").into(),
            options,
            absent: AbsentIs::take(body, "absent")?.unwrap_or(AbsentIs::NotApplicable),
        })
    }

    pub(crate) fn subject(&self) -> &str {
        &self.point
    }

    pub(crate) fn reads(&self) -> Vec<FactPath> {
        vec![self.mounts.clone()]
    }

    pub(crate) fn interest(&self, interest: &mut Interest) {
        interest.mounts.insert(self.point.to_string());
    }

    pub(crate) fn judge(&self, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
        out.push(self.outcome(scene).about(&self.point));
    }

    fn outcome(&self, scene: &Scene<'_>) -> Outcome {
        let (mounts, origin) = match scene.facts.at(&self.mounts) {
            Found::Known(Value::Object(mounts), origin) => (mounts, origin),
            Found::Known(..) => return self.unknown("the report lists no mounts"),
            Found::Absent(origin) => return self.absent(origin),
            Found::Unknown(why) => {
                return Outcome::unknown_because(&self.fact, why, &self.expected);
            }
        };
        let Some(mount) = mounts.get(&*self.point) else { return self.absent(origin) };
        let Some(have) = mount.get("options") else {
            return self.unknown("the report gives this mount no options");
        };
        let Some(list) = have.as_array() else {
            return self.unknown("the options of this mount are not a list");
        };
        let has = |option: &str| list.iter().any(|it| it.as_str() == Some(option));
        let holds = self.options.iter().all(|option| has(option));
        Outcome::seen(holds, &self.fact, show(have), origin, &self.expected)
    }

    fn unknown(&self, reason: &str) -> Outcome {
        Outcome::unknown(&self.fact, reason, &self.expected)
    }

    fn absent(&self, origin: &str) -> Outcome {
        let none = "not a mount of its own";
        match self.absent {
            AbsentIs::Fail => Outcome::seen(false, &self.fact, none.into(), origin, &self.expected),
            AbsentIs::NotApplicable => Outcome::not_applicable(&self.fact, none, origin),
            AbsentIs::Pass => Outcome::seen(true, &self.fact, none.into(), origin, &self.expected),
        }
    }
}
