//! Octets that go: from rows and files into a body, as fast as it is read.

use std::{fs::File, time::Duration};

use bytes::Bytes;
use proxima_pipeline::{Body, BodyError, BodySender, ChecksumAlgorithm, ObjectError, ObjectRange, Span};

use super::{
    Store,
    blobs::Reading,
    blocking,
    hashing::Running,
    rows::{ObjectRow, Piece, Place},
    sums::{self, BLOCK_OCTETS},
};

/// Octets that are read at once: whole blocks.
const CHUNK_OCTETS: u64 = 4 * BLOCK_OCTETS;
/// Octets of which a checksum is made in one turn of a thread: whole blocks, some milliseconds of work.
const CHECKED_OCTETS: u64 = 64 * BLOCK_OCTETS;
/// Chunks that wait for their reader: one is written while the next is read.
const CHUNKS_WAITING_MAX: usize = 2;
/// How long a reader may pause.
const READER_IDLE: Duration = Duration::from_secs(60);

/// Which octets a range of `all` is; nothing if all were asked for. Where a part lies, `part` says.
pub(super) fn span(
    all: u64,
    range: Option<ObjectRange>,
    part: impl FnOnce(u16) -> Result<Option<Span>, ObjectError>,
) -> Result<Option<Span>, ObjectError> {
    let Some(range) = range else { return Ok(None) };
    let (start, end) = match range {
        ObjectRange::From(first, last) => (first, last.map_or(all, |last| last.saturating_add(1).min(all))),
        ObjectRange::Last(octets) => (all.saturating_sub(octets), all),
        ObjectRange::Part(number) => return part(number),
    };
    if start >= end {
        return Err(ObjectError::InvalidRange(all));
    }
    Ok(Some(Span { start, octets: end - start }))
}

/// Which octets a part is. What was put as a whole is its only one; of nothing there is no range that could be told.
pub(super) fn part(row: &ObjectRow, number: u16) -> Result<Option<Span>, ObjectError> {
    if row.parts.is_empty() && number == 1 {
        let octets = row.about.octets;
        return Ok((octets > 0).then_some(Span { start: 0, octets }));
    }
    let mut start = 0;
    for (part, piece) in row.parts.iter().zip(&row.pieces) {
        if part.number == number {
            return Ok((piece.octets > 0).then_some(Span { start, octets: piece.octets }));
        }
        start += piece.octets;
    }
    Err(ObjectError::InvalidPart)
}

/// A piece that is read, from where, how much.
struct Cut {
    piece: Piece,
    start: u64,
    octets: u64,
    /// Its file, which stays as long as this.
    file: Option<Reading>,
}

impl Store {
    /// The octets of an object.
    pub(super) fn body(&self, pieces: Vec<Piece>, span: Span) -> Body {
        let mut cuts = self.cuts(pieces, span);
        if let [Cut { piece: Piece { at: Place::Row(octets), .. }, start, octets: length, .. }] =
            &mut cuts[..]
        {
            let octets = Bytes::from(std::mem::take(octets));
            let index = |at: u64| usize::try_from(at).expect("it is within what is in memory");
            return Body::full(octets.slice(index(*start)..index(*start + *length)));
        }
        let (sender, body) = Body::channel(CHUNKS_WAITING_MAX, Some(span.octets));
        let store = self.clone();
        tokio::spawn(async move { store.send(cuts, sender).await });
        body
    }

    fn cuts(&self, pieces: Vec<Piece>, span: Span) -> Vec<Cut> {
        let (mut at, mut cuts) = (0, Vec::new());
        for piece in pieces {
            let (begin, end) = (at, at + piece.octets);
            at = end;
            let (from, to) = (begin.max(span.start), end.min(span.start + span.octets));
            if from < to {
                let file = match &piece.at {
                    Place::Blob(id) => Some(self.blobs.reading(*id)),
                    Place::Row(_) => None,
                };
                cuts.push(Cut { piece, start: from - begin, octets: to - from, file });
            }
        }
        cuts
    }

    async fn send(&self, cuts: Vec<Cut>, mut sender: BodySender) {
        for cut in cuts {
            let sent = match (&cut.piece.at, &cut.file) {
                (Place::Row(octets), _) => {
                    let from = usize::try_from(cut.start).expect("it is within what is in memory");
                    let to = from + usize::try_from(cut.octets).expect("it is within what is in memory");
                    pass(&mut sender, Bytes::copy_from_slice(&octets[from..to])).await
                }
                (Place::Blob(_), Some(reading)) => self.send_file(&cut, reading, &mut sender).await,
                (Place::Blob(_), None) => unreachable!("a file is held as long as it is read"),
            };
            match sent {
                Ok(()) => {}
                Err(Ended::Reader) => return,
                Err(Ended::Store(error)) => {
                    let (piece, start) = (&cut.piece.at, cut.start);
                    if let Place::Blob(blob) = piece {
                        tracing::error!(target: "proxima_r2", %blob, start, %error, "octets of an object cannot be read");
                    }
                    self.metrics.unreadable.inc();
                    return sender.fail(BodyError::Aborted).await;
                }
            }
        }
        sender.finish().await;
    }

    /// The checksum of octets that lie here, by an algorithm that is not the one of their own.
    pub(super) async fn checksum_of(
        &self,
        pieces: &[Piece],
        algorithm: ChecksumAlgorithm,
    ) -> Result<Vec<u8>, ObjectError> {
        let mut running = Running::new(algorithm);
        for Piece { at, octets: all, .. } in pieces {
            let (id, all) = match at {
                Place::Row(octets) => {
                    running.update(octets);
                    continue;
                }
                Place::Blob(id) => (*id, *all),
            };
            let reading = self.blobs.reading(id);
            let mut file = blocking(move || reading.open(all)).await?;
            let mut at = 0;
            while at < all {
                let octets = CHECKED_OCTETS.min(all - at);
                (running, file) = blocking(move || {
                    running.update(&sums::read(&file, all, at, octets)?);
                    Ok((running, file))
                })
                .await?;
                at += octets;
            }
        }
        Ok(running.finish())
    }

    async fn send_file(&self, cut: &Cut, reading: &Reading, sender: &mut BodySender) -> Result<(), Ended> {
        let all = cut.piece.octets;
        let file = reading.open(all).map_err(Ended::Store)?;
        let mut file = Some(file);
        // Whatever is read is compared by blocks. What is read whole is compared, before its end is passed on: who gets all of it gets what was put.
        let is_whole = cut.start == 0 && cut.octets == cut.piece.octets;
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
        let mut at = 0;
        while at < cut.octets {
            let start = cut.start + at;
            // To the end of a block: none is read twice.
            let octets = (CHUNK_OCTETS - start % BLOCK_OCTETS).min(cut.octets - at);
            let open = file.take().expect("it is put back");
            let read = blocking(move || {
                let chunk = sums::read(&open, all, start, octets)?;
                if is_whole {
                    digest.update(&chunk);
                }
                Ok((open, digest, chunk))
            });
            let chunk: Bytes;
            let open: File;
            (open, digest, chunk) = read.await.map_err(Ended::Store)?;
            file = Some(open);
            at += octets;
            if is_whole && at == cut.octets && digest.finalize() != cut.piece.crc {
                return Err(Ended::Store(ObjectError::Broken("its checksum is wrong".to_owned())));
            }
            pass(sender, chunk).await?;
        }
        Ok(())
    }
}

/// Why no more is sent.
enum Ended {
    /// Nobody reads it, or not for too long.
    Reader,
    /// It cannot be read.
    Store(ObjectError),
}

async fn pass(sender: &mut BodySender, chunk: Bytes) -> Result<(), Ended> {
    match tokio::time::timeout(READER_IDLE, sender.send(chunk)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Ended::Reader),
    }
}
