//! The client's unidirectional streams (RFC 9114, 6.2; RFC 9204, 4.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};
use quinn::RecvStream;

use super::varint;
use crate::http3::{
    Broken, Code, ControlDecoder, DecoderStream, EncoderStream, VARINT_BYTES_MAX, read_varint, stream_type,
};

/// Octets of one read.
const READ_BYTES_MAX: usize = 4 * 1024;
/// Octets that the streams of a connection which carry no request may have: settings, and what is not understood.
const OCTETS_MAX: u64 = 64 * 1024;
/// Octets that each request adds to that: browsers say on the control stream how urgent each is, and cancel some.
const OCTETS_PER_REQUEST: u64 = 1024;

/// What the streams of a connection that carry no request share.
#[derive(Debug, Default)]
pub(super) struct Unidirectional {
    control: AtomicBool,
    encoder: AtomicBool,
    decoder: AtomicBool,
    served: AtomicU32,
}

impl Unidirectional {
    /// How many requests there were.
    pub(super) fn served(&self, requests: u32) {
        self.served.store(requests, Ordering::Relaxed);
    }

    fn octets_max(&self) -> u64 {
        OCTETS_MAX + OCTETS_PER_REQUEST * u64::from(self.served.load(Ordering::Relaxed))
    }
}

enum Reader {
    Control(Box<ControlDecoder>),
    Encoder(EncoderStream),
    Decoder(DecoderStream),
}

impl Reader {
    /// What reads a stream of this type; none, if it means nothing to us.
    fn new(kind: u64, shared: &Unidirectional) -> Result<Option<Self>, Code> {
        let (seen, reader) = match kind {
            stream_type::CONTROL => (&shared.control, Self::Control(Box::default())),
            stream_type::QPACK_ENCODER => (&shared.encoder, Self::Encoder(EncoderStream)),
            stream_type::QPACK_DECODER => (&shared.decoder, Self::Decoder(DecoderStream::default())),
            stream_type::PUSH => return Err(Code::STREAM_CREATION_ERROR),
            _ => return Ok(None),
        };
        if seen.swap(true, Ordering::Relaxed) { Err(Code::STREAM_CREATION_ERROR) } else { Ok(Some(reader)) }
    }

    fn decode(&mut self, input: Bytes) -> Result<(), Code> {
        let read = match self {
            Self::Control(decoder) => decoder.decode(input),
            Self::Encoder(decoder) => decoder.decode(&input),
            Self::Decoder(decoder) => decoder.decode(&input),
        };
        read.map_err(|broken| match broken {
            Broken::Connection(code) | Broken::Stream(code) => code,
            Broken::TooLarge => Code::EXCESSIVE_LOAD,
        })
    }
}

/// Reads a stream to its end; the error is what the connection ends with.
pub(super) async fn read(mut receive: RecvStream, shared: Arc<Unidirectional>) -> Result<(), Code> {
    let mut begin = BytesMut::with_capacity(VARINT_BYTES_MAX);
    let (kind, rest) = loop {
        let Ok(Some(chunk)) = receive.read_chunk(READ_BYTES_MAX, true).await else {
            // It may end before it says what it is for (RFC 9114, 6.2).
            return Ok(());
        };
        begin.extend_from_slice(&chunk.bytes);
        if let Some((kind, taken)) = read_varint(&begin) {
            break (kind, begin.split_off(taken).freeze());
        }
    };
    let Some(mut reader) = Reader::new(kind, &shared)? else {
        receive.stop(varint(Code::STREAM_CREATION_ERROR)).ok();
        return Ok(());
    };
    let mut octets = rest.len() as u64;
    reader.decode(rest)?;
    loop {
        match receive.read_chunk(READ_BYTES_MAX, true).await {
            Ok(Some(chunk)) => {
                octets += chunk.bytes.len() as u64;
                if octets > shared.octets_max() {
                    return Err(Code::EXCESSIVE_LOAD);
                }
                reader.decode(chunk.bytes)?;
            }
            Err(quinn::ReadError::ConnectionLost(_)) => return Ok(()),
            // None of them may end before the connection does (RFC 9114, 6.2.1; RFC 9204, 4.2).
            Ok(None) | Err(_) => return Err(Code::CLOSED_CRITICAL_STREAM),
        }
    }
}
