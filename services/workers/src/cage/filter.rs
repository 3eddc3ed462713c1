//! Which system calls a process may make (seccomp(2)).
//!
//! Three answers: what the engine uses is allowed, and how, where that matters; what it never uses, and what breaking out of
//! here would need, ends the process at once, so that it is seen; everything else is refused (`EPERM`), also what kernels
//! learn later.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::CageError;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What V8, the allocator and the C library use, with whatever arguments: memory, threads, time, what they ask about
/// themselves, and input and output on what is open.
const ALLOWED: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_connect,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    // The launcher becomes the engine by it, after this filter is in force. There is nothing else to execute: what the root
    // file system has of programs is the engine, in the same cage.
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpeername,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_get_robust_list,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pipe2,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_pkey_mprotect,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_sysinfo,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_write,
    libc::SYS_writev,
    // Another filter says that there is none, so that the C library takes clone(2), whose flags can be looked at.
    libc::SYS_clone3,
];

/// Files: which there are, and which of them can be written, the mounts say (`root.rs`).
const FILES: &[i64] = &[
    libc::SYS_chdir,
    libc::SYS_copy_file_range,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_msync,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sync_file_range,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

/// The same, as x86-64 calls them besides: newer machines have one way for each.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_getdents,
    libc::SYS_getrlimit,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

/// What nothing of the engine calls, and what breaking out would: looking into other processes, changing what is mounted or
/// which namespaces one is in, and the parts of the kernel through which it was broken into most.
const FATAL: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// Ways to make a thread, and none to leave namespaces by it.
const CLONE_LOOKED_AT: libc::c_int = libc::CLONE_THREAD
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;
/// `PR_SET_VMA` (prctl(2)): the allocator names its memory.
const PR_SET_VMA: libc::c_int = 0x5356_4d41;
/// What is asked of descriptors: whether they block, are inherited, have octets, are a terminal.
const IOCTLS: [libc::Ioctl; 5] = [libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX, libc::FIONREAD, libc::TCGETS];

/// Puts the filter into force, for good. Wants `no_new_privs`, and sets it.
pub(super) fn apply() -> Result<(), CageError> {
    let failed = |error: &dyn std::fmt::Display| CageError::Filter(error.to_string());
    for filter in filters().map_err(|error| failed(&error))? {
        seccompiler::apply_filter(&filter).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// The filters, in the order in which they come into force: after the last, none can be added. The strictest answer counts.
fn filters() -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = |error: libc::c_int| SeccompAction::Errno(error.unsigned_abs());
    let any = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect::<Rules>();
    [
        SeccompFilter::new(any(FATAL), SeccompAction::Allow, SeccompAction::KillProcess, arch)?,
        SeccompFilter::new(any(&[libc::SYS_clone3]), SeccompAction::Allow, refuse(libc::ENOSYS), arch)?,
        SeccompFilter::new(allowed()?, refuse(libc::EPERM), SeccompAction::Allow, arch)?,
    ]
    .into_iter()
    .map(BpfProgram::try_from)
    .collect()
}

fn allowed() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules =
        [ALLOWED, FILES, OLDER].into_iter().flatten().map(|call| (*call, Vec::new())).collect();
    let int =
        |argument, value: libc::c_int| is(argument, Width::Dword, Is::Eq, u64::from(value.unsigned_abs()));
    let own = libc::pid_t::try_from(std::process::id()).unwrap_or_default();
    // No sockets but Unix ones; and none that it would listen at.
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![int(0, libc::AF_UNIX)?])?]);
    rules.insert(libc::SYS_socketpair, vec![SeccompRule::new(vec![int(0, libc::AF_UNIX)?])?]);
    // Threads, and no processes.
    let thread = Is::MaskedEq(u64::from(CLONE_LOOKED_AT.unsigned_abs()));
    let thread = is(0, Width::Qword, thread, u64::from(libc::CLONE_THREAD.unsigned_abs()))?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![thread])?]);
    // Signals to itself: abort(3) sends one.
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![int(0, own)?])?]);
    // Limits are read, not set.
    rules.insert(
        libc::SYS_prlimit64,
        vec![SeccompRule::new(vec![int(0, 0)?, is(2, Width::Qword, Is::Eq, 0)?])?],
    );
    let options = [libc::PR_SET_NAME, libc::PR_GET_NAME, PR_SET_VMA];
    let options = options.into_iter().map(|option| SeccompRule::new(vec![int(0, option)?]));
    rules.insert(libc::SYS_prctl, options.collect::<Result<_, _>>()?);
    let asked =
        IOCTLS.into_iter().map(|request| SeccompRule::new(vec![is(1, Width::Qword, Is::Eq, request)?]));
    rules.insert(libc::SYS_ioctl, asked.collect::<Result<_, _>>()?);
    Ok(rules)
}

fn is(argument: u8, width: Width, is: Is, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, width, is, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_both_allowed_and_fatal() {
        let allowed = allowed().expect("rules");
        assert!(FATAL.iter().all(|call| !allowed.contains_key(call)));
        assert!(
            [libc::SYS_bind, libc::SYS_listen, libc::SYS_kill, libc::SYS_memfd_create, libc::SYS_seccomp]
                .iter()
                .all(|call| !allowed.contains_key(call))
        );
        assert_eq!(filters().expect("filters").len(), 3);
    }
}
