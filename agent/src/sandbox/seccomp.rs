//! Filters on system calls: from the table of what is allowed to programs for the kernel, see
//! seccomp(2).
//!
//! Two programs for each process. The first answers ENOSYS to clone3, whose flags lie in memory and
//! cannot be looked at, so that the C library falls back to clone. The second answers EPERM to
//! whatever is not in the table; of several programs' answers the strictest counts.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::BackendError;
use seccompiler::BpfProgram;
use seccompiler::SeccompAction;
use seccompiler::SeccompCmpArgLen;
use seccompiler::SeccompCmpOp;
use seccompiler::SeccompCondition;
use seccompiler::SeccompFilter;
use seccompiler::SeccompRule;
use seccompiler::TargetArch;

use super::syscall::Allowed;
use super::syscall::COMMON;
use super::syscall::OWN;
use super::syscall::Only;
use crate::rebooter::REBOOT_SIGNAL;

/// A process with a filter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Starts readers.
    Keeper,
    /// Parses and sends.
    Parser,
    /// Reads the host.
    Reader,
    /// Checks grants and reboots.
    Rebooter,
}

/// A filter could not be installed. At fault: us, or the kernel.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The machine's architecture has no table.
    #[error("failed to find the system calls of this architecture")]
    Architecture(#[source] BackendError),
    /// The table makes no program.
    #[error("failed to compile the filter")]
    Compile(#[source] BackendError),
    /// The kernel refused it.
    #[error("failed to install the filter")]
    Install(#[source] seccompiler::Error),
}

/// Flags of clone(2) that make namespaces.
const NAMESPACES: u64 = (libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS) as u64;

/// Flags of openat(2) with which something may be written.
const WRITING: u64 =
    (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | 0o20_000_000) as u64;

/// Commands of fcntl(2) that name who is signalled, by what, and upon what.
const SIGNALLING: [i32; 5] =
    [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX, libc::F_SETLEASE, libc::F_NOTIFY];

/// `F_SETSIG` of `asm-generic/fcntl.h`.
const F_SETSIG: i32 = 10;

/// `F_SETOWN_EX` of `asm-generic/fcntl.h`.
const F_SETOWN_EX: i32 = 15;

/// `NETLINK_SOCK_DIAG` of `linux/netlink.h`.
const SOCK_DIAG: u64 = 4;

/// Bits of the type of a socket that are no flags (`SOCK_TYPE_MASK`).
const SOCKET_TYPE: u64 = 0xf;

/// `FIONBIO` of `asm-generic/ioctls.h`.
const FIONBIO: u64 = 0x5421;

/// `PR_SET_VMA` of `linux/prctl.h`: names for memory, which newer C libraries set.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Filters the system calls of this thread and of all that it starts; no rights are gained by
/// executing programs from then on.
///
/// # Errors
/// [`InstallError`]; the process must end then.
pub fn install(role: Role) -> Result<(), InstallError> {
    let architecture =
        TargetArch::try_from(std::env::consts::ARCH).map_err(InstallError::Architecture)?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let main = compile(rules(role)?, refuse, SeccompAction::Allow, architecture)?;
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let missing = SeccompAction::Errno(libc::ENOSYS as u32);
    let clone3 = compile(clone3, SeccompAction::Allow, missing, architecture)?;
    seccompiler::apply_filter(&clone3).map_err(InstallError::Install)?;
    seccompiler::apply_filter(&main).map_err(InstallError::Install)
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
    architecture: TargetArch,
) -> Result<BpfProgram, InstallError> {
    let filter = SeccompFilter::new(rules, otherwise, listed, architecture);
    filter.and_then(BpfProgram::try_from).map_err(InstallError::Compile)
}

/// What a role may call, by number, each with any of some conditions.
fn rules(role: Role) -> Result<BTreeMap<i64, Vec<SeccompRule>>, InstallError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for Allowed { number, only, .. } in table(role) {
        let listed = rules.entry(*number).or_default();
        for conditions in conditions(*only).map_err(InstallError::Compile)? {
            listed.push(SeccompRule::new(conditions).map_err(InstallError::Compile)?);
        }
    }
    Ok(rules)
}

fn table(role: Role) -> impl Iterator<Item = &'static Allowed> {
    COMMON.iter().chain(OWN).filter(move |allowed| allowed.roles.contains(&role))
}

/// Alternatives, each of conditions that hold together; none for any arguments.
fn conditions(only: Only) -> Result<Vec<Vec<SeccompCondition>>, BackendError> {
    let argument = |index, operator, value| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
    };
    let equal = |index, value: u64| argument(index, SeccompCmpOp::Eq, value);
    let none_of = |index, mask: u64| argument(index, SeccompCmpOp::MaskedEq(mask), 0);
    let number = |value: i32| u64::try_from(value).unwrap_or_default();
    let unix = |kind| {
        let is_kind = argument(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE), number(kind))?;
        Ok(vec![vec![equal(0, number(libc::AF_UNIX))?, is_kind]])
    };
    Ok(match only {
        Only::Always => Vec::new(),
        Only::Fionbio => vec![vec![equal(1, FIONBIO)?]],
        Only::Internet => {
            let mut alternatives = Vec::new();
            for family in [libc::AF_INET, libc::AF_INET6] {
                for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
                    let is_kind = argument(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE), number(kind))?;
                    alternatives.push(vec![equal(0, number(family))?, is_kind]);
                }
            }
            alternatives
        }
        Only::NotExecutable => vec![vec![none_of(2, number(libc::PROT_EXEC))?]],
        Only::NoNamespaces => vec![vec![none_of(0, NAMESPACES)?]],
        Only::Reading => vec![vec![none_of(2, WRITING)?]],
        Only::RebootSignal => {
            let mut alternatives = Vec::new();
            for signal in [0, REBOOT_SIGNAL] {
                alternatives.push(vec![equal(0, 1)?, equal(1, number(signal))?]);
            }
            alternatives
        }
        Only::Signalless => {
            let not = |command| argument(1, SeccompCmpOp::Ne, number(command));
            vec![SIGNALLING.into_iter().map(not).collect::<Result<_, _>>()?]
        }
        Only::SockDiag => vec![vec![equal(0, number(libc::AF_NETLINK))?, equal(2, SOCK_DIAG)?]],
        Only::Tame => {
            let mut alternatives = Vec::new();
            for option in [number(libc::PR_SET_NAME), number(libc::PR_SET_NO_NEW_PRIVS), PR_SET_VMA]
            {
                alternatives.push(vec![equal(0, option)?]);
            }
            alternatives
        }
        Only::UnixPackets => unix(libc::SOCK_SEQPACKET)?,
        Only::UnixStream => unix(libc::SOCK_STREAM)?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What nobody may call, but for the keeper's execve; what the processes may: SECURITY.md.
    const FORBIDDEN: &[i64] = &[
        libc::SYS_bpf,
        libc::SYS_delete_module,
        libc::SYS_execveat,
        libc::SYS_finit_module,
        libc::SYS_fsopen,
        libc::SYS_init_module,
        libc::SYS_io_uring_setup,
        libc::SYS_kexec_file_load,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_kill,
        libc::SYS_linkat,
        libc::SYS_mkdirat,
        libc::SYS_mount,
        libc::SYS_mount_setattr,
        libc::SYS_move_mount,
        libc::SYS_open_by_handle_at,
        libc::SYS_open_tree,
        libc::SYS_perf_event_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_pivot_root,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_ptrace,
        libc::SYS_reboot,
        libc::SYS_renameat2,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_setns,
        libc::SYS_tgkill,
        libc::SYS_tkill,
        libc::SYS_umount2,
        libc::SYS_unlinkat,
        libc::SYS_unshare,
        libc::SYS_userfaultfd,
    ];

    #[test]
    fn the_tables_compile_are_short_and_hold_nothing_that_is_forbidden() {
        for (role, most) in [(Role::Keeper, 70), (Role::Parser, 60), (Role::Reader, 60)] {
            let rules = rules(role).unwrap();
            let numbers: BTreeSet<i64> = rules.keys().copied().collect();
            assert!(numbers.len() <= most, "{role:?}: {}", numbers.len());
            assert!(FORBIDDEN.iter().all(|number| !numbers.contains(number)), "{role:?}");
            assert_eq!(numbers.contains(&libc::SYS_execve), role == Role::Keeper);
            for architecture in [TargetArch::x86_64, TargetArch::aarch64] {
                let refuse = SeccompAction::Errno(1);
                let rules = super::rules(role).unwrap();
                assert!(compile(rules, refuse, SeccompAction::Allow, architecture).is_ok());
            }
        }
    }

    #[test]
    fn a_rebooter_may_do_nothing_forbidden_but_signal_process_1_and_replace_its_record() {
        let numbers: BTreeSet<i64> = rules(Role::Rebooter).unwrap().keys().copied().collect();
        assert!(numbers.len() <= 60, "{}", numbers.len());
        let held: Vec<i64> =
            FORBIDDEN.iter().copied().filter(|number| numbers.contains(number)).collect();
        assert_eq!(held, [libc::SYS_kill, libc::SYS_renameat2]);
        assert!(!numbers.contains(&libc::SYS_execve));
        assert!(!numbers.contains(&libc::SYS_bind));
        // Process 1 and two signals, see `Only::RebootSignal`.
        assert_eq!(conditions(Only::RebootSignal).unwrap().len(), 2);
        for architecture in [TargetArch::x86_64, TargetArch::aarch64] {
            let rules = rules(Role::Rebooter).unwrap();
            assert!(
                compile(rules, SeccompAction::Errno(1), SeccompAction::Allow, architecture).is_ok()
            );
        }
    }

    #[test]
    fn nobody_has_the_kernel_signal_by_fcntl() {
        for role in [Role::Keeper, Role::Parser, Role::Reader, Role::Rebooter] {
            let rows: Vec<Only> =
                table(role).filter(|it| it.number == libc::SYS_fcntl).map(|it| it.only).collect();
            assert_eq!(rows, [Only::Signalless], "{role:?}");
        }
        let not =
            |command| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, command);
        // F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY.
        let expected: Vec<_> = [8, 10, 15, 1024, 1026].map(|it| not(it).unwrap()).into();
        assert_eq!(conditions(Only::Signalless).unwrap(), [expected]);
    }

    #[test]
    fn a_keeper_allows_whatever_its_reader_needs() {
        let keeper: BTreeSet<i64> = table(Role::Keeper).map(|it| it.number).collect();
        assert!(table(Role::Reader).all(|it| keeper.contains(&it.number)));
    }
}
