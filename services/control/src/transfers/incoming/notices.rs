//! What primaries say at any server, on its way into the log.
//!
//! ```text
//!  DNS: changed() ─▶ Waiting: once per zone, a bounded number ─▶ run(): many in one append ─▶ ZoneNotice in the log
//!          └ no room, or draining: not acknowledged                  └ failed, or too soon: waits again
//! ```
//!
//! Invariants:
//! * **What was taken is not forgotten:** a primary that was answered NOERROR does not repeat itself (RFC 1996). A zone leaves
//!   [`Waiting`] only when the log has its notice; what comes while that is written waits anew.
//! * **A zone is noted every [`limits::NOTICE_EVERY`] at the most,** whichever servers hear of it, however often.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proxima_chassis::Shutdown;
use proxima_ledger::Precondition;
use proxima_model::{Entity as _, SecondaryZone, Timestamp, ZoneId, ZoneNotice};
use proxima_pipeline::ZoneNotices;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{
    api::{Api, write::Author},
    error::ApiError,
    limits,
};

/// Takes notices from DNS without waiting, and writes each zone's to the log now and then.
pub(crate) struct Notices {
    waiting: Mutex<Waiting>,
    heard: Notify,
}

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    /// Zones, and when they are written.
    due: HashMap<ZoneId, Instant>,
    /// When zones were last written, as long as that keeps them from being written again.
    written: HashMap<ZoneId, Instant>,
    /// Whether nobody writes any more.
    has_ended: bool,
}

impl Waiting {
    /// Has a zone wait, unless it does; whether it does.
    fn take(&mut self, zone: ZoneId, now: Instant) -> bool {
        if self.has_ended {
            return false;
        }
        if self.due.contains_key(&zone) {
            return true;
        }
        if self.due.len() >= limits::NOTICES_WAITING_MAX {
            return false;
        }
        let at = self.written.get(&zone).map_or(now, |last| *last + limits::NOTICE_EVERY);
        self.due.insert(zone, at);
        true
    }

    /// Takes out what is due, as much as is written at once.
    fn ready(&mut self, now: Instant) -> Vec<ZoneId> {
        self.written.retain(|_, at| now.duration_since(*at) < limits::NOTICE_EVERY);
        let due = self.due.iter().filter(|(_, at)| **at <= now).map(|(zone, _)| *zone);
        let ready: Vec<ZoneId> = due.take(limits::NOTICES_AT_ONCE).collect();
        for zone in &ready {
            self.due.remove(zone);
        }
        ready
    }

    /// These are in the log. What came while they were written is written later.
    fn are_written(&mut self, zones: &[ZoneId], now: Instant) {
        for zone in zones {
            self.written.insert(*zone, now);
            self.due.entry(*zone).and_modify(|at| *at = now + limits::NOTICE_EVERY);
        }
    }

    /// These are not, and wait on: they were taken, whatever room there is.
    fn again(&mut self, zones: &[ZoneId], at: Instant) {
        self.due.extend(zones.iter().map(|zone| (*zone, at)));
    }
}

impl Notices {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), heard: Notify::new() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes them until the node drains, and then once what waits.
    pub(crate) async fn run(self: Arc<Self>, api: Arc<Api>, author: Author, shutdown: Shutdown) {
        loop {
            let next = self.waiting().due.values().min().copied();
            let wait = next.unwrap_or_else(|| Instant::now() + limits::UPKEEP_INTERVAL);
            tokio::select! {
                () = shutdown.draining() => break,
                () = self.heard.notified() => {}
                () = tokio::time::sleep_until(wait) => {}
            }
            let ready = self.waiting().ready(Instant::now());
            if ready.is_empty() {
                continue;
            }
            tokio::select! {
                () = shutdown.draining() => {
                    self.waiting().again(&ready, Instant::now());
                    break;
                }
                () = self.write(&api, &author, &ready) => {}
            }
        }
        let left: Vec<ZoneId> = {
            let mut waiting = self.waiting();
            waiting.has_ended = true;
            waiting.due.drain().map(|(zone, _)| zone).collect()
        };
        let writing = async {
            for zones in left.chunks(limits::NOTICES_AT_ONCE) {
                if let Err(error) = note(&api, &author, zones.into()).await {
                    tracing::warn!(zones = zones.len(), %error, "that zones have changed at their primaries is not noted");
                }
            }
        };
        if timeout(limits::NOTICES_LAST_WITHIN, writing).await.is_err() {
            tracing::warn!("that zones have changed at their primaries is not noted before this server ends");
        }
    }

    async fn write(&self, api: &Arc<Api>, author: &Author, zones: &[ZoneId]) {
        match note(api, author, zones.into()).await {
            Ok(early) => {
                let now = Instant::now();
                let written: Vec<ZoneId> =
                    zones.iter().copied().filter(|zone| !early.contains(zone)).collect();
                let mut waiting = self.waiting();
                waiting.are_written(&written, now);
                waiting.again(&early, now + limits::NOTICE_EVERY);
            }
            Err(error) => {
                tracing::warn!(zones = zones.len(), %error, "that zones have changed at their primaries is not noted yet");
                self.waiting().again(zones, Instant::now() + limits::UPKEEP_RETRY);
            }
        }
    }
}

/// Notes that these zones have changed at their primaries; those of which that was noted only just now.
async fn note(api: &Arc<Api>, author: &Author, zones: Arc<[ZoneId]>) -> Result<Vec<ZoneId>, ApiError> {
    let noted = api.write(author, move |draft| {
        let mut early = Vec::new();
        for zone in zones.iter() {
            if draft.snapshot.get::<SecondaryZone>(zone)?.is_none() {
                continue;
            }
            let last = draft.snapshot.get::<ZoneNotice>(zone)?;
            if last.is_some_and(|last| is_recent(last.at, draft.now)) {
                early.push(*zone);
                continue;
            }
            draft.require(Precondition::Present(SecondaryZone::key_of(zone)));
            draft.put(&ZoneNotice { zone: *zone, at: draft.now });
        }
        Ok(early)
    });
    Ok(noted.await?.answer)
}

/// Whether a notice is so young that the next one has to wait; by the clocks of servers, either of which may be ahead.
fn is_recent(noted: Timestamp, now: Timestamp) -> bool {
    u128::from(noted.as_millis().abs_diff(now.as_millis())) < limits::NOTICE_EVERY.as_millis()
}

impl ZoneNotices for Notices {
    fn changed(&self, zone: ZoneId) -> bool {
        let is_taken = self.waiting().take(zone, Instant::now());
        if is_taken {
            self.heard.notify_one();
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn zone(number: usize) -> ZoneId {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
        ZoneId::from_bytes(octets)
    }

    #[test]
    fn a_notice_waits_once_and_is_written_now_and_then_and_never_lost() {
        let (mut waiting, begun) = (Waiting::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(waiting.take(zone(1), at(0)) && waiting.take(zone(1), at(0)));
        assert_eq!(waiting.ready(at(0)), [zone(1)]);
        // The log cannot be reached.
        waiting.again(&[zone(1)], at(2));
        assert_eq!(waiting.ready(at(1)), []);
        assert_eq!(waiting.ready(at(2)), [zone(1)]);
        // It comes again while it is written, and once more.
        assert!(waiting.take(zone(1), at(2)));
        waiting.are_written(&[zone(1)], at(3));
        assert!(waiting.take(zone(1), at(4)));
        assert_eq!(waiting.ready(at(12)), []);
        assert_eq!(waiting.ready(at(13)), [zone(1)]);
        waiting.are_written(&[zone(1)], at(13));
        assert_eq!((waiting.ready(at(60)), waiting.written.len()), (vec![], 0));
        // Another server has written it just now.
        assert!(waiting.take(zone(1), at(60)));
        assert_eq!(waiting.ready(at(60)), [zone(1)]);
        waiting.again(&[zone(1)], at(70));
        assert_eq!(waiting.ready(at(70)), [zone(1)]);
    }

    #[test]
    fn what_there_is_no_room_for_is_not_taken() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        assert!((0..limits::NOTICES_WAITING_MAX).all(|number| waiting.take(zone(number), now)));
        assert!(!waiting.take(zone(limits::NOTICES_WAITING_MAX), now));
        assert!(waiting.take(zone(0), now), "it waits already");
        assert_eq!(waiting.ready(now).len(), limits::NOTICES_AT_ONCE);
        assert!(waiting.take(zone(limits::NOTICES_WAITING_MAX), now));
        waiting.has_ended = true;
        assert!(!waiting.take(zone(0), now), "nobody would write it");
    }

    #[test]
    fn a_notice_is_recent_whichever_clock_is_ahead() {
        let at = |millis| Timestamp::from_millis(millis);
        for (noted, now, expected) in
            [(0, 0, true), (0, 9_999, true), (0, 10_000, false), (9_999, 0, true), (10_000, 0, false)]
        {
            assert_eq!(is_recent(at(noted), at(now)), expected, "{noted} {now}");
        }
    }
}
