use super::*;
use crate::catalogue;
use crate::yaml;

/// What is wrong with `value`, by the part of JSON Schema that our schemas use. Patterns are left
/// to the parsers. An unknown keyword panics, so that nothing is silently unchecked.
fn complaints(schema: &Value, root: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
    let length = |value: &Value| match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        Value::Bool(_) | Value::Null | Value::Number(_) => 0,
    };
    for (keyword, wanted) in schema.as_object().unwrap() {
        let limit = || usize::try_from(wanted.as_u64().unwrap()).unwrap();
        let fits = match keyword.as_str() {
            "$schema" | "title" | "$defs" | "pattern" => true,
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                complaints(&root["$defs"][name], root, value, at, out);
                true
            }
            "type" => {
                let types: Vec<&Value> =
                    wanted.as_array().map_or_else(|| vec![wanted], |list| list.iter().collect());
                types.iter().any(|name| match name.as_str().unwrap() {
                    "array" => value.is_array(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "object" => value.is_object(),
                    "string" => value.is_string(),
                    other => panic!("type {other}"),
                })
            }
            "enum" => wanted.as_array().unwrap().contains(value),
            "minLength" if value.is_string() => length(value) >= limit(),
            "maxLength" if value.is_string() => length(value) <= limit(),
            "minItems" if value.is_array() => length(value) >= limit(),
            "maxItems" if value.is_array() => length(value) <= limit(),
            "minProperties" if value.is_object() => length(value) >= limit(),
            "maxProperties" if value.is_object() => length(value) <= limit(),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
            | "maxProperties" => true,
            "minimum" => value.as_i64().is_none_or(|it| it >= wanted.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|it| it <= wanted.as_i64().unwrap()),
            "anyOf" => wanted.as_array().unwrap().iter().any(|one| {
                let mut inner = Vec::new();
                complaints(one, root, value, at, &mut inner);
                inner.is_empty()
            }),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    complaints(wanted, root, item, &format!("{at}[{index}]"), out);
                }
                true
            }
            "required" => {
                let names = wanted.as_array().unwrap();
                names.iter().all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        complaints(schema, root, field, &format!("{at}.{name}"), out);
                    }
                }
                true
            }
            "additionalProperties" if *wanted == false => {
                let known = |name: &String| schema["properties"].get(name).is_some();
                value.as_object().is_none_or(|map| map.keys().all(known))
            }
            "additionalProperties" => {
                for field in value.as_object().into_iter().flat_map(|map| map.values()) {
                    complaints(wanted, root, field, at, out);
                }
                true
            }
            other => panic!("keyword {other}"),
        };
        if !fits {
            out.push(format!("{at}: {keyword}"));
        }
    }
}

fn check(schema: &Value, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    complaints(schema, schema, &yaml::parse(text).unwrap(), "", &mut out);
    out
}

#[test]
fn every_built_in_file_fits_its_schema() {
    for (area, text) in catalogue::FILES {
        assert_eq!(check(&schema(), text), Vec::<String>::new(), "{area}");
    }
    assert_eq!(check(&profile_schema(), catalogue::NODE_PROFILE), Vec::<String>::new());
    let waiver = "- {rule: a.b, by: x, reason: y, until: 2027-01-31, nodes: 'w-*'}";
    assert_eq!(check(&waiver_schema(), waiver), Vec::<String>::new());
}

#[test]
fn the_schema_knows_every_kind_and_refuses_other_words() {
    let kinds = schema()["$defs"]["rule"]["properties"]["expect"]["properties"].clone();
    let names: Vec<&String> = kinds.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), KINDS.len());
    for name in KINDS {
        let closed = kinds[name]["additionalProperties"] == false;
        assert!(closed || name == "cel", "{name} falls through to the text of an expression");
    }
    for bad in [
        "- {id: a.b}",
        "- {id: a.b, severity: low, title: t, why: w, fix: f, references: [r], expect: {no: {}}}",
        "- {id: a.b, severity: low, title: t, why: w, fix: f, references: [], \
         expect: {module: {name: x, allowed: blocked}}}",
        "- {id: a.b, severity: odd, title: t, why: w, fix: f, references: [r], \
         expect: {module: {name: x, allowed: blocked}}}",
        "- {id: a.b, severity: low, title: t, why: w, fix: f, references: [r], \
         expect: {module: {name: x, allowed: blocked, what: y}}}",
    ] {
        assert!(!check(&schema(), bad).is_empty(), "{bad}");
    }
    let good = "- {id: a.b, severity: low, title: t, why: w, fix: f, references: [r], \
                expect: {module: {name: x, allowed: blocked}}}";
    assert!(check(&schema(), good).is_empty());
}

/// The words that the parsers take and those that the schema lists are the same: each rule below
/// uses every word of its kind.
#[test]
fn every_word_that_a_parser_takes_is_in_the_schema() {
    let comparators = "equals: 1, not_equals: 2, at_least: 1, at_most: 1h, one_of: [1], \
         none_of: [2], contains: [a], excludes: b, subset_of: [a], has_bits: 1, lacks_bits: '0x2', \
         matches: 'a*', version_at_least: '1.0', is: present, absent_is: fail, cannot_tell: x";
    let bodies = [
        ("fact", format!("{{path: host.init, same_as: host.role, {comparators}}}")),
        ("sysctl", format!("{{key: a.b, next_boot: ignored, {comparators}}}")),
        ("kubelet", format!("{{field: a, {comparators}}}")),
        ("kubelet_flag", format!("{{flag: a, {comparators}}}")),
        (
            "file",
            "{path: /a, mode: '0600', uid: 0, gid: [0, 1], parents: safe, absent: fail}".into(),
        ),
        (
            "socket",
            "{port: 1, ports: ['2-3', 4], except_ports: 5, protocol: tcp, allow: loopback, \
             owners: [a], except_owners: b}"
                .into(),
        ),
        ("module", "{name: a, allowed: [blocked, missing]}".into()),
        (
            "parameter",
            "{absent: [a], absent_values: {b: [c]}, present: [d], present_values: {e: [1]}}".into(),
        ),
        ("vulnerability", "{names: [a], except: [b]}".into()),
        ("mount", "{path: /a, options: [nodev], absent: pass}".into()),
        (
            "certificate",
            "{check: expiry, class: leaf, paths: [a], except_paths: [b], watched: [c], \
             except_watched: d, warning: {days: 1, life_percent: 2}, critical: {days: 1}}"
                .into(),
        ),
        ("cel", "'a == b'".into()),
    ];
    let written: Vec<&str> = bodies.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(written, KINDS);
    for (kind, body) in &bodies {
        let text = format!(
            "- {{id: a.b, severity: low, title: t, why: w, fix: f, references: [r], \
             when: [{{fact: host.init, reason: r, is: present}}], expect: {{{kind}: {body}}}}}"
        );
        crate::rule::parse_rules(&text).unwrap_or_else(|error| panic!("{kind}: {error:?}"));
        assert_eq!(check(&schema(), &text), Vec::<String>::new(), "{kind}");
    }
}
