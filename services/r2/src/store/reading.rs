//! Octets that go: from rows, files and the engine into a body, as fast as it is read.

use std::time::Duration;

use bytes::Bytes;
use proxima_pipeline::{Body, BodyError, BodySender, ChecksumAlgorithm, ObjectError, ObjectRange, Span};

use super::{
    Store,
    blobs::Reading,
    blocking,
    hashing::Running,
    opened::{Next, Opened},
    rows::{ObjectRow, Piece, Place},
    sums::BLOCK_OCTETS,
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
    /// Its blob, which stays as long as this.
    reading: Option<Reading>,
}

impl Cut {
    /// Opens its blob.
    fn open(&self, reading: &Reading) -> Result<Opened, ObjectError> {
        reading.open(self.piece.octets, self.start..self.start + self.octets)
    }
}

impl Store {
    /// The octets of an object. Those in the engine are waited for: who reads them is told if it is away, before anything is sent.
    pub(super) async fn body(&self, pieces: Vec<Piece>, span: Span) -> Result<Body, ObjectError> {
        let mut cuts = self.cuts(pieces, span);
        if let [Cut { piece: Piece { at: Place::Row(octets), .. }, start, octets: length, .. }] =
            &mut cuts[..]
        {
            let octets = Bytes::from(std::mem::take(octets));
            let index = |at: u64| usize::try_from(at).expect("it is within what is in memory");
            return Ok(Body::full(octets.slice(index(*start)..index(*start + *length))));
        }
        let first = self.begin(cuts.first()).await?;
        let (sender, body) = Body::channel(CHUNKS_WAITING_MAX, Some(span.octets));
        let store = self.clone();
        tokio::spawn(async move { store.send(cuts, first, sender).await });
        Ok(body)
    }

    /// Waits for the first octets of a cut that lies in the engine.
    async fn begin(&self, cut: Option<&Cut>) -> Result<Option<Opened>, ObjectError> {
        let Some(Cut { piece: Piece { at: at @ Place::Engine(_), .. }, reading: Some(reading), .. }) = cut
        else {
            return Ok(None);
        };
        let begun = async {
            let mut opened = cut.expect("it is there").open(reading)?;
            opened.begin().await?;
            Ok(Some(opened))
        };
        begun.await.inspect_err(|error| self.is_unreadable(at, 0, error))
    }

    /// Tells it; not of an engine that is away, which is told of once.
    fn is_unreadable(&self, at: &Place, start: u64, error: &ObjectError) {
        if matches!(error, ObjectError::Unreachable(_) | ObjectError::Busy) {
            return;
        }
        if let Some(blob) = at.blob() {
            let blob = blob.id();
            tracing::error!(target: "proxima_r2", %blob, start, %error, "octets of an object cannot be read");
        }
        self.metrics.unreadable.inc();
    }

    fn cuts(&self, pieces: Vec<Piece>, span: Span) -> Vec<Cut> {
        let (mut at, mut cuts) = (0, Vec::new());
        for piece in pieces {
            let (begin, end) = (at, at + piece.octets);
            at = end;
            let (from, to) = (begin.max(span.start), end.min(span.start + span.octets));
            if from < to {
                let reading = piece.at.blob().map(|blob| self.blobs.reading(blob));
                cuts.push(Cut { piece, start: from - begin, octets: to - from, reading });
            }
        }
        cuts
    }

    /// Sends these, of which the first may be open already.
    async fn send(&self, cuts: Vec<Cut>, mut first: Option<Opened>, mut sender: BodySender) {
        for cut in cuts {
            let sent = match (&cut.piece.at, &cut.reading) {
                (Place::Row(octets), _) => {
                    let from = usize::try_from(cut.start).expect("it is within what is in memory");
                    let to = from + usize::try_from(cut.octets).expect("it is within what is in memory");
                    pass(&mut sender, Bytes::copy_from_slice(&octets[from..to])).await
                }
                (_, Some(reading)) => match first.take().map_or_else(|| cut.open(reading), Ok) {
                    Ok(opened) => send_blob(&cut, opened, &mut sender).await,
                    Err(error) => Err(Ended::Store(error)),
                },
                (_, None) => unreachable!("a blob is held as long as it is read"),
            };
            match sent {
                Ok(()) => {}
                Err(Ended::Reader) => return,
                Err(Ended::Store(error)) => {
                    self.is_unreadable(&cut.piece.at, cut.start, &error);
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
            let (blob, all) = match at {
                Place::Row(octets) => {
                    running.update(octets);
                    continue;
                }
                at => (at.blob().expect("it is in no row"), *all),
            };
            let reading = self.blobs.reading(blob);
            let (opened, _reading) = blocking(move || Ok((reading.open(all, 0..all)?, reading))).await?;
            let add = |running: &mut Running, octets: &Bytes| running.update(octets);
            (_, running) = opened.walk(all, CHECKED_OCTETS, running, add, |_| Duration::ZERO).await?;
        }
        Ok(running.finish())
    }
}

async fn send_blob(cut: &Cut, mut opened: Opened, sender: &mut BodySender) -> Result<(), Ended> {
    let all = cut.piece.octets;
    // Whatever is read is compared by blocks. What is read whole is compared, before its end is passed on: who gets all of it gets what was put.
    let is_whole = cut.start == 0 && cut.octets == cut.piece.octets;
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    let mut at = 0;
    while at < cut.octets {
        let start = cut.start + at;
        // To the end of a block: none is read twice.
        let octets = (CHUNK_OCTETS - start % BLOCK_OCTETS).min(cut.octets - at);
        let read = opened.read(Next { all, start, octets }, move |chunk| {
            if is_whole {
                digest.update(chunk);
            }
            digest
        });
        let chunk: Bytes;
        (opened, chunk, digest) = read.await.map_err(Ended::Store)?;
        at += chunk.len() as u64;
        if is_whole && at == cut.octets && digest.finalize() != cut.piece.crc {
            return Err(Ended::Store(ObjectError::Broken("its checksum is wrong".to_owned())));
        }
        pass(sender, chunk).await?;
    }
    Ok(())
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
