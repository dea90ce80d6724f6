//! The images of agent and collector, as `make image` writes them.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The version in their names: that of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The OCI archive of `palisade-agent` or `palisade-collector`: in the directory that
/// `PALISADE_IMAGES` names, else built now by `make image`, with the faster profile.
///
/// # Panics
/// If it is not there, or cannot be built.
#[must_use]
pub fn archive(name: &str) -> PathBuf {
    let directory = match std::env::var_os("PALISADE_IMAGES") {
        Some(directory) => PathBuf::from(directory),
        None => built(),
    };
    let archive = directory.join(format!("{name}.tar"));
    assert!(archive.is_file(), "no image at {}", archive.display());
    archive
}

fn built() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let mut make = Command::new("make");
        make.args(["image", "PROFILE=dev"]).current_dir(workspace);
        // What cargo says of this package would count as a change of others, which are built anew then.
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for name in names.filter(|it| it.starts_with("CARGO_PKG_") || it == "CARGO_MANIFEST_DIR") {
            make.env_remove(name);
        }
        let status = make.status().expect("run make");
        assert!(status.success(), "make image failed");
        workspace.join("target/image")
    });
    directory.clone()
}
