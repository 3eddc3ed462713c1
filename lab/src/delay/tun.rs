//! A TUN device: layer 3, point to point, no ARP and no neighbour discovery, so that the first packet of a path
//! takes as long as every other.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::error::{Doing, Result};

/// `TUNSETCARRIER` of linux/if_tun.h, which `libc` lacks: `_IOW('T', 226, int)`.
const TUNSETCARRIER: libc::c_ulong = 0x4004_54e2;

/// A TUN device; it vanishes when this is dropped.
#[derive(Debug)]
pub(crate) struct Tun {
    pub(crate) fd: OwnedFd,
}

impl Tun {
    /// Creates the device in the network namespace that the calling thread is in.
    pub(crate) fn create(name: &str) -> Result<Self> {
        let doing = || format!("creating the TUN device {name}");
        let file = File::options().read(true).write(true).open("/dev/net/tun").doing(doing)?;
        // SAFETY: `ifreq` is plain data for which all zeros is valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (slot, byte) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
            *slot = libc::c_char::from_ne_bytes([byte]);
        }
        request.ifr_ifru.ifru_flags =
            libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).expect("both flags are below 2^15");
        // SAFETY: TUNSETIFF reads and writes an `ifreq`, which outlives the call.
        let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        if answer < 0 {
            return Err(io::Error::last_os_error()).doing(doing);
        }
        // SAFETY: fcntl on a descriptor that `file` owns.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        if answer < 0 {
            return Err(io::Error::last_os_error()).doing(doing);
        }
        Ok(Self { fd: file.into() })
    }

    /// Reads one packet; `None` when none waits or the device is down.
    pub(crate) fn read<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let length = nix::unistd::read(&self.fd, buffer).ok()?;
        Some(&buffer[..length])
    }

    /// Hands one packet to the kernel. A device that is down or a kernel out of memory loses it, as a real
    /// interface does.
    pub(crate) fn write(&self, packet: &[u8]) {
        let _ = nix::unistd::write(&self.fd, packet);
    }

    /// Takes the carrier away or gives it back: a cut cable is seen by both ends.
    pub(crate) fn set_carrier(&self, carrier: bool) -> io::Result<()> {
        let carrier = libc::c_int::from(carrier);
        // SAFETY: TUNSETCARRIER reads an int, which outlives the call.
        let answer = unsafe { libc::ioctl(self.fd.as_raw_fd(), TUNSETCARRIER, &raw const carrier) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
