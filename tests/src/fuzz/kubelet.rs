//! The kubelet's command line and configuration, alone and as a whole host.

use std::collections::BTreeMap;

use palisade_inspect::MemoryHost;
use palisade_inspect::kubelet;
use palisade_inspect::kubelet::arguments;
use palisade_inspect::kubelet::config;
use palisade_inspect::kubelet::config::Content;
use palisade_inspect::kubelet::config::Tree;
use palisade_inspect::process;
use palisade_report::Report;
use palisade_report::bound::MAX_TEXT;
use serde_json::Value;

use super::node;
use super::shown;
use super::split;

/// Flags that were understood are understood again when written in the one plain form.
pub(super) fn arguments(bytes: &[u8]) {
    let line = arguments::parse_cmdline(bytes);
    assert!(line.flags.len() <= arguments::MAX_ARGUMENTS);
    for why in &line.refused {
        shown(&why.detail, MAX_TEXT);
    }
    let plain: Vec<String> =
        line.flags.iter().map(|flag| format!("--{}={}", flag.name, flag.value)).collect();
    assert_eq!(arguments::parse(&plain).flags, line.flags);
}

pub(super) fn duration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Some(nanoseconds) = kubelet::parse_duration(&text) else { return };
    assert_eq!(kubelet::parse_duration(&format!("{nanoseconds}ns")), Some(nanoseconds));
    if let Some(negative) = nanoseconds.checked_neg()
        && !text.starts_with(['-', '+'])
    {
        assert_eq!(kubelet::parse_duration(&format!("-{text}")), Some(negative));
    }
}

/// The tree without places.
fn value(parts: &BTreeMap<String, Tree>, depth: usize) -> Value {
    assert!(depth <= config::MAX_DEPTH, "deeper than {}", config::MAX_DEPTH);
    let part = |tree: &Tree| match &tree.content {
        Content::Leaf(value) => value.clone(),
        Content::Object(parts) => value(parts, depth + 1),
    };
    parts.iter().map(|(key, tree)| (key.clone(), part(tree))).collect()
}

/// Whether both hold the same, apart from how a fraction was rounded.
fn agree(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agree(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| agree(a, b)))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a == b || (a - b).abs() <= a.abs() * 1e-9,
                _ => false,
            }
        }
        (one, other) => one == other,
    }
}

/// Reading twice says the same, what is refused says where and not what, and what is JSON reads as
/// a reader of JSON reads it.
pub(super) fn config(bytes: &[u8]) {
    match config::parse("/k", bytes) {
        Ok(parts) => {
            assert_eq!(config::parse("/k", bytes).as_ref(), Ok(&parts));
            let value = value(&parts, 1);
            if let Ok(json @ Value::Object(_)) = serde_json::from_slice::<Value>(bytes) {
                assert!(agree(&value, &json), "{value} is not {json}");
            }
        }
        Err(why) => {
            shown(&why.detail, MAX_TEXT);
            assert!(why.detail.starts_with("/k"), "{why}");
        }
    }
}

/// RFC 7396: a patch that was applied changes nothing when applied again, and leaves no null of its
/// own behind.
pub(super) fn merge(bytes: &[u8]) {
    let mut trees = Vec::new();
    for (at, part) in split(bytes).into_iter().take(4).enumerate() {
        let Ok(parts) = config::parse(&format!("/{at}"), part) else { return };
        trees.push(parts);
    }
    let mut trees = trees.into_iter();
    let Some(mut base) = trees.next() else { return };
    for patch in trees {
        config::merge(&mut base, patch.clone());
        let once = base.clone();
        config::merge(&mut base, patch);
        assert_eq!(base, once);
    }
    value(&base, 1);
}

/// The whole reader: arguments by lines, then the `--config` file, then drop-ins.
pub(super) fn host(bytes: &[u8]) {
    let mut parts = split(bytes).into_iter();
    let mut line = b"/usr/bin/kubelet\0--config=/k.yaml\0--config-dir=/k.d".to_vec();
    for word in parts.next().unwrap_or_default().split(|byte| *byte == b'\n') {
        line.push(0);
        line.extend_from_slice(word);
    }
    line.push(0);
    let mut host = MemoryHost::default()
        .file("/proc/1/comm", "systemd\n")
        .file("/proc/1/cmdline", "/sbin/init\0")
        .file("/proc/1/status", "Name:\tsystemd\nUid:\t0\t0\t0\t0\n")
        .link("/proc/1/exe", "/usr/lib/systemd/systemd")
        .file("/proc/9/comm", "kubelet\n")
        .file("/proc/9/cmdline", &line)
        .file("/proc/9/status", "Name:\tkubelet\nUid:\t0\t0\t0\t0\n")
        .link("/proc/9/exe", "/usr/bin/kubelet");
    for (at, part) in parts.take(8).enumerate() {
        let path = if at == 0 { "/k.yaml".to_owned() } else { format!("/k.d/{at}0.conf") };
        host = host.file(&path, part);
    }
    let processes = process::read(&host);
    let read = || Report { kubelet: Some(kubelet::read(&host, &processes)), ..Report::default() };
    node::sound(&read(), &read());
}
