//! Field sections.

#![expect(clippy::cast_possible_truncation, reason = "lengths of what the tests write themselves")]

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
use proxima_http1::Limits;

use crate::fields::Section;
use crate::http3::encode::{name_index, status_index, whole_index};
use crate::http3::static_table::FIELDS;
use crate::http3::{
    Broken, Code, MessageDecoder, Piece, decode_section, read_request, read_trailers, write_head,
};

const BOUNDS: Section = Section { bytes_max: 10_000, fields_max: 100 };
const MALFORMED: Broken = Broken::Stream(Code::MESSAGE_ERROR);
const UNREADABLE: Broken = Broken::Connection(Code::QPACK_DECOMPRESSION_FAILED);

fn fields(section: &[u8], bounds: Section) -> Result<Vec<(String, String)>, Broken> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut all = Vec::new();
    decode_section(section, bounds, |name, value| {
        all.push((text(name), text(value)));
        Ok(())
    })?;
    Ok(all)
}

/// A section of literals.
fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        // Lengths with a prefix of three and of seven bits.
        match name.len() {
            length @ 0..7 => section.push(0x20 | length as u8),
            length => section.extend([0x27, (length - 7) as u8]),
        }
        section.extend(name.as_bytes());
        match value.len() {
            length @ 0..127 => section.push(length as u8),
            length => section.extend([0x7f, (length - 127) as u8 | 0x80, ((length - 127) >> 7) as u8]),
        }
        section.extend(value.as_bytes());
    }
    section
}

fn request(fields: &[(&str, &str)]) -> Result<http::Request<()>, Broken> {
    read_request(&section(fields), &Limits::DEFAULT)
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/x?y")];

fn get_with(more: &[(&str, &str)]) -> Result<http::Request<()>, Broken> {
    request(&[&GET[..], more].concat())
}

#[test]
fn the_example_of_the_rfc_is_read() {
    // RFC 9204, B.1.
    let section = hex::decode("0000510b2f696e6465782e68746d6c").unwrap();
    assert_eq!(fields(&section, BOUNDS), Ok(vec![(":path".to_owned(), "/index.html".to_owned())]));
}

#[test]
fn what_needs_a_dynamic_table_or_is_cut_cannot_be_decoded() {
    let cases: [&[u8]; 14] = [
        b"",
        b"\x00",
        b"\x01\x00",
        b"\x00\x80",
        b"\x00\x00\x80",
        b"\x00\x00\x40\x00",
        b"\x00\x00\x10",
        b"\x00\x00\x00\x00",
        b"\x00\x00\xff\x24",
        b"\x00\x00\x51\x0b/in",
        b"\x00\x00\x27\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x",
        b"\x00\x00\x51\x7f\xff\xff\xff\xff\x0f",
        b"\x00\x00\x51\x81\x00",
        b"\x00\x00\x51",
    ];
    for section in cases {
        assert_eq!(fields(section, BOUNDS), Err(UNREADABLE), "{section:?}");
    }
}

#[test]
fn a_section_is_measured_as_it_decodes() {
    // Two octets each that decode to `:path: /`.
    let bomb = [&[0, 0][..], &[0xc1; 1000]].concat();
    let measure =
        |bytes_max, fields_max| fields(&bomb, Section { bytes_max, fields_max }).map(|all| all.len());
    assert_eq!(measure(38_000, 1000), Ok(1000));
    assert_eq!(measure(37_999, 1000), Err(Broken::TooLarge));
    assert_eq!(measure(38_000, 999), Err(Broken::TooLarge));
}

#[test]
fn a_request_is_read_with_its_fields_in_order() {
    let request = get_with(&[("cookie", "a"), ("x", ""), ("cookie", "b"), ("te", "trailers")]).unwrap();
    assert_eq!(request.uri(), "https://a.example/x?y");
    let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a", "b"]);
    let long = "y".repeat(300);
    assert_eq!(get_with(&[("x", &long)]).unwrap().headers()["x"], long);
    // `Host` alone names the authority; that it agrees with `:authority` is checked where hosts are understood.
    let hosted = [(":method", "OPTIONS"), (":scheme", "https"), (":path", "*"), ("host", "b.example")];
    assert_eq!(self::request(&hosted).unwrap().uri().authority().unwrap(), "b.example");
    assert_eq!(
        self::request(&[(":method", "CONNECT"), (":authority", "a.example:443")]).unwrap().method(),
        "CONNECT"
    );
}

#[test]
fn a_malformed_request_is_told_from_others() {
    let cases: [&[(&str, &str)]; 18] = [
        &[("Upper", "x")],
        &[("", "x")],
        &[("a b", "x")],
        &[("x", "a\r\nb")],
        &[("x", "a\0")],
        &[("x", " padded")],
        &[("x", "padded\t")],
        &[("connection", "close")],
        &[("keep-alive", "1")],
        &[("proxy-connection", "close")],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "h2c")],
        &[("te", "gzip")],
        &[("x", "1"), (":path", "/late")],
        &[(":path", "/twice")],
        &[(":method", "GET")],
        &[(":status", "200")],
        &[(":protocol", "websocket")],
    ];
    for more in cases {
        assert_eq!(get_with(more).unwrap_err(), MALFORMED, "{more:?}");
    }
    for missing in 0..GET.len() {
        let mut fields = GET.to_vec();
        let (name, _) = fields.remove(missing);
        assert_eq!(request(&fields).unwrap_err(), MALFORMED, "without {name}");
    }
    for (index, value) in
        [(0, ""), (0, "G T"), (1, "ftp"), (1, ""), (2, ""), (2, "a b"), (3, ""), (3, "/a b")]
    {
        let mut fields = GET.to_vec();
        fields[index].1 = value;
        assert_eq!(request(&fields).unwrap_err(), MALFORMED, "{:?}", fields[index]);
    }
    assert_eq!(
        request(&[(":method", "CONNECT"), (":authority", "a"), (":path", "/")]).unwrap_err(),
        MALFORMED
    );
}

#[test]
fn trailers_hold_no_pseudo_header_and_nothing_that_frames_or_routes() {
    let trailers = |fields: &[(&str, &str)]| read_trailers(&section(fields), &Limits::DEFAULT);
    assert_eq!(trailers(&[("digest", "x")]).unwrap()["digest"], "x");
    for name in [":path", ":status", "content-length", "host", "transfer-encoding", "content_length"] {
        assert_eq!(trailers(&[(name, "1")]), Err(MALFORMED), "{name}");
    }
    let many = vec![("x", "y"); Limits::DEFAULT.trailer_fields_max + 1];
    assert_eq!(trailers(&many), Err(Broken::TooLarge));
}

#[test]
fn the_indices_that_are_written_are_those_of_the_static_table() {
    for (index, (name, value)) in (0_u64..).zip(FIELDS) {
        if let Some(written) = whole_index(name, value.as_bytes()) {
            assert_eq!(written, index, "{name}: {value}");
        }
        if let Some(written) = name_index(name) {
            assert_eq!(FIELDS[written as usize].0, name);
        }
        if name == ":status" {
            assert_eq!(status_index(value.parse().unwrap()), Some(index));
        }
    }
    assert_eq!(status_index(StatusCode::IM_A_TEAPOT), None);
}

/// What is written, read.
fn there_and_back(status: StatusCode, headers: &HeaderMap) -> Vec<(String, String)> {
    let mut out = BytesMut::new();
    write_head(status, headers, &mut out);
    let mut input: Bytes = out.freeze();
    let Ok(Some(Piece::Head(section))) = MessageDecoder::new(1 << 20).decode(&mut input) else {
        panic!("it is not one frame")
    };
    assert!(input.is_empty());
    fields(&section, Section { bytes_max: 1 << 20, fields_max: 1000 }).unwrap()
}

#[test]
fn an_answer_that_is_written_is_read_as_it_was() {
    let mut headers = HeaderMap::new();
    for (name, value) in FIELDS.iter().filter(|(name, _)| !name.starts_with(':')) {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert("x-mine", HeaderValue::from_static("1"));
    for status in [100, 200, 304, 418, 530] {
        let read = there_and_back(StatusCode::from_u16(status).unwrap(), &headers);
        let mut expected = vec![(":status".to_owned(), status.to_string())];
        let plain = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        expected.extend(headers.iter().map(plain));
        assert_eq!(read, expected);
    }
}

proptest! {
    #[test]
    fn any_field_that_is_written_is_read_as_it_was(
        fields in proptest::collection::vec(("[a-z][a-z0-9-]{0,40}", "[!-~]{0,400}"), 0..20),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            headers.append(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let mut read = there_and_back(StatusCode::OK, &headers);
        read.remove(0);
        let mut fields = fields;
        read.sort();
        fields.sort();
        prop_assert_eq!(read, fields);
    }

    #[test]
    fn no_section_is_too_much(section in proptest::collection::vec(any::<u8>(), 0..300)) {
        fields(&section, BOUNDS).ok();
        read_request(&[&[0, 0][..], &section].concat(), &Limits::DEFAULT).ok();
        read_trailers(&[&[0, 0][..], &section].concat(), &Limits::DEFAULT).ok();
    }
}
