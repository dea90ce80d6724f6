//! Kubelet: its process, and its configuration as it computes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::reading::Reading;
use crate::reading::Why;

/// Facts about the kubelet of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubelet {
    /// The process; absent when processes were visible and none is a kubelet.
    pub process: Reading<Process>,
    /// Files that make up the configuration, in the order in which they apply.
    pub sources: Vec<ConfigSource>,
    /// Every effective value by its path in `KubeletConfiguration`
    /// (`authentication.anonymous.enabled`), with its origin: flag, drop-in, file or default.
    /// Empty when there is no kubelet. Absent: no layer sets it and the default is "not set".
    /// Source: `KubeletConfiguration` v1beta1 and kubelet(1) flags.
    pub effective: BTreeMap<String, Reading<Value>>,
    /// Effective flags that are not part of `KubeletConfiguration`, by name without dashes
    /// (`kubeconfig`, `hostname-override`); values that identify one node are `*`.
    pub flags: BTreeMap<String, Reading<String>>,
    /// What the kubelet would refuse at its next start.
    pub refused: Vec<Why>,
}

/// The kubelet's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its executable; empty where it may not be seen.
    pub executable: String,
    /// Its arguments without the first; values that identify one node are `*`.
    pub arguments: Vec<String>,
    /// The user id it runs as.
    pub uid: u32,
}

/// A file that contributes to the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSource {
    /// Its path.
    pub path: String,
    /// `known` once merged; else why it was not.
    pub merged: Reading<String>,
}

/// A path that may name the kubelet's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expanded {
    /// No variable in it, or all of them known.
    Path(String),
    /// The kubelet names no such file: it does not run, or the setting is not set.
    Unset,
    /// Whether the kubelet names such a file could not be told.
    Unknown(Why),
}

impl Kubelet {
    /// Replaces `${kubelet.flags.NAME}` and `${kubelet.effective.FIELD}` in `pattern` by what this
    /// kubelet uses. At most one variable, at the start.
    #[must_use]
    pub fn expand(&self, pattern: &str) -> Expanded {
        let Some(rest) = pattern.strip_prefix("${kubelet.") else {
            return Expanded::Path(pattern.to_owned());
        };
        let Some((variable, tail)) = rest.split_once('}') else {
            return Expanded::Path(pattern.to_owned());
        };
        let value = match variable.split_once('.') {
            Some(("flags", name)) => self.flags.get(name).cloned(),
            Some(("effective", field)) => self.effective.get(field).cloned().map(|reading| {
                reading.and_then(|value| match value.as_str() {
                    Some(text) => Ok(text.to_owned()),
                    None => Err(Why::new(
                        crate::WhyKind::Malformed,
                        format!("{field} is {value}, not a path"),
                    )),
                })
            }),
            Some(_) | None => None,
        };
        match value {
            Some(Reading::Known { value, .. }) if !value.is_empty() => {
                Expanded::Path(format!("{value}{tail}"))
            }
            Some(Reading::Unknown { why, .. }) => Expanded::Unknown(why),
            Some(Reading::Known { .. } | Reading::Absent { .. }) => Expanded::Unset,
            None => match &self.process {
                Reading::Unknown { why, .. } => Expanded::Unknown(why.clone()),
                Reading::Known { .. } | Reading::Absent { .. } => Expanded::Unset,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Origin;

    #[test]
    fn paths_that_the_kubelet_names_are_expanded() {
        let mut kubelet = Kubelet {
            process: Reading::absent(Origin::words("no process")),
            sources: Vec::new(),
            effective: BTreeMap::new(),
            flags: BTreeMap::new(),
            refused: Vec::new(),
        };
        let expand = |kubelet: &Kubelet, pattern| kubelet.expand(pattern);
        assert_eq!(expand(&kubelet, "/etc/passwd"), Expanded::Path("/etc/passwd".to_owned()));
        assert_eq!(expand(&kubelet, "${kubelet.flags.config}"), Expanded::Unset);
        kubelet.flags.insert(
            "config".to_owned(),
            Reading::known("/k.yaml".to_owned(), Origin::flag("--config")),
        );
        kubelet.effective.insert(
            "staticPodPath".to_owned(),
            Reading::known(Value::String("/m".to_owned()), Origin::path("/k.yaml")),
        );
        assert_eq!(
            expand(&kubelet, "${kubelet.flags.config}"),
            Expanded::Path("/k.yaml".to_owned())
        );
        assert_eq!(
            expand(&kubelet, "${kubelet.effective.staticPodPath}/*.yaml"),
            Expanded::Path("/m/*.yaml".to_owned())
        );
    }
}
