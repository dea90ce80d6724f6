//! JSON Schema (draft 2020-12) of what people write: rule files, profiles, waivers.
//!
//! Written by hand beside the parsers, because the words of a kind are not one derived type. It
//! serves editors; the parsers decide. A test holds every built-in file to it.

use serde_json::Value;
use serde_json::json;

use crate::body::MAX_ITEMS;
use crate::expect::KINDS;
use crate::rule::MAX_PARAGRAPH;
use crate::rule::MAX_REFERENCES;
use crate::rule::MAX_RULES;
use crate::rule::MAX_TITLE;
use crate::waiver::MAX_REASON;
use crate::waiver::MAX_WAIVERS;
use crate::when::MAX_CONDITIONS;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of a rule file: a list of entries.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": DRAFT,
        "title": "palisade rule file",
        "type": "array",
        "maxItems": MAX_RULES,
        "items": {"$ref": "#/$defs/rule"},
        "$defs": definitions(),
    })
}

/// The schema of a profile.
#[must_use]
pub fn profile_schema() -> Value {
    let selector = closed(
        &[
            ("rules", list(json!({"$ref": "#/$defs/text"}))),
            ("areas", list(json!({"$ref": "#/$defs/text"}))),
            ("severities", list(json!({"$ref": "#/$defs/severity"}))),
        ],
        &[],
    );
    let change = closed(
        &[
            ("rule", json!({"$ref": "#/$defs/id"})),
            ("severity", json!({"$ref": "#/$defs/severity"})),
            ("expect", json!({"type": "object"})),
        ],
        &["rule"],
    );
    let mut schema = closed(
        &[
            ("name", json!({"type": "string", "minLength": 1, "maxLength": 64})),
            ("inherits", json!({"type": "string"})),
            ("include", json!({"type": "array", "items": selector})),
            ("exclude", json!({"type": "array", "items": selector})),
            ("overrides", json!({"type": "array", "items": change})),
            ("rules", json!({"type": "array", "items": {"$ref": "#/$defs/rule"}})),
        ],
        &["name"],
    );
    head(&mut schema, "palisade profile");
    schema
}

/// The schema of a file of waivers.
#[must_use]
pub fn waiver_schema() -> Value {
    let text = json!({"$ref": "#/$defs/text"});
    let words = json!({"type": "string", "minLength": 1, "maxLength": MAX_REASON});
    let waiver = closed(
        &[
            ("rule", text.clone()),
            ("nodes", text.clone()),
            ("subject", text),
            ("by", words.clone()),
            ("reason", words),
            ("until", json!({"type": "string", "minLength": 10, "maxLength": 20})),
        ],
        &["rule", "by", "reason", "until"],
    );
    let mut schema = json!({"type": "array", "maxItems": MAX_WAIVERS, "items": waiver});
    head(&mut schema, "palisade waivers");
    schema
}

fn head(schema: &mut Value, title: &str) {
    if let Value::Object(map) = schema {
        map.insert("$schema".to_owned(), DRAFT.into());
        map.insert("title".to_owned(), title.into());
        map.insert("$defs".to_owned(), definitions());
    }
}

/// An object with these fields and no others.
fn closed(fields: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn list(items: Value) -> Value {
    json!({"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": items})
}

/// One value, or a list of them.
fn some(item: Value) -> Value {
    json!({"anyOf": [item.clone(), list(item)]})
}

fn words(choices: &[&str]) -> Value {
    json!({"enum": choices})
}

/// Every comparator, see the module `compare`.
fn comparators() -> Vec<(&'static str, Value)> {
    let scalar = json!({"$ref": "#/$defs/scalar"});
    let bound = json!({"type": ["integer", "string"]});
    let bits = json!({"type": ["integer", "string"]});
    vec![
        ("equals", scalar.clone()),
        ("not_equals", scalar.clone()),
        ("at_least", bound.clone()),
        ("at_most", bound),
        ("one_of", some(scalar.clone())),
        ("none_of", some(scalar.clone())),
        ("contains", some(scalar.clone())),
        ("excludes", some(scalar.clone())),
        ("subset_of", some(scalar.clone())),
        ("has_bits", bits.clone()),
        ("lacks_bits", bits),
        ("matches", some(json!({"$ref": "#/$defs/text"}))),
        ("version_at_least", json!({"$ref": "#/$defs/text"})),
        ("is", words(&["present", "absent", "empty", "not-empty"])),
        ("absent_is", words(&["pass", "fail", "not-applicable"])),
        ("cannot_tell", some(scalar)),
    ]
}

fn compared(own: &[(&str, Value)], required: &[&str]) -> Value {
    let fields: Vec<(&str, Value)> = own.iter().cloned().chain(comparators()).collect();
    closed(&fields, required)
}

/// The words of one kind.
fn kind(name: &str) -> Value {
    let text = || json!({"$ref": "#/$defs/text"});
    let texts = || some(text());
    let absent = || words(&["pass", "fail", "not-applicable"]);
    let number = || json!({"type": "integer", "minimum": 0});
    let values = || json!({"type": "object", "additionalProperties": {"type": "array"}});
    let threshold = || {
        closed(
            &[
                ("days", number()),
                ("life_percent", json!({"type": "integer", "minimum": 0, "maximum": 100})),
            ],
            &[],
        )
    };
    match name {
        "fact" => {
            let others = [("because", text()), ("resting_on", text()), ("same_as", text())];
            compared(&[&[("path", text())], &others[..]].concat(), &["path"])
        }
        "sysctl" => {
            let next_boot = ("next_boot", words(&["judged", "ignored"]));
            compared(
                &[("key", text()), next_boot, ("unset", words(&["fail", "ignored"]))],
                &["key"],
            )
        }
        "kubelet" => compared(&[("field", text())], &["field"]),
        "kubelet_flag" => compared(&[("flag", text())], &["flag"]),
        "file" => closed(
            &[
                ("path", text()),
                ("mode", json!({"type": "string", "pattern": "^[0-7]{3,4}$"})),
                ("uid", some(number())),
                ("gid", some(number())),
                ("parents", words(&["safe"])),
                ("absent", absent()),
            ],
            &["path"],
        ),
        "socket" => {
            let ports = some(json!({"type": ["integer", "string"]}));
            closed(
                &[
                    ("port", ports.clone()),
                    ("ports", ports.clone()),
                    ("except_ports", ports),
                    ("protocol", words(&["tcp", "udp"])),
                    ("allow", words(&["none", "loopback", "any"])),
                    ("owners", texts()),
                    ("except_owners", texts()),
                ],
                &[],
            )
        }
        "module" => closed(
            &[
                ("name", text()),
                ("allowed", some(words(&["blocked", "built-in", "loadable", "loaded", "missing"]))),
            ],
            &["name", "allowed"],
        ),
        "parameter" => closed(
            &[
                ("absent", texts()),
                ("absent_values", values()),
                ("present", texts()),
                ("present_values", values()),
            ],
            &[],
        ),
        "vulnerability" => closed(&[("names", texts()), ("except", texts())], &[]),
        "mount" => closed(
            &[("path", text()), ("options", texts()), ("absent", absent())],
            &["path", "options"],
        ),
        "certificate" => closed(
            &[
                (
                    "check",
                    words(&[
                        "expiry",
                        "key-match",
                        "key-strength",
                        "chain",
                        "readable",
                        "validity",
                    ]),
                ),
                ("class", words(&["leaf", "authority", "any"])),
                ("paths", texts()),
                ("except_paths", texts()),
                ("watched", texts()),
                ("except_watched", texts()),
                ("warning", threshold()),
                ("critical", threshold()),
                ("rsa_bits", number()),
                ("ec_bits", number()),
                ("max_life_days", number()),
                ("self_signed", words(&["fail", "pass"])),
            ],
            &["check"],
        ),
        _ => text(),
    }
}

fn definitions() -> Value {
    let paragraph = json!({"type": "string", "minLength": 1, "maxLength": MAX_PARAGRAPH});
    let line = json!({"type": "string", "minLength": 1, "maxLength": MAX_TITLE});
    let kinds: serde_json::Map<String, Value> =
        KINDS.iter().map(|name| ((*name).to_owned(), kind(name))).collect();
    let facts = json!({"type": "object"});
    let also = closed(
        &[
            ("verdict", words(&["pass", "fail", "unknown", "not-applicable"])),
            ("facts", facts.clone()),
        ],
        &["verdict", "facts"],
    );
    let examples = closed(
        &[
            ("pass", facts.clone()),
            ("fail", facts),
            ("also", json!({"type": "array", "items": also})),
        ],
        &[],
    );
    let condition = compared(
        &[("fact", json!({"$ref": "#/$defs/text"})), ("reason", json!({"$ref": "#/$defs/text"}))],
        &["fact", "reason"],
    );
    let rule = closed(
        &[
            ("id", json!({"$ref": "#/$defs/id"})),
            ("severity", json!({"$ref": "#/$defs/severity"})),
            ("title", line.clone()),
            ("why", paragraph.clone()),
            ("fix", paragraph.clone()),
            ("may_break", paragraph.clone()),
            ("not_covered", paragraph),
            (
                "references",
                json!({
                    "type": "array", "minItems": 1, "maxItems": MAX_REFERENCES, "items": line,
                }),
            ),
            ("when", json!({"type": "array", "maxItems": MAX_CONDITIONS, "items": condition})),
            (
                "expect",
                json!({
                    "type": "object", "minProperties": 1, "maxProperties": 1,
                    "properties": kinds, "additionalProperties": false,
                }),
            ),
            ("examples", examples),
        ],
        &["id", "severity", "title", "why", "fix", "references", "expect"],
    );
    json!({
        "rule": rule,
        "id": {
            "type": "string", "maxLength": crate::finding::MAX_RULE_ID,
            "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        },
        "severity": {"enum": ["info", "low", "medium", "high", "critical"]},
        "scalar": {"type": ["boolean", "integer", "string"]},
        "text": {"type": "string", "minLength": 1, "maxLength": 256},
    })
}

#[cfg(test)]
mod tests;
