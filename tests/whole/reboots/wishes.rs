//! What people want: a reboot asked for, called off, and who may; each through the API, which the API
//! server's own authorizer guards.

use hyper::Method;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::bench::HURRIED;
use super::bench::WITHIN;

#[test]
fn scenario_44_what_a_person_asks_for_is_done_called_off_and_told() {
    let bench = Bench::start(2);
    let collector = bench.collector("one", HURRIED);
    let [operator, viewer] = ["operator", "viewer"].map(|role| bench.person(role, &collector));
    let agents = bench.live(&collector);
    let wish = |node: &str| json!({ "node": node, "note": "new firmware" });

    // Who may only look may not ask; who may ask may not let go of what failed.
    wait::until("the coordinator is there", WITHIN, || {
        let plan = viewer.says(Method::GET, "/v1/plan", &Value::Null);
        if plan.status == 200 { Ok(()) } else { Err(plan.text()) }
    });
    assert_eq!(viewer.says(Method::POST, "/v1/reboots", &wish("node-0")).status, 403);
    let release = "/v1/reboots/node-0/release";
    assert_eq!(operator.says(Method::POST, release, &Value::Null).status, 403);
    let unknown = operator.says(Method::POST, "/v1/reboots", &wish("node-9"));
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    assert!(bench.requests().is_empty(), "nothing came of any of that");

    // One that may not go on is called off, and leaves nothing behind.
    bench.cluster.kubectl(&["annotate", "node", "node-1", "palisade.dev/hold=migration"]);
    let asked = operator.says(Method::POST, "/v1/reboots", &wish("node-1"));
    assert_eq!(asked.status, 200, "{}", asked.text());
    bench.until_state(&collector, "node-1", "Blocked");
    wait::until("it is explained", WITHIN, || {
        let explained =
            viewer.says(Method::GET, "/v1/nodes/node-1/explain?format=text", &Value::Null);
        let text = explained.text();
        let shut = text.lines().any(|it| it.starts_with("> hold") && it.contains("migration"));
        if shut { Ok(()) } else { Err(text) }
    });
    let off = operator.says(Method::DELETE, "/v1/reboots/node-1", &Value::Null);
    assert_eq!(off.status, 200, "{}", off.text());
    bench.until_no_requests(&collector);
    let again = operator.says(Method::DELETE, "/v1/reboots/node-1", &Value::Null);
    assert_eq!(again.status, 404, "{}", again.text());
    assert_eq!(agents.reboots(), <[String; 0]>::default());

    // One that may goes the whole way, in the name of who asked.
    let asked = operator.says(Method::POST, "/v1/reboots", &wish("node-0"));
    assert_eq!(asked.status, 200, "{}", asked.text());
    bench.until_rebooted(&collector, &agents, &["node-0"]);
    bench.until_no_requests(&collector);
    let audit = operator.says(Method::GET, "/v1/audit?kind=reboot", &Value::Null).json();
    let entries = audit["entries"].as_array().expect("entries").clone();
    let told = |reason: &str| {
        entries.iter().any(|it| {
            let entry = &it["entry"];
            let user = entry["actor"]["user"].as_str().unwrap_or_default();
            user.ends_with(":operator") && entry["reason"] == reason
        })
    };
    assert!(told("a person asked for its reboot: new firmware"), "{audit:#}");
    assert!(told("a person called its reboot off"), "{audit:#}");
}
