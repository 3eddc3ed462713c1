//! Which answers are told of: decided where they are given, for as little as can be.
//!
//! Of answers about zones, each thread takes one in so many, the interval, and puts what it was about into a queue; it weighs
//! as much as the interval was. For the others a thread counts down a number of its own. The interval is 1 until there are
//! more samples than the other end of the queue wants: then it is doubled for as long as that lasts. Where in the interval
//! the sample lies is drawn by chance, so that no pattern of questions is in step with it.
//!
//! Invariants: no lock, no allocation, no waiting. What finds no place in the queue is not counted but in a metric, and
//! lengthens the interval at once, but once for each time that the queue is emptied.

use std::{
    cell::Cell,
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use crossbeam_queue::ArrayQueue;
use prometheus_client::metrics::counter::Counter;
use proxima_model::ZoneId;

use super::row::{Row, text};
use crate::{
    asker::{Asker, Transport},
    name::{NAME_OCTETS_MAX, Name},
    respond::Answered,
    wire::HEADER_OCTETS,
};

/// Samples that wait to be counted: 1.2 MiB, and, with [`TICK`](super::TICK), 40,000 a second.
const SAMPLES_MAX: usize = 4_096;
/// Samples found at a time of which there are to be fewer.
const MANY: usize = SAMPLES_MAX / 2;
/// Samples found at a time below which there may be more.
const FEW: usize = SAMPLES_MAX / 16;
/// The longest interval: a hundred cores would not fill the queue.
const INTERVAL_MAX: u32 = 1 << 16;
/// By how much a full queue lengthens it: what is lost until then is lost for good.
const RAISE: u32 = 8;

/// A thread's own place in its interval.
#[derive(Clone, Copy)]
struct Turn {
    /// Answers until the next sample.
    left: u32,
    /// What that one weighs.
    weight: u32,
    chance: u32,
}

thread_local! {
    static TURN: Cell<Turn> = const { Cell::new(Turn { left: 1, weight: 1, chance: 0 }) };
}

/// What one sampled answer was about.
pub(super) struct Sample {
    pub(super) zone: ZoneId,
    /// For how many answers it stands.
    pub(super) weight: u32,
    qtype: u16,
    rcode: u16,
    streamed: bool,
    v6: bool,
    name_octets: u8,
    name: [u8; NAME_OCTETS_MAX],
}

impl Sample {
    pub(super) fn row(&self) -> Row {
        let Self { qtype, rcode, streamed, v6, .. } = *self;
        Row { name: text(&self.name[..usize::from(self.name_octets)]), qtype, rcode, streamed, v6 }
    }
}

/// Takes samples of answers.
pub(crate) struct Sampler {
    samples: ArrayQueue<Sample>,
    interval: AtomicU32,
    /// Whether a full queue has lengthened the interval since it was last emptied.
    raised: AtomicBool,
    /// Answers that are counted nowhere, because the queue was full.
    uncounted: Counter,
}

impl Sampler {
    pub(super) fn new(uncounted: Counter) -> Self {
        let (interval, raised) = (AtomicU32::new(1), AtomicBool::new(false));
        Self { samples: ArrayQueue::new(SAMPLES_MAX), interval, raised, uncounted }
    }

    /// Tells of an answer, if it is this one's turn and it is one of a zone.
    #[inline]
    pub(crate) fn answered(&self, message: &[u8], asker: Asker, answered: &Answered) {
        let Some(zone) = answered.zone.filter(|_| answered.is_said()) else { return };
        let turn = TURN.get();
        if turn.left > 1 {
            TURN.set(Turn { left: turn.left - 1, ..turn });
        } else {
            self.take(turn, zone, message, asker, answered);
        }
    }

    #[inline(never)]
    fn take(&self, turn: Turn, zone: ZoneId, message: &[u8], asker: Asker, answered: &Answered) {
        let interval = self.interval.load(Ordering::Relaxed);
        TURN.set(turn.next(interval));
        if self.samples.is_full() {
            self.lose(turn.weight, interval);
            return;
        }
        let question = message.get(HEADER_OCTETS..).and_then(Name::read);
        let (Some(name), Some(qtype)) = (question, answered.qtype) else { return };
        let mut sample = Sample {
            zone,
            weight: turn.weight,
            qtype,
            rcode: answered.rcode.code(),
            streamed: asker.transport != Transport::Udp,
            v6: matches!(asker.address, IpAddr::V6(address) if address.to_ipv4_mapped().is_none()),
            name_octets: u8::try_from(name.wire().len()).unwrap_or_default(),
            name: [0; NAME_OCTETS_MAX],
        };
        sample.name[..name.wire().len()].copy_from_slice(name.wire());
        if let Err(sample) = self.samples.push(sample) {
            self.lose(sample.weight, interval);
        }
    }

    #[cold]
    fn lose(&self, weight: u32, interval: u32) {
        self.uncounted.inc_by(weight.into());
        if !self.raised.swap(true, Ordering::Relaxed) {
            self.interval.store((interval * RAISE).min(INTERVAL_MAX), Ordering::Relaxed);
        }
    }

    /// Hands over what has been taken, and has as much taken from now on as `each` can keep up with; the interval that
    /// this makes. One at a time.
    pub(super) fn empty(&self, mut each: impl FnMut(&Sample)) -> u32 {
        let mut count = 0;
        // No more than were there, so that it ends.
        while count < SAMPLES_MAX
            && let Some(sample) = self.samples.pop()
        {
            each(&sample);
            count += 1;
        }
        let interval = self.interval.load(Ordering::Relaxed);
        let next = match count {
            _ if self.raised.load(Ordering::Relaxed) => interval,
            MANY.. => (interval * 2).min(INTERVAL_MAX),
            ..FEW => (interval / 2).max(1),
            _ => interval,
        };
        self.interval.store(next, Ordering::Relaxed);
        self.raised.store(false, Ordering::Relaxed);
        next
    }
}

impl Turn {
    /// The turn after this one: somewhere within twice the interval, so that the mean is the interval.
    fn next(self, interval: u32) -> Self {
        if interval <= 1 {
            return Self { left: 1, weight: 1, ..self };
        }
        let chance = if self.chance == 0 { seed() } else { self.chance };
        // Xorshift (Marsaglia 2003): good enough to be out of step.
        let chance = chance ^ (chance << 13);
        let chance = chance ^ (chance >> 17);
        let chance = chance ^ (chance << 5);
        Self { left: 1 + chance % (2 * interval - 1), weight: interval, chance }
    }
}

/// Where a thread's chance begins: another place for each.
fn seed() -> u32 {
    static THREADS: AtomicU32 = AtomicU32::new(1);
    THREADS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9) | 1
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
