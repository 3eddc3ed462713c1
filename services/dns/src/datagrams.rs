//! Many datagrams by one system call: `recvmmsg(2)` and `sendmmsg(2)`.
//!
//! ```text
//!  socket ─ receive ─▶ a slot for each, with who sent it ─▶ answer ─▶ one buffer, answers behind each other ─ send ─▶ socket
//! ```
//!
//! Slots do not begin at the same place of a page, and answers lie behind each other: what a batch touches fits the first
//! cache. Invariant: what the kernel is told of memory lives until the call returns; nothing of it is kept.

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    ops::Range,
    os::fd::AsRawFd,
};

use crate::query::QUERY_OCTETS_MAX;

/// Datagrams of one call.
pub(crate) const BATCH: usize = 32;
/// From one slot to the next: not a whole page, so that the beginnings of all fall on different lines of the cache.
const STRIDE: usize = QUERY_OCTETS_MAX + 192;

/// What was received in one call, and what is answered to it.
pub(crate) struct Batch {
    buffers: Box<[u8]>,
    askers: Box<[libc::sockaddr_storage; BATCH]>,
    received: [Received; BATCH],
    /// Answers, one behind the other.
    answers: Vec<u8>,
    /// Which of them answers which datagram.
    sent_to: Vec<(usize, Range<usize>)>,
}

#[derive(Clone, Copy, Default)]
struct Received {
    octets: usize,
    address_octets: libc::socklen_t,
    /// It was longer than a query may be.
    cut: bool,
}

impl Batch {
    pub(crate) fn new() -> Self {
        // SAFETY: all zeros are a `sockaddr_storage` of no family.
        let askers = unsafe { mem::zeroed() };
        Self {
            buffers: vec![0; BATCH * STRIDE].into_boxed_slice(),
            askers: Box::new(askers),
            received: [Received::default(); BATCH],
            answers: Vec::with_capacity(BATCH * 512),
            sent_to: Vec::with_capacity(BATCH),
        }
    }

    /// Receives what is there, without waiting; how many datagrams.
    ///
    /// # Errors
    /// The socket is broken, or the kernel is short of something.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.answers.clear();
        self.sent_to.clear();
        let mut slots: [libc::iovec; BATCH] = std::array::from_fn(|slot| libc::iovec {
            iov_base: self.buffers[slot * STRIDE..].as_mut_ptr().cast(),
            iov_len: QUERY_OCTETS_MAX,
        });
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|slot| {
            header(&mut self.askers[slot], size_of::<libc::sockaddr_storage>(), &mut slots[slot])
        });
        let count = u32::try_from(BATCH).expect("it is small");
        // SAFETY: each header names a slot of this batch and a place for an address, both writable and of the lengths that
        // it says, and none is used otherwise before the call returns.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            let nothing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            return if nothing { Ok(0) } else { Err(error) };
        };
        for (slot, header) in headers.iter().enumerate().take(received) {
            self.received[slot] = Received {
                octets: usize::try_from(header.msg_len).unwrap_or_default().min(QUERY_OCTETS_MAX),
                address_octets: header.msg_hdr.msg_namelen,
                cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            };
        }
        Ok(received)
    }

    /// A datagram, and from where it came; none, if it was longer than a query may be.
    pub(crate) fn message(&self, slot: usize) -> Option<(&[u8], SocketAddr)> {
        let Received { octets, cut, .. } = self.received[slot];
        let address = address(&self.askers[slot])?;
        (!cut).then(|| (&self.buffers[slot * STRIDE..][..octets], address))
    }

    /// Has `write` append an answer to the datagram to a buffer, or nothing; whether there is one.
    pub(crate) fn answer(
        &mut self,
        slot: usize,
        write: impl FnOnce(&[u8], SocketAddr, &mut Vec<u8>),
    ) -> bool {
        let begin = self.answers.len();
        let mut answers = mem::take(&mut self.answers);
        if let Some((message, address)) = self.message(slot) {
            write(message, address, &mut answers);
        }
        self.answers = answers;
        let is_answered = self.answers.len() > begin;
        if is_answered {
            self.sent_to.push((slot, begin..self.answers.len()));
        }
        is_answered
    }

    /// Sends all answers; how many the kernel did not take. Those are lost, as any datagram may be: the asker asks again.
    pub(crate) fn send(&mut self, socket: &UdpSocket) -> usize {
        let mut pieces = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        let count = self.sent_to.len();
        for (index, (slot, range)) in self.sent_to.iter().enumerate() {
            let piece = &mut self.answers[range.clone()];
            let piece = pieces[index]
                .write(libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() });
            let address_octets = usize::try_from(self.received[*slot].address_octets).unwrap_or_default();
            headers[index].write(header(&mut self.askers[*slot], address_octets, piece));
        }
        let (mut next, mut unsent) = (0, 0);
        while next < count {
            let left = u32::try_from(count - next).expect("a batch is small");
            // SAFETY: the first `count` headers were written above; each names an answer and an address of this batch,
            // which live until the call returns, and which sending does not change.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers[next..].as_mut_ptr().cast(),
                    left,
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) => next += sent.max(1),
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // It speaks of the first that was left: the others may have more luck.
                Err(_) => (next, unsent) = (next + 1, unsent + 1),
            }
        }
        unsent
    }
}

/// What the kernel is told of one datagram.
fn header(
    address: &mut libc::sockaddr_storage,
    address_octets: usize,
    piece: &mut libc::iovec,
) -> libc::mmsghdr {
    // SAFETY: all zeros are a header without anything.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
    header.msg_hdr.msg_namelen = libc::socklen_t::try_from(address_octets).expect("an address is short");
    header.msg_hdr.msg_iov = piece;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// An address as the kernel writes it.
fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is one, and a `sockaddr_storage` is as large and as aligned as any.
            let address = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some((ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some((ip, u16::from_be(address.sin6_port)).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(batch: &mut Batch, socket: &UdpSocket, wanted: usize) -> usize {
        let mut waiting =
            [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(socket), nix::poll::PollFlags::POLLIN)];
        loop {
            nix::poll::poll(&mut waiting, nix::poll::PollTimeout::NONE).unwrap();
            // Over loopback what was sent is there at once.
            match batch.receive(socket).unwrap() {
                0 => {}
                received => return received.min(wanted),
            }
        }
    }

    #[test]
    fn each_of_many_is_answered_to_whom_it_came_from() {
        for ours in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(ours) else { continue };
            let clients: Vec<_> = (0..BATCH + 5).map(|_| UdpSocket::bind(ours).unwrap()).collect();
            for (number, client) in clients.iter().enumerate() {
                client.send_to(&[b'q', u8::try_from(number).unwrap()], socket.local_addr().unwrap()).unwrap();
            }
            clients[0].send_to(&vec![0; QUERY_OCTETS_MAX + 1], socket.local_addr().unwrap()).unwrap();
            let mut batch = Batch::new();
            let mut left = clients.len() + 1;
            while left > 0 {
                let received = receive(&mut batch, &socket, left);
                left -= received;
                for slot in 0..received {
                    let long = batch.message(slot).is_none();
                    let kept = batch.answer(slot, |message, from, out| {
                        // One in three is not to be answered.
                        if message[1] % 3 != 0 {
                            out.extend_from_slice(message);
                            out.extend_from_slice(&from.port().to_be_bytes());
                        }
                    });
                    assert!(!(long && kept), "what was cut is not answered");
                }
                assert_eq!(batch.send(&socket), 0);
            }
            for (number, client) in clients.iter().enumerate() {
                client.set_nonblocking(true).unwrap();
                let mut answer = [0; 16];
                let received = client.recv(&mut answer);
                if number % 3 == 0 {
                    assert_eq!(received.unwrap_err().kind(), io::ErrorKind::WouldBlock);
                } else {
                    let port = client.local_addr().unwrap().port().to_be_bytes();
                    let expected = [b'q', u8::try_from(number).unwrap(), port[0], port[1]];
                    assert_eq!(&answer[..received.unwrap()], expected);
                }
            }
        }
    }
}
