//! Streams as they should be, and as they should not.

use proptest::prelude::*;

use super::*;

const ZONE: &[u8] = b"\x07example\x03com\x00";
const BOUNDS: Bounds = Bounds { records: 50, octets: 10_000 };

/// A record: `S7` is the SOA record of serial 7, any other letters a TXT record of that name.
fn record(text: &str) -> Vec<u8> {
    let (owner, rtype, data) = match text.strip_prefix('S') {
        Some(serial) => {
            let numbers = [serial.parse().unwrap(), 1_u32, 2, 3, 4];
            (ZONE.to_vec(), 6, [&[0, 0][..], &numbers.map(u32::to_be_bytes).concat()].concat())
        }
        None => {
            ([&[u8::try_from(text.len()).unwrap()], text.as_bytes(), ZONE].concat(), 16, b"\x01x".to_vec())
        }
    };
    let numbers = [rtype, 1, 0, 60, u16::try_from(data.len()).unwrap()].map(u16::to_be_bytes).concat();
    [owner, numbers, data].concat()
}

fn messages(text: &str) -> Vec<Vec<u8>> {
    let message = |part: &str| {
        let records: Vec<_> = part.split_whitespace().map(record).collect();
        let mut message = message::question(9, flag::QR, ZONE, rtype::AXFR);
        message[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        message.extend(records.concat());
        message
    };
    text.split('|').map(message).collect()
}

fn take(since: Option<u32>, text: &str) -> Result<String, StreamError> {
    let mut incoming = Incoming::new(ZONE.to_vec(), 9, since, BOUNDS);
    for message in messages(text) {
        if incoming.take(&message)? {
            break;
        }
    }
    let names = |records: &[Read]| {
        let name =
            |read: &Read| String::from_utf8_lossy(&read.owner[1..=usize::from(read.owner[0])]).into_owned();
        records.iter().map(name).collect::<Vec<_>>().join(" ")
    };
    Ok(match incoming.finish()? {
        Transfer::Nothing => "nothing".to_owned(),
        Transfer::Whole(soa, records) => format!("{}: {}", soa.serial(), names(&records)),
        Transfer::Differences(soa, steps) => {
            let steps = steps.iter().map(|step| format!("-[{}] +[{}]", names(&step.gone), names(&step.come)));
            format!("{}: {}", soa.serial(), steps.collect::<Vec<_>>().join(" "))
        }
    })
}

#[test]
fn streams_as_the_rfcs_have_them_are_taken() {
    for (since, stream, expected) in [
        (None, "S7 a b S7", "7: a b"),
        (None, "S7|a|b|S7", "7: a b"),
        (None, "S7 S7", "7: "),
        (Some(6), "S7 a b S7", "7: a b"),
        (Some(7), "S7", "nothing"),
        (Some(8), "S7", "nothing"),
        (Some(6), "S7 S6 a S7 b S7", "7: -[a] +[b]"),
        (Some(5), "S7 S5 a|b S6 S6|S7 c S7", "7: -[a b] +[] -[] +[c]"),
        (Some(5), "S7 S5 S7 S7", "7: -[] +[]"),
        (Some(u32::MAX), "S3 S4294967295 a S3 b S3", "3: -[a] +[b]"),
        (Some(6), "S7 S7", "7: "),
    ] {
        assert_eq!(take(since, stream).as_deref(), Ok(expected), "{since:?} {stream}");
    }
}

#[test]
fn streams_that_are_none_are_not() {
    let serial = |found, expected| StreamError::Serial { found, expected };
    for (since, stream, expected) in [
        (None, "a S7 S7", StreamError::Soa),
        (None, "S7 a", StreamError::Soa),
        (None, "S7", StreamError::Soa),
        (None, "S7 a S8", serial(8, 7)),
        (None, "S7 a S7 b", StreamError::Trailing),
        (None, "S7 a S7 S7", StreamError::Trailing),
        (Some(6), "S7 S5 a S7 b S7", serial(5, 6)),
        (Some(5), "S7 S5 a S6 b S4 c S7 S7", serial(4, 6)),
        (Some(5), "S7 S5 a S6 b", StreamError::Soa),
        (Some(6), "S7", StreamError::Soa),
        (None, "S7|", StreamError::Foreign),
    ] {
        assert_eq!(take(since, stream), Err(expected), "{since:?} {stream}");
    }
    let endless = format!("S7 {}", "a ".repeat(60));
    assert!(matches!(take(None, &endless), Err(StreamError::TooLarge { .. })));
    let endless = format!("S7 {}", "a |".repeat(60));
    assert!(matches!(take(None, &endless), Err(StreamError::TooLarge { .. })));
}

#[test]
fn what_is_not_the_answer_or_not_of_the_zone_is_refused() {
    let change = |at: usize, octet: u8| {
        let mut message = messages("S7 a S7").remove(0);
        message[at] = octet;
        Incoming::new(ZONE.to_vec(), 9, None, BOUNDS).take(&message)
    };
    assert_eq!(change(1, 8), Err(StreamError::Foreign), "another id");
    assert_eq!(change(2, 0), Err(StreamError::Foreign), "a question");
    assert_eq!(change(2, 0x82), Err(StreamError::Foreign), "cut off");
    assert_eq!(change(3, 5), Err(StreamError::Refused(5)));
    // The first record's owner begins behind the question; its class behind owner and type.
    let owner = 12 + ZONE.len() + 4;
    assert_eq!(change(owner + 1, b'f'), Err(StreamError::Outside));
    assert_eq!(change(owner + ZONE.len() + 3, 3), Err(StreamError::Outside));
    assert_eq!(change(owner + ZONE.len() + 9, 21), Err(StreamError::Malformed(Malformed)));
}

proptest! {
    #[test]
    fn no_stream_panics(octets in prop::collection::vec(any::<u8>(), 0..300), at in 0..200_usize, octet: u8) {
        let mut incoming = Incoming::new(ZONE.to_vec(), 9, Some(5), BOUNDS);
        let _ = incoming.take(&octets);
        for mut message in messages("S7 S5 a|b S6 S6|S7 c S7") {
            let at = at % message.len();
            message[at] = octet;
            if incoming.take(&message).is_err() {
                break;
            }
        }
        let _ = incoming.finish();
    }
}
