//! Names and records in DNS messages: a name is within the bounds of names, in lower case and without pointers; a record's
//! data, written out, has nothing left to write out.

use proxima_wire::{
    HEADER_OCTETS, LENGTH_OCTETS, MESSAGE_OCTETS_MAX,
    name::{self, NAME_OCTETS_MAX},
    record::{RecordAt, counts, record_at},
};

/// The target.
pub fn run(octets: &[u8]) {
    let Some((place, message)) = octets.split_first_chunk::<2>() else { return };
    let at = usize::from(u16::from_be_bytes(*place)) % (message.len() + 1);
    assert_eq!(counts(message).is_ok(), message.len() >= HEADER_OCTETS);
    if let Ok((read, end)) = name::read(message, at) {
        assert!(end > at && end <= message.len());
        assert!(read.len() <= NAME_OCTETS_MAX && read.last() == Some(&0));
        assert!(!read.iter().any(u8::is_ascii_uppercase));
        assert!(name::is_within(&read, &read) && name::is_within(&read, b"\0"));
        assert_eq!(name::read(&read, 0), Ok((read.clone(), read.len())));
    }
    if let Ok(record) = record_at(message, at) {
        assert!(at < record.data && record.data <= record.end && record.end <= message.len());
        let Ok(data) = record.written_out(message) else { return };
        if let Some((again, written)) = alone(&record, &data) {
            assert_eq!(
                (again.rtype, again.class, again.seconds()),
                (record.rtype, record.class, record.seconds())
            );
            assert_eq!((&again.owner, again.written_out(&written)), (&record.owner, Ok(data)));
        }
    }
}

/// A message of a record with this data and nothing else; none if it would be too long.
fn alone(record: &RecordAt, data: &[u8]) -> Option<(RecordAt, Vec<u8>)> {
    let length = u16::try_from(data.len()).ok()?;
    let numbers = [record.rtype.to_be_bytes(), record.class.to_be_bytes()].concat();
    let fixed = [&record.owner[..], &numbers, &record.ttl.to_be_bytes(), &length.to_be_bytes()].concat();
    let message = [&[0; HEADER_OCTETS][..], &fixed, data].concat();
    (message.len() + LENGTH_OCTETS <= MESSAGE_OCTETS_MAX)
        .then(|| (record_at(&message, HEADER_OCTETS).expect("it was read before"), message))
}
