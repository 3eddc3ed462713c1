//! How octets lie in the engine.
//!
//! ```text
//! ID.0000: block | CRC-32 | block | CRC-32 | …     ID.0001: block | CRC-32 | … | rest | CRC-32
//! ```
//!
//! A blob is pieces of [`PIECE_OCTETS`], the last one of what is left, and each is an object of the engine. In a piece a block is
//! before its checksum, so that whatever is read of it is one question, and compared as it comes. In a file all checksums are
//! behind all octets, since there a second read is nearly free.

use std::collections::VecDeque;

use bytes::Bytes;
use proxima_pipeline::ObjectError;

use crate::store::sums::{BLOCK_OCTETS, SUM_OCTETS};

/// Blocks of a piece: with their checksums they are a little less than 4 MiB. More is more memory for each upload, and less is more
/// questions for each object; an object of 5 GiB has 1,301 pieces.
const PIECE_BLOCKS: u64 = 63;
/// Octets of a piece, of those that were put.
pub(super) const PIECE_OCTETS: u64 = PIECE_BLOCKS * BLOCK_OCTETS;
/// A block and its checksum.
const FRAME_OCTETS: u64 = BLOCK_OCTETS + SUM_OCTETS;
/// Octets of a checksum in memory.
const SUM: usize = size_of::<u32>();

/// How many pieces so many octets are.
pub(super) const fn pieces(octets: u64) -> u64 {
    octets.div_ceil(PIECE_OCTETS)
}

/// How long a piece is in the engine, of a blob that has `all`.
pub(super) fn piece_octets(all: u64, piece: u64) -> u64 {
    let octets = PIECE_OCTETS.min(all - piece * PIECE_OCTETS);
    octets + octets.div_ceil(BLOCK_OCTETS) * SUM_OCTETS
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) piece: u64,
    /// Where in the piece.
    pub(super) start: u64,
    /// How long it is there, with its checksum.
    pub(super) octets: u64,
}

/// Where the block of this number lies, of a blob that has `all`.
pub(super) fn frame(all: u64, block: u64) -> Frame {
    let octets = BLOCK_OCTETS.min(all - block * BLOCK_OCTETS) + SUM_OCTETS;
    Frame { piece: block / PIECE_BLOCKS, start: block % PIECE_BLOCKS * FRAME_OCTETS, octets }
}

/// The block in a frame, as it was written.
pub(super) fn unframe(mut frame: Bytes) -> Result<Bytes, ObjectError> {
    let sum = frame.split_off(frame.len().saturating_sub(SUM));
    if crc32fast::hash(&frame).to_be_bytes() != sum[..] {
        return Err(ObjectError::Broken("a block is not as it was written".to_owned()));
    }
    Ok(frame)
}

/// Makes pieces of octets.
#[derive(Default)]
pub(super) struct Framer {
    piece: Vec<u8>,
    /// Blocks of it that are whole.
    blocks: u64,
    block: crc32fast::Hasher,
    in_block: u64,
}

impl Framer {
    /// Adds octets, and pieces that are whole to `whole`.
    pub(super) fn update(&mut self, mut octets: &[u8], whole: &mut VecDeque<Bytes>) {
        while !octets.is_empty() {
            let room = usize::try_from(BLOCK_OCTETS - self.in_block).expect("a block fits into memory");
            let (now, later) = octets.split_at(octets.len().min(room));
            self.block.update(now);
            self.piece.extend_from_slice(now);
            self.in_block += now.len() as u64;
            octets = later;
            if self.in_block == BLOCK_OCTETS {
                self.end_block();
                if self.blocks == PIECE_BLOCKS {
                    whole.push_back(std::mem::take(self).piece.into());
                }
            }
        }
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        self.piece.extend_from_slice(&block.finalize().to_be_bytes());
        self.blocks += 1;
        self.in_block = 0;
    }

    /// The last piece, if there is anything in it.
    pub(super) fn finish(mut self) -> Option<Bytes> {
        if self.in_block > 0 {
            self.end_block();
        }
        (!self.piece.is_empty()).then(|| self.piece.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(octets: &[u8]) -> Vec<Bytes> {
        let (mut framer, mut whole) = (Framer::default(), VecDeque::new());
        octets.chunks(100_000).for_each(|some| framer.update(some, &mut whole));
        whole.extend(framer.finish());
        whole.into()
    }

    #[test]
    fn every_block_lies_where_it_is_looked_for_and_is_what_was_written() {
        let (block, piece) = (BLOCK_OCTETS, PIECE_OCTETS);
        for length in [1, block - 1, block, block + 1, piece - 1, piece, piece + 1, 2 * piece + 3 * block + 5]
        {
            let octets: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let lies = framed(&octets);
            assert_eq!(lies.len() as u64, pieces(length), "{length}");
            for (at, piece) in lies.iter().enumerate() {
                assert_eq!(piece.len() as u64, piece_octets(length, at as u64), "{length}: {at}");
                assert!(piece.len() < 4 << 20);
            }
            let of_block = |at: u64| {
                let Frame { piece, start, octets } = frame(length, at);
                let index = |at: u64| usize::try_from(at).unwrap();
                lies[index(piece)].slice(index(start)..index(start + octets))
            };
            let read: Vec<u8> =
                (0..length.div_ceil(block)).flat_map(|at| unframe(of_block(at)).unwrap()).collect();
            assert!(read == octets, "{length}");
            let last = of_block(length.div_ceil(block) - 1);
            for damaged in [0, last.len() - SUM - 1, last.len() - 1] {
                let mut changed = last.to_vec();
                changed[damaged] ^= 1;
                assert!(unframe(changed.into()).is_err(), "{length}: octet {damaged}");
            }
        }
        assert!(framed(b"").is_empty());
        assert_eq!(pieces(5 << 30), 1_301);
        assert!(unframe(Bytes::from_static(b"x")).is_err());
    }
}
