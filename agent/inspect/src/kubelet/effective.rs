//! The effective values: the flags on top of the layers, each with its origin.

use std::collections::BTreeMap;

use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::bound::clean_text;
use serde_json::Value;

use super::arguments::CommandLine;
use super::arguments::mask_userinfo;
use super::config;
use super::config::Content;
use super::fields::FIELDS;
use super::fields::Field;
use super::fields::GATES;
use super::fields::Kind;
use super::layers::Layers;
use super::layers::unfit_at;
use super::value;

/// Every field of the table, and every feature gate as `featureGates.NAME`.
///
/// `unset` is what a field is that nothing sets. What the kubelet would refuse about the flags
/// goes to `refused`.
pub(super) fn compute(
    layers: &Layers,
    line: &CommandLine,
    unset: &Reading<Value>,
    refused: &mut Vec<Why>,
) -> BTreeMap<String, Reading<Value>> {
    let mut effective = BTreeMap::new();
    for field in &FIELDS {
        let below = below(field, layers, unset);
        let occurrences = match field.flag {
            "" => Ok(None),
            flag => value::of_flag(field.kind, line.all(flag)),
        };
        let origin = Origin::flag(&format!("--{}", field.flag));
        let above = match occurrences {
            Ok(above) => above,
            Err(unfit) => {
                let why = Why::new(WhyKind::Malformed, format!("flag --{}: {unfit}", field.flag));
                refused.push(why.clone());
                effective.insert(field.path.to_owned(), Reading::unknown(why, origin));
                continue;
            }
        };
        if field.kind == Kind::Gates {
            gates(field, layers, &below, above.as_ref(), unset, &mut effective);
            continue;
        }
        let reading = match above {
            Some(value) => Reading::known(value, origin),
            None => below,
        };
        effective.insert(field.path.to_owned(), presentable(field, reading));
    }
    effective
}

/// What the layers below the flags make of a field.
fn below(field: &Field, layers: &Layers, unset: &Reading<Value>) -> Reading<Value> {
    let values = match &layers.values {
        Ok(values) => values,
        Err(why) => {
            let origin = Origin::words("the kubelet's configuration files");
            return Reading::unknown(why.clone(), origin);
        }
    };
    let Some(tree) = config::at(values, field.path) else { return unset.clone() };
    match value::of_tree(field.kind, tree) {
        Ok(Some(value)) => Reading::known(value, tree.origin.clone()),
        Ok(None) => unset.clone(),
        Err(unfit) => Reading::unknown(unfit_at(field, tree, unfit), tree.origin.clone()),
    }
}

/// Gates of all layers count together, each by itself; a flag beats a file.
fn gates(
    field: &Field,
    layers: &Layers,
    below: &Reading<Value>,
    above: Option<&Value>,
    unset: &Reading<Value>,
    effective: &mut BTreeMap<String, Reading<Value>>,
) {
    let mut add = |name: &str, reading| {
        effective.insert(clean_text(&format!("{}.{name}", field.path)), reading);
    };
    for (name, default) in GATES {
        add(
            name,
            match (below, unset) {
                (Reading::Unknown { .. }, _) => below.clone(),
                (_, Reading::Unknown { .. }) => unset.clone(),
                _ => Reading::known(default.into(), Origin::default_of("feature gate")),
            },
        );
    }
    let mut all = serde_json::Map::new();
    if let Some(Value::Object(parts)) = below.value() {
        for (name, value) in parts {
            let place = layers.values.as_ref().ok();
            let place = place.and_then(|values| config::at(values, field.path));
            let origin = match place.map(|tree| &tree.content) {
                Some(Content::Object(parts)) => parts.get(name).map(|part| part.origin.clone()),
                Some(Content::Leaf(_)) | None => None,
            };
            add(
                name,
                Reading::known(value.clone(), origin.unwrap_or_else(|| below.origin().clone())),
            );
            all.insert(name.clone(), value.clone());
        }
    }
    let flag = Origin::flag(&format!("--{}", field.flag));
    if let Some(Value::Object(parts)) = above {
        for (name, value) in parts {
            add(name, Reading::known(value.clone(), flag.clone()));
            all.insert(name.clone(), value.clone());
        }
    }
    let whole = match (below, above) {
        (Reading::Unknown { .. }, _) | (_, None) => below.clone(),
        (_, Some(_)) => Reading::known(Value::Object(all), flag),
    };
    effective.insert(field.path.to_owned(), whole);
}

/// Without what identifies one node or may be a secret; relative paths of flags and drop-ins made
/// whole.
fn presentable(field: &Field, reading: Reading<Value>) -> Reading<Value> {
    let reading = match field.kind {
        // An empty text is the kubelet's own way to say "not set".
        Kind::Path | Kind::Text if reading.value().and_then(Value::as_str) == Some("") => {
            return Reading::absent(reading.origin().clone());
        }
        Kind::Path => reading.map(|value| match value.as_str() {
            Some(path) if !path.starts_with('/') => format!("/{path}").into(),
            Some(_) | None => value,
        }),
        Kind::Boolean
        | Kind::Duration
        | Kind::Gates
        | Kind::Integer
        | Kind::List
        | Kind::Map { .. }
        | Kind::Text => reading,
    };
    match field.path {
        "address" | "healthzBindAddress" => reading.map(|value| match value.as_str() {
            Some("0.0.0.0" | "::" | "::1" | "127.0.0.1" | "localhost") | None => value,
            // An address of this node.
            Some(_) => "*".into(),
        }),
        "staticPodURL" => reading.map(|value| match value.as_str() {
            Some(url) => mask_userinfo(url).into(),
            None => value,
        }),
        _ => reading,
    }
}
