//! The rules as documentation: a table for the README, and everything as JSON.

use serde_json::Value;
use serde_json::json;

use crate::profile::Profile;
use crate::rule::Rule;

/// The rules as a Markdown table: id, title, severity. The README holds this text, and a test
/// compares them.
#[must_use]
pub fn markdown(profile: &Profile) -> String {
    let mut out = String::from("| rule | what holds when it passes | severity |\n|-|-|-|\n");
    for rule in profile.rules() {
        let title = rule.title().replace('|', "\\|");
        out.push_str(&format!("| `{}` | {title} | {} |\n", rule.id(), rule.severity()));
    }
    out
}

/// The documentation of every rule: `{"profile", "digest", "rules": [{"id", …}]}`.
#[must_use]
pub fn documentation(profile: &Profile) -> Value {
    let rules: Vec<Value> = profile.rules().iter().map(|rule| document(rule)).collect();
    json!({ "profile": profile.name(), "digest": profile.digest(), "rules": rules })
}

/// The documentation of one rule, with what it expects and the facts that it reads.
#[must_use]
pub fn document(rule: &Rule) -> Value {
    // An entry is strings, lists and maps with string keys: it always has a JSON form.
    let mut value = serde_json::to_value(rule.entry()).unwrap_or(Value::Null);
    if let Value::Object(map) = &mut value {
        let reads: Vec<Value> = rule.reads().iter().map(|path| path.to_string().into()).collect();
        map.insert("area".to_owned(), rule.id().area().into());
        map.insert("reads".to_owned(), reads.into());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_in_the_table_and_in_the_documentation() {
        let profile = Profile::built_in();
        let table = markdown(&profile);
        assert_eq!(table.lines().count(), profile.rules().len() + 2);
        assert!(table.contains(
            "| `sysctl.kptr-restrict` | Kernel addresses are hidden from ordinary users | medium |"
        ));
        let documentation = documentation(&profile);
        let rules = documentation["rules"].as_array().unwrap();
        assert_eq!(rules.len(), profile.rules().len());
        for rule in rules {
            for field in ["id", "area", "severity", "title", "why", "fix", "references", "expect"] {
                assert!(!rule[field].is_null(), "{field}: {rule}");
            }
            assert!(rule["examples"].is_null());
        }
    }
}
