//! Heads of requests: no input panics, cutting it changes nothing, and a head that is taken is written and read again
//! as the same request.

use bytes::BytesMut;
use proxima_http1::{
    ConnectionField, Http1Error, Limits, RequestHead, RequestParser, parse_request_head, write_request_head,
};

/// All heads of the pieces of `input`, each `cut` octets long, up to the first error.
fn heads(input: &[u8], cut: usize) -> (Vec<RequestHead>, Option<Http1Error>, usize) {
    let (mut parser, mut buffer, mut heads) = (RequestParser::default(), BytesMut::new(), Vec::new());
    for piece in input.chunks(cut) {
        buffer.extend_from_slice(piece);
        loop {
            match parser.parse(&mut buffer, &Limits::DEFAULT) {
                Ok(Some(head)) => heads.push(head),
                Ok(None) => break,
                Err(error) => return (heads, Some(error), 0),
            }
        }
    }
    (heads, None, buffer.len())
}

/// The target.
pub fn run(data: &[u8]) {
    let Some((&cut, input)) = data.split_first() else { return };
    let whole = heads(input, input.len().max(1));
    let pieces = heads(input, usize::from(cut).max(1));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    for mut head in whole.0 {
        // As the server does: an expectation is met here, and one of an HTTP/1.0 client means nothing.
        head.headers.remove(http::header::EXPECT);
        let mut wire = BytesMut::new();
        let connection = ConnectionField::Absent;
        let written = write_request_head(
            &head.method,
            &head.target,
            &head.headers,
            head.framing,
            &connection,
            &mut wire,
        );
        if written.is_ok() {
            let again = parse_request_head(&mut wire, &Limits::DEFAULT).expect("we wrote it").expect("whole");
            assert_eq!((again.method, again.target, again.host), (head.method, head.target, head.host));
            assert_eq!(again.framing.is_empty(), head.framing.is_empty());
        }
    }
}
