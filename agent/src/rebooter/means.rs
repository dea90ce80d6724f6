//! How this node is rebooted, in an orderly way in both cases.

use std::io;
use std::path::PathBuf;

use clap::ValueEnum;
use nix::errno::Errno;
use nix::libc;

use super::BusError;
use super::bus::Bus;
use crate::send::read_bounded;

/// SIGRTMIN+5 as glibc counts: systemd(1) starts `reboot.target`. Another C library counts otherwise,
/// and the signal next to it is another order, so it is the literal number.
pub const REBOOT_SIGNAL: i32 = 39;

/// Bytes of `/proc/1/comm`, proc_pid_comm(5).
const MAX_COMM: u64 = 64;

/// Which means, as given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Ask logind on the system bus: delays of inhibitors are honoured, such as the kubelet's
    Logind,
    /// Send systemd its reboot signal: needs the host's PID namespace and uid 0, nothing else
    #[default]
    Signal,
}

/// A means of rebooting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// logind, behind the system bus at this socket.
    Logind(PathBuf),
    /// A signal to the host's systemd.
    Signal,
}

/// The means does not work here, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum MeansError {
    /// The bus or logind.
    #[error("failed to ask logind")]
    Bus(#[source] BusError),
    /// logind would not.
    #[error("logind says to CanReboot: {0:?}")]
    Cannot(String),
    /// PID 1 is not the host's systemd. At fault: the pod is not in the host's PID namespace, or the
    /// host has another init.
    #[error("process 1 is {0:?}, not systemd")]
    Init(String),
    /// Process 1 cannot be looked at.
    #[error("failed to look at process 1")]
    Look(#[source] io::Error),
    /// The kernel refused the signal. At fault: the user, or a security module.
    #[error("failed to signal process 1")]
    Signal(#[source] Errno),
}

impl Means {
    /// Whether it would work, without using it.
    ///
    /// # Errors
    /// [`MeansError`] with what stands against it.
    pub fn test(&self) -> Result<(), MeansError> {
        match self {
            Self::Logind(bus) => {
                let can = Bus::connect(bus).and_then(|mut bus| bus.can_reboot());
                match can.map_err(MeansError::Bus)?.as_str() {
                    "yes" => Ok(()),
                    other => Err(MeansError::Cannot(other.to_owned())),
                }
            }
            Self::Signal => {
                let comm = read_bounded("/proc/1/comm".as_ref(), MAX_COMM);
                let comm = comm.map_err(MeansError::Look)?;
                let comm = String::from_utf8_lossy(comm.trim_ascii());
                if comm != "systemd" {
                    return Err(MeansError::Init(comm.into_owned()));
                }
                signal_init(0).map_err(MeansError::Signal)
            }
        }
    }

    /// Who wants a shutdown delayed or blocked, each in words: `kubelet delays shutdown: ...`. Nobody
    /// is asked for a signal.
    ///
    /// # Errors
    /// [`MeansError::Bus`].
    pub fn inhibitors(&self) -> Result<Vec<String>, MeansError> {
        match self {
            Self::Logind(bus) => {
                Bus::connect(bus).and_then(|mut bus| bus.inhibitors()).map_err(MeansError::Bus)
            }
            Self::Signal => Ok(Vec::new()),
        }
    }

    /// Gives the order. That it was taken proves no boot: only another boot id does.
    ///
    /// # Errors
    /// [`MeansError`]; for [`BusError::Talk`] the order may have been taken.
    pub fn reboot(&self) -> Result<(), MeansError> {
        match self {
            Self::Logind(bus) => {
                Bus::connect(bus).and_then(|mut bus| bus.reboot()).map_err(MeansError::Bus)
            }
            Self::Signal => signal_init(REBOOT_SIGNAL).map_err(MeansError::Signal),
        }
    }
}

#[expect(unsafe_code, reason = "kill(2) with a real-time signal has no safe wrapper")]
fn signal_init(signal: i32) -> Result<(), Errno> {
    // SAFETY: two integers and no memory; process 1 always exists, so no other is hit.
    Errno::result(unsafe { libc::kill(1, signal) }).map(drop)
}
