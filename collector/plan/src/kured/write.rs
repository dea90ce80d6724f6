//! The policy that comes nearest, as text, and a note for each flag.

use palisade_report::bound::clean_text;

use crate::kured::Fate;
use crate::kured::ImportError;
use crate::kured::Note;
use crate::kured::manifest::Manifest;
use crate::kured::read::clock;
use crate::kured::read::day;
use crate::kured::read::duration;
use crate::kured::read::negated;
use crate::kured::read::selector;
use crate::policy::API_VERSION;
use crate::policy::AlertMatcher;
use crate::policy::Comparison;
use crate::policy::KIND;
use crate::policy::Operator;
use crate::policy::Requirement;
use crate::policy::language::source::is_address;
use crate::window::Clock;
use crate::window::Weekday;
use crate::window::Zone;

/// Flags whose fate depends on nothing else.
const PLAIN: &[(&str, Fate, &str)] = &[
    ("annotate-nodes", Fate::Dropped, "the RebootRequest of a node has it all, with proofs"),
    (
        "drain-delay",
        Fate::Dropped,
        "a drain follows its cordon at once; `drain.loadBalancer` waits for load balancers",
    ),
    (
        "ds-name",
        Fate::Changed,
        "no lock is kept there, but while kured's is held nothing starts: it is found whatever its DaemonSet is called",
    ),
    (
        "ds-namespace",
        Fate::Changed,
        "no lock is kept there, but while kured's is held nothing starts: it is found whatever its DaemonSet is called",
    ),
    (
        "lock-annotation",
        Fate::Dropped,
        "only weave.works/kured-node-lock is looked at: under another name kured's lock holds nothing up here",
    ),
    (
        "lock-ttl",
        Fate::Dropped,
        "time frees no place: a node that does not return keeps it until a person decides or it is deleted",
    ),
    ("log-format", Fate::Dropped, "agents and collector write JSON"),
    (
        "message-template-drain",
        Fate::Dropped,
        "no messages are sent: Events of the node, the audit and alerts tell of a reboot",
    ),
    (
        "message-template-reboot",
        Fate::Dropped,
        "no messages are sent: Events of the node, the audit and alerts tell of a reboot",
    ),
    (
        "message-template-uncordon",
        Fate::Dropped,
        "no messages are sent: Events of the node, the audit and alerts tell of a reboot",
    ),
    (
        "metrics-host",
        Fate::Dropped,
        "metrics are served where the collector listens (`--listen`), at `/metrics`",
    ),
    (
        "metrics-port",
        Fate::Dropped,
        "metrics are served where the collector listens (`--listen`), at `/metrics`",
    ),
    (
        "node-id",
        Fate::Dropped,
        "the manifests tell agents the name of their node, and their token proves it",
    ),
    (
        "notify-url",
        Fate::Dropped,
        "no messages are sent: alerts come from the metrics (component `monitoring`)",
    ),
    ("period", Fate::Dropped, "agents report by themselves, each minute"),
    (
        "post-reboot-node-labels",
        Fate::Dropped,
        "no labels are set: watch `status.state` of RebootRequests",
    ),
    (
        "pre-reboot-node-labels",
        Fate::Dropped,
        "no labels are set: watch `status.state` of RebootRequests",
    ),
    ("prefer-no-schedule-taint", Fate::Dropped, "nodes that wait for a reboot are not tainted"),
    (
        "reboot-delay",
        Fate::Dropped,
        "a grant follows the drain at once, after everything was looked at again",
    ),
    (
        "reboot-sentinel-command",
        Fate::Dropped,
        "agents run no commands: they compare kernels and packages and read the distribution's own files",
    ),
    (
        "slack-channel",
        Fate::Dropped,
        "no messages are sent: alerts come from the metrics (component `monitoring`)",
    ),
    (
        "slack-hook-url",
        Fate::Dropped,
        "no messages are sent: alerts come from the metrics (component `monitoring`)",
    ),
    (
        "slack-username",
        Fate::Dropped,
        "no messages are sent: alerts come from the metrics (component `monitoring`)",
    ),
];

/// What is so whatever the flags are.
const ALWAYS: &[(Fate, &str)] = &[
    (
        Fate::Changed,
        "`mode: plan` only says what would happen; write `mode: auto` when kured is gone",
    ),
    (
        Fate::Changed,
        "nodes that are away for any reason count against `maxUnavailable`, not only those that are being rebooted",
    ),
    (
        Fate::Changed,
        "a node is uncordoned when a new boot, the expected kernel and the end of the reasons are proved; else it stays cordoned, and the pool halts (`failureBudget`)",
    ),
    (
        Fate::Changed,
        "reasons must be the same for ten minutes (`stable`), and a node reboots once for them and once a day (`minimumInterval`)",
    ),
    (
        Fate::Changed,
        "a drain is tried without effect before the cordon, and undone if it does not end in time (`drain.timeout`)",
    ),
    (
        Fate::Changed,
        "nodes of the control plane come last, one at a time, and never at the cost of etcd's quorum",
    ),
    (
        Fate::Mapped,
        "pods without a controller and pods with an emptyDir are evicted (`drain.unmanaged`, `drain.emptyDir`)",
    ),
    (
        Fate::Mapped,
        "a node that somebody cordoned is rebooted and stays cordoned (`foreignCordon: include`)",
    ),
];

/// The text of a policy; what became of each flag goes to `notes`.
pub(super) fn policy(manifest: &Manifest, notes: &mut Vec<Note>) -> Result<String, ImportError> {
    let mut draft =
        Draft { manifest, cluster: Vec::new(), pool: Vec::new(), drain: Vec::new(), notes };
    for (fate, text) in ALWAYS {
        draft.note("", *fate, text);
    }
    for (flag, fate, text) in PLAIN {
        draft.note_if_given(flag, *fate, text);
    }
    let nodes = draft.concurrency()?;
    draft.windows()?;
    draft.bake()?;
    draft.drain()?;
    draft.alerts()?;
    draft.pods()?;
    draft.method()?;
    draft.sentinel();
    let Draft { cluster, pool, drain, .. } = draft;
    let mut lines = vec![
        "# Imported from kured. What is different is told beside this text.".to_owned(),
        format!("apiVersion: {API_VERSION}"),
        format!("kind: {KIND}"),
        "cluster:".to_owned(),
        format!("  maxUnavailable: {nodes}"),
    ];
    lines.extend(cluster);
    lines.extend([
        "pools:".to_owned(),
        "  - name: kured".to_owned(),
        format!("    selector: {}", node_selector(manifest)),
        "    # Beside kured. When it is gone: auto.".to_owned(),
        "    mode: plan".to_owned(),
        format!("    maxUnavailable: {nodes}"),
        "    # kured knows no zones.".to_owned(),
        "    zonesAtOnce: 0".to_owned(),
        "    foreignCordon: include".to_owned(),
    ]);
    lines.extend(pool);
    lines.push("    drain:".to_owned());
    lines.extend(drain);
    lines.push(String::new());
    Ok(lines.join("\n"))
}

struct Draft<'m, 'n> {
    manifest: &'m Manifest,
    /// Lines of the cluster, of the pool and of its drain.
    cluster: Vec<String>,
    pool: Vec<String>,
    drain: Vec<String>,
    notes: &'n mut Vec<Note>,
}

impl Draft<'_, '_> {
    fn note(&mut self, flag: &str, fate: Fate, text: &str) {
        self.notes.push(Note { flag: flag.to_owned(), fate, text: text.to_owned() });
    }

    fn note_if_given(&mut self, flag: &'static str, fate: Fate, text: &str) {
        if self.manifest.last(flag).is_some() {
            self.note(flag, fate, text);
        }
    }

    fn number(&self, flag: &'static str) -> Result<Option<i64>, ImportError> {
        let Some(written) = self.manifest.last(flag) else { return Ok(None) };
        written.parse().map(Some).map_err(|_| malformed(flag, "a whole number", written))
    }

    fn duration(&self, flag: &'static str) -> Result<Option<i64>, ImportError> {
        let Some(written) = self.manifest.last(flag) else { return Ok(None) };
        duration(written).map(Some).ok_or_else(|| malformed(flag, "a duration of Go", written))
    }

    fn is_set(&self, flag: &'static str) -> Result<bool, ImportError> {
        match self.manifest.last(flag) {
            None => Ok(false),
            Some("true" | "TRUE" | "True" | "t" | "T" | "1") => Ok(true),
            Some("false" | "FALSE" | "False" | "f" | "F" | "0") => Ok(false),
            Some(written) => Err(malformed(flag, "true or false", written)),
        }
    }

    /// Nodes at once.
    fn concurrency(&mut self) -> Result<i64, ImportError> {
        let nodes = self.number("concurrency")?;
        if let Some(written) = nodes {
            if !(1..=i64::from(u32::MAX)).contains(&written) {
                return Err(malformed("concurrency", "a number above 0", &written.to_string()));
            }
            self.note(
                "concurrency",
                Fate::Mapped,
                "`maxUnavailable` of the pool and of the cluster",
            );
        }
        Ok(nodes.unwrap_or(1))
    }

    fn windows(&mut self) -> Result<(), ImportError> {
        let mut days = Vec::new();
        for written in self.manifest.all("reboot-days").flat_map(|days| days.split(',')) {
            let expected = "days such as mon or 1";
            days.push(day(written).ok_or_else(|| malformed("reboot-days", expected, written))?);
        }
        if days.is_empty() {
            days = Weekday::ALL.to_vec();
        }
        days.sort_unstable();
        days.dedup();
        let time = |flag: &'static str, default: &str| {
            let written = self.manifest.last(flag).unwrap_or(default);
            clock(written).ok_or_else(|| malformed(flag, "a time of day", written))
        };
        let start = time("start-time", "0:00")?;
        let end = time("end-time", "23:59:59")?;
        let written = self.manifest.last("time-zone").unwrap_or("UTC");
        let zone = Zone::named(written)
            .map_err(|_| malformed("time-zone", "a zone of the IANA database", written))?;
        let is_always =
            days.len() == Weekday::ALL.len() && start.secs() == 0 && end.secs() == 86_399;
        let hours = "`windows`; kured only looks when it starts, so `allowOverrun: true`";
        for (flag, text) in [
            ("time-zone", "`windows`, with the zone data that palisade brings"),
            ("reboot-days", "`windows`"),
            ("start-time", hours),
            ("end-time", hours),
        ] {
            let always = "no window is needed: it is always";
            self.note_if_given(flag, Fate::Mapped, if is_always { always } else { text });
        }
        if is_always {
            return Ok(());
        }
        let days: Vec<String> = days.iter().map(|day| format!("{day:?}").to_lowercase()).collect();
        let days = days.join(", ");
        let window = |start: &str, end: &str| {
            format!("      - {{days: [{days}], start: \"{start}\", end: \"{end}\", zone: {zone}}}")
        };
        // kured's last minute ends with its last second.
        let until = Clock::from_secs(end.secs().saturating_add(u32::from(end.secs() % 60 == 59)))
            .unwrap_or(end);
        let (shown, until) = (start.to_string(), until.to_string());
        if start == end {
            self.pool
                .push("    paused: the window of kured lasts a second, choose another".to_owned());
            self.note(
                "end-time",
                Fate::Changed,
                "it is `start-time`, which is a window of a second: the pool is paused",
            );
            return Ok(());
        }
        self.pool.push("    windows:".to_owned());
        if start < end {
            self.pool.push(window(&shown, &until));
        } else {
            // kured asks for the day of the week of the moment, not of the window's beginning.
            self.pool.push(window(&shown, "24:00"));
            if until != "00:00" {
                self.pool.push(window("00:00", &until));
            }
            self.note("start-time", Fate::Changed, "kured takes both ends of a night over midnight from the days themselves, so they are two windows; one from the evening on is probably meant");
        }
        self.pool.push("    allowOverrun: true".to_owned());
        Ok(())
    }

    fn bake(&mut self) -> Result<(), ImportError> {
        let Some(secs) = self.duration("lock-release-delay")? else { return Ok(()) };
        if secs == 0 {
            self.note("lock-release-delay", Fate::Mapped, "nothing is waited for after a reboot");
            return Ok(());
        }
        self.pool.push(format!(
            "    waves: {{canary: {{nodes: 1}}, percents: [], bakeNode: {secs}s, bakeWave: 0s}}"
        ));
        let text = "`waves.bakeNode`, which begins when the node is proved well and uncordoned";
        self.note("lock-release-delay", Fate::Changed, text);
        Ok(())
    }

    fn drain(&mut self) -> Result<(), ImportError> {
        self.drain.push("      unmanaged: evict".to_owned());
        self.drain.push("      emptyDir: evict".to_owned());
        match self.duration("drain-timeout")? {
            Some(0) => {
                let text = "kured drains for ever; after `drain.timeout`, an hour, the node is rolled back and tried again later";
                self.note("drain-timeout", Fate::Changed, text);
            }
            Some(secs) => {
                self.drain.push(format!("      timeout: {secs}s"));
                self.drain.push(format!("      slow: {}s", secs.min(600)));
                self.note("drain-timeout", Fate::Mapped, "`drain.timeout`");
            }
            None => {}
        }
        match self.number("drain-grace-period")? {
            Some(0) => {
                let text =
                    "0 would kill pods at once, which is not offered: each has its own period";
                self.note("drain-grace-period", Fate::Dropped, text);
            }
            Some(secs) if secs > 0 => {
                self.drain.push(format!("      grace: {secs}s"));
                self.note("drain-grace-period", Fate::Mapped, "`drain.grace`");
            }
            Some(_) => self.note("drain-grace-period", Fate::Mapped, "each pod has its own period"),
            None => {}
        }
        match self.number("skip-wait-for-delete-timeout")? {
            Some(secs) if secs > 0 => {
                self.drain.push(format!("      skipStuckAfter: {secs}s"));
                self.note("skip-wait-for-delete-timeout", Fate::Mapped, "`drain.skipStuckAfter`");
            }
            Some(_) => {
                let text = "every pod is waited for, up to `drain.timeout`";
                self.note("skip-wait-for-delete-timeout", Fate::Mapped, text);
            }
            None => {}
        }
        if self.is_set("force-reboot")? {
            self.drain.push("      onFailure: reboot".to_owned());
            let text =
                "`drain.onFailure: reboot`, which is audited and never done to the control plane";
            self.note("force-reboot", Fate::Changed, text);
        } else {
            let text = "`drain.onFailure: roll-back`: what was begun is undone, and the node is tried again later";
            self.note_if_given("force-reboot", Fate::Mapped, text);
        }
        if let Some(written) = self.manifest.last("drain-pod-selector")
            && !written.is_empty()
        {
            let requirements = selector(written)
                .ok_or_else(|| malformed("drain-pod-selector", "a label selector", written))?;
            self.drain.push("      skip:".to_owned());
            // Whatever fails one condition is left where it is.
            for requirement in &requirements {
                let left = expressions(&[negated(requirement)]);
                self.drain.push(format!("        - {left}"));
            }
            let text = "`drain.skip`, which names the pods that are left instead of those that go";
            self.note("drain-pod-selector", Fate::Mapped, text);
        } else {
            self.note_if_given("drain-pod-selector", Fate::Mapped, "all pods are drained");
        }
        Ok(())
    }

    fn alerts(&mut self) -> Result<(), ImportError> {
        let pattern = self.manifest.last("alert-filter-regexp").filter(|it| !it.is_empty());
        let is_only = self.is_set("alert-filter-match-only")?;
        let is_firing = self.is_set("alert-firing-only")?;
        let url = self.manifest.last("prometheus-url").filter(|it| !it.is_empty());
        let Some(url) = url else {
            for flag in ["alert-filter-regexp", "alert-filter-match-only", "alert-firing-only"] {
                self.note_if_given(
                    flag,
                    Fate::Dropped,
                    "kured asks for no alerts without --prometheus-url",
                );
            }
            self.note_if_given("prometheus-url", Fate::Mapped, "no alerts are asked for");
            return Ok(());
        };
        if !is_address(url) {
            return Err(malformed("prometheus-url", "an address without a user", url));
        }
        self.cluster.push("  alertSource:".to_owned());
        self.cluster.push(format!("    prometheus: {}", quoted(url)));
        if url.starts_with("https:") {
            self.cluster.push("    ca: /etc/palisade/monitoring/ca.crt".to_owned());
        }
        let text = "`cluster.alertSource`: add `alertmanager` so that alerts that are silenced or inhibited do not block; `https` needs the file of its authorities in `ca`";
        self.note("prometheus-url", Fate::Changed, text);
        self.pool.push("    alerts:".to_owned());
        if let Some(pattern) = pattern {
            let comparison = if is_only { Comparison::Matches } else { Comparison::NotMatches };
            // kured looks for the pattern anywhere in the name, Alertmanager at all of it.
            let value = format!(".*(?:{pattern}).*");
            let matcher = AlertMatcher { name: "alertname".to_owned(), comparison, value };
            self.pool.push(format!("      matchers: [{}]", quoted(&matcher.to_string())));
            self.note("alert-filter-regexp", Fate::Mapped, "`alerts.matchers`");
        }
        let text =
            "`alerts.matchers`: the pattern names the alerts that block, not those that do not";
        self.note_if_given(
            "alert-filter-match-only",
            Fate::Mapped,
            if is_only { text } else { "`alerts.matchers`" },
        );
        let pending = if is_firing { "ignore" } else { "block" };
        self.pool.push(format!("      pending: {pending}"));
        self.note_if_given("alert-firing-only", Fate::Mapped, "`alerts.pending`");
        Ok(())
    }

    fn pods(&mut self) -> Result<(), ImportError> {
        let mut written = self.manifest.all("blocking-pod-selector").peekable();
        if written.peek().is_none() {
            return Ok(());
        }
        self.pool.push("    blockingPods:".to_owned());
        for text in written {
            let requirements = selector(text)
                .ok_or_else(|| malformed("blocking-pod-selector", "a label selector", text))?;
            let selector = expressions(&requirements);
            self.pool.push(format!("      - {{selector: {selector}, scope: node}}"));
        }
        self.note("blocking-pod-selector", Fate::Mapped, "`blockingPods` on the node itself");
        Ok(())
    }

    fn method(&mut self) -> Result<(), ImportError> {
        match self.manifest.last("reboot-method") {
            None => {}
            Some("command") => {
                let text = "`rebootMethod: auto`: process 1 is signalled or logind asked, as the node's agent is deployed; no command is run";
                self.note("reboot-method", Fate::Changed, text);
            }
            Some("signal") => {
                self.pool.push("    rebootMethod: signal".to_owned());
                let text =
                    "`rebootMethod: signal`, which is how the component `reboot` deploys agents";
                self.note("reboot-method", Fate::Mapped, text);
            }
            Some(other) => return Err(malformed("reboot-method", "command or signal", other)),
        }
        let is_usual = |it: &str| {
            matches!(it, "/bin/systemctl reboot" | "/usr/bin/systemctl reboot" | "systemctl reboot")
        };
        if let Some(command) = self.manifest.last("reboot-command") {
            let (fate, text) = if is_usual(command) {
                (
                    Fate::Changed,
                    "process 1 is signalled or logind asked, as the node's agent is deployed; no command is run",
                )
            } else {
                (
                    Fate::Dropped,
                    "no command is run: what else it does must happen in a unit of the host that stops at shutdown",
                )
            };
            self.note("reboot-command", fate, text);
        }
        if let Some(signal) = self.number("reboot-signal")? {
            let (fate, text) = if signal == 39 {
                (Fate::Mapped, "the same signal, to process 1")
            } else {
                (Fate::Dropped, "only 39 is sent, which starts systemd's reboot target")
            };
            self.note("reboot-signal", fate, text);
        }
        Ok(())
    }

    fn sentinel(&mut self) {
        let Some(path) = self.manifest.last("reboot-sentinel") else { return };
        let is_usual = matches!(
            path,
            "/var/run/reboot-required" | "/run/reboot-required" | "/sentinel/reboot-required"
        );
        let (fate, text) = if is_usual {
            (Fate::Mapped, "agents read it, and kernels and packages besides")
        } else {
            (
                Fate::Dropped,
                "agents read the files of the distributions, and kernels and packages; not this one",
            )
        };
        self.note("reboot-sentinel", fate, text);
    }
}

fn malformed(flag: &'static str, expected: &'static str, written: &str) -> ImportError {
    ImportError::Value { flag, expected, written: clean_text(written) }
}

/// Text as YAML takes it whatever is in it: JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn node_selector(manifest: &Manifest) -> String {
    let labels: Vec<String> = manifest
        .node_selector
        .iter()
        .map(|(key, value)| format!("{}: {}", quoted(key), quoted(value)))
        .collect();
    if labels.is_empty() {
        "{}".to_owned()
    } else {
        format!("{{matchLabels: {{{}}}}}", labels.join(", "))
    }
}

fn expressions(requirements: &[Requirement]) -> String {
    let shown: Vec<String> = requirements
        .iter()
        .map(|Requirement { key, operator, values }| {
            let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            let values = match operator {
                Operator::DoesNotExist | Operator::Exists => String::new(),
                Operator::In | Operator::NotIn => format!(", values: [{}]", values.join(", ")),
            };
            format!("{{key: {}, operator: {operator:?}{values}}}", quoted(key))
        })
        .collect();
    format!("{{matchExpressions: [{}]}}", shown.join(", "))
}
