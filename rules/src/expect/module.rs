//! `module`: whether a kernel module is in the kernel, or could get there.

use serde_json::Value;

use super::Looked;
use super::Outcome;
use super::Scene;
use super::Source;
use crate::body::Body;
use crate::body::MalformedBody;
use crate::compare::show;
use crate::facts::FactPath;
use crate::interest::Interest;

/// The states that a module may have, as the report writes them.
const STATES: [&str; 5] = ["blocked", "built-in", "loadable", "loaded", "missing"];

/// A module and the states in which it may be.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    name: Box<str>,
    source: Source,
    allowed: Vec<&'static str>,
    expected: Box<str>,
}

impl Module {
    /// Words: `name`, `allowed` (a list of states).
    pub(crate) fn parse(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let name = body.required("name")?;
        let state = |value: &Value| STATES.into_iter().find(|state| value.as_str() == Some(*state));
        let expected = "a list of blocked, built-in, loadable, loaded, missing";
        let allowed = body
            .list("allowed", expected, state)?
            .ok_or(MalformedBody::Missing { word: "allowed" })?;
        Ok(Self {
            name: name.into(),
            source: Source::parse(&format!("kernel.modules.{name}"))?,
            expected: allowed.join(" or ").into(),
            allowed,
        })
    }

    pub(crate) fn subject(&self) -> &str {
        &self.name
    }

    pub(crate) fn reads(&self) -> Vec<FactPath> {
        vec![self.source.path().clone()]
    }

    pub(crate) fn interest(&self, interest: &mut Interest) {
        interest.modules.insert(self.name.to_string());
    }

    pub(crate) fn judge(&self, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
        let fact = self.source.shown();
        let outcome = match self.source.look(scene.facts) {
            Looked::Known(Value::String(state), origin) if STATES.contains(&state.as_str()) => {
                let holds = self.allowed.contains(&state.as_str());
                Outcome::seen(holds, fact, state.clone(), origin, &self.expected)
            }
            Looked::Known(value, _) => {
                let reason = format!("the state `{}` is not known to this version", show(value));
                Outcome::unknown(fact, reason, &self.expected)
            }
            Looked::Absent(origin) | Looked::NoKubelet(origin) => {
                Outcome::not_applicable(fact, "this kernel has no modules", origin)
            }
            Looked::Unknown(why) => Outcome::unknown_because(fact, why, &self.expected),
        };
        out.push(outcome.about(&self.name));
    }
}
