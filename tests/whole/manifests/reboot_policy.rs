//! How a reboot policy gets to the collector: the one that is brought, one of a user's own, and the
//! examples of the README.

use std::fs;

use palisade_plan::policy::DEFAULT_TEXT;
use palisade_plan::policy::Mode;
use palisade_plan::policy::Policy;
use palisade_tests::directory::Directory;
use palisade_tests::golden;
use serde_json::Value;

use super::chart::chart_text;
use super::render;
use super::render::Objects;
use super::render::combined;
use super::render::keyed;
use super::render::list;
use super::render::on_top;
use super::render::string;

const CONFIG_MAP: &str = "ConfigMap/palisade-reboot-policy";

/// The fenced block of the README that contains `words`.
fn block(words: &str) -> String {
    let text = fs::read_to_string(render::workspace().join("README.md")).expect("the README");
    let blocks = text.split("```").skip(1).step_by(2);
    let found: Vec<_> = blocks.filter(|block| block.contains(words)).collect();
    assert_eq!(found.len(), 1, "blocks of the README with {words:?}");
    let (_, body) = found[0].split_once('\n').expect("a line with the language");
    body.to_owned()
}

fn modes(text: &str) -> Vec<(String, Mode)> {
    let policy = Policy::parse(text).unwrap_or_else(|error| panic!("{error}"));
    policy.pools.iter().map(|pool| (pool.name.clone(), pool.mode)).collect()
}

/// The text that the collector finds at the path that it is given.
fn given(objects: &Objects) -> &str {
    let pod = &objects["Deployment/palisade-collector"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let variable = list(&container["env"]).iter().find(|it| it["name"] == "PALISADE_REBOOT_POLICY");
    let path = string(&variable.expect("the collector is given no policy")["value"]);
    let (directory, key) = path.rsplit_once('/').expect("a path");
    let mount = list(&container["volumeMounts"]).iter().find(|it| it["mountPath"] == directory);
    let mount = mount.expect("nothing is mounted where the policy should be");
    assert_eq!(mount["readOnly"], true);
    let volume = list(&pod["volumes"]).iter().find(|it| it["name"] == mount["name"]);
    let name = string(&volume.expect("no such volume")["configMap"]["name"]);
    string(&objects[&format!("ConfigMap/{name}")]["data"][key])
}

#[test]
fn the_policy_that_is_brought_is_the_default_and_reboots_nothing() {
    golden::file("manifests/components/reboot/policy.yaml", DEFAULT_TEXT);
    assert_eq!(given(&combined("kubeadm", &["reboot"])), DEFAULT_TEXT);
    assert_eq!(given(&keyed(&chart_text(&["reboot.enabled=true"]))), DEFAULT_TEXT);
    assert!(modes(DEFAULT_TEXT).iter().all(|(_, mode)| *mode == Mode::Report));
    // Nobody else is given one.
    assert!(!render::overlay("kubeadm").contains_key(CONFIG_MAP));
}

#[test]
fn a_policy_of_ones_own_takes_its_place_and_changes_nothing_else() {
    let policy = block("kind: RebootPolicy");
    let kustomization = block("components/reboot, policy").replace("palisade/manifests/", "../");
    let component = block("behavior: replace");
    let files = [
        ("policy/kustomization.yaml", component.as_str()),
        ("policy/policy.yaml", policy.as_str()),
    ];
    let own = keyed(&on_top(&kustomization, &files));
    assert_eq!(given(&own), policy);
    let file = Directory::new("values");
    file.write("policy.yaml", &policy);
    let path = file.path().join("policy.yaml");
    let value = format!("reboot.policy=@{}", path.display());
    let chart = keyed(&chart_text(&["reboot.enabled=true", &value]));
    assert_eq!(given(&chart), policy);
    let brought = combined("kubeadm", &["reboot"]);
    for (objects, what) in [(&own, "kustomize"), (&chart, "the chart")] {
        assert_eq!(objects.len(), brought.len(), "{what}");
        let mut config_map = objects[CONFIG_MAP].clone();
        config_map["data"] = brought[CONFIG_MAP]["data"].clone();
        assert_eq!(config_map, brought[CONFIG_MAP], "{what}");
    }
    let others = |objects: &Objects| -> Vec<(String, Value)> {
        objects.clone().into_iter().filter(|(key, _)| key != CONFIG_MAP).collect()
    };
    assert_eq!(others(&own), others(&brought));
}

#[test]
fn the_readme_shows_policies_that_say_what_it_says() {
    let text = block("kind: RebootPolicy");
    let named = |pool: &str, mode| (pool.to_owned(), mode);
    assert_eq!(modes(&text), [named("batch", Mode::Approve), named("rest", Mode::Report)]);
    let armed = text.replace("mode: approve", "mode: auto");
    assert_eq!(modes(&armed), [named("batch", Mode::Auto), named("rest", Mode::Report)]);
    let paused = block("paused: \"");
    let policy =
        Policy::parse(&format!("{text}\n{paused}").replace("cluster: { maxUnavailable: 1 }\n", ""));
    let policy = policy.unwrap_or_else(|error| panic!("{error}"));
    assert!(policy.cluster.paused.is_some());
}
