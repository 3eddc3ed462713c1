//! Who runs in a process, and why there is none.

use proxima_model::AccountId;

use super::{process::NotEntered, shares::Apart};
use crate::{error::WorkersError, metrics::RanIn};

/// Why there is no process.
#[derive(Debug)]
pub(crate) enum Unavailable {
    /// As many requests as it may have are at work in it.
    Full,
    /// A version keeps it from all others.
    Held,
    /// Processes ended again and again before they answered.
    BacksOff,
    /// It cannot be started.
    Failed(WorkersError),
    /// The process of one version has ended, or has as much to do as it may; it is asked elsewhere.
    Gone,
}

impl From<NotEntered> for Unavailable {
    fn from(why: NotEntered) -> Self {
        match why {
            NotEntered::Full => Self::Full,
            NotEntered::Held => Self::Held,
        }
    }
}

/// Who runs in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Accounts.
    Shared,
    /// Suspects.
    Apart,
    /// One version, alone, which is asked often.
    Own,
    /// An account's Durable Objects: one process at a time, whatever becomes of it, since two would keep two states.
    Objects(AccountId),
}

impl Place {
    /// As what the node counts for whom it runs; `None` where the dispatcher does.
    pub(crate) const fn counted_by_node(self) -> Option<Apart> {
        match self {
            Self::Shared | Self::Apart => None,
            Self::Own => Some(Apart::Version),
            Self::Objects(_) => Some(Apart::Objects),
        }
    }
}

impl From<Place> for RanIn {
    fn from(place: Place) -> Self {
        match place {
            Place::Shared => Self::Shared,
            Place::Apart => Self::Apart,
            Place::Own => Self::Own,
            Place::Objects(_) => Self::Objects,
        }
    }
}
