//! The thread of one link: reads two TUN devices, writes what is due.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};

use super::queue::{Admission, DelayQueue};
use super::tun::Tun;
use crate::error::{Doing, LabError, Result};
use crate::topology::LinkShape;

/// Packets read from one device before the other has its turn: what is due must not wait for a flood.
const BATCH_PACKETS_MAX: usize = 64;
/// Larger than the MTU of a link, so that no packet is cut short.
const PACKET_BYTES_MAX: usize = 2048;
/// How long a change may take until the thread has made it: it wakes at once, so this only guards against its death.
const CHANGE_DEADLINE: Duration = Duration::from_secs(2);

/// What a link has carried since it began, both directions together.
#[derive(Debug, Default)]
struct Counters {
    carried: AtomicU64,
    dropped: AtomicU64,
}

/// A reading of a link's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineCount {
    /// Packets that arrived.
    pub carried: u64,
    /// Packets that were lost: by chance, by a cut, or by a full queue.
    pub dropped: u64,
}

enum Change {
    Reshape(LinkShape),
    Cut(bool),
    Stop,
}

/// A running delay line. Dropping it ends its thread and removes both devices.
#[derive(Debug)]
pub struct DelayLine {
    changes: Sender<(Change, Sender<()>)>,
    /// A byte written here wakes the thread from its poll.
    wake: UnixStream,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
    name: String,
}

impl DelayLine {
    /// Starts the thread of a line between two devices.
    pub(crate) fn start(name: &str, ends: [Tun; 2], shape: LinkShape, seed: u64) -> Result<Self> {
        let doing = || format!("starting the delay line {name}");
        let (wake, woken) = UnixStream::pair().doing(doing)?;
        woken.set_nonblocking(true).doing(doing)?;
        let counters = Arc::new(Counters::default());
        let (changes, receiver) = channel();
        let thread = Line {
            // Two directions of one link must not share their luck.
            queues: [DelayQueue::new(shape, seed), DelayQueue::new(shape, !seed)],
            ends,
            changes: receiver,
            woken,
            counters: counters.clone(),
            start: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("line {name}").chars().take(15).collect())
            .spawn(move || thread.run())
            .doing(doing)?;
        Ok(Self { changes, wake, counters, thread: Some(thread), name: name.to_owned() })
    }

    /// Changes the shape of both directions; in force when this returns.
    ///
    /// # Errors
    /// The line's thread has ended.
    pub fn reshape(&self, shape: LinkShape) -> Result<()> {
        self.change(Change::Reshape(shape))
    }

    /// Cuts the cable (carrier gone at both ends, packets under way lost), or heals it.
    ///
    /// # Errors
    /// The line's thread has ended.
    pub fn set_cut(&self, cut: bool) -> Result<()> {
        self.change(Change::Cut(cut))
    }

    /// What it has carried.
    #[must_use]
    pub fn count(&self) -> LineCount {
        LineCount {
            carried: self.counters.carried.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        }
    }

    fn change(&self, change: Change) -> Result<()> {
        let (done, is_done) = channel();
        let sent = self.changes.send((change, done)).is_ok() && (&self.wake).write_all(&[1]).is_ok();
        if sent && is_done.recv_timeout(CHANGE_DEADLINE).is_ok() {
            return Ok(());
        }
        let what = format!("the delay line {}", self.name);
        Err(LabError::Malformed { what, why: "its thread does not answer".to_owned() })
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        let _ = self.change(Change::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Line {
    ends: [Tun; 2],
    /// `queues[i]` carries what is read from `ends[i]`.
    queues: [DelayQueue; 2],
    changes: Receiver<(Change, Sender<()>)>,
    woken: UnixStream,
    counters: Arc<Counters>,
    start: Instant,
}

impl Line {
    fn run(mut self) {
        prefer_this_thread();
        let mut buffer = [0u8; PACKET_BYTES_MAX];
        loop {
            self.deliver();
            let next = self.queues.iter().filter_map(DelayQueue::next_due).min();
            let wait = next.map(|due| due.saturating_sub(self.start.elapsed()));
            let Some([a, b, changed]) = self.wait(wait) else { return };
            if changed && !self.apply_changes() {
                return;
            }
            for (end, readable) in [a, b].into_iter().enumerate() {
                if readable {
                    self.admit(end, &mut buffer);
                }
            }
        }
    }

    /// Waits until something can be read or `wait` is over; `None` when polling is impossible.
    fn wait(&self, wait: Option<Duration>) -> Option<[bool; 3]> {
        let mut polled = [
            PollFd::new(self.ends[0].fd.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.ends[1].fd.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.woken.as_fd(), PollFlags::POLLIN),
        ];
        match ppoll(&mut polled, wait.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
        let readable =
            |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
        Some([readable(&polled[0]), readable(&polled[1]), readable(&polled[2])])
    }

    fn admit(&mut self, end: usize, buffer: &mut [u8]) {
        for _ in 0..BATCH_PACKETS_MAX {
            let Some(packet) = self.ends[end].read(buffer) else { return };
            // Each for itself, once it was read: one that was sent after its batch began would arrive before its time.
            let now = self.start.elapsed();
            if let Admission::Dropped(_) = self.queues[end].push(packet, now) {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.start.elapsed();
        for end in 0..2 {
            for _ in 0..BATCH_PACKETS_MAX {
                let Some(packet) = self.queues[end].pop(now) else { break };
                self.ends[1 - end].write(&packet);
                self.counters.carried.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// False when the line is to end.
    fn apply_changes(&mut self) -> bool {
        // One byte or several changes' bytes: the channel below tells what is to be done.
        let _ = self.woken.read(&mut [0; 64]);
        while let Ok((change, done)) = self.changes.try_recv() {
            match change {
                Change::Stop => return false,
                Change::Reshape(shape) => self.queues.iter_mut().for_each(|queue| queue.reshape(shape)),
                Change::Cut(cut) => {
                    self.queues.iter_mut().for_each(|queue| queue.set_cut(cut));
                    for end in &self.ends {
                        // A kernel older than 5.0 has no such call; the packets are dropped all the same.
                        let _ = end.set_carrier(!cut);
                    }
                }
            }
            let _ = done.send(());
        }
        true
    }
}

/// A delay is only right if the thread runs when a packet is due, whatever else the machine does: real-time
/// priority, and no timer slack. Without the right to either, delays are a little less exact.
fn prefer_this_thread() {
    let _ = nix::sys::prctl::set_timerslack(1);
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread, and the parameters outlive the call.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameters) };
}
