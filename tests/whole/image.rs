//! The writer of images: the same input gives the same bytes, and every digest is true.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use palisade_tests::directory::Directory;
use serde_json::Value;

/// The moment that the images of these tests are from.
const EPOCH: &str = "1700000000";

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("run {:?}: {error}", command.get_program()))
}

/// A static program of four lines.
fn program(directory: &Directory) -> PathBuf {
    directory.write("main.c", "int main(void) { return 0; }\n");
    let path = directory.path().join("nothing");
    let source = directory.path().join("main.c");
    let output = run(Command::new("cc").arg("-static").arg("-o").arg(&path).arg(source));
    assert!(output.status.success(), "{output:?}");
    path
}

fn write(archive: &Path, name: &str, program: &Path, arguments: &[&str]) -> Output {
    run(Command::new("tests/tools/image")
        .current_dir(workspace())
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .arg(archive)
        .args([name, "65532:65532"])
        .arg(program)
        .args(arguments))
}

fn unpack(archive: &Path, to: &Directory) {
    let output = run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(to.path()));
    assert!(output.status.success(), "{output:?}");
}

fn json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Follows a descriptor to its blob, and holds size and digest against the bytes.
fn follow(image: &Directory, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    let digest = digest.expect("a digest");
    let path = image.path().join("blobs/sha256").join(digest);
    assert_eq!(fs::metadata(&path).expect("a blob").len(), descriptor["size"], "{descriptor}");
    let summed = run(Command::new("sha256sum").arg(&path));
    assert!(String::from_utf8_lossy(&summed.stdout).starts_with(digest), "{summed:?}");
    path
}

#[test]
fn an_image_is_the_same_whenever_and_wherever_it_is_written() {
    let (here, there) = (Directory::new("image"), Directory::new("image"));
    let program = program(&here);
    let copy = there.path().join("nothing");
    fs::copy(&program, &copy).expect("copy a program");
    let (first, second) = (here.path().join("a.tar"), there.path().join("b.tar"));
    let output = write(&first, "nothing:1.2", &program, &["run", "--root=/host"]);
    assert!(output.status.success(), "{output:?}");
    // A second later by every clock, another mode, another owner's mask.
    let mode = run(Command::new("chmod").arg("700").arg(&copy));
    let touch = run(Command::new("touch").args(["-d", "2001-01-01"]).arg(&copy));
    assert!(mode.status.success() && touch.status.success());
    let output = write(&second, "nothing:1.2", &copy, &["run", "--root=/host"]);
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(first).expect("an archive") == fs::read(second).expect("an archive"));
}

#[test]
fn every_digest_leads_to_its_bytes_and_the_layer_holds_the_program_alone() {
    let directory = Directory::new("image");
    let program = program(&directory);
    let archive = directory.path().join("image.tar");
    let output = write(&archive, "nothing:1.2", &program, &["run", "--root=/host"]);
    assert!(output.status.success(), "{output:?}");

    let image = Directory::new("image-content");
    unpack(&archive, &image);
    assert_eq!(json(&image.path().join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = json(&image.path().join("index.json"));
    let annotations = &index["manifests"][0]["annotations"];
    assert_eq!(annotations["io.containerd.image.name"], "docker.io/library/nothing:1.2");
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "1.2");
    let manifest = json(&follow(&image, &index["manifests"][0]));
    let config = json(&follow(&image, &manifest["config"]));
    let layer = follow(&image, &manifest["layers"][0]);
    assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/nothing"]));
    assert_eq!(config["config"]["Cmd"], serde_json::json!(["run", "--root=/host"]));
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], "1.2");

    let content = run(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&layer));
    let content = String::from_utf8(content.stdout).expect("UTF-8");
    let lines: Vec<_> = content.lines().collect();
    assert_eq!(lines.len(), 1, "{content}");
    assert!(lines[0].starts_with("-rwxr-xr-x 0/0") && lines[0].ends_with(" nothing"), "{content}");
}

#[test]
fn what_could_not_run_or_would_break_the_json_is_refused() {
    let directory = Directory::new("image");
    let program = program(&directory);
    let archive = directory.path().join("image.tar");
    let refused = |output: Output, why: &str| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{output:?}");
        assert!(!archive.exists(), "refused, and written all the same");
    };
    refused(write(&archive, "nothing:1", Path::new("/bin/ls"), &[]), "linked dynamically");
    refused(write(&archive, "nothing:1", Path::new("/etc/passwd"), &[]), "not an ELF file");
    refused(write(&archive, "nothing", &program, &[]), "is not NAME:TAG");
    refused(write(&archive, "elsewhere/nothing:1", &program, &[]), "is not NAME:TAG");
    refused(write(&archive, "nothing:1", &program, &["\"}"]), "cannot put");
}
