//! A row: what was written under a key, or that it has nothing any more. Pure.

use proxima_model::{KvNamespaceId, Timestamp, limits};
use serde::{Deserialize, Serialize};

use super::{StoreError, damaged};
use crate::stamp::Stamp;

/// Longer values lie in pieces beside their row: who lists keys reads rows, and no values.
pub(super) const SHORT_OCTETS_MAX: usize = 1_024;
/// Octets of a piece: four of LMDB's pages, less the head of the first.
pub(super) const PIECE_OCTETS: usize = (16 << 10) - 16;
/// How rows are written.
const VERSION: u8 = 1;

/// A row as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) namespace: [u8; 16],
    pub(super) key: &'a str,
    pub(super) stamp: Stamp,
    /// None: deleted, or run out.
    pub(super) value: Option<About<'a>>,
    /// Since when it has nothing, if so.
    pub(super) gone_ms: i64,
    /// The value, if it is short.
    pub(super) short: &'a [u8],
}

/// What is said of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About<'a> {
    #[serde(borrow)]
    pub(super) metadata: Option<&'a str>,
    pub(super) expires_ms: Option<i64>,
    length: u32,
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    version: u8,
    namespace: [u8; 16],
    #[serde(borrow)]
    key: &'a str,
    stamp: Stamp,
    #[serde(borrow)]
    value: Option<About<'a>>,
    gone_ms: i64,
}

impl<'a> About<'a> {
    pub(super) fn new(metadata: Option<&'a str>, expires: Option<Timestamp>, octets: usize) -> Self {
        let length = u32::try_from(octets).expect("a value has at most 25 MiB");
        Self { metadata, expires_ms: expires.map(Timestamp::as_millis), length }
    }

    pub(super) const fn octets(&self) -> usize {
        self.length as usize
    }

    pub(super) fn expires(&self) -> Option<Timestamp> {
        self.expires_ms.map(Timestamp::from_millis)
    }

    pub(super) fn has_run_out(&self, now: Timestamp) -> bool {
        self.expires_ms.is_some_and(|at| at <= now.as_millis())
    }
}

impl<'a> Row<'a> {
    pub(super) fn read(octets: &'a [u8]) -> Result<Self, StoreError> {
        let (written, short) =
            postcard::take_from_bytes::<Written<'a>>(octets).map_err(|_| damaged("a row"))?;
        let Written { version, namespace, key, stamp, value, gone_ms } = written;
        if version != VERSION || value.is_some_and(|value| value.octets() > limits::KV_VALUE_OCTETS_MAX) {
            return Err(damaged("a row of another version"));
        }
        Ok(Self { namespace, key, stamp, value, gone_ms, short })
    }

    pub(super) fn write(&self) -> Result<Vec<u8>, StoreError> {
        let written = Written {
            version: VERSION,
            namespace: self.namespace,
            key: self.key,
            stamp: self.stamp.clone(),
            value: self.value,
            gone_ms: self.gone_ms,
        };
        let mut octets =
            postcard::to_allocvec(&written).map_err(|error| StoreError::Broken(error.to_string()))?;
        octets.extend_from_slice(self.short);
        Ok(octets)
    }

    pub(super) const fn namespace(&self) -> KvNamespaceId {
        KvNamespaceId::from_bytes(self.namespace)
    }

    /// Whether the value lies in pieces.
    pub(super) fn has_pieces(&self) -> bool {
        self.value.is_some_and(|value| value.octets() > SHORT_OCTETS_MAX)
    }
}

/// Reads octets as a row: what fuzz targets call. Nothing in it may panic but by what it asserts.
pub(super) fn exercise(octets: &[u8]) {
    let Ok(row) = Row::read(octets) else { return };
    let again = row.write().expect("what was read is written");
    assert_eq!(Row::read(&again).as_ref(), Ok(&row));
}
