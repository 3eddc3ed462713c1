//! Asking a name's home, and being asked as one (`homes.rs`): when is waited for whom, and what is kept of it.
//!
//! ```text
//!  ask ── taken within 100 ms? ── answered within 1 s? ──▶ kept, told
//!              │ no                   │ no
//!              └──────────┬───────────┘
//!                         ▼
//!            resolved here as well: whichever has an answer first        (no wait: lost, declined, busy,
//!                                                                         malformed, or the home gave up)
//! ```
//!
//! A home that has the answer gives it at once; one that has not says at once that it has taken the question, so that one
//! which is frozen is told from one whose name servers are slow. The wait for these is short enough for a client's patience,
//! and long enough that few names take it twice.
//!
//! What a home tells of its network (extended errors 22 and 23) is no verdict: it may be its own that is away. Nor is that it
//! gave up (0): a flood at another server may have taken its places. So a name whose servers are dead, or that costs too much,
//! costs the PoP what it did before.
//!
//! A copy that is refreshed before it expires is asked of the home, too, which takes what it has only if that lasts: of a PoP's
//! servers, the home alone asks ahead.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::{
    homes::{Good, HomeQuestion, How, NotHome, neighbourhood, read_answer, write_answer},
    iterate::RESOLUTION_MAX,
    keys::ede,
    query::{Key, Query},
    resolver::{Resolver, Sought},
    stored::Stored,
    upstream::Upstream,
};

/// How long a home may take to say that it has the question: in a PoP that is a hundred round trips.
pub(crate) const TAKEN_WITHIN: Duration = Duration::from_millis(100);
/// How long it may take to answer before name servers are asked from here as well.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// How long is listened to it at all: as long as it may resolve, and a little.
const HEARD_WITHIN: Duration = RESOLUTION_MAX.saturating_add(Duration::from_secs(1));

/// What a home said.
enum Heard {
    Answer(Stored, How),
    Malformed,
    Not(NotHome),
}

impl<U: Upstream> Resolver<U> {
    /// The home of what is asked for, if it is another server than this and one that can be asked.
    pub fn home(&self, query: &Query) -> Option<usize> {
        self.home_of(query.key())
    }

    pub(crate) fn home_of(&self, key: &Key) -> Option<usize> {
        self.homes()?.of(neighbourhood(&key.name()).wire())
    }

    /// Asks a home, and keeps what it says; resolves here if that is nothing, and as well if it takes long. Nothing, if too much
    /// is resolved here already.
    pub(crate) async fn find_at(
        self: Arc<Self>,
        home: usize,
        key: Key,
        is_refresh: bool,
    ) -> Option<Arc<Stored>> {
        let is_taken = AtomicBool::new(false);
        let mut hearing = pin!(self.hear(home, &key, is_refresh, &is_taken));
        let late = async {
            sleep(TAKEN_WITHIN).await;
            if is_taken.load(Ordering::Relaxed) {
                sleep(ANSWERED_WITHIN.saturating_sub(TAKEN_WITHIN)).await;
            }
        };
        tokio::select! {
            biased;
            heard = &mut hearing => {
                return match self.settled(&key, heard) {
                    Some(settled) => Some(settled),
                    None => self.find_here(&key, is_refresh).await,
                };
            }
            () = late => self.metrics().homes.late.inc(),
        };
        let mut here = pin!(self.find_here(&key, is_refresh));
        tokio::select! {
            found = &mut here => match found {
                Some(found) if !found.is_failure => Some(found),
                failure => self.settled(&key, hearing.await).or(failure),
            },
            heard = &mut hearing => match self.settled(&key, heard) {
                Some(settled) => Some(settled),
                None => here.await,
            },
        }
    }

    async fn find_here(self: &Arc<Self>, key: &Key, is_refresh: bool) -> Option<Arc<Stored>> {
        let begun = self.begin(key, is_refresh, None);
        if begun.is_none() {
            self.metrics().busy.inc();
        }
        begun?.found().await
    }

    async fn hear(&self, home: usize, key: &Key, is_lasting: bool, is_taken: &AtomicBool) -> Heard {
        let Some(homes) = self.homes() else { return Heard::Not(NotHome::Lost) };
        let question = HomeQuestion { key: *key, is_lasting }.write();
        let hearing = async {
            let awaited = homes.ask(home, question).await?;
            is_taken.store(true, Ordering::Relaxed);
            awaited.await
        };
        let heard = timeout(HEARD_WITHIN, hearing).await.unwrap_or(Err(NotHome::Lost));
        match heard.map(|octets| read_answer(key, &octets, self.core().seconds())) {
            Ok(Some((stored, how))) => Heard::Answer(stored, how),
            Ok(None) => Heard::Malformed,
            Err(why) => Heard::Not(why),
        }
    }

    /// What a home said, kept, if it settles the matter.
    fn settled(&self, key: &Key, heard: Heard) -> Option<Arc<Stored>> {
        let homes = &self.metrics().homes;
        match heard {
            Heard::Answer(stored, how) => {
                let is_no_verdict = matches!(stored.ede, Some(ede::NO_AUTHORITY | ede::NETWORK | ede::OTHER));
                let counter = match how {
                    _ if stored.is_failure => &homes.failed,
                    _ if stored.is_stale => &homes.stale,
                    How::Kept => &homes.kept,
                    How::Found => &homes.found,
                };
                counter.inc();
                (!stored.is_failure || !is_no_verdict).then(|| self.keep(key, self.expired(stored)))
            }
            Heard::Malformed => {
                debug!(name = %key.name(), "the name's home answers something else: it may run another version");
                homes.malformed.inc();
                None
            }
            Heard::Not(NotHome::Declined) => {
                homes.declined.inc();
                None
            }
            Heard::Not(NotHome::Busy) => {
                homes.busy.inc();
                None
            }
            Heard::Not(NotHome::Lost) => {
                debug!(name = %key.name(), "the name's home is lost");
                homes.lost.inc();
                None
            }
        }
    }

    /// What had expired at a home, as it would be kept if it had expired here; all else as it is.
    fn expired(&self, stored: Stored) -> Stored {
        if !stored.is_stale {
            return stored;
        }
        let stale_for = self.core().settings.stale_for.as_secs();
        let since = (stored.since + u64::from(stored.ttl)).saturating_sub(stale_for);
        Stored { ttl: 0, since, ..stored }
    }

    /// What another server of the PoP is told, if it is known, has not expired, and lasts if that is wanted. Does not wait; must be
    /// called within a runtime.
    pub fn answer_peer_now(self: &Arc<Self>, question: &HomeQuestion) -> Option<Vec<u8>> {
        let HomeQuestion { key, is_lasting } = question;
        let (stored, age) = self.known(key)?;
        if self.is_due(&stored, age) {
            if *is_lasting {
                return None;
            }
            self.refresh(key, None);
        }
        Some(write_answer(key, &stored, Good::Fresh(age), How::Kept))
    }

    /// What another server of the PoP is told: resolved here, whoever is home; or what had expired, after a while or if that
    /// fails. Nothing, if too much is resolved.
    pub async fn answer_peer(self: &Arc<Self>, question: &HomeQuestion) -> Option<Vec<u8>> {
        let HomeQuestion { key, is_lasting } = question;
        if *is_lasting && self.known(key).is_some() {
            self.metrics().prefetched.inc();
        }
        match self.seek(key, *is_lasting, None).await {
            Sought::Found(found) => Some(write_answer(key, &found, Good::Fresh(0), How::Found)),
            Sought::Expired(stale) => {
                let left = Good::Expired(self.stale_left(&stale));
                Some(write_answer(key, &stale, left, How::Kept))
            }
            Sought::Busy | Sought::Nothing => None,
        }
    }
}
