//! Request streams of HTTP/3: no input panics, cutting it changes nothing, no more is gathered than the bound, and a
//! request that is read names a method, a scheme, a host and a path.

use bytes::Bytes;
use proxima_edge::http3::{Broken, MessageDecoder, Piece, read_request, read_trailers};
use proxima_http1::Limits;

const SECTION_BYTES_MAX: usize = 4096;

/// The pieces of `input`, cut every `cut` octets; data that follow each other are put together.
fn pieces(input: &[u8], cut: usize) -> (Vec<Piece>, Result<(), Broken>) {
    let mut decoder = MessageDecoder::new(SECTION_BYTES_MAX);
    let mut pieces: Vec<Piece> = Vec::new();
    for some in input.chunks(cut) {
        let mut some = Bytes::copy_from_slice(some);
        loop {
            match decoder.decode(&mut some) {
                Err(broken) => return (pieces, Err(broken)),
                Ok(None) => break,
                Ok(Some(Piece::Data(data))) => match pieces.last_mut() {
                    Some(Piece::Data(before)) => *before = [&before[..], &data[..]].concat().into(),
                    _ => pieces.push(Piece::Data(data)),
                },
                Ok(Some(piece)) => pieces.push(piece),
            }
        }
    }
    (pieces, decoder.finish())
}

/// The target.
pub fn run(data: &[u8]) {
    let Some((&cut, input)) = data.split_first() else { return };
    let whole = pieces(input, input.len().max(1));
    assert_eq!(whole, pieces(input, usize::from(cut).max(1)));
    for piece in whole.0 {
        match piece {
            Piece::Head(section) => {
                assert!(section.len() <= SECTION_BYTES_MAX);
                if let Ok(request) = read_request(&section, &Limits::DEFAULT) {
                    assert!(request.uri().authority().is_some());
                    assert_eq!(request.method() == "CONNECT", request.uri().scheme().is_none());
                }
            }
            Piece::Trailers(section) => drop(read_trailers(&section, &Limits::DEFAULT)),
            Piece::Data(_) => {}
        }
    }
    // As a section of its own, so that the fuzzer need not find the frame first.
    read_request(input, &Limits::DEFAULT).ok();
}
