//! The people's API, over real sockets and with the built-in rules.

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::http::route::ROUTES;
use crate::testing::Served;

/// A collector that has loaded its state.
async fn ready() -> Served {
    let served = Served::start(|_, _| {}).await;
    served.ask_until("/readyz", |heard| heard.status() == 200).await;
    served
}

#[tokio::test]
async fn every_question_is_answered_on_an_empty_store() {
    let served = ready().await;
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let names_one = ["{id}", "{name}", "{node}"].iter().any(|it| route.path.contains(it));
        if route.path == "/v1/watch" || names_one {
            continue;
        }
        if route.path == "/v1/plan" || route.path == "/v1/reboots" {
            let heard = served.ask("GET", route.path, "").await;
            assert_eq!(heard.kind(), "not-found", "{}: {heard:?}", route.path);
            assert!(heard.body().contains("without a reboot policy"), "{heard:?}");
            continue;
        }
        let target = route.path.replace("{path}", "kernel.release");
        let heard = served.ask("GET", &target, "").await;
        assert_eq!(heard.status(), 200, "{target}: {heard:?}");
        assert_eq!(heard.field("x-content-type-options"), Some("nosniff"));
        assert!(heard.field("content-security-policy").unwrap().contains("default-src 'none'"));
    }
    assert_eq!(served.ask("GET", "/v1/nodes/a", "").await.kind(), "not-found");
    assert_eq!(served.ask("DELETE", "/v1/nodes/a", "").await.kind(), "not-found");
    assert_eq!(served.ask("POST", "/v1/nodes/a", "").await.field("allow"), Some("GET, DELETE"));
    assert!(served.ask("GET", "/v1/rules", "").await.json()["rules"][0]["why"].is_string());
    served.stop().await;
}

#[tokio::test]
async fn whoever_has_the_newest_answer_is_told_so() {
    let served = ready().await;
    for target in ["/v1/rules", "/v1/nodes", "/v1/findings?by=node", "/v1/certificates"] {
        let first = served.ask("GET", target, "").await;
        let tag = first.field("etag").unwrap_or_else(|| panic!("{target}"));
        let again = served.ask("GET", target, &format!("if-none-match: \"x\", {tag}\r\n")).await;
        assert_eq!((again.status(), again.body()), (304, ""), "{target}");
        let other = served.ask("GET", target, "if-none-match: \"x\"\r\n").await;
        assert_eq!(other.status(), 200, "{target}");
    }
    let other = served.ask("GET", "/v1/findings", "").await;
    let tag = other.field("etag").unwrap();
    let filtered =
        served.ask("GET", "/v1/findings?by=node", &format!("if-none-match: {tag}\r\n")).await;
    assert_eq!(filtered.status(), 200, "the tag of another question");
    served.stop().await;
}

#[tokio::test]
async fn figures_end_as_openmetrics_demands() {
    let served = ready().await;
    let heard = served.ask("GET", "/metrics", NEWER).await;
    assert!(heard.body().ends_with("# EOF\n"));
    assert!(heard.body().contains("palisade_nodes{state=\"fresh\"} 0"), "{}", heard.body());
    assert!(heard.body().contains("palisade_upload_commit_seconds_bucket"), "{}", heard.body());
    served.stop().await;
}

/// What Prometheus asks for first.
const NEWER: &str = "accept: application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.1\r\n";

/// Names of the families that a text describes.
fn families(text: &str) -> Vec<&str> {
    let named = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    named.filter_map(|rest| rest.split_once(' ').map(|(name, _)| name)).collect()
}

#[tokio::test]
async fn figures_of_single_things_are_elsewhere_and_no_family_is_described_twice() {
    let served = ready().await;
    let mut seen = std::collections::BTreeSet::new();
    for target in ["/metrics", "/metrics/nodes", "/metrics/certificates"] {
        let older = served.ask("GET", target, "accept: */*\r\n").await;
        assert!(older.field("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        assert!(!older.body().contains("# EOF"), "{target}");
        let heard = served.ask("GET", target, NEWER).await;
        let media = heard.field("content-type").unwrap();
        assert!(media.starts_with("application/openmetrics-text"), "{target}: {media}");
        assert!(heard.body().ends_with("\n# EOF\n"), "{target}");
        assert_eq!(heard.body().matches("# EOF").count(), 1, "{target}");
        for family in families(heard.body()) {
            assert!(seen.insert(family.to_owned()), "{target}: {family}");
            let of_one = target == "/metrics/certificates" && family.starts_with("x509_");
            let ours = family.starts_with("palisade_");
            assert!(of_one || ours, "{target}: {family}");
        }
    }
    for family in [
        "palisade_certificate_earliest_end_seconds",
        "palisade_reboot_alerts",
        "palisade_reboot_look_seconds",
        "palisade_rule_findings",
        "x509_cert_not_after",
        "palisade_node_reboot_required",
    ] {
        assert!(seen.contains(family), "{family} of {seen:?}");
    }
    report(&served, "worker-1", "1").await;
    let found = |heard: &crate::testing::Heard| heard.body().contains("worker-1");
    assert!(!found(&served.ask("GET", "/metrics", "").await));
    served.stop().await;
}

const BOOT: &str = "0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11";

/// Sends what an agent would: heartbeat, manifest, sections. Gives the replies' statuses.
async fn report(served: &Served, node: &str, kptr_restrict: &str) {
    use palisade_report::Digest;
    use palisade_report::Manifest;
    use palisade_report::ManifestEntry;
    static SEQUENCE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let sysctls = format!(
        r#"{{"keys":{{"kernel.kptr_restrict":{{"next_boot":{{"origin":"no file","state":"absent"}},"running":{{"origin":"/proc/sys/kernel/kptr_restrict","state":"known","value":"{kptr_restrict}"}}}}}},"state":"known"}}"#
    );
    let mut manifest = Manifest::default();
    let size = sysctls.len().try_into().unwrap();
    let digest = Digest::of(sysctls.as_bytes());
    manifest.0.insert("sysctls".to_owned(), ManifestEntry { schema: 1, digest, size });
    let report = manifest.digest();
    let heartbeat = async |manifest: &str| {
        let sequence = SEQUENCE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let body = format!(
            r#"{{"wire":1,"agent":"0.1.0","report":"{report}","boot_id":"{BOOT}","sequence":{sequence},"sent_at":1{manifest}}}"#
        );
        let target = format!("/v1/nodes/{node}/heartbeat");
        let heard = served.tell("POST", &target, "", body.as_bytes()).await;
        assert_eq!(heard.status(), 200, "{heard:?}");
        heard.json()["want"].clone()
    };
    assert_eq!(heartbeat("").await, "manifest");
    let manifest = serde_json::to_string(&manifest).unwrap();
    let want = heartbeat(&format!(r#","manifest":{manifest}"#)).await;
    if want.is_null() {
        return;
    }
    assert_eq!(want["sections"][0], "sysctls");
    let body =
        format!(r#"{{"report":"{report}","boot_id":"{BOOT}","sections":{{"sysctls":{sysctls}}}}}"#);
    let target = format!("/v1/nodes/{node}/sections");
    let heard = served.tell("PUT", &target, "", body.as_bytes()).await;
    assert_eq!(heard.status(), 200, "{heard:?}");
    assert_eq!(heard.json()["stored"]["sysctls"], digest.to_string());
}

#[tokio::test]
async fn a_report_is_answered_by_every_question_and_seen_by_watchers() {
    let served = ready().await;
    let mut feed = served.connect().await;
    feed.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    read_until(&mut feed, &mut seen, "retry: ").await;
    report(&served, "worker-1", "0").await;
    read_until(&mut feed, &mut seen, "event: findings").await;
    let fails = |heard: &crate::testing::Heard| {
        heard.json()["findings"].as_array().is_some_and(|all| !all.is_empty())
    };
    let target = "/v1/findings?rule=sysctl.kptr-restrict&verdict=fail";
    let by_rule = served.ask_until(target, fails).await.json();
    assert_eq!(by_rule["findings"][0]["nodes"], 1);
    assert_eq!(by_rule["findings"][0]["examples"][0], "worker-1");
    report(&served, "worker-2", "0").await;
    report(&served, "worker-3", "1").await;
    served.ask_until(target, |heard| heard.json()["findings"][0]["nodes"] == 2).await;

    let page = served.ask("GET", &format!("{target}&by=node&limit=1"), "").await.json();
    assert_eq!(page["findings"][0]["node"], "worker-1");
    let next = page["next"].as_str().unwrap();
    let page =
        served.ask("GET", &format!("{target}&by=node&limit=1&after={next}"), "").await.json();
    assert_eq!(page["findings"][0]["node"], "worker-2");
    assert_eq!(page["next"], Value::Null);

    let csv = served.ask("GET", &format!("{target}&by=node&format=csv"), "").await;
    assert_eq!(csv.body().lines().count(), 3, "{}", csv.body());

    let nodes = served.ask("GET", "/v1/nodes?rule=sysctl.kptr-restrict", "").await.json();
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 2);
    // What is published may be a tenth of a second behind what was acknowledged.
    let published = |heard: &crate::testing::Heard| heard.json()["nodes"][0]["name"] == "worker-3";
    served.ask_until("/v1/nodes?name=*-3&state=fresh", published).await;

    let node = served.ask("GET", "/v1/nodes/worker-1?facts=sysctls", "").await.json();
    let keys = &node["sections"]["sysctls"]["facts"]["keys"];
    assert_eq!(keys["kernel.kptr_restrict"]["running"]["value"], "0");

    let sheet = served.ask("GET", "/v1/nodes/worker-1?format=text", "").await;
    assert!(sheet.field("content-type").unwrap().starts_with("text/plain"), "{sheet:?}");
    assert!(sheet.body().starts_with("worker-1 fresh since "), "{}", sheet.body());
    assert!(
        sheet.body().contains("\n        kernel.kptr_restrict = 0, wanted at least 1\n"),
        "{}",
        sheet.body()
    );
    assert_eq!(served.ask("GET", "/v1/nodes/a?format=text", "").await.kind(), "not-found");

    let target = "/v1/facts/sysctls.keys.kernel.kptr_restrict.running";
    let facts = served.ask("GET", target, "").await.json();
    assert_eq!(
        (&facts["answers"][0]["count"], &facts["answers"][0]["said"]["value"]),
        (&2.into(), &"0".into())
    );

    let history = served.ask("GET", "/v1/history?node=worker-1", "").await.json();
    assert!(!history["changes"].as_array().unwrap().is_empty(), "{history}");

    assert_eq!(served.ask("DELETE", "/v1/nodes/worker-1", "").await.status(), 204);
    served.ask_until("/v1/summary", |heard| heard.json()["nodes"]["gone"] == 1).await;
    drop(feed);
    served.stop().await;
}

async fn read_until(feed: &mut tokio::net::TcpStream, seen: &mut Vec<u8>, wanted: &str) {
    let reading = async {
        while !String::from_utf8_lossy(seen).contains(wanted) {
            assert_ne!(feed.read_buf(seen).await.unwrap(), 0, "the feed ended");
        }
    };
    tokio::time::timeout(crate::testing::PATIENCE, reading).await.unwrap();
}
