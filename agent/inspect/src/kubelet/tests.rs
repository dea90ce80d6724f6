//! Whole sections from whole hosts.

use proptest::prelude::*;

use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::kubelet::Kubelet;

use super::fields::FIELDS;
use crate::MemoryHost;
use crate::process::Process;
use crate::process::ProcessTable;

const KIND: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

fn running(program: &str, arguments: &str) -> ProcessTable {
    let words = [program].into_iter().chain(arguments.split(' ').filter(|word| !word.is_empty()));
    ProcessTable {
        processes: Ok(vec![Process {
            pid: 700,
            name: "kubelet".to_owned(),
            arguments: words.map(str::to_owned).collect(),
            executable: Ok(program.to_owned()),
            uid: 0,
        }]),
    }
}

fn section(host: &MemoryHost, processes: &ProcessTable) -> Kubelet {
    match super::read(host, processes) {
        Section::Known(kubelet) => kubelet,
        Section::Unknown { why } => panic!("{why}"),
    }
}

fn kubelet(host: &MemoryHost, arguments: &str) -> Kubelet {
    section(host, &running("/usr/bin/kubelet", arguments))
}

fn with_config(yaml: &str) -> MemoryHost {
    MemoryHost::default().file("/k.yaml", format!("{KIND}{yaml}"))
}

fn show(kubelet: &Kubelet, field: &str) -> String {
    match &kubelet.effective[field] {
        Reading::Known { value, origin } => format!("{value} {origin}"),
        Reading::Absent { origin } => format!("absent {origin}"),
        Reading::Unknown { why, .. } => format!("unknown {:?}", why.kind),
    }
}

const V1: &str = "default (KubeletConfiguration v1beta1)";
const LEGACY: &str = "default (kubelet without --config)";
const NOWHERE: &str = "neither flag nor file sets it";

/// What other scanners get wrong, one row each: arguments, file, field, value and origin.
#[test]
fn effective_values_are_those_that_the_kubelet_computes() {
    let anonymous = "authentication.anonymous.enabled";
    let mode = "authorization.mode";
    let idle = "streamingConnectionIdleTimeout";
    for (arguments, yaml, field, expected) in [
        // The last occurrence wins, not the first.
        (
            "--anonymous-auth=false --anonymous-auth=true",
            None,
            anonymous,
            "true flag --anonymous-auth".to_owned(),
        ),
        ("--config=/k.yaml", Some(""), anonymous, format!("false {V1}")),
        ("--config=/k.yaml", Some(""), mode, format!("\"Webhook\" {V1}")),
        ("--config=/k.yaml", Some(""), "authentication.webhook.enabled", format!("true {V1}")),
        ("", None, anonymous, format!("true {LEGACY}")),
        ("", None, mode, format!("\"AlwaysAllow\" {LEGACY}")),
        ("", None, "authentication.webhook.enabled", format!("false {LEGACY}")),
        // The value after a space, for a flag that is no boolean.
        (
            "--authorization-mode AlwaysAllow --config=/k.yaml",
            Some(""),
            mode,
            "\"AlwaysAllow\" flag --authorization-mode".to_owned(),
        ),
        // A boolean never takes the next word.
        ("--anonymous_auth false", None, anonymous, "true flag --anonymous-auth".to_owned()),
        // Neither flag nor file: the port is open.
        ("", None, "readOnlyPort", format!("10255 {LEGACY}")),
        ("--read-only-port 0", None, "readOnlyPort", "0 flag --read-only-port".to_owned()),
        ("--config /k.yaml", Some(""), "readOnlyPort", format!("0 {V1}")),
        // Zero on a flag is zero, in a file it is the default.
        (
            "--streaming-connection-idle-timeout=0s",
            None,
            idle,
            "\"0s\" flag --streaming-connection-idle-timeout".to_owned(),
        ),
        (
            "--streaming-connection-idle-timeout=0",
            None,
            idle,
            "\"0s\" flag --streaming-connection-idle-timeout".to_owned(),
        ),
        (
            "--config=/k.yaml",
            Some("streamingConnectionIdleTimeout: 0s"),
            idle,
            format!("\"4h0m0s\" {V1}"),
        ),
        (
            "--config=/k.yaml",
            Some("streamingConnectionIdleTimeout: '0'"),
            idle,
            format!("\"4h0m0s\" {V1}"),
        ),
        (
            "--config=/k.yaml",
            Some("streamingConnectionIdleTimeout: 5m"),
            idle,
            "\"5m\" /k.yaml:3".to_owned(),
        ),
        ("--config=/k.yaml", Some(""), "rotateCertificates", format!("false {V1}")),
        (
            "--config=/k.yaml",
            Some("serverTLSBootstrap: false"),
            "serverTLSBootstrap",
            "false /k.yaml:3".to_owned(),
        ),
        (
            "--config=/k.yaml --rotate-server-certificates",
            Some(""),
            "serverTLSBootstrap",
            "true flag --rotate-server-certificates".to_owned(),
        ),
        (
            "--config=/k.yaml",
            Some(""),
            "featureGates.RotateKubeletServerCertificate",
            "true default (feature gate)".to_owned(),
        ),
        (
            "--config=/k.yaml",
            Some("tlsMinVersion: VersionTLS13"),
            "tlsMinVersion",
            "\"VersionTLS13\" /k.yaml:3".to_owned(),
        ),
        (
            "--config=/k.yaml --tls-cipher-suites A_SHA256,B --tls-cipher-suites=C",
            Some("tlsCipherSuites: [X]"),
            "tlsCipherSuites",
            "[\"A_SHA256\",\"B\",\"C\"] flag --tls-cipher-suites".to_owned(),
        ),
        ("--config=/k.yaml", Some("podPidsLimit: -1"), "podPidsLimit", "-1 /k.yaml:3".to_owned()),
        ("--config=/k.yaml", Some("podPidsLimit: 0"), "podPidsLimit", "0 /k.yaml:3".to_owned()),
        ("--config=/k.yaml", Some("maxPods: 0"), "maxPods", format!("110 {V1}")),
        (
            "--config=/k.yaml",
            Some("seccompDefault: false"),
            "seccompDefault",
            "false /k.yaml:3".to_owned(),
        ),
        ("--config=/k.yaml", Some("seccompDefault: null"), "seccompDefault", format!("false {V1}")),
        ("--config=/k.yaml", Some("eventRecordQPS: 0"), "eventRecordQPS", "0 /k.yaml:3".to_owned()),
        ("--config=/k.yaml", Some(""), "eventRecordQPS", format!("50 {V1}")),
        ("--config=/k.yaml", Some(""), "makeIPTablesUtilChains", format!("true {V1}")),
        (
            "--config=/k.yaml",
            Some(""),
            "authentication.x509.clientCAFile",
            format!("absent {NOWHERE}"),
        ),
        ("--config=/k.yaml", Some("tlsCertFile: ''"), "tlsCertFile", format!("absent {NOWHERE}")),
        (
            "--config=/k.yaml",
            Some("tlsCertFile: pki/k.crt"),
            "tlsCertFile",
            "\"/pki/k.crt\" /k.yaml:3".to_owned(),
        ),
        (
            "--config=/k.yaml --tls-cert-file=pki/f.crt",
            Some(""),
            "tlsCertFile",
            "\"/pki/f.crt\" flag --tls-cert-file".to_owned(),
        ),
        ("--config=/k.yaml", Some("address: 10.1.2.3"), "address", "\"*\" /k.yaml:3".to_owned()),
        (
            "--eviction-hard=memory.available<1Gi",
            None,
            "evictionHard",
            r#"{"memory.available":"1Gi"} flag --eviction-hard"#.to_owned(),
        ),
        ("", None, "evictionHard", format!("absent {NOWHERE}")),
        (
            "--config=/k.yaml",
            Some("maxParallelImagePulls: 2"),
            "serializeImagePulls",
            format!("false {V1}"),
        ),
        (
            "--config=/k.yaml",
            Some("evictionHard: {memory.available: 1Gi}"),
            "evictionHard",
            r#"{"memory.available":"1Gi"} /k.yaml:3"#.to_owned(),
        ),
        // JSON is a configuration file too, and may be indented with tabs.
        ("--config=/k.json", None, "readOnlyPort", "10255 /k.json:4".to_owned()),
    ] {
        let json = "{\n\t\"apiVersion\": \"kubelet.config.k8s.io/v1beta1\",\n\t\"kind\": \"KubeletConfiguration\",\n\t\"readOnlyPort\": 10255\n}\n";
        let host = with_config(yaml.unwrap_or("x: [unused")).file("/k.json", json);
        let kubelet = kubelet(&host, arguments);
        assert_eq!(show(&kubelet, field), expected, "{arguments} {yaml:?}");
        let stray = arguments.ends_with(" false");
        assert_eq!(!kubelet.refused.is_empty(), stray, "{arguments}: {:?}", kubelet.refused);
    }
}

#[test]
fn drop_ins_merge_in_the_order_of_their_names_and_below_flags() {
    let drop_in = |text: &str| format!("{KIND}{text}");
    let host = with_config("clusterDNS: [1.1.1.1, 2.2.2.2]\nseccompDefault: true\nmaxPods: 50\n")
        .file("/d/10-a.conf", drop_in("maxPods: 10\nclusterDNS: [3.3.3.3]\n"))
        .file("/d/9-b.conf", drop_in("maxPods: 9\nreadOnlyPort: 10255\n"))
        .file("/d/8-dir/z.conf", drop_in("maxPods: 8\nseccompDefault: null\n"))
        .file("/d/8-dir/ignored.yaml", "not: [yaml")
        .file("/d/99.conf.bak", "not: [yaml")
        .file(
            "/d/20.conf",
            drop_in("evictionHard: {memory.available: 2Gi}\nfeatureGates: {A: true, B: true}\n"),
        )
        .file(
            "/d/30.conf",
            drop_in("featureGates: {B: false}\nstreamingConnectionIdleTimeout: 0s\n"),
        );
    let seen = kubelet(
        &host,
        "--config=/k.yaml --config-dir=/d --read-only-port=0 --feature-gates=C=true",
    );
    assert_eq!(seen.refused, []);
    let paths: Vec<_> = seen.sources.iter().map(|source| source.path.as_str()).collect();
    let order =
        ["/k.yaml", "/d/10-a.conf", "/d/20.conf", "/d/30.conf", "/d/8-dir/z.conf", "/d/9-b.conf"];
    assert_eq!(paths, order);
    for (field, expected) in [
        ("maxPods", "9 /d/9-b.conf:3".to_owned()),
        ("clusterDNS", "[\"3.3.3.3\"] /d/10-a.conf:4".to_owned()),
        ("seccompDefault", format!("false {V1}")),
        ("readOnlyPort", "0 flag --read-only-port".to_owned()),
        ("featureGates.A", "true /d/20.conf:4".to_owned()),
        ("featureGates.B", "false /d/30.conf:3".to_owned()),
        ("featureGates.C", "true flag --feature-gates".to_owned()),
        ("featureGates", r#"{"A":true,"B":false,"C":true} flag --feature-gates"#.to_owned()),
        ("streamingConnectionIdleTimeout", format!("\"4h0m0s\" {V1}")),
    ] {
        assert_eq!(show(&seen, field), expected, "{field}");
    }
    // A map is merged into what was there, defaults included.
    assert!(show(&seen, "evictionHard").contains(r#""nodefs.available":"10%""#));
    assert!(show(&seen, "evictionHard").contains(r#""memory.available":"2Gi""#));

    let alone = kubelet(&host, "--config-dir=/d");
    assert_eq!(show(&alone, "authorization.mode"), format!("\"AlwaysAllow\" {LEGACY}"));
    assert_eq!(show(&alone, "seccompDefault"), format!("false {V1}"));

    let linked = host.link("/e", "/d");
    let linked = kubelet(&linked, "--config=/k.yaml --config-dir=/e");
    assert_eq!(show(&linked, "maxPods"), "50 /k.yaml:5");
}

#[test]
fn what_cannot_be_merged_makes_unknown_what_no_flag_sets() {
    let good = format!("{KIND}maxPods: 9\n");
    for (name, host, refused) in [
        ("missing", MemoryHost::default(), true),
        ("no kind", MemoryHost::default().file("/k.yaml", "maxPods: 1\n"), true),
        ("key twice", with_config("maxPods: 1\nmaxPods: 2\n"), true),
        ("binary", MemoryHost::default().file("/k.yaml", b"\x7fELF\x00\xff"), true),
        ("empty", MemoryHost::default().file("/k.yaml", ""), true),
        ("large", MemoryHost::default().file("/k.yaml", vec![b'#'; 1 << 21]), false),
        ("denied", MemoryHost::default().unreadable("/k.yaml", WhyKind::PermissionDenied), false),
        ("fifo", MemoryHost::default().special("/k.yaml"), false),
        ("no drop-ins", with_config("").without("/d"), true),
        ("drop-in without kind", with_config("").file("/d/a.conf", "maxPods: 1\n"), true),
        (
            "drop-in denied",
            with_config("").unreadable("/d/a.conf", WhyKind::PermissionDenied),
            false,
        ),
    ] {
        let keep = name == "no drop-ins";
        let host = if keep { host } else { host.file("/d/z.conf", &good) };
        let seen = kubelet(&host, "--config=/k.yaml --config-dir=/d --read-only-port=0");
        assert!(show(&seen, "maxPods").starts_with("unknown"), "{name}");
        let gate = show(&seen, "featureGates.RotateKubeletServerCertificate");
        assert!(gate.starts_with("unknown"), "{name}: {gate}");
        assert_eq!(show(&seen, "readOnlyPort"), "0 flag --read-only-port", "{name}");
        assert_eq!(!seen.refused.is_empty(), refused, "{name}: {:?}", seen.refused);
        assert!(seen.sources.iter().any(|source| source.merged.value().is_none()), "{name}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_and_unknown_alone() {
    let host = with_config(
        "maxPods: many\nseccompDefault: 'true'\nclusterDNS: 1.1.1.1\nport: 1.5\nshutdownGracePeriod: 0\n",
    );
    let seen = kubelet(&host, "--config=/k.yaml --read-only-port=x");
    for field in
        ["maxPods", "seccompDefault", "clusterDNS", "port", "readOnlyPort", "shutdownGracePeriod"]
    {
        assert_eq!(show(&seen, field), "unknown Malformed", "{field}");
    }
    assert_eq!(seen.refused.len(), 6, "{:?}", seen.refused);
    assert_eq!(show(&seen, "protectKernelDefaults"), format!("false {V1}"));
}

#[test]
fn flags_outside_the_configuration_are_facts_of_their_own() {
    let arguments = "--kubeconfig=/etc/k.conf --config k.yaml --hostname-override=n7 --node-ip 10.0.0.7 \
                     --bootstrap-kubeconfig= --cloud-provider=external --api-token=abc";
    let table = running("/usr/bin/kubelet", arguments);
    let seen = section(&with_config(""), &table);
    for (name, expected) in [
        ("kubeconfig", Some("/etc/k.conf")),
        ("config", Some("/k.yaml")),
        ("bootstrap-kubeconfig", None),
        ("cert-dir", Some("/var/lib/kubelet/pki")),
        ("root-dir", Some("/var/lib/kubelet")),
        ("hostname-override", Some("*")),
        ("node-ip", Some("*")),
        ("cloud-provider", Some("external")),
        ("api-token", Some("*")),
        ("config-dir", None),
    ] {
        assert_eq!(seen.flags[name].value().map(String::as_str), expected, "{name}");
    }
    let text = serde_json::to_string(&seen).unwrap();
    for hidden in ["n7", "10.0.0.7", "abc", "700"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    let identity = super::identity(&with_config(""), &table);
    let identity = identity.value().unwrap();
    assert_eq!(identity["hostname-override"], "n7");
    assert_eq!(identity["node-ip"], "10.0.0.7");
}

#[test]
fn an_embedded_kubelet_is_known_by_its_drop_ins_and_unknown_beyond() {
    let drop_in = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/00-k3s-defaults.conf";
    let host =
        MemoryHost::default().file(drop_in, format!("{KIND}authorization: {{mode: Webhook}}\n"));
    let seen = section(&host, &running("/usr/local/bin/k3s", "server --token secret"));
    let process = seen.process.value().unwrap();
    assert_eq!(process.arguments, ["server", "--token", "*"]);
    assert_eq!(show(&seen, "authorization.mode"), format!("\"Webhook\" {drop_in}:3"));
    for field in FIELDS.iter().filter(|field| field.path != "authorization.mode") {
        assert_eq!(show(&seen, field.path), "unknown Unsupported", "{}", field.path);
    }
    assert!(matches!(seen.flags["kubeconfig"], Reading::Unknown { .. }));
    assert_eq!(seen.refused, []);
    let bare = section(&MemoryHost::default(), &running("/usr/local/bin/k3s", "agent"));
    assert_eq!(show(&bare, "authorization.mode"), "unknown Unsupported");
    let gate = show(&bare, "featureGates.RotateKubeletServerCertificate");
    assert_eq!(gate, "unknown Unsupported");
}

#[test]
fn no_process_and_hidden_processes_differ() {
    let none = section(&MemoryHost::default(), &ProcessTable { processes: Ok(Vec::new()) });
    assert!(matches!(none.process, Reading::Absent { .. }));
    assert!(none.effective.is_empty());
    let why = Why::new(WhyKind::WrongNamespace, "own pid namespace");
    let hidden = section(&MemoryHost::default(), &ProcessTable { processes: Err(why.clone()) });
    assert!(matches!(hidden.process, Reading::Unknown { why: told, .. } if told == why));
}

#[test]
fn files_of_another_mount_namespace_are_not_taken_for_the_kubelets() {
    let host = with_config("maxPods: 7\n").link("/proc/1/ns/mnt", "mnt:[1]");
    let same = host.clone().link("/proc/700/ns/mnt", "mnt:[1]");
    assert_eq!(show(&kubelet(&same, "--config=/k.yaml"), "maxPods"), "7 /k.yaml:3");
    let other = host.link("/proc/700/ns/mnt", "mnt:[2]");
    let seen = kubelet(&other, "--config=/k.yaml --port=1");
    assert_eq!(show(&seen, "maxPods"), "unknown WrongNamespace");
    assert_eq!(show(&seen, "port"), "1 flag --port");
}

#[test]
fn the_table_of_fields_is_in_order_and_without_twins() {
    let paths: Vec<_> = FIELDS.iter().map(|field| field.path).collect();
    let mut sorted = paths.clone();
    sorted.sort_by_key(|path| path.to_lowercase());
    sorted.dedup();
    assert_eq!(paths, sorted);
    for field in &FIELDS {
        let default = super::value::of_default(field.default);
        let legacy = super::value::of_default(field.legacy);
        for value in default.into_iter().chain(legacy) {
            let tree = super::config::Tree {
                content: super::config::Content::Leaf(value),
                origin: palisade_report::Origin::words("table"),
            };
            if !matches!(field.kind, super::fields::Kind::Map { .. }) {
                assert!(super::value::of_tree(field.kind, &tree).is_ok(), "{}", field.path);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_kubelet_is_read(
        arguments in proptest::collection::vec("(--(config|config-dir|feature-gates|eviction-hard|port|cluster-dns|[a-z]{1,5})(=[ -~]{0,8})?|[ -~]{0,6})", 0..8),
        yaml in "((maxPods|featureGates|evictionHard|address|authentication|clusterDNS): ?[a-z0-9{}:\\[\\], *&'-]{0,12}\n){0,4}",
    ) {
        let mut table = running("/usr/bin/kubelet", "--config=/k.yaml --config-dir=/d");
        if let Ok(processes) = &mut table.processes {
            processes[0].arguments.extend(arguments);
        }
        let host = with_config(&yaml).file("/d/a.conf", format!("{KIND}{yaml}"));
        let seen = section(&host, &table);
        prop_assert!(FIELDS.iter().all(|field| seen.effective.contains_key(field.path)));
    }
}
