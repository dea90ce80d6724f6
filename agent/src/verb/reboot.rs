//! `reboot`: carries out signed grants to reboot this node.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use palisade_report::NodeUid;
use tracing::info;

use super::Output;
use crate::rebooter::Floor;
use crate::rebooter::Means;
use crate::rebooter::Mode;
use crate::rebooter::Rebooter;
use crate::rebooter::Settings;
use crate::rebooter::StartError;
use crate::sandbox;
use crate::sandbox::ConfineError;

/// Reboots this node when a signed grant for it is handed over
///
/// Takes grants from a unix socket, checks each against its own boot id, keys, record, hold file and
/// floor, and acts once. Needs uid 0 and, for the signal, the host's process 1. Without a key it waits
/// and refuses everything. SIGTERM ends it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  palisade-agent reboot --keys /etc/palisade/trust/grant-keys --mode logind
  touch /run/palisade/hold     # this node is not rebooted until the file is gone")]
pub(super) struct RebootArgs {
    /// How the node is rebooted
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Unix socket (packets) at which grants are taken, mode 0660
    #[arg(long, value_name = "FILE", default_value = "/run/palisade-grants/socket")]
    socket: PathBuf,
    /// Public keys that grants are verified with: up to two lines of 64 hexadecimal digits
    #[arg(long, value_name = "FILE", default_value = "/etc/palisade/trust/grant-keys")]
    keys: PathBuf,
    /// Directory of the host where used grants are remembered; it must outlive the pod and the boot
    #[arg(long, value_name = "DIR", default_value = "/var/lib/palisade")]
    state: PathBuf,
    /// As long as this file is there, every grant is refused
    #[arg(long, value_name = "FILE", default_value = "/run/palisade/hold")]
    hold: PathBuf,
    /// Socket of the system bus, for --mode logind
    #[arg(long, value_name = "FILE", default_value = "/run/dbus/system_bus_socket")]
    bus: PathBuf,
    /// Name of this node, for the log
    #[arg(long, value_name = "NAME", env = "PALISADE_NODE")]
    node: Option<String>,
    /// UID of this node's object; that of the first grant that is carried out if not given
    #[arg(long, value_name = "UID", env = "PALISADE_NODE_UID")]
    node_uid: Option<NodeUid>,
    /// Seconds that the node must be up before it is rebooted
    #[arg(long, value_name = "SECS", default_value_t = 10 * 60)]
    min_uptime: u64,
    /// Seconds that must lie between two attempts to reboot the node
    #[arg(long, value_name = "SECS", default_value_t = 24 * 60 * 60)]
    min_interval: u64,
    /// Milliseconds between a refusal and the next grant that is looked at
    #[arg(long, value_name = "MS", default_value_t = 1000, hide = true)]
    refusal_pause: u64,
}

/// The rebooter could not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum RebootError {
    /// It holds more than it needs.
    #[error("failed to confine the rebooter")]
    Confine(#[source] ConfineError),
    /// Grants cannot be taken.
    #[error("failed to take grants")]
    Start(#[source] StartError),
}

pub(super) fn run(args: RebootArgs) -> Result<Output, RebootError> {
    let RebootArgs {
        mode,
        socket,
        keys,
        state,
        hold,
        bus,
        node,
        node_uid,
        min_uptime,
        min_interval,
        refusal_pause,
    } = args;
    super::run::log();
    info!(node, "starts");
    let settings = Settings {
        socket,
        keys,
        state,
        hold,
        node: node_uid,
        floor: Floor {
            uptime: Duration::from_secs(min_uptime),
            interval: Duration::from_secs(min_interval),
        },
        means: match mode {
            Mode::Logind => Means::Logind(bus),
            Mode::Signal => Means::Signal,
        },
        pause: Duration::from_millis(refusal_pause),
    };
    let rebooter = Rebooter::start(settings).map_err(RebootError::Start)?;
    sandbox::confine_rebooter().map_err(RebootError::Confine)?;
    rebooter.introduce();
    rebooter.serve()
}
