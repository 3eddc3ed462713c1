//! The launcher: puts up the walls around itself, and becomes the engine.

use std::{
    convert::Infallible,
    ffi::CString,
    fs,
    os::{fd::IntoRawFd, unix::ffi::OsStrExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    libc,
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::{SigHandler, Signal, signal},
        stat::{Mode, umask},
    },
    unistd::{AccessFlags, access, chdir, execve, getppid},
};

use super::{CageError, Doing as _, Keeps, Plan, RUN_FOLDER, filter, privileges, root};

/// Becomes what `plan` says; ends the process with success if that is but to be tried. Its standard input is the listener
/// that the engine takes over. To be called while the process has one thread.
///
/// # Errors
/// The step that failed. Whatever was put up stays: there is nothing to do then but to say so and to end.
pub fn enter(plan: &str) -> Result<Infallible, CageError> {
    let plan: Plan = serde_json::from_str(plan)?;
    close_all_but_standard()?;
    if let Some(group) = &plan.group {
        // While it has nothing, and may: what it takes from now on is counted there. 0 is who writes.
        fs::write(group.join("cgroup.procs"), "0").doing_with("entering the control group", group)?;
    }
    // The root file system is everybody's to read, whatever the node's own files are.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    // What it dies of would write all that its Workers know to the disk.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).doing("forbidding core dumps")?;
    // The kernel ends this process before the node, when it has no memory left. Where it is not told so, that is all.
    fs::write("/proc/self/oom_score_adj", "1000").ok();
    yield_to_the_node();
    if plan.nice > 0 {
        // SAFETY: a system call without memory. It fails for nobody who asks for less.
        unsafe { libc::nice(plan.nice) };
    }
    if let Some(keeps) = &plan.keeps {
        keep(keeps)?;
    }
    let (program, folder) = match &plan.walls {
        Some(walls) => {
            let node = privileges::Node::now();
            privileges::unshare(&node)?;
            let program = root::make(
                walls,
                &plan.program,
                &plan.folder,
                plan.keeps.as_ref().map(|keeps| &keeps.folder),
            )?;
            privileges::give_up(walls.user)?;
            (program, Path::new(RUN_FOLDER))
        }
        None => (plan.program.clone(), plan.folder.as_path()),
    };
    chdir(folder).doing_with("entering", folder)?;
    // Rust ignores it, and so would what is executed.
    // SAFETY: the default action runs no code of ours.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.doing("resetting a signal")?;
    let c = |octets: &[u8]| CString::new(octets).map_err(|_| Errno::EINVAL).doing("naming the program");
    let path = c(program.as_os_str().as_bytes())?;
    let mut arguments = vec![path.clone()];
    for argument in &plan.arguments {
        arguments.push(c(argument.as_bytes())?);
    }
    let environment = match &plan.walls {
        Some(_) => vec![c(format!("LD_LIBRARY_PATH={}", root::LIBRARIES).as_bytes())?],
        None => Vec::new(),
    };
    // A change of user forgets it: so it is said after that. Who died before it was said is not noticed by it.
    prctl::set_pdeathsig(Signal::SIGKILL).doing("dying with the node")?;
    if getppid().as_raw() != i32::try_from(plan.parent).unwrap_or_default() {
        return Err(CageError::Orphaned);
    }
    // Said while it can be understood: who may not run it would only see that it ended.
    access(&program, AccessFlags::X_OK).doing_with("running", &program)?;
    if plan.filter {
        filter::apply()?;
    }
    if plan.trial {
        std::process::exit(0);
    }
    execve(&path, &arguments, &environment).doing_with("running", &program)
}

/// What wakes in this process takes no processor from who runs (sched(7), `SCHED_BATCH`). The node so reads and writes for all who are
/// ready before the engine goes on, instead of giving way to it after each request; where a processor is free, nothing waits. Who may
/// not choose stays as the node is.
fn yield_to_the_node() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads a structure that is there until it has.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority) };
}

/// Locks what this process keeps on the disk, which the engine holds then for as long as it is there, and bounds it.
fn keep(keeps: &Keeps) -> Result<(), CageError> {
    // No `O_CLOEXEC`: the lock goes over to the engine.
    let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
    let lock = open(&keeps.lock, flags, Mode::S_IRUSR | Mode::S_IWUSR).doing_with("opening", &keeps.lock)?;
    // SAFETY: a system call without memory, on a descriptor that is open.
    Errno::result(unsafe { libc::flock(lock.into_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
        .doing_with("locking (another process has it)", &keeps.lock)?;
    // SAFETY: nothing of ours is run when the signal comes, which would end the process.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.doing("ignoring a signal")?;
    let octets = keeps.file_octets_max;
    setrlimit(Resource::RLIMIT_FSIZE, octets, octets).doing("bounding files")
}

/// Nothing of the node's is inherited by accident.
fn close_all_but_standard() -> Result<(), CageError> {
    // SAFETY: nothing was opened yet that anybody here holds.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    Errno::result(closed).map(drop).doing("closing what was inherited")
}
