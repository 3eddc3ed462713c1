//! What a transfer changes of what is here: pure.
//!
//! A zone may have a million records, so of those that are here only what is needed to compare is in memory: ids, which say
//! whether a record is the same, and what bounds count. What comes stays as it was read until it is appended.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher,
};

use proxima_model::{
    DnsName, PrimarySoa, RecordId, SecondaryZone, TransferredRecord, ZoneId, ZoneName,
    limits as model_limits, transferred_octets,
};
use proxima_transfer::{message::Read, stream::Transfer};

use super::records::{self, Kept};

/// A record that is here.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// What its owner is hashed to.
    name: u64,
    octets: usize,
}

/// What of a zone is in the log.
pub(super) struct Here {
    zone: ZoneId,
    /// The zone's name on the wire.
    wire: Vec<u8>,
    pub(super) soa: Option<PrimarySoa>,
    pub(super) generation: u32,
    pub(super) kept: Kept,
    left_out: u32,
    records: HashMap<RecordId, Known>,
    /// Whether a transfer under another generation was left behind.
    pub(super) is_dirty: bool,
    /// With a key of its own, so that nobody finds names that are hashed alike.
    hasher: RandomState,
}

impl Here {
    /// A zone that has no records yet.
    pub(super) fn of(name: &ZoneName, secondary: SecondaryZone) -> Self {
        let kept = Kept::of(&secondary);
        let SecondaryZone { zone, soa, generation, left_out, .. } = secondary;
        Self {
            zone,
            wire: name.wire(),
            soa,
            generation,
            kept,
            left_out,
            records: HashMap::new(),
            is_dirty: false,
            hasher: RandomState::new(),
        }
    }

    /// Takes a record that is in the log.
    pub(super) fn take(&mut self, found: &TransferredRecord) {
        self.is_dirty |= found.from > self.generation || found.until.is_some();
        if found.is_in_force(self.generation) {
            let known = self.known(&found.record.name, found.record.data.wire_octets());
            self.records.insert(found.record.id, known);
        }
    }

    /// What is known of a record of this name, with so many octets of data.
    fn known(&self, name: &DnsName, data_octets: usize) -> Known {
        let octets = transferred_octets(&name.wire(), &self.wire, data_octets);
        Known { name: self.hasher.hash_one(name), octets }
    }
}

/// What is to be changed.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) soa: PrimarySoa,
    pub(super) left_out: u32,
    /// Records that somebody can have here.
    pub(super) come: Vec<Read>,
    /// Records, each with its octets, in the order of their ids.
    pub(super) gone: Vec<(RecordId, usize)>,
}

/// What there is after a transfer: records that come, or are here already.
type There = BTreeMap<RecordId, Option<Read>>;

/// What a transfer changes of what is here.
///
/// # Errors
/// It cannot be a zone here; in words for its owner.
pub(super) fn compare(here: &Here, transfer: Transfer) -> Result<Changed, String> {
    let is_ours = |read: &Read| records::is_ours(here.zone, read, here.kept);
    // Whether it is one that somebody can have here.
    let take = |there: &mut There, read: Read| {
        let id = records::id(&read, here.kept);
        let is_here = here.records.contains_key(&id);
        let can_be = is_here || is_ours(&read);
        if can_be {
            there.insert(id, (!is_here).then_some(read));
        }
        can_be
    };
    let (soa, left_out, there) = match transfer {
        Transfer::Nothing => return Err("nothing came".to_owned()),
        Transfer::Whole(soa, whole) => {
            let (mut left_out, mut there) = (0, There::new());
            for read in whole {
                left_out += u32::from(!take(&mut there, read));
            }
            (soa, left_out, there)
        }
        Transfer::Differences(soa, steps) => {
            let mut left_out = i64::from(here.left_out);
            let mut there: There = here.records.keys().map(|id| (*id, None)).collect();
            for step in steps {
                for read in &step.gone {
                    if there.remove(&records::id(read, here.kept)).is_some() {
                        continue;
                    }
                    if is_ours(read) {
                        return Err("a record that is to go is not here".to_owned());
                    }
                    left_out -= 1;
                }
                for read in step.come {
                    left_out += i64::from(!take(&mut there, read));
                }
            }
            (soa, u32::try_from(left_out.max(0)).unwrap_or(u32::MAX), there)
        }
    };
    fits(here, &there)?;
    let gone = here.records.iter().filter(|(id, _)| !there.contains_key(id));
    let mut gone: Vec<_> = gone.map(|(id, known)| (*id, known.octets)).collect();
    gone.sort_unstable();
    Ok(Changed { soa, left_out, come: there.into_values().flatten().collect(), gone })
}

/// Whether a zone, and each of its names, has no more than it may have.
fn fits(here: &Here, there: &There) -> Result<(), String> {
    if there.len() > model_limits::TRANSFERRED_RECORDS_PER_ZONE_MAX {
        return Err(format!(
            "the zone has more than {} records",
            model_limits::TRANSFERRED_RECORDS_PER_ZONE_MAX
        ));
    }
    let (mut octets, mut counts) = (0, HashMap::<u64, usize>::new());
    for (id, come) in there {
        let known = match come {
            Some(read) => DnsName::of_wire(&read.owner).map(|name| here.known(&name, read.data.len())),
            None => here.records.get(id).copied(),
        };
        let Some(known) = known else { continue };
        octets += known.octets;
        let count = counts.entry(known.name).or_default();
        *count += 1;
        if *count > model_limits::RECORDS_PER_NAME_MAX {
            // Before it came there were not too many: one of them comes.
            let mut coming = there.values().flatten().filter_map(|read| DnsName::of_wire(&read.owner));
            let crowded = coming.find(|name| here.hasher.hash_one(name) == known.name);
            let crowded = crowded.map_or_else(|| "a name".to_owned(), |name| name.to_string());
            return Err(format!("{crowded} has more than {} records", model_limits::RECORDS_PER_NAME_MAX));
        }
    }
    if octets > model_limits::TRANSFERRED_OCTETS_PER_ZONE_MAX {
        return Err(format!(
            "the zone has more than {} octets of records and names",
            model_limits::TRANSFERRED_OCTETS_PER_ZONE_MAX
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proxima_model::Timestamp;
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
        with(&reads(names), left_out)
    }

    fn with(reads: &[Read], left_out: u32) -> Here {
        let secondary = SecondaryZone { generation: 2, left_out, ..SecondaryZone::new(ZONE) };
        let mut here = Here::of(&ZoneName::parse("example.com").unwrap(), secondary);
        let ours = |read| records::ours(ZONE, read, Kept::Ours, 2, Timestamp::default());
        reads.iter().filter_map(ours).for_each(|record| here.take(&record));
        here
    }

    fn changed(here: &Here, transfer: Transfer) -> Result<(String, String, u32), String> {
        let Changed { come, gone, left_out, .. } = compare(here, transfer)?;
        let names = |names: Vec<String>| {
            let mut names = names;
            names.sort_unstable();
            names.join(" ")
        };
        let come = come.iter().map(|read| char::from(read.owner[1]).to_string()).collect();
        // Those of the alphabet that are gone.
        let letters = ('a'..='z').map(String::from);
        let id = |name: &str| records::id(&read(name), Kept::Ours);
        let is_gone = |name: &String| gone.iter().any(|(gone, _)| *gone == id(name));
        Ok((names(come), names(letters.filter(is_gone).collect()), left_out))
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
        let compared = |here: &Here, transfer| {
            compare(here, transfer).map(|changed| (changed.come.len(), changed.gone.len()))
        };
        let too_many = Err("a.example.com has more than 4096 records".to_owned());
        let (empty, full) = (with(&[], 0), with(&texts(0..MAX), 0));
        let others: Vec<Read> = (0..MAX).map(|number| read(&format!("b{number}"))).collect();
        let whole = |range| Transfer::Whole(soa(), [texts(range), others.clone()].concat());
        assert_eq!(compared(&empty, whole(0..MAX)), Ok((2 * usize::from(MAX), 0)));
        assert_eq!(compared(&empty, whole(0..MAX + 1)), too_many);
        let step = |gone, come| Transfer::Differences(soa(), vec![Difference { gone, come }]);
        assert_eq!(compared(&full, step(Vec::new(), texts(MAX..MAX + 1))), too_many);
        assert_eq!(compared(&full, step(texts(0..1), texts(MAX..MAX + 1))), Ok((1, 1)));
    }

    #[test]
    fn a_zone_has_so_many_octets_and_no_more_also_of_names_that_messages_abbreviate() {
        // Names of 121 labels have as many ancestors of their own.
        let deep = |number: u16| {
            let first = number.to_be_bytes().map(|octet| [b'a' + octet / 16, b'a' + octet % 16]).concat();
            let owner = [&[4][..], &first, &b"\x01a".repeat(118), b"\x07example\x03com\x00"].concat();
            Read { owner, ..read("a") }
        };
        let each = transferred_octets(&deep(0).owner, b"\x07example\x03com\x00", 2);
        assert!(each > 18_000, "{each}");
        let most = u16::try_from(model_limits::TRANSFERRED_OCTETS_PER_ZONE_MAX / each).unwrap();
        let whole = |count| Transfer::Whole(soa(), (0..count).map(deep).collect());
        assert!(compare(&with(&[], 0), whole(most)).is_ok());
        let refused = compare(&with(&[], 0), whole(most + 1)).map(|changed| changed.come.len());
        let why = "the zone has more than 268435456 octets of records and names".to_owned();
        assert_eq!(refused, Err(why.clone()));
        // Also with what is here already.
        let here = with(&(0..most).map(deep).collect::<Vec<_>>(), 0);
        let step = Difference { gone: Vec::new(), come: vec![deep(most)] };
        let refused =
            compare(&here, Transfer::Differences(soa(), vec![step])).map(|changed| changed.come.len());
        assert_eq!(refused, Err(why));
    }
}
