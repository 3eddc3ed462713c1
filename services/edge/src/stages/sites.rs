//! The port through which stages find a host's zone.

use std::sync::Arc;

use proxima_ledger::{CompiledZones, ReadError, nearest_active};
use proxima_pipeline::Site;

/// Finds the zone, compiled, in which a host lies.
pub trait Sites: Send + Sync + 'static {
    /// The nearest active zone whose name is `host` or encloses it, and where none is active, the nearest of all;
    /// `host` in lower case, without last dot.
    ///
    /// # Errors
    /// The replica cannot be read.
    fn find(&self, host: &str) -> Result<Option<Arc<Site>>, ReadError>;
}

impl Sites for CompiledZones<Site> {
    fn find(&self, host: &str) -> Result<Option<Arc<Site>>, ReadError> {
        nearest_active(host, |name| Self::find(self, name))
    }
}
