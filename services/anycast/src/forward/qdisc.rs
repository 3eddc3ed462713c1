//! The traffic-control hook of an interface (`clsact`): made where there is none, and taken away again.

use std::io;

use aya::programs::tc;
use nix::{
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
    },
};

/// `TC_H_CLSACT` of linux/pkt_sched.h: where the qdisc lies, and its handle.
const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// A request, which is to be answered (linux/netlink.h).
const REQUEST_ACK: u16 = 0x1 | 0x4;
const ERROR: u16 = 2;

/// Makes it; false if somebody else's is there.
pub(super) fn add(interface: &str) -> io::Result<bool> {
    match tc::qdisc_add_clsact(interface) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes it away, with everything that is attached to it.
pub(super) fn delete(index: u32) -> io::Result<()> {
    let mut message = Vec::with_capacity(36);
    // struct nlmsghdr: length, type, flags, sequence, port.
    message.extend_from_slice(&36_u32.to_ne_bytes());
    message.extend_from_slice(&libc::RTM_DELQDISC.to_ne_bytes());
    message.extend_from_slice(&REQUEST_ACK.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    // struct tcmsg: family and padding, interface, handle, parent, info.
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&index.to_ne_bytes());
    message.extend_from_slice(&CLSACT_HANDLE.to_ne_bytes());
    message.extend_from_slice(&CLSACT_PARENT.to_ne_bytes());
    message.extend_from_slice(&[0; 4]);
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    sendto(fd, &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 256];
    let octets = recv(fd, &mut answer, MsgFlags::empty())?;
    // The answer is a struct nlmsghdr, and a number that is 0 or a negated errno.
    let answer = &answer[..octets];
    let kind = answer.get(4..6).and_then(|two| two.first_chunk::<2>()).map(|two| u16::from_ne_bytes(*two));
    let number =
        answer.get(16..).and_then(|rest| rest.first_chunk::<4>()).map(|four| i32::from_ne_bytes(*four));
    match (kind, number) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(number)) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
