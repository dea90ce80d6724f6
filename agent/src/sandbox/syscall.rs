//! The system calls that each process may make, and what for. Everything else is refused with EPERM.
//!
//! Refused by not being here, among others: execve and execveat (but for the keeper), ptrace,
//! process_vm_readv and process_vm_writev, pidfd_getfd, the mount family, open_by_handle_at, unshare,
//! setns, bpf, perf_event_open, the kexec and module calls, reboot, keyctl, io_uring; but for
//! the rebooter, the kill family and everything that writes to a file system.

use nix::libc;

use super::seccomp::Role;

/// A system call, who may make it, and under which condition.
pub(super) struct Allowed {
    pub(super) number: i64,
    pub(super) roles: &'static [Role],
    pub(super) only: Only,
}

/// A condition on arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    /// Any arguments.
    Always,
    /// `ioctl`: to switch a descriptor between waiting and not.
    Fionbio,
    /// `socket` for TCP and UDP.
    Internet,
    /// `mmap`, `mprotect`: not executable.
    NotExecutable,
    /// `clone`: no namespaces.
    NoNamespaces,
    /// `openat`: for reading.
    Reading,
    /// `kill`: process 1, and only to ask whether it may be signalled, or to have it reboot.
    RebootSignal,
    /// `fcntl`: nothing that has the kernel signal another process.
    Signalless,
    /// `socket` of sock_diag(7), the only netlink family.
    SockDiag,
    /// `prctl`: names, and what turns rights off.
    Tame,
    /// `socket` to the rebooter: packets to a path.
    UnixPackets,
    /// `socket` to the system bus.
    UnixStream,
}

use Only::Always;
use Role::Keeper;
use Role::Parser;
use Role::Reader;
use Role::Rebooter;

const ALL: &[Role] = &[Keeper, Parser, Reader, Rebooter];
/// Those that write no file.
const INSPECTING: &[Role] = &[Keeper, Parser, Reader];
const READING: &[Role] = &[Keeper, Reader];
/// Those that execute no program.
const CONFINED: &[Role] = &[Parser, Reader, Rebooter];
const PARSING: &[Role] = &[Parser];
const REBOOTING: &[Role] = &[Rebooter];
/// The keeper hands its filter on to the reader that it starts, so it allows what that needs.
const STARTING: &[Role] = &[Keeper];

const fn on(number: i64, roles: &'static [Role]) -> Allowed {
    Allowed { number, roles, only: Always }
}

const fn only(number: i64, roles: &'static [Role], only: Only) -> Allowed {
    Allowed { number, roles, only }
}

/// On every architecture.
#[rustfmt::skip]
pub(super) const COMMON: &[Allowed] = &[
    // Memory.
    on(libc::SYS_brk, ALL),
    on(libc::SYS_madvise, ALL),
    only(libc::SYS_mmap, CONFINED, Only::NotExecutable),
    only(libc::SYS_mprotect, CONFINED, Only::NotExecutable),
    on(libc::SYS_mremap, ALL),
    on(libc::SYS_munmap, ALL),
    // Threads, time and the end.
    on(libc::SYS_clock_gettime, ALL),
    on(libc::SYS_clock_nanosleep, ALL),
    on(libc::SYS_exit, ALL),
    on(libc::SYS_exit_group, ALL),
    on(libc::SYS_futex, ALL),
    on(libc::SYS_getpid, ALL),
    on(libc::SYS_getrandom, ALL),
    on(libc::SYS_gettid, ALL),
    on(libc::SYS_restart_syscall, ALL),
    on(libc::SYS_rseq, ALL),
    on(libc::SYS_rt_sigaction, ALL),
    on(libc::SYS_rt_sigprocmask, ALL),
    on(libc::SYS_rt_sigreturn, ALL),
    on(libc::SYS_sched_getaffinity, ALL),
    on(libc::SYS_sched_yield, ALL),
    on(libc::SYS_set_robust_list, ALL),
    on(libc::SYS_sigaltstack, ALL),
    only(libc::SYS_prctl, ALL, Only::Tame),
    // Files, for reading only. What openat2 opens is bounded by the user: it cannot write either.
    on(libc::SYS_close, ALL),
    only(libc::SYS_fcntl, ALL, Only::Signalless),
    on(libc::SYS_fstat, ALL),
    on(libc::SYS_getdents64, ALL),
    on(libc::SYS_lseek, ALL),
    on(libc::SYS_newfstatat, ALL),
    only(libc::SYS_openat, INSPECTING, Only::Reading),
    on(libc::SYS_read, ALL),
    on(libc::SYS_readlinkat, ALL),
    on(libc::SYS_statx, ALL),
    on(libc::SYS_write, ALL),
    on(libc::SYS_writev, ALL),
    on(libc::SYS_fstatfs, READING),
    on(libc::SYS_openat2, READING),
    // Between the processes, and to the collector.
    on(libc::SYS_recvfrom, ALL),
    on(libc::SYS_sendto, ALL),
    on(libc::SYS_setsockopt, ALL),
    only(libc::SYS_socket, READING, Only::SockDiag),
    only(libc::SYS_socket, PARSING, Only::Internet),
    only(libc::SYS_socket, PARSING, Only::UnixPackets),
    on(libc::SYS_connect, &[Parser, Rebooter]),
    on(libc::SYS_epoll_create1, PARSING),
    on(libc::SYS_epoll_ctl, PARSING),
    on(libc::SYS_epoll_pwait, PARSING),
    on(libc::SYS_eventfd2, PARSING),
    on(libc::SYS_getpeername, PARSING),
    on(libc::SYS_getsockname, PARSING),
    on(libc::SYS_getsockopt, PARSING),
    only(libc::SYS_ioctl, PARSING, Only::Fionbio),
    on(libc::SYS_recvmsg, PARSING),
    on(libc::SYS_sendmmsg, PARSING),
    on(libc::SYS_sendmsg, PARSING),
    on(libc::SYS_shutdown, PARSING),
    on(libc::SYS_socketpair, PARSING),
    on(libc::SYS_uname, PARSING),
    // Grants come in; the record is replaced, which its container's read-only mounts confine; the bus
    // or a signal.
    on(libc::SYS_accept4, REBOOTING),
    on(libc::SYS_flock, REBOOTING),
    on(libc::SYS_fsync, REBOOTING),
    on(libc::SYS_geteuid, REBOOTING),
    only(libc::SYS_kill, REBOOTING, Only::RebootSignal),
    on(libc::SYS_openat, REBOOTING),
    on(libc::SYS_renameat2, REBOOTING),
    only(libc::SYS_socket, REBOOTING, Only::UnixStream),
    // Threads of the runtime, and the reader's process. An earlier filter answers clone3.
    on(libc::SYS_clone3, ALL),
    only(libc::SYS_clone, &[Keeper, Parser], Only::NoNamespaces),
    // What watches over a packet of questions.
    on(libc::SYS_setitimer, READING),
    // To start a reader, and for that reader to start and to confine itself further.
    on(libc::SYS_capget, STARTING),
    on(libc::SYS_dup3, STARTING),
    on(libc::SYS_execve, STARTING),
    on(libc::SYS_faccessat, STARTING),
    on(libc::SYS_mmap, STARTING),
    on(libc::SYS_mprotect, STARTING),
    on(libc::SYS_pipe2, STARTING),
    on(libc::SYS_pread64, STARTING),
    on(libc::SYS_prlimit64, STARTING),
    on(libc::SYS_seccomp, STARTING),
    on(libc::SYS_set_tid_address, STARTING),
    on(libc::SYS_wait4, STARTING),
    on(libc::SYS_waitid, STARTING),
];

/// Calls that only older architectures have beside the newer ones above.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub(super) const OWN: &[Allowed] = &[
    on(libc::SYS_access, STARTING),
    on(libc::SYS_alarm, READING),
    on(libc::SYS_arch_prctl, STARTING),
    on(libc::SYS_dup2, STARTING),
    on(libc::SYS_epoll_wait, PARSING),
    on(libc::SYS_poll, ALL),
    on(libc::SYS_readlink, ALL),
    on(libc::SYS_rename, REBOOTING),
    on(libc::SYS_vfork, STARTING),
];

/// Calls that only older architectures have beside the newer ones above.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const OWN: &[Allowed] = &[on(libc::SYS_ppoll, ALL)];
