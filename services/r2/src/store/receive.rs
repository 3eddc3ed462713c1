//! Octets that come: hashed, counted, and written to a file if they are more than a row takes.

use std::time::Duration;

use proxima_pipeline::{Body, Expected, OBJECT_PUT_OCTETS_MAX, ObjectError};

use super::{
    IN_ROW_OCTETS_MAX, Store,
    blobs::{Pending, Writing},
    blocking,
    hashing::{Hashed, Hashes},
    rows::{Piece, Place},
};

/// Octets that are written at once: fewer cost more threads' turns, more cost memory for each that is under way.
const CHUNK_OCTETS: usize = 256 << 10;
/// How long a body may pause.
const BODY_IDLE: Duration = Duration::from_secs(60);

/// What has come.
pub(super) struct Received {
    pub(super) hashed: Hashed,
    octets: Octets,
}

enum Octets {
    Few(Vec<u8>),
    File(Pending),
}

impl Received {
    /// As a row has it, and the file that is to be kept until the row is durable.
    pub(super) fn into_piece(self) -> (Piece, Option<Pending>) {
        let (at, pending) = match self.octets {
            Octets::Few(octets) => (Place::Row(octets), None),
            Octets::File(pending) => (Place::Blob(pending.id()), Some(pending)),
        };
        (Piece { at, octets: self.hashed.octets, crc: self.hashed.crc }, pending)
    }
}

/// What is under way between two turns of a thread.
struct Under {
    hashes: Hashes,
    buffer: Vec<u8>,
    file: Option<Writing>,
}

impl Store {
    /// Receives a body to its end, which must be what was announced.
    pub(super) async fn receive(&self, mut body: Body, expected: Expected) -> Result<Received, ObjectError> {
        if expected.octets.is_some_and(|octets| octets > OBJECT_PUT_OCTETS_MAX) {
            return Err(ObjectError::TooLarge);
        }
        if let Some(octets) = expected.octets.filter(|octets| *octets > IN_ROW_OCTETS_MAX as u64) {
            let blobs = self.blobs.clone();
            blocking(move || blobs.space().check_announced(octets)).await?;
        }
        let hashes = Hashes::new(expected.checksum.as_ref().map(|(algorithm, _)| *algorithm));
        let mut under = Under { hashes, buffer: Vec::new(), file: None };
        let mut trailers = None;
        loop {
            let frame = tokio::time::timeout(BODY_IDLE, body.next_frame()).await;
            let frame = frame.map_err(|_| ObjectError::Body("the body stalled for too long".to_owned()))?;
            let data = match frame {
                None => break,
                Some(frame) => match frame?.into_data() {
                    Ok(data) => data,
                    Err(frame) => {
                        trailers = frame.into_trailers().ok();
                        continue;
                    }
                },
            };
            let so_far = under.hashes.octets() + under.buffer.len() as u64;
            if so_far + data.len() as u64 > OBJECT_PUT_OCTETS_MAX {
                return Err(ObjectError::TooLarge);
            }
            under.buffer.extend_from_slice(&data);
            if under.buffer.len() >= CHUNK_OCTETS {
                under = self.write(under).await?;
            }
        }
        if under.file.is_none() && under.buffer.len() <= IN_ROW_OCTETS_MAX {
            under.hashes.update(&under.buffer);
            let hashed = under.hashes.finish();
            hashed.check(&expected, trailers.as_ref())?;
            return Ok(Received { hashed, octets: Octets::Few(under.buffer) });
        }
        let under = self.write(under).await?;
        let hashed = under.hashes.finish();
        hashed.check(&expected, trailers.as_ref())?;
        let file = under.file.expect("it was written to");
        let pending = blocking(move || file.finish()).await?;
        Ok(Received { hashed, octets: Octets::File(pending) })
    }

    async fn write(&self, mut under: Under) -> Result<Under, ObjectError> {
        let blobs = self.blobs.clone();
        blocking(move || {
            let file = match &mut under.file {
                Some(file) => file,
                None => under.file.insert(blobs.create()?),
            };
            under.hashes.update(&under.buffer);
            file.write(&under.buffer)?;
            under.buffer.clear();
            Ok(under)
        })
        .await
    }
}
