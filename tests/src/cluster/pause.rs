//! The image that holds a pod's namespaces, made from its ten lines of C.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

/// The name under which kubelet and containerd know it.
pub(super) const PAUSE: &str = "palisade-pause:1";

/// Writes the image as an OCI archive into `directory`.
pub(super) fn image(directory: &Path) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let (program, archive) = (directory.join("pause"), directory.join("pause.tar"));
    let mut compiler = Command::new("cc");
    compiler.args(["-static", "-Os", "-s", "-o"]).arg(&program).arg("tests/tools/pause.c");
    let mut writer = Command::new("tests/tools/image");
    writer.arg(&archive).args([PAUSE, "65535:65535"]).arg(&program);
    for command in [&mut compiler, &mut writer] {
        let output = command.current_dir(workspace).stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {error}");
    }
    archive
}
