//! Where DNS and the API meet: word that a zone which comes from another server has changed there.

use proxima_model::ZoneId;

/// Who sees to it that such a zone is looked at.
pub trait ZoneNotices: Send + Sync {
    /// Its primary says that it has changed (RFC 1996). Must not wait; may forget what comes too often.
    fn changed(&self, zone: ZoneId);
}
