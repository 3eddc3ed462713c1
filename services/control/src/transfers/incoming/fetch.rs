//! Asking a primary for a zone: over TCP, within bounds of time and size.

use std::time::Duration;

use proxima_model::{PrimarySoa, limits as model_limits};
use proxima_transfer::{
    Exchange,
    message::{self, Read},
    stream::{Bounds, Incoming, Transfer, soa_of},
};
use proxima_wire::{class, flag, rtype};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    api::Api,
    limits,
    transfers::{
        client::{Other, seconds},
        places::{Place, Share},
    },
};

/// What is wanted of a zone.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Its name on the wire.
    pub(super) zone: Vec<u8>,
    /// What is here of it, if what is newer than that is enough.
    pub(super) here: Option<PrimarySoa>,
}

/// Asks a primary for the serial that it has of a zone, by its name on the wire.
///
/// # Errors
/// In words for the zone's owner.
pub(super) async fn serial(api: &Api, other: &Other, zone: &[u8]) -> Result<u32, String> {
    let asked = timeout(limits::TRANSFER_LOOK_WITHIN, async {
        Ok(Connection::open(api, other).await?.soa(zone).await?.serial())
    });
    asked.await.unwrap_or_else(|_| Err("the primary takes too long to tell its serial".to_owned()))
}

/// Asks a primary for a zone, or for what has changed of it. As long as that takes: the caller bounds it.
///
/// # Errors
/// In words for the zone's owner.
pub(super) async fn fetch(
    api: &Api,
    (other, ixfr): (&Other, bool),
    wanted: &Wanted,
    (pace, room): (&mut Pace, &mut Room),
) -> Result<Transfer, String> {
    if let Some(here) = wanted.here.as_ref().filter(|_| ixfr) {
        match Connection::open(api, other).await?.transfer(&wanted.zone, Some(here), (pace, room)).await {
            Ok(transfer) => return Ok(transfer),
            // It may be that it does not know how: everything will do.
            Err(why) => tracing::debug!(%why, "no differences came"),
        }
    }
    Connection::open(api, other).await?.transfer(&wanted.zone, None, (pace, room)).await
}

/// How fast a zone comes, in as many transfers as it takes: what it must have in every minute, and how much for the time that
/// it has taken in all.
#[derive(Debug)]
pub(super) struct Pace {
    /// Since when octets are counted.
    since: Instant,
    octets: usize,
    /// When something last came of this transfer, or it began.
    last: Instant,
    /// Of all transfers so far.
    spent: Duration,
    octets_in_all: usize,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, octets: 0, last: now, spent: Duration::ZERO, octets_in_all: 0 }
    }

    /// A transfer begins: what has passed since the former one was nobody's fault, and neither was it this primary's by how
    /// much another one was late.
    fn begin(&mut self, now: Instant) {
        let spent = self.spent.min(self.allowed());
        *self = Self { since: now, octets: 0, last: now, spent, ..*self };
    }

    /// What may be spent for what has come.
    fn allowed(&self) -> Duration {
        let earned = self.octets_in_all / limits::TRANSFER_SLOW_OCTETS_PER_SECOND;
        let earned = Duration::from_secs(u64::try_from(earned).unwrap_or(u64::MAX));
        limits::TRANSFER_SLOW_GRACE.saturating_add(earned)
    }

    /// Counts what came; whether it is still enough. A transfer that ends sooner was fast enough, however small it is.
    pub(super) fn holds(&mut self, octets: usize, now: Instant) -> bool {
        self.spent += now.duration_since(self.last);
        self.last = now;
        self.octets = self.octets.saturating_add(octets);
        self.octets_in_all = self.octets_in_all.saturating_add(octets);
        if self.spent > self.allowed() {
            return false;
        }
        if now.duration_since(self.since) < limits::TRANSFER_PACE_OVER {
            return true;
        }
        let is_enough = self.octets >= limits::TRANSFER_PACE_OCTETS_MIN;
        (self.since, self.octets) = (now, 0);
        is_enough
    }
}

/// What a zone that is fetched may take of memory: more, when it is large and a place for that is free.
#[derive(Debug)]
pub(super) struct Room {
    large: Share,
    /// The place, and how long a transfer may take in it.
    taken: Option<(Place, Instant)>,
}

impl Room {
    pub(super) fn new(large: Share) -> Self {
        Self { large, taken: None }
    }

    /// Waits for the room that so many records of so many octets need; whether it did. A look keeps it: what it has fetched is
    /// put into the log.
    ///
    /// # Errors
    /// The transfer takes too long for it.
    async fn take_for(&mut self, (records, octets): (usize, usize), now: Instant) -> Result<bool, String> {
        let is_large = records > limits::TRANSFER_LARGE_RECORDS || octets > limits::TRANSFER_LARGE_OCTETS;
        match &self.taken {
            Some((_, until)) if *until < now => {
                Err("the zone is large, and its primary sends it too slowly".to_owned())
            }
            None if is_large => {
                let place = self.large.take().await;
                self.taken = Some((place, Instant::now() + limits::TRANSFER_LARGE_WITHIN));
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

struct Connection<'a> {
    api: &'a Api,
    other: &'a Other,
    stream: TcpStream,
}

impl<'a> Connection<'a> {
    async fn open(api: &'a Api, other: &'a Other) -> Result<Self, String> {
        let connecting = timeout(limits::TRANSFER_CONNECT_WITHIN, TcpStream::connect(other.address));
        let stream = connecting.await.map_err(|_| "connecting takes too long".to_owned())?;
        Ok(Self { api, other, stream: stream.map_err(|error| format!("connecting: {error}"))? })
    }

    async fn ask(&mut self, mut question: Vec<u8>) -> Result<Option<Exchange>, String> {
        let key = self.other.key.as_ref();
        let exchange = key.map(|key| Exchange::ask(key, &mut question, seconds(self.api)));
        let length = u16::try_from(question.len()).map_err(|_| "the question is too long".to_owned())?;
        let framed = [&length.to_be_bytes()[..], &question].concat();
        let written = timeout(limits::TRANSFER_MESSAGE_WITHIN, self.stream.write_all(&framed)).await;
        written
            .map_err(|_| "asking takes too long".to_owned())?
            .map_err(|error| format!("asking: {error}"))?;
        Ok(exchange)
    }

    /// The next message, without its signature.
    async fn next(&mut self, exchange: &mut Option<Exchange>) -> Result<Vec<u8>, String> {
        let reading = async {
            let mut message = vec![0; self.stream.read_u16().await?.into()];
            self.stream.read_exact(&mut message).await?;
            Ok::<_, std::io::Error>(message)
        };
        let message = timeout(limits::TRANSFER_MESSAGE_WITHIN, reading).await;
        let message = message.map_err(|_| "the primary is silent".to_owned())?;
        let message = message.map_err(|error| format!("the primary breaks off: {error}"))?;
        match exchange {
            Some(exchange) => exchange.take(&message, seconds(self.api)).map_err(|error| error.to_string()),
            None => Ok(message),
        }
    }

    async fn soa(&mut self, zone: &[u8]) -> Result<PrimarySoa, String> {
        let id = rand::random();
        let mut exchange = self.ask(message::question(id, 0, zone, rtype::SOA)).await?;
        let answer = self.next(&mut exchange).await?;
        let head = message::head(&answer).map_err(|error| error.to_string())?;
        let is_answer = head.id == id && head.is_answer(0);
        if head.rcode != 0 && is_answer {
            return Err(format!("the primary answers {}", message::rcode_name(head.rcode)));
        }
        if !is_answer || !message::is_about(&answer, zone, rtype::SOA) {
            return Err("the primary answers something else".to_owned());
        }
        if head.flags & flag::AA == 0 {
            return Err(
                "the primary answers without authority: it does not have the zone, or has lost it".to_owned()
            );
        }
        let records = message::answers(&answer).map_err(|error| error.to_string())?;
        let is_of_zone =
            |record: &&Read| record.rtype == rtype::SOA && record.class == class::IN && record.owner == zone;
        let found = records.iter().find(is_of_zone);
        let soa = found.map(soa_of).and_then(Result::ok);
        soa.ok_or_else(|| "the primary does not have the zone".to_owned())
    }

    async fn transfer(
        &mut self,
        zone: &[u8],
        since: Option<&PrimarySoa>,
        (pace, room): (&mut Pace, &mut Room),
    ) -> Result<Transfer, String> {
        let id = rand::random();
        let question = match since {
            Some(here) => message::differences(id, zone, &here.data),
            None => message::question(id, 0, zone, rtype::AXFR),
        };
        let mut exchange = self.ask(question).await?;
        let bounds = Bounds {
            // All may go and come again, and there are SOA records.
            records: model_limits::TRANSFERRED_RECORDS_PER_ZONE_MAX * 2 + 1_000,
            octets: model_limits::TRANSFERRED_OCTETS_PER_ZONE_MAX * 2,
        };
        let mut incoming = Incoming::new(zone.to_vec(), id, since.map(PrimarySoa::serial), bounds);
        pace.begin(Instant::now());
        loop {
            let message = self.next(&mut exchange).await?;
            if !pace.holds(message.len(), Instant::now()) {
                return Err("the primary sends too slowly".to_owned());
            }
            if incoming.take(&message).map_err(|error| error.to_string())? {
                break;
            }
            if room.take_for((incoming.records(), incoming.octets()), Instant::now()).await? {
                pace.begin(Instant::now());
            }
        }
        if exchange.is_some_and(|exchange| !exchange.is_whole()) {
            return Err("the transfer's last message is not signed".to_owned());
        }
        incoming.finish().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proxima_model::AccountId;

    use super::*;
    use crate::transfers::places::Places;

    /// How many messages of so many octets are taken that come every nine seconds, and for how long.
    fn taken(pace: &mut Pace, octets: usize) -> (usize, u64) {
        let begun = Instant::now();
        pace.begin(begun);
        let at = |message: usize| begun + Duration::from_secs(9) * u32::try_from(message).unwrap();
        let taken = (1..=200).take_while(|message| pace.holds(octets, at(*message))).count();
        (taken, at(taken).duration_since(begun).as_secs())
    }

    #[test]
    fn a_primary_that_drips_is_too_slow_and_one_that_is_only_slow_is_not() {
        let fresh = || Pace::new(Instant::now());
        // The seventh comes after more than a minute.
        assert_eq!(taken(&mut fresh(), 60).0, 6);
        assert_eq!(taken(&mut fresh(), limits::TRANSFER_PACE_OCTETS_MIN / 7 - 1).0, 6);
        // Who keeps to the pace and no more is through after seven minutes.
        let (_, seconds) = taken(&mut fresh(), limits::TRANSFER_PACE_OCTETS_MIN / 7 + 1);
        assert!((360..=420).contains(&seconds), "{seconds}");
        let steady = 9 * limits::TRANSFER_SLOW_OCTETS_PER_SECOND;
        assert_eq!(taken(&mut fresh(), steady).0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn large_zones_wait_for_each_other_and_not_for_long() {
        let (all, each) = (limits::TRANSFERS_LARGE_MAX, limits::TRANSFERS_LARGE_PER_ACCOUNT_MAX);
        let mut places = Places::new(all, each);
        let large = (limits::TRANSFER_LARGE_RECORDS + 1, 0);
        let small = (limits::TRANSFER_LARGE_RECORDS, limits::TRANSFER_LARGE_OCTETS);
        let mut rooms: Vec<_> = (0..all)
            .map(|account| places.of(AccountId::from_bytes([u8::try_from(account).unwrap(); 16])))
            .map(Room::new)
            .collect();
        for room in &mut rooms {
            assert_eq!(room.take_for(small, Instant::now()).await, Ok(false), "it is not large");
            // Few records may be large, too.
            assert_eq!(room.take_for((1, small.1 + 1), Instant::now()).await, Ok(true));
            assert_eq!(room.take_for(large, Instant::now()).await, Ok(false), "it has it");
        }
        let mut another = Room::new(places.of(AccountId::from_bytes([99; 16])));
        {
            let mut waits = std::pin::pin!(another.take_for(large, Instant::now()));
            assert!(waits.as_mut().now_or_never().is_none());
        }
        let late = Instant::now() + limits::TRANSFER_LARGE_WITHIN + Duration::from_secs(1);
        assert!(rooms[0].take_for(large, late).await.is_err());
        rooms.remove(0);
        assert_eq!(another.take_for(large, Instant::now()).await, Ok(true));
    }

    #[test]
    fn to_begin_again_gives_no_more_time() {
        let mut pace = Pace::new(Instant::now());
        let octets = limits::TRANSFER_PACE_OCTETS_MIN / 7 + 1;
        let (_, first) = taken(&mut pace, octets);
        let (_, again) = taken(&mut pace, octets);
        assert!(first >= 360 && again == 0, "{first} {again}");
    }

    #[test]
    fn a_fast_primary_is_not_late_because_the_one_before_it_was() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        taken(&mut pace, limits::TRANSFER_PACE_OCTETS_MIN / 7 + 1);
        assert!(!pace.holds(0, pace.last + Duration::from_secs(9)), "the first one is late");
        let again = pace.last + Duration::from_secs(1);
        pace.begin(again);
        assert!((0..1000).all(|_| pace.holds(100, again)), "small messages, but at once");
    }
}
