//! One direction of a link: which packets arrive, and when.
//!
//! Pure: time is given by the caller as the duration since some start of its choice, chance comes from
//! a seed. Packets leave in the order in which they came: a fibre does not reorder, so jitter only ever holds back.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::topology::LinkShape;

/// Packets under way in one direction: 50,000 packets/s over the longest terrestrial path (300 ms), twice over.
pub const IN_FLIGHT_PACKETS_MAX: usize = 32_768;
/// Bytes under way in one direction: 1 Gbit/s over 250 ms. Bounds what a flooded lab can take of the memory.
pub const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;
/// How long a packet may wait for its turn on a link with a rate before it is dropped: a home router's buffer.
pub const BACKLOG_MAX: Duration = Duration::from_millis(200);

/// What became of a packet handed to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It arrives at this time.
    Due(Duration),
    /// It never arrives.
    Dropped(DropReason),
}

/// Why a packet never arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The link is cut.
    Cut,
    /// Chance, as the shape's loss has it.
    Loss,
    /// It would have waited longer than [`BACKLOG_MAX`] for the link's rate.
    Backlog,
    /// [`IN_FLIGHT_PACKETS_MAX`] or [`IN_FLIGHT_BYTES_MAX`] are under way.
    Full,
}

#[derive(Debug)]
struct InFlight {
    due: Duration,
    packet: Box<[u8]>,
}

/// One direction of a link.
#[derive(Debug)]
pub struct DelayQueue {
    shape: LinkShape,
    cut: bool,
    rng: Xoshiro256PlusPlus,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// When the sender has put the last packet wholly onto the link.
    sender_free: Duration,
    /// When the last admitted packet arrives: nothing overtakes it.
    last_due: Duration,
}

impl DelayQueue {
    /// An empty direction; equal seeds and equal packets meet equal fates.
    #[must_use]
    pub fn new(shape: LinkShape, seed: u64) -> Self {
        Self {
            shape,
            cut: false,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            sender_free: Duration::ZERO,
            last_due: Duration::ZERO,
        }
    }

    /// Changes the shape for packets to come; those under way arrive as they would have.
    pub fn reshape(&mut self, shape: LinkShape) {
        self.shape = shape;
    }

    /// Cuts the link, losing what is under way, or heals it.
    pub fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
        if cut {
            self.in_flight.clear();
            self.in_flight_bytes = 0;
            self.sender_free = Duration::ZERO;
            self.last_due = Duration::ZERO;
        }
    }

    /// A packet enters the link at `now`.
    pub fn push(&mut self, packet: &[u8], now: Duration) -> Admission {
        if self.cut {
            return Admission::Dropped(DropReason::Cut);
        }
        // Both are drawn for every packet, so that what a queue drops does not shift the fate of later packets.
        let (lost, jitter) = (self.rng.random::<f64>() < self.shape.loss, self.rng.random::<f64>());
        if lost {
            return Admission::Dropped(DropReason::Loss);
        }
        if self.in_flight.len() >= IN_FLIGHT_PACKETS_MAX
            || self.in_flight_bytes + packet.len() > IN_FLIGHT_BYTES_MAX
        {
            return Admission::Dropped(DropReason::Full);
        }
        let begins = now.max(self.sender_free);
        if begins - now > BACKLOG_MAX {
            return Admission::Dropped(DropReason::Backlog);
        }
        let sent = begins + self.sending_time(packet.len());
        self.sender_free = sent;
        let due = (sent + self.shape.delay + self.shape.jitter.mul_f64(jitter)).max(self.last_due);
        self.last_due = due;
        self.in_flight_bytes += packet.len();
        self.in_flight.push_back(InFlight { due, packet: packet.into() });
        Admission::Due(due)
    }

    /// The next packet that has arrived by `now`.
    pub fn pop(&mut self, now: Duration) -> Option<Box<[u8]>> {
        if self.in_flight.front()?.due > now {
            return None;
        }
        let arrived = self.in_flight.pop_front()?;
        self.in_flight_bytes -= arrived.packet.len();
        Some(arrived.packet)
    }

    /// When the next packet arrives; `None` when nothing is under way.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.in_flight.front().map(|first| first.due)
    }

    /// Packets under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn sending_time(&self, bytes: usize) -> Duration {
        match self.shape.rate_bits_per_second {
            Some(rate) => Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / rate.max(1)),
            None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn shapes() -> impl Strategy<Value = LinkShape> {
        (0u64..300, 0u64..50, 0.0f64..=1.0, proptest::option::of(1_000u64..1_000_000_000)).prop_map(
            |(delay, jitter, loss, rate)| LinkShape {
                delay: ms(delay),
                jitter: ms(jitter),
                loss,
                rate_bits_per_second: rate,
            },
        )
    }

    /// Gaps between packets in microseconds, and their sizes.
    fn traffic() -> impl Strategy<Value = Vec<(u64, usize)>> {
        proptest::collection::vec((0u64..20_000, 20usize..1500), 0..300)
    }

    proptest! {
        #[test]
        fn a_packet_arrives_whole_in_order_not_before_its_delay_and_exactly_when_it_was_told(
            shape in shapes(), seed: u64, traffic in traffic(),
        ) {
            let mut queue = DelayQueue::new(shape, seed);
            let mut now = Duration::ZERO;
            let mut expected = Vec::new();
            for (index, (gap_us, bytes)) in traffic.iter().enumerate() {
                now += Duration::from_micros(*gap_us);
                let mut packet = vec![0u8; *bytes];
                packet[..8].copy_from_slice(&(index as u64).to_be_bytes());
                if let Admission::Due(due) = queue.push(&packet, now) {
                    prop_assert!(due >= now + shape.delay);
                    expected.push((due, packet));
                }
            }
            prop_assert_eq!(queue.in_flight(), expected.len());
            for (due, packet) in expected {
                prop_assert_eq!(queue.next_due(), Some(due));
                if due > Duration::ZERO {
                    prop_assert!(queue.pop(due - Duration::from_nanos(1)).is_none());
                }
                prop_assert_eq!(queue.pop(due).map(Vec::from), Some(packet));
            }
            prop_assert!(queue.pop(Duration::MAX).is_none());
        }

        #[test]
        fn the_same_seed_gives_the_same_fates(shape in shapes(), seed: u64, traffic in traffic()) {
            let run = || {
                let mut queue = DelayQueue::new(shape, seed);
                let mut now = Duration::ZERO;
                traffic.iter().map(|(gap_us, bytes)| {
                    now += Duration::from_micros(*gap_us);
                    queue.push(&vec![0; *bytes], now)
                }).collect::<Vec<_>>()
            };
            prop_assert_eq!(run(), run());
        }

        #[test]
        fn without_loss_rate_or_limit_nothing_is_dropped_and_jitter_stays_within_bounds(
            delay in 0u64..300, jitter in 0u64..50, seed: u64, traffic in traffic(),
        ) {
            let shape = LinkShape { jitter: ms(jitter), ..LinkShape::delay(ms(delay)) };
            let mut queue = DelayQueue::new(shape, seed);
            let mut now = Duration::ZERO;
            for (gap_us, bytes) in traffic {
                now += Duration::from_micros(gap_us);
                let Admission::Due(due) = queue.push(&vec![0; bytes], now) else {
                    return Err(TestCaseError::fail("dropped"));
                };
                prop_assert!(due <= now + ms(delay) + ms(jitter));
            }
        }
    }

    #[test]
    fn loss_comes_out_near_its_probability() {
        let shape = LinkShape { loss: 0.1, ..LinkShape::delay(Duration::ZERO) };
        let mut queue = DelayQueue::new(shape, 7);
        let mut lost = 0;
        for _ in 0..10_000 {
            if queue.push(&[0; 60], Duration::ZERO) == Admission::Dropped(DropReason::Loss) {
                lost += 1;
            }
            queue.pop(Duration::MAX);
        }
        assert!((900..=1100).contains(&lost), "{lost} of 10,000 lost at 10 %");
    }

    #[test]
    fn a_rate_spreads_packets_and_drops_what_would_wait_too_long() {
        // 1,250 bytes at 1 Mbit/s take 10 ms.
        let shape = LinkShape { rate_bits_per_second: Some(1_000_000), ..LinkShape::delay(ms(5)) };
        let mut queue = DelayQueue::new(shape, 0);
        let fates: Vec<_> = (0..30).map(|_| queue.push(&[0; 1250], Duration::ZERO)).collect();
        assert_eq!(fates[0], Admission::Due(ms(15)));
        assert_eq!(fates[1], Admission::Due(ms(25)));
        assert_eq!(fates[20], Admission::Due(ms(215)));
        assert_eq!(fates[21], Admission::Dropped(DropReason::Backlog));
    }

    #[test]
    fn packets_and_bytes_under_way_are_bounded() {
        let mut queue = DelayQueue::new(LinkShape::delay(ms(1)), 0);
        for _ in 0..IN_FLIGHT_PACKETS_MAX {
            assert_eq!(queue.push(&[0; 20], Duration::ZERO), Admission::Due(ms(1)));
        }
        assert_eq!(queue.push(&[0; 20], Duration::ZERO), Admission::Dropped(DropReason::Full));
        queue.pop(ms(1)).expect("one has arrived");
        assert_eq!(queue.push(&[0; 20], Duration::ZERO), Admission::Due(ms(1)));
        let mut queue = DelayQueue::new(LinkShape::delay(ms(1)), 0);
        let large = vec![0; IN_FLIGHT_BYTES_MAX / 2];
        assert_eq!(queue.push(&large, Duration::ZERO), Admission::Due(ms(1)));
        assert_eq!(queue.push(&large, Duration::ZERO), Admission::Due(ms(1)));
        assert_eq!(queue.push(&[0], Duration::ZERO), Admission::Dropped(DropReason::Full));
    }

    #[test]
    fn a_cut_loses_what_is_under_way_and_healing_starts_afresh() {
        let mut queue = DelayQueue::new(LinkShape::delay(ms(100)), 0);
        assert_eq!(queue.push(&[1], ms(0)), Admission::Due(ms(100)));
        queue.set_cut(true);
        assert_eq!(queue.push(&[2], ms(1)), Admission::Dropped(DropReason::Cut));
        assert_eq!(queue.pop(Duration::MAX), None);
        queue.set_cut(false);
        queue.reshape(LinkShape::delay(ms(3)));
        assert_eq!(queue.push(&[3], ms(2)), Admission::Due(ms(5)));
    }
}
