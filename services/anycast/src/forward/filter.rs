//! What is attached to an interface's traffic-control hook (`clsact`) by this program: listed, and taken away.
//!
//! Every process attaches under a handle of its own, its number, at one and the same priority: so the old and the new
//! process of a graceful restart do not touch each other's filters, and what a process left that was killed is known by
//! nobody having its number. The hook itself is everybody's: it is made where it is missing, and stays.

use std::{io, os::fd::AsRawFd as _, path::Path};

use aya::programs::tc;
use nix::{
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
    },
};

/// Where we stand among filters, of which those with lower numbers come first: before those without a priority of their
/// own (from 49152 down), behind what an operator puts in front.
pub(super) const PRIORITY: u16 = 40_000;
/// Where `clsact` has what comes in: `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)` of linux/pkt_sched.h.
const INGRESS: u32 = 0xffff_fff2;
/// Every protocol, in the network's order (linux/if_ether.h).
const ETH_P_ALL: u16 = 3_u16.to_be();
/// Kinds and flags of messages (linux/netlink.h).
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `struct nlmsghdr` and `struct tcmsg`, both without padding at their ends.
const HEAD_OCTETS: usize = 16;
const MESSAGE_OCTETS: usize = HEAD_OCTETS + 20;
/// Octets of a read: the kernel puts no more into one (`NLMSG_GOODSIZE` at most, 32 KiB where readers are that large).
const READ_OCTETS: usize = 32 << 10;

/// The handle of this process' filters.
pub(super) fn own_handle() -> u32 {
    std::process::id()
}

/// Makes the hook, unless it is there.
pub(super) fn make_hook(interface: &str) -> io::Result<()> {
    match tc::qdisc_add_clsact(interface) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The handles of the filters of this name that are attached, at our priority, to what comes in at an interface.
pub(super) fn attached(index: u32, name: &str) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    talk(&message(libc::RTM_GETTFILTER, REQUEST | DUMP, index, 0, 0), |kind, body| {
        if kind == libc::RTM_NEWTFILTER {
            found.extend(handle(body, index, name));
        }
    })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Takes away what processes have left that are no more, and what lies under our handle.
pub(super) fn remove_leftovers(index: u32, name: &str) -> io::Result<()> {
    for handle in attached(index, name)? {
        if is_left_over(handle, |process| Path::new("/proc").join(process.to_string()).exists()) {
            remove(index, handle)?;
        }
    }
    Ok(())
}

/// Whether nobody needs the filter of this handle, before this process has attached any.
fn is_left_over(handle: u32, lives: impl FnOnce(u32) -> bool) -> bool {
    handle == own_handle() || !lives(handle)
}

fn remove(index: u32, handle: u32) -> io::Result<()> {
    let info = u32::from(PRIORITY) << 16 | u32::from(ETH_P_ALL);
    match talk(&message(libc::RTM_DELTFILTER, REQUEST | ACK, index, handle, info), |_, _| {}) {
        // Somebody was faster.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

/// The handle in what the kernel says of a filter (a `struct tcmsg` and attributes), if it is one of ours.
fn handle(body: &[u8], index: u32, name: &str) -> Option<u32> {
    let word = |at: usize| Some(u32::from_ne_bytes(*body.get(at..)?.first_chunk()?));
    let named = body.windows(name.len() + 1).any(|text| text.strip_suffix(&[0]) == Some(name.as_bytes()));
    let ours = named && word(4)? == index && word(16)? >> 16 == u32::from(PRIORITY);
    // A dump has a line without a handle for each priority.
    word(8).filter(|handle| ours && *handle != 0)
}

/// A `struct nlmsghdr` (length, type, flags, sequence, port) and a `struct tcmsg` (family and padding, interface, handle,
/// parent, info).
fn message(kind: u16, flags: u16, index: u32, handle: u32, info: u32) -> Vec<u8> {
    let length = u32::try_from(MESSAGE_OCTETS).expect("it is 36");
    let mut message = Vec::with_capacity(MESSAGE_OCTETS);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&[0; 8 + 4]);
    for word in [index, handle, INGRESS, info] {
        message.extend_from_slice(&word.to_ne_bytes());
    }
    message
}

/// Says something to the kernel, and hands over what it answers, up to its last word.
fn talk(message: &[u8], mut hear: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    sendto(socket.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = vec![0; READ_OCTETS];
    loop {
        let octets = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        if each(&answer[..octets], &mut hear)? {
            return Ok(());
        }
    }
}

/// Hands over each message in what was read; whether the last one is among them.
fn each(mut read: &[u8], hear: &mut impl FnMut(u16, &[u8])) -> io::Result<bool> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    if read.is_empty() {
        return Err(broken());
    }
    while let Some((head, _)) = read.split_first_chunk::<HEAD_OCTETS>() {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::try_from(length).map_err(|_| broken())?;
        let body = read.get(HEAD_OCTETS..length).ok_or_else(broken)?;
        match u16::from_ne_bytes([head[4], head[5]]) {
            DONE => return Ok(true),
            // A number follows that is 0 or a negated errno.
            ERROR => {
                return match body.first_chunk().map(|number| i32::from_ne_bytes(*number)) {
                    Some(0) => Ok(true),
                    Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
                    None => Err(broken()),
                };
            }
            kind => hear(kind, body),
        }
        read = read.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of a filter.
    fn said(index: u32, handle: u32, priority: u16, name: &str) -> Vec<u8> {
        let info = u32::from(priority) << 16 | u32::from(ETH_P_ALL);
        let head = message(libc::RTM_NEWTFILTER, 0, index, handle, info);
        [&head[HEAD_OCTETS..], b"\x08\0\x01\0bpf\0", name.as_bytes(), b"\0"].concat()
    }

    #[test]
    fn only_our_filters_are_ours() {
        assert_eq!(handle(&said(3, 77, PRIORITY, "ours"), 3, "ours"), Some(77));
        for (what, body) in [
            ("another interface", said(4, 77, PRIORITY, "ours")),
            ("another priority", said(3, 77, 1, "ours")),
            ("another name", said(3, 77, PRIORITY, "theirs")),
            ("a longer name", said(3, 77, PRIORITY, "ours2")),
            ("the priority itself", said(3, 0, PRIORITY, "ours")),
            ("cut", said(3, 77, PRIORITY, "ours")[..12].to_vec()),
        ] {
            assert_eq!(handle(&body, 3, "ours"), None, "{what}");
        }
    }

    #[test]
    fn what_another_living_process_has_attached_stays() {
        let (own, other) = (own_handle(), own_handle() + 1);
        assert!(is_left_over(own, |_| true), "nothing of this process is attached yet");
        assert!(is_left_over(other, |_| false));
        assert!(!is_left_over(other, |_| true));
    }

    #[test]
    fn what_the_kernel_answers_is_read_to_its_last_word() {
        let frame = |kind: u16, body: &[u8]| {
            let length = u32::try_from(HEAD_OCTETS + body.len()).unwrap();
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat()
        };
        let mut heard = Vec::new();
        let mut hear = |kind: u16, body: &[u8]| heard.push((kind, body.to_vec()));
        let two = [frame(44, b"abcd"), frame(45, b"")].concat();
        assert!(!each(&two, &mut hear).unwrap());
        assert!(each(&[two.clone(), frame(DONE, &[0; 4])].concat(), &mut hear).unwrap());
        assert!(each(&frame(ERROR, &[0; 20]), &mut hear).unwrap());
        let refused = each(&frame(ERROR, &(-libc::ENOENT).to_ne_bytes()), &mut hear).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOENT));
        assert!(each(&[], &mut hear).is_err());
        let mut short = frame(44, b"abcd");
        short[0] = 3;
        assert!(each(&short, &mut hear).is_err(), "it would never end");
        assert_eq!(heard.len(), 4);
    }
}
