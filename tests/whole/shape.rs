//! The shape of the house: which way dependencies run, how long files are, what the README says.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Lines that a source file may have, its tests included.
const MAX_LINES: usize = 600;

/// The arrows of ARCHITECTURE.md; `tests` may depend on all.
const ARROWS: &[(&str, &[&str])] = &[
    ("report", &[]),
    ("rules", &["palisade-report"]),
    ("agent/inspect", &["palisade-report"]),
    ("agent", &["palisade-report", "palisade-rules", "palisade-inspect"]),
    ("collector/plan", &["palisade-report"]),
    ("collector/alert", &["palisade-report"]),
    ("collector", &["palisade-alert", "palisade-plan", "palisade-report", "palisade-rules"]),
];

/// Crates that see no I/O and no clock.
const PURE: &[&str] = &["report", "rules", "agent/inspect", "collector/plan", "collector/alert"];

/// What a pure crate must not depend on.
const IMPURE: &[&str] =
    &["tokio", "hyper", "nix", "tracing", "sysinfo", "procfs", "rusqlite", "libc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// Names under `[dependencies]` of a crate's manifest.
fn dependencies(krate: &str) -> BTreeSet<String> {
    let manifest = read(&format!("{krate}/Cargo.toml"));
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && let Some((name, _)) = line.split_once(['.', '=', ' ']) {
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn dependencies_run_only_along_the_arrows() {
    for (krate, allowed) in ARROWS {
        let own: BTreeSet<_> =
            dependencies(krate).into_iter().filter(|name| name.starts_with("palisade-")).collect();
        let allowed: BTreeSet<_> = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(own, allowed, "{krate}");
    }
}

#[test]
fn pure_crates_depend_on_nothing_that_does_io_and_say_so() {
    for krate in PURE {
        let impure: Vec<_> = dependencies(krate)
            .into_iter()
            .filter(|name| IMPURE.contains(&name.as_str()))
            .collect();
        assert!(impure.is_empty(), "{krate} depends on {impure:?}");
        let lib = read(&format!("{krate}/src/lib.rs"));
        assert!(lib.contains("clippy::disallowed_methods"), "{krate} does not switch the lint on");
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{krate} does not forbid unsafe code");
    }
}

#[test]
fn no_source_file_is_too_long() {
    let mut long = BTreeMap::new();
    for krate in ["report", "rules", "agent", "collector", "tests"] {
        each_file(&root().join(krate), &mut |path| {
            if path.extension().is_some_and(|extension| extension == "rs" || extension == "yaml") {
                let lines = fs::read_to_string(path).expect("a source file").lines().count();
                if lines > MAX_LINES {
                    long.insert(path.to_owned(), lines);
                }
            }
        });
    }
    // Rule files are tables: more rules is not more complexity.
    long.retain(|path, _| !path.starts_with(root().join("rules/data")));
    assert!(long.is_empty(), "over {MAX_LINES} lines: {long:#?}");
}

fn each_file(directory: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"))
    {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        let skipped =
            path.ends_with("target") || path.ends_with("nodes") || path.ends_with("corpus");
        if kind.is_dir() && !skipped {
            each_file(&path, visit);
        } else if kind.is_file() {
            visit(&path);
        }
    }
}

#[test]
fn the_readme_lists_the_rules_as_they_are() {
    let table = palisade_rules::table::markdown(&palisade_rules::Profile::built_in());
    palisade_tests::golden::section("README.md", "rules", &table);
}

#[test]
fn the_readme_lists_the_alerts_as_they_are_and_its_configuration_is_good() {
    let catalogue = palisade_alert::catalogue::Catalogue::built_in().expect("the catalogue");
    let table = palisade_alert::catalogue::markdown(&catalogue);
    palisade_tests::golden::section("README.md", "alerts", &table);
    let readme = read("README.md");
    let blocks = readme.split("```yaml\n").skip(1).filter_map(|it| it.split("```").next());
    let configurations: Vec<&str> = blocks.filter(|it| it.contains("kind: AlertConfig")).collect();
    assert!(!configurations.is_empty(), "the README shows how");
    for text in configurations {
        if let Err(error) = palisade_alert::config::Config::parse(text) {
            panic!("{error:?}");
        }
    }
}

#[test]
fn the_published_schemas_are_those_of_the_code() {
    use palisade_rules::schema;
    for (file, schema) in [
        ("rules", schema()),
        ("profile", schema::profile_schema()),
        ("waivers", schema::waiver_schema()),
    ] {
        let text = serde_json::to_string_pretty(&schema).expect("JSON");
        palisade_tests::golden::file(&format!("rules/schema/{file}.json"), &format!("{text}\n"));
    }
}
