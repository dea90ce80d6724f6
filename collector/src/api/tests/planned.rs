//! The answers about a plan, made from a fleet of four.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_plan::fleet::Agent;
use palisade_plan::fleet::Cordon;
use palisade_plan::fleet::Fleet;
use palisade_plan::fleet::Known;
use palisade_plan::fleet::Need;
use palisade_plan::fleet::Node;
use palisade_plan::fleet::Past;
use palisade_plan::fleet::Ready;
use palisade_plan::fleet::Role;
use palisade_plan::plan::outlooks;
use palisade_plan::plan::plan;
use palisade_plan::policy::Policy;
use palisade_plan::request::Alert;
use palisade_plan::request::Reason;
use palisade_report::Digest;
use palisade_report::Moment;
use serde_json::Value;

use crate::api::answer::Answer;
use crate::api::answer::Kind;
use crate::api::explain;
use crate::api::plan as answers;
use crate::http::call::PlanQuery;
use crate::http::call::Prose;
use crate::planned::Planned;
use crate::planned::View;

const NOW: Moment = Moment::from_unix(1_795_000_000);

/// One pool of all nodes, one at a time.
pub(super) const POLICY: &str = "apiVersion: palisade.dev/v1alpha1
kind: RebootPolicy
pools:
  - name: workers
    selector: {}
    mode: auto
";

fn node(at: usize, need: Need) -> Node {
    Node {
        name: format!("worker-{at}").parse().unwrap(),
        uid: format!("0b7c2a44-9d3e-4c59-8d4f-0a35b3f0d5a{at}").parse().unwrap(),
        labels: Arc::default(),
        role: Role::Worker,
        ready: Ready::Since(NOW.plus(-90_000)),
        cordon: Cordon::Schedulable,
        taints: BTreeSet::new(),
        hold: None,
        agent: Agent {
            heard_at: Some(NOW.plus(-10)),
            boot: Some("0f9b2a52-91c5-4d9d-9e6c-4e4a1f4f3d11".parse().unwrap()),
            kernel: None,
            next_kernel: None,
            need,
            stable_since: Some(NOW.plus(-90_000)),
            package_manager: Known::Known(None),
            reboot_method: Known::Known("logind".to_owned()),
            hold_file: Known::Known(None),
            unsafe_to_reboot: Vec::new(),
            due_by: None,
            report: Some(Digest::of(b"report")),
        },
        blockers: Vec::new(),
        objections: Vec::new(),
    }
}

fn needed() -> Need {
    let reason = Reason {
        source: "kernel".to_owned(),
        kind: "kernel".to_owned(),
        subject: "linux-image-cloud-amd64".to_owned(),
        target: "6.1.0-56".to_owned(),
    };
    let digest = Digest::of(b"kernel");
    Need::Needed { reasons: BTreeSet::from([reason]), digest, since: NOW.plus(-7_300) }
}

/// Two need a reboot, one none, and of one it cannot be told.
pub(super) fn planned(policy: &str) -> Planned {
    let needs =
        [needed(), needed(), Need::NotNeeded, Need::Unknown { why: "no dpkg status".to_owned() }];
    let nodes: BTreeMap<_, _> = needs
        .into_iter()
        .enumerate()
        .map(|(at, need)| node(at + 1, need))
        .map(|node| (node.uid.clone(), node))
        .collect();
    let pods = nodes.keys().map(|uid| (uid.clone(), Arc::from([]))).collect();
    let fleet = Fleet {
        nodes,
        requests: BTreeMap::new(),
        pods: Known::Known(pods),
        budgets: Known::Known(BTreeMap::new()),
        blockers: Vec::new(),
        etcd: None,
        past: Past::default(),
        own_node: None,
        frozen_at: None,
    };
    let policy = Arc::new(Policy::parse(policy).unwrap());
    let plan = plan(&fleet, &policy, NOW);
    let planned = Planned::default();
    let outlooks = outlooks(&fleet, &policy, NOW);
    let unplanned = BTreeSet::from([Alert::UnplannedReboot]);
    let alerts = fleet.nodes.keys().take(1).map(|uid| (uid.clone(), unplanned.clone())).collect();
    let (refused_policy, answered) = (None, Arc::default());
    let view = View { fleet, policy, refused_policy, plan, alerts, outlooks, answered };
    planned.publish(Arc::new(view));
    planned
}

fn json(answer: Answer) -> Value {
    let Answer::Document(document) = answer else { panic!("{answer:?}") };
    serde_json::from_slice(&document.text).unwrap()
}

fn query() -> PlanQuery {
    PlanQuery { limit: 100, ..PlanQuery::default() }
}

#[test]
fn a_plan_names_who_starts_and_what_each_of_the_others_waits_for() {
    let plan = json(answers::list(&planned(POLICY), &query()).unwrap());
    assert_eq!(plan["start"], serde_json::json!(["worker-1"]), "{plan:#}");
    assert_eq!(plan["counts"]["not-needed"], 1, "{plan:#}");
    let line = |name: &str| {
        let nodes = plan["nodes"].as_array().unwrap();
        nodes.iter().find(|line| line["name"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(line("worker-2")["verdict"], "waits");
    assert_eq!(line("worker-2")["drain"], serde_json::json!({ "outlook": "clear" }));
    let gates = line("worker-2")["waits_for"].as_array().unwrap().clone();
    assert!(gates.iter().any(|gate| gate["gate"] == "pool-budget"), "{gates:#?}");
    assert_eq!(line("worker-4")["waits_for"][0]["gate"], "need-unknown");
    assert!(line("worker-3").is_null(), "who needs nothing is not listed");
    let paged = json(answers::list(&planned(POLICY), &PlanQuery { limit: 1, ..query() }).unwrap());
    assert_eq!(paged["next"], "worker-1");
}

#[test]
fn a_plan_says_beforehand_when_clocks_will_skip_a_window() {
    let window =
        "    windows: [{days: [sun], start: \"02:00\", end: \"03:00\", zone: Europe/Berlin}]\n";
    let told = |policy: &str| {
        let plan = json(answers::list(&planned(policy), &query()).unwrap());
        let advice = plan["advice"].as_array().cloned().unwrap_or_default();
        advice.into_iter().find(|it| it["kind"] == "window-skipped")
    };
    let skipped = told(&format!("{POLICY}{window}")).unwrap();
    assert_eq!(skipped["pool"], "workers");
    let said = skipped["message"].as_str().unwrap();
    assert!(said.contains("skip the window from 02:00 to 03:00 at 2027-03-28T01:00:00Z"), "{said}");
    assert_eq!(told(&format!("{POLICY}{}", window.replace("Europe/Berlin", "UTC"))), None);
    let tried = answers::what_if(&planned(POLICY), &format!("{POLICY}{window}"), &query(), NOW);
    assert!(json(tried.unwrap())["advice"].to_string().contains("window-skipped"));
}

#[test]
fn another_policy_can_be_tried_and_a_wrong_one_is_refused_with_its_line() {
    let planned = planned(POLICY);
    let report = POLICY.replace("auto", "report");
    let plan = json(answers::what_if(&planned, &report, &query(), NOW).unwrap());
    assert_eq!(plan["start"], serde_json::json!([]), "{plan:#}");
    let changes = &plan["changes"];
    assert_eq!(changes["disarmed"]["count"], 4, "{changes:#}");
    assert_eq!(changes["fields"][0]["path"], "pools.workers.mode", "{changes:#}");
    let wrong = POLICY.replace("auto", "automatic");
    let refused = answers::what_if(&planned, &wrong, &query(), NOW).unwrap_err();
    assert_eq!(refused.kind, Kind::MalformedBody);
    assert!(refused.message.contains("6"), "{}", refused.message);
    let unchanged = json(answers::list(&planned, &query()).unwrap());
    assert_eq!(unchanged["start"], serde_json::json!(["worker-1"]));
    assert!(unchanged["changes"].is_null(), "{unchanged:#}");
}

#[test]
fn whoever_asks_why_hears_one_sentence_and_every_gate() {
    let planned = planned(POLICY);
    let of = |name: &str, prose| explain::of(&planned, &name.parse().unwrap(), prose, NOW);
    let waits = json(of("worker-2", Prose::Json).unwrap());
    let says = waits["says"].as_str().unwrap();
    assert!(says.starts_with("worker-2 waits: "), "{says}");
    let shut = |gate: &str| {
        let gates = waits["gates"].as_array().unwrap();
        gates.iter().find(|it| it["gate"] == gate).map(|it| it["open"] == false)
    };
    assert_eq!(shut("pool-budget"), Some(true), "{waits:#}");
    assert_eq!(shut("window"), Some(false), "{waits:#}");
    let Answer::Document(text) = of("worker-2", Prose::Text).unwrap() else { panic!("no text") };
    let text = String::from_utf8(text.text.to_vec()).unwrap();
    assert!(text.lines().any(|line| line.starts_with("> pool-budget")), "{text}");
    assert!(text.contains("linux-image-cloud-amd64 6.1.0-56"), "{text}");
    let unknown = json(of("worker-4", Prose::Json).unwrap());
    assert!(unknown["says"].as_str().unwrap().contains("no dpkg status"), "{unknown:#}");
    assert_eq!(of("worker-9", Prose::Json).unwrap_err().kind, Kind::NotFound);
}
