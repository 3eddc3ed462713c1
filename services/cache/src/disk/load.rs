//! Objects read back.

use std::sync::Arc;

use bytes::Bytes;
use proxima_model::Timestamp;
use tokio::time::Instant;

use super::{
    Disk, Order,
    content::{OnDisk, are_whole},
    index::Location,
    metrics::Read,
    record::{self, BLOCK_OCTETS, Described},
    segment::{AtOnce, Segment},
};
use crate::{
    content::Content,
    fill,
    key::PrimaryKey,
    policy::directives::TARGETED,
    store::{Heads, Object},
};

/// Content of up to so many octets comes into memory as a whole; of larger content only what is read, and it stays on the
/// disk.
const LOADED_OCTETS_MAX: u64 = 1 << 20;

/// What lies on the disk.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// The object.
    Here(Arc<Object>),
    /// Reading it would wait for the disk.
    WouldWait,
    /// Nothing that could be used.
    Nothing,
}

/// Why something was read and cannot be used.
enum Unusable {
    /// It is something else: hashes collide, or it is from a time that has not come.
    Another,
    Corrupt,
}

impl Disk {
    /// Reads an object if the kernel has it in memory.
    pub(crate) fn load_at_once(&self, key: &PrimaryKey, location: Location) -> Loaded {
        let Some(segment) = self.0.segment(location.segment) else { return Loaded::Nothing };
        match segment.read_at_once(u64::from(location.offset), first_read(location)) {
            Ok(AtOnce::WouldWait) => Loaded::WouldWait,
            Ok(AtOnce::Read(octets)) => self.loaded(key, location, &segment, &octets, Read::AtOnce),
            Err(error) => self.failed(key, location, Read::Failed, Some(&error)),
        }
    }

    /// Reads an object.
    pub(crate) async fn load(&self, key: &PrimaryKey, location: Location) -> Loaded {
        let Some(segment) = self.0.segment(location.segment) else { return Loaded::Nothing };
        let Ok(permit) = self.0.reads.clone().try_acquire_owned() else {
            self.0.metrics.count(Read::Busy);
            return Loaded::Nothing;
        };
        let reading = segment.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            reading.read(u64::from(location.offset), first_read(location))
        });
        match read.await {
            Ok(Ok(octets)) => self.loaded(key, location, &segment, &octets, Read::Waited),
            Ok(Err(error)) => self.failed(key, location, Read::Failed, Some(&error)),
            // The runtime ends.
            Err(_) => Loaded::Nothing,
        }
    }

    fn loaded(
        &self,
        key: &PrimaryKey,
        location: Location,
        segment: &Arc<Segment>,
        octets: &Bytes,
        how: Read,
    ) -> Loaded {
        match self.object(key, location, segment, octets) {
            Ok(object) => {
                self.0.metrics.count(how);
                Loaded::Here(object)
            }
            Err(Unusable::Corrupt) => self.failed(key, location, Read::Corrupt, None),
            Err(Unusable::Another) => Loaded::Nothing,
        }
    }

    fn failed(
        &self,
        key: &PrimaryKey,
        location: Location,
        why: Read,
        error: Option<&std::io::Error>,
    ) -> Loaded {
        self.0.metrics.count(why);
        if self.0.index.forget_at(key.hash(), location) {
            self.order(Order::Forget(key.hash(), None));
            tracing::warn!(
                target: "proxima_cache",
                url = key.url(),
                segment = location.segment,
                offset = location.offset,
                error = error.map(tracing::field::display),
                "an object on the disk cannot be read, and is forgotten: look at the disk if this goes on",
            );
        }
        Loaded::Nothing
    }

    fn object(
        &self,
        key: &PrimaryKey,
        location: Location,
        segment: &Arc<Segment>,
        octets: &Bytes,
    ) -> Result<Arc<Object>, Unusable> {
        let described = record::read_object(octets).map_err(|_| Unusable::Corrupt)?;
        let same = described.zone == key.zone()
            && described.url == key.url()
            && described.parts.as_deref() == key.parts();
        if !same {
            return Err(Unusable::Another);
        }
        let before = location.before as usize;
        let content = octets.get(before..).filter(|content| are_whole(content, 0, &described.sums));
        let content = octets.slice_ref(content.ok_or(Unusable::Corrupt)?);
        let birth = self.0.marks.born(described.zone, described.birth).ok_or(Unusable::Another)?;
        let content = if content.len() as u64 == described.length {
            Content::of(&content, self.0.budget.clone())
        } else {
            let on_disk = OnDisk {
                segment: segment.clone(),
                start: u64::from(location.offset) + u64::from(location.before),
                length: described.length,
                sums: described.sums.clone(),
                metrics: self.0.metrics.clone(),
                spoiled: false.into(),
            };
            Content::on_disk(Arc::new(on_disk), self.0.budget.clone())
        };
        let elapsed = elapsed(described.received_at, self.0.clock.now());
        let Described { status, headers, freshness, vary, variant, received_at, tags, length, .. } =
            described;
        Ok(Arc::new(Object {
            status,
            speaks_to_us: headers.contains_key(&TARGETED[0]),
            forms: fill::forms(status, &headers, Some(length)),
            headers,
            freshness: freshness.older_by(elapsed),
            vary,
            variant,
            received: Instant::now(),
            received_at,
            birth,
            tags,
            content,
            heads: Heads::default(),
            failed: 0.into(),
            on_disk: location.segment.saturating_add(1).into(),
        }))
    }
}

/// How much is read first: everything of what comes into memory; of the rest, what comes before the content, and a block.
fn first_read(location: Location) -> usize {
    let content = location.octets - location.before;
    let first = if u64::from(content) <= LOADED_OCTETS_MAX { content as usize } else { BLOCK_OCTETS };
    location.before as usize + first
}

/// By the wall clock, which is all that is left over a restart. One that was put back makes nothing younger than it was.
fn elapsed(since: Timestamp, now: Timestamp) -> std::time::Duration {
    let millis = now.as_millis().saturating_sub(since.as_millis());
    std::time::Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
