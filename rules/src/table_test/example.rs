//! A report out of an example: fact paths and values laid over a report that knows nothing.
//!
//! Values are wrapped as the report has them: where it has a reading, `x` becomes known `x`. Lists
//! and maps of larger things (files, listeners, certificates) have a harmless entry beneath, so an
//! example names only what matters. What comes out must be a report in its own types, so a rule
//! cannot name a fact that no reader has.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_report::Report;
use palisade_report::SectionName;
use serde_json::Value;
use serde_json::json;

use crate::Facts;

/// A report in the making: each section's JSON.
#[derive(Clone, Debug)]
pub(crate) struct Example(BTreeMap<SectionName, Value>);

impl Example {
    pub(crate) fn build(facts: &BTreeMap<String, Value>) -> Result<Self, String> {
        let mut example = Self::nothing();
        for (path, value) in facts {
            let (node, rest, at) = example.section(path)?;
            lay(node, rest, &at, value).map_err(|why| format!("{path}: {why}"))?;
        }
        let mut report = Report::default();
        for (name, section) in &example.0 {
            let bytes = serde_json::to_vec(section).unwrap();
            report.set(*name, &bytes).map_err(|error| format!("{name}: {}", error.source))?;
        }
        Ok(example)
    }

    /// A report that was made without finding anything.
    fn nothing() -> Self {
        let absent = absent();
        let readings = |names: &[&str]| -> Value {
            let fields = names.iter().map(|name| ((*name).to_owned(), absent.clone()));
            Value::Object(fields.collect())
        };
        let sections = [
            (
                SectionName::Host,
                readings(&[
                    "os",
                    "architecture",
                    "distribution",
                    "role",
                    "cpus",
                    "memory_mib",
                    "init",
                    "swap",
                    "cgroup",
                    "mounts",
                ]),
            ),
            (
                SectionName::Boot,
                with(
                    readings(&[
                        "hostname",
                        "boot_id",
                        "booted_at",
                        "command_line",
                        "reboot_flag_written_at",
                        "kubelet_identity",
                    ]),
                    json!({"namespaces": {}}),
                ),
            ),
            (
                SectionName::Kernel,
                readings(&[
                    "release",
                    "build",
                    "installed",
                    "newest",
                    "boot_default",
                    "parameters",
                    "modules",
                    "taint",
                    "vulnerabilities",
                    "smt",
                    "lockdown",
                    "lsm",
                    "apparmor",
                    "selinux_enforcing",
                    "livepatch",
                    "module_signatures",
                    "secure_boot",
                ]),
            ),
            (
                SectionName::Reboot,
                json!({
                    "need": {"answer": "not-needed"}, "action": "none", "reasons": [],
                    "signals": {}, "package_manager": absent,
                }),
            ),
            (SectionName::Sysctls, json!({"keys": {}})),
            (SectionName::Sockets, readings(&["listeners"])),
            (
                SectionName::Kubelet,
                json!({
                    "process": absent, "sources": [], "effective": {}, "flags": {}, "refused": [],
                }),
            ),
            (SectionName::Certificates, json!({"files": {}, "left_out": []})),
            (SectionName::Files, json!({"paths": {}})),
            (
                SectionName::Updates,
                readings(&[
                    "manager",
                    "packages",
                    "automatic",
                    "automatic_reboot",
                    "unsigned_repositories",
                ]),
            ),
        ];
        let known = |(name, section)| (name, with(section, json!({"state": "known"})));
        Self(sections.into_iter().map(known).collect())
    }

    pub(crate) fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for (name, section) in &self.0 {
            facts.insert(*name, Arc::new(section.clone()));
        }
        facts
    }

    /// Makes a fact unknown, as a reader would that was turned away.
    pub(super) fn set_unknown(&mut self, path: &str) {
        // Why a file of certificates is watched is known even if it cannot be read.
        if let Some(file) = path.strip_prefix("certificates.files.") {
            let files = self.0.get_mut(&SectionName::Certificates).unwrap();
            files["files"][file]["certificates"] = unknown();
            return;
        }
        self.force(path, &unknown());
    }

    pub(super) fn set_section_unknown(&mut self, name: SectionName) {
        self.0.insert(name, unknown());
    }

    /// Sets a fact, whatever the report's types say.
    pub(super) fn force(&mut self, path: &str, value: &Value) {
        let (node, rest, at) = self.section(path).unwrap();
        lay(node, rest, &at, value).unwrap();
    }

    fn section<'p>(&mut self, path: &'p str) -> Result<(&mut Value, &'p str, String), String> {
        let (name, rest) = path.split_once('.').ok_or("a fact is in a section")?;
        let section = name.parse().map_err(|error| format!("{path}: {error}"))?;
        Ok((self.0.get_mut(&section).unwrap(), rest, name.to_owned()))
    }
}

fn absent() -> Value {
    json!({"state": "absent", "origin": "example"})
}

fn unknown() -> Value {
    json!({
        "state": "unknown",
        "why": {"kind": "permission-denied", "detail": "EACCES"},
        "origin": "example",
    })
}

fn known(value: Value) -> Value {
    json!({"state": "known", "value": value, "origin": "example"})
}

fn is_reading(value: &Value) -> bool {
    let state = value.get("state").and_then(Value::as_str).unwrap_or_default();
    match state {
        "absent" | "unknown" => true,
        "known" => value.get("value").is_some(),
        _ => false,
    }
}

/// The first map with the entries of the second.
fn with(mut below: Value, above: Value) -> Value {
    if let (Value::Object(below), Value::Object(above)) = (&mut below, above) {
        below.extend(above);
    }
    below
}

/// Lays `value` at `rest` below `node`, which is at the path `at`.
fn lay(node: &mut Value, rest: &str, at: &str, value: &Value) -> Result<(), String> {
    if rest.is_empty() {
        *node = over(node, at, value);
        return Ok(());
    }
    if is_reading(node) {
        if node["state"] != "known" {
            *node = known(beneath(at).unwrap_or_else(|| json!({})));
        }
        return lay(&mut node["value"], rest, at, value);
    }
    let Value::Object(map) = node else { return Err(format!("{at} has no fields")) };
    let mut keys: BTreeSet<&str> = map.keys().map(String::as_str).collect();
    let added = new_key(at, rest);
    keys.extend(added);
    let fits = |key: &&str| {
        rest.strip_prefix(key).is_some_and(|after| after.is_empty() || after.starts_with('.'))
    };
    let key = keys.into_iter().filter(fits).max_by_key(|key| key.len());
    let key = key.ok_or_else(|| format!("{at} has no such fact"))?.to_owned();
    let after = rest.strip_prefix(&key).unwrap_or_default().trim_start_matches('.');
    let below = format!("{at}.{key}");
    let entry = map.entry(key).or_insert_with(|| new_entry(at));
    lay(entry, after, &below, value)
}

/// The key that a map whose keys are not fixed gets for `rest`.
fn new_key<'a>(at: &str, rest: &'a str) -> Option<&'a str> {
    let without = |suffixes: &[&str]| {
        suffixes.iter().find_map(|suffix| rest.strip_suffix(suffix)).unwrap_or(rest)
    };
    match at {
        "sysctls.keys" => Some(without(&[".running", ".next_boot"])),
        "host.mounts" => Some(without(&[".options", ".kind"])),
        "kubelet.effective"
        | "kubelet.flags"
        | "files.paths"
        | "certificates.files"
        | "kernel.modules"
        | "kernel.vulnerabilities"
        | "updates.packages"
        | "boot.kubelet_identity" => Some(rest),
        "boot.namespaces" | "reboot.signals" => rest.split('.').next(),
        _ => None,
    }
}

/// A new entry of such a map.
fn new_entry(at: &str) -> Value {
    match at {
        "sysctls.keys" => json!({"running": absent(), "next_boot": absent()}),
        "kernel.modules" | "kubelet.effective" | "kubelet.flags" | "files.paths" => absent(),
        _ => beneath_entry(at).unwrap_or_else(|| json!({})),
    }
}

/// What lies beneath the value at a path, so that an example may leave out what does not matter.
fn beneath(at: &str) -> Option<Value> {
    match at {
        "kubelet.process" => {
            Some(json!({"executable": "/usr/bin/kubelet", "arguments": [], "uid": 0}))
        }
        "host.os" => Some(json!({"id": "debian", "id_like": [], "version": "12", "name": "x"})),
        _ => beneath_entry(at.rsplit_once('.').map_or(at, |(parent, _)| parent))
            .or_else(|| at.starts_with("files.paths.").then(|| beneath_entry("files.paths"))?)
            .or_else(|| {
                at.starts_with("certificates.files.")
                    .then(|| beneath_entry("certificates.files"))?
            })
            .or_else(|| at.starts_with("host.mounts.").then(|| beneath_entry("host.mounts"))?),
    }
}

fn beneath_entry(map: &str) -> Option<Value> {
    match map {
        "files.paths" => Some(json!({"kind": "regular", "mode": "0600", "uid": 0, "gid": 0})),
        "host.mounts" => Some(json!({"kind": "ext4", "options": []})),
        "certificates.files" => Some(json!({
            "watched": ["setting"], "expected": "optional",
            "resolved": absent(), "certificates": absent(),
        })),
        _ => None,
    }
}

/// What lies beneath each item of a list.
fn beneath_item(list: &str) -> Option<Value> {
    match list {
        "sockets.listeners" => Some(json!({
            "protocol": "tcp", "address": "0.0.0.0", "port": 1, "uid": 0,
            "owner": known(json!({"name": "example"})),
        })),
        "certificates" => Some(json!({
            "fingerprint": "0".repeat(64), "index": 0, "subject": "CN=example",
            "issuer": "CN=authority", "serial": "1", "names": [],
            "key": {"kind": "ec", "bits": 256}, "signature": "ecdsa-with-SHA256",
            "not_before": known(json!(1_790_000_000)), "not_after": known(json!(1_900_000_000)),
            "class": "leaf", "usages": [], "key_match": known(json!("matches")),
            "chain": known(json!("verified")),
        })),
        _ => None,
    }
}

/// `value` in the form that the report has at `at`, where `node` is now.
fn over(node: &Value, at: &str, value: &Value) -> Value {
    if is_reading(value) {
        return value.clone();
    }
    let filled = match (value, beneath(at)) {
        (Value::Object(_), Some(below)) => fill(below, value),
        (Value::Array(items), _) => match beneath_item(at) {
            Some(below) => items.iter().map(|item| fill(below.clone(), item)).collect(),
            None => value.clone(),
        },
        (_, _) => value.clone(),
    };
    if is_reading(node) { known(filled) } else { filled }
}

/// Lays the fields of an object over those beneath it, readings where there are readings.
fn fill(below: Value, value: &Value) -> Value {
    let (Value::Object(mut below), Value::Object(fields)) = (below, value) else {
        return value.clone();
    };
    for (name, field) in fields {
        let items = match (field, beneath_item(name)) {
            (Value::Array(items), Some(item)) => {
                items.iter().map(|it| fill(item.clone(), it)).collect()
            }
            (_, _) => field.clone(),
        };
        let is_reading_below = below.get(name).is_some_and(is_reading);
        let laid = if is_reading_below && !is_reading(&items) { known(items) } else { items };
        below.insert(name.clone(), laid);
    }
    Value::Object(below)
}
