//! Chunked bodies: no input panics, cutting it changes nothing, and what was decoded is encoded and decoded again as
//! the same.

use bytes::BytesMut;
use http::HeaderMap;
use proxima_http1::{BodyDecoder, Decoded, Framing, Http1Error, Limits, encode_chunk, encode_trailers};

#[derive(Debug, PartialEq)]
struct Body {
    data: Vec<u8>,
    trailers: HeaderMap,
    end: Result<bool, Http1Error>,
}

fn decode(input: &[u8], cut: usize) -> Body {
    let mut decoder = BodyDecoder::new(Framing::Chunked, &Limits::DEFAULT);
    let (mut buffer, mut data, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
    for piece in input.chunks(cut) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Decoded::Data(piece)) => data.extend_from_slice(&piece),
                Ok(Decoded::Trailers(map)) => trailers = map,
                Ok(Decoded::End | Decoded::NeedMore) => break,
                Err(error) => return Body { data, trailers, end: Err(error) },
            }
        }
    }
    Body { data, trailers, end: Ok(decoder.is_done()) }
}

/// The target.
pub fn run(input: &[u8]) {
    let Some((&cut, input)) = input.split_first() else { return };
    let whole = decode(input, input.len().max(1));
    assert_eq!(whole, decode(input, usize::from(cut).max(1)));
    if whole.end == Ok(true) {
        let mut wire = BytesMut::new();
        encode_chunk(&whole.data, &mut wire);
        encode_trailers(&whole.trailers, &mut wire);
        assert_eq!(whole, decode(&wire, wire.len()));
    }
}
