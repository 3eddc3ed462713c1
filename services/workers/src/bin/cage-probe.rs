//! For tests: puts up a cage as `proxima workers-cage` does; and, run by it in the engine's place, tells what can be done there.
//!
//! It answers `GET …/WHAT?ARGUMENT` with a line for each thing that it tried.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    os::{
        fd::FromRawFd as _,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        memfd::{MFdFlags, memfd_create},
        signal::kill,
        socket::{AddressFamily, SockFlag, SockType, socket},
    },
    unistd::Pid,
};

fn main() -> ExitCode {
    match std::env::args().nth(1) {
        Some(serve) if serve == "serve" => {
            // SAFETY: the launcher hands the listener over as standard input, and nobody else here has it.
            answer_all(&unsafe { UnixListener::from_raw_fd(0) });
            ExitCode::SUCCESS
        }
        Some(plan) => {
            let Err(error) = proxima_workers::enter(&plan);
            eprintln!("cage-probe: {error}");
            ExitCode::FAILURE
        }
        None => ExitCode::FAILURE,
    }
}

fn answer_all(listener: &UnixListener) {
    for stream in listener.incoming() {
        // Who asks may have gone.
        stream.and_then(answer).ok();
    }
}

fn answer(stream: UnixStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line);
    }
    let target = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let (path, argument) = target.split_once('?').unwrap_or((target, ""));
    let said = probe(path.rsplit('/').next().unwrap_or_default(), argument).join("\n");
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", said.len());
    (&stream).write_all((head + &said).as_bytes())
}

fn probe(what: &str, argument: &str) -> Vec<String> {
    match what {
        "files" => files(Path::new("/")).iter().map(|path| path.display().to_string()).collect(),
        "write" => written(),
        "sockets" => sockets(),
        "connect" => vec![told(UnixStream::connect(argument).map(drop))],
        "ask" => vec![asked(argument).unwrap_or_else(|error| told(Err(error)))],
        "processes" => processes(argument.parse().unwrap_or_default()),
        "run" => vec![told(std::process::Command::new(argument).spawn().map(drop))],
        "host" => vec![nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()],
        "ptrace" => {
            // SAFETY: it asks for this process to be traced, which the filter does not let it live to see.
            let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            vec![told(Errno::result(traced).map(drop))]
        }
        _ => vec!["unknown".to_owned()],
    }
}

/// The status of what a socket of the node answers, `SOCKET,PATH,FIELD`; what quotes, percent-encoded.
fn asked(argument: &str) -> io::Result<String> {
    let mut parts = argument.splitn(3, ',');
    let [socket, path, field] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let mut stream = UnixStream::connect(format!("/run/{socket}.sock"))?;
    let field = if field.is_empty() {
        String::new()
    } else {
        format!("cf-proxima-facts: {}\r\n", field.replace("%22", "\""))
    };
    write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{field}\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.split(' ').nth(1).unwrap_or("closed").to_owned())
}

/// All that can be seen.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// All that can be written: files, and folders in which a new one can be made.
fn written() -> Vec<String> {
    let mut found = files(Path::new("/"));
    found.push("/".into());
    let can = |path: &PathBuf| {
        let new = path.join("new");
        let (path, make) = if path.is_dir() { (&new, true) } else { (path, false) };
        OpenOptions::new().write(true).create(make).open(path).is_ok()
    };
    found.iter().filter(|path| can(path)).map(|path| path.display().to_string()).collect()
}

fn sockets() -> Vec<String> {
    [
        ("unix", AddressFamily::Unix),
        ("inet", AddressFamily::Inet),
        ("inet6", AddressFamily::Inet6),
        ("netlink", AddressFamily::Netlink),
        ("packet", AddressFamily::Packet),
        ("vsock", AddressFamily::Vsock),
    ]
    .into_iter()
    .map(|(name, family)| {
        let made = socket(family, SockType::Datagram, SockFlag::empty(), None);
        format!("{name} {}", told(made.map(drop)))
    })
    .collect()
}

/// What it may do to, and make of, processes; `other` is the node.
fn processes(other: i32) -> Vec<String> {
    let own = std::process::id();
    // SAFETY: system calls without memory; no process is made, and if one were, it would end at once.
    let (tgkill, fork) = unsafe {
        let fork = libc::fork();
        if fork == 0 {
            libc::_exit(0);
        }
        (libc::syscall(libc::SYS_tgkill, other, other, 0), i64::from(fork))
    };
    // SAFETY: as above.
    let own = unsafe { libc::syscall(libc::SYS_tgkill, own, own, 0) };
    vec![
        format!("kill {}", told(kill(Pid::from_raw(other), None))),
        format!("tgkill {}", told(Errno::result(tgkill).map(drop))),
        format!("own {}", told(Errno::result(own).map(drop))),
        format!("fork {}", told(Errno::result(fork).map(drop))),
        format!("memfd {}", told(memfd_create("x", MFdFlags::empty()).map(drop))),
        format!(
            "thread {}",
            told(std::thread::Builder::new().spawn(|| ()).map(|thread| drop(thread.join())))
        ),
    ]
}

fn told<E: Into<io::Error>>(outcome: Result<(), E>) -> String {
    match outcome.map_err(Into::into) {
        Ok(()) => "ok".to_owned(),
        Err(error) => {
            error.raw_os_error().map_or_else(|| error.to_string(), |errno| Errno::from_raw(errno).to_string())
        }
    }
}
