//! Programs that tests run, and ports for them.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use nix::sys::signal::Signal;

/// A port that the kernel says is free for UDP and TCP, at an address that no other test binds: between now and its use
/// somebody else would be given it, now and then.
pub(crate) fn free_for_both() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high + 1, middle, low);
    // Nor is one given twice, which the kernel would do now and then.
    static GIVEN: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap();
    loop {
        let tcp = TcpListener::bind((own, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() && !given.contains(&address) {
            given.push(address);
            return address;
        }
    }
}

/// Whether a command succeeded, and what it printed.
pub(crate) fn output(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// Has what the command starts be killed when the test ends, however it does.
pub(crate) fn dies_with_the_test(command: &mut Command) -> &mut Command {
    // SAFETY: only prctl(2) is called between fork and exec; it is async-signal-safe.
    unsafe { command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into)) }
}

/// The program that runs Workers, if it is there.
pub(crate) fn workerd() -> Option<PathBuf> {
    let program = proxima_lab::workerd_in(&node_packages());
    program.exists().then_some(program)
}

/// The folder `node_modules` with `workerd` and `wrangler`, where the set-up installs them.
pub(crate) fn node_packages() -> PathBuf {
    std::env::var_os("PROXIMA_WORKERS_PACKAGES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/workers/node_modules"),
        PathBuf::from,
    )
}
