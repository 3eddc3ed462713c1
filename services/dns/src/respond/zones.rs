//! What the making of an answer asks about zones, and about names outside.

use std::sync::Arc;

use proxima_ledger::{CompiledZones, ReadError};
use proxima_model::{AccountId, ZoneStatus};

use crate::{flattening::Outside, zone::ZoneTree};

/// Where zones come from.
pub trait Zones {
    /// The zone in which a name lies: the one with the longest name. `name` is in lower case, without the last dot.
    ///
    /// # Errors
    /// The replica cannot be read.
    fn find(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError>;

    /// Names strictly beneath this one that zones have, or had: some of them, if there are many. `None` if it is not known.
    fn beneath(&self, name: &str) -> Option<Vec<String>>;

    /// Whether the zone of exactly this name (lower case, no last dot) is active; `None` if there is none.
    ///
    /// # Errors
    /// The replica cannot be read.
    fn is_active(&self, zone: &str) -> Result<Option<bool>, ReadError>;

    /// Whether the answer in the making is made once more, when a zone that was missing is there.
    fn awaits_zone(&self) -> bool {
        false
    }

    /// What is known of the addresses of a name outside, on the wire and in lower case, for a zone of this account; nothing,
    /// where nobody resolves such names.
    fn outside(&self, _account: AccountId, _name: &[u8], _rtype: u16) -> Outside {
        Outside::default()
    }

    /// The same in words, for people at this server.
    fn explain_outside(&self, _name: &[u8]) -> Vec<String> {
        Vec::new()
    }
}

impl Zones for CompiledZones<ZoneTree> {
    fn find(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError> {
        Self::find(self, name)
    }

    fn beneath(&self, name: &str) -> Option<Vec<String>> {
        Self::beneath(self, name)
    }

    fn is_active(&self, zone: &str) -> Result<Option<bool>, ReadError> {
        if let Some(kept) = self.kept(zone) {
            return Ok(Some(kept.is_active()));
        }
        let zone = self.snapshot()?.zone_by_name(zone)?;
        Ok(zone.map(|zone| zone.status == ZoneStatus::Active))
    }
}
