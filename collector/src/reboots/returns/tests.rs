//! Kernels that are whole or not, and certificates that last or not.

use serde_json::Value;
use serde_json::json;

use super::*;

/// Reports of captured nodes.
const CONTROL_PLANE: &str =
    include_str!("../../../../tests/golden/kubeadm-control-plane/report.json");
const MACHINE: &str = include_str!("../../../../tests/golden/debian-vm/report.json");

fn section<T: serde::de::DeserializeOwned>(report: &str, name: &str) -> T {
    let mut report: Value = serde_json::from_str(report).unwrap();
    serde_json::from_value(report[name].take()).unwrap()
}

fn kernel(release: &str, parts: &[KernelPart]) -> InstalledKernel {
    InstalledKernel { release: release.to_owned(), parts: parts.iter().copied().collect() }
}

#[test]
fn the_kernel_that_boots_next_needs_modules_and_what_the_running_one_has() {
    use KernelPart::Image;
    use KernelPart::Initrd;
    use KernelPart::Modules;
    let whole = kernel("6.1", &[Image, Initrd, Modules]);
    let bare = kernel("6.1", &[Image, Modules]);
    for (running, next, expected) in [
        (&whole, kernel("6.2", &[Image, Initrd, Modules]), vec![]),
        (&whole, kernel("6.2", &[Image, Modules]), vec!["has no initial RAM disk"]),
        (&whole, kernel("6.2", &[Image, Initrd]), vec!["has no modules"]),
        (&whole, kernel("6.2", &[]), vec!["has no modules", "has no initial RAM disk"]),
        (&bare, kernel("6.2", &[Image, Modules]), vec![]),
        (&whole, kernel("6.3", &[Image]), vec!["is not installed"]),
    ] {
        let installed = [running.clone(), next];
        let said = missing("6.2", Some("6.1"), &installed);
        let told: Vec<String> =
            expected.iter().map(|it| format!("the kernel 6.2, which boots next, {it}")).collect();
        assert_eq!(said, told, "{installed:?}");
    }
    // Whatever runs is not installed any more: nothing is known of what it needs.
    let said = missing("6.2", Some("6.0"), &[kernel("6.2", &[Image, Modules])]);
    assert_eq!(said, <[String; 0]>::default());
}

#[test]
fn captured_nodes_are_judged_by_their_kernels_as_they_are_and_as_they_are_broken() {
    let told = |report: &str, change: fn(&mut Value)| {
        let mut facts: Value = section(report, "kernel");
        change(&mut facts);
        lacks(&serde_json::from_value(facts).unwrap()).join("; ")
    };
    let whole = |_: &mut Value| {};
    assert_eq!(told(CONTROL_PLANE, whole), "");
    // Its kernel comes from outside.
    assert_eq!(told(MACHINE, whole), "");
    let next = "the kernel 6.1.0-50-amd64, which boots next,";
    let said = told(CONTROL_PLANE, |facts| {
        facts["installed"]["value"][1]["parts"] = json!(["image", "modules"]);
    });
    assert_eq!(said, format!("{next} has no initial RAM disk"));
    let said = told(CONTROL_PLANE, |facts| {
        facts["installed"]["value"].as_array_mut().unwrap().pop();
    });
    assert_eq!(said, format!("{next} is not installed"));
    let said = told(CONTROL_PLANE, |facts| facts["installed"] = unknown());
    assert!(said.ends_with("not allowed"), "{said}");
    let said = told(CONTROL_PLANE, |facts| {
        facts["boot_default"] = unknown();
        facts["newest"] = unknown();
    });
    assert!(said.ends_with("not allowed"), "{said}");
}

fn unknown() -> Value {
    json!({ "state": "unknown", "origin": "here", "why": { "kind": "permission", "detail": "not allowed" } })
}

const ROTATED: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

fn file(why: &str, held: &Value) -> Value {
    json!({
        "watched": [why], "expected": "required",
        "resolved": { "state": "absent", "origin": "here" }, "certificates": held,
    })
}

fn certificates(files: &Value) -> Certificates {
    serde_json::from_value(json!({ "files": files })).unwrap()
}

fn certificate(class: &str, from: i64, until: i64) -> Value {
    let absent = json!({ "state": "absent", "origin": "here" });
    let at = |at: i64| json!({ "state": "known", "value": at, "origin": "here" });
    json!({
        "fingerprint": "ab".repeat(32), "index": 0, "subject": "", "issuer": "", "serial": "1",
        "names": [], "key": { "kind": "ec", "bits": 256 }, "signature": "x",
        "not_before": at(from), "not_after": at(until), "class": class, "usages": ["clientAuth"],
        "key_match": absent, "chain": absent,
    })
}

fn known(value: &Value) -> Value {
    json!({ "state": "known", "value": value, "origin": "here" })
}

#[test]
fn the_kubelets_last_client_certificate_counts_and_what_cannot_be_read_is_told() {
    let times = |from, until| Ok(Some((Moment::from_unix(from), Moment::from_unix(until))));
    let rotates = "kubelet rotateCertificates";
    let two = json!([
        certificate("leaf", 1, 5),
        certificate("authority", 0, 99),
        certificate("leaf", 2, 9)
    ]);
    let of = |held: Value| client(&certificates(&json!({ ROTATED: file(rotates, &held) })));
    assert_eq!(of(known(&two)), times(2, 9));
    assert_eq!(of(known(&json!([certificate("authority", 0, 9)]))), Ok(None));
    assert!(of(unknown()).unwrap_err().contains("not allowed"));
    let mut endless = certificate("leaf", 1, 5);
    endless["not_after"] = unknown();
    assert!(of(known(&json!([endless]))).unwrap_err().contains("without"));
    assert_eq!(client(&certificates(&json!({}))), Ok(None));
    // The one that it came with has ended; the one that it renewed has not, wherever it lies.
    let both = json!({
        "/etc/kubernetes/kubelet.conf": file("kubelet --kubeconfig", &known(&json!([certificate("leaf", 0, 4)]))),
        "/srv/pki/kubelet-client-current.pem": file(rotates, &known(&json!([certificate("leaf", 3, 8)]))),
        "/etc/kubernetes/admin.conf": file("kubeadm inventory", &known(&json!([certificate("leaf", 0, 99)]))),
    });
    assert_eq!(client(&certificates(&both)), times(3, 8));
    // That of a captured node, which its kubeconfig embeds.
    let captured = client(&section(CONTROL_PLANE, "certificates"));
    assert_eq!(captured, times(1_795_328_813, 1_826_865_114));
    assert_eq!(client(&section(MACHINE, "certificates")), Ok(None), "no kubelet");
}

#[test]
fn a_certificate_that_is_gone_is_not_one_that_the_kubelet_never_had() {
    const KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";
    let absent = json!({ "state": "absent", "origin": "here" });
    let rotated = |expected: &str, resolved: &Value| {
        json!({
            "watched": ["kubelet rotateCertificates"], "expected": expected,
            "resolved": resolved, "certificates": absent,
        })
    };
    let link = known(&json!("/var/lib/kubelet/pki/kubelet-client-2026-11-22.pem"));
    let embeds = file("kubelet --kubeconfig", &known(&json!([certificate("leaf", 0, 4)])));
    let names = file("kubelet --kubeconfig", &known(&json!([])));
    let of = |rotated: Value, kubeconfig: &Value| {
        client(&certificates(&json!({ ROTATED: rotated, KUBECONFIG: kubeconfig })))
    };
    let why = format!("{ROTATED} is gone, or leads to nothing");
    let gone = Err(why.clone());
    assert_eq!(of(rotated("optional", &link), &names), gone, "its last one was taken away");
    assert_eq!(of(rotated("required", &absent), &names), gone, "its kubeconfig names it");
    assert_eq!(of(rotated("optional", &absent), &names), Ok(None), "by a token");
    let fallen_back = Ok(Some((Moment::from_unix(0), Moment::from_unix(4))));
    assert_eq!(of(rotated("optional", &link), &embeds), fallen_back);
    let client = Known::Unknown(why);
    let (said, _) = runs_out(&client, &Pool::default(), Moment::from_unix(0)).unwrap();
    assert!(said.ends_with("is gone, or leads to nothing"), "{said}");
}

#[test]
fn what_the_kubeconfig_names_as_its_users_is_the_certificate_and_no_other_file_is() {
    const KUBECONFIG: &str = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig";
    let names = file("kubelet --kubeconfig", &known(&json!([])));
    let of = |why: &str, held: &Value| {
        client(&certificates(&json!({ KUBECONFIG: names, "/client.crt": file(why, held) })))
    };
    let held = known(&json!([certificate("leaf", 0, 4)]));
    let users = format!("kubeconfig {KUBECONFIG} (user local)");
    assert_eq!(of(&users, &held), Ok(Some((Moment::from_unix(0), Moment::from_unix(4)))));
    let absent = json!({ "state": "absent", "origin": "here" });
    let gone = Err("/client.crt is gone, or leads to nothing".to_owned());
    assert_eq!(of(&users, &absent), gone);
    let another = "kubeconfig /etc/kubernetes/scheduler.conf (user system:kube-scheduler)";
    let longer = format!("kubeconfig {KUBECONFIG}.d/x (user local)");
    for other in [another, &longer, &format!("kubeconfig {KUBECONFIG} (cluster local)")] {
        assert_eq!(of(other, &held), Ok(None), "{other}");
    }
}

#[test]
fn a_certificate_must_last_for_a_reboot_and_a_day_or_a_tenth_of_its_life() {
    let pool = Pool::default();
    let at = Moment::from_unix;
    let takes = pool.deadlines.reboot_without_history_secs;
    let (year, day) = (365 * 86_400, 86_400);
    for (life, last) in [(year, year - day - takes), (day, day - day / 10 - takes), (1_000, 800)] {
        let client = Known::Known(Some((at(0), at(life))));
        assert_eq!(latest(&client, &pool), Some(at(last)), "{life}");
        assert_eq!(runs_out(&client, &pool, at(last - 1)), None, "{life}");
        let (value, since) = runs_out(&client, &pool, at(last + 5)).unwrap();
        assert!(value.contains(&format!("ends at {}", at(life))), "{value}");
        assert_eq!(since, at(last), "{life}");
        let (value, _) = runs_out(&client, &pool, at(life)).unwrap();
        assert!(value.contains("ended at"), "{value}");
    }
    assert_eq!(runs_out(&Known::Known(None), &pool, at(0)), None);
    let unknown = Known::Unknown("not allowed".to_owned());
    assert!(runs_out(&unknown, &pool, at(0)).unwrap().0.ends_with("not allowed"));
    assert_eq!(latest(&unknown, &pool), None);
    // It presses only where the kubelet should have renewed it by then.
    for (life, expected) in
        [(year, Some(year - 8 * day - takes)), (7 * day, None), (day, None), (0, None)]
    {
        let client = Known::Known(Some((at(0), at(life))));
        assert_eq!(due_by(&client, &pool), expected.map(at), "{life}");
    }
    assert_eq!(due_by(&unknown, &pool), None);
    // One that has ended long ago, or says that it begins after its end.
    assert!(runs_out(&Known::Known(Some((at(9), at(5)))), &pool, at(5)).is_some());
}
