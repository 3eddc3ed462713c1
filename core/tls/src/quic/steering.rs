//! Which process a datagram goes to while two have sockets at one address: during a graceful restart.
//!
//! ```text
//!  former process's socket ┐ one group      new connections, and what nobody knows ─▶ the later process
//!  later process's socket  ┘ (SO_REUSEPORT) connection ids of the former's         ─▶ the former, until it ends
//! ```
//!
//! A connection id of ours begins with its process's generation. The kernel runs a small program of classic BPF over
//! each datagram, which answers with the place of a socket in the group: sockets have the order in which they were
//! bound. When the former process ends, the later one's socket moves to its place, and a place that there is not makes
//! the kernel choose among those that there are: the one.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::keys::CONNECTION_ID_BYTES;

/// The former process's socket.
const FORMER: u32 = 0;
/// The later one's.
const LATER: u32 = 1;

/// Puts the program in force for the group of `former`, before a second socket joins it.
///
/// # Errors
/// The kernel refuses it.
pub fn steer(former: &UdpSocket, generation: u8) -> io::Result<()> {
    let program = program(generation);
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("it has a dozen instructions"),
        filter: program.as_ptr().cast_mut(),
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).expect("it has 16 octets");
    // SAFETY: `filter` and the instructions that it points to live until the call returns; the kernel copies both.
    let set = unsafe {
        libc::setsockopt(
            former.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&filter).cast(),
            length,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The program. A load beyond the datagram's end ends it with 0, so what is too short goes to the former process, which
/// drops it as well.
fn program(generation: u8) -> Vec<libc::sock_filter> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("the codes of classic BPF have 16 bits"),
        jt,
        jf,
        k,
    };
    let load = |offset: u32| op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, offset);
    let is = |value: u32, yes: u8, no: u8| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value);
    let answer = |place: u32| op(libc::BPF_RET | libc::BPF_K, 0, 0, place);
    let length = u32::try_from(CONNECTION_ID_BYTES).expect("it is 11");
    vec![
        // The header's form (RFC 8999, 5).
        load(0),
        op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 4, 0x80),
        // Long: the length of the destination's connection id, and its first octet. Those of another length are not
        // ours, but what clients made up for new connections.
        load(5),
        is(length, 0, 4),
        load(6),
        op(libc::BPF_JMP | libc::BPF_JA, 0, 0, 1),
        // Short: the connection id follows at once.
        load(1),
        is(generation.into(), 0, 1),
        answer(LATER),
        answer(FORMER),
    ]
}
