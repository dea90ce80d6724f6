//! Objects of an overlay, as kustomize renders them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use palisade_tests::cluster::components::Component;
use palisade_tests::cluster::components::binary;
use palisade_tests::directory::Directory;
use serde_json::Value;

/// The overlays, by the name that the chart knows them under.
pub(super) const PLATFORMS: &[&str] =
    &["aks", "bottlerocket", "eks", "gke", "k3s-rke2", "kubeadm", "openshift", "talos"];

/// The components that change what an overlay says.
pub(super) const COMPONENTS: &[&str] = &[
    "alerts",
    "durable-store",
    "external-certificate",
    "monitoring",
    "node-leases",
    "open-reports",
    "reboot",
    "reboot-by-logind",
    "selinux",
    "standby",
    "without-node-conditions",
];

/// The rebooter that asks logind: one component changes what another brings.
pub(super) const BY_LOGIND: &[&str] = &["reboot", "reboot-by-logind"];

/// Objects by `Kind/name`.
pub(crate) type Objects = BTreeMap<String, Value>;

pub(super) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn manifests() -> PathBuf {
    workspace().join("manifests")
}

/// The base alone, which is what no platform changes.
pub(super) fn base() -> Objects {
    keyed(&kustomize(&manifests().join("base")))
}

/// What is applied for a platform.
pub(super) fn overlay(platform: &str) -> Objects {
    keyed(&overlay_text(platform))
}

/// The same as text, to be piped to kubectl.
pub(super) fn overlay_text(platform: &str) -> String {
    kustomize(&manifests().join("overlays").join(platform))
}

/// A platform with components on top, as a person would write it.
pub(super) fn combined(platform: &str, components: &[&str]) -> Objects {
    keyed(&combined_text(platform, components))
}

/// The same as text.
pub(super) fn combined_text(platform: &str, components: &[&str]) -> String {
    let list: String = components.iter().map(|it| format!("  - ../components/{it}\n")).collect();
    let list = if list.is_empty() { String::new() } else { format!("components:\n{list}") };
    on_top(&format!("resources:\n  - ../overlays/{platform}\n{list}"), &[])
}

/// What a kustomization beside the overlays renders, with files of its own by name and content.
pub(super) fn on_top(text: &str, files: &[(&str, &str)]) -> String {
    // kustomize takes relative paths only, and no directory above another's.
    let directory = Directory::new("kustomization");
    let copy = directory.path().join("manifests");
    copy_tree(&manifests(), &copy);
    let top = copy.join("top");
    for (name, content) in [("kustomization.yaml", text)].iter().chain(files) {
        let path = top.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("make a directory");
        fs::write(path, content).expect("write a file of a kustomization");
    }
    kustomize(&top)
}

/// Every rendering that is worth looking at, by name: the base, each platform, and each component on
/// the platform with everything.
pub(super) fn everything() -> &'static [(String, Objects)] {
    static ALL: LazyLock<Vec<(String, Objects)>> = LazyLock::new(|| {
        let mut all = vec![("base".to_owned(), base())];
        all.extend(PLATFORMS.iter().map(|it| ((*it).to_owned(), overlay(it))));
        for component in COMPONENTS {
            // One changes what another brings.
            let both: &[&str] = match *component {
                "reboot-by-logind" => BY_LOGIND,
                _ => &[component],
            };
            all.push((format!("kubeadm+{component}"), combined("kubeadm", both)));
        }
        all
    });
    &ALL
}

/// A platform with images of a mirror, as a person would write it.
pub(super) fn mirrored_text(platform: &str, registry: &str, digest: &str) -> String {
    let images: String = ["palisade-agent", "palisade-collector"]
        .map(|name| {
            format!("  - name: {name}\n    newName: {registry}/{name}\n    digest: {digest}\n")
        })
        .concat();
    on_top(&format!("resources:\n  - ../overlays/{platform}\nimages:\n{images}"), &[])
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a directory");
    for entry in fs::read_dir(from).expect("list a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}

fn kustomize(directory: &Path) -> String {
    let output = Command::new(binary(Component::Deploy, "kustomize"))
        .arg("build")
        .arg(directory)
        .output()
        .unwrap_or_else(|error| panic!("run kustomize: {error}"));
    assert!(
        output.status.success(),
        "kustomize build {}: {}",
        directory.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The documents of a YAML stream by kind and name, which no two of ours share.
pub(super) fn keyed(text: &str) -> Objects {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    let mut objects = Objects::new();
    for object in documents.into_iter().filter(|document| !document.is_null()) {
        let key = format!("{}/{}", string(&object["kind"]), string(&object["metadata"]["name"]));
        assert!(objects.insert(key.clone(), object).is_none(), "{key} is there twice");
    }
    objects
}

/// All of a kind.
pub(super) fn of_kind<'a>(objects: &'a Objects, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.values().filter(move |object| object["kind"] == kind)
}

pub(super) fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string"))
}

/// The elements of a list; none if it is not there.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The strings of a list, sorted.
pub(super) fn strings(value: &Value) -> Vec<&str> {
    let mut strings: Vec<_> = list(value).iter().map(string).collect();
    strings.sort_unstable();
    strings
}
