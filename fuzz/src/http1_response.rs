//! Heads of responses: no input panics, and cutting it changes nothing.

use bytes::BytesMut;
use http::Method;
use proxima_http1::{Limits, ResponseParser};

fn heads(input: &[u8], cut: usize, method: &Method) -> String {
    let (mut parser, mut buffer, mut heads) = (ResponseParser::default(), BytesMut::new(), Vec::new());
    for piece in input.chunks(cut) {
        buffer.extend_from_slice(piece);
        loop {
            match parser.parse(&mut buffer, method, &Limits::DEFAULT) {
                Ok(Some(head)) => heads.push(head),
                Ok(None) => break,
                Err(error) => return format!("{heads:?} {error:?}"),
            }
        }
    }
    format!("{heads:?} {}", buffer.len())
}

/// The target.
pub fn run(data: &[u8]) {
    let Some((&cut, input)) = data.split_first() else { return };
    let method = if cut & 1 == 0 { Method::GET } else { Method::HEAD };
    assert_eq!(heads(input, input.len().max(1), &method), heads(input, usize::from(cut).max(1), &method));
}
