//! Octets that come: hashed, counted, and written to a file, or into the engine, if they are more than a row takes.

use std::time::Duration;

use proxima_model::AccountId;
use proxima_pipeline::{Body, Expected, OBJECT_PUT_OCTETS_MAX, ObjectError};

use super::{
    IN_ROW_OCTETS_MAX, Store,
    blobs::{self, Pending},
    blocking, engine,
    hashing::{Hashed, Hashes},
    index::meant,
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
    Many(Pending),
}

impl Received {
    /// As a row has it, and the blob that is to be kept until the row is durable.
    pub(super) fn into_piece(self) -> (Piece, Option<Pending>) {
        let (at, pending) = match self.octets {
            Octets::Few(octets) => (Place::Row(octets), None),
            Octets::Many(pending) => (pending.blob().into(), Some(pending)),
        };
        (Piece { at, octets: self.hashed.octets, crc: self.hashed.crc }, pending)
    }
}

/// What is under way between two turns of a thread.
struct Under {
    hashes: Hashes,
    buffer: Vec<u8>,
    writing: Option<Writing>,
    /// Whose they are.
    account: AccountId,
}

/// Where they are written.
enum Writing {
    File(blobs::Writing),
    Engine(Box<engine::Writing>),
}

impl Writing {
    /// Adds octets. Of a file it waits for the disk; for the engine they are made ready.
    fn write(&mut self, octets: &[u8]) -> Result<(), ObjectError> {
        match self {
            Self::File(file) => file.write(octets),
            Self::Engine(engine) => {
                engine.write(octets);
                Ok(())
            }
        }
    }

    /// All is written: when this is ready, it is there whatever happens.
    async fn finish(self) -> Result<Pending, ObjectError> {
        match self {
            Self::File(file) => blocking(move || file.finish()).await,
            Self::Engine(engine) => engine.finish().await,
        }
    }
}

impl Store {
    /// Receives a body to its end, which must be what was announced.
    pub(super) async fn receive(
        &self,
        account: AccountId,
        mut body: Body,
        expected: Expected,
    ) -> Result<Received, ObjectError> {
        if expected.octets.is_some_and(|octets| octets > OBJECT_PUT_OCTETS_MAX) {
            return Err(ObjectError::TooLarge);
        }
        if let Some(octets) = expected.octets.filter(|octets| *octets > IN_ROW_OCTETS_MAX as u64) {
            let blobs = self.blobs.clone();
            match blobs.engine() {
                Some(engine) => engine.check()?,
                None => blocking(move || blobs.space().check_announced(octets).map_err(meant)).await?,
            }
        }
        let hashes = Hashes::new(expected.checksum.as_ref().map(|(algorithm, _)| *algorithm));
        let mut under = Under { hashes, buffer: Vec::new(), writing: None, account };
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
        if under.writing.is_none() && under.buffer.len() <= IN_ROW_OCTETS_MAX {
            under.hashes.update(&under.buffer);
            let hashed = under.hashes.finish();
            hashed.check(&expected, trailers.as_ref())?;
            return Ok(Received { hashed, octets: Octets::Few(under.buffer) });
        }
        let under = self.write(under).await?;
        let hashed = under.hashes.finish();
        hashed.check(&expected, trailers.as_ref())?;
        let pending = under.writing.expect("it was written to").finish().await?;
        Ok(Received { hashed, octets: Octets::Many(pending) })
    }

    async fn write(&self, mut under: Under) -> Result<Under, ObjectError> {
        let blobs = self.blobs.clone();
        if let (None, Some(engine)) = (&under.writing, blobs.engine()) {
            let writing = engine::Writing::begin(engine, &blobs, under.account).await?;
            under.writing = Some(Writing::Engine(Box::new(writing)));
        }
        let mut under = blocking(move || {
            let writing = match &mut under.writing {
                Some(writing) => writing,
                None => under.writing.insert(Writing::File(blobs.create()?)),
            };
            under.hashes.update(&under.buffer);
            writing.write(&under.buffer)?;
            under.buffer.clear();
            Ok(under)
        })
        .await?;
        if let Some(Writing::Engine(engine)) = &mut under.writing {
            engine.pass_on().await?;
        }
        Ok(under)
    }
}
