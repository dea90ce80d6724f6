//! The trust ConfigMap of a control plane in a directory, as a kubelet mounts it for an agent.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::ControlPlane;
use super::api::Api;
use super::api::Call;
use super::installation::NAMESPACE;
use crate::directory::Directory;

/// Between two looks at the ConfigMap. A real kubelet takes a minute.
const SYNC_EVERY: Duration = Duration::from_millis(200);

/// The trust ConfigMap as a kubelet mounts it: `ca.crt -> ..data/ca.crt`, `..data -> ..N`, and a
/// change is a renamed link.
#[derive(Debug)]
pub struct Mounted {
    directory: Directory,
    stop: Arc<AtomicBool>,
    following: Option<JoinHandle<()>>,
}

impl Mounted {
    /// Mounts the ConfigMap of the manifests in this control plane.
    #[must_use]
    pub fn trust_of(cluster: &ControlPlane) -> Self {
        let api = cluster.api().clone();
        let directory = Directory::new("trust");
        let root = directory.path().to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let following = std::thread::spawn(move || {
            let (mut shown, mut number) = (None, 0);
            while !stopped.load(Ordering::SeqCst) {
                let wanted = bundle(&api);
                if wanted.is_some() && wanted != shown {
                    number += 1;
                    swap(&root, number, wanted.as_deref().unwrap_or_default());
                    shown = wanted;
                }
                std::thread::sleep(SYNC_EVERY);
            }
        });
        Self { directory, stop, following: Some(following) }
    }

    /// The file that an agent is told.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// What the file holds now; empty before there is one.
    #[must_use]
    pub fn read(&self) -> String {
        fs::read_to_string(self.file()).unwrap_or_default()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(Err(_)) = self.following.take().map(JoinHandle::join) {
            eprintln!("the mounted ConfigMap was not followed to the end");
        }
    }
}

fn swap(root: &Path, number: u32, bundle: &str) {
    let data = format!("..{number}");
    fs::create_dir(root.join(&data)).expect("make the directory of a version");
    fs::write(root.join(&data).join("ca.crt"), bundle).expect("write the bundle");
    symlink(&data, root.join("..data_tmp")).expect("link the version");
    fs::rename(root.join("..data_tmp"), root.join("..data")).expect("swap the versions");
    if !root.join("ca.crt").exists() {
        symlink("..data/ca.crt", root.join("ca.crt")).expect("link the file");
    }
}

/// What is published; `None` before something is, and while the API server does not answer.
fn bundle(api: &Api) -> Option<String> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/palisade-trust");
    let answer = api.send(Call::get(path)).ok().filter(|answer| answer.status.is_success())?;
    answer.json()["data"]["ca.crt"].as_str().map(str::to_owned)
}
