//! Whole inspections on hosts in memory.

use std::collections::BTreeMap;

use palisade_report::Moment;
use palisade_report::Origin;
use palisade_report::Reading;
use palisade_report::Section;
use palisade_report::Why;
use palisade_report::WhyKind;
use palisade_report::section::certificates::Certificate;
use palisade_report::section::certificates::CertificateFile;
use palisade_report::section::certificates::Certificates;
use palisade_report::section::certificates::Chain;
use palisade_report::section::certificates::Expectation;
use palisade_report::section::certificates::KeyMatch;
use palisade_report::section::host::Distribution;
use palisade_report::section::host::Host as HostFacts;
use palisade_report::section::host::Role;
use palisade_report::section::kubelet::Kubelet;
use palisade_report::section::kubelet::Process;
use serde_json::Value;

use crate::Interest;
use crate::MemoryHost;

const APISERVER: &[u8] = include_bytes!("testdata/apiserver.pem");
const APISERVER_KEY: &[u8] = include_bytes!("testdata/apiserver.key");
const CA: &[u8] = include_bytes!("testdata/ca.pem");
const CLIENT: &[u8] = include_bytes!("testdata/client.pem");
const CLIENT_KEY: &[u8] = include_bytes!("testdata/client.key");
const ED25519: &[u8] = include_bytes!("testdata/ed25519.pem");
const ED25519_KEY: &[u8] = include_bytes!("testdata/ed25519.key");
const KUBECONFIG: &[u8] = include_bytes!("testdata/kubeconfig.yaml");
const KUBELET: &[u8] = include_bytes!("testdata/kubelet-client.pem");
const RECREATED: &[u8] = include_bytes!("testdata/recreated-ca.pem");
const SELF_SIGNED: &[u8] = include_bytes!("testdata/self-signed.pem");

const PKI: &str = "/var/lib/kubelet/pki";

fn machine(distribution: Distribution, role: Role) -> Section<HostFacts> {
    fn none<T>() -> Reading<T> {
        Reading::absent(Origin::words("test"))
    }
    let known = |distribution| Reading::known(distribution, Origin::words("test"));
    Section::Known(HostFacts {
        os: none(),
        architecture: none(),
        distribution: known(distribution),
        role: Reading::known(role, Origin::words("test")),
        cpus: none(),
        memory_mib: none(),
        init: none(),
        swap: none(),
        cgroup: none(),
        mounts: none(),
    })
}

fn plain() -> Section<HostFacts> {
    let mut machine = machine(Distribution::Other, Role::Plain);
    if let Section::Known(facts) = &mut machine {
        facts.distribution = Reading::absent(Origin::words("test"));
    }
    machine
}

fn no_kubelet() -> Section<Kubelet> {
    Section::Known(Kubelet {
        process: Reading::absent(Origin::words("test")),
        sources: Vec::new(),
        effective: BTreeMap::new(),
        flags: BTreeMap::new(),
        refused: Vec::new(),
    })
}

fn kubelet(effective: &[(&str, Value)], flags: &[(&str, &str)]) -> Section<Kubelet> {
    let origin = || Origin::words("test");
    let process = Process { executable: String::new(), arguments: Vec::new(), uid: 0 };
    Section::Known(Kubelet {
        process: Reading::known(process, origin()),
        sources: Vec::new(),
        effective: effective
            .iter()
            .map(|(field, value)| ((*field).to_owned(), Reading::known(value.clone(), origin())))
            .collect(),
        flags: flags
            .iter()
            .map(|(flag, value)| {
                ((*flag).to_owned(), Reading::known((*value).to_owned(), origin()))
            })
            .collect(),
        refused: Vec::new(),
    })
}

/// A kubelet as kubeadm configures it.
fn kubeadm_kubelet() -> Section<Kubelet> {
    kubelet(
        &[
            ("authentication.x509.clientCAFile", Value::from("/etc/kubernetes/pki/ca.crt")),
            ("rotateCertificates", Value::from(true)),
            ("serverTLSBootstrap", Value::from(false)),
            ("staticPodPath", Value::from("/etc/kubernetes/manifests")),
        ],
        &[("kubeconfig", "/etc/kubernetes/kubelet.conf")],
    )
}

fn read(
    host: &MemoryHost,
    settings: &[&str],
    machine: &Section<HostFacts>,
    kubelet: &Section<Kubelet>,
) -> Certificates {
    let mut interest = Interest::default();
    interest.certificates.extend(settings.iter().map(|path| (*path).to_owned()));
    match super::read(host, &interest, machine, kubelet) {
        Section::Known(facts) => facts,
        Section::Unknown { why } => panic!("{why}"),
    }
}

/// A host without Kubernetes on which these paths are named in settings.
fn set(host: &MemoryHost, settings: &[&str]) -> Certificates {
    read(host, settings, &plain(), &no_kubelet())
}

fn certificates(file: &CertificateFile) -> &[Certificate] {
    file.certificates.value().map_or(&[], Vec::as_slice)
}

fn why(file: &CertificateFile) -> Option<WhyKind> {
    match &file.certificates {
        Reading::Unknown { why, .. } => Some(why.kind),
        Reading::Known { .. } | Reading::Absent { .. } => None,
    }
}

fn watched<'a>(facts: &'a Certificates, path: &str) -> Vec<&'a str> {
    facts.files[path].watched.iter().map(String::as_str).collect()
}

const KUBELET_CONF: &str = "clusters: [{name: k, cluster: {certificate-authority: pki/ca.crt}}]\n\
    users:\n- name: default-auth\n  user:\n    \
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n    \
    client-key: /var/lib/kubelet/pki/kubelet-client-current.pem\n";

fn worker() -> MemoryHost {
    MemoryHost::default()
        .file("/etc/kubernetes/pki/ca.crt", CA)
        .file("/etc/kubernetes/kubelet.conf", KUBELET_CONF)
        .file(&format!("{PKI}/kubelet-client-2026-11-22-05-56-38.pem"), KUBELET)
        .file(&format!("{PKI}/kubelet-client-2025-11-22-05-56-38.pem"), KUBELET)
        .link(
            &format!("{PKI}/kubelet-client-current.pem"),
            &format!("{PKI}/kubelet-client-2026-11-22-05-56-38.pem"),
        )
        .file(&format!("{PKI}/kubelet.crt"), SELF_SIGNED)
        .file(&format!("{PKI}/kubelet.key"), CLIENT_KEY)
}

#[test]
fn a_kubeadm_worker_watches_what_its_kubelet_uses() {
    let machine = machine(Distribution::Kubeadm, Role::Worker);
    let facts = read(&worker(), &[], &machine, &kubeadm_kubelet());
    let paths: Vec<_> = facts.files.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "/etc/kubernetes/kubelet.conf",
            "/etc/kubernetes/pki/ca.crt",
            "/var/lib/kubelet/pki/kubelet-client-current.pem",
            "/var/lib/kubelet/pki/kubelet.crt",
        ]
    );
    assert_eq!(facts.left_out, []);
    assert!(facts.files.values().all(|file| file.expected == Expectation::Required));
    assert_eq!(
        watched(&facts, "/etc/kubernetes/pki/ca.crt"),
        [
            "kubeadm inventory",
            "kubeconfig /etc/kubernetes/kubelet.conf (cluster k)",
            "kubelet authentication.x509.clientCAFile",
        ]
    );
    let client = &facts.files["/var/lib/kubelet/pki/kubelet-client-current.pem"];
    assert_eq!(
        client.resolved.value().map(String::as_str),
        Some("/var/lib/kubelet/pki/kubelet-client-2026-11-22-05-56-38.pem")
    );
    let leaf = &certificates(client)[0];
    assert_eq!(leaf.subject, "CN=system:node:node-1,O=system:nodes");
    assert_eq!(leaf.key_match.value(), Some(&KeyMatch::Matches));
    // The kubelet's kubeconfig leads to it, and kubeadm's authority has to have signed it.
    assert_eq!(leaf.chain.value(), Some(&Chain::KeyIdMatches));
    assert_eq!(certificates(client)[1].chain.value(), Some(&Chain::SelfSigned));
    let serving = &certificates(&facts.files["/var/lib/kubelet/pki/kubelet.crt"])[0];
    assert_eq!(serving.chain.value(), Some(&Chain::SelfSigned));
    assert_eq!(serving.key_match.value(), Some(&KeyMatch::Mismatch));
    let config = &facts.files["/etc/kubernetes/kubelet.conf"];
    assert_eq!(config.certificates.value(), Some(&Vec::new()));
}

#[test]
fn a_rotated_serving_certificate_replaces_the_kubelets_own() {
    let host = worker().file(&format!("{PKI}/kubelet-server-current.pem"), KUBELET);
    for (section, server, own) in [
        (kubelet(&[("serverTLSBootstrap", Value::from(true))], &[]), true, false),
        (kubelet(&[("serverTLSBootstrap", Value::from(false))], &[]), false, true),
        // Not told: what is there counts.
        (kubelet(&[("rotateCertificates", Value::from(true))], &[]), true, false),
        (
            kubelet(
                &[
                    ("tlsCertFile", Value::from("/srv/a.pem")),
                    ("tlsPrivateKeyFile", Value::from("/srv/a.key")),
                ],
                &[],
            ),
            false,
            false,
        ),
    ] {
        let facts = read(&host, &[], &plain(), &section);
        let has = |name: &str| facts.files.contains_key(&format!("{PKI}/{name}"));
        assert_eq!((has("kubelet-server-current.pem"), has("kubelet.crt")), (server, own));
    }
}

#[test]
fn what_the_kubelet_may_name_is_said_when_it_is_not_known() {
    let mut section = kubeadm_kubelet();
    let Section::Known(facts) = &mut section else { panic!() };
    let why = || Why::new(WhyKind::Malformed, "test");
    let origin = || Origin::words("test");
    facts.effective.insert("tlsCertFile".to_owned(), Reading::unknown(why(), origin()));
    facts.flags.insert("kubeconfig".to_owned(), Reading::unknown(why(), origin()));
    facts.flags.insert("cert-dir".to_owned(), Reading::known("*".to_owned(), origin()));
    let facts = read(&worker(), &[], &plain(), &section);
    assert_eq!(facts.left_out.len(), 3);
    assert_eq!(facts.files[&format!("{PKI}/kubelet.crt")].expected, Expectation::Optional);
}

#[test]
fn cert_dir_and_configured_pairs_are_followed() {
    let section = kubelet(
        &[
            ("tlsCertFile", Value::from("/srv/a.pem")),
            ("tlsPrivateKeyFile", Value::from("/srv/a.key")),
            ("rotateCertificates", Value::from(true)),
        ],
        &[("cert-dir", "/srv/pki/")],
    );
    let host = MemoryHost::default()
        .file("/srv/a.pem", APISERVER)
        .file("/srv/a.key", APISERVER_KEY)
        .file("/srv/pki/kubelet-client-current.pem", KUBELET);
    let facts = read(&host, &[], &plain(), &section);
    let serving = &certificates(&facts.files["/srv/a.pem"])[0];
    assert_eq!(serving.key_match.value(), Some(&KeyMatch::Matches));
    assert!(matches!(serving.chain, Reading::Absent { .. }));
    assert_eq!(facts.files["/srv/a.pem"].expected, Expectation::Required);
    let client = &facts.files["/srv/pki/kubelet-client-current.pem"];
    assert_eq!(certificates(client).len(), 2);
    assert_eq!(client.expected, Expectation::Optional);
}

fn control_plane() -> MemoryHost {
    let pod = |name: &str, flags: &str| {
        format!("spec:\n  containers:\n  - name: {name}\n    command: [{name}, {flags}]\n")
    };
    worker()
        .file("/etc/kubernetes/pki/apiserver.crt", APISERVER)
        .file("/etc/kubernetes/pki/apiserver.key", APISERVER_KEY)
        .file("/etc/kubernetes/pki/etcd/ca.crt", RECREATED)
        .file("/etc/kubernetes/pki/etcd/peer.crt", ED25519)
        .file("/etc/kubernetes/pki/etcd/peer.key", ED25519_KEY)
        .file("/etc/kubernetes/admin.conf", KUBECONFIG)
        .file(
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
            pod(
                "kube-apiserver",
                "--tls-cert-file=/etc/kubernetes/pki/apiserver.crt, \
                 --client-ca-file=/etc/kubernetes/pki/ca.crt, \
                 --etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt",
            ),
        )
        .file(
            "/etc/kubernetes/manifests/etcd.yaml",
            pod(
                "etcd",
                "--peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt, \
                 --peer-key-file=/etc/kubernetes/pki/etcd/peer.key, \
                 --peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
            ),
        )
        .file("/etc/kubernetes/manifests/.etcd.yaml.swp", "junk")
        .file("/etc/kubernetes/manifests/broken.yaml", "{{")
}

#[test]
fn a_kubeadm_control_plane_is_read_from_pods_and_inventory() {
    let machine = machine(Distribution::Kubeadm, Role::ControlPlane);
    let facts = read(&control_plane(), &[], &machine, &kubeadm_kubelet());
    assert_eq!(
        watched(&facts, "/etc/kubernetes/pki/apiserver.crt"),
        [
            "kube-apiserver --tls-cert-file (/etc/kubernetes/manifests/kube-apiserver.yaml)",
            "kubeadm inventory",
        ]
    );
    let server = &certificates(&facts.files["/etc/kubernetes/pki/apiserver.crt"])[0];
    assert_eq!(server.key_match.value(), Some(&KeyMatch::Matches));
    assert_eq!(server.chain.value(), Some(&Chain::KeyIdMatches));
    // The re-created authority has the right name and another key.
    let peer = &certificates(&facts.files["/etc/kubernetes/pki/etcd/peer.crt"])[0];
    assert_eq!(peer.chain.value(), Some(&Chain::WrongKey));
    assert!(matches!(peer.key_match, Reading::Unknown { .. }));
    // Optional in the inventory, required because the API server names it, and missing.
    let missing = &facts.files["/etc/kubernetes/pki/apiserver-etcd-client.crt"];
    assert_eq!(missing.expected, Expectation::Required);
    assert!(matches!(missing.certificates, Reading::Absent { .. }));
    let external = &facts.files["/etc/kubernetes/super-admin.conf"];
    assert_eq!(external.expected, Expectation::Optional);
    let admin = &facts.files["/etc/kubernetes/admin.conf"];
    let entries: Vec<_> = certificates(admin)
        .iter()
        .map(|certificate| (certificate.entry.as_str(), certificate.index))
        .collect();
    assert_eq!(entries, [("cluster prod", 0), ("user admin", 1)]);
    let user = &certificates(admin)[1];
    assert_eq!(user.key_match.value(), Some(&KeyMatch::Matches));
    assert_eq!(user.chain.value(), Some(&Chain::KeyIdMatches));
    let broken: Vec<_> = facts.left_out.iter().map(|why| why.detail.as_str()).collect();
    assert_eq!(
        broken,
        [
            "/etc/kubernetes/manifests/broken.yaml: malformed manifest: expected YAML or JSON of a pod"
        ]
    );
}

#[test]
fn no_private_key_and_no_token_reaches_the_facts() {
    let machine = machine(Distribution::Kubeadm, Role::ControlPlane);
    let facts = read(&control_plane(), &[], &machine, &kubeadm_kubelet());
    let json = serde_json::to_string(&facts).unwrap();
    assert!(!json.contains("not-a-real-token"));
    for key in [APISERVER_KEY, CLIENT_KEY, ED25519_KEY] {
        let key = std::str::from_utf8(key).unwrap();
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!json.contains(line.get(..16).unwrap_or(line)));
        }
    }
    assert_eq!(facts, read(&control_plane(), &[], &machine, &kubeadm_kubelet()));
}

#[test]
fn a_k3s_server_is_read_without_a_kubelet_process() {
    let tls = "/var/lib/rancher/k3s/server/tls";
    let host = MemoryHost::default()
        .file(&format!("{tls}/client-ca.crt"), CA)
        .file(&format!("{tls}/client-admin.crt"), [CLIENT, CA].concat())
        .file(&format!("{tls}/client-admin.key"), CLIENT_KEY)
        .file(&format!("{tls}/kube-scheduler/kube-scheduler.crt"), SELF_SIGNED);
    let machine = machine(Distribution::K3s, Role::ControlPlane);
    let facts = read(&host, &[], &machine, &no_kubelet());
    let admin = &certificates(&facts.files[&format!("{tls}/client-admin.crt")])[0];
    assert_eq!(admin.key_match.value(), Some(&KeyMatch::Matches));
    assert_eq!(admin.chain.value(), Some(&Chain::KeyIdMatches));
    assert!(facts.files.contains_key(&format!("{tls}/kube-scheduler/kube-scheduler.crt")));
    let serving = &facts.files[&format!("{tls}/serving-kube-apiserver.crt")];
    assert_eq!(serving.expected, Expectation::Required);
    assert!(matches!(serving.certificates, Reading::Absent { .. }));
    assert!(facts.files.keys().all(|path| !path.starts_with("/etc/kubernetes")));
}

#[test]
fn other_distributions_do_not_expect_the_files_of_kubeadm() {
    for distribution in [Distribution::Eks, Distribution::Gke, Distribution::Bottlerocket] {
        let machine = machine(distribution, Role::Worker);
        let facts = read(&MemoryHost::default(), &[], &machine, &no_kubelet());
        assert_eq!(facts.files.len(), 0, "{distribution:?}");
    }
    let unknown = Section::Unknown { why: Why::new(WhyKind::Crashed, "test") };
    let facts = read(&MemoryHost::default(), &[], &unknown, &no_kubelet());
    assert_eq!(facts.left_out.len(), 1);
}

#[test]
fn an_unknown_kubelet_is_said_and_hides_nothing_else() {
    let machine = machine(Distribution::Kubeadm, Role::ControlPlane);
    let unknown = Section::Unknown { why: Why::new(WhyKind::Crashed, "test") };
    let facts = read(&control_plane(), &["${kubelet.flags.x}"], &machine, &unknown);
    let details: Vec<_> = facts.left_out.iter().map(|why| why.kind).collect();
    assert_eq!(details, [WhyKind::MissingSource, WhyKind::Malformed, WhyKind::MissingSource]);
    assert!(facts.files.contains_key("/etc/kubernetes/pki/etcd/peer.crt"));
}

#[test]
fn settings_name_files_patterns_and_kubeconfigs() {
    let host = MemoryHost::default()
        .file("/srv/tls/a.pem", CLIENT)
        .file("/srv/tls/b.pem", "nothing")
        .file("/srv/admin", KUBECONFIG)
        .file("/srv/x/conf", KUBELET_CONF);
    let facts =
        set(&host, &["/srv/tls/*.pem", "/srv/admin", "/srv/gone.pem", "/srv/x/conf", "rel"]);
    assert_eq!(certificates(&facts.files["/srv/tls/a.pem"]).len(), 1);
    assert_eq!(why(&facts.files["/srv/tls/b.pem"]), Some(WhyKind::Malformed));
    assert_eq!(facts.files["/srv/tls/b.pem"].expected, Expectation::Optional);
    assert_eq!(certificates(&facts.files["/srv/admin"]).len(), 2);
    assert_eq!(facts.files["/srv/gone.pem"].expected, Expectation::Required);
    assert!(matches!(facts.files["/srv/gone.pem"].certificates, Reading::Absent { .. }));
    // Relative to the kubeconfig that names it.
    assert!(matches!(facts.files["/srv/x/pki/ca.crt"].certificates, Reading::Absent { .. }));
    assert_eq!(facts.left_out.len(), 1);
}

#[test]
fn what_cannot_be_read_says_why_and_hides_nothing() {
    let host = MemoryHost::default()
        .file("/a/good.pem", CLIENT)
        .file("/a/empty.pem", "")
        .file("/a/large.pem", vec![b'x'; 5 << 20])
        .special("/a/fifo.pem")
        .directory("/a/directory.pem")
        .link("/a/loop.pem", "/a/loop.pem")
        .link("/a/dangling.pem", "/nowhere")
        .unreadable("/a/denied.pem", WhyKind::PermissionDenied);
    let facts = set(&host, &["/a/*.pem"]);
    for (name, kind) in [
        ("good", None),
        ("empty", Some(WhyKind::Malformed)),
        ("large", Some(WhyKind::TooLarge)),
        ("fifo", Some(WhyKind::NotRegular)),
        ("directory", Some(WhyKind::NotRegular)),
        ("loop", Some(WhyKind::Loop)),
        ("dangling", None),
        ("denied", Some(WhyKind::PermissionDenied)),
    ] {
        if let Some(file) = facts.files.get(&format!("/a/{name}.pem")) {
            assert_eq!(why(file), kind, "{name}");
        } else {
            assert_eq!(name, "dangling");
        }
    }
    assert_eq!(certificates(&facts.files["/a/good.pem"]).len(), 1);
}

#[test]
fn an_unreadable_key_is_unknown_and_a_missing_one_too() {
    let section = kubelet(
        &[
            ("tlsCertFile", Value::from("/srv/a.pem")),
            ("tlsPrivateKeyFile", Value::from("/srv/a.key")),
        ],
        &[],
    );
    let host = MemoryHost::default().file("/srv/a.pem", APISERVER);
    for (host, kind) in [
        (host.clone(), WhyKind::MissingSource),
        (
            host.clone().unreadable("/srv/a.key", WhyKind::PermissionDenied),
            WhyKind::PermissionDenied,
        ),
        (host.clone().file("/srv/a.key", "junk"), WhyKind::Malformed),
    ] {
        let facts = read(&host, &[], &plain(), &section);
        let leaf = &certificates(&facts.files["/srv/a.pem"])[0];
        let Reading::Unknown { why, .. } = &leaf.key_match else { panic!("{kind}") };
        assert_eq!(why.kind, kind);
    }
}

#[test]
fn a_link_that_leads_to_nothing_is_missing_and_says_where_it_leads() {
    let current = format!("{PKI}/kubelet-client-current.pem");
    let host = worker().link(&current, &format!("{PKI}/gone.pem"));
    let facts = read(&host, &[], &plain(), &kubeadm_kubelet());
    let file = &facts.files[&current];
    assert!(matches!(file.certificates, Reading::Absent { .. }));
    assert_eq!(file.resolved.value(), Some(&format!("{PKI}/gone.pem")));
    let facts = read(&host.without(&current), &[], &plain(), &kubeadm_kubelet());
    assert!(matches!(facts.files[&current].resolved, Reading::Absent { .. }));
}

#[test]
fn the_swap_of_a_projected_volume_is_seen() {
    let host = MemoryHost::default()
        .file("/v/..1/tls.crt", CLIENT)
        .file("/v/..2/tls.crt", APISERVER)
        .link("/v/..data", "..1")
        .link("/v/tls.crt", "..data/tls.crt");
    let before = set(&host, &["/v/tls.crt"]);
    let after = set(&host.link("/v/..data", "..2"), &["/v/tls.crt"]);
    for (facts, resolved, subject) in [
        (&before, "/v/..1/tls.crt", "CN=system:node:node-1,O=system:nodes"),
        (&after, "/v/..2/tls.crt", "CN=kube-apiserver,O=system:masters"),
    ] {
        let file = &facts.files["/v/tls.crt"];
        assert_eq!(file.resolved.value().map(String::as_str), Some(resolved));
        assert_eq!(certificates(file)[0].subject, subject);
    }
}

#[test]
fn a_rewritten_file_of_equal_content_gives_equal_facts() {
    let host = MemoryHost::default().file("/a.pem", CLIENT);
    let touched = host.clone().modified("/a.pem", Moment::from_unix(1_900_000_000));
    assert_eq!(set(&host, &["/a.pem"]), set(&touched, &["/a.pem"]));
}
