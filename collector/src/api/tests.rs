//! The description of the API against the routes and the parser.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::http::call;
use crate::http::route;
use crate::http::route::ROUTES;

mod live;
mod planned;
mod wishes;

fn document() -> Value {
    serde_json::from_str(super::OPENAPI).unwrap()
}

#[test]
fn the_description_and_the_routes_name_the_same_addresses() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let served: BTreeSet<_> =
        ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(described, served);
}

#[test]
fn every_described_parameter_is_taken_and_no_other() {
    let document = document();
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let path = route.path.replace("{node}", "a").replace("{path}", "kernel.release");
        let path = path.replace("{id}", "00000000000000ff").replace("{name}", "chat");
        let matched = route::find(&hyper::Method::GET, &path).unwrap();
        let described = &document["paths"][route.path]["get"]["parameters"];
        let mut known = BTreeSet::new();
        for parameter in described.as_array().unwrap_or(&Vec::new()) {
            if parameter["in"] != "query" {
                continue;
            }
            let name = parameter["name"].as_str().unwrap();
            let example = match parameter.get("example") {
                None => String::new(),
                Some(value) => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            };
            known.insert(name.to_owned());
            call::parse(&matched, &format!("{name}={example}"), "", b"")
                .unwrap_or_else(|error| panic!("{path}?{name}={example}: {error}"));
        }
        let refused = call::parse(&matched, "moon=full", "", b"").unwrap_err().to_string();
        let (_, taken) = refused.split_once("this address takes ").unwrap();
        let taken: BTreeSet<_> =
            taken.split(", ").filter(|it| *it != "none").map(str::to_owned).collect();
        assert_eq!(taken, known, "{path}");
    }
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{target}");
                }
                map.values().for_each(|it| walk(document, it));
            }
            Value::Array(items) => items.iter().for_each(|it| walk(document, it)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    walk(&document, &document);
}
