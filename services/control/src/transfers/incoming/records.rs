//! Records of a primary as records of ours: pure.

use proxima_model::{
    DnsName, Record, RecordData, RecordId, RecordType, SecondaryZone, Timestamp, TransferredRecord, Ttl,
    ZoneId, is_of_signing,
};
use proxima_transfer::message::Read;
use sha2::{Digest, Sha256};

/// How a zone is kept that comes from a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transfers) enum Kept {
    /// As its owner could have it here, without what a signed zone has because it is signed: it is answered unsigned, or signed
    /// here.
    Ours,
    /// Octet by octet, with its signatures: they would be good for nothing else.
    Signed,
}

impl Kept {
    /// How the records of a zone are kept.
    pub(super) const fn of(secondary: &SecondaryZone) -> Self {
        if secondary.presigned.is_some() { Self::Signed } else { Self::Ours }
    }
}

/// The record that this is here; `None` if nobody can have it here.
pub(in crate::transfers) fn ours(
    zone: ZoneId,
    read: &Read,
    kept: Kept,
    from: u32,
    now: Timestamp,
) -> Option<TransferredRecord> {
    let name = DnsName::of_wire(&read.owner)?;
    let (data, wire) = match kept {
        Kept::Ours if is_of_signing(read.rtype) => return None,
        Kept::Ours => (RecordData::of_wire(read.rtype, &read.data)?, None),
        Kept::Signed => match RecordData::of_primary(read.rtype, &read.data) {
            Some(data) => (data, None),
            // Case means nothing in the names of the others' data (RFC 4034, 6.2), but in this one's tag.
            None if read.rtype == RecordType::Caa.code() => {
                (RecordData::of_wire(read.rtype, &read.data)?, Some(hex::encode(&read.data)))
            }
            None => (RecordData::of_wire(read.rtype, &read.data)?, None),
        },
    };
    let record = Record {
        id: id(read, kept),
        zone,
        name,
        data,
        ttl: Ttl::transferred(read.ttl),
        proxied: false,
        flatten: false,
        comment: None,
        tags: Vec::new(),
        created_at: now,
        modified_at: now,
    };
    Some(TransferredRecord { record, from, until: None, wire })
}

/// Whether somebody can have it here.
pub(super) fn is_ours(zone: ZoneId, read: &Read, kept: Kept) -> bool {
    ours(zone, read, kept, 0, Timestamp::default()).is_some()
}

/// The id of a record: by what it says, so that the same record is the same whenever and however it comes. One that is kept in
/// another way is another one.
pub(super) fn id(read: &Read, kept: Kept) -> RecordId {
    let mut hash = Sha256::new();
    if kept == Kept::Signed {
        // No name begins so.
        hash.update([u8::MAX]);
    }
    hash.update(&read.owner);
    hash.update(read.rtype.to_be_bytes());
    hash.update(read.ttl.to_be_bytes());
    hash.update(&read.data);
    let digest: [u8; 32] = hash.finalize().into();
    RecordId::from_bytes(*digest.first_chunk().expect("32 octets have a first 16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(owner: &[u8], rtype: u16, ttl: u32, data: &[u8]) -> Read {
        Read { owner: owner.to_vec(), rtype, class: 1, ttl, data: data.to_vec() }
    }

    fn taken(read: &Read) -> Option<String> {
        let made = ours(ZoneId::from_bytes([1; 16]), read, Kept::Ours, 3, Timestamp::default())?;
        let Record { name, data, ttl, .. } = made.record;
        Some(format!("{name} {} {} {}", ttl.wire_seconds(), data.record_type(), data.content()))
    }

    #[test]
    fn a_primarys_record_is_the_same_here() {
        let host = b"\x03www\x07example\x03com\x00";
        for (read, expected) in [
            (read(host, 1, 7, &[192, 0, 2, 1]), "www.example.com 7 A 192.0.2.1"),
            (read(host, 5, 0, b"\x01a\x02Bc\x00"), "www.example.com 0 CNAME a.bc"),
            (read(host, 15, 1, b"\x00\x0a\x01a\x02bc\x00"), "www.example.com 2 MX 10 a.bc"),
            (read(host, 16, 604_800, b"\x01a\x02b\""), "www.example.com 604800 TXT \"a\" \"b\\\"\""),
            (read(host, 65_280, 60, b"\xab"), "www.example.com 60 TYPE65280 \\# 1 ab"),
            (read(host, 65_280, 60, b""), "www.example.com 60 TYPE65280 \\# 0"),
            (
                read(b"\x01*\x03_ab\x03com\x00", 257, 60, b"\x00\x05issueca"),
                "*._ab.com 60 CAA 0 issue \"ca\"",
            ),
        ] {
            assert_eq!(taken(&read).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_text_keeps_its_octets_and_how_they_are_cut() {
        let wire = |data: &[u8]| {
            let read = read(b"\x01a\x03com\x00", 16, 60, data);
            match ours(ZoneId::from_bytes([1; 16]), &read, Kept::Ours, 0, Timestamp::default())?.record.data {
                RecordData::Txt(text) => Some(text.octets().to_vec()),
                other => panic!("{other:?}"),
            }
        };
        let long = [&[255][..], &[b'a'; 255], &[45], &[b'b'; 45]].concat();
        for cut in [&b"\x03abc"[..], &long, b"\x00", b"\x01a\x02bc", b"\x01\xff", b"\x00\x01a"] {
            assert_eq!(wire(cut).as_deref(), Some(cut));
        }
        for none in [&b""[..], b"\x02a", b"\x01a\x02"] {
            assert_eq!(wire(none), None, "{none:?}");
        }
    }

    #[test]
    fn what_nobody_can_have_here_is_left_out() {
        let host = b"\x03www\x07example\x03com\x00";
        for read in [
            read(host, 46, 60, &[0; 30]),
            read(host, 48, 60, &[1, 1, 3, 13, 9]),
            read(host, 10, 60, b"\x01a\x00"),
            read(host, 1, 60, &[192, 0, 2]),
            read(host, 5, 60, b"\x03a.b\x00"),
            read(b"\x03a.b\x03com\x00", 1, 60, &[192, 0, 2, 1]),
            read(b"\x03a b\x03com\x00", 1, 60, &[192, 0, 2, 1]),
            read(b"\x02\xc3\xa4\x03com\x00", 1, 60, &[192, 0, 2, 1]),
        ] {
            assert_eq!(taken(&read), None, "{read:?}");
        }
    }

    #[test]
    fn records_that_differ_in_anything_are_different_records() {
        let first = read(b"\x01a\x00", 1, 60, &[1, 2, 3, 4]);
        let others = [
            read(b"\x01b\x00", 1, 60, &[1, 2, 3, 4]),
            read(b"\x01a\x00", 1, 61, &[1, 2, 3, 4]),
            read(b"\x01a\x00", 1, 60, &[1, 2, 3, 5]),
        ];
        let (id, signed) = (|read: &Read| id(read, Kept::Ours), id(&first, Kept::Signed));
        assert_eq!(id(&first), id(&first.clone()));
        assert!(others.iter().all(|other| id(other) != id(&first)));
        assert_ne!(id(&first), signed);
    }

    #[test]
    fn what_a_primary_signed_is_kept_octet_by_octet() {
        let host = b"\x03www\x07example\x03com\x00";
        let kept = |read: &Read| {
            ours(ZoneId::from_bytes([1; 16]), read, Kept::Signed, 3, Timestamp::default()).map(|made| {
                let wire = made.wire();
                let RecordData::Other(data) = made.record.data else { return wire.unwrap_or_default() };
                assert!(data.record_type().code() == read.rtype && wire.is_none());
                data.octets().to_vec()
            })
        };
        for read in [
            read(host, 46, 60, &[7; 30]),
            read(host, 47, 60, b"\x01A\x00\x00\x01\x40"),
            read(host, 48, 60, &[1, 1, 3, 13, 9]),
            read(host, 63, 60, &[0; 60]),
            // Names whose case is signed, and what no owner could write.
            read(host, 65, 60, b"\x00\x01\x03Web\x00"),
            read(host, 44, 60, &[1, 1, 9]),
            read(host, 257, 60, b"\x00\x05IssueCA"),
        ] {
            assert_eq!(kept(&read).as_deref(), Some(read.data.as_slice()), "{read:?}");
        }
        for read in [read(host, 10, 60, b"\x01a\x00"), read(b"\x03a b\x03com\x00", 46, 60, &[7; 30])] {
            assert_eq!(kept(&read), None, "{read:?}");
        }
    }
}
