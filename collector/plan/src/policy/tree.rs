//! YAML as a tree in which everything knows its place, within strict bounds.
//!
//! What a policy means is decided by [`super::language`]; here is only what is written where.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_saphyr::Spanned;

/// Bytes that a policy may have; one with fifty pools has about 30,000.
pub const MAX_POLICY: usize = 1 << 18;

/// Where something is written, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// Something that is written somewhere.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) place: Place,
    pub(crate) node: Node,
}

/// What is written.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// `true` or `false`.
    Bool(bool),
    /// A number with a fraction or exponent, or a very large one.
    Float(f64),
    /// A list.
    List(Vec<Tree>),
    /// Fields in the order in which they are written.
    Map(Vec<Field>),
    /// Nothing, `~` or `null`.
    Nothing,
    /// A whole number.
    Number(i64),
    /// Text.
    Text(String),
}

/// A field of a map.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) value: Tree,
}

/// The text is no YAML. At fault: its author.
#[derive(Debug)]
pub(crate) struct NotYaml {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Parses one document. Words are `true` and `false` only, so that `on` stays a word.
pub(crate) fn parse(text: &str) -> Result<Tree, NotYaml> {
    if text.len() > MAX_POLICY {
        let message = format!("a policy has at most {MAX_POLICY} bytes, this has {}", text.len());
        return Err(NotYaml { place: Place { line: 1, column: 1 }, message });
    }
    let options = serde_saphyr::options! {
        // Nobody needs anchors to write policies; without them a text cannot grow while it is read.
        budget: serde_saphyr::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 16,
            max_documents: 1,
            max_events: 60_000,
            max_merge_keys: 0,
            max_nodes: 30_000,
            max_total_scalar_bytes: MAX_POLICY,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or(Place { line: 1, column: 1 }, |at| Place {
            line: at.line(),
            column: at.column(),
        });
        NotYaml { place, message: reworded(&error.to_string()) }
    })
}

/// What the YAML parser says, in words for somebody who writes a policy. The place is told once, by
/// whoever shows this.
fn reworded(message: &str) -> String {
    let end = message.find(" at line ").unwrap_or(message.len());
    let message = message.get(..end).unwrap_or_default();
    if let Some(rest) = message.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(',').next().unwrap_or_default();
        return format!("`{}` is there twice: remove one", palisade_report::bound::clean_text(key));
    }
    if message.starts_with("budget breached: Anchors") {
        return "anchors and aliases have no place in a policy: write it out".to_owned();
    }
    if message.starts_with("budget breached") {
        return "this is larger or deeper than any policy".to_owned();
    }
    palisade_report::bound::clean_text(message)
}

impl Tree {
    /// What it is, for a person who wrote something else than was expected.
    pub(crate) fn described(&self) -> String {
        match &self.node {
            Node::Bool(value) => format!("`{value}`"),
            Node::Float(value) => format!("`{value}`"),
            Node::List(_) => "a list".to_owned(),
            Node::Map(_) => "fields".to_owned(),
            Node::Nothing => "nothing".to_owned(),
            Node::Number(value) => format!("`{value}`"),
            Node::Text(text) => format!("`{}`", palisade_report::bound::clean_text(text)),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Node>::deserialize(deserializer)?;
        Ok(Self { place: place(&spanned), node: spanned.value })
    }
}

fn place<T>(spanned: &Spanned<T>) -> Place {
    Place { line: spanned.referenced.line(), column: spanned.referenced.column() }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, a list or fields")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = place(&key);
            fields.push(Field { place, name: key.value, value: map.next_value()? });
        }
        Ok(Node::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_knows_its_place_and_words_stay_words() {
        let tree = parse("# why\na: on\nb:\n  - 22:00\n  - {c: 1, d: true, e: }\n").unwrap();
        let Node::Map(fields) = tree.node else { panic!("{tree:?}") };
        assert_eq!(fields[0].place, Place { line: 2, column: 1 });
        assert_eq!(fields[0].value.place, Place { line: 2, column: 4 });
        assert_eq!(fields[0].value.described(), "`on`");
        let Node::List(items) = &fields[1].value.node else { panic!("{:?}", fields[1]) };
        assert_eq!(items[0].described(), "`22:00`");
        let Node::Map(inner) = &items[1].node else { panic!("{:?}", items[1]) };
        assert_eq!(inner[2].place, Place { line: 5, column: 21 });
        let described: Vec<_> = inner.iter().map(|field| field.value.described()).collect();
        assert_eq!(described, ["`1`", "`true`", "nothing"]);
    }

    #[test]
    fn what_could_grow_or_is_no_yaml_is_refused_with_its_place() {
        for (text, line) in [
            ("{a: &x 1, b: *x}", 1),
            ("a: 1\nb: 2\na: 3\n", 3),
            ("a: 1\nb: [1\n", 2),
            ("--- 1\n--- 2\n", 2),
            ("a:\n\t- 1\n", 2),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.place.line, line, "{text:?}: {error:?}");
            assert!(!error.message.contains(" line "), "{error:?}");
        }
        assert!(parse(&format!("{}{}", "[".repeat(40), "]".repeat(40))).is_err());
        assert!(parse(&" ".repeat(MAX_POLICY + 1)).is_err());
    }
}
