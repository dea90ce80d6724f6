//! The layers of the kubelet's configuration below its flags: defaults, `--config`, drop-ins.
//!
//! ```text
//! --config file, else nothing ─> defaults (legacy without --config) ─> drop-ins ─> defaults again
//! ```

use std::collections::BTreeMap;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::kubelet::ConfigSource;
use serde_json::Value;

use super::config;
use super::config::Content;
use super::config::Tree;
use super::fields::Default;
use super::fields::FIELDS;
use super::fields::Field;
use super::fields::Kind;
use super::fields::Zero;
use super::value;
use crate::Host;
use crate::ReadError;
use crate::host::EntryKind;
use crate::host::FileKind;
use crate::host::MAX_CONFIG;
use crate::host::MAX_ENTRIES;

/// Most drop-ins that are merged; each costs up to [`MAX_CONFIG`] bytes and a parse.
const MAX_DROP_INS: usize = 128;

/// Deepest directory of drop-ins.
const MAX_WALK_DEPTH: usize = 8;

/// What fills in where no layer says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defaults {
    /// Of a kubelet without `--config`.
    Legacy,
    /// None that are known: the program around the kubelet decides.
    Unknown,
    /// Of `KubeletConfiguration` v1beta1.
    V1beta1,
}

/// How often defaults were filled in. Maps are filled in the first time only, because their
/// defaults belong to the `--config` file and not to the API type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    First,
    Second,
}

/// The layers below the flags, merged.
#[derive(Debug)]
pub(super) struct Layers {
    /// The files, in the order in which they apply.
    pub(super) sources: Vec<ConfigSource>,
    /// What the kubelet would refuse about them.
    pub(super) refused: Vec<Why>,
    /// Every value; or why the files could not all be merged.
    pub(super) values: Result<BTreeMap<String, Tree>, Why>,
}

/// Reads and merges the files named by `--config` and `--config-dir`.
pub(super) fn read(
    host: &dyn Host,
    file: Option<&str>,
    directory: Option<&str>,
    defaults: Defaults,
) -> Layers {
    let mut layers =
        Layers { sources: Vec::new(), refused: Vec::new(), values: Ok(BTreeMap::new()) };
    if let Some(path) = file
        && let Some(mut parts) = layers.load(host, path)
    {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        resolve(&mut parts, directory);
        merge_eviction(&mut parts);
        layers.values = Ok(parts);
    }
    layers.settle(defaults, Round::First);
    if let Some(directory) = directory {
        layers.drop_ins(host, directory, defaults);
        // What a drop-in deletes or zeroes takes the default of the API type, never the legacy one.
        let again = if defaults == Defaults::Legacy { Defaults::V1beta1 } else { defaults };
        layers.settle(again, Round::Second);
    }
    layers
}

impl Layers {
    /// Reads one file and notes it as a source; `None` if it cannot be merged.
    fn load(&mut self, host: &dyn Host, path: &str) -> Option<BTreeMap<String, Tree>> {
        let parsed = match host.read(path, MAX_CONFIG) {
            Ok(contents) => config::parse(path, &contents.bytes)
                .and_then(|parts| config::check_kind(path, &parts).map(|()| parts))
                .inspect_err(|why| self.refused.push(why.clone())),
            Err(error) => {
                if matches!(error, ReadError::NotFound { .. }) {
                    self.refused.push(error.clone().why());
                }
                Err(error.why())
            }
        };
        let origin = Origin::path(path);
        let (merged, parts) = match parsed {
            Ok(parts) => (Reading::known("merged".to_owned(), origin), Some(parts)),
            Err(why) => {
                self.values = Err(why.clone());
                (Reading::unknown(why, origin), None)
            }
        };
        self.sources.push(ConfigSource { path: shown(path), merged });
        parts
    }

    fn drop_ins(&mut self, host: &dyn Host, directory: &str, defaults: Defaults) {
        // Go's WalkDir does not follow a link given as its root.
        if let Ok(metadata) = host.link_metadata(directory)
            && metadata.kind == FileKind::Link
            && !directory.ends_with('/')
        {
            let merged =
                Reading::absent(Origin::words("a link, which the kubelet does not follow"));
            self.sources.push(ConfigSource { path: shown(directory), merged });
            return;
        }
        let mut files = Vec::new();
        match walk(host, directory, 0, &mut files) {
            Ok(()) => {}
            // A program around the kubelet makes the directory only when it needs one.
            Err(ReadError::NotFound { .. }) if defaults == Defaults::Unknown => return,
            Err(error) => {
                if matches!(error, ReadError::NotFound { .. }) {
                    self.refused.push(error.clone().why());
                }
                let why = error.why();
                let merged = Reading::unknown(why.clone(), Origin::path(directory));
                self.sources.push(ConfigSource { path: shown(directory), merged });
                self.values = Err(why);
                return;
            }
        }
        for path in files {
            let Some(patch) = self.load(host, &path) else { continue };
            if let Ok(values) = &mut self.values {
                config::merge(values, patch);
            }
        }
    }

    /// Takes away what counts as not set, checks the rest, and fills in defaults.
    fn settle(&mut self, defaults: Defaults, round: Round) {
        let Ok(values) = &mut self.values else { return };
        let parallel = config::at(values, "maxParallelImagePulls");
        let parallel = parallel.and_then(|tree| value::of_tree(Kind::Integer, tree).ok().flatten());
        let parallel = parallel.and_then(|value| value.as_i64()).is_some_and(|pulls| pulls >= 2);
        for field in &FIELDS {
            if let Some(tree) = config::at(values, field.path) {
                match value::of_tree(field.kind, tree) {
                    Ok(Some(value)) => {
                        let unset =
                            field.zero == Zero::Default && value::is_zero(field.kind, &value);
                        if !unset {
                            continue;
                        }
                    }
                    Ok(None) => {}
                    // Stays, so that the field is unknown and not a default.
                    Err(unfit) => {
                        let why = unfit_at(field, tree, unfit);
                        if !self.refused.contains(&why) {
                            self.refused.push(why);
                        }
                        continue;
                    }
                }
                config::remove(values, field.path);
            }
            let (default, whose) = match defaults {
                Defaults::Legacy => (field.legacy, "kubelet without --config"),
                Defaults::V1beta1 => (field.default, "KubeletConfiguration v1beta1"),
                Defaults::Unknown => continue,
            };
            if round == Round::Second && matches!(default, Default::Map(_)) {
                continue;
            }
            if let Some(mut value) = value::of_default(default) {
                if field.path == "serializeImagePulls" && parallel {
                    value = false.into();
                }
                let origin = Origin::default_of(whose);
                config::put(values, field.path, planted(value, &origin));
            }
        }
    }
}

/// Adds the thresholds that the `--config` file leaves out, if it asks for that.
fn merge_eviction(values: &mut BTreeMap<String, Tree>) {
    let asked = config::at(values, "mergeDefaultEvictionSettings");
    let asked = asked.is_some_and(|tree| tree.content == Content::Leaf(true.into()));
    let field = FIELDS.iter().find(|field| field.path == "evictionHard");
    if asked
        && let Some(default) = field.and_then(|field| value::of_default(field.default))
        && let Some(Tree { content: Content::Object(own), .. }) = values.get_mut("evictionHard")
    {
        let origin = Origin::default_of("mergeDefaultEvictionSettings");
        let Content::Object(parts) = planted(default, &origin).content else { return };
        for (threshold, tree) in parts {
            own.entry(threshold).or_insert(tree);
        }
    }
}

/// Why the value of a field that a file sets is unknown.
pub(super) fn unfit_at(field: &Field, tree: &Tree, unfit: value::Unfit) -> Why {
    Why::new(WhyKind::Malformed, format!("{}: {}: {unfit}", tree.origin, field.path))
}

/// A value as a tree, so that drop-ins can merge into it.
fn planted(value: Value, origin: &Origin) -> Tree {
    let content = match value {
        Value::Object(parts) => Content::Object(
            parts.into_iter().map(|(key, part)| (key, planted(part, origin))).collect(),
        ),
        leaf @ (Value::Array(_)
        | Value::Bool(_)
        | Value::Null
        | Value::Number(_)
        | Value::String(_)) => Content::Leaf(leaf),
    };
    Tree { content, origin: origin.clone() }
}

/// Relative paths in the `--config` file start at its directory; those in drop-ins do not.
fn resolve(parts: &mut BTreeMap<String, Tree>, directory: &str) {
    for field in FIELDS.iter().filter(|field| field.kind == Kind::Path) {
        if let Some(Tree { content: Content::Leaf(Value::String(path)), origin }) =
            config::at(parts, field.path)
            && !path.is_empty()
            && !path.starts_with('/')
        {
            let content = Content::Leaf(format!("{directory}/{path}").into());
            let tree = Tree { content, origin: origin.clone() };
            config::put(parts, field.path, tree);
        }
    }
}

/// The drop-ins below `directory` in the order in which the kubelet's walk meets them: by name,
/// directories in their place among the files.
fn walk(
    host: &dyn Host,
    directory: &str,
    depth: usize,
    files: &mut Vec<String>,
) -> Result<(), ReadError> {
    for entry in host.list(directory, MAX_ENTRIES)? {
        let path = format!("{}/{}", directory.trim_end_matches('/'), entry.name);
        if entry.kind == EntryKind::Directory {
            if depth == MAX_WALK_DEPTH {
                let detail = format!("drop-ins deeper than {MAX_WALK_DEPTH} directories");
                return Err(ReadError::failed(&path, WhyKind::TooLarge, detail));
            }
            walk(host, &path, depth.saturating_add(1), files)?;
        } else if entry.name.ends_with(".conf") {
            if files.len() == MAX_DROP_INS {
                let detail = format!("more than {MAX_DROP_INS} drop-ins");
                return Err(ReadError::failed(directory, WhyKind::TooLarge, detail));
            }
            files.push(path);
        }
    }
    Ok(())
}

fn shown(path: &str) -> String {
    palisade_report::bound::clean_text(path)
}
