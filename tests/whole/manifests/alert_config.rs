//! How the file that says who is told of alerts gets to the collector: the one that is brought, the
//! examples in it, and one of a user's own.

use std::collections::HashSet;
use std::fs;
use std::mem::discriminant;

use palisade_alert::config::Config;
use palisade_collector::notify::egress::Allowed;
use palisade_tests::directory::Directory;
use serde_json::Value;
use serde_json::json;

use super::chart::chart_text;
use super::render;
use super::render::Objects;
use super::render::combined;
use super::render::keyed;
use super::render::list;
use super::render::on_top;
use super::render::string;

const CONFIG_MAP: &str = "ConfigMap/palisade-alerts";
const DEPLOYMENT: &str = "Deployment/palisade-collector";

/// Kinds of receivers that there are.
const KINDS: usize = 12;

fn default_text() -> String {
    let path = render::workspace().join("manifests/components/alerts/alerts.yaml");
    fs::read_to_string(path).expect("the default")
}

fn parsed(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|error| panic!("{error:?}"))
}

/// The text at the path that the collector is given.
fn given(objects: &Objects) -> &str {
    let pod = &objects[DEPLOYMENT]["spec"]["template"]["spec"];
    let own = &pod["containers"][0];
    let variable = list(&own["env"]).iter().find(|it| it["name"] == "PALISADE_ALERTS");
    let path = string(&variable.expect("the variable")["value"]);
    let (directory, key) = path.rsplit_once('/').expect("a path");
    let volume = volume_at(pod, directory);
    let name = string(&volume["configMap"]["name"]);
    string(&objects[&format!("ConfigMap/{name}")]["data"][key])
}

/// The volume that the collector has at `directory`, whole and read-only.
fn volume_at<'a>(pod: &'a Value, directory: &str) -> &'a Value {
    let mounts = list(&pod["containers"][0]["volumeMounts"]);
    let mount = mounts.iter().find(|it| it["mountPath"] == directory).expect("a mount");
    assert!(mount["subPath"].is_null(), "a file alone never follows an edit");
    assert_eq!(mount["readOnly"], true);
    let mut volumes = list(&pod["volumes"]).iter();
    volumes.find(|it| it["name"] == mount["name"]).expect("its volume")
}

/// The default with the comment signs off its examples.
fn with_examples() -> String {
    let mut text = String::new();
    for line in default_text().lines() {
        let indented = line.strip_prefix("  #  ").map(|example| format!("    {example}"));
        let example = line.strip_prefix("#  ").map(|example| format!("  {example}"));
        let opened = |line: &str| match line.strip_suffix(": []") {
            Some(name) if name != "fallback" => format!("{name}:"),
            Some(_) | None => line.to_owned(),
        };
        text.push_str(&indented.or(example).unwrap_or_else(|| opened(line)));
        text.push('\n');
    }
    text
}

#[test]
fn the_configuration_that_is_brought_tells_nobody() {
    let text = default_text();
    let config = parsed(&text);
    assert!(config.receivers.is_empty() && config.routes.is_empty());
    assert!(config.fallback.receivers.is_empty());
    // What it says is what holds without it.
    let without = Config::default();
    assert_eq!(config.fallback.grouping, without.fallback.grouping);
    assert_eq!(config.cluster, without.cluster);
    assert_eq!(given(&combined("kubeadm", &["alerts"])), text);
    assert_eq!(given(&keyed(&chart_text(&["alerts.enabled=true"]))), text);
    // Nobody else is given one.
    assert!(!render::overlay("kubeadm").contains_key(CONFIG_MAP));
}

#[test]
fn its_examples_are_understood_and_show_every_kind_of_receiver() {
    let config = parsed(&with_examples());
    let kinds: HashSet<_> = config.receivers.iter().map(|it| discriminant(&it.spec)).collect();
    assert_eq!((kinds.len(), config.receivers.len()), (KINDS, KINDS));
    assert_eq!((config.routes.len(), config.changes.len()), (2, 2));
    assert!(!config.allowed_egress.is_empty());
    for text in &config.allowed_egress {
        assert!(text.parse::<Allowed>().is_ok(), "{text}");
    }
    let combined = combined("kubeadm", &["alerts"]);
    let pod = &combined[DEPLOYMENT]["spec"]["template"]["spec"];
    for file in config.receivers.iter().flat_map(|it| it.files()) {
        let directory = file.parent().and_then(|it| it.to_str()).expect("a directory");
        let volume = volume_at(pod, directory);
        assert_eq!(volume["secret"]["secretName"], "palisade-alert-secrets", "{file:?}");
        assert_eq!(volume["secret"]["optional"], true);
    }
}

#[test]
fn a_configuration_of_ones_own_takes_its_place_and_changes_nothing_else() {
    let text = with_examples();
    let kustomization = fs::read_to_string(
        render::workspace().join("manifests/components/alerts/kustomization.yaml"),
    );
    // As the comment of the component shows it.
    let shown = kustomization.expect("the component");
    let component: String = shown
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .filter(|line| !line.starts_with("kubectl"))
        .map(|line| format!("{line}\n"))
        .collect();
    let files = [("alerts/kustomization.yaml", component.as_str()), ("alerts/alerts.yaml", &*text)];
    let top =
        "resources:\n  - ../overlays/kubeadm\ncomponents:\n  - ../components/alerts\n  - alerts\n";
    let own = keyed(&on_top(top, &files));
    assert_eq!(given(&own), text);
    let file = Directory::new("values");
    file.write("alerts.yaml", &text);
    let value = format!("alerts.config=@{}", file.path().join("alerts.yaml").display());
    let chart = keyed(&chart_text(&["alerts.enabled=true", &value, "alerts.secretName=mine"]));
    assert_eq!(given(&chart), text);
    let pod = &chart[DEPLOYMENT]["spec"]["template"]["spec"];
    let secrets = volume_at(pod, "/etc/palisade/alert-secrets");
    assert_eq!(secrets["secret"]["secretName"], "mine");
    let mut others = own.clone();
    others.get_mut(CONFIG_MAP).expect("it")["data"] = json!({ "alerts.yaml": default_text() });
    assert_eq!(others, combined("kubeadm", &["alerts"]));
}

/// Mail goes where no other receiver does.
#[test]
fn mail_servers_are_reached_only_with_alerts() {
    const POLICY: &str = "NetworkPolicy/palisade-collector-mail";
    let policy = &combined("kubeadm", &["alerts"])[POLICY];
    let ports = list(&policy["spec"]["egress"][0]["ports"]).iter().map(|it| &it["port"]);
    assert!(ports.eq([587, 465, 25].map(|it| json!(it)).iter()), "{policy:#}");
    for (name, objects) in render::everything() {
        assert_eq!(objects.contains_key(POLICY), name.ends_with("+alerts"), "{name}");
    }
}
