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

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use proxima_ledger::{Change, Snapshot};
use proxima_model::{
    DnsName, Entity, Presigned, PresignedContent, PrimarySoa, RecordId, SecondaryZone, Timestamp,
    TransferredRecord, Zone, ZoneId, ZoneName, limits as model_limits,
};
use proxima_transfer::{message::Read, stream::Transfer};

use super::records::{self, Kept};
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
            && kept(&found) == self.kept
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

/// How the records of a zone are kept.
const fn kept(secondary: &SecondaryZone) -> Kept {
    if secondary.presigned.is_some() { Kept::Signed } else { Kept::Ours }
}

/// What of a zone is in the log.
struct Here {
    name: ZoneName,
    soa: Option<PrimarySoa>,
    generation: u32,
    kept: Kept,
    left_out: u32,
    records: HashMap<RecordId, TransferredRecord>,
    /// Whether a transfer under another generation was left behind.
    is_dirty: bool,
}

fn here(snapshot: &Snapshot, zone: ZoneId) -> Result<Here, ApiError> {
    let secondary = snapshot.get::<SecondaryZone>(&zone)?.ok_or_else(gone)?;
    let name = snapshot.get::<Zone>(&zone)?.ok_or_else(gone)?.name;
    let kept = kept(&secondary);
    let SecondaryZone { soa, generation, left_out, .. } = secondary;
    let (mut records, mut is_dirty) = (HashMap::new(), false);
    for found in snapshot.scan::<TransferredRecord>(&[&zone]) {
        let found = found?;
        is_dirty |= found.from > generation || found.until.is_some();
        if found.is_in_force(generation) {
            records.insert(found.record.id, found);
        }
    }
    Ok(Here { name, soa, generation, kept, left_out, records, is_dirty })
}

fn gone() -> ApiError {
    ApiError::new(Code::NoObject, "the zone has been deleted meanwhile")
}

/// What is to be changed.
struct Changed {
    soa: PrimarySoa,
    left_out: u32,
    /// What all of it has because it is signed, if it is kept so.
    signed: Option<PresignedContent>,
    come: Vec<TransferredRecord>,
    gone: Vec<TransferredRecord>,
}

/// What a transfer changes of what is here: pure.
fn compare(zone: ZoneId, here: &Here, transfer: Transfer, now: Timestamp) -> Result<Changed, String> {
    let ours = |read: &Read| records::ours(zone, read, here.kept, here.generation, now);
    type There = BTreeMap<RecordId, Option<TransferredRecord>>;
    // Whether it is one that somebody can have here.
    let take = |there: &mut There, read: &Read| {
        let id = records::id(read, here.kept);
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
                    if there.remove(&records::id(read, here.kept)).is_some() {
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
    let all = there.iter().filter_map(|(id, come)| come.as_ref().or_else(|| here.records.get(id)));
    if let Some(name) = crowded(all.clone()) {
        return Err(format!("{name} has more than {} records", model_limits::RECORDS_PER_NAME_MAX));
    }
    let all = all.map(|found| &found.record);
    let signed = (here.kept == Kept::Signed).then(|| PresignedContent::of(&here.name, all, now));
    let gone =
        here.records.values().filter(|record| !there.contains_key(&record.record.id)).cloned().collect();
    let come = there.into_values().flatten().collect();
    Ok(Changed { soa, left_out, signed, come, gone })
}

/// A name that has more records than a name may have.
fn crowded<'r>(records: impl Iterator<Item = &'r TransferredRecord>) -> Option<&'r DnsName> {
    let mut counts: HashMap<&DnsName, usize> = HashMap::new();
    records.map(|record| &record.record.name).find(|name| {
        let count = counts.entry(name).or_default();
        *count += 1;
        *count > model_limits::RECORDS_PER_NAME_MAX
    })
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
        clean(api, author, zone, expected.staging).await?;
        found = read().await?;
    }
    if (&found.soa, found.generation, found.kept) != (&expected.soa, generation, kept) {
        return Err(NotApplied::Overtaken);
    }
    let now = api.now();
    let compared = crate::api::blocking(move || Ok(compare(zone, &found, transfer, now)));
    let Changed { soa, left_out, signed, come, gone } = compared.await?.map_err(NotApplied::Unfit)?;
    let came = Came { soa, left_out, signed, forced: began.forced };
    let count = come.len() + gone.len();
    let octets: usize = come.iter().map(octets).sum();
    let is_small = count <= limits::TRANSFER_CHANGES_AT_ONCE && octets <= limits::TRANSFER_OCTETS_AT_ONCE;
    if is_small {
        let put = move |draft: &mut Draft<'_>, former| {
            put_in_force(draft, former, generation, &came)?;
            come.iter().for_each(|record| draft.put(record));
            gone.iter().for_each(|record| draft.change(Change::Delete { key: record.key() }));
            Ok(())
        };
        write(api, author, &expected, put).await?;
        return Ok(count);
    }
    if expected.staging.is_none() {
        stage(api, author, &mut expected).await?;
    }
    let next = generation.wrapping_add(1);
    let staged = come.into_iter().map(|record| TransferredRecord { from: next, ..record });
    let ending = gone.into_iter().map(|record| TransferredRecord { until: Some(next), ..record });
    let mut left: Vec<TransferredRecord> = staged.chain(ending).collect();
    while !left.is_empty() {
        let batch = batch(&mut left);
        let put = move |draft: &mut Draft<'_>, _| {
            batch.iter().for_each(|record| draft.put(record));
            Ok(())
        };
        write(api, author, &expected, put).await?;
    }
    let put = move |draft: &mut Draft<'_>, former| put_in_force(draft, former, next, &came);
    write(api, author, &expected, put).await?;
    clean(api, author, zone, None).await?;
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

/// What a zone becomes beside its records.
struct Came {
    soa: PrimarySoa,
    left_out: u32,
    signed: Option<PresignedContent>,
    forced: Option<Timestamp>,
}

fn put_in_force(
    draft: &mut Draft<'_>,
    former: SecondaryZone,
    generation: u32,
    came: &Came,
) -> Result<(), ApiError> {
    let mut zone = draft.read::<Zone>(&former.zone)?.ok_or_else(gone)?;
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
        staging: None,
        presigned: former
            .presigned
            .clone()
            .map(|presigned| Presigned { came: came.signed.clone(), ..presigned }),
        ..former
    });
    Ok(())
}

/// Takes away what is not in force: of a generation that has passed, or of a transfer that was broken off. Only while the one
/// that stages is this, or none: what another one stages is not in force yet.
async fn clean(api: &Arc<Api>, author: &Author, zone: ZoneId, staging: Option<u64>) -> Result<(), ApiError> {
    loop {
        let written = api.write(author, move |draft| {
            let secondary = draft.read::<SecondaryZone>(&zone)?.ok_or_else(gone)?;
            let mut count = 0;
            if secondary.staging != staging {
                return Ok(count);
            }
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
            .filter_map(|read| records::ours(ZONE, read, Kept::Ours, 2, Timestamp::default()))
            .collect::<Vec<_>>();
        let records = ours.into_iter().map(|record| (record.record.id, record)).collect();
        let name = ZoneName::parse("example.com").unwrap();
        Here { name, soa: None, generation: 2, kept: Kept::Ours, left_out, records, is_dirty: false }
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

    #[test]
    fn a_name_has_so_many_records_and_no_more_whichever_way_they_come() {
        const MAX: u16 = 4_096;
        let texts = |numbers: std::ops::Range<u16>| -> Vec<Read> {
            // Of two types, which share what a name may have.
            let one = |number: u16| Read {
                rtype: if number.is_multiple_of(2) { 16 } else { 65_280 },
                data: [&[2], &number.to_be_bytes()[..]].concat(),
                ..read("a")
            };
            numbers.map(one).collect()
        };
        let with = |reads: Vec<Read>| {
            let ours = |read| records::ours(ZONE, read, Kept::Ours, 2, Timestamp::default());
            let records = reads.iter().filter_map(ours).map(|record| (record.record.id, record)).collect();
            Here { records, ..here("", 0) }
        };
        let compared = |here: &Here, transfer| {
            let changed = compare(ZONE, here, transfer, Timestamp::default());
            changed.map(|changed| (changed.come.len(), changed.gone.len()))
        };
        let too_many = Err("a.example.com has more than 4096 records".to_owned());
        let (empty, full) = (with(Vec::new()), with(texts(0..MAX)));
        let others: Vec<Read> = (0..MAX).map(|number| read(&format!("b{number}"))).collect();
        let whole = |range| Transfer::Whole(soa(), [texts(range), others.clone()].concat());
        assert_eq!(compared(&empty, whole(0..MAX)), Ok((2 * usize::from(MAX), 0)));
        assert_eq!(compared(&empty, whole(0..MAX + 1)), too_many);
        let step = |gone, come| Transfer::Differences(soa(), vec![Difference { gone, come }]);
        assert_eq!(compared(&full, step(Vec::new(), texts(MAX..MAX + 1))), too_many);
        assert_eq!(compared(&full, step(texts(0..1), texts(MAX..MAX + 1))), Ok((1, 1)));
    }
}
