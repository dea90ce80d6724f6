//! `run`: reports this host to a collector until it is told to stop.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use palisade_inspect::Host;
use palisade_report::NodeName;
use tracing::info;

use super::Output;
use crate::conversation::Conversation;
use crate::reporter;
use crate::reporter::ListenError;
use crate::sandbox;
use crate::sandbox::Granted;
use crate::sandbox::SplitError;
use crate::send::Client;
use crate::settings::RawSettings;
use crate::settings::Settings;
use crate::settings::SettingsError;

/// Reports this host to a collector until it is told to stop
///
/// Inspects in every slot that the collector assigns and sends what changed. Never ends because of
/// the collector; SIGTERM and SIGINT end it. The log is JSON on stderr.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  palisade-agent run --collector http://127.0.0.1:7443 --node worker-7
  palisade-agent run --root /host --node \"$NODE_NAME\" --collector https://palisade.palisade.svc:7443 \\
    --token-file /var/run/secrets/palisade/token --ca-file /etc/palisade/ca.crt")]
pub(super) struct RunArgs {
    #[command(flatten)]
    settings: RawSettings,
}

/// The agent could not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// Signals cannot be listened to.
    #[error("failed to start")]
    Listen(#[source] ListenError),
    /// The host's own name is no node name. At fault: the configuration.
    #[error("failed to take the host's name as the node's name; give --node")]
    Name(#[source] palisade_report::id::MalformedNodeName),
    /// The host's own name cannot be read. At fault: the host.
    #[error("failed to read the host's name; give --node")]
    ReadName(#[source] palisade_inspect::ReadError),
    /// The profile cannot be loaded.
    #[error("failed to get the rules")]
    Profile(#[source] super::LoadProfileError),
    /// The host cannot be read as it is wanted.
    #[error("failed to set up the inspection")]
    Split(#[source] SplitError),
    /// The runtime cannot start. At fault: the system's limits.
    #[error("failed to start the runtime")]
    Runtime(#[source] io::Error),
    /// The settings do not hold together.
    #[error("failed to use the settings")]
    Settings(#[source] SettingsError),
}

/// Threads beside the main one: an inspection, the resolver of names, and the rebooter's peer.
const MAX_BLOCKING_THREADS: usize = 3;

/// Where the manifests have the rebooter's socket.
const REBOOTER: &str = "/run/palisade-grants/socket";

pub(super) fn run(args: RunArgs) -> Result<Output, RunError> {
    let settings = args.settings.validate().map_err(RunError::Settings)?;
    log();
    let Settings {
        root,
        collector,
        node,
        token_file,
        ca_file,
        interval,
        profile,
        rebooter,
        confine,
    } = settings;
    // Looked for before the file system is shut off.
    let rebooter = rebooter.or_else(default_rebooter);
    let profile = super::profile(profile.as_deref()).map_err(RunError::Profile)?;
    let interest = super::interest(&profile);
    // Both are replaced by a rename in their directory.
    let readable: Vec<&Path> =
        [&token_file, &ca_file].into_iter().flatten().filter_map(|file| file.parent()).collect();
    let granted = Granted { readable: &readable, port: Some(collector.port) };
    let inspector =
        sandbox::inspector(&root, interest, confine, &granted).map_err(RunError::Split)?;
    let node = match node {
        Some(node) => node,
        None => own_name(inspector.host())?,
    };
    info!(%node, %collector, root = %root.display(), profile = profile.name(),
        version = env!("CARGO_PKG_VERSION"), "starts");
    let conversation =
        Conversation::new(node, Client::new(collector, token_file, ca_file), interval)
            .with_rebooter(rebooter);
    // Rules are judged elsewhere; only what they look at was needed.
    drop(profile);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .map_err(RunError::Runtime)?;
    let outcome = runtime.block_on(reporter::run(inspector, conversation, interval));
    // An inspection that hangs in the kernel cannot be waited for.
    runtime.shutdown_background();
    outcome.map(|()| Output { text: String::new(), code: 0 }).map_err(RunError::Listen)
}

/// Sends the log to stderr, as JSON.
pub(super) fn log() {
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(io::stderr).init();
}

/// The rebooter's socket, if there is a place for one. It may come and go with its container.
fn default_rebooter() -> Option<PathBuf> {
    let socket = PathBuf::from(REBOOTER);
    socket.parent().is_some_and(Path::is_dir).then_some(socket)
}

/// The host's name in lowercase, as the kubelet would register it.
fn own_name(host: &dyn Host) -> Result<NodeName, RunError> {
    const PATH: &str = "/proc/sys/kernel/hostname";
    let contents = host.read(PATH, 256).map_err(RunError::ReadName)?;
    let name = String::from_utf8_lossy(&contents.bytes).trim().to_ascii_lowercase();
    name.parse().map_err(RunError::Name)
}
