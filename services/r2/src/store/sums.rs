//! Checksums of the blocks of a file, which lie behind its octets: so that rot is found however little is read.
//!
//! ```text
//! block | block | … | rest || CRC-32 of each, four octets
//! ```

use std::{fs::File, io, os::unix::fs::FileExt as _};

use bytes::Bytes;
use proxima_pipeline::ObjectError;

use super::blobs::failed;

/// Octets of a block: whoever reads one octet reads so many; four in so many are added.
pub(super) const BLOCK_OCTETS: u64 = 64 << 10;
/// Octets of a block's checksum.
pub(super) const SUM_OCTETS: u64 = 4;
/// The same, of what is in memory.
const SUM: usize = size_of::<u32>();

/// Checksums of the blocks of what is written.
#[derive(Default)]
pub(super) struct Sums {
    sums: Vec<u8>,
    block: crc32fast::Hasher,
    in_block: u64,
}

impl Sums {
    /// Adds what is written.
    pub(super) fn update(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let room = usize::try_from(BLOCK_OCTETS - self.in_block).expect("a block fits into memory");
            let (now, later) = octets.split_at(octets.len().min(room));
            self.block.update(now);
            self.in_block += now.len() as u64;
            octets = later;
            if self.in_block == BLOCK_OCTETS {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        self.sums.extend_from_slice(&block.finalize().to_be_bytes());
        self.in_block = 0;
    }

    /// What comes behind the octets.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.in_block > 0 {
            self.end_block();
        }
        self.sums
    }
}

/// How long the file of so many octets is.
pub(super) const fn file_octets(octets: u64) -> u64 {
    octets + octets.div_ceil(BLOCK_OCTETS) * SUM_OCTETS
}

/// Some of the octets of a file that has `all`, as they were written. Waits for the disk.
pub(super) fn read(file: &File, all: u64, start: u64, octets: u64) -> Result<Bytes, ObjectError> {
    let end = start + octets;
    debug_assert!(end <= all && octets > 0, "who reads knows how much there is");
    let (first, last) = (start / BLOCK_OCTETS, end.div_ceil(BLOCK_OCTETS));
    let from = first * BLOCK_OCTETS;
    let blocks = read_at(file, from, (last * BLOCK_OCTETS).min(all) - from)?;
    let sums = read_at(file, all + first * SUM_OCTETS, (last - first) * SUM_OCTETS)?;
    let block = usize::try_from(BLOCK_OCTETS).expect("a block fits into memory");
    let sums = sums.chunks(SUM);
    for (at, (block, sum)) in blocks.chunks(block).zip(sums).enumerate() {
        if crc32fast::hash(block).to_be_bytes() != sum {
            let at = from + at as u64 * BLOCK_OCTETS;
            return Err(ObjectError::Broken(format!("the block at {at} is not as it was written")));
        }
    }
    let index = |at: u64| usize::try_from(at - from).expect("it is within what is in memory");
    Ok(Bytes::from(blocks).slice(index(start)..index(end)))
}

fn read_at(file: &File, start: u64, octets: u64) -> Result<Vec<u8>, ObjectError> {
    let mut read = vec![0; usize::try_from(octets).expect("a chunk fits into memory")];
    file.read_exact_at(&mut read, start).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ObjectError::Broken("a file is shorter than it was".to_owned()),
        _ => failed(&error),
    })?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn whatever_is_read_is_what_was_written_or_an_error() {
        let block = usize::try_from(BLOCK_OCTETS).unwrap();
        for length in [1, block - 1, block, block + 1, 3 * block + 5] {
            let octets: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut sums = Sums::default();
            octets.chunks(1_000).for_each(|some| sums.update(some));
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&octets).unwrap();
            file.write_all(&sums.finish()).unwrap();
            let all = length as u64;
            assert_eq!(file.metadata().unwrap().len(), file_octets(all));
            let spans =
                [(0, length), (0, 1), (length - 1, 1), (length / 2, length - length / 2), (length / 3, 1)];
            for (start, count) in spans {
                let read = read(&file, all, start as u64, count as u64).unwrap();
                assert_eq!(read, octets[start..start + count], "{length} {start} {count}");
            }
            // Of octets and of checksums: whoever reads of that block is told, and nobody else.
            for damaged in [0, length - 1, length, usize::try_from(file_octets(all)).unwrap() - 1] {
                let mut former = [0];
                file.read_exact_at(&mut former, damaged as u64).unwrap();
                file.write_all_at(&[former[0] ^ 1], damaged as u64).unwrap();
                let of = if damaged < length { damaged / block } else { (damaged - length) / 4 };
                for at in 0..length.div_ceil(block) {
                    let read = read(&file, all, (at * block) as u64, 1);
                    assert_eq!(read.is_err(), at == of, "{length} {damaged} {at}");
                }
                file.write_all_at(&former, damaged as u64).unwrap();
            }
            file.set_len(file_octets(all) - 1).unwrap();
            assert!(read(&file, all, all - 1, 1).is_err(), "cut short");
        }
    }
}
