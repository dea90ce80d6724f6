//! JSON Schema (draft 2020-12) of policies.
//!
//! Written beside the parser for editors; the parser decides, because line and advice are its. Each
//! definition is a section of the parser under the same name, and a test holds their fields equal.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::gate::Gate;
use crate::policy::API_VERSION;
use crate::policy::KIND;

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let mut schema = section("a policy");
    if let Value::Object(map) = &mut schema {
        map.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        map.insert("title".to_owned(), "palisade reboot policy".into());
        let definitions: Map<String, Value> = SECTIONS
            .iter()
            .filter(|name| **name != "a policy")
            .map(|name| (key(name), section(name)))
            .collect();
        map.insert("$defs".to_owned(), definitions.into());
    }
    schema
}

/// Every section by the name that the parser gives it.
const SECTIONS: &[&str] = &[
    "a blocking pod",
    "a condition",
    "a freeze",
    "a policy",
    "a pool",
    "a selector",
    "a topology cap",
    "a window",
    "the alert gate",
    "the alert source",
    "the assumed durations",
    "the back-off",
    "the canary",
    "the cluster",
    "the control plane",
    "the deadlines",
    "the drain",
    "the failure budget",
    "the waves",
];

/// The key of a definition: its name without the article, joined.
fn key(name: &str) -> String {
    let bare = name.split_once(' ').map_or(name, |(_, bare)| bare);
    bare.replace(' ', "-")
}

fn to(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{}", key(name))})
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn words(choices: &[&str]) -> Value {
    json!({"enum": choices})
}

fn number(least: u32, most: u32) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// An object with these fields and no others.
fn closed(fields: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// The schema of one section.
fn section(name: &str) -> Value {
    let flag = json!({"type": "boolean"});
    let amount = json!({
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^(100|[1-9]?[0-9])%$"},
        ],
    });
    let duration = json!({
        "anyOf": [
            {"const": 0},
            {"type": "string", "pattern": "^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"},
        ],
    });
    let reason = json!({"type": "string", "minLength": 1, "maxLength": 256});
    let text = json!({"type": "string", "minLength": 1});
    let label_name =
        json!({"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"});
    let clock = json!({"type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?|24:00(:00)?)$"});
    let wall_time =
        json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:]{5,8})?$"});
    match name {
        "a policy" => closed(
            &[
                ("apiVersion", json!({"const": API_VERSION})),
                ("kind", json!({"const": KIND})),
                ("cluster", to("the cluster")),
                ("pools", list(&to("a pool"))),
            ],
            &["apiVersion", "kind"],
        ),
        "the cluster" => closed(
            &[
                ("maxUnavailable", amount),
                ("paused", reason),
                ("freezes", list(&to("a freeze"))),
                ("controlPlane", to("the control plane")),
                ("deadManPercent", number(1, 100)),
                ("calm", duration),
                ("singleNode", flag),
                ("nodeLease", label_name),
                ("alertSource", to("the alert source")),
            ],
            &[],
        ),
        "the control plane" => {
            closed(&[("selector", to("a selector")), ("allowSmallEtcd", flag)], &[])
        }
        "a pool" => {
            let soft: Vec<&str> =
                Gate::ALL.iter().filter(|gate| !gate.is_hard()).map(|gate| gate.word()).collect();
            closed(
                &[
                    ("name", label_name),
                    ("selector", to("a selector")),
                    ("mode", words(&["report", "plan", "approve", "auto"])),
                    ("paused", reason),
                    ("maxUnavailable", amount.clone()),
                    ("perZone", amount),
                    ("zonesAtOnce", number(0, 1_000)),
                    ("topology", list(&to("a topology cap"))),
                    ("windows", json!({"type": "array", "minItems": 1, "items": to("a window")})),
                    ("freezes", list(&to("a freeze"))),
                    ("waves", to("the waves")),
                    ("failureBudget", to("the failure budget")),
                    ("stable", duration.clone()),
                    ("minimumInterval", duration.clone()),
                    ("mustBy", duration.clone()),
                    ("pastMustBy", list(&words(&soft))),
                    ("foreignCordon", words(&["skip", "include"])),
                    ("allowOverrun", flag),
                    ("soak", duration),
                    ("assumed", to("the assumed durations")),
                    ("drain", to("the drain")),
                    ("deadlines", to("the deadlines")),
                    ("backoff", to("the back-off")),
                    ("blockingPods", list(&to("a blocking pod"))),
                    ("alerts", to("the alert gate")),
                    ("rebootMethod", words(&["auto", "logind", "signal"])),
                ],
                &["name", "selector"],
            )
        }
        "a topology cap" => {
            closed(&[("key", text), ("maxUnavailable", amount)], &["key", "maxUnavailable"])
        }
        "a window" => {
            let days = json!({"anyOf": [text, {"type": "array", "minItems": 1, "items": text}]});
            closed(
                &[("days", days), ("start", clock.clone()), ("end", clock), ("zone", text)],
                &["days", "start", "end", "zone"],
            )
        }
        "a freeze" => closed(
            &[("from", wall_time.clone()), ("to", wall_time), ("zone", text), ("reason", reason)],
            &["from", "to", "zone", "reason"],
        ),
        "the waves" => closed(
            &[
                ("canary", to("the canary")),
                ("percents", list(&number(1, 99))),
                ("bakeNode", duration.clone()),
                ("bakeWave", duration),
            ],
            &[],
        ),
        "the canary" => closed(&[("nodes", number(1, 1_000)), ("selector", to("a selector"))], &[]),
        "the failure budget" => {
            closed(&[("failures", number(1, 1_000)), ("within", duration)], &[])
        }
        "the assumed durations" => {
            closed(&[("drain", duration.clone()), ("reboot", duration)], &[])
        }
        "the back-off" => closed(&[("first", duration.clone()), ("longest", duration)], &[]),
        "the deadlines" => {
            let fields = [
                "claim",
                "cordon",
                "grant",
                "rebootWithoutHistory",
                "rebootLeast",
                "ready",
                "verify",
                "uncordon",
                "rollBack",
            ];
            closed(&fields.map(|field| (field, duration.clone())), &[])
        }
        "the drain" => {
            let selectors = list(&to("a selector"));
            closed(
                &[
                    ("unmanaged", words(&["block", "evict"])),
                    ("emptyDir", words(&["block", "evict"])),
                    ("cordonOnly", flag),
                    ("protected", selectors.clone()),
                    ("skip", selectors.clone()),
                    ("daemonSets", selectors),
                    ("onFailure", words(&["roll-back", "reboot"])),
                    ("slow", duration.clone()),
                    ("timeout", duration.clone()),
                    ("skipStuckAfter", duration.clone()),
                    ("grace", duration.clone()),
                    ("volumes", duration.clone()),
                    ("onVolumes", words(&["continue", "roll-back"])),
                    ("loadBalancer", duration),
                    ("noRoom", words(&["ignore", "block"])),
                    ("parallel", number(1, 50)),
                ],
                &[],
            )
        }
        "a blocking pod" => closed(
            &[("selector", to("a selector")), ("scope", words(&["node", "pool", "cluster"]))],
            &["selector"],
        ),
        "the alert gate" => {
            closed(&[("matchers", list(&text)), ("pending", words(&["ignore", "block"]))], &[])
        }
        "the alert source" => {
            let address = json!({"type": "string", "pattern": "^https?://[^/?#@ ]+(/[^?# ]*)?$"});
            closed(&[("alertmanager", address.clone()), ("prometheus", address), ("ca", text)], &[])
        }
        "a selector" => {
            let labels = json!({"type": "object", "additionalProperties": {"type": "string"}});
            closed(&[("matchLabels", labels), ("matchExpressions", list(&to("a condition")))], &[])
        }
        "a condition" => {
            let operators = words(&["In", "NotIn", "Exists", "DoesNotExist"]);
            let values = json!({"type": "array", "items": {"type": "string"}});
            closed(
                &[("key", text), ("operator", operators), ("values", values)],
                &["key", "operator"],
            )
        }
        _ => json!(false),
    }
}

#[cfg(test)]
mod tests;
