//! Looking at one fact, with what is known about the kubelet: where none runs, it has no values.

use crate::body::MalformedBody;
use crate::body::path;
use crate::compare::show;
use crate::facts::FactPath;
use crate::facts::Facts;
use crate::facts::Found;
use crate::facts::FoundWhy;
use palisade_report::SectionName;
use serde_json::Value;

/// A fact to look at.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: FactPath,
    shown: Box<str>,
    process: Option<FactPath>,
    flag: bool,
}

/// What was found there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Looked<'a> {
    /// A value, and where it was read.
    Known(&'a Value, &'a str),
    /// Proven absent, and where it would be.
    Absent(&'a str),
    /// No kubelet runs here; how that is known.
    NoKubelet(&'a str),
    /// Could not be told.
    Unknown(FoundWhy<'a>),
}

impl Source {
    /// The fact at the path `text`.
    ///
    /// # Errors
    /// [`MalformedBody::Path`] if it names none.
    pub(crate) fn parse(text: &str) -> Result<Self, MalformedBody> {
        let path_ = path(text)?;
        let of_kubelet = path_.section() == SectionName::Kubelet && text != "kubelet.process";
        let process = if of_kubelet { Some(path("kubelet.process")?) } else { None };
        let flag = text.starts_with("kubelet.flags.");
        Ok(Self { path: path_, shown: text.into(), process, flag })
    }

    pub(crate) const fn path(&self) -> &FactPath {
        &self.path
    }

    /// The path as evidence names it.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn look<'a>(&self, facts: &'a Facts) -> Looked<'a> {
        match facts.at(&self.path) {
            Found::Known(Value::Null, origin) | Found::Absent(origin) => Looked::Absent(origin),
            Found::Known(value, origin) => Looked::Known(value, origin),
            Found::Unknown(FoundWhy::NoFact) => self.without_fact(facts),
            Found::Unknown(why) => Looked::Unknown(why),
        }
    }

    /// Why the node could not tell, where it says so with `value`: in its own words, if it has some
    /// beside it.
    pub(crate) fn said_about(&self, value: &Value, facts: &Facts) -> String {
        let parent = self.shown.rsplit_once('.').map_or("", |(parent, _)| parent);
        let said = ["why.detail", "evidence"].iter().find_map(|name| {
            let path = path(&format!("{parent}.{name}")).ok()?;
            match facts.at(&path) {
                Found::Known(value, _) => value.as_str(),
                Found::Absent(_) | Found::Unknown(_) => None,
            }
        });
        match said {
            Some(said) => said.to_owned(),
            None => format!("the node says `{}`", show(value)),
        }
    }

    /// The kubelet's values are listed only if one runs, its flags only if they are given.
    fn without_fact<'a>(&self, facts: &'a Facts) -> Looked<'a> {
        let Some(process) = &self.process else { return Looked::Unknown(FoundWhy::NoFact) };
        match facts.at(process) {
            Found::Absent(origin) => Looked::NoKubelet(origin),
            Found::Known(_, origin) if self.flag => Looked::Absent(origin),
            Found::Known(..) => Looked::Unknown(FoundWhy::NoFact),
            Found::Unknown(why) => Looked::Unknown(why),
        }
    }
}
