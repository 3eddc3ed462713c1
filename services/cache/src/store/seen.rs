//! Looking up what answers requests that are only looked at.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use quick_cache::Equivalent;

use super::{Entry, Key, Object, Store};
use crate::{key::UrlSeen, policy::vary::Variant};

/// The key of what answers every request for a URL, where the URL lies in a connection's buffer: nothing is copied for
/// looking it up.
struct KeySeen<'a>(&'a UrlSeen<'a>);

impl Hash for KeySeen<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As `Key` is hashed.
        self.0.hash(state);
        None::<(u64, Variant)>.hash(state);
    }
}

impl Equivalent<Key> for KeySeen<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        key.variant.is_none() && self.0.is(&key.primary)
    }
}

impl Store {
    /// What answers every request for a URL, if there is something of which nothing else has to be found out: no purge that
    /// it has to be compared with, and no disk that wants it.
    pub(crate) fn glance(&self, url: &UrlSeen<'_>) -> Option<Arc<Object>> {
        // Not counted as used until it is: who is not answered at a glance looks it up once more.
        let Some(Entry::Object(object, _)) = self.entries.peek(&KeySeen(url)) else { return None };
        let current = self.marks.is_plainly_current(&object.birth, &object.tags) == Some(true);
        let wanted = self.disk.as_ref().is_some_and(|disk| disk.is_wanted(&object));
        (current && !wanted && !object.content.is_spoiled()).then_some(object)
    }

    /// Counts what was seen as used, for what is kept and what is not.
    pub(crate) fn touch(&self, url: &UrlSeen<'_>) {
        let _used = self.entries.get(&KeySeen(url));
    }
}
