//! Sockets: bound once, by name, and handed to the next process on a graceful restart.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::{Arc, Mutex, PoisonError},
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::{Domain, Protocol, Socket, Type};

/// The environment variable in which a process finds the sockets that were handed to it: `NAME=FD;NAME=FD`.
pub(crate) const HANDED_OVER: &str = "PROXIMA_LISTENERS";
/// Connections that wait to be accepted; above what Linux allows by default (`net.core.somaxconn`) it is cut there.
const BACKLOG: i32 = 4_096;

/// In the names of UDP sockets of which an address may have several: as that of one alone, which a process that knew no
/// groups may hand over.
const GROUPED: &str = "udp";
/// A UDP socket that shares its address with nobody: to see whether that is free.
const ALONE: &str = "udp alone";
/// In the names of UDP sockets that two processes may have side by side.
const BESIDE: &str = "udp+";
/// How often a port that the kernel chose for TCP is given back because it is taken for UDP, or the other way around: a
/// service that wants both finds the other free then.
const PORT_CHOICES_MAX: usize = 16;

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{service} cannot listen at {protocol} {address}: {source}{}", remedy(source))]
pub struct ListenError {
    /// Which service wanted it.
    pub service: &'static str,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    pub source: std::io::Error,
}

fn remedy(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another process listens there: stop it, or choose another address"
        }
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// All sockets of this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Listeners {
    inner: Arc<Mutex<Sockets>>,
}

#[derive(Default)]
struct Sockets {
    /// From the former process, not asked for yet.
    inherited: BTreeMap<String, OwnedFd>,
    /// In use here, kept to be handed on.
    bound: BTreeMap<String, OwnedFd>,
}

impl Listeners {
    /// With the sockets that the former process handed over, if there was one.
    pub fn from_environment() -> Self {
        let mut inherited = BTreeMap::new();
        for entry in std::env::var(HANDED_OVER).unwrap_or_default().split(';') {
            if let Some((name, fd)) = entry.rsplit_once('=')
                && let Ok(fd) = fd.parse::<RawFd>()
                && fd > 2
            {
                // SAFETY: the former process kept this descriptor open for us alone, and says so in our environment,
                // which is read once, before any other descriptor could have taken its number.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                // What we start must not have it by accident; on the next restart it is handed on by name.
                if fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_ok() {
                    inherited.insert(name.to_owned(), fd);
                }
            }
        }
        Self { inner: Arc::new(Mutex::new(Sockets { inherited, bound: BTreeMap::new() })) }
    }

    /// A TCP listener of `service` at `address`: the one handed over, or a new one.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn tcp(&self, service: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
        self.socket(service, "tcp", address).map(Into::into)
    }

    /// UDP sockets of `service` at one address, among which the kernel divides who sends there: `count` at most, and one
    /// at least. All lead to the port that the first has, where the kernel was to choose one.
    ///
    /// # Errors
    /// Why the first cannot be had, or one of the others for want of anything but leave: a socket that was handed over by a
    /// process that knew no groups may stand alone.
    pub fn udp_group(
        &self,
        service: &'static str,
        address: SocketAddr,
        count: usize,
    ) -> Result<Vec<UdpSocket>, ListenError> {
        let first = self.socket(service, GROUPED, address)?;
        let local = first.local_addr().ok().and_then(|local| local.as_socket()).unwrap_or(address);
        // It may be one that had no group yet.
        let alone = count == 1 || first.set_reuse_port(true).is_err();
        let mut group: Vec<UdpSocket> = vec![first.into()];
        for _ in 1..if alone { 1 } else { count } {
            match self.socket(service, GROUPED, local) {
                Ok(socket) => group.push(socket.into()),
                Err(error) if error.source.kind() == std::io::ErrorKind::AddrInUse => break,
                Err(error) => return Err(error),
            }
        }
        Ok(group)
    }

    /// A UDP socket of `service` at `address` beside that of the former process, whose generation it follows; `steer`
    /// is given the former's socket and the new one's generation, before the new one is bound: from then on the kernel
    /// divides datagrams between the two. Unlike with [`Self::udp_group`] the former process goes on reading its own, until it
    /// ends: for protocols whose connections live in datagrams. Without a former process the generation is 0.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn udp_beside(
        &self,
        service: &'static str,
        address: SocketAddr,
        steer: impl FnOnce(&UdpSocket, u8) -> std::io::Result<()>,
    ) -> Result<(UdpSocket, u8), ListenError> {
        let mut sockets = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = format!("{}/", socket_name(service, BESIDE, address, 0));
        let former = sockets.inherited.keys().find(|name| name.starts_with(&prefix)).cloned();
        let former = former.and_then(|name| {
            let generation: u8 = name[prefix.len()..].parse().ok()?;
            Some((sockets.inherited.remove(&name)?, generation))
        });
        let bound = match former {
            None => bind(BESIDE, address).map(|socket| (socket, 0)),
            Some((former, generation)) => {
                let generation = generation.wrapping_add(1);
                let former = UdpSocket::from(former);
                steer(&former, generation).and_then(|()| Ok((bind(BESIDE, address)?, generation)))
            }
        };
        bound
            .and_then(|(socket, generation)| {
                socket.set_nonblocking(true)?;
                sockets.bound.insert(format!("{prefix}{generation}"), socket.try_clone()?.into());
                Ok((socket.into(), generation))
            })
            .map_err(|source| ListenError { service, protocol: "udp", address, source })
    }

    fn socket(
        &self,
        service: &'static str,
        protocol: &'static str,
        address: SocketAddr,
    ) -> Result<Socket, ListenError> {
        let mut sockets = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // The same address may be asked for again only where the kernel is to choose the port; the next process asks in
        // the same order, so the number tells which is which.
        let name = (0..)
            .map(|nth| socket_name(service, protocol, address, nth))
            .find(|name| !sockets.bound.contains_key(name))
            .unwrap_or_default();
        let bound = match sockets.inherited.remove(&name) {
            Some(fd) => Ok(Socket::from(fd)),
            None => bind(protocol, address),
        };
        bound
            .and_then(|socket| {
                socket.set_nonblocking(true)?;
                sockets.bound.insert(name, socket.try_clone()?.into());
                Ok(socket)
            })
            .map_err(|source| ListenError { service, protocol, address, source })
    }

    /// Where the `nth` TCP listener that `service` asked for at `address` really is: its port, where the kernel was to
    /// choose one.
    pub fn tcp_address(&self, service: &str, address: SocketAddr, nth: usize) -> Option<SocketAddr> {
        let sockets = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let fd = sockets.bound.get(&socket_name(service, "tcp", address, nth))?.try_clone().ok()?;
        Socket::from(fd).local_addr().ok()?.as_socket()
    }

    /// Keeps something other than a socket of ours to be handed on: the next process finds it under `name`.
    pub fn keep(&self, name: &str, fd: OwnedFd) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).bound.insert(name.to_owned(), fd);
    }

    /// What the former process kept under `name`.
    pub fn inherited(&self, name: &str) -> Option<OwnedFd> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).inherited.remove(name)
    }

    /// Copies of all sockets, and the text that tells the next process of them. They close on `exec` until the next
    /// process itself, before it becomes the program, says otherwise.
    pub(crate) fn hand_over(&self) -> std::io::Result<(Vec<OwnedFd>, String)> {
        let sockets = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut copies = Vec::with_capacity(sockets.bound.len());
        let mut text = Vec::with_capacity(sockets.bound.len());
        for (name, fd) in &sockets.bound {
            let copy = fd.try_clone()?;
            text.push(format!("{name}={}", copy.as_raw_fd()));
            copies.push(copy);
        }
        Ok((copies, text.join(";")))
    }

    /// Closes what was handed over and nobody asked for (the configuration changed), and our copies of what is in use.
    pub(crate) fn forget_inherited(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).inherited.clear();
    }

    /// Closes our copies, so that a listener that a service drops is closed for good.
    pub(crate) fn release(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).bound.clear();
    }
}

fn socket_name(service: &str, protocol: &str, address: SocketAddr, nth: usize) -> String {
    format!("{service}/{protocol}/{address}/{nth}")
}

fn bind(protocol: &str, address: SocketAddr) -> std::io::Result<Socket> {
    let mut socket = bind_once(protocol, address)?;
    let beside = match protocol {
        "tcp" => Some(ALONE),
        GROUPED => Some("tcp"),
        _ => None,
    };
    if let Some(beside) = beside
        && address.port() == 0
    {
        for _ in 0..PORT_CHOICES_MAX {
            let chosen = socket.local_addr()?.as_socket().unwrap_or(address);
            if bind_once(beside, chosen).is_ok() {
                break;
            }
            socket = bind_once(protocol, address)?;
        }
    }
    if protocol == "tcp" {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

fn bind_once(protocol: &str, address: SocketAddr) -> std::io::Result<Socket> {
    let (kind, number) = match protocol {
        "tcp" => (Type::STREAM, Protocol::TCP),
        _ => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(number))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    if [BESIDE, GROUPED].contains(&protocol) {
        socket.set_reuse_port(true)?;
    }
    // An anycast address may be put on the machine after us.
    if !address.ip().is_unspecified() && !address.ip().is_loopback() {
        set_freebind(&socket, address)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn set_freebind(socket: &Socket, address: SocketAddr) -> std::io::Result<()> {
    if address.is_ipv6() { socket.set_freebind_v6(true) } else { socket.set_freebind_v4(true) }
}
