//! A manifest with one flag after the other.

use std::collections::BTreeSet;

use super::*;
use crate::kured::flag::FLAGS;
use crate::policy::Amount;
use crate::policy::ForeignCordon;
use crate::policy::Mode;
use crate::policy::Policy;
use crate::policy::Unmanaged;
use crate::window::Opening;

/// A DaemonSet as releases have it, with these arguments.
fn manifest(arguments: &[&str]) -> String {
    let mut text = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: kured}\nspec:\n  template:\n    \
                    spec:\n      nodeSelector: {kubernetes.io/os: linux}\n      containers:\n        \
                    - name: kured\n          image: ghcr.io/kubereboot/kured:1.23.0\n          \
                    command: [/usr/bin/kured]\n          env:\n            - name: KURED_NODE_ID\n              \
                    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}\n          args:\n"
        .to_owned();
    for argument in arguments {
        text.push_str(&format!("            - {}\n", serde_json::json!(argument)));
    }
    if arguments.is_empty() {
        text.push_str("            []\n");
    }
    text
}

fn imported(arguments: &[&str]) -> Import {
    import(&manifest(arguments)).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// The notes of a flag.
fn notes<'i>(import: &'i Import, flag: &str) -> Vec<&'i Note> {
    import.notes.iter().filter(|note| note.flag == flag).collect()
}

#[test]
fn without_flags_it_is_kured_as_it_comes() {
    let import = imported(&[]);
    let policy = Policy::parse(&import.policy).unwrap();
    let pool = &policy.pools[0];
    assert_eq!(policy.cluster.max_unavailable, Amount::Count(1));
    assert_eq!((pool.mode, pool.max_unavailable), (Mode::Plan, Amount::Count(1)));
    assert_eq!(pool.drain.unmanaged, Unmanaged::Evict);
    assert_eq!(pool.foreign_cordon, ForeignCordon::Include);
    assert_eq!(pool.selector.match_labels["kubernetes.io/os"], "linux");
    assert_eq!(pool.windows.windows(), []);
    assert!(import.notes.iter().all(|note| note.flag.is_empty()), "{:?}", import.notes);
}

#[test]
fn every_flag_has_a_fate_and_what_is_mapped_is_in_the_policy() {
    use Fate::Changed;
    use Fate::Dropped;
    use Fate::Mapped;
    let url = "--prometheus-url=http://p";
    let table: &[(&[&str], Fate, &str)] = &[
        (
            &["--alert-filter-match-only", "--alert-filter-regexp=^Ceph", url],
            Mapped,
            r#"alertname=~\".*(?:^Ceph).*\""#,
        ),
        (
            &["--alert-filter-regexp=Watch|Info", url],
            Mapped,
            r#"alertname!~\".*(?:Watch|Info).*\""#,
        ),
        (&["--alert-firing-only=true", url], Mapped, "pending: ignore"),
        (&["--annotate-nodes=true"], Dropped, ""),
        (
            &["--blocking-pod-selector=app=db,!x", "--blocking-pod-selector", "job in (a, b)"],
            Mapped,
            r#"{selector: {matchExpressions: [{key: "job", operator: In, values: ["a", "b"]}]}, scope: node}"#,
        ),
        (&["--concurrency=3"], Mapped, "maxUnavailable: 3"),
        (&["--drain-delay=1m"], Dropped, ""),
        (&["--drain-grace-period=120"], Mapped, "grace: 120s"),
        (
            &["--drain-pod-selector=app=db,tier!=x"],
            Mapped,
            r#"- {matchExpressions: [{key: "app", operator: NotIn, values: ["db"]}]}"#,
        ),
        (&["--drain-timeout=30m"], Mapped, "timeout: 1800s"),
        (&["--ds-name=kured-b"], Changed, ""),
        (&["--ds-namespace=ops"], Changed, ""),
        (&["--end-time=5am"], Mapped, r#"start: "00:00", end: "05:00""#),
        (&["--force-reboot"], Changed, "onFailure: reboot"),
        (&["--lock-annotation=x/y"], Dropped, ""),
        (&["--lock-release-delay=30m"], Changed, "bakeNode: 1800s"),
        (&["--lock-ttl=1h"], Dropped, ""),
        (&["--log-format=json"], Dropped, ""),
        (&["--message-template-drain=%s"], Dropped, ""),
        (&["--message-template-reboot=%s"], Dropped, ""),
        (&["--message-template-uncordon=%s"], Dropped, ""),
        (&["--metrics-host=::"], Dropped, ""),
        (&["--metrics-port=9090"], Dropped, ""),
        (&["--node-id=n"], Dropped, ""),
        (&["--notify-url=slack://x"], Dropped, ""),
        (&["--period=5m"], Dropped, ""),
        (&["--post-reboot-node-labels=a=b"], Dropped, ""),
        (&["--pre-reboot-node-labels=a=c"], Dropped, ""),
        (&["--prefer-no-schedule-taint=x"], Dropped, ""),
        (&[url], Changed, "pending: block"),
        (&["--reboot-command=/sbin/special"], Dropped, ""),
        (&["--reboot-days=mon,tue", "--reboot-days=0"], Mapped, "days: [mon, tue, sun]"),
        (&["--reboot-delay=10s"], Dropped, ""),
        (&["--reboot-method=signal"], Mapped, "rebootMethod: signal"),
        (&["--reboot-sentinel=/run/mine"], Dropped, ""),
        (&["--reboot-sentinel-command=true"], Dropped, ""),
        (&["--reboot-signal=39"], Mapped, ""),
        (&["--skip-wait-for-delete-timeout=60"], Mapped, "skipStuckAfter: 60s"),
        (&["--slack-channel=x"], Dropped, ""),
        (&["--slack-hook-url=x"], Dropped, ""),
        (&["--slack-username=x"], Dropped, ""),
        (&["--start-time", "22:30"], Mapped, r#"start: "22:30", end: "24:00""#),
        (&["--time-zone=Europe/Berlin", "--start-time=1:00"], Mapped, "zone: Europe/Berlin"),
    ];
    let mut seen = BTreeSet::new();
    for (arguments, fate, expected) in table {
        let import = imported(arguments);
        let flag = arguments[0].trim_start_matches('-').split('=').next().unwrap();
        seen.insert(flag);
        let notes = notes(&import, flag);
        assert_eq!(notes.len(), 1, "{flag}: {notes:?}");
        assert_eq!(notes[0].fate, *fate, "{flag}");
        assert!(import.policy.contains(expected), "{flag}: {}", import.policy);
    }
    let all: BTreeSet<&str> = FLAGS.iter().map(|(flag, _)| *flag).collect();
    assert_eq!(seen, all, "a flag is in no row");
}

#[test]
fn other_values_have_other_fates() {
    for (arguments, fate) in [
        (["--drain-timeout=0"], Fate::Changed),
        (["--drain-grace-period=0"], Fate::Dropped),
        (["--drain-grace-period=-1"], Fate::Mapped),
        (["--force-reboot=false"], Fate::Mapped),
        (["--lock-release-delay=0s"], Fate::Mapped),
        (["--reboot-command=/bin/systemctl reboot"], Fate::Changed),
        (["--reboot-method=command"], Fate::Changed),
        (["--reboot-sentinel=/var/run/reboot-required"], Fate::Mapped),
        (["--reboot-signal=15"], Fate::Dropped),
        (["--skip-wait-for-delete-timeout=0"], Fate::Mapped),
        (["--alert-filter-regexp=x"], Fate::Dropped),
        (["--prometheus-url="], Fate::Mapped),
        (["--drain-pod-selector=\"\""], Fate::Mapped),
    ] {
        let import = imported(&arguments);
        let flag = arguments[0].trim_start_matches('-').split('=').next().unwrap();
        assert_eq!(notes(&import, flag)[0].fate, fate, "{arguments:?}");
    }
}

#[test]
fn what_nobody_knows_is_named() {
    let import = imported(&["--turbo=11", "now", "--concurrency=2"]);
    let unknown: Vec<&str> = import
        .notes
        .iter()
        .filter(|note| note.fate == Fate::Unknown)
        .map(|note| note.flag.as_str())
        .collect();
    assert_eq!(unknown, ["now", "turbo"]);
    assert_eq!(notes(&import, "turbo")[0].to_string().split(':').next(), Some("unknown"));
}

#[test]
fn the_environment_counts_where_no_argument_is_given() {
    let text = manifest(&["--concurrency=2"]).replace(
        "env:\n",
        "env:\n            - {name: KURED_CONCURRENCY, value: \"9\"}\n            \
         - {name: KURED_TIME_ZONE, value: America/New_York}\n            \
         - {name: KURED_START_TIME, value: \"1:00\"}\n            \
         - {name: KURED_NOTIFY_URL, valueFrom: {secretKeyRef: {name: s, key: k}}}\n            \
         - {name: HOME, value: /}\n",
    );
    let import = import(&text).unwrap();
    assert!(import.policy.contains("maxUnavailable: 2"), "{}", import.policy);
    assert!(import.policy.contains("zone: America/New_York"), "{}", import.policy);
    assert_eq!(notes(&import, "notify-url")[0].fate, Fate::Dropped);
    assert_eq!(notes(&import, "node-id"), Vec::<&Note>::new());
}

#[test]
fn a_night_over_midnight_is_open_when_kured_would_be() {
    let arguments = ["--reboot-days=mon", "--start-time=22:00", "--end-time=04:00"];
    let import = imported(&arguments);
    let policy = Policy::parse(&import.policy).unwrap();
    let windows = &policy.pools[0].windows;
    // 2026-01-05 is a Monday. kured is open on Monday morning and evening, not on Tuesday.
    let open = |text: &str| {
        let at: jiff::Timestamp = text.parse().unwrap();
        matches!(
            windows.opening(palisade_report::Moment::from_unix(at.as_second())),
            Opening::Open { .. }
        )
    };
    assert!(open("2026-01-05T03:00:00Z"));
    assert!(open("2026-01-05T23:00:00Z"));
    assert!(!open("2026-01-06T03:00:00Z"));
    assert_eq!(notes(&import, "start-time").last().unwrap().fate, Fate::Changed);
}

#[test]
fn the_manifest_may_have_other_objects_and_may_be_a_list() {
    let one = manifest(&["--concurrency=4"]);
    let many = format!("---\nkind: ServiceAccount\n---\n# kured\nkind: DaemonSet\n---\n{one}");
    let indented = one.replace('\n', "\n    ");
    let list = format!("kind: List\nitems:\n  - {indented}");
    for text in [one, many, list] {
        assert!(import(&text).unwrap().policy.contains("maxUnavailable: 4"), "{text}");
    }
}

#[test]
fn what_is_no_manifest_or_would_stop_kured_is_refused() {
    for text in ["", "kind: DaemonSet", "- 1", "a: [", "kind: Deployment\nspec: {}"] {
        assert!(import(text).is_err(), "{text:?}");
    }
    let error = import("kind: List\n---\na: [1\n").unwrap_err();
    assert!(matches!(error, ImportError::Yaml { line: 3, .. }), "{error:?}");
    for argument in [
        "--concurrency=0",
        "--concurrency=two",
        "--reboot-days=someday",
        "--start-time=noon",
        "--time-zone=Berlin",
        "--drain-timeout=soon",
        "--force-reboot=maybe",
        "--reboot-method=hope",
        "--blocking-pod-selector=a b",
        "--drain-pod-selector=in (x)",
    ] {
        let error = import(&manifest(&[argument])).unwrap_err();
        let flag = argument.split('=').next().unwrap();
        assert!(error.to_string().starts_with(flag), "{argument}: {error}");
    }
    assert!(matches!(
        import(&manifest(&["--blocking-pod-selector=a=b/c"])),
        Err(ImportError::Policy(_))
    ));
}
