//! A TUN device: IP packets that the kernel sends out of it are read here, and what is written here arrives in the kernel.

use std::{
    fs::File,
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
};

use tokio::io::{Interest, unix::AsyncFd};

/// The kernel puts the first free number in place of `%d`.
const NAME: &[u8] = b"proxima%d";
/// So large that the kernel never has to say "too big" of a packet that was joined from several (GRO).
const MTU: libc::c_int = 65_535;

/// A device without an address takes nothing while source addresses are checked. This one is nobody's (RFC 7600, 4.8: the
/// IPv4 dummy address).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// A TUN device; it vanishes when this is dropped.
#[derive(Debug)]
pub(super) struct Tun {
    fd: AsyncFd<OwnedFd>,
    name: String,
    index: u32,
}

impl Tun {
    /// Makes a device in this thread's network namespace, and brings it up.
    pub(super) fn create() -> io::Result<Self> {
        let file = File::options().read(true).write(true).open("/dev/net/tun")?;
        let mut request = request(NAME);
        request.ifr_ifru.ifru_flags =
            libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).expect("both flags are below 2^15");
        // SAFETY: TUNSETIFF reads and writes an `ifreq`, which outlives the call.
        checked(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
        let name: String = request
            .ifr_name
            .iter()
            .map(|character| char::from(character.to_ne_bytes()[0]))
            .take_while(|character| *character != '\0')
            .collect();
        let index = nix::net::if_::if_nametoindex(name.as_str())?;
        // Strays come from anywhere and are answered another way: only addresses that no route leads to are refused
        // (RFC 3704, 2.4). And there is nobody on the device to make an IPv6 address for.
        std::fs::write(setting("ipv4", &name, "rp_filter"), "2")?;
        std::fs::write(setting("ipv6", &name, "addr_gen_mode"), "1").ok();
        bring_up(name.as_bytes())?;
        // SAFETY: fcntl on a descriptor that `file` owns.
        checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
        // SAFETY: an `OwnedFd` names one and the same open file until it is dropped, and that is when it is deregistered.
        let fd = unsafe { AsyncFd::register_with_interest(file.into(), Interest::READABLE) }?;
        Ok(Self { fd, name, index })
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// The next packet: how many octets of `buffer` it has. Dropping the future loses nothing.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fd.async_io(Interest::READABLE, |fd| Ok(nix::unistd::read(fd, buffer)?)).await
    }

    /// The next packet, if it is there already.
    pub(super) fn read_now(&self, buffer: &mut [u8]) -> Option<usize> {
        nix::unistd::read(self.fd.get_ref(), buffer).ok()
    }

    /// Hands a packet to the kernel; false if it does not take it.
    pub(super) fn write(&self, packet: &[u8]) -> bool {
        nix::unistd::write(self.fd.get_ref(), packet).is_ok()
    }
}

/// Whether a device could be made, as far as that can be known without making one.
pub(super) fn check() -> io::Result<()> {
    File::options().read(true).write(true).open("/dev/net/tun").map(drop)
}

fn setting(family: &str, name: &str, key: &str) -> PathBuf {
    ["/proc/sys/net", family, "conf", name, key].iter().collect()
}

/// MTU, address, up.
fn bring_up(name: &[u8]) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
    let mut mtu = request(name);
    mtu.ifr_ifru.ifru_mtu = MTU;
    // SAFETY: SIOCSIFMTU reads an `ifreq`, which outlives the call.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU, &raw const mtu) })?;
    let mut address = request(name);
    let own = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).expect("it is 2"),
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(ADDRESS).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: a `sockaddr_in` has the size of a `sockaddr`, and any octets are a valid one.
    address.ifr_ifru.ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(own) };
    // SAFETY: SIOCSIFADDR reads an `ifreq`, which outlives the call.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR, &raw const address) })?;
    let mut up = request(name);
    up.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("both flags are below 2^15");
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which outlives the call.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const up) })
}

/// A request to the kernel about the interface of this name.
fn request(name: &[u8]) -> libc::ifreq {
    // SAFETY: `ifreq` is plain data for which all zeros is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, octet) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name) {
        *slot = libc::c_char::from_ne_bytes([*octet]);
    }
    request
}

fn checked(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
