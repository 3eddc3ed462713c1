//! What LMDB and the disk say, as what it means for who asked.

use std::io;

use heed::MdbError;

use crate::OpenError;

/// Why a store did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing more can be kept.
    Full(String),
    /// Too much is under way.
    Busy,
    /// It cannot be read or written.
    Broken(String),
}

impl From<heed::Error> for Fault {
    fn from(error: heed::Error) -> Self {
        use heed::Error::{Io, Mdb};
        match error {
            Mdb(MdbError::MapFull | MdbError::TxnFull) => Self::Full(error.to_string()),
            Mdb(MdbError::ReadersFull) => Self::Busy,
            Io(error) => error.into(),
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full(error.to_string()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Short => Self::Broken(error.to_string()),
            OpenError::Lmdb(error) => error.into(),
        }
    }
}
