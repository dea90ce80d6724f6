//! What Prometheus and Grafana are given, held against what the collector really has.
//!
//! ```text
//! catalogue of alerts ──> rules ──promtool──> taken, and each fires when it should
//!                           │
//! dashboard ────────────────┴── names ──> figures of a running collector ──promtool──> lint
//! ```

mod dashboard;
mod figures;
mod rules;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use palisade_tests::cluster::components::Component;
use palisade_tests::cluster::components::binary;

/// Runs promtool in a directory with `input` on its standard input, and gives whether it was content
/// and all that it said.
fn promtool(directory: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(binary(Component::Prometheus, "promtool"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = child.stdin.take().expect("its standard input");
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("what promtool says");
    // It may end without having read everything, and then its words say why.
    drop(writing.join().expect("the writer"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Names of figures in an expression of PromQL, without what a histogram adds to its own.
///
/// Strings, selectors' labels, and the labels of `by`, `without`, `on`, `ignoring`, `group_left` and
/// `group_right` are no figures; nor is what a parenthesis follows.
fn asked(expression: &str) -> Vec<String> {
    const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    const WORDS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "inf", "nan"];
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut names = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        // A number takes its unit with it: `5m`, `1e3`.
        if word(first) {
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            rest = after.trim_start();
            let aggregates = rest.starts_with("by") || rest.starts_with("without");
            if GROUPING.contains(&name) {
                rest = rest.split_once(')').map_or("", |(_, after)| after);
            } else if !(first.is_ascii_digit()
                || WORDS.contains(&name)
                || aggregates
                || rest.starts_with('('))
            {
                names.push(name.to_owned());
            }
            continue;
        }
        rest = match first {
            '"' | '\'' => rest[1..].split_once(first).map_or("", |(_, after)| after),
            '{' => {
                let mut quoted = false;
                let end = rest.find(|c| {
                    quoted ^= c == '"';
                    c == '}' && !quoted
                });
                &rest[end.expect("a closing brace") + 1..]
            }
            '[' => rest.split_once(']').map_or("", |(_, after)| after),
            // Grafana's variables: `$__rate_interval`.
            '$' => rest[1..].trim_start_matches(word),
            other => &rest[other.len_utf8()..],
        };
    }
    names
}

#[test]
fn names_of_figures_are_told_from_all_else_in_promql() {
    for (expression, names) in [
        (r#"max(a{x="}b",y=~"c"}) > 0"#, vec!["a"]),
        (r#"sum by (reason) (increase(a_total{r="x"}[10m])) > 20"#, vec!["a_total"]),
        ("time() - max(a) > 5 * max(b) and on (c) d offset 5m", vec!["a", "b", "d"]),
        (
            "histogram_quantile(0.9, sum without(x)(rate(a_bucket[$__rate_interval])))",
            vec!["a_bucket"],
        ),
        ("a / on(x) group_left(y) b unless c == bool 1e3", vec!["a", "b", "c"]),
        ("vector(1)", vec![]),
    ] {
        assert_eq!(asked(expression), names, "{expression}");
    }
}
