//! Who a process is, and what it may: nobody, and nothing.

use std::fs;

use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, unshare as unshare_from},
    sys::prctl,
    unistd::{Gid, Uid, getegid, geteuid, setgroups, sethostname, setresgid, setresuid},
};

use super::{CageError, Doing as _};

/// Capabilities that a kernel may know: it says itself where its own end.
const CAPABILITIES_MAX: i32 = 63;
/// What the machine is called, in the cage.
const HOST_NAME: &str = "worker";

/// Who the node is.
pub(super) struct Node {
    user: Uid,
    group: Gid,
}

impl Node {
    pub(super) fn now() -> Self {
        Self { user: geteuid(), group: getegid() }
    }
}

/// Leaves the node's mounts, network, shared memory and name. Who is not root becomes, in a user namespace of its own, somebody
/// who may do that, and nothing outside of it.
///
/// There is no namespace of processes: what starts one is its first process only in a child, which somebody would have to wait
/// for. Without `/proc` no other process is seen, and the filter lets signals go to this one alone.
pub(super) fn unshare(node: &Node) -> Result<(), CageError> {
    let mut from = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if !node.user.is_root() {
        from |= CloneFlags::CLONE_NEWUSER;
    }
    unshare_from(from).doing(if node.user.is_root() {
        "making namespaces (the node needs CAP_SYS_ADMIN for that)"
    } else {
        "making namespaces (this machine may not allow user namespaces to who is not root)"
    })?;
    if !node.user.is_root() {
        // The same number inside and out: who is 0 inside would keep all rights there on exec(2).
        let (user, group) = (node.user, node.group);
        fs::write("/proc/self/setgroups", "deny").doing("forbidding other groups")?;
        fs::write("/proc/self/uid_map", format!("{user} {user} 1")).doing("mapping the user")?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1")).doing("mapping the group")?;
    }
    sethostname(HOST_NAME).doing("naming the machine")
}

/// Becomes `user`, and gives up whatever is left.
pub(super) fn give_up(user: Option<u32>) -> Result<(), CageError> {
    for capability in 0..=CAPABILITIES_MAX {
        // SAFETY: a system call without memory.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            Ok(_) => {}
            // The kernel knows no more.
            Err(Errno::EINVAL) => break,
            Err(error) => return Err(error).doing("giving up capabilities"),
        }
    }
    if let Some(user) = user {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
        setgroups(&[]).doing("leaving groups")?;
        setresgid(group, group, group).doing("changing the group")?;
        setresuid(user, user, user).doing("changing the user")?;
    }
    // What capabilities are left go as the engine is executed: by nobody who is root (capabilities(7)).
    prctl::set_no_new_privs().doing("forbidding new privileges")
}
