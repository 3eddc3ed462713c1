//! What purges do to the store: they leave marks.

use proxima_model::ZoneId;

use super::{Progress, Store};
use crate::{key::PrimaryKey, marks::Mark};

impl Store {
    /// Remembers that an unsafe request has changed what lies at a URL.
    pub(crate) fn note_invalidated(&self, key: &PrimaryKey) {
        self.invalidated.note(key);
    }

    /// Whether that was just now.
    pub(crate) fn was_invalidated(&self, key: &PrimaryKey) -> bool {
        self.invalidated.is_recent(key)
    }

    /// How far purges are carried out.
    pub(crate) const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The purges of a state of the log are carried out.
    pub(crate) fn end_purging(&self, seq: u64) {
        self.progress.end(seq);
        if let Some(disk) = &self.disk {
            disk.applied(seq);
        }
    }

    /// Forgets a URL that was purged. The disk needs a mark: what lies there may be found by the next process.
    pub(crate) fn purge_url(&self, primary: &PrimaryKey) {
        if self.disk.is_some() {
            self.marks.purge_names(primary.zone(), &Mark::url(primary));
        }
    }

    /// Forgets everything of a zone, and whatever of it is on its way.
    pub fn purge_zone(&self, zone: ZoneId) {
        self.marks.purge_zone(zone);
    }

    /// Forgets what these names say of a zone, and whatever of it is on its way.
    pub fn purge_names(&self, zone: ZoneId, names: &[Mark]) {
        self.marks.purge_names(zone, names);
    }

    /// Notes that something is asked for under this key, before its fetch begins.
    pub(crate) fn note_asked(&self, key: &PrimaryKey) {
        if self.marks.note_asked(key)
            && let Some(disk) = &self.disk
        {
            // Before anything of it is: the next process must know of it, too.
            disk.write_marks();
        }
    }

    /// Forgets what lies under keys that rules made of URLs of this one's path.
    pub(crate) fn purge_path(&self, key: &PrimaryKey) {
        // Before the disk is open, nobody knows what lies there.
        let unknown = self.disk.as_ref().is_some_and(|disk| !disk.is_open());
        if unknown || self.marks.has_custom(key.zone()) {
            self.marks.purge_names(key.zone(), &[Mark::path(key)]);
        }
    }

    /// Forgets everything, and whatever is on its way.
    pub fn purge_everything(&self) {
        self.marks.purge_everything();
        self.entries.clear();
        self.passes.clear();
    }
}
