//! Golden files: what was printed once, read by a person, and must stay so.
//!
//! `PALISADE_GOLDEN=write` writes them anew (`make golden`); the difference is read in review.

use std::path::Path;

fn writes() -> bool {
    std::env::var_os("PALISADE_GOLDEN").is_some_and(|value| value == "write")
}

/// Holds `actual` against the file at `path` below the workspace.
///
/// # Panics
/// If they differ, naming the first line that does.
pub fn file(path: &str, actual: &str) {
    let path = workspace().join(path);
    if writes() {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("make directories");
        std::fs::write(&path, actual).expect("write a golden file");
        return;
    }
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; `make golden` writes it", path.display()));
    compare(&path.display().to_string(), &golden, actual);
}

/// Holds `actual` against what stands between `<!-- marker -->` and `<!-- /marker -->` in the file.
///
/// # Panics
/// If they differ, or a marker is missing.
pub fn section(path: &str, marker: &str, actual: &str) {
    let path = workspace().join(path);
    let text = std::fs::read_to_string(&path).expect("the file");
    let (open, close) = (format!("<!-- {marker} -->\n"), format!("<!-- /{marker} -->"));
    let (before, rest) = text.split_once(&open).unwrap_or_else(|| panic!("no {open}"));
    let (golden, after) = rest.split_once(&close).unwrap_or_else(|| panic!("no {close}"));
    if writes() {
        std::fs::write(&path, format!("{before}{open}{actual}{close}{after}")).expect("write");
        return;
    }
    compare(&format!("{} at {marker}", path.display()), golden, actual);
}

fn compare(what: &str, golden: &str, actual: &str) {
    if golden == actual {
        return;
    }
    let line = golden.lines().zip(actual.lines()).position(|(one, other)| one != other);
    let line = line.unwrap_or_else(|| golden.lines().count().min(actual.lines().count()));
    panic!(
        "{what} differs from line {}:\n golden: {:?}\n actual: {:?}\n`make golden` writes it anew; read the difference",
        line + 1,
        golden.lines().nth(line),
        actual.lines().nth(line),
    );
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}
