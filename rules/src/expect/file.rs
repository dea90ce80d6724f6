//! `file`: mode and owner of a path, and whether somebody else could replace it from above.

use std::borrow::Cow;

use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use palisade_report::section::files::Mode;
use serde_json::Map;
use serde_json::Value;

use super::Looked;
use super::MAX_SUBJECTS;
use super::Outcome;
use super::Scene;
use super::Source;
use crate::body::Body;
use crate::body::MalformedBody;
use crate::body::path;
use crate::compare::AbsentIs;
use crate::facts::FactPath;
use crate::facts::Found;
use crate::facts::FoundWhy;
use crate::facts::look_through;
use crate::interest::Interest;
use crate::pattern::is_pattern;
use crate::pattern::path_matches;

/// A path, or a pattern of paths, and how strict each must be.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pattern: Box<str>,
    /// A leading variable: the fact that holds its value, and the rest of the path.
    variable: Option<(Source, Box<str>)>,
    /// Whether one finding or many: a pattern may cover several paths.
    paths: FactPath,
    mode: Option<Mode>,
    uid: Vec<u32>,
    gid: Vec<u32>,
    parents: Option<Parents>,
    absent: AbsentIs,
    expected: Box<str>,
}

/// What the directories above must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parents {
    /// Nobody but root and the file's owner can replace the path.
    Safe,
}

impl File {
    /// Words: `path`, `mode` (four octal digits), `uid` and `gid` (a number or a list), `parents`
    /// (`safe`), `absent` (pass, fail or not-applicable).
    pub(crate) fn parse(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let pattern = body.required("path")?;
        let variable = variable(pattern)?;
        if (variable.is_none() && !pattern.starts_with('/')) || pattern.contains('[') {
            return Err(MalformedBody::Value {
                word: "path",
                expected: "an absolute path without brackets, or ${kubelet.…} at its start",
            });
        }
        let mode = match body.text("mode")? {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| MalformedBody::Value {
                word: "mode",
                expected: "four octal digits in quotes",
            })?),
        };
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let uid = body.list("uid", "a numeric user id or a list", id)?.unwrap_or_default();
        let gid = body.list("gid", "a numeric group id or a list", id)?.unwrap_or_default();
        let parents = body.choice("parents", &[("safe", Parents::Safe)], "safe")?;
        let absent = AbsentIs::take(body, "absent")?.unwrap_or(AbsentIs::NotApplicable);
        if mode.is_none() && uid.is_empty() && gid.is_empty() && parents.is_none() {
            return Err(MalformedBody::Missing { word: "mode" });
        }
        Ok(Self {
            pattern: pattern.into(),
            variable,
            paths: path("files.paths")?,
            mode,
            expected: expected(mode, &uid, &gid, parents).into(),
            uid,
            gid,
            parents,
            absent,
        })
    }

    pub(crate) fn reads(&self) -> Vec<FactPath> {
        let variable = self.variable.iter().map(|(source, _)| source.path().clone());
        variable.chain(std::iter::once(self.paths.clone())).collect()
    }

    pub(crate) fn interest(&self, interest: &mut Interest) {
        interest.files.insert(self.pattern.to_string());
    }

    pub(crate) fn judge(&self, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
        let pattern: Cow<'_, str> = match &self.variable {
            None => Cow::Borrowed(&self.pattern),
            Some((source, tail)) => match source.look(scene.facts) {
                Looked::Known(Value::String(text), _) if !text.is_empty() => {
                    Cow::Owned(format!("{text}{tail}"))
                }
                Looked::NoKubelet(origin) => {
                    let none =
                        Outcome::not_applicable(source.shown(), "no kubelet runs here", origin);
                    return out.push(none);
                }
                Looked::Known(_, origin) | Looked::Absent(origin) => {
                    let reason = "the kubelet of this host names no such file";
                    return out.push(Outcome::not_applicable(source.shown(), reason, origin));
                }
                Looked::Unknown(why) => {
                    return out.push(Outcome::unknown_because(source.shown(), why, &self.expected));
                }
            },
        };
        let map = match scene.facts.at(&self.paths) {
            Found::Known(Value::Object(map), _) => map,
            Found::Known(..) | Found::Absent(_) => {
                let unknown = FoundWhy::NoFact;
                return out.push(self.unknown(&pattern, unknown));
            }
            Found::Unknown(why) => return out.push(self.unknown(&pattern, why)),
        };
        if is_pattern(&pattern) {
            self.judge_pattern(&pattern, map, out);
        } else {
            out.push(self.judge_path(&pattern, map.get(&*pattern)));
        }
    }

    /// A reader that finds nothing under a pattern, or cannot look, says so under the pattern
    /// itself.
    fn judge_pattern(&self, pattern: &str, map: &Map<String, Value>, out: &mut Vec<Outcome>) {
        let before = out.len();
        let covered = map
            .iter()
            .filter(|(path, _)| !is_pattern(path) && path_matches(pattern, path))
            // One more than may be spoken of, so that the judge sees the excess.
            .take(MAX_SUBJECTS.saturating_add(1));
        for (path, value) in covered {
            out.push(self.judge_path(path, Some(value)));
        }
        match map.get(pattern).map(look_through) {
            Some(Found::Unknown(why)) => out.push(self.unknown(pattern, why)),
            Some(Found::Known(..) | Found::Absent(_)) | None if out.len() > before => {}
            Some(Found::Known(..) | Found::Absent(_)) => {
                out.push(self.judge_path(pattern, map.get(pattern)));
            }
            None => out.push(self.unknown(pattern, FoundWhy::NoFact)),
        }
    }

    fn judge_path(&self, path: &str, value: Option<&Value>) -> Outcome {
        let fact = format!("files.paths.{path}");
        let (file, origin) = match value.map(look_through) {
            None => return self.unknown(path, FoundWhy::NoFact),
            Some(Found::Unknown(why)) => return self.unknown(path, why),
            Some(Found::Absent(origin)) => {
                let outcome = match self.absent {
                    AbsentIs::NotApplicable => {
                        Outcome::not_applicable(&fact, "there is no such file", origin)
                    }
                    AbsentIs::Fail => {
                        Outcome::seen(false, &fact, "no such file".into(), origin, &self.expected)
                    }
                    AbsentIs::Pass => {
                        Outcome::seen(true, &fact, "no such file".into(), origin, &self.expected)
                    }
                };
                return outcome.about(path);
            }
            Some(Found::Known(value, origin)) => (Seen::of(value), origin),
        };
        let Some(file) = file else {
            let reason = "the report gives this path no mode and owner";
            return Outcome::unknown(&fact, reason, &self.expected).about(path);
        };
        let fits = self.mode.is_none_or(|bound| file.mode.at_least_as_strict_as(bound))
            && (self.uid.is_empty() || self.uid.contains(&file.uid))
            && (self.gid.is_empty() || self.gid.contains(&file.gid))
            && (self.parents.is_none() || file.unsafe_ancestors.is_empty());
        Outcome::seen(fits, &fact, file.show(self.parents), origin, &self.expected).about(path)
    }

    fn unknown(&self, path: &str, why: FoundWhy<'_>) -> Outcome {
        let fact = format!("files.paths.{path}");
        Outcome::unknown_because(&fact, why, &self.expected).about(path)
    }
}

/// What the report says about one path.
struct Seen<'a> {
    mode: Mode,
    uid: u32,
    gid: u32,
    unsafe_ancestors: &'a [Value],
}

impl<'a> Seen<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        let id = |name| value.get(name)?.as_u64().and_then(|id| u32::try_from(id).ok());
        Some(Self {
            mode: value.get("mode")?.as_str()?.parse().ok()?,
            uid: id("uid")?,
            gid: id("gid")?,
            unsafe_ancestors: match value.get("unsafe_ancestors") {
                None => &[],
                Some(list) => list.as_array()?,
            },
        })
    }

    fn show(&self, parents: Option<Parents>) -> String {
        let Self { mode, uid, gid, unsafe_ancestors } = self;
        let mut out = format!("{mode} {uid}:{gid}");
        if parents.is_some() && !unsafe_ancestors.is_empty() {
            let list: Vec<&str> = unsafe_ancestors.iter().filter_map(Value::as_str).collect();
            out.push_str(" below ");
            out.push_str(&list.join(", "));
        }
        clean(out.as_bytes(), MAX_TEXT)
    }
}

/// The leading variable of a path, and what follows it.
fn variable(pattern: &str) -> Result<Option<(Source, Box<str>)>, MalformedBody> {
    let Some(rest) = pattern.strip_prefix("${") else { return Ok(None) };
    let malformed = MalformedBody::Value {
        word: "path",
        expected: "${kubelet.flags.NAME} or ${kubelet.effective.FIELD} at the start",
    };
    let Some((name, tail)) = rest.split_once('}') else { return Err(malformed) };
    if !name.starts_with("kubelet.flags.") && !name.starts_with("kubelet.effective.") {
        return Err(malformed);
    }
    Ok(Some((Source::parse(name)?, tail.into())))
}

fn expected(mode: Option<Mode>, uid: &[u32], gid: &[u32], parents: Option<Parents>) -> String {
    let ids = |ids: &[u32]| -> String {
        if ids.is_empty() {
            return "any".to_owned();
        }
        ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ")
    };
    let mut parts = Vec::new();
    if let Some(mode) = mode {
        parts.push(format!("{mode} or stricter"));
    }
    if !uid.is_empty() || !gid.is_empty() {
        parts.push(format!("owned by {}:{}", ids(uid), ids(gid)));
    }
    if parents.is_some() {
        parts.push("no directory above that others can write".to_owned());
    }
    parts.join(", ")
}
