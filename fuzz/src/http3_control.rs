//! The streams of an HTTP/3 connection that carry no request: no input panics, and cutting it changes nothing.

use bytes::Bytes;
use proxima_edge::http3::{Broken, ControlDecoder, DecoderStream, EncoderStream, Settings};

fn control(input: &[u8], cut: usize) -> Result<Option<Settings>, Broken> {
    let mut decoder = ControlDecoder::default();
    for some in input.chunks(cut) {
        decoder.decode(Bytes::copy_from_slice(some))?;
    }
    Ok(decoder.settings())
}

fn qpack(input: &[u8], cut: usize) -> (Result<(), Broken>, Result<(), Broken>) {
    let (mut encoder, mut decoder) = (EncoderStream, DecoderStream::default());
    let mut pieces = input.chunks(cut).map(Bytes::copy_from_slice);
    let encoded = pieces.clone().try_for_each(|some| encoder.decode(&some));
    (encoded, pieces.try_for_each(|some| decoder.decode(&some)))
}

/// The target.
pub fn run(data: &[u8]) {
    let Some((&cut, input)) = data.split_first() else { return };
    let (whole, cut) = (input.len().max(1), usize::from(cut).max(1));
    assert_eq!(control(input, whole), control(input, cut));
    assert_eq!(qpack(input, whole), qpack(input, cut));
}
