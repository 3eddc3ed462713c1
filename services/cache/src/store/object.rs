//! What is stored.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use proxima_compression::{Coding, Forms};
use proxima_model::Timestamp;
use proxima_pipeline::{HEAD_FORMS, HeadForm, PreparedHead};
use tokio::time::Instant;

use crate::{
    content::Content,
    marks::{Birth, Tags},
    policy::{
        conditions,
        freshness::Freshness,
        vary::{Variant, Vary},
    },
};

/// What an object takes beside its content, its fields and its key: the structures around them.
pub(super) const OBJECT_OVERHEAD_OCTETS: u64 = 1_024;

/// Of an object that was not offered to the disk.
pub const NOT_OFFERED: u32 = 0;
/// Of an object that is being written, or that is not to be.
pub const NOT_FOR_DISK: u32 = u32::MAX;

/// A stored response, or one that is being fetched to be stored.
#[derive(Debug)]
pub struct Object {
    /// The status.
    pub status: StatusCode,
    /// The fields, without those of a connection.
    pub headers: HeaderMap,
    /// For how long it may be used.
    pub freshness: Freshness,
    /// Which requests it answers: these names …
    pub vary: Vary,
    /// … with this secondary key.
    pub variant: Variant,
    /// When it came, by the monotonic clock.
    pub received: Instant,
    /// When it came, by the wall clock.
    pub received_at: Timestamp,
    /// When its fetch began.
    pub birth: Birth,
    /// The tags that the origin gave it.
    pub tags: Tags,
    /// The content.
    pub content: Arc<Content>,
    /// Whether its fields speak to this network's caches alone: those are not for clients.
    pub speaks_to_us: bool,
    /// Its encoded forms, as they are made; `None` if it is not to be encoded.
    pub forms: Option<Arc<Forms>>,
    /// Heads of answers that are made of it at a glance.
    pub heads: Heads,
    /// When the origin last failed to confirm it: milliseconds since `received`, plus one; 0 is never.
    pub failed: AtomicU64,
    /// How it stands with the disk: [`NOT_OFFERED`], [`NOT_FOR_DISK`], or one more than the number of the segment where it
    /// lies.
    pub on_disk: AtomicU32,
}

impl Object {
    /// How long it has lain here.
    pub fn resident(&self) -> Duration {
        self.received.elapsed()
    }

    /// Whether it answers a request with these fields.
    pub fn answers(&self, request: &HeaderMap) -> bool {
        self.vary.variant(request) == self.variant
    }

    /// Whether it answers requests of one part only.
    pub fn is_part(&self) -> bool {
        self.vary.is_of_a_part()
    }

    /// As conditions and ranges see it.
    pub fn as_stored(&self) -> conditions::Stored<'_> {
        conditions::Stored {
            status: self.status,
            headers: &self.headers,
            received_at: self.received_at,
            length: self.content.length(),
        }
    }

    /// Remembers that the origin has just failed to confirm it.
    pub fn note_failure(&self) {
        let millis = u64::try_from(self.resident().as_millis()).unwrap_or(u64::MAX - 1);
        self.failed.store(millis + 1, Ordering::Relaxed);
    }

    /// Whether the origin failed to confirm it within the last `within`.
    pub fn failed_within(&self, within: Duration) -> bool {
        let noted = self.failed.load(Ordering::Relaxed);
        noted > 0 && self.resident().saturating_sub(Duration::from_millis(noted - 1)) < within
    }

    pub(super) fn octets(&self) -> u64 {
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        let content = self.content.octets_in_memory();
        let forms = self.forms.as_ref().map_or(0, |forms| forms.octets());
        let described = fields + self.variant.octets() + self.tags.octets() + self.heads.octets();
        content + forms + described as u64 + OBJECT_OVERHEAD_OCTETS
    }
}

/// The heads of the answers that an object gives to requests without conditions, as it is and in each coding, in each
/// protocol's form: each is made once, when it is first wanted.
#[derive(Debug, Default)]
pub struct Heads([[OnceLock<ReadyHead>; 1 + Coding::ALL.len()]; HEAD_FORMS]);

/// One of them.
#[derive(Debug)]
pub struct ReadyHead {
    /// The head.
    pub head: Arc<PreparedHead>,
    /// For how many seconds it tells browsers to keep the answer, or the most there are where nothing is told them instead
    /// (`serve.rs`).
    pub browser_seconds: u64,
}

impl Heads {
    /// The head in this coding, as a protocol writes it.
    pub(crate) fn of(&self, form: &dyn HeadForm, coding: Option<Coding>) -> &OnceLock<ReadyHead> {
        &self.0[form.place()][coding.map_or(0, |coding| 1 + coding.index())]
    }

    fn octets(&self) -> usize {
        let made = |slot: &OnceLock<ReadyHead>| slot.get().map_or(0, |made| made.head.octets());
        self.0.iter().flatten().map(made).sum()
    }
}
