//! People with a token, who ask the collector what it is about and tell it what they want.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use hyper::Method;
use hyper::body::Bytes;
use palisade_tests::fleet::Server;
use palisade_tests::http::Answer;
use palisade_tests::http::Client;
use palisade_tests::process::Collector;
use palisade_tests::wait;
use serde_json::Value;
use serde_json::json;

use super::bench::Bench;
use super::bench::WITHIN;

/// Somebody with a token.
#[derive(Clone, Debug)]
pub(super) struct Person {
    server: Server,
    token: String,
}

impl Bench {
    /// Somebody who may do what `palisade-ROLE` allows and talks to this collector; once per role.
    pub(super) fn person(&self, role: &str, collector: &Collector) -> Person {
        let server = self.cluster.server(collector.address);
        Person { server, token: self.cluster.person(role, &format!("palisade-{role}")) }
    }
}

impl Person {
    /// The same one before another collector.
    pub(super) fn at(&self, server: Server) -> Self {
        Self { server, token: self.token.clone() }
    }

    pub(super) fn says(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.try_says(method, path, body).expect("an answer")
    }

    /// Nothing if nobody answers.
    fn try_says(&self, method: Method, path: &str, body: &Value) -> Option<Answer> {
        let Server { address, trust } = &self.server;
        let trust = trust.as_ref().expect("collectors in a cluster speak TLS");
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut client = Client::new(*address).with_trust(trust).with_token(&self.token);
            client.try_send(method, path, &[], body).await.ok()
        })
    }

    /// Asks for the reboot of a node as soon as somebody coordinates.
    pub(super) fn asks_for(&self, node: &str) {
        wait::until("the wish is taken", WITHIN, || {
            let wish = json!({ "node": node, "note": "new firmware" });
            let answer = self.says(Method::POST, "/v1/reboots", &wish);
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
    }

    /// What is at this address, as soon as the collector leads and coordinates.
    pub(super) fn sees(&self, path: &str) -> Value {
        wait::until(&format!("{path} is answered"), WITHIN, || {
            let answer = self.try_says(Method::GET, path, &Value::Null).ok_or("no answer")?;
            if answer.status == 200 { Ok(answer.json()) } else { Err(answer.text()) }
        })
    }

    /// Gates of a node that are shut, and what they see.
    pub(super) fn shut(&self, node: &str) -> BTreeMap<String, String> {
        let explained = self.sees(&format!("/v1/nodes/{node}/explain"));
        let gates = explained["gates"].as_array().expect("gates").iter();
        let word = |it: &Value, field: &str| it[field].as_str().unwrap_or_default().to_owned();
        let shut = gates.filter(|it| it["open"] == false);
        shut.map(|it| (word(it, "gate"), word(it, "value"))).collect()
    }

    /// Waits until the coordinator has planned three times more.
    pub(super) fn until_looked(&self) {
        let mut looks = BTreeSet::new();
        wait::until("the coordinator looks around", WITHIN, || {
            looks.insert(self.sees("/v1/plan")["at"].to_string());
            // The first one may have been before.
            if looks.len() > 3 { Ok(()) } else { Err(looks.len()) }
        });
    }

    /// Puts another policy in force, and waits until it is.
    pub(super) fn edits(&self, bench: &Bench, policy: &str) {
        let before = self.sees("/v1/plan")["policy"].clone();
        bench.say_policy(policy);
        wait::until("the edit is in force", WITHIN, || {
            let plan = self.sees("/v1/plan");
            let is_new = plan["policy"] != before && plan["policy_refused"].is_null();
            if is_new { Ok(()) } else { Err(plan) }
        });
    }

    /// What this gate of a node sees, if it is shut; an error as long as nobody can tell.
    pub(super) fn sees_shut(&self, node: &str, gate: &str) -> Result<String, String> {
        let gates = self.gates(node)?;
        let found = gates.iter().find(|it| it["gate"] == gate).ok_or("no such gate")?;
        if found["open"] == false {
            return Ok(found["value"].as_str().unwrap_or_default().to_owned());
        }
        let shut = gates.iter().filter(|it| it["open"] == false);
        let shut: Vec<_> = shut.map(|it| format!("{}: {}", it["gate"], it["value"])).collect();
        Err(format!("{gate} is open: {}; shut: {shut:?}", found["value"]))
    }

    fn gates(&self, node: &str) -> Result<Vec<Value>, String> {
        let path = format!("/v1/nodes/{node}/explain");
        let answer = self.try_says(Method::GET, &path, &Value::Null).ok_or("no answer")?;
        if answer.status != 200 {
            return Err(answer.text());
        }
        Ok(answer.json()["gates"].as_array().ok_or("no gates")?.clone())
    }

    /// Waits until this gate of a node is shut because of something with these words.
    pub(super) fn until_shut(&self, node: &str, gate: &str, words: &str) {
        wait::until(&format!("{gate} of {node} is shut: {words}"), WITHIN, || {
            let value = self.sees_shut(node, gate)?;
            if value.contains(words) { Ok(()) } else { Err(value) }
        });
    }

    /// Waits until this gate of a node is open.
    pub(super) fn until_open(&self, node: &str, gate: &str) {
        wait::until(&format!("{gate} of {node} is open"), WITHIN, || {
            match self.sees_shut(node, gate) {
                Ok(value) => Err(value),
                Err(said) if said.starts_with(&format!("{gate} is open")) => Ok(()),
                Err(said) => Err(said),
            }
        });
    }

    /// Waits until the plan has exactly these nodes in its order; here sorted by name.
    pub(super) fn until_planned(&self, nodes: &[&str]) {
        wait::until("the plan knows who needs a reboot", WITHIN, || {
            let answer = self.try_says(Method::GET, "/v1/plan", &Value::Null).ok_or("no answer")?;
            let plan = answer.json();
            let order = plan["order"].as_array().ok_or_else(|| answer.text())?;
            let mut order: Vec<_> = order.iter().filter_map(Value::as_str).collect();
            order.sort_unstable();
            if order == nodes { Ok(()) } else { Err(answer.text()) }
        });
    }
}
