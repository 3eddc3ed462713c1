//! What systemd is told (sd_notify(3)): a datagram to the socket that `NOTIFY_SOCKET` names, if there is one.
//!
//! ```text
//!  while it starts        STATUS=…
//!  ready                  READY=1, MAINPID=…    also when this process has taken over from a former one
//!  withdraws and drains   STOPPING=1            not when it has handed over: the next process is the service now
//! ```

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use tracing::warn;

const SOCKET: &str = "NOTIFY_SOCKET";

/// This process serves, and is the one that the service consists of.
pub(crate) fn ready() {
    tell(&format!("READY=1\nMAINPID={}\n", std::process::id()));
}

/// This process begins to end, and no other takes its place.
pub(crate) fn stopping() {
    tell("STOPPING=1\n");
}

/// What this process does, in words: `systemctl status` shows it.
pub(crate) fn status(words: &str) {
    tell(&format!("STATUS={words}\n"));
}

fn tell(state: &str) {
    if let Some(socket) = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty())
        && let Err(error) = send(&socket, state)
    {
        warn!(%error, ?socket, "the service manager cannot be told how this node is");
    }
}

/// Sends to a socket in the file system, or to an abstract one, which begins with `@`. Never waits: a service manager
/// that does not read must not hold up a node.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_reaches_a_socket_in_the_file_system_and_an_abstract_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("proxima-notify-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (receiver, socket) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ] {
            send(&socket, "READY=1\n").unwrap();
            let mut octets = [0; 64];
            let length = receiver.recv(&mut octets).unwrap();
            assert_eq!(&octets[..length], b"READY=1\n");
        }
    }

    #[test]
    fn a_socket_that_is_not_there_is_an_error_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        assert!(send(folder.path().join("nobody").as_os_str(), "READY=1\n").is_err());
    }
}
