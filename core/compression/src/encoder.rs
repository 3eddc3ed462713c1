//! The encoders, all of one shape: octets go in, encoded octets pile up, and are taken away.

use std::io::{self, Write};

use brotli::{CompressorWriter, enc::BrotliEncoderParams};
use flate2::{Compression, write::GzEncoder};
use zstd::{stream::raw::CParameter, stream::write::Encoder as ZstdEncoder};

use crate::Coding;

/// How much effort an encoding is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Once per request: cheap, on the thread that serves.
    Streamed,
    /// Once per object: it is read many times.
    Stored,
}

/// Windows, as powers of two of octets: what an encoder keeps in memory, and what it finds repetitions in. A quarter of
/// a MiB for what streams, of which there may be many at once; a MiB for what is stored (RFC 9659 allows zstd 8 MiB).
const WINDOW_LOG_STREAMED: u32 = 18;
const WINDOW_LOG_STORED: u32 = 20;
/// What brotli's writer moves at once.
const BROTLI_BUFFER_OCTETS: usize = 4 * 1024;

impl Effort {
    const fn window_log(self) -> u32 {
        match self {
            Self::Streamed => WINDOW_LOG_STREAMED,
            Self::Stored => WINDOW_LOG_STORED,
        }
    }

    /// The levels. Streamed: where a core still encodes 50 MB/s and more (zstd 150, brotli and gzip 54, measured on source
    /// text, which comes to 29 %). Stored: where more effort begins to bring little (zstd 50, brotli 22, gzip 36; to
    /// 24, 24 and 28 %).
    const fn level(self, coding: Coding) -> u32 {
        match (self, coding) {
            (Self::Streamed, Coding::Zstd) => 3,
            (Self::Streamed, Coding::Br) => 3,
            (Self::Streamed, Coding::Gzip) => 4,
            (Self::Stored, Coding::Zstd) => 7,
            (Self::Stored, Coding::Br) => 6,
            (Self::Stored, Coding::Gzip) => 7,
        }
    }
}

/// An encoder that is at work.
pub struct Encoder(Inner);

enum Inner {
    Zstd(Box<ZstdEncoder<'static, Vec<u8>>>),
    Br(Box<CompressorWriter<Vec<u8>>>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl Encoder {
    /// An encoder of which nothing is known but what it writes.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(coding: Coding, effort: Effort) -> io::Result<Self> {
        let level = effort.level(coding);
        Ok(Self(match coding {
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), level.cast_signed())?;
                encoder.set_parameter(CParameter::WindowLog(effort.window_log()))?;
                Inner::Zstd(Box::new(encoder))
            }
            Coding::Br => {
                let parameters = BrotliEncoderParams {
                    quality: level.cast_signed(),
                    lgwin: effort.window_log().cast_signed(),
                    ..BrotliEncoderParams::default()
                };
                let writer = CompressorWriter::with_params(Vec::new(), BROTLI_BUFFER_OCTETS, &parameters);
                Inner::Br(Box::new(writer))
            }
            Coding::Gzip => Inner::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(level)))),
        }))
    }

    /// Takes octets in.
    ///
    /// # Errors
    /// The encoder's own; none is known, but memory.
    pub fn push(&mut self, octets: &[u8]) -> io::Result<()> {
        self.writer().write_all(octets)
    }

    /// Makes all that went in readable from what comes out.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }

    /// What has come out since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(match &mut self.0 {
            Inner::Zstd(encoder) => encoder.get_mut(),
            Inner::Br(encoder) => encoder.get_mut(),
            Inner::Gzip(encoder) => encoder.get_mut(),
        })
    }

    /// The rest.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self.0 {
            Inner::Zstd(encoder) => encoder.finish(),
            Inner::Br(encoder) => Ok(encoder.into_inner()),
            Inner::Gzip(encoder) => encoder.finish(),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.0 {
            Inner::Zstd(encoder) => encoder,
            Inner::Br(encoder) => encoder,
            Inner::Gzip(encoder) => encoder,
        }
    }
}

/// All of some content encoded at once.
///
/// # Errors
/// As [`Encoder::push`].
pub fn encode<'a>(coding: Coding, pieces: impl IntoIterator<Item = &'a [u8]>) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::new(coding, Effort::Stored)?;
    for piece in pieces {
        encoder.push(piece)?;
    }
    encoder.finish()
}

/// What `octets` decode to: for tests, here and in the stages.
///
/// # Errors
/// They are no encoding; of an encoding that is not whole, gzip and brotli say so too.
pub fn decode(coding: Coding, octets: &[u8]) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut reader: Box<dyn io::Read + '_> = match coding {
        Coding::Zstd => Box::new(zstd::Decoder::new(octets)?),
        Coding::Br => Box::new(brotli::Decompressor::new(octets, BROTLI_BUFFER_OCTETS)),
        Coding::Gzip => Box::new(flate2::read::GzDecoder::new(octets)),
    };
    reader.read_to_end(&mut all)?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_in_whatever_pieces_decodes_to_the_same(
            pieces in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..2_000), 0..8),
            flushed in any::<u8>(),
        ) {
            for coding in Coding::ALL {
                for effort in [Effort::Streamed, Effort::Stored] {
                    let (mut encoder, mut all) = (Encoder::new(coding, effort).unwrap(), Vec::new());
                    for (index, piece) in pieces.iter().enumerate() {
                        encoder.push(piece).unwrap();
                        if flushed & (1 << index) != 0 {
                            encoder.flush().unwrap();
                        }
                        all.extend(encoder.take());
                    }
                    all.extend(encoder.finish().unwrap());
                    prop_assert_eq!(decode(coding, &all).unwrap(), pieces.concat());
                }
            }
        }
    }
}
