//! Putting what came into the log: in one append where one holds it, else under the next generation.
//!
//! ```text
//!  transfer, and the SOA record that it began from ─▶ compare ─▶ small: one append ─────────────────────────┐
//!                                     │                                                                     ▼
//!                                     └▶ large: staging = a number of its own ─▶ records, in batches ─▶ in force ─▶ clean
//! ```
//!
//! While one process takes over from another, both may take the same zone. So each append requires that nothing came between:
//! the SOA record and the generation are those that the transfer began from, and, if it stages, that no other does. Who finds
//! it otherwise is [overtaken](NotApplied::Overtaken) and fetches again; what it staged is taken away by who came after.
//!
//! A zone is [staged](SecondaryZone::staging) from before the first record that is not in force until the last one has gone: what
//! is broken off in between is known by that, and taken away by upkeep ([`sweep`]) or by the next transfer, whichever is first.

use std::{ops::Range, sync::Arc};

use proxima_ledger::Snapshot;
use proxima_model::{
    Presigned, PresignedContent, PrimarySoa, RecordId, SecondaryZone, Timestamp, TransferredRecord, Zone,
    ZoneId,
};
use proxima_transfer::{message::Read, presigned, stream::Transfer};

use super::{
    super::outgoing,
    compare::{Changed, Here, compare},
    records::{self, Kept},
};
use crate::{
    api::{
        Api, blocking,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    limits,
};

/// Why nothing was applied.
#[derive(Debug)]
pub(super) enum NotApplied {
    /// What came cannot be a zone here; in words for its owner.
    Unfit(String),
    /// The zone is no longer what the transfer began from: another one came between.
    Overtaken,
    /// The log or the replica.
    Failed(ApiError),
}

impl From<ApiError> for NotApplied {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

/// What a transfer is of, and what it began from.
#[derive(Clone, Debug)]
pub(super) struct Began {
    pub(super) zone: ZoneId,
    /// The SOA record that was in force.
    pub(super) soa: Option<PrimarySoa>,
    /// Its owner's wish that it fulfils.
    pub(super) forced: Option<Timestamp>,
}

/// What must still be so for it to change anything.
#[derive(Clone, Debug)]
struct Expected {
    zone: ZoneId,
    soa: Option<PrimarySoa>,
    generation: u32,
    /// How its records are kept.
    kept: Kept,
    /// Its number, if it stages.
    staging: Option<u64>,
}

impl Expected {
    /// The zone, if it is. Nothing changes it before what is decided by that is appended.
    fn read(&self, draft: &mut Draft<'_>) -> Result<Option<SecondaryZone>, ApiError> {
        let found = draft.read::<SecondaryZone>(&self.zone)?.ok_or_else(gone)?;
        let is_so = found.generation == self.generation
            && found.soa == self.soa
            && Kept::of(&found) == self.kept
            && (self.staging.is_none() || found.staging == self.staging);
        Ok(is_so.then_some(found))
    }
}

/// Appends what a transfer changes, if what it expects is so.
async fn write(
    api: &Arc<Api>,
    author: &Author,
    expected: &Expected,
    change: impl Fn(&mut Draft<'_>, SecondaryZone) -> Result<(), ApiError> + Send + Sync + 'static,
) -> Result<(), NotApplied> {
    let expected = expected.clone();
    let written = api.write(author, move |draft| match expected.read(draft)? {
        Some(found) => change(draft, found).map(|()| true),
        None => Ok(false),
    });
    if written.await?.answer { Ok(()) } else { Err(NotApplied::Overtaken) }
}

fn here(snapshot: &Snapshot, zone: ZoneId) -> Result<Here, ApiError> {
    let secondary = snapshot.get::<SecondaryZone>(&zone)?.ok_or_else(gone)?;
    let name = snapshot.get::<Zone>(&zone)?.ok_or_else(gone)?.name;
    let mut here = Here::of(&name, secondary);
    for found in snapshot.scan::<TransferredRecord>(&[&zone]) {
        here.take(&found?);
    }
    Ok(here)
}

fn gone() -> ApiError {
    ApiError::new(Code::NoObject, "the zone has been deleted meanwhile")
}

/// What all of a zone has because its primary signed it, when that has come and gone.
fn signed(
    snapshot: &Snapshot,
    (zone, generation): (ZoneId, u32),
    (come, gone): (&[Read], &[(RecordId, usize)]),
    now: Timestamp,
) -> Result<PresignedContent, ApiError> {
    let name = snapshot.get::<Zone>(&zone)?.ok_or_else(self::gone)?.name;
    let stays = |found: &TransferredRecord| {
        found.is_in_force(generation) && gone.binary_search_by_key(&found.record.id, |(id, _)| *id).is_err()
    };
    let come = come.iter().filter_map(|read| records::ours(zone, read, Kept::Signed, generation, now));
    let mut failed = None;
    let here = snapshot.scan::<TransferredRecord>(&[&zone]);
    let here = here.map_while(|found| found.map_err(|error| failed = Some(error)).ok()).filter(stays);
    let content = presigned::judge(&name, here.chain(come).map(|found| found.record), now);
    failed.map_or(Ok(content), |error| Err(error.into()))
}

/// Applies a transfer; how many records it changed.
pub(super) async fn apply(
    api: &Arc<Api>,
    author: &Author,
    began: Began,
    transfer: Transfer,
) -> Result<usize, NotApplied> {
    let zone = began.zone;
    let read = || api.read(move |snapshot| here(snapshot, zone));
    let mut found = read().await?;
    let (generation, kept) = (found.generation, found.kept);
    let mut expected = Expected { zone, soa: began.soa, generation, kept, staging: None };
    if found.is_dirty {
        // Whoever left that may still be at it: it is not from now on.
        stage(api, author, &mut expected).await?;
        clean(api, author, (zone, expected.staging), Then::GoesOn).await?;
        found = read().await?;
    }
    if (&found.soa, found.generation, found.kept) != (&expected.soa, generation, kept) {
        return Err(NotApplied::Overtaken);
    }
    let now = api.now();
    let compared = blocking(move || Ok(compare(&found, transfer))).await?;
    let Changed { soa, left_out, come, gone } = compared.map_err(NotApplied::Unfit)?;
    let (come, gone) = (Arc::<[Read]>::from(come), Arc::<[_]>::from(gone));
    let signed = match kept {
        Kept::Ours => None,
        Kept::Signed => {
            let (come, gone) = (come.clone(), gone.clone());
            let read = move |snapshot: &Snapshot| signed(snapshot, (zone, generation), (&come, &gone), now);
            // Of a million records it is as much as a large export.
            Some(api.read_much(read).await?)
        }
    };
    let came = Came { soa, left_out, signed, forced: began.forced };
    let count = come.len() + gone.len();
    let is_small = count <= limits::TRANSFER_CHANGES_AT_ONCE && batches(come.iter().map(octets)).len() <= 1;
    let ours = move |read: &Read, from| records::ours(zone, read, kept, from, now);
    if is_small {
        let put = move |draft: &mut Draft<'_>, former| {
            put_in_force(draft, former, (generation, None), &came)?;
            come.iter().filter_map(|read| ours(read, generation)).for_each(|record| draft.put(&record));
            gone.iter().for_each(|(id, _)| draft.delete::<TransferredRecord>(&(zone, *id)));
            Ok(())
        };
        write(api, author, &expected, put).await?;
        return Ok(count);
    }
    if expected.staging.is_none() {
        stage(api, author, &mut expected).await?;
    }
    let next = generation.wrapping_add(1);
    for batch in batches(come.iter().map(octets)) {
        let come = come.clone();
        let put = move |draft: &mut Draft<'_>, _| {
            let staged = come[batch.clone()].iter().filter_map(|read| ours(read, next));
            staged.for_each(|record| draft.put(&record));
            Ok(())
        };
        write(api, author, &expected, put).await?;
    }
    for batch in batches(gone.iter().map(|(_, octets)| appended(*octets))) {
        let gone = gone.clone();
        let put = move |draft: &mut Draft<'_>, _| {
            for (id, _) in &gone[batch.clone()] {
                if let Some(record) = draft.snapshot.get::<TransferredRecord>(&(zone, *id))? {
                    draft.put(&TransferredRecord { until: Some(next), ..record });
                }
            }
            Ok(())
        };
        write(api, author, &expected, put).await?;
    }
    let staging = expected.staging;
    let put = move |draft: &mut Draft<'_>, former| put_in_force(draft, former, (next, staging), &came);
    write(api, author, &expected, put).await?;
    // It has come, whatever becomes of what is not in force any more: upkeep sees to that.
    if let Err(error) = clean(api, author, (zone, staging), Then::Ends).await {
        tracing::warn!(%zone, %error, "what a zone had before it came anew is not all taken away");
    }
    Ok(count)
}

/// Makes a transfer the one that stages: another that does is overtaken by that.
async fn stage(api: &Arc<Api>, author: &Author, expected: &mut Expected) -> Result<(), NotApplied> {
    let number = rand::random();
    let put = move |draft: &mut Draft<'_>, former| {
        draft.put(&SecondaryZone { staging: Some(number), ..former });
        Ok(())
    };
    write(api, author, expected, put).await?;
    expected.staging = Some(number);
    Ok(())
}

/// Takes away what a transfer of a zone left that was broken off, if one did, and has that one overtaken.
pub(super) async fn sweep(api: &Arc<Api>, author: &Author, zone: ZoneId) -> Result<bool, NotApplied> {
    let found = api.read(move |snapshot| Ok(snapshot.get::<SecondaryZone>(&zone)?)).await?;
    let Some(found) = found.filter(|found| found.staging.is_some()) else { return Ok(false) };
    let kept = Kept::of(&found);
    let mut expected = Expected { zone, soa: found.soa, generation: found.generation, kept, staging: None };
    stage(api, author, &mut expected).await?;
    clean(api, author, (zone, expected.staging), Then::Ends).await?;
    Ok(true)
}

/// Octets that a record takes in an append.
fn octets(read: &Read) -> usize {
    appended(read.owner.len() + read.data.len())
}

/// Octets that one of this length on the wire takes: its fields have names, and an octet of text may need as many as eight.
const fn appended(octets: usize) -> usize {
    400 + 8 * octets
}

/// Which records go into one append each.
fn batches(octets: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut size = 0;
    for (number, octets) in octets.enumerate() {
        match batches.last_mut() {
            Some(batch)
                if batch.len() < limits::TRANSFER_CHANGES_AT_ONCE
                    && size < limits::TRANSFER_OCTETS_AT_ONCE =>
            {
                batch.end = number + 1;
                size += octets;
            }
            _ => {
                batches.push(number..number + 1);
                size = octets;
            }
        }
    }
    batches
}

/// What a zone becomes beside its records.
struct Came {
    soa: PrimarySoa,
    left_out: u32,
    signed: Option<PresignedContent>,
    forced: Option<Timestamp>,
}

/// What came is served from now on, as this generation; `staging` is the number of who has yet to take away what is not any more.
fn put_in_force(
    draft: &mut Draft<'_>,
    former: SecondaryZone,
    (generation, staging): (u32, Option<u64>),
    came: &Came,
) -> Result<(), ApiError> {
    let mut zone = draft.read::<Zone>(&former.zone)?.ok_or_else(gone)?;
    // What its owner had fetched anew may be something else under the same serial.
    if former.soa.as_ref().is_some_and(|soa| soa.serial() == came.soa.serial()) {
        outgoing::tell_peers(draft, former.zone)?;
    }
    zone.serial = came.soa.serial();
    zone.modified_at = draft.now;
    draft.put(&zone);
    draft.put(&SecondaryZone {
        soa: Some(came.soa.clone()),
        generation,
        left_out: came.left_out,
        checked_at: Some(draft.now),
        transferred_at: Some(draft.now),
        failure: None,
        expired: false,
        forced_at: came.forced.or(former.forced_at),
        staging,
        presigned: former
            .presigned
            .clone()
            .map(|presigned| Presigned { came: came.signed.clone(), ..presigned }),
        ..former
    });
    Ok(())
}

/// What comes after what is not in force is taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The one that stages goes on.
    GoesOn,
    /// Nobody stages any more.
    Ends,
}

/// Takes away what is not in force: of a generation that has passed, or of a transfer that was broken off. Only while the one
/// that stages is this: what another one stages is not in force yet. Each append goes on where the former one ended.
async fn clean(
    api: &Arc<Api>,
    author: &Author,
    (zone, staging): (ZoneId, Option<u64>),
    then: Then,
) -> Result<(), ApiError> {
    let mut last = None;
    loop {
        let written = api.write(author, move |draft| {
            let secondary = draft.read::<SecondaryZone>(&zone)?.ok_or_else(gone)?;
            if secondary.staging != staging {
                return Ok(None);
            }
            let (mut count, mut octets, after) = (0, 0, last.map(|last| (zone, last)));
            for found in draft.snapshot.scan_after::<TransferredRecord>(&[&zone], after.as_ref()) {
                let found = found?;
                let id = found.record.id;
                if !found.is_in_force(secondary.generation) {
                    draft.delete::<TransferredRecord>(&(zone, id));
                } else if found.until.is_some() {
                    octets += appended(found.record.name.as_str().len() + found.record.data.wire_octets());
                    draft.put(&TransferredRecord { until: None, ..found });
                } else {
                    continue;
                }
                count += 1;
                if count == limits::TRANSFER_CHANGES_AT_ONCE || octets >= limits::TRANSFER_OCTETS_AT_ONCE {
                    return Ok(Some(id));
                }
            }
            if then == Then::Ends {
                draft.put(&SecondaryZone { staging: None, ..secondary });
            }
            Ok(None)
        });
        last = written.await?.answer;
        if last.is_none() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_by_what_is_in_them() {
        let at_once = limits::TRANSFER_CHANGES_AT_ONCE;
        assert!(batches(std::iter::empty()).is_empty());
        assert_eq!(batches(std::iter::repeat_n(1, at_once)), std::slice::from_ref(&(0..at_once)));
        assert_eq!(batches(std::iter::repeat_n(1, at_once + 2)), [0..at_once, at_once..at_once + 2]);
        let half = limits::TRANSFER_OCTETS_AT_ONCE / 2;
        assert_eq!(batches([half, half, 1, 2 * half, 1].into_iter()), [0..2, 2..4, 4..5]);
    }
}
