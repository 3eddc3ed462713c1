//! Delay lines: right within a millisecond, and 50,000 packets a second.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};

use crate::TestLab;

/// The link between paris and its transit: tests/fixtures/small.toml.
const DELAY: Duration = Duration::from_millis(20);
const PORT: u16 = 9000;
/// How often the delays of so many packets are measured, until they are right.
const ROUNDS_MAX: u32 = 100;
const PACKETS_PER_ROUND: usize = 100;
const RATE: u32 = 50_000;
/// Packets are sent in small bursts, as applications do.
const TICKS: u32 = 1_000;
const SECONDS: u32 = 2;
/// Room for all packets of a run, so that a receiver that has to wait for its turn loses none.
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;

#[allow(clippy::disallowed_methods, reason = "processes of one machine share no other clock")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970")
}

/// Sockets at both ends of the link: what `paris` sends arrives at its transit over that link alone.
fn ends(lab: &TestLab) -> (UdpSocket, UdpSocket) {
    let target = lab.plan().host("paris").unwrap().interfaces[0].peer4;
    let bind = |address: SocketAddr| move || Ok(UdpSocket::bind(address).expect("the address is the host's"));
    let receiver = lab.within("eu-transit", bind((target, PORT).into())).unwrap();
    setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).unwrap();
    // The kernel's own time of arrival: when the receiver gets to run does not count.
    setsockopt(&receiver, sockopt::ReceiveTimestampns, &true).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let sender = lab.within("paris", bind("0.0.0.0:0".parse().unwrap())).unwrap();
    sender.connect((target, PORT)).unwrap();
    (sender, receiver)
}

/// Receives so many, or until nothing comes any more; the one-way time of each packet.
fn receive(socket: &UdpSocket, packets_max: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut buffer = [0u8; 64];
    let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
    while times.len() < packets_max {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty());
        let Ok(message) = message else { break };
        let arrived = message.cmsgs().unwrap().find_map(|cmsg| match cmsg {
            ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
            _ => None,
        });
        let sent = u64::from_be_bytes(buffer[..8].try_into().unwrap());
        times.push(arrived.expect("a timestamp").saturating_sub(Duration::from_nanos(sent)));
    }
    times
}

fn stamp() -> [u8; 8] {
    u64::try_from(since_epoch().as_nanos()).unwrap().to_be_bytes()
}

/// Takes the processor when it is due, whatever else the machine does: the link is measured, not the scheduler.
fn prefer_this_thread() {
    let parameters = nix::libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread, and the parameters outlive the call.
    let answer = unsafe { nix::libc::sched_setscheduler(0, nix::libc::SCHED_RR, &raw const parameters) };
    assert_eq!(answer, 0, "root may have real-time priority");
}

/// What else runs on the machine, or beneath it, adds to packets' times and never takes from them: of some rounds one shows
/// what the link does by itself, and a link that is wrong is wrong in all.
#[test]
fn lab_link_delays_are_right_within_a_millisecond() {
    let lab = TestLab::up("t-delay");
    let (sender, receiver) = ends(&lab);
    let round = || {
        let mut times = std::thread::scope(|scope| {
            let receiving = scope.spawn(|| receive(&receiver, PACKETS_PER_ROUND));
            scope.spawn(|| {
                prefer_this_thread();
                for _ in 0..PACKETS_PER_ROUND {
                    sender.send(&stamp()).unwrap();
                    std::thread::park_timeout(Duration::from_millis(2));
                }
            });
            receiving.join().unwrap()
        });
        assert_eq!(times.len(), PACKETS_PER_ROUND, "none is lost");
        times.sort();
        let (first, median, p99) = (times[0], times[PACKETS_PER_ROUND / 2], times[PACKETS_PER_ROUND - 2]);
        println!("asked 20 ms: least {first:?}, median {median:?}, p99 {p99:?}");
        assert!(first >= DELAY, "{first:?} is too early");
        p99
    };
    let is_right = (0..ROUNDS_MAX).any(|_| round() < DELAY + Duration::from_millis(1));
    assert!(is_right, "99 % within 1 ms in no round");
}

#[test]
fn lab_link_carries_50_000_packets_a_second() {
    let lab = TestLab::up("t-rate");
    let (sender, receiver) = ends(&lab);
    let round = || {
        let (mut times, took) = std::thread::scope(|scope| {
            let receiving = scope.spawn(|| receive(&receiver, usize::MAX));
            let sending = scope.spawn(|| {
                prefer_this_thread();
                let begin = Instant::now();
                for tick in 0..SECONDS * TICKS {
                    let at = begin + Duration::from_secs(1) / TICKS * tick;
                    std::thread::park_timeout(at.saturating_duration_since(Instant::now()));
                    for _ in 0..RATE / TICKS {
                        sender.send(&stamp()).unwrap();
                    }
                }
                begin.elapsed()
            });
            let took = sending.join().unwrap();
            (receiving.join().unwrap(), took)
        });
        times.sort();
        let sent = usize::try_from(SECONDS * RATE).unwrap();
        let (first, median, p99) = (times[0], times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("{} of {sent} in {took:?}: median {median:?}, p99 {p99:?}", times.len());
        assert!(times.len() <= sent && first >= DELAY, "{} of {sent} arrived, after {first:?}", times.len());
        let arrived = times.len() * 1000 >= 999 * sent;
        let in_time = took < Duration::from_secs(u64::from(SECONDS)) + Duration::from_millis(100);
        // Also under load.
        arrived && in_time && median < DELAY + Duration::from_millis(1)
    };
    assert!((0..ROUNDS_MAX / 10).any(|_| round()), "all arrive, and half of them within 1 ms, in no round");
}
