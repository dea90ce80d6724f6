//! `certificate`: what certificates on disk must be, one check for each rule.
//!
//! Expiry depends on `now`. Evidence holds moments, never days left, so a verdict changes only when
//! a threshold is crossed, and that moment is known beforehand.

use palisade_report::Moment;
use palisade_report::bound::MAX_LONG_TEXT;
use palisade_report::bound::MAX_TEXT;
use palisade_report::bound::clean;
use serde_json::Value;

use super::Outcome;
use super::Scene;
use crate::body::Body;
use crate::body::MalformedBody;
use crate::body::path;
use crate::facts::FactPath;
use crate::facts::Found;
use crate::facts::look_through;
use crate::pattern::Pattern;

mod check;
mod expiry;

use check::Check;

/// Which certificates, and what each must be.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    files: FactPath,
    left_out: FactPath,
    class: Class,
    paths: Vec<Pattern>,
    except_paths: Vec<Pattern>,
    watched: Vec<Pattern>,
    except_watched: Vec<Pattern>,
    check: Check,
}

/// Which class of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Any,
    Authority,
    Leaf,
}

/// One certificate of the report and the file that holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct One<'a> {
    pub(super) fact: &'a str,
    pub(super) value: &'a Value,
    pub(super) now: Moment,
}

impl Certificate {
    /// Words: `check`, `class` (leaf, authority or any), `paths`, `except_paths`, `watched`,
    /// `except_watched` (patterns, `*` across directories too), and those of the check.
    pub(crate) fn parse(body: &Body<'_>) -> Result<Self, MalformedBody> {
        let classes = [("any", Class::Any), ("authority", Class::Authority), ("leaf", Class::Leaf)];
        let class = body.choice("class", &classes, "leaf, authority or any")?;
        let patterns = |word| {
            let parse = |value: &Value| value.as_str().and_then(Pattern::new);
            body.list(word, "a pattern or a list of patterns", parse).map(Option::unwrap_or_default)
        };
        Ok(Self {
            files: path("certificates.files")?,
            left_out: path("certificates.left_out")?,
            class: class.unwrap_or(Class::Any),
            paths: patterns("paths")?,
            except_paths: patterns("except_paths")?,
            watched: patterns("watched")?,
            except_watched: patterns("except_watched")?,
            check: Check::parse(body)?,
        })
    }

    pub(crate) fn reads(&self) -> Vec<FactPath> {
        vec![self.files.clone()]
    }

    pub(crate) fn judge(&self, scene: &Scene<'_>, out: &mut Vec<Outcome>) {
        let expected = self.check.expected();
        let files = match scene.facts.at(&self.files) {
            Found::Known(Value::Object(files), _) => files,
            Found::Known(..) | Found::Absent(_) => {
                let reason = "the report lists no certificates";
                return out.push(Outcome::unknown("certificates.files", reason, expected));
            }
            Found::Unknown(why) => {
                return out.push(Outcome::unknown_because("certificates.files", why, expected));
            }
        };
        let before = out.len();
        for (path, file) in files {
            if self.selects(path, file) {
                self.judge_file(scene, path, file, out);
            }
        }
        let left_out = match scene.facts.at(&self.left_out) {
            Found::Known(Value::Array(left_out), _) => left_out.first(),
            Found::Known(..) | Found::Absent(_) | Found::Unknown(_) => None,
        };
        match left_out {
            // Said once beside what was found; and always where "nothing is watched" rests on it.
            Some(why) if out.len() == before || matches!(self.check, Check::Readable) => {
                let detail = why.get("detail").and_then(Value::as_str).unwrap_or_default();
                let outcome = Outcome::unknown("certificates.left_out", detail, expected);
                out.push(outcome.about("left out"));
            }
            Some(_) => {}
            None if out.len() == before => {
                let reason = "no certificate of this kind is watched here";
                out.push(Outcome::not_applicable("certificates.files", reason, ""));
            }
            None => {}
        }
    }

    fn selects(&self, path: &str, file: &Value) -> bool {
        let any = |patterns: &[Pattern], text: &str| patterns.iter().any(|it| it.matches(text));
        let watched = |patterns: &[Pattern]| {
            let list = file.get("watched").and_then(Value::as_array).map(Vec::as_slice);
            list.unwrap_or_default()
                .iter()
                .filter_map(Value::as_str)
                .any(|reason| any(patterns, reason))
        };
        (self.paths.is_empty() || any(&self.paths, path))
            && !any(&self.except_paths, path)
            && (self.watched.is_empty() || watched(&self.watched))
            && !watched(&self.except_watched)
    }

    fn judge_file(&self, scene: &Scene<'_>, path: &str, file: &Value, out: &mut Vec<Outcome>) {
        // Every certificate of the file gets a copy.
        let fact = clean(format!("certificates.files.{path}").as_bytes(), MAX_LONG_TEXT);
        let origin = watched(file);
        let expected = self.check.expected();
        let list = match file.get("certificates").map(look_through) {
            Some(Found::Known(Value::Array(list), _)) => list,
            Some(Found::Absent(_)) => {
                if let Check::Readable = self.check {
                    let required = file.get("expected").and_then(Value::as_str) == Some("required");
                    let outcome = if required {
                        Outcome::seen(false, &fact, "no such file".into(), &origin, expected)
                    } else {
                        Outcome::not_applicable(&fact, "there is no such file", &origin)
                    };
                    out.push(outcome.about(path));
                }
                return;
            }
            Some(Found::Unknown(why)) => {
                return out.push(Outcome::unknown_because(&fact, why, expected).about(path));
            }
            Some(Found::Known(..)) | None => {
                let reason = "the report does not say what the file holds";
                return out.push(Outcome::unknown(&fact, reason, expected).about(path));
            }
        };
        if let Check::Readable = self.check {
            return out.push(check::readable(&fact, &origin, file, list.len()).about(path));
        }
        for value in list {
            let class = value.get("class").and_then(Value::as_str).unwrap_or_default();
            let wanted = match self.class {
                Class::Any => true,
                Class::Authority => class == "authority",
                Class::Leaf => class == "leaf",
            };
            if !wanted {
                continue;
            }
            let found = One { fact: &fact, value, now: scene.now };
            if let Some(mut outcome) = self.check.judge(&found) {
                outcome.evidence.origin.clone_from(&origin);
                out.push(outcome.about(&subject(path, value)));
            }
        }
    }
}

/// Why a file is watched, in one line.
fn watched(file: &Value) -> String {
    let list = file.get("watched").and_then(Value::as_array).map(Vec::as_slice);
    let words: Vec<&str> =
        list.unwrap_or_default().iter().take(8).filter_map(Value::as_str).collect();
    clean(words.join(", ").as_bytes(), MAX_TEXT)
}

/// The file, with the place or entry of the certificate where that is not the first.
fn subject(path: &str, value: &Value) -> String {
    let index = value.get("index").and_then(Value::as_u64).unwrap_or_default();
    let entry = value.get("entry").and_then(Value::as_str).unwrap_or_default();
    let mut subject = path.to_owned();
    if index > 0 {
        subject.push_str(&format!("#{index}"));
    }
    if !entry.is_empty() {
        subject.push_str(&format!(" ({entry})"));
    }
    subject
}
