//! Field sections.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use crate::fields::{FieldError, Section};
use crate::http2::static_table::{FIELDS, STATUS_NAME, name_index, status_index};
use crate::http2::{
    Decoder, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FrameHead, TABLE_BYTES_MAX, flag, frame_type, write_head,
    write_trailers,
};

const BOUNDS: Section = Section { bytes_max: 100_000, fields_max: 200 };

type Fields = Vec<(String, String)>;

fn decode(decoder: &mut Decoder, section: &[u8], bounds: Section) -> Result<Fields, FieldError> {
    let mut all = Vec::new();
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    decoder.decode(section, bounds, |name, value| {
        all.push((text(name), text(value)));
        Ok(())
    })?;
    Ok(all)
}

fn decoded(decoder: &mut Decoder, hex: &str) -> Result<Fields, FieldError> {
    decode(decoder, &hex::decode(hex).unwrap(), BOUNDS)
}

fn fields(expected: &[(&str, &str)]) -> Result<Fields, FieldError> {
    Ok(expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[test]
fn the_requests_of_the_rfc_are_read_with_what_was_sent_before() {
    let request = |path, more: &[(&'static str, &'static str)], scheme| {
        let pseudo =
            [(":method", "GET"), (":scheme", scheme), (":path", path), (":authority", "www.example.com")];
        fields(&[&pseudo[..], more].concat())
    };
    // RFC 7541, C.3 and C.4.
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for sections in [plain, coded] {
        let mut decoder = Decoder::default();
        assert_eq!(decoded(&mut decoder, sections[0]), request("/", &[], "http"));
        assert_eq!(
            decoded(&mut decoder, sections[1]),
            request("/", &[("cache-control", "no-cache")], "http")
        );
        let custom = [("custom-key", "custom-value")];
        assert_eq!(decoded(&mut decoder, sections[2]), request("/index.html", &custom, "https"));
    }
}

#[test]
fn the_answers_of_the_rfc_are_read_while_the_oldest_make_room() {
    let mut decoder = Decoder::default();
    // A table of 256 octets, as RFC 7541, C.6 has it.
    assert_eq!(decoded(&mut decoder, "3fe101"), Ok(Vec::new()));
    let first = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    let section = "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3";
    assert_eq!(decoded(&mut decoder, section), fields(&first));
    let second = [&[(":status", "307")], &first[1..]].concat();
    assert_eq!(decoded(&mut decoder, "4883640effc1c0bf"), fields(&second));
    let third = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ];
    let section = "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007";
    assert_eq!(decoded(&mut decoder, section), fields(&third));
}

#[test]
fn what_refers_to_nothing_or_is_cut_cannot_be_decoded() {
    for (what, section) in [
        ("index 0", "80"),
        ("an entry that there is not", "be"),
        ("a name that there is not", "7f00"),
        ("a table that is too large", "3fe21f"),
        ("a size behind a field", "8220"),
        ("a cut integer", "ff"),
        ("an endless integer", "ffffffffffffff01"),
        ("a cut name", "400a6375"),
        ("a cut value", "000161"),
        ("a wrong Huffman code", "00810000"),
    ] {
        assert_eq!(decoded(&mut Decoder::default(), section), Err(FieldError::Undecodable), "{what}");
    }
    assert_eq!(decoded(&mut Decoder::default(), "3fe11f2082"), fields(&[(":method", "GET")]), "two sizes");
}

#[test]
fn a_section_over_its_bounds_still_leaves_its_entries_behind() {
    let mut decoder = Decoder::default();
    // Two literals that are kept: a: b, c: d.
    let section = hex::decode("4001610162400163016482").unwrap();
    let tight = Section { bytes_max: 40, fields_max: 200 };
    assert_eq!(decode(&mut decoder, &section, tight), Err(FieldError::TooLarge));
    let few = Section { bytes_max: 1_000, fields_max: 1 };
    assert_eq!(decode(&mut decoder, &section, few), Err(FieldError::TooLarge));
    assert_eq!(decoded(&mut decoder, "bebf"), fields(&[("c", "d"), ("a", "b")]));
    let faulty = decoder.decode(&section, BOUNDS, |_, _| Err(FieldError::Malformed));
    assert_eq!(faulty, Err(FieldError::Malformed));
    assert_eq!(decoded(&mut decoder, "be"), fields(&[("c", "d")]), "the fault was of the first");
}

#[test]
fn an_entry_that_is_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::default();
    assert!(decoded(&mut decoder, "4001610162be").is_ok());
    let value = vec![b'x'; TABLE_BYTES_MAX];
    let section = [&hex::decode("4001617f811f").unwrap()[..], &value].concat();
    assert_eq!(decode(&mut decoder, &section, BOUNDS).unwrap()[0].1.len(), TABLE_BYTES_MAX);
    assert_eq!(decoded(&mut decoder, "be"), Err(FieldError::Undecodable));
}

#[test]
fn the_indices_that_are_written_are_those_of_the_static_table() {
    let entry = |index: u64| FIELDS[usize::try_from(index).unwrap() - 1];
    for (name, _) in FIELDS {
        if let Some(index) = name_index(name) {
            assert_eq!(entry(index).0, name);
        }
    }
    for status in 100..1000 {
        let status = StatusCode::from_u16(status).unwrap();
        if let Some(index) = status_index(status) {
            assert_eq!(entry(index), (":status", status.as_str()));
        }
    }
    assert_eq!(entry(STATUS_NAME).0, ":status");
}

/// The sections of the frames in `out`, each with whether it ends its stream.
fn read(mut out: BytesMut) -> Vec<(Vec<u8>, bool)> {
    let mut sections: Vec<(Vec<u8>, bool)> = Vec::new();
    let mut open = false;
    while !out.is_empty() {
        let head = FrameHead::read(&out).unwrap().unwrap();
        assert!(head.stream == 7 && head.length <= FRAME_BYTES_MAX);
        out.advance(FRAME_HEAD_BYTES);
        let payload = out.split_to(head.length);
        match head.kind {
            frame_type::HEADERS if !open => sections.push((payload.to_vec(), head.has(flag::END_STREAM))),
            frame_type::CONTINUATION if open => sections.last_mut().unwrap().0.extend_from_slice(&payload),
            other => panic!("a frame of type {other}"),
        }
        open = !head.has(flag::END_HEADERS);
    }
    assert!(!open);
    sections
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        status in 100_u16..1000,
        all in prop::collection::vec(("[a-z][a-z0-9-]{0,20}|age|content-type|set-cookie", "[ -~]{0,40}"), 0..20),
        long in prop::option::of(1_usize..60_000),
        ends: bool,
        table_reset: bool,
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &all {
            headers.append(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        if let Some(length) = long {
            headers.insert("x-long", HeaderValue::from_str(&"y".repeat(length)).unwrap());
        }
        let mut out = BytesMut::new();
        write_head(StatusCode::from_u16(status).unwrap(), &headers, ends, table_reset, 7, &mut out);
        write_trailers(&headers, false, 7, &mut out);
        let sections = read(out);
        let mut decoder = Decoder::default();
        let expected: Fields = headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
            .collect();
        let head = decode(&mut decoder, &sections[0].0, BOUNDS).unwrap();
        prop_assert_eq!(&head[0], &(":status".to_owned(), status.to_string()));
        prop_assert_eq!(&head[1..], &expected[..]);
        prop_assert_eq!(decode(&mut decoder, &sections[1].0, BOUNDS).unwrap(), expected);
        prop_assert_eq!((sections[0].1, sections[1].1), (ends, true));
    }

    #[test]
    fn nothing_that_can_be_sent_does_more_than_be_refused(
        sections in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
    ) {
        let mut decoder = Decoder::default();
        for section in sections {
            let mut octets = 0;
            let bounds = Section { bytes_max: 1_000, fields_max: 10 };
            decoder.decode(&section, bounds, |name, value| { octets += name.len() + value.len(); Ok(()) }).ok();
            prop_assert!(octets <= 1_000);
        }
    }
}
