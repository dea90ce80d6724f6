//! What the kernel's errors mean for a reading: absence, or one kind of not knowing.

use nix::errno::Errno;
use palisade_inspect::ReadError;
use palisade_report::WhyKind;

/// The error of a reading on `path` for which the kernel said `errno` while it was to `act`.
///
/// ESRCH is what `/proc/PID` files say once the process is gone; ENOTDIR means that a component
/// above is no directory, so nothing is at the path.
pub(super) fn failed(path: &str, act: &str, errno: Errno) -> ReadError {
    let kind = if matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ESRCH) {
        return ReadError::NotFound { path: path.to_owned() };
    } else if matches!(errno, Errno::EACCES | Errno::EPERM) {
        WhyKind::PermissionDenied
    } else if errno == Errno::ELOOP {
        WhyKind::Loop
    } else if errno == Errno::EXDEV {
        WhyKind::OutsideRoot
    } else if errno == Errno::EAGAIN {
        WhyKind::Unstable
    } else {
        WhyKind::Io
    };
    ReadError::failed(path, kind, format!("cannot {act} {path}: {}{}", errno.desc(), help(kind)))
}

/// What would help, where one thing usually does.
fn help(kind: WhyKind) -> &'static str {
    if kind == WhyKind::PermissionDenied {
        " (needs uid 0 with DAC_READ_SEARCH, for other processes SYS_PTRACE)"
    } else if kind == WhyKind::OutsideRoot {
        " (a link of /proc that leads out of the root)"
    } else {
        ""
    }
}
