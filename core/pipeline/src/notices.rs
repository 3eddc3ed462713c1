//! Where DNS and the API meet: word that a zone which comes from another server has changed there.

use proxima_model::ZoneId;

/// Who sees to it that such a zone is looked at.
pub trait ZoneNotices: Send + Sync {
    /// Its primary says that it has changed (RFC 1996); whether that is taken and will be seen to. A primary whose word is
    /// acknowledged does not repeat it, so what is not taken must not be acknowledged. Must not wait.
    fn changed(&self, zone: ZoneId) -> bool;
}
