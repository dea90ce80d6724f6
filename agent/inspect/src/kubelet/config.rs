//! Configuration files of the kubelet: YAML or JSON to a tree, and one tree merged into another.
//!
//! Says where each value stands; knows nothing of fields, see [`super::value`]. Input is hostile:
//! every size is bounded before the parser allocates for it.

use std::collections::BTreeMap;
use std::fmt;

use palisade_report::Origin;
use palisade_report::Why;
use palisade_report::WhyKind;
use serde::Deserialize;
use serde::de::Deserializer;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::host::MAX_CONFIG;

/// Deepest nesting of a configuration file; `KubeletConfiguration` itself needs 6.
pub const MAX_DEPTH: usize = 32;

/// Most scalars, lists and maps of a configuration file; the largest seen had 300.
pub const MAX_NODES: usize = 20_000;

/// A configuration, or a part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// What is there.
    pub content: Content,
    /// Where it stands.
    pub origin: Origin,
}

/// What a place of a configuration holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A scalar, a list, or null.
    Leaf(Value),
    /// Named parts.
    Object(BTreeMap<String, Tree>),
}

/// Parses the `--config` file or a drop-in that stands at `path`, YAML or JSON.
///
/// # Errors
/// What the kubelet, or our bounds, refuse about the file: `malformed` if it is empty, no object,
/// no YAML or has a key twice; `too-large` beyond the bounds; with the line, never its content.
pub fn parse(path: &str, bytes: &[u8]) -> Result<BTreeMap<String, Tree>, Why> {
    let refuse = |kind, detail: &str| Why::new(kind, format!("{path}: {detail}"));
    if bytes.len() > MAX_CONFIG {
        return Err(refuse(WhyKind::TooLarge, "larger than 1 MiB"));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(refuse(WhyKind::Malformed, "empty"));
    }
    let spanned: Spanned<Raw> = match serde_saphyr::from_slice_with_options(bytes, options()) {
        Ok(spanned) => spanned,
        Err(error) => return Err(why(path, &error)),
    };
    match tree(path, spanned, 0).content {
        Content::Object(parts) => Ok(parts),
        Content::Leaf(_) => Err(refuse(WhyKind::Malformed, "expected an object")),
    }
}

/// Whether a file says what it is; a drop-in that does not stops the kubelet.
///
/// # Errors
/// What is missing or wrong.
pub fn check_kind(path: &str, parts: &BTreeMap<String, Tree>) -> Result<(), Why> {
    for (key, expected) in
        [("apiVersion", "kubelet.config.k8s.io/v1beta1"), ("kind", "KubeletConfiguration")]
    {
        let found = parts.get(key).map(|tree| &tree.content);
        if !matches!(found, Some(Content::Leaf(Value::String(text))) if text == expected) {
            let detail = format!("{path}: expected {key}: {expected}");
            return Err(Why::new(WhyKind::Malformed, detail));
        }
    }
    Ok(())
}

/// Merges `patch` into `base` as a JSON merge patch (RFC 7396): objects merge, null deletes,
/// everything else is replaced.
pub fn merge(base: &mut BTreeMap<String, Tree>, patch: BTreeMap<String, Tree>) {
    for (key, new) in patch {
        match new.content {
            Content::Leaf(Value::Null) => {
                base.remove(&key);
            }
            Content::Leaf(_) => {
                base.insert(key, new);
            }
            Content::Object(parts) => {
                let empty = Tree { content: Content::Object(BTreeMap::new()), origin: new.origin };
                let old = base.entry(key).or_insert_with(|| empty.clone());
                if matches!(old.content, Content::Leaf(_)) {
                    *old = empty.clone();
                }
                if let Content::Object(old_parts) = &mut old.content {
                    if !parts.is_empty() {
                        old.origin = empty.origin;
                    }
                    // Depth is bounded by the parser.
                    merge(old_parts, parts);
                }
            }
        }
    }
}

/// What stands at `path`, names with dots between.
pub(super) fn at<'a>(parts: &'a BTreeMap<String, Tree>, path: &str) -> Option<&'a Tree> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
    let tree = parts.get(first)?;
    match (rest, &tree.content) {
        (None, _) => Some(tree),
        (Some(rest), Content::Object(parts)) => at(parts, rest),
        (Some(_), Content::Leaf(_)) => None,
    }
}

/// Places `tree` at `path`; a leaf in the way is replaced.
pub(super) fn put(parts: &mut BTreeMap<String, Tree>, path: &str, tree: Tree) {
    let Some((first, rest)) = path.split_once('.') else {
        parts.insert(path.to_owned(), tree);
        return;
    };
    let empty = || Tree { content: Content::Object(BTreeMap::new()), origin: tree.origin.clone() };
    let above = parts.entry(first.to_owned()).or_insert_with(empty);
    if matches!(above.content, Content::Leaf(_)) {
        *above = empty();
    }
    if let Content::Object(parts) = &mut above.content {
        put(parts, rest, tree);
    }
}

/// Takes away what stands at `path`.
pub(super) fn remove(parts: &mut BTreeMap<String, Tree>, path: &str) {
    match path.split_once('.') {
        None => {
            parts.remove(path);
        }
        Some((first, rest)) => {
            if let Some(Tree { content: Content::Object(parts), .. }) = parts.get_mut(first) {
                remove(parts, rest);
            }
        }
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_CONFIG),
            max_events: 100_000,
            max_aliases: 100,
            max_anchors: 100,
            max_recorded_anchor_events: 20_000,
            max_recorded_anchor_bytes: MAX_CONFIG,
            max_depth: MAX_DEPTH,
            max_documents: 8,
            max_nodes: MAX_NODES,
            max_total_scalar_bytes: MAX_CONFIG,
            max_merge_keys: 100,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::Error,
    }
}

/// The parser's own message may quote the file, which may hold secrets: only its place is kept.
fn why(path: &str, error: &serde_saphyr::Error) -> Why {
    // What went wrong below an alias comes wrapped, at most once for each level.
    let mut error = error.without_snippet();
    while let serde_saphyr::Error::AliasError { error: inner, .. } = error {
        error = inner.without_snippet();
    }
    let line = error.location().map_or(0, |location| location.line());
    let (kind, what) = if matches!(error, serde_saphyr::Error::DuplicateMappingKey { .. }) {
        (WhyKind::Malformed, "a key stands twice")
    } else if matches!(error, serde_saphyr::Error::Budget { .. }) {
        (WhyKind::TooLarge, "beyond the bounds for YAML")
    } else {
        (WhyKind::Malformed, "neither YAML nor JSON")
    };
    Why::new(kind, format!("{path}, line {line}: {what}"))
}

/// A value with the lines of its parts.
#[derive(Debug)]
enum Raw {
    List(Vec<Spanned<Self>>),
    Object(BTreeMap<String, Spanned<Self>>),
    Scalar(Value),
}

fn tree(path: &str, spanned: Spanned<Raw>, depth: usize) -> Tree {
    let line = usize::try_from(spanned.referenced.line()).unwrap_or(0);
    let origin = if line == 0 { Origin::path(path) } else { Origin::line(path, line) };
    let content = match spanned.value {
        // The parser is bounded already; this keeps the recursion bounded on its own.
        _ if depth > MAX_DEPTH => Content::Leaf(Value::Null),
        Raw::Scalar(value) => Content::Leaf(value),
        list @ Raw::List(_) => Content::Leaf(plain(list, depth)),
        Raw::Object(parts) => {
            let next = depth.saturating_add(1);
            let parts = parts.into_iter().map(|(key, part)| (key, tree(path, part, next)));
            Content::Object(parts.collect())
        }
    };
    Tree { content, origin }
}

fn plain(raw: Raw, depth: usize) -> Value {
    let next = depth.saturating_add(1);
    match raw {
        _ if depth > MAX_DEPTH => Value::Null,
        Raw::Scalar(value) => value,
        Raw::List(items) => items.into_iter().map(|item| plain(item.value, next)).collect(),
        Raw::Object(parts) => {
            parts.into_iter().map(|(key, part)| (key, plain(part.value, next))).collect()
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut parts = BTreeMap::new();
        while let Some((key, part)) = access.next_entry::<String, _>()? {
            parts.insert(key, part);
        }
        Ok(Raw::Object(parts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> BTreeMap<String, Tree> {
        parse("/k", text.as_bytes()).unwrap()
    }

    fn show(parts: &BTreeMap<String, Tree>, path: &str) -> String {
        match at(parts, path) {
            None => "none".to_owned(),
            Some(Tree { content: Content::Leaf(value), origin }) => format!("{value} {origin}"),
            Some(Tree { content: Content::Object(parts), .. }) => {
                parts.keys().cloned().collect::<Vec<_>>().join(",")
            }
        }
    }

    #[test]
    fn every_value_knows_its_line() {
        let yaml = "kind: K\nauthentication:\n  anonymous:\n    enabled: false\nport: 0\nx: [a,\n 'b']\ny:\nz: 'true'\n";
        let parts = parts(yaml);
        assert_eq!(show(&parts, "authentication.anonymous.enabled"), "false /k:4");
        assert_eq!(show(&parts, "port"), "0 /k:5");
        assert_eq!(show(&parts, "x"), "[\"a\",\"b\"] /k:6");
        assert!(show(&parts, "y").starts_with("null"));
        assert_eq!(show(&parts, "z"), "\"true\" /k:9");
        let json = self::parts("{\n\t\"a\": {\"b\": 1},\n\t\"c\": [true, 2]\n}\n");
        assert_eq!(show(&json, "a.b"), "1 /k:2");
        assert_eq!(show(&json, "c"), "[true,2] /k:3");
    }

    #[test]
    fn objects_merge_lists_are_replaced_and_null_deletes() {
        let mut base = parts("a: {x: 1, y: 2}\nl: [1, 2]\ns: 1\nd: 1\n");
        merge(&mut base, parts("a: {y: 3, z: 4}\nl: [9]\ns: {n: 1}\nd: null\nnew: {k: null}\n"));
        assert_eq!(show(&base, "a"), "x,y,z");
        assert!(show(&base, "a.y").starts_with('3'));
        assert!(show(&base, "l").starts_with("[9]"));
        assert!(show(&base, "s.n").starts_with('1'));
        assert_eq!(show(&base, "d"), "none");
        assert_eq!(show(&base, "new"), "");
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place_and_without_its_content() {
        let deep = "[".repeat(200);
        let bomb = format!("a: &a [{}]\n", "x,".repeat(200))
            + &(0..40).map(|n| format!("b{n}: [*a,*a,*a,*a]\n")).collect::<String>();
        for (text, kind) in [
            ("a: 1\na: secret\n", WhyKind::Malformed),
            ("a: {b: 1, b: 2}\n", WhyKind::Malformed),
            ("a: [secret\n", WhyKind::Malformed),
            ("secret", WhyKind::Malformed),
            ("- a\n", WhyKind::Malformed),
            (" \n", WhyKind::Malformed),
            ("a: \u{0}\n", WhyKind::Malformed),
            (&bomb, WhyKind::TooLarge),
            (&"x: 1\n".repeat(300_000), WhyKind::TooLarge),
        ] {
            let why = parse("/k", text.as_bytes()).unwrap_err();
            let start: String = text.chars().take(20).collect();
            assert_eq!(why.kind, kind, "{start:?}: {why}");
            assert!(!why.detail.contains("secret"), "{why}");
        }
        assert!(parse("/k", deep.as_bytes()).is_err());
        assert!(parse("/k", b"\xff\xfe: 1").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(parse("/k", &bytes));
        }

        #[test]
        fn anything_like_yaml_parses_or_is_refused(text in "[a-c:{}\\[\\],&* \n'\"!|>-]{0,60}") {
            if let Ok(parts) = parse("/k", text.as_bytes()) {
                let mut base = parts.clone();
                merge(&mut base, parts);
            }
        }
    }
}
