//! A blob that is open, wherever it lies.

use std::{fs::File, time::Duration};

use bytes::Bytes;
use proxima_pipeline::ObjectError;
use rustix::fs::{Advice, fadvise};

use super::{blocking, engine::Stream, sums};

/// A blob that is open.
pub(super) enum Opened {
    File(File),
    /// In the engine it is read from one octet to another, in their order.
    Engine(Box<Stream>),
}

/// Which octets of a blob are read next.
#[derive(Clone, Copy)]
pub(super) struct Next {
    /// Octets of all of it.
    pub(super) all: u64,
    /// The first of them.
    pub(super) start: u64,
    /// How many of a file; of the engine it is those to the end of a block or of what it was opened for.
    pub(super) octets: u64,
}

impl Opened {
    /// Waits until octets can be read. A file is there when it is open.
    pub(super) async fn begin(&mut self) -> Result<(), ObjectError> {
        match self {
            Self::File(_) => Ok(()),
            Self::Engine(stream) => stream.begin().await,
        }
    }

    /// The next octets, as they were written, and what `work` makes of them: of a file, in the same turn of a thread.
    pub(super) async fn read<T: Send + 'static>(
        self,
        next: Next,
        work: impl FnOnce(&Bytes) -> T + Send + 'static,
    ) -> Result<(Self, Bytes, T), ObjectError> {
        match self {
            Self::File(file) => {
                blocking(move || {
                    let octets = sums::read(&file, next.all, next.start, next.octets)?;
                    let made = work(&octets);
                    Ok((Self::File(file), octets, made))
                })
                .await
            }
            Self::Engine(mut stream) => {
                let octets = stream.next().await?;
                // Of one block: a fraction of a millisecond.
                let made = work(&octets);
                Ok((Self::Engine(stream), octets, made))
            }
        }
    }

    /// What `state` becomes by all octets of a blob, so many at a time, after each of which it is rested.
    pub(super) async fn walk<S: Send + 'static>(
        mut self,
        all: u64,
        at_a_time: u64,
        mut state: S,
        add: impl Fn(&mut S, &Bytes) + Copy + Send + 'static,
        rest: impl Fn(usize) -> Duration,
    ) -> Result<(Self, S), ObjectError> {
        let mut start = 0;
        while start < all {
            let next = Next { all, start, octets: at_a_time.min(all - start) };
            let octets: Bytes;
            (self, octets, state) = self
                .read(next, move |octets| {
                    add(&mut state, octets);
                    state
                })
                .await?;
            start += octets.len() as u64;
            let rest = rest(octets.len());
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
        }
        Ok((self, state))
    }

    /// Nobody has asked for what was read: what others read is kept in memory rather than this.
    pub(super) fn forget(self) {
        if let Self::File(file) = self {
            fadvise(&file, 0, None, Advice::DontNeed).ok();
        }
    }
}
