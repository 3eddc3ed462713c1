//! Response rate limiting: answers over UDP go to whatever address the query says that it came from, so that a forged one
//! would make this server flood somebody else.
//!
//! ```text
//!  query over UDP, without a good cookie, not exempt ─▶ network of the client + what kind of answer + whose
//!                                                        │
//!                                              bucket: one answer each 1/rate s, a burst of some seconds
//!                                                        ├─ within ─▶ the network's bucket for answers of all kinds
//!                                                        │             ├─ within ─▶ answered
//!                                                        └─ beyond ────┴─ beyond ─▶ each slip-th: truncated, or BADCOOKIE
//!                                                                                   with a cookie; others: nothing
//! ```
//!
//! What is bounded is what one network gets: of one kind the rate, of all kinds together [`ALL_KINDS`] times as much,
//! whatever names and zones are asked for. What is signed for all networks together is not: queries that come from many
//! forged networks look like those of many clients, each has its rate, and a bucket for the whole zone would shut out its
//! real clients with them. Against such a flood there are filters before this server, and the machine's cores.
//!
//! A real client that shares a network with a flood comes again by TCP, or with the cookie that it was given, and is
//! answered. The kind is known, and the limit asked, before anything is written or signed. What can be made up without end
//! (names that do not exist, names that a wildcard stands for, names below a delegation) counts for the zone, so that a
//! flood of it is one bucket.
//!
//! Memory is fixed: [`SETS`] sets of [`WAYS`] buckets, one cache line each, changed by compare-and-swap; no lock, no
//! allocation, and cores that serve different clients hardly ever meet in one line. A bucket that is needed takes the
//! place of the one in its set that is the nearest to full: who floods from forged networks makes others' buckets full
//! again, and never emptier. Which set a client is in is secret.

use std::{
    ffi::c_void,
    fmt,
    hash::Hasher as _,
    net::IpAddr,
    num::NonZeroUsize,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use ipnet::IpNet;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use siphasher::sip::SipHasher13;

/// Bits of an IPv4 address that are one client: forged addresses of one network flood the same line.
const PREFIX_V4: u32 = 24;
/// Bits of an IPv6 address that are one client: the least that a site is given (RFC 6177, 2).
const PREFIX_V6: u32 = 56;
/// Seconds' worth of answers that may go out at once: resolvers that were restarted ask in bursts.
const BURST_SECONDS: u64 = 2;
/// Sets of buckets: with [`WAYS`], half a million of buckets in 4 MiB.
const SETS: usize = 1 << 16;
/// Buckets of a set: as many as a cache line has.
const WAYS: usize = 8;
/// Ticks of a bucket's time in a millisecond: so that the highest rate still costs whole ticks.
const TICKS_PER_MILLISECOND: u64 = 64;
/// The highest rate, in answers a second.
pub(crate) const RATE_MAX: u32 = 10_000;
/// How many times the rate a network gets of answers of all kinds together: the resolvers of a large network ask for
/// thousands of names a second, and all of them share the bucket; yet who goes through all names here makes us send a victim
/// so much and no more.
const ALL_KINDS: u64 = 50;
const _: () = assert!(1_000 * TICKS_PER_MILLISECOND >= RATE_MAX as u64, "an answer takes a tick at least");
/// The highest slip: a counter of four bits.
pub(crate) const SLIP_MAX: u8 = 10;
/// How often a bucket is tried to be changed while others change it. After that the answer is not counted, and is given if
/// the bucket was not empty at the last try.
const TRIES: usize = 4;

/// What kind of answer is given, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// What a name has, or that it has nothing of the type: the name.
    Name(&'a [u8]),
    /// What a wildcard has: the zone.
    Wildcard(&'a [u8]),
    /// That a name does not exist: the zone.
    Nothing(&'a [u8]),
    /// Where a delegated zone is: the zone that delegates it.
    Referral(&'a [u8]),
    /// An error, or what the server says of itself.
    Other,
}

impl<'a> Kind<'a> {
    const fn parts(self) -> (u8, &'a [u8]) {
        match self {
            Self::Name(name) => (0, name),
            Self::Wildcard(zone) => (1, zone),
            Self::Nothing(zone) => (2, zone),
            Self::Referral(zone) => (3, zone),
            Self::Other => (4, &[]),
        }
    }
}

/// As [`Kind::parts`], of all kinds together.
const ALL: (u8, &[u8]) = (5, &[]);

/// What is done instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Nothing.
    Dropped,
    /// An answer without records that asks to come again in a way that shows the client's address.
    Slipped,
}

/// All buckets. The system gives their memory page by page as they are used, which the allocator would not: an idle server
/// holds none of it.
struct Buckets(NonNull<c_void>);

// SAFETY: it is memory of its own, which is only ever seen as atomic integers.
unsafe impl Send for Buckets {}
// SAFETY: as above.
unsafe impl Sync for Buckets {}

impl Buckets {
    const OCTETS: NonZeroUsize =
        NonZeroUsize::new(SETS * WAYS * size_of::<AtomicU64>()).expect("it is not 0");

    fn new() -> Self {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, of nothing, at a place that the system chooses.
        let mapped = unsafe { mmap_anonymous(None, Self::OCTETS, access, MapFlags::MAP_PRIVATE) };
        Self(mapped.expect("there is room for 4 MiB of addresses"))
    }

    /// The buckets of a set.
    fn set(&self, index: usize) -> &[AtomicU64; WAYS] {
        // SAFETY: the mapping has so many sets, begins with a page and lives as long as this; its zeros, and all that is
        // written to it, are atomic integers.
        unsafe { self.0.cast::<[AtomicU64; WAYS]>().add(index % SETS).as_ref() }
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        // SAFETY: it is the whole of the mapping, and nobody has a part of it any more.
        unsafe { munmap(self.0, Self::OCTETS.get()) }.ok();
    }
}

/// The buckets of one server.
pub(crate) struct RateLimit {
    /// Ticks that one answer takes from the bucket of its kind.
    cost: u64,
    /// Ticks that it takes from that of all kinds.
    cost_of_all: u64,
    slip: u8,
    exempt: Box<[IpNet]>,
    buckets: Buckets,
    secret: [u8; 16],
}

/// `tag (16 bits) | limited answers since the last slip (4) | when the bucket is full again, in ticks (44)`. The tag is
/// part of the hash of what the bucket is for; time goes round after eight years, and what lies further ahead than a
/// bucket can be empty is past.
#[derive(Clone, Copy)]
struct Bucket(u64);

const TIME_BITS: u32 = 44;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const SLIPS_BITS: u32 = 4;

impl Bucket {
    const fn new(tag: u16, slips: u8, full_at: u64) -> Self {
        Self((tag as u64) << (TIME_BITS + SLIPS_BITS) | (slips as u64) << TIME_BITS | full_at & TIME_MASK)
    }

    const fn tag(self) -> u16 {
        (self.0 >> (TIME_BITS + SLIPS_BITS)) as u16
    }

    #[expect(clippy::cast_possible_truncation, reason = "it has four bits")]
    const fn slips(self) -> u8 {
        (self.0 >> TIME_BITS) as u8 & 0b1111
    }

    /// In how many ticks it is full again.
    const fn lacks(self, now: u64, most: u64) -> u64 {
        let lacks = (self.0 & TIME_MASK).wrapping_sub(now) & TIME_MASK;
        if lacks > most { 0 } else { lacks }
    }
}

impl RateLimit {
    /// Buckets of `rate` answers a second, of which, beyond it, each `slip`-th is answered truncated; 0: none is.
    pub(crate) fn new(rate: u32, slip: u8, exempt: &[IpNet]) -> Self {
        let rate = u64::from(rate.clamp(1, RATE_MAX));
        let cost = 1_000 * TICKS_PER_MILLISECOND / rate;
        let cost_of_all = (1_000 * TICKS_PER_MILLISECOND / (rate * ALL_KINDS)).max(1);
        let secret = proxima_chassis::random_id();
        Self {
            cost,
            cost_of_all,
            slip: slip.min(SLIP_MAX),
            exempt: exempt.into(),
            buckets: Buckets::new(),
            secret,
        }
    }

    /// Whether an answer of this kind to this client is one too many at `now`, in milliseconds of any clock; and what is
    /// done then.
    pub(crate) fn limit(&self, client: IpAddr, kind: Kind<'_>, now: i64) -> Option<Limited> {
        let client = client.to_canonical();
        if self.exempt.iter().any(|network| network.contains(&client)) {
            return None;
        }
        let now = now.cast_unsigned().wrapping_mul(TICKS_PER_MILLISECOND);
        self.take(self.hash(client, kind.parts()), self.cost, now)
            .or_else(|| self.take(self.hash(client, ALL), self.cost_of_all, now))
    }

    fn hash(&self, client: IpAddr, (kind, name): (u8, &[u8])) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        match client {
            IpAddr::V4(address) => hasher.write_u32(address.to_bits() >> (u32::BITS - PREFIX_V4)),
            IpAddr::V6(address) => hasher.write_u128(address.to_bits() >> (u128::BITS - PREFIX_V6)),
        }
        hasher.write_u8(kind);
        hasher.write(name);
        hasher.finish()
    }

    /// Takes an answer of this cost from the bucket of this hash.
    fn take(&self, hash: u64, cost: u64, now: u64) -> Option<Limited> {
        let set = self.buckets.set(usize::try_from(hash).unwrap_or(usize::MAX));
        let tag = u16::try_from(hash >> 48).expect("sixteen bits are left").max(1);
        let most = BURST_SECONDS * 1_000 * TICKS_PER_MILLISECOND;
        let mut outcome = None;
        for _ in 0..TRIES {
            let (slot, seen) = find(set, tag, now, most);
            let bucket = if seen.tag() == tag { seen } else { Bucket::new(tag, 0, now) };
            let lacks = bucket.lacks(now, most);
            let (next, limited) = if lacks + cost <= most {
                (Bucket::new(tag, bucket.slips(), now.wrapping_add(lacks + cost)), None)
            } else {
                let slips = bucket.slips() + 1;
                let (slips, limited) =
                    if slips == self.slip { (0, Limited::Slipped) } else { (slips, Limited::Dropped) };
                (Bucket::new(tag, slips.min(SLIP_MAX), now.wrapping_add(lacks)), Some(limited))
            };
            if slot.compare_exchange(seen.0, next.0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return limited;
            }
            outcome = limited;
        }
        // Those who were faster have counted, and an empty bucket gives nothing however many take from it.
        outcome
    }
}

/// The bucket with this tag, or the one to give up for it: the fullest.
fn find(set: &[AtomicU64], tag: u16, now: u64, most: u64) -> (&AtomicU64, Bucket) {
    let mut best = (&set[0], Bucket(0), u64::MAX);
    for slot in set {
        let bucket = Bucket(slot.load(Ordering::Relaxed));
        if bucket.tag() == tag {
            return (slot, bucket);
        }
        let lacks = if bucket.tag() == 0 { 0 } else { bucket.lacks(now, most) };
        if lacks < best.2 {
            best = (slot, bucket, lacks);
        }
    }
    (best.0, best.1)
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("cost", &self.cost)
            .field("slip", &self.slip)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_767_225_600_000;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn passed(limit: &RateLimit, client: &str, kind: Kind<'_>, now: i64, asked: usize) -> usize {
        (0..asked).filter(|_| limit.limit(address(client), kind, now).is_none()).count()
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_the_rate_says() {
        let limit = RateLimit::new(10, 2, &[]);
        let kind = Kind::Name(b"\x01a\x00");
        assert_eq!(passed(&limit, "192.0.2.1", kind, NOW, 100), 20);
        assert_eq!(passed(&limit, "192.0.2.1", kind, NOW + 99, 100), 0);
        assert_eq!(passed(&limit, "192.0.2.1", kind, NOW + 100, 100), 1);
        assert_eq!(passed(&limit, "192.0.2.1", kind, NOW + 1_100, 100), 10);
        assert_eq!(passed(&limit, "192.0.2.1", kind, NOW + 9_000, 100), 20);
        // A clock that is set back does not shut anybody out.
        assert_eq!(passed(&limit, "192.0.2.1", kind, NOW - 86_400_000, 100), 20);
    }

    #[test]
    fn networks_kinds_and_names_have_buckets_of_their_own() {
        let limit = RateLimit::new(10, 2, &["198.51.100.0/24".parse().expect("a network")]);
        let kind = Kind::Nothing(b"\x01a\x00");
        assert_eq!(passed(&limit, "192.0.2.1", kind, NOW, 100), 20);
        for (client, kind, expected) in [
            ("192.0.2.255", kind, 0),
            ("::ffff:192.0.2.3", kind, 0),
            ("192.0.3.1", kind, 20),
            ("192.0.2.1", Kind::Nothing(b"\x01b\x00"), 20),
            ("192.0.2.1", Kind::Name(b"\x01a\x00"), 20),
            ("192.0.2.1", Kind::Wildcard(b"\x01a\x00"), 20),
            ("192.0.2.1", Kind::Referral(b"\x01a\x00"), 20),
            ("192.0.3.1", Kind::Other, 20),
            ("198.51.100.7", kind, 100),
            ("2001:db8::1", kind, 20),
            ("2001:db8:0:ff::1", kind, 0),
            ("2001:db8:0:100::1", kind, 20),
        ] {
            assert_eq!(passed(&limit, client, kind, NOW, 100), expected, "{client} {kind:?}");
        }
    }

    #[test]
    fn a_network_gets_fifty_times_the_rate_whatever_it_asks_for() {
        let limit = RateLimit::new(1, 2, &[]);
        let names: Vec<[u8; 3]> = (0..250).map(|letter| [1, letter, 0]).collect();
        let of_all = |client: &str, now: i64| -> usize {
            names.iter().map(|name| passed(&limit, client, Kind::Name(name), now, 1)).sum()
        };
        assert_eq!(of_all("192.0.2.1", NOW), 100);
        assert_eq!(of_all("192.0.2.2", NOW + 1_000), 50);
        assert_eq!(of_all("192.0.3.1", NOW + 1_000), 100, "others have their own");
        // What is beyond the rate of its kind takes nothing from the others.
        assert_eq!(passed(&limit, "192.0.4.1", Kind::Other, NOW, 1_000), 2);
        assert_eq!(of_all("192.0.4.1", NOW), 98);
    }

    #[test]
    fn each_slipth_of_those_beyond_the_rate_slips() {
        for (slip, expected) in [(0, 0), (1, 60), (2, 30), (3, 20), (10, 6)] {
            let limit = RateLimit::new(10, slip, &[]);
            passed(&limit, "192.0.2.1", Kind::Other, NOW, 20);
            let slipped = (0..60)
                .filter(|_| limit.limit(address("192.0.2.1"), Kind::Other, NOW) == Some(Limited::Slipped))
                .count();
            assert_eq!(slipped, expected, "{slip}");
        }
    }

    #[test]
    fn a_flood_from_forged_networks_shuts_nobody_out_and_takes_no_memory() {
        let limit = RateLimit::new(1, 2, &[]);
        for network in 0..2_000_000_u32 {
            limit.limit((network << 8).to_be_bytes().into(), Kind::Other, NOW);
        }
        let client = address("2001:db8::1");
        assert_eq!(limit.limit(client, Kind::Other, NOW), None);
        assert_eq!(Buckets::OCTETS.get(), 4 << 20);
        for index in [0, 1, SETS - 1, SETS] {
            assert_eq!(limit.buckets.set(index).as_ptr().addr() % 64, 0, "a set is a line of the cache");
        }
    }

    #[test]
    fn cores_that_share_a_bucket_pass_no_more_than_it_has() {
        let limit = RateLimit::new(1_000, 2, &[]);
        let count = || passed(&limit, "192.0.2.1", Kind::Other, NOW, 10_000);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
        });
        // One that passes uncounted has lost each of its tries to another that passed, and each of those made three others
        // lose one at most: there are three for four that were counted.
        assert!((2_000..=2_000 + 2_000 * 3 / TRIES).contains(&passed), "{passed}");
    }

    proptest! {
        #[test]
        fn however_a_client_asks_it_gets_its_burst_and_its_rate_and_no_more(
            rate in 1_u32..=RATE_MAX,
            start in any::<i64>(),
            steps in proptest::collection::vec(0_i64..500, 1..200),
        ) {
            let limit = RateLimit::new(rate, 2, &[]);
            let (mut now, mut answered) = (start, 0_u64);
            for step in steps {
                now = now.wrapping_add(step);
                answered += u64::from(limit.limit(address("192.0.2.1"), Kind::Other, now).is_none());
            }
            // A tick more or less for each answer, where the rate does not divide them.
            let elapsed = u64::try_from(now.wrapping_sub(start)).expect("it goes forwards") * TICKS_PER_MILLISECOND;
            let most = (BURST_SECONDS * 1_000 * TICKS_PER_MILLISECOND + elapsed) / limit.cost;
            prop_assert!(answered <= most, "{answered} of {most}");
        }
    }
}
