//! Putting what came into the log: in one append where one holds it, else under the next generation.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use proxima_ledger::{Change, Snapshot};
use proxima_model::{
    Entity, PrimarySoa, RecordId, SecondaryZone, Timestamp, TransferredRecord, Zone, ZoneId,
    limits as model_limits,
};
use proxima_transfer::{message::Read, stream::Transfer};

use super::records;
use crate::{
    api::{
        Api,
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
    /// The log or the replica.
    Failed(ApiError),
}

impl From<ApiError> for NotApplied {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

/// What of a zone is in the log.
struct Here {
    generation: u32,
    left_out: u32,
    records: HashMap<RecordId, TransferredRecord>,
    /// Whether a transfer under another generation was left behind.
    is_dirty: bool,
}

fn here(snapshot: &Snapshot, zone: ZoneId) -> Result<Here, ApiError> {
    let secondary = snapshot.get::<SecondaryZone>(&zone)?.ok_or_else(gone)?;
    let (generation, left_out) = (secondary.generation, secondary.left_out);
    let (mut records, mut is_dirty) = (HashMap::new(), false);
    for found in snapshot.scan::<TransferredRecord>(&[&zone]) {
        let found = found?;
        is_dirty |= found.from > generation || found.until.is_some();
        if found.is_in_force(generation) {
            records.insert(found.record.id, found);
        }
    }
    Ok(Here { generation, left_out, records, is_dirty })
}

fn gone() -> ApiError {
    ApiError::new(Code::NoObject, "the zone has been deleted meanwhile")
}

/// What is to be changed.
struct Changed {
    soa: PrimarySoa,
    left_out: u32,
    come: Vec<TransferredRecord>,
    gone: Vec<TransferredRecord>,
}

/// What a transfer changes of what is here: pure.
fn compare(zone: ZoneId, here: &Here, transfer: Transfer, now: Timestamp) -> Result<Changed, String> {
    let ours = |read: &Read| records::ours(zone, read, here.generation, now);
    type There = BTreeMap<RecordId, Option<TransferredRecord>>;
    // Whether it is one that somebody can have here.
    let take = |there: &mut There, read: &Read| {
        let id = records::id(read);
        let new = if here.records.contains_key(&id) { None } else { Some(ours(read)) };
        let can_be = !matches!(new, Some(None));
        if can_be {
            there.insert(id, new.flatten());
        }
        can_be
    };
    let (soa, left_out, there) = match transfer {
        Transfer::Nothing => return Err("nothing came".to_owned()),
        Transfer::Whole(soa, whole) => {
            let (mut left_out, mut there) = (0, There::new());
            for read in &whole {
                left_out += u32::from(!take(&mut there, read));
            }
            (soa, left_out, there)
        }
        Transfer::Differences(soa, steps) => {
            let mut left_out = i64::from(here.left_out);
            let mut there: There = here.records.keys().map(|id| (*id, None)).collect();
            for step in &steps {
                for read in &step.gone {
                    if there.remove(&records::id(read)).is_some() {
                        continue;
                    }
                    if ours(read).is_some() {
                        return Err("a record that is to go is not here".to_owned());
                    }
                    left_out -= 1;
                }
                for read in &step.come {
                    left_out += i64::from(!take(&mut there, read));
                }
            }
            (soa, u32::try_from(left_out.max(0)).unwrap_or(u32::MAX), there)
        }
    };
    if there.len() > model_limits::RECORDS_PER_ZONE_MAX {
        return Err(format!("the zone has more than {} records", model_limits::RECORDS_PER_ZONE_MAX));
    }
    let gone =
        here.records.values().filter(|record| !there.contains_key(&record.record.id)).cloned().collect();
    let come = there.into_values().flatten().collect();
    Ok(Changed { soa, left_out, come, gone })
}

/// Applies a transfer, which fulfils its owner's wish if that is given; how many records it changed.
pub(super) async fn apply(
    api: &Arc<Api>,
    author: &Author,
    (zone, forced): (ZoneId, Option<Timestamp>),
    transfer: Transfer,
) -> Result<usize, NotApplied> {
    let mut found = api.read(move |snapshot| here(snapshot, zone)).await?;
    if found.is_dirty {
        clean(api, author, zone).await?;
        found = api.read(move |snapshot| here(snapshot, zone)).await?;
    }
    let (generation, now) = (found.generation, api.now());
    let compared = crate::api::blocking(move || Ok(compare(zone, &found, transfer, now)));
    let Changed { soa, left_out, come, gone } = compared.await?.map_err(NotApplied::Unfit)?;
    let came = Came { soa, left_out, forced };
    let count = come.len() + gone.len();
    let octets: usize = come.iter().map(octets).sum();
    let is_small = count <= limits::TRANSFER_CHANGES_AT_ONCE && octets <= limits::TRANSFER_OCTETS_AT_ONCE;
    if is_small {
        let (come, gone) = (Arc::new(come), Arc::new(gone));
        let written = api.write(author, move |draft| {
            put_in_force(draft, zone, (generation, generation), &came)?;
            come.iter().for_each(|record| draft.put(record));
            gone.iter().for_each(|record| draft.change(Change::Delete { key: record.key() }));
            Ok(())
        });
        written.await?;
        return Ok(count);
    }
    let next = generation.wrapping_add(1);
    let staged = come.into_iter().map(|record| TransferredRecord { from: next, ..record });
    let ending = gone.into_iter().map(|record| TransferredRecord { until: Some(next), ..record });
    let mut left: Vec<TransferredRecord> = staged.chain(ending).collect();
    while !left.is_empty() {
        let batch = Arc::new(batch(&mut left));
        let written = api.write(author, move |draft| {
            of_generation(draft, zone, generation)?;
            batch.iter().for_each(|record| draft.put(record));
            Ok(())
        });
        written.await?;
    }
    let written = api.write(author, move |draft| put_in_force(draft, zone, (generation, next), &came));
    written.await?;
    clean(api, author, zone).await?;
    Ok(count)
}

fn octets(record: &TransferredRecord) -> usize {
    // Data lies there in base 16 at the most, and its fields have names.
    400 + 2 * record.record.data.content().len() + record.record.name.as_str().len()
}

/// Takes as many records from the end as go into one append.
fn batch(left: &mut Vec<TransferredRecord>) -> Vec<TransferredRecord> {
    let (mut batch, mut size) = (Vec::new(), 0);
    while let Some(record) = left.pop() {
        size += octets(&record);
        batch.push(record);
        if batch.len() >= limits::TRANSFER_CHANGES_AT_ONCE || size >= limits::TRANSFER_OCTETS_AT_ONCE {
            break;
        }
    }
    batch
}

/// The zone, which nothing else has changed meanwhile.
fn of_generation(draft: &mut Draft<'_>, zone: ZoneId, generation: u32) -> Result<SecondaryZone, ApiError> {
    let secondary = draft.read::<SecondaryZone>(&zone)?.ok_or_else(gone)?;
    if secondary.generation != generation {
        return Err(ApiError::new(Code::Conflict, "another transfer came between"));
    }
    Ok(secondary)
}

/// What a zone becomes beside its records.
struct Came {
    soa: PrimarySoa,
    left_out: u32,
    forced: Option<Timestamp>,
}

fn put_in_force(
    draft: &mut Draft<'_>,
    id: ZoneId,
    (former, generation): (u32, u32),
    came: &Came,
) -> Result<(), ApiError> {
    let secondary = of_generation(draft, id, former)?;
    let mut zone = draft.read::<Zone>(&id)?.ok_or_else(gone)?;
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
        forced_at: came.forced.or(secondary.forced_at),
        ..secondary
    });
    Ok(())
}

/// Takes away what is not in force: of a generation that has passed, or of a transfer that was broken off.
async fn clean(api: &Arc<Api>, author: &Author, zone: ZoneId) -> Result<(), ApiError> {
    loop {
        let written = api.write(author, move |draft| {
            let secondary = draft.read::<SecondaryZone>(&zone)?.ok_or_else(gone)?;
            let mut count = 0;
            for found in draft.snapshot.scan::<TransferredRecord>(&[&zone]) {
                let found = found?;
                if count == limits::TRANSFER_CHANGES_AT_ONCE {
                    break;
                }
                if !found.is_in_force(secondary.generation) {
                    draft.change(Change::Delete { key: found.key() });
                } else if found.until.is_some() {
                    draft.put(&TransferredRecord { until: None, ..found });
                } else {
                    continue;
                }
                count += 1;
            }
            Ok(count)
        });
        if written.await?.answer < limits::TRANSFER_CHANGES_AT_ONCE {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use proxima_transfer::stream::Difference;

    use super::*;

    const ZONE: ZoneId = ZoneId::from_bytes([1; 16]);

    fn read(name: &str) -> Read {
        let owner =
            [&[u8::try_from(name.len()).unwrap()], name.as_bytes(), b"\x07example\x03com\x00"].concat();
        // `x` is of a type that nobody can have here.
        let rtype = if name.starts_with('x') { 39 } else { 16 };
        Read { owner, rtype, class: 1, ttl: 60, data: b"\x01t".to_vec() }
    }

    fn reads(names: &str) -> Vec<Read> {
        names.split_whitespace().map(read).collect()
    }

    fn soa() -> PrimarySoa {
        PrimarySoa {
            ttl: 60,
            data: [&[0, 0][..], &[8_u32, 1, 1, 1, 1].map(u32::to_be_bytes).concat()].concat(),
        }
    }

    fn here(names: &str, left_out: u32) -> Here {
        let ours = reads(names)
            .iter()
            .filter_map(|read| records::ours(ZONE, read, 2, Timestamp::default()))
            .collect::<Vec<_>>();
        let records = ours.into_iter().map(|record| (record.record.id, record)).collect();
        Here { generation: 2, left_out, records, is_dirty: false }
    }

    fn changed(here: &Here, transfer: Transfer) -> Result<(String, String, u32), String> {
        let Changed { come, gone, left_out, .. } = compare(ZONE, here, transfer, Timestamp::default())?;
        let names = |records: &[TransferredRecord]| {
            let mut names: Vec<_> =
                records.iter().map(|record| record.record.name.as_str().split('.').next().unwrap()).collect();
            names.sort_unstable();
            names.join(" ")
        };
        Ok((names(&come), names(&gone), left_out))
    }

    #[test]
    fn only_what_differs_is_changed_whichever_way_it_comes() {
        let whole = |names| Transfer::Whole(soa(), reads(names));
        let steps = |steps: &[(&str, &str)]| {
            let step = |(gone, come): &(&str, &str)| Difference { gone: reads(gone), come: reads(come) };
            Transfer::Differences(soa(), steps.iter().map(step).collect())
        };
        let expect = |come: &str, gone: &str, left_out| Ok((come.to_owned(), gone.to_owned(), left_out));
        let here = here("a b c", 1);
        assert_eq!(changed(&here, whole("a b d x1 x2 d")), expect("d", "c", 2));
        assert_eq!(changed(&here, whole("")), expect("", "a b c", 0));
        assert_eq!(changed(&here, steps(&[("a", "d")])), expect("d", "a", 1));
        // Came and went, went and came again.
        assert_eq!(changed(&here, steps(&[("a", "d"), ("d", "a")])), expect("", "", 1));
        assert_eq!(changed(&here, steps(&[("x1", "x2 x3"), ("", "e")])), expect("e", "", 2));
        assert!(changed(&here, steps(&[("z", "")])).is_err(), "what is not here cannot go");
        assert!(changed(&here, Transfer::Nothing).is_err());
    }
}
