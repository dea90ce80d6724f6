//! A DaemonSet of kured in YAML: its arguments, its environment, its nodes.

use std::collections::BTreeMap;

use crate::kured::Fate;
use crate::kured::ImportError;
use crate::kured::Note;
use crate::kured::flag;
use crate::kured::flag::Takes;
use crate::kured::flag::Value;
use crate::policy::tree;
use crate::policy::tree::Node;
use crate::policy::tree::Tree;

/// What a manifest says.
#[derive(Debug)]
pub(super) struct Manifest {
    /// Flags, those of the command line before those of the environment.
    pub(super) values: Vec<Value>,
    /// Nodes that it runs on.
    pub(super) node_selector: BTreeMap<String, String>,
    /// What in it no policy can say.
    pub(super) notes: Vec<Note>,
}

impl Manifest {
    /// The first DaemonSet of kured in a text of one or more objects.
    pub(super) fn read(text: &str) -> Result<Self, ImportError> {
        let mut before: u64 = 0;
        for document in documents(text) {
            let tree = tree::parse(document).map_err(|error| ImportError::Yaml {
                line: error.place.line.saturating_add(before),
                column: error.place.column,
                message: error.message,
            })?;
            before = before.saturating_add(u64::try_from(document.lines().count()).unwrap_or(0));
            // One more for the line that parts two documents.
            before = before.saturating_add(1);
            let objects = match field(&tree, "items") {
                Some(Tree { node: Node::List(items), .. }) => items.iter().collect(),
                Some(_) | None => vec![&tree],
            };
            if let Some(found) = objects.into_iter().find_map(Self::of) {
                return Ok(found);
            }
        }
        Err(ImportError::NoKured)
    }

    fn of(object: &Tree) -> Option<Self> {
        if text(field(object, "kind")) != Some("DaemonSet") {
            return None;
        }
        let pod = field(field(field(object, "spec")?, "template")?, "spec")?;
        let Node::List(containers) = &field(pod, "containers")?.node else { return None };
        let container = containers.iter().find(|container| {
            let is_kured =
                |name| text(field(container, name)).is_some_and(|it| it.contains("kured"));
            is_kured("name") || is_kured("image")
        })?;
        let mut words = texts(field(container, "command"));
        // The program itself.
        if !words.is_empty() {
            words.remove(0);
        }
        words.extend(texts(field(container, "args")));
        let mut manifest =
            Self { values: flag::parse(&words), node_selector: BTreeMap::new(), notes: Vec::new() };
        if let Some(Tree { node: Node::List(variables), .. }) = field(container, "env") {
            variables.iter().for_each(|variable| manifest.add_variable(variable));
        }
        if let Some(Tree { node: Node::Map(labels), .. }) = field(pod, "nodeSelector") {
            for label in labels {
                let value = text(Some(&label.value)).unwrap_or_default();
                manifest.node_selector.insert(label.name.clone(), value.to_owned());
            }
        }
        if field(pod, "affinity").is_some() {
            manifest.notes.push(Note {
                flag: String::new(),
                fate: Fate::Dropped,
                text: "the DaemonSet has an affinity: narrow the selector of the pool by hand"
                    .to_owned(),
            });
        }
        Some(manifest)
    }

    /// kured takes a variable only where the flag is not given.
    fn add_variable(&mut self, variable: &Tree) {
        let Some((flag, takes)) = text(field(variable, "name")).and_then(flag::of_variable) else {
            return;
        };
        let is_given =
            |value: &Value| matches!(value, Value::Known { flag: given, .. } if *given == flag);
        if self.values.iter().any(is_given) {
            return;
        }
        let Some(value) = text(field(variable, "value")) else {
            if flag != "node-id" {
                self.notes.push(Note {
                    flag: flag.to_owned(),
                    fate: Fate::Dropped,
                    text: "its value comes from elsewhere in the cluster: add it by hand"
                        .to_owned(),
                });
            }
            return;
        };
        if takes == Takes::Many {
            self.notes.push(Note {
                flag: flag.to_owned(),
                fate: Fate::Dropped,
                text: "kured itself does not take it from the environment".to_owned(),
            });
            return;
        }
        self.values.push(Value::Known { flag, value: value.to_owned() });
    }

    /// The last value of a flag.
    pub(super) fn last(&self, flag: &'static str) -> Option<&str> {
        self.all(flag).last()
    }

    /// All values of a flag.
    pub(super) fn all(&self, flag: &'static str) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(move |value| match value {
            Value::Known { flag: given, value } if *given == flag => Some(value.as_str()),
            Value::Known { .. } | Value::Unknown { .. } => None,
        })
    }
}

/// The documents of a text, without the lines that part them.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let now = rest?;
        let mut at = 0;
        for line in now.split_inclusive('\n') {
            let after = at + line.len();
            if line.trim_end() == "---" {
                let (document, _) = now.split_at_checked(at)?;
                rest = now.get(after..);
                return Some(document);
            }
            at = after;
        }
        rest = None;
        Some(now)
    })
}

fn field<'t>(tree: &'t Tree, name: &str) -> Option<&'t Tree> {
    let Node::Map(fields) = &tree.node else { return None };
    fields.iter().find(|field| field.name == name).map(|field| &field.value)
}

fn text(tree: Option<&Tree>) -> Option<&str> {
    match tree.map(|tree| &tree.node) {
        Some(Node::Text(text)) => Some(text),
        Some(
            Node::Bool(_)
            | Node::Float(_)
            | Node::List(_)
            | Node::Map(_)
            | Node::Nothing
            | Node::Number(_),
        )
        | None => None,
    }
}

fn texts(tree: Option<&Tree>) -> Vec<String> {
    let Some(Tree { node: Node::List(items), .. }) = tree else { return Vec::new() };
    items.iter().filter_map(|item| text(Some(item))).map(str::to_owned).collect()
}
