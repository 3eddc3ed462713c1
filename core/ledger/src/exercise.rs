//! Reads octets as everything that lies in a store: what fuzz targets call. Nothing here may panic but by what it asserts.

use crate::{
    Seq,
    codec::{decode_entry, encode_entry},
    store::{Head, LogId, Record, Seen, Stored},
    writer::decode_replaced,
};

/// An octet that says as what, then what lies there; with the checksum that it would have, for nobody finds those.
pub fn exercise(octets: &[u8]) {
    let Some((&which, octets)) = octets.split_first() else { return };
    match which % 6 {
        0 => {
            if let Ok(entry) = decode_entry(octets) {
                assert_eq!(encode_entry(&entry), octets);
            }
        }
        1 => {
            for octets in [octets.to_vec(), [octets, &crc32fast::hash(octets).to_be_bytes()].concat()] {
                if let Ok(head) = Head::decode(&octets) {
                    assert_eq!(head.encode(), octets);
                }
            }
        }
        2 => {
            if let Ok(seen) = Seen::decode(octets) {
                assert_eq!(seen.encode(), octets);
            }
        }
        3 => {
            if let Ok(stored) = Stored::decode(b"zone/1", octets) {
                assert_eq!(Stored::encode(b"zone/1", stored.revision, stored.value), octets);
            }
            let kept = Stored::encode(b"zone/1", Seq(7), octets);
            assert!(Stored::decode(b"zone/1", &kept).is_ok_and(|stored| stored.value == octets));
            assert!(Stored::decode(b"zone/2", &kept).is_err());
        }
        4 => {
            let mut kept = [&[0; 4], octets].concat();
            Record::seal(Seq(7), &mut kept);
            if let Ok(record) = Record::decode(Seq(7), &kept) {
                assert_eq!(Record::encode(Seq(7), record.digest, record.entry, record.replaced), kept);
                assert!(Record::decode(Seq(8), &kept).is_err());
            }
        }
        _ => {
            let Some((&changes, octets)) = octets.split_first() else { return };
            if let Ok(replaced) = decode_replaced(octets, changes.into()) {
                assert_eq!(replaced.len(), usize::from(changes));
                assert!(replaced.iter().flatten().map(Vec::len).sum::<usize>() <= octets.len());
            }
            if let Some(log) = str::from_utf8(octets).ok().and_then(LogId::parse) {
                assert_eq!(LogId::parse(&log.to_string()), Some(log));
            }
        }
    }
}
