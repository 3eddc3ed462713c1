//! What of a secondary zone's noun its answers are made of. The rest is noted about it (when a primary was heard, why it did not
//! come, who stages a transfer), and to compile a million records anew for that would be for nothing. Records that come have the
//! zone's own noun put, too, or another generation.

use proxima_model::{PrimarySoa, SecondaryZone};

/// What answers are made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Came {
    soa: Option<PrimarySoa>,
    generation: u32,
    is_served: bool,
    is_presigned: bool,
}

impl Came {
    pub(super) fn of(secondary: &SecondaryZone) -> Self {
        Self {
            soa: secondary.soa.clone(),
            generation: secondary.generation,
            is_served: secondary.is_served(),
            is_presigned: secondary.presigned.is_some(),
        }
    }

    /// Octets that it takes, about.
    pub(super) fn octets(&self) -> usize {
        size_of::<Self>() + self.soa.as_ref().map_or(0, |soa| soa.data.len())
    }
}
