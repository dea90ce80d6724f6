//! The schema against the parser and against the files that are shipped.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::*;
use crate::policy::language::known;

const GOLDEN: &str = include_str!("../../../data/policy.schema.json");

/// What is wrong with `value`, by the part of JSON Schema that this schema uses. Patterns are left
/// to the parser. An unknown keyword panics, so that nothing is silently unchecked.
fn complaints(schema: &Value, root: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, wanted) in schema.as_object().unwrap() {
        let fits = match keyword.as_str() {
            "$schema" | "title" | "$defs" | "pattern" => true,
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                found.extend(complaints(&root["$defs"][name], root, value, at));
                true
            }
            "type" => match wanted.as_str().unwrap() {
                "array" => value.is_array(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64(),
                "object" => value.is_object(),
                "string" => value.is_string(),
                other => panic!("type {other}"),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minLength" => {
                value.as_str().is_none_or(|it| it.len() as u64 >= wanted.as_u64().unwrap())
            }
            "maxLength" => {
                value.as_str().is_none_or(|it| it.len() as u64 <= wanted.as_u64().unwrap())
            }
            "minItems" => {
                value.as_array().is_none_or(|it| it.len() as u64 >= wanted.as_u64().unwrap())
            }
            "minimum" => value.as_i64().is_none_or(|it| it >= wanted.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|it| it <= wanted.as_i64().unwrap()),
            "anyOf" => {
                let mut choices = wanted.as_array().unwrap().iter();
                choices.any(|one| complaints(one, root, value, at).is_empty())
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(complaints(wanted, root, item, &format!("{at}[{index}]")));
                }
                true
            }
            "required" => {
                let mut names = wanted.as_array().unwrap().iter();
                names.all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        found.extend(complaints(schema, root, field, &format!("{at}.{name}")));
                    }
                }
                true
            }
            "additionalProperties" if *wanted == false => {
                let is_known = |name: &String| schema["properties"].get(name).is_some();
                value.as_object().is_none_or(|map| map.keys().all(is_known))
            }
            "additionalProperties" => {
                for field in value.as_object().into_iter().flat_map(|map| map.values()) {
                    found.extend(complaints(wanted, root, field, at));
                }
                true
            }
            other => panic!("keyword {other}"),
        };
        if !fits {
            found.push(format!("{at}: {keyword}"));
        }
    }
    found
}

fn check(text: &str) -> Vec<String> {
    let schema = schema();
    complaints(&schema, &schema, &serde_saphyr::from_str(text).unwrap(), "")
}

#[test]
fn the_schema_and_the_parser_know_the_same_fields() {
    let schema = schema();
    let known: BTreeMap<&str, BTreeSet<&str>> = known(include_str!("../../../data/example.yaml"));
    let sections: Vec<&str> = known.keys().copied().collect();
    assert_eq!(sections, SECTIONS, "the example leaves out a section");
    for (name, fields) in known {
        let definition = if name == "a policy" { &schema } else { &schema["$defs"][key(name)] };
        let properties = definition["properties"].as_object().unwrap();
        let properties: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(properties, fields, "{name}");
    }
}

#[test]
fn shipped_policies_fit_the_schema_and_nonsense_does_not() {
    assert_eq!(check(include_str!("../../../data/default.yaml")), Vec::<String>::new());
    assert_eq!(check(include_str!("../../../data/example.yaml")), Vec::<String>::new());
    let head = "apiVersion: palisade.dev/v1alpha1\nkind: RebootPolicy\n";
    for bad in [
        "cluster: {maxUnavailable: -1}",
        "cluster: {deadManPercent: 101}",
        "cluster: {singleNode: 1}",
        "pools: [{name: a}]",
        "pools: [{name: a, selector: {}, mode: off}]",
        "pools: [{name: a, selector: {}, windows: []}]",
        "pools: [{name: a, selector: {tier: db}}]",
        "pools: [{name: a, selector: {}, pastMustBy: [hold]}]",
    ] {
        assert_ne!(check(&format!("{head}{bad}\n")), Vec::<String>::new(), "{bad}");
    }
    assert_ne!(check("kind: RebootPolicy\n"), Vec::<String>::new());
}

#[test]
fn the_schema_is_the_one_that_is_shipped() {
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    assert!(
        text == GOLDEN,
        "collector/plan/data/policy.schema.json is not what the code says; it should be:\n{text}"
    );
}
