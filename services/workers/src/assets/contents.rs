//! What is in files, from the replica: small ones are kept in memory, of large ones a piece at a time is read.

use std::ops::Range;

use bytes::Bytes;
use proxima_ledger::{ReadError, Replica};
use proxima_model::{AccountId, ContentHash, ContentRef, WorkerContent, limits};
use proxima_pipeline::Body;
use quick_cache::{OptionsBuilder, Weighter, sync::Cache};

/// Octets of small files in memory.
pub(super) const SMALL_OCTETS_MAX: u64 = 64 << 20;
/// What an entry takes beside its octets.
const ENTRY_OCTETS: u64 = 160;
/// Octets of a common file, for what the cache reserves at its beginning.
const TYPICAL_OCTETS: u64 = 16 << 10;
/// Parts of the cache with a lock each: in each is room for many of the largest.
const SHARDS: usize = 4;
/// Pieces that are read ahead of a slow reader.
const PIECES_AHEAD: usize = 1;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentError {
    #[error("the replica cannot be read: {0}")]
    Unreadable(#[from] ReadError),
    #[error("{0} is not there, or not whole")]
    Lost(String),
    #[error("reading it has failed")]
    Failed,
}

type Name = (AccountId, ContentHash);

#[derive(Clone)]
struct Octets;

impl Weighter<Name, Bytes> for Octets {
    fn weight(&self, _: &Name, octets: &Bytes) -> u64 {
        ENTRY_OCTETS + octets.len() as u64
    }
}

/// See the module.
pub(super) struct Contents {
    replica: Replica,
    small: Cache<Name, Bytes, Octets>,
}

impl Contents {
    pub(super) fn new(replica: Replica) -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(usize::try_from(SMALL_OCTETS_MAX / TYPICAL_OCTETS).unwrap_or_default())
            .weight_capacity(SMALL_OCTETS_MAX)
            .build()
            .expect("both sizes are given");
        Self { replica, small: Cache::with_options(options, Octets, Default::default(), Default::default()) }
    }

    /// These octets of a content.
    pub(super) async fn body(
        &self,
        account: AccountId,
        content: ContentRef,
        range: Range<u64>,
    ) -> Result<Body, ContentError> {
        if content.octets as usize > limits::WORKER_PIECE_OCTETS {
            return Ok(self.pieces(account, content, range));
        }
        let name = (account, content.hash);
        let octets = match self.small.get(&name) {
            Some(octets) => octets,
            None => {
                let replica = self.replica.clone();
                let octets = blocking(move || piece(&replica, account, content, 0)).await?;
                self.small.insert(name, octets.clone());
                octets
            }
        };
        let at = |octet: u64| usize::try_from(octet).unwrap_or(usize::MAX).min(octets.len());
        Ok(Body::full(octets.slice(at(range.start)..at(range.end))))
    }

    /// A large content, as it is read: what cannot be read ends the body before its end.
    fn pieces(&self, account: AccountId, content: ContentRef, range: Range<u64>) -> Body {
        let (mut sender, body) = Body::channel(PIECES_AHEAD, Some(range.end - range.start));
        let replica = self.replica.clone();
        tokio::spawn(async move {
            let of_piece = limits::WORKER_PIECE_OCTETS as u64;
            let mut at = range.start;
            while at < range.end {
                let number =
                    u16::try_from(at / of_piece).expect("contents are bounded far below so many pieces");
                let replica = replica.clone();
                let octets = match blocking(move || piece(&replica, account, content, number)).await {
                    Ok(octets) => octets,
                    Err(error) => {
                        tracing::error!(%error, "an asset of a Worker breaks off");
                        return;
                    }
                };
                let begins = u64::from(number) * of_piece;
                let until = (range.end - begins).min(octets.len() as u64);
                let part = (at - begins)..until;
                let [from, to] =
                    [part.start, part.end].map(|octet| usize::try_from(octet).unwrap_or(usize::MAX));
                // Nobody reads any more.
                if from >= to || sender.send(octets.slice(from..to)).await.is_err() {
                    return;
                }
                at = begins + until;
            }
            sender.finish().await;
        });
        body
    }
}

/// A piece of a content, which must have the octets that it has.
fn piece(
    replica: &Replica,
    account: AccountId,
    content: ContentRef,
    number: u16,
) -> Result<Bytes, ContentError> {
    let whole = content.octets as usize;
    let expected =
        (whole - usize::from(number) * limits::WORKER_PIECE_OCTETS).min(limits::WORKER_PIECE_OCTETS);
    let found = replica.snapshot()?.get::<WorkerContent>(&(account, content.hash, number))?;
    let found = found.filter(|piece| piece.octets.len() == expected);
    let lost = || ContentError::Lost(format!("piece {number} of the content {}", content.hash));
    found.map(|piece| piece.octets.into()).ok_or_else(lost)
}

/// Runs what may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ContentError> + Send + 'static,
) -> Result<T, ContentError> {
    tokio::task::spawn_blocking(read).await.unwrap_or(Err(ContentError::Failed))
}
