//! What a stolen node token is good for: its own node, and nothing else. A table of attacks, each from
//! an address of its own, so that each is found again in the audit.

use std::collections::BTreeMap;

use super::forge;
use super::*;

/// What must come of an attack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// 403, and an entry under this kind.
    Forbidden(&'static str),
    /// 401, and an entry that a token was refused.
    Unknown,
    /// Refused before anybody claims to be anybody: nothing to note.
    Nobody(u16),
}

struct Attack {
    name: String,
    method: &'static str,
    target: String,
    fields: Vec<String>,
    body: String,
    fate: Fate,
}

const MISMATCH: Fate = Fate::Forbidden("identity-mismatch");
const DENIED: Fate = Fate::Forbidden("access-denied");
const REFUSED: Fate = Fate::Forbidden("token-refused");

/// For how long an API server goes on accepting a token that it accepted.
const API_SERVER_REMEMBERS: Duration = Duration::from_secs(10);

const OWN: &str = "/v1/nodes/worker-1/heartbeat";

/// Names that are not `worker-1`, however much they look like it.
const NAMES: [&str; 14] = [
    "worker-2",
    "worker-3",
    "worker-9",
    "WORKER-1",
    "Worker-1",
    "worker-1.",
    "worker%2D2",
    "%77orker-2",
    "worker-1%20",
    "worker-1%00",
    "worker-1%0a",
    "worker-1%2f..%2fworker-2",
    "worker%EF%BC%8D1",
    "worker-1%E2%80%AE",
];

#[derive(Default)]
struct Table(Vec<Attack>);

impl Table {
    fn add(
        &mut self,
        name: impl Into<String>,
        method: &'static str,
        target: impl Into<String>,
        fields: Vec<String>,
        body: String,
        fate: Fate,
    ) {
        let (name, target) = (name.into(), target.into());
        self.0.push(Attack { name, method, target, fields, body, fate });
    }

    /// A token at the address of the node that was robbed.
    fn token(&mut self, name: &str, token: &str, fate: Fate) {
        self.add(name, "POST", OWN, vec![bearer(token)], heartbeat(""), fate);
    }
}

#[test]
fn scenario_47_a_stolen_node_token_is_good_for_its_own_node_and_nothing_else() {
    let cluster = ControlPlane::start();
    cluster.namespace(NAMESPACE, &["palisade-agent", "another"]);
    cluster.namespace("other", &["palisade-agent"]);
    let kubeconfig = cluster.kubeconfig().to_owned();
    let bench = Bench::start(cluster, &kubeconfig);
    let viewer = bench.person("viewer", &["get", "list"]);
    let nobody = bench.person("nobody", &[]);
    for node in ["worker-1", "worker-2", "worker-3", "worker-4"] {
        bench.cluster.node(node);
    }
    let pods = ["worker-1", "worker-2", "worker-3", "worker-4"].map(|node| bench.agent_pod(node));
    let tokens = pods.each_ref().map(|pod| bench.agent_token(pod));
    let stolen = &tokens[0];
    let victims = Victims { viewer: &viewer, nobody: &nobody, pods: &pods, tokens: &tokens };
    runtime().block_on(async {
        bench.ready(&viewer).await;
        for (token, node) in tokens.iter().zip(["worker-1", "worker-2", "worker-3", "worker-4"]) {
            let heard = bench.beat(token, node).await;
            assert_eq!(heard.status, 200, "{heard:?}");
        }
        // One node is deleted, another one is made anew under its name, a pod is deleted.
        let api = bench.cluster.api();
        let pod = |node: &str| format!("/api/v1/namespaces/{NAMESPACE}/pods/palisade-agent-{node}");
        let late = bench.agent_token(&pods[1]);
        api.must(Call::delete(pod("worker-2")));
        for node in ["worker-3", "worker-4"] {
            api.must(Call::delete(format!("/api/v1/nodes/{node}")));
        }
        bench.cluster.node("worker-4");
        let deleted = Instant::now();
        let gone = |status| move |heard: &Heard| heard.status == status;
        // The API server accepts the pod's token for ten seconds more; we do not wait for that.
        let ask = async || bench.beat(&tokens[1], "worker-2").await;
        let said = |heard: &Heard| {
            heard.status == 401
                && (heard.text.contains("the pod of this token is gone")
                    || deleted.elapsed() > API_SERVER_REMEMBERS)
        };
        bench.until("a deleted pod is refused before its token is", ask, said).await;
        println!("a deleted pod was refused after {:?}", deleted.elapsed());
        for (at, node, status) in [(1, "worker-2", 401), (2, "worker-3", 403), (3, "worker-4", 403)]
        {
            let ask = async || bench.beat(&tokens[at], node).await;
            bench.until("what is gone is refused, though it was known", ask, gone(status)).await;
        }
        // That is said faster than the rest follows, which would pass for a change of an attack.
        let remade = bench.cluster.get("/api/v1/nodes/worker-4")["metadata"]["uid"].clone();
        let ask = async || bench.get(&viewer, "/v1/nodes").await;
        let settled = |heard: &Heard| {
            let nodes = heard.json();
            let find = |name: &str| {
                let mut nodes = nodes["nodes"].as_array().into_iter().flatten();
                nodes.find(|node| node["name"] == name).cloned().unwrap_or_default()
            };
            find("worker-3")["cluster"].is_null() && find("worker-4")["uid"] == remade
        };
        bench.until("what was deleted is seen", ask, settled).await;
        // What follows changes nothing that people see.
        let before = picture(&bench, &viewer).await;
        let mut table = table(&bench, &victims);
        table.token("the pod was deleted before the token was used", &late, Fate::Unknown);
        println!("{} attacks on the collector", table.0.len());
        assert!(table.0.len() >= 60, "{} attacks", table.0.len());
        let began = Instant::now();
        for (number, attack) in table.0.iter().enumerate() {
            let Attack { name, method, target, fields, body, fate } = attack;
            let heard = bench.way.say(source(number), method, target, fields, body).await;
            let (status, kind) = match fate {
                Fate::Forbidden("identity-mismatch") => (403, "identity-mismatch"),
                Fate::Forbidden(_) => (403, "forbidden"),
                Fate::Unknown => (401, "unauthenticated"),
                Fate::Nobody(status) => (*status, ""),
            };
            assert_eq!(heard.status, status, "{name}: {method} {target}: {heard:?}");
            if !kind.is_empty() && *method != "HEAD" {
                assert_eq!(heard.kind(), kind, "{name}: {heard:?}");
            }
        }
        println!("refused in {:?}", began.elapsed());
        assert_eq!(picture(&bench, &viewer).await, before, "nothing changed");
        let honest = bench.beat(stolen, "worker-1").await;
        assert_eq!(honest.status, 200, "the robbed node itself goes on: {honest:?}");
        in_the_audit(&bench, &viewer, &table).await;
    });
    at_the_api_server(&bench, stolen, &pods[0]);
    no_secret_is_anywhere(&bench, &tokens, &viewer);
}

/// Each attack comes from an address of its own.
fn source(number: usize) -> Ipv4Addr {
    let number = u16::try_from(number).expect("few attacks").to_be_bytes();
    Ipv4Addr::new(127, 1, number[0], number[1] + 1)
}

struct Victims<'a> {
    viewer: &'a str,
    nobody: &'a str,
    pods: &'a [BoundPod; 4],
    tokens: &'a [String; 4],
}

fn table(bench: &Bench, victims: &Victims<'_>) -> Table {
    let mut table = Table::default();
    let stolen = victims.tokens[0].as_str();
    let as_stolen = || vec![bearer(stolen)];
    for name in NAMES {
        let target = format!("/v1/nodes/{name}/heartbeat");
        table.add(
            format!("speaks as {name}"),
            "POST",
            target,
            as_stolen(),
            heartbeat(""),
            MISMATCH,
        );
        let target = format!("/v1/nodes/{name}/sections");
        table.add(format!("uploads as {name}"), "PUT", target, as_stolen(), upload(""), MISMATCH);
    }
    for (what, named) in [
        ("another node", r#","node":"worker-2""#),
        ("another case", r#","node":"WORKER-1""#),
        ("a list", r#","node":["worker-1"]"#),
    ] {
        let name = format!("the body names {what}");
        table.add(&*name, "POST", OWN, as_stolen(), heartbeat(named), MISMATCH);
        let target = "/v1/nodes/worker-1/sections";
        table.add(name, "PUT", target, as_stolen(), upload(named), MISMATCH);
    }
    // An answer to a grant of another node, and one of its own that names another.
    let id = "01010101-0101-0101-0101-010101010101";
    for node in NAMES {
        let target = format!("/v1/nodes/{node}/grants/{id}");
        table.add(
            format!("a grant of {node}"),
            "POST",
            target,
            as_stolen(),
            executing(""),
            MISMATCH,
        );
    }
    let (own, named) = (format!("/v1/nodes/worker-1/grants/{id}"), r#","node":"worker-2""#);
    table.add("a grant in another's name", "POST", own, as_stolen(), executing(named), MISMATCH);
    forged(&mut table, bench, stolen);
    of_others(&mut table, bench, victims);
    said_oddly(&mut table, victims);
    at_peoples_addresses(&mut table, bench, victims);
    table
}

/// Tokens that nobody gave out.
fn forged(table: &mut Table, bench: &Bench, stolen: &str) {
    let key = std::fs::read_to_string(bench.cluster.directory().join("pki/sa.key")).expect("a key");
    let other_key = KeyPairs::another();
    let [header, claims, signature] = forge::parts(stolen);
    let same = |_: &mut Value| {};
    let now = |claims: &mut Value, secs: i64| {
        for name in ["iat", "nbf", "exp"] {
            let at = claims[name].as_i64().expect("a moment");
            claims[name] = json!(at + secs);
        }
    };
    let other_node = |claims: &mut Value| {
        claims["kubernetes.io"]["node"] = json!({ "name": "worker-2", "uid": "a" });
    };
    for (name, token) in [
        ("expired", forge::signed(stolen, &key, |claims| now(claims, -7200))),
        ("not valid yet", forge::signed(stolen, &key, |claims| now(claims, 7200))),
        ("of another issuer", forge::signed(stolen, &key, |it| it["iss"] = json!("https://other"))),
        (
            "for another audience, claimed",
            forge::signed(stolen, &key, |it| it["aud"] = json!(["x"])),
        ),
        (
            "of a pod that never was",
            forge::signed(stolen, &key, |it| {
                it["kubernetes.io"]["pod"] = json!({ "name": "x", "uid": "y" });
            }),
        ),
        (
            "of another account's UID",
            forge::signed(stolen, &key, |it| {
                it["kubernetes.io"]["serviceaccount"]["uid"] = json!("y");
            }),
        ),
        ("signed by another key", forge::signed(stolen, &other_key, same)),
        ("another node put in", forge::altered(stolen, same, other_node)),
        (
            "a longer life put in",
            forge::altered(stolen, same, |it| it["exp"] = json!(9_999_999_999_u64)),
        ),
        ("alg none", forge::altered(stolen, |it| it["alg"] = json!("none"), same)),
        ("alg NONE", forge::altered(stolen, |it| it["alg"] = json!("NONE"), same)),
        ("alg HS256", forge::altered(stolen, |it| it["alg"] = json!("HS256"), same)),
        ("no alg", forge::altered(stolen, |it| it["alg"] = json!(null), same)),
        (
            "kid of a file",
            forge::altered(stolen, |it| it["kid"] = json!("../../../dev/null"), same),
        ),
        (
            "a key brought along",
            forge::altered(stolen, |it| it["jwk"] = json!({ "kty": "oct" }), same),
        ),
        ("claims that are a list", format!("{header}.{}.{signature}", forge::encode(b"[]"))),
        ("claims that are no JSON", format!("{header}.{}.{signature}", forge::encode(b"{"))),
        ("no signature", format!("{header}.{claims}.")),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{stolen}.{signature}")),
        ("cut off", stolen[..stolen.len() - 10].to_owned()),
        ("cut in the middle", stolen[..stolen.len() / 2].to_owned()),
        ("padded", format!("{stolen}==")),
        ("oversized", "a".repeat(9000)),
        ("oversized claims", format!("{header}.{}.{signature}", "e30".repeat(3000))),
        ("not base64url", "+++.///.===".to_owned()),
        ("a space in it", format!("{header}. {claims}.{signature}")),
        ("a word", "palisade".to_owned()),
    ] {
        table.token(name, &token, Fate::Unknown);
    }
}

/// Tokens that the API server gave out, for something else.
fn of_others(table: &mut Table, bench: &Bench, victims: &Victims<'_>) {
    let Victims { viewer, nobody, pods, tokens } = victims;
    let give = |namespace: &str, account: &str, audience: &str, pod: Option<&BoundPod>| {
        bench.cluster.token(namespace, account, audience, 600, pod)
    };
    let own = Some(&pods[0]);
    let namesake = bench.cluster.pod("other", "namesake", "palisade-agent", "worker-1");
    let fellow = bench.cluster.pod(NAMESPACE, "fellow", "another", "worker-1");
    for (name, token) in [
        ("for another audience", give(NAMESPACE, "palisade-agent", "another", own)),
        ("for the API server", give(NAMESPACE, "palisade-agent", "", own)),
        ("a viewer's", (*viewer).to_owned()),
        ("a person's without rights", (*nobody).to_owned()),
    ] {
        table.token(name, &token, Fate::Unknown);
    }
    for (name, token) in [
        (
            "of a namesake in another namespace",
            give("other", "palisade-agent", "palisade", Some(&namesake)),
        ),
        ("of another account beside", give(NAMESPACE, "another", "palisade", Some(&fellow))),
        ("of a person, for us", give(NAMESPACE, "viewer", "palisade", None)),
        ("of the account, bound to no pod", give(NAMESPACE, "palisade-agent", "palisade", None)),
    ] {
        table.token(name, &token, REFUSED);
    }
    let at = |node: &str| format!("/v1/nodes/{node}/heartbeat");
    for (name, token, node, fate) in [
        ("of a deleted pod", &tokens[1], "worker-2", Fate::Unknown),
        ("of a deleted node", &tokens[2], "worker-3", REFUSED),
        ("of a node that was made anew", &tokens[3], "worker-4", MISMATCH),
        ("of a node that was made anew, as another", &tokens[3], "worker-1", MISMATCH),
    ] {
        table.add(name, "POST", at(node), vec![bearer(token)], heartbeat(""), fate);
    }
}

/// The right token, said in a way that two readers would understand differently.
fn said_oddly(table: &mut Table, victims: &Victims<'_>) {
    let [stolen, other, ..] = victims.tokens;
    for (name, fields, fate) in [
        ("twice the same", vec![bearer(stolen), bearer(stolen)], Fate::Unknown),
        ("two tokens", vec![bearer(other), bearer(stolen)], Fate::Unknown),
        (
            "a token and nothing",
            vec![bearer(stolen), "authorization: Basic eDp5".to_owned()],
            Fate::Unknown,
        ),
        ("two in one field", vec![format!("{}, Bearer {other}", bearer(stolen))], Fate::Unknown),
        ("as Basic", vec![format!("authorization: Basic {stolen}")], Fate::Nobody(401)),
        ("without a scheme", vec![format!("authorization: {stolen}")], Fate::Nobody(401)),
        ("an empty one", vec!["authorization: Bearer ".to_owned()], Fate::Nobody(401)),
        ("in another field", vec![format!("x-authorization: Bearer {stolen}")], Fate::Nobody(401)),
        ("as a cookie", vec![format!("cookie: token={stolen}")], Fate::Nobody(401)),
        (
            "with headers of a front proxy",
            vec![
                "x-remote-user: system:admin".to_owned(),
                "x-remote-group: system:masters".to_owned(),
                "impersonate-user: system:admin".to_owned(),
            ],
            Fate::Nobody(401),
        ),
    ] {
        table.add(name, "POST", OWN, fields, heartbeat(""), fate);
    }
    let target = format!("{OWN}?access_token={stolen}");
    table.add("in the address", "POST", target, Vec::new(), heartbeat(""), Fate::Nobody(401));
}

/// The addresses of people.
fn at_peoples_addresses(table: &mut Table, bench: &Bench, victims: &Victims<'_>) {
    let Victims { viewer, nobody, pods, tokens } = victims;
    let for_api_server = bench.cluster.token(NAMESPACE, "palisade-agent", "", 600, Some(&pods[0]));
    for target in [
        "/",
        "/v1/summary",
        "/v1/nodes",
        "/v1/nodes/worker-1",
        "/v1/nodes/worker-2",
        "/v1/findings",
        "/v1/certificates",
        "/v1/facts/kernel.release",
        "/v1/rules",
        "/v1/history",
        "/v1/audit",
        "/v1/watch",
        "/metrics",
        "/openapi.json",
    ] {
        let fields = vec![bearer(&tokens[0])];
        table.add(format!("asks {target}"), "GET", target, fields, String::new(), DENIED);
    }
    for (name, method, token, target) in [
        ("retires another node", "DELETE", &tokens[0], "/v1/nodes/worker-2"),
        ("retires itself", "DELETE", &tokens[0], "/v1/nodes/worker-1"),
        ("asks by HEAD", "HEAD", &tokens[0], "/v1/nodes"),
        ("asks with a token for the API server", "GET", &for_api_server, "/v1/nodes"),
        (
            "retires with a token for the API server",
            "DELETE",
            &for_api_server,
            "/v1/nodes/worker-2",
        ),
    ] {
        table.add(name, method, target, vec![bearer(token)], String::new(), DENIED);
    }
    for (name, method, token, target) in [
        ("a viewer retires a node", "DELETE", viewer, "/v1/nodes/worker-2"),
        ("somebody without rights asks", "GET", nobody, "/v1/nodes"),
        ("somebody without rights asks for figures", "GET", nobody, "/metrics"),
    ] {
        table.add(name, method, target, vec![bearer(token)], String::new(), DENIED);
    }
    for (name, method, target, status) in [
        ("posts where people ask", "POST", "/v1/nodes", 405),
        ("puts a node", "PUT", "/v1/nodes/worker-2", 405),
        ("patches a node", "PATCH", "/v1/nodes/worker-2", 405),
        ("climbs up", "POST", "/v1/nodes/worker-1/../worker-2/heartbeat", 404),
    ] {
        let fields = vec![bearer(&tokens[0])];
        table.add(name, method, target, fields, heartbeat(""), Fate::Nobody(status));
    }
}

/// A key of nobody.
struct KeyPairs;

impl KeyPairs {
    fn another() -> String {
        palisade_tests::cluster::pki::Pair::signing_key().key
    }
}

/// All that people see and an attack could change.
async fn picture(bench: &Bench, viewer: &str) -> BTreeMap<&'static str, Value> {
    let mut picture = BTreeMap::new();
    for target in [
        "/v1/nodes",
        "/v1/nodes/worker-2",
        "/v1/findings?by=node",
        "/v1/history",
        "/v1/certificates",
    ] {
        let heard = bench.get(viewer, target).await;
        assert_eq!(heard.status, 200, "{target}: {heard:?}");
        picture.insert(target, heard.json());
    }
    picture
}

/// Every attack that claimed to be somebody is found in the audit by its address.
async fn in_the_audit(bench: &Bench, viewer: &str, table: &Table) {
    let wanted: BTreeMap<String, (&str, &Attack)> = table
        .0
        .iter()
        .enumerate()
        .filter_map(|(number, attack)| {
            let kind = match attack.fate {
                Fate::Forbidden(kind) => kind,
                Fate::Unknown => "token-refused",
                Fate::Nobody(_) => return None,
            };
            Some((source(number).to_string(), (kind, attack)))
        })
        .collect();
    let mut entries = Vec::new();
    let deadline = Instant::now() + WITHIN;
    loop {
        let heard = bench.get(viewer, "/v1/audit?limit=1000").await;
        entries = heard.json()["entries"].as_array().cloned().unwrap_or(entries);
        let kept = |from: &String| entries.iter().any(|it| it["entry"]["source"] == from.as_str());
        let missing: Vec<_> = wanted.iter().filter(|(from, _)| !kept(from)).collect();
        if missing.is_empty() {
            break;
        }
        let names: Vec<_> = missing.iter().map(|(_, (_, attack))| &attack.name).collect();
        assert!(Instant::now() < deadline, "not in the audit: {names:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (from, (kind, attack)) in &wanted {
        let entry = entries.iter().find(|it| it["entry"]["source"] == from.as_str());
        let entry = &entry.unwrap_or_else(|| panic!("{}", attack.name))["entry"];
        assert_eq!(entry["kind"], *kind, "{}: {entry}", attack.name);
        assert_eq!(entry["decision"], "refused", "{}: {entry}", attack.name);
        if attack.name.starts_with("speaks as") {
            assert_eq!(entry["actor"]["name"], "worker-1", "{entry}");
            assert!(entry["actor"]["credential"].as_str().is_some_and(|it| it.starts_with("JTI=")));
            assert_eq!(entry["severity"], "high", "{entry}");
        }
    }
    println!("{} of them are in the audit", wanted.len());
    let filtered =
        bench.get(viewer, "/v1/audit?kind=identity-mismatch&actor=node:worker-1&limit=1000").await;
    let filtered = filtered.json();
    let filtered = filtered["entries"].as_array().expect("entries");
    assert!(filtered.len() >= 2 * NAMES.len(), "{}", filtered.len());
    assert!(filtered.iter().all(|it| it["entry"]["kind"] == "identity-mismatch"));
}

/// The same token, and one for the API server, at the API server itself: all refused, and in its log.
fn at_the_api_server(bench: &Bench, stolen: &str, pod: &BoundPod) {
    let for_api_server = bench.cluster.token(NAMESPACE, "palisade-agent", "", 600, Some(pod));
    let node = json!({ "spec": { "unschedulable": true } });
    let account = json!({ "metadata": { "name": "x" } });
    let reach = json!({
        "metadata": { "name": "x" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
    });
    let own = format!("/api/v1/namespaces/{NAMESPACE}");
    let calls = || {
        vec![
            Call::get("/api/v1/nodes"),
            Call::get("/api/v1/nodes/worker-1"),
            Call::merge("/api/v1/nodes/worker-1", &node),
            Call::merge("/api/v1/nodes/worker-1/status", &node),
            Call::delete("/api/v1/nodes/worker-2"),
            Call::get(format!("{own}/pods")),
            Call::post(format!("{own}/pods"), &account),
            Call::get("/api/v1/secrets"),
            Call::get(format!("{own}/secrets/palisade-collector-tls")),
            Call::get(format!("{own}/configmaps/palisade-trust")),
            Call::merge(format!("{own}/configmaps/palisade-trust"), &account),
            Call::post(
                format!("{own}/serviceaccounts/palisade-agent/token"),
                &json!({ "spec": {} }),
            ),
            Call::post(
                "/apis/authentication.k8s.io/v1/tokenreviews",
                &json!({ "spec": { "token": "x" } }),
            ),
            Call::post(
                "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                &json!({ "spec": { "user": "x" } }),
            ),
            Call::post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &reach),
            Call::delete(format!(
                "/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/palisade-collector"
            )),
        ]
    };
    let mut refused = 0;
    for (token, status) in [(stolen, 401), (&*for_api_server, 403)] {
        let api = bench.cluster.api_with_token(token);
        for call in calls() {
            let what = format!("{call:?}");
            let answer = api.send(call).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
            refused += 1;
        }
    }
    let user = format!("system:serviceaccount:{NAMESPACE}:palisade-agent");
    let log = bench.cluster.audit_log();
    let logged = log
        .iter()
        .filter(|event| event["user"]["username"] == user.as_str())
        .filter(|event| event["responseStatus"]["code"] == 403)
        .count();
    println!(
        "{refused} attacks on the API server refused, {logged} of them by name in its audit log"
    );
    assert_eq!(logged, calls().len());
    let node = bench.cluster.get("/api/v1/nodes/worker-1");
    assert_ne!(node["spec"]["unschedulable"], true, "{node}");
}

/// Neither a token nor a digest of one is in the audit or in the log.
fn no_secret_is_anywhere(bench: &Bench, tokens: &[String; 4], viewer: &str) {
    let audit = runtime().block_on(bench.get(viewer, "/v1/audit?limit=1000")).text;
    let log = bench.collector.process.log().join("\n");
    for token in tokens {
        let [_, claims, signature] = forge::parts(token);
        let digest = palisade_report::Digest::of(token.as_bytes());
        for secret in [signature, claims, &digest.to_string(), &digest.short()] {
            assert!(!audit.contains(secret), "a token in the audit");
            assert!(!log.contains(secret), "a token in the log");
        }
    }
}
