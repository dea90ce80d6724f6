//! The flags of kured.

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Flag,
    /// Values between commas; given again, more of them.
    List,
    /// One value each time it is given.
    Many,
    /// One value; the last one counts.
    One,
}

/// Every flag, and what it takes.
pub(super) const FLAGS: &[(&str, Takes)] = &[
    ("alert-filter-match-only", Takes::Flag),
    ("alert-filter-regexp", Takes::One),
    ("alert-firing-only", Takes::Flag),
    ("annotate-nodes", Takes::Flag),
    ("blocking-pod-selector", Takes::Many),
    ("concurrency", Takes::One),
    ("drain-delay", Takes::One),
    ("drain-grace-period", Takes::One),
    ("drain-pod-selector", Takes::One),
    ("drain-timeout", Takes::One),
    ("ds-name", Takes::One),
    ("ds-namespace", Takes::One),
    ("end-time", Takes::One),
    ("force-reboot", Takes::Flag),
    ("lock-annotation", Takes::One),
    ("lock-release-delay", Takes::One),
    ("lock-ttl", Takes::One),
    ("log-format", Takes::One),
    ("message-template-drain", Takes::One),
    ("message-template-reboot", Takes::One),
    ("message-template-uncordon", Takes::One),
    ("metrics-host", Takes::One),
    ("metrics-port", Takes::One),
    ("node-id", Takes::One),
    ("notify-url", Takes::One),
    ("period", Takes::One),
    ("post-reboot-node-labels", Takes::List),
    ("pre-reboot-node-labels", Takes::List),
    ("prefer-no-schedule-taint", Takes::One),
    ("prometheus-url", Takes::One),
    ("reboot-command", Takes::One),
    ("reboot-days", Takes::List),
    ("reboot-delay", Takes::One),
    ("reboot-method", Takes::One),
    ("reboot-sentinel", Takes::One),
    ("reboot-sentinel-command", Takes::One),
    ("reboot-signal", Takes::One),
    ("skip-wait-for-delete-timeout", Takes::One),
    ("slack-channel", Takes::One),
    ("slack-hook-url", Takes::One),
    ("slack-username", Takes::One),
    ("start-time", Takes::One),
    ("time-zone", Takes::One),
];

/// Flags that are known and the words they were given, or a word that is no flag of kured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A flag with its value; `true` for a flag without one.
    Known { flag: &'static str, value: String },
    /// A word.
    Unknown { flag: String },
}

/// The flag of this name.
pub(super) fn known(name: &str) -> Option<(&'static str, Takes)> {
    FLAGS.iter().find(|(known, _)| *known == name).copied()
}

/// The flags of a command line without its program.
pub(super) fn parse(arguments: &[String]) -> Vec<Value> {
    let mut values = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bare = argument.trim_start_matches('-');
        let (name, given) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let Some((flag, takes)) = known(name).filter(|_| argument.starts_with("--")) else {
            let flag = palisade_report::bound::clean_text(name);
            values.push(Value::Unknown { flag });
            continue;
        };
        let value = match (given, takes) {
            (Some(value), _) => value,
            (None, Takes::Flag) => "true".to_owned(),
            (None, Takes::List | Takes::Many | Takes::One) => {
                rest.next().cloned().unwrap_or_default()
            }
        };
        values.push(Value::Known { flag, value: unquoted(&value).to_owned() });
    }
    values
}

/// A value without quotes around it: in a manifest no shell takes away those of `--flag=""`, which
/// the manifests of releases suggest.
fn unquoted(value: &str) -> &str {
    let within = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

/// The flag that an environment variable sets, if it sets one.
pub(super) fn of_variable(variable: &str) -> Option<(&'static str, Takes)> {
    let name = variable.strip_prefix("KURED_")?.to_ascii_lowercase().replace('_', "-");
    known(&name)
}
