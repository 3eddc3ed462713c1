//! What was purged, as marks that objects are compared with.
//!
//! ```text
//!   purge ──▶ zone's marks:  all ─ moment          tag, host, prefix ─▶ moment
//!                             ▲                              ▲
//!   lookup: birth later than all? ── later than the latest of these, or compared with it already? ─yes─▶ current
//!                                                            └no─▶ look up its tags and the beginnings of its URL
//! ```
//!
//! Forgetting never walks the store: there is no index of what lies under a tag, a host or a prefix, which would have to
//! grow with what is stored, to follow every eviction, and could not name what is still on its way. Instead a purge
//! leaves a mark with its moment, and every object carries the moment at which its *fetch began* and the hashes of its
//! tags. What began before a mark that names it is not served, also if it is stored only afterwards. A hit costs some
//! loads of integers; only the first one after a purge of its zone looks marks up, and remembers that it did.
//!
//! Marks are keyed hashes (`hashing`). Two names that share one are purged together: that costs a fetch.
//!
//! With a tier on disk what is stored outlives the process, and so must the marks ([`kept`]): moments then go on from
//! where the last process left, zones keep their marks also while nothing of them is in memory, and a purged URL leaves a
//! mark, too.
//!
//! Limits: a zone keeps [`MARKS_PER_ZONE_MAX`] marks, all zones together [`MARKS_MAX`]. Beyond that the oldest of the zone
//! give way, and everything of the zone that began before the latest of them is forgotten with them: too much, never
//! too little. Zones of which nothing is stored or on its way have no marks; with a disk [`ZONES_MAX`] zones have some, and
//! beyond that everything is forgotten at once.

mod kept;

use std::{
    collections::{HashMap, HashSet},
    hash::{Hash as _, Hasher as _},
    iter,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};
use proxima_model::{CacheTag, DnsName, UrlPrefix, ZoneId, limits::URL_PREFIX_SEPARATORS_MAX};

pub use self::kept::KeptMarks;
use crate::{hashing, key::PrimaryKey};

/// The field in which origins tag their responses. It is for caches: no client gets it.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// Octets of a response's tags, with commas and spaces; what Cloudflare documents.
pub const TAGS_OCTETS_MAX: usize = 16 * 1_024;
/// Tags of a response; what Cloudflare documents. They take 8 octets each.
pub const TAGS_MAX: usize = 1_000;
/// Marks of a zone: hours of a publisher who purges every page that changes. Some 200 KiB.
pub const MARKS_PER_ZONE_MAX: usize = 8_192;
/// Marks of all zones: some 25 MiB.
pub const MARKS_MAX: usize = 1 << 20;
/// Zones that keep marks for what lies on the disk: some 20 MiB.
pub const ZONES_MAX: usize = 1 << 17;
/// Zones are cleaned of those of which nothing is left whenever there are this many, and twice as many as survived the
/// last time.
const ZONES_KEPT_MIN: usize = 1_024;

/// The moment at which a fetch began, in the order of purges. See [`Marks::begin`].
#[derive(Clone, Debug)]
pub struct Birth {
    moment: u64,
    zone: Arc<ZoneMarks>,
}

#[derive(Debug, Default)]
struct ZoneMarks {
    /// When these marks were made: of purges before, the zone may have none.
    since: u64,
    /// What began before goes.
    all: AtomicU64,
    /// The latest mark of a name.
    latest: AtomicU64,
    /// The latest mark of any tag.
    latest_tag: AtomicU64,
    names: RwLock<HashMap<u64, u64>>,
}

/// A name that a purge gives, as a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A tag.
    Tag(u64),
    /// A host, or a host with the beginning of a path: a host is the shortest prefix.
    Place(u64),
    /// One URL. Only the disk needs it: from memory a URL is taken out.
    Url(u64),
}

impl Mark {
    /// Of all responses with this tag.
    pub fn tag(tag: &CacheTag) -> Self {
        Self::Tag(tag_hash(tag.as_str().as_bytes()))
    }

    /// Of all URLs of this host.
    pub fn host(host: &DnsName) -> Self {
        Self::place(host.as_str(), "")
    }

    /// Of all URLs that begin so.
    pub fn prefix(prefix: &UrlPrefix) -> Self {
        Self::place(prefix.host().as_str(), prefix.path())
    }

    /// Of one URL, and of its slices.
    pub fn url(key: &PrimaryKey) -> [Self; 2] {
        [Self::Url(key.hash()), Self::Url(key.slices().hash())]
    }

    /// Of all keys that rules made of URLs of this one's path.
    pub fn path(key: &PrimaryKey) -> Self {
        Self::Place(path_hash(key))
    }

    fn place(host: &str, path: &str) -> Self {
        Self::Place(places(host, path).last().unwrap_or_default())
    }
}

fn tag_hash(tag: &[u8]) -> u64 {
    hashing::of((true, tag.to_ascii_lowercase()))
}

/// The hash of a URL without its query.
pub(crate) fn path_hash(key: &PrimaryKey) -> u64 {
    hashing::of((2_u8, key.path()))
}

/// The hashes of everything that a URL of this host and path begins with, the host first. `/a/b` begins with nothing, `/`,
/// `/a`, `/a/` and `/a/b`. No prefix has more slashes than are looked at here.
fn places(host: &str, path: &str) -> impl Iterator<Item = u64> {
    let mut hasher = hashing::hasher();
    (false, host).hash(&mut hasher);
    let of_host = hasher.finish();
    let segments = path.split('/').skip(1).take(URL_PREFIX_SEPARATORS_MAX);
    iter::once(of_host).chain(segments.flat_map(move |segment| {
        hasher.write_u8(b'/');
        let of_slash = hasher.finish();
        let of_segment = (!segment.is_empty()).then(|| {
            segment.hash(&mut hasher);
            hasher.finish()
        });
        iter::once(of_slash).chain(of_segment)
    }))
}

/// Host and path of a URL as it is a key.
fn host_and_path(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.split(':').next().unwrap_or_default();
    (host, target.split('?').next().unwrap_or_default())
}

/// The tags of a response, and how far it has been compared with marks.
#[derive(Debug, Default)]
pub struct Tags {
    hashes: Box<[u64]>,
    /// As the origin wrote them, for other servers' caches; most responses have none.
    text: Option<HeaderValue>,
    /// There may be others: every purge of a tag is taken for one of them.
    others: bool,
    /// The marks up to this one do not name the response.
    compared: AtomicU64,
}

impl Tags {
    /// Takes the tags out of a response's fields; `None` if it has none. Spaces around tags and empty ones are passed
    /// over, as is what no purge can name. Of a response with more than are kept, any purge of a tag is taken to be
    /// meant.
    pub fn take(headers: &mut HeaderMap) -> Option<Self> {
        if !headers.contains_key(&CACHE_TAG) {
            return None;
        }
        let mut tags = Self::default();
        let (mut hashes, mut octets) = (Vec::new(), 0);
        for line in headers.get_all(&CACHE_TAG) {
            octets += line.len();
            for tag in line.as_bytes().split(|octet| *octet == b',').map(<[u8]>::trim_ascii) {
                if octets > TAGS_OCTETS_MAX || hashes.len() == TAGS_MAX {
                    tags.others = true;
                    break;
                }
                if CacheTag::is_valid(tag) {
                    hashes.push(tag_hash(tag));
                }
            }
        }
        tags.text = joined(headers);
        headers.remove(&CACHE_TAG);
        hashes.sort_unstable();
        hashes.dedup();
        tags.hashes = hashes.into();
        Some(tags)
    }

    /// Those of a response that has not come yet: any.
    pub fn unknown() -> Self {
        Self { others: true, ..Self::default() }
    }

    /// The same tags of another response.
    #[must_use]
    pub fn again(&self) -> Self {
        let (hashes, text) = (self.hashes.clone(), self.text.clone());
        Self { hashes, text, others: self.others, compared: AtomicU64::new(0) }
    }

    /// Puts them back into an answer.
    pub(crate) fn give_back(&self, headers: &mut HeaderMap) {
        if let Some(text) = self.field() {
            headers.insert(CACHE_TAG, text);
        }
    }

    /// As a field, if there are any.
    pub fn field(&self) -> Option<HeaderValue> {
        self.text.clone()
    }

    /// What they take.
    pub fn octets(&self) -> usize {
        size_of_val(&*self.hashes) + self.text.as_ref().map_or(0, HeaderValue::len)
    }
}

/// All lines of the tags' field as one, in memory of its own; cut where there are too many, as when they are read.
fn joined(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut text = Vec::new();
    for line in headers.get_all(&CACHE_TAG) {
        if text.len() + line.len() > TAGS_OCTETS_MAX {
            // One tag too many says the same again: there may be others.
            text.resize(TAGS_OCTETS_MAX + 1, b',');
            break;
        }
        text.extend_from_slice(line.as_bytes());
        text.push(b',');
    }
    HeaderValue::from_bytes(&text).ok()
}

/// All marks.
#[derive(Debug)]
pub struct Marks {
    moments: AtomicU64,
    everything: AtomicU64,
    zones: Mutex<Zones>,
    per_zone_max: usize,
    names_max: usize,
    /// Whether what they hide may lie on a disk.
    lasting: bool,
    /// Zones of which something was asked for under a key that a rule made: the URLs that are forgotten in them leave marks
    /// of their paths. Elsewhere that would only use up marks.
    custom: RwLock<HashSet<ZoneId>>,
}

#[derive(Debug, Default)]
struct Zones {
    marks: HashMap<ZoneId, Arc<ZoneMarks>>,
    kept: usize,
    /// Marks of names in all zones.
    names: usize,
    /// When anything was last purged, whether it left a mark or not.
    purged: u64,
}

impl Default for Marks {
    fn default() -> Self {
        Self::new(MARKS_PER_ZONE_MAX, MARKS_MAX)
    }
}

impl Marks {
    /// No marks, and bounds for those to come.
    pub fn new(per_zone_max: usize, names_max: usize) -> Self {
        let (moments, everything) = (AtomicU64::new(1), AtomicU64::new(0));
        Self {
            moments,
            everything,
            zones: Mutex::default(),
            per_zone_max,
            names_max,
            lasting: false,
            custom: RwLock::default(),
        }
    }

    /// A moment later than all before.
    pub fn next_moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::AcqRel)
    }

    /// Marks the beginning of a fetch; call it before anything is sent to the origin.
    pub fn begin(&self, zone: ZoneId) -> Birth {
        let mut zones = self.zones();
        let zone = self.of_zone(&mut zones, zone);
        Birth { moment: self.next_moment(), zone }
    }

    /// The moment that comes next: earlier than every purge that is to come, and later than all before.
    pub fn moment(&self) -> u64 {
        self.moments.load(Ordering::Acquire)
    }

    /// The birth of a fetch for a request that came at this moment, and has waited since. If it cannot be known what was
    /// purged meanwhile, something was that hides it.
    pub fn begin_at(&self, zone: ZoneId, moment: u64) -> Birth {
        let mut zones = self.zones();
        let purged = zones.purged;
        let zone = self.of_zone(&mut zones, zone);
        if moment > zone.since || moment > purged { Birth { moment, zone } } else { Birth::hidden() }
    }

    fn zones(&self) -> MutexGuard<'_, Zones> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_zone(&self, zones: &mut Zones, zone: ZoneId) -> Arc<ZoneMarks> {
        if zones.marks.len() >= ZONES_KEPT_MIN.max(zones.kept.saturating_mul(2)) {
            self.clean(zones);
        }
        let new = || Arc::new(ZoneMarks { since: self.next_moment(), ..ZoneMarks::default() });
        zones.marks.entry(zone).or_insert_with(new).clone()
    }

    /// Lets go of zones whose marks hide nothing.
    fn clean(&self, zones: &mut Zones) {
        let kept = |marks: &Arc<ZoneMarks>| {
            // Nobody holds the marks: no object and no fetch of that zone is left for them to hide, but on the disk.
            Arc::strong_count(marks) > 1 || (self.lasting && marks.hide_something())
        };
        zones.marks.retain(|_, marks| kept(marks));
        if self.lasting && zones.marks.len() > ZONES_MAX {
            self.hide_everything(zones);
            zones.marks.retain(|_, marks| Arc::strong_count(marks) > 1);
        }
        zones.kept = zones.marks.len();
        zones.names = zones.marks.values().map(|marks| marks.len()).sum();
    }

    fn hide_everything(&self, zones: &mut Zones) {
        let moment = self.next_moment();
        zones.purged = moment;
        self.everything.fetch_max(moment, Ordering::AcqRel);
        zones.names = 0;
        for marks in zones.marks.values() {
            marks.keep_only_after(moment);
        }
    }

    /// The marks of a zone of which something is to be forgotten; `None` if there is nothing to forget.
    fn to_mark(&self, zones: &mut Zones, zone: ZoneId) -> Option<Arc<ZoneMarks>> {
        if self.lasting {
            return Some(self.of_zone(zones, zone));
        }
        // A zone without marks has no object and no fetch.
        zones.marks.get(&zone).cloned()
    }

    /// Whether nothing has been purged since that would hide what was begun then, has this key and these tags.
    pub fn is_current(&self, key: &PrimaryKey, birth: &Birth, tags: &Tags) -> bool {
        // First: what is marked meanwhile is looked up the next time.
        let latest = birth.zone.latest.load(Ordering::Acquire);
        if let Some(current) = self.is_plainly_current(birth, tags) {
            return current;
        }
        let current = !birth.zone.name(key, birth.moment, tags);
        if current {
            tags.compared.fetch_max(latest, Ordering::AcqRel);
        }
        current
    }

    /// The same, as far as no mark has to be looked up for it.
    pub(crate) fn is_plainly_current(&self, birth: &Birth, tags: &Tags) -> Option<bool> {
        let Birth { moment, zone } = birth;
        if *moment <= zone.all.load(Ordering::Acquire) || *moment <= self.everything.load(Ordering::Acquire) {
            return Some(false);
        }
        let latest = zone.latest.load(Ordering::Acquire);
        // What entered just before a mark has its very moment.
        (latest < *moment || latest <= tags.compared.load(Ordering::Acquire)).then_some(true)
    }

    /// Notes that something is asked for under this key, before its fetch begins; whether a key that a rule made is new to
    /// its zone.
    pub(crate) fn note_asked(&self, key: &PrimaryKey) -> bool {
        key.is_custom()
            && !self.has_custom(key.zone())
            && self.custom.write().unwrap_or_else(PoisonError::into_inner).insert(key.zone())
    }

    /// Whether anything of a zone was asked for under a key that a rule made.
    pub(crate) fn has_custom(&self, zone: ZoneId) -> bool {
        self.custom.read().unwrap_or_else(PoisonError::into_inner).contains(&zone)
    }

    /// Forgets everything of a zone, and whatever of it is on its way.
    pub fn purge_zone(&self, zone: ZoneId) {
        let mut zones = self.zones();
        let marks = self.to_mark(&mut zones, zone);
        let moment = self.next_moment();
        zones.purged = moment;
        let Some(marks) = marks else { return };
        zones.names -= marks.keep_only_after(moment);
    }

    /// Forgets what these names say of a zone, and whatever of it is on its way.
    pub fn purge_names(&self, zone: ZoneId, names: &[Mark]) {
        let mut zones = self.zones();
        let marks = self.to_mark(&mut zones, zone);
        let moment = self.next_moment();
        zones.purged = moment;
        let Some(marks) = marks else { return };
        zones.names += marks.add(moment, names);
        if zones.names > self.names_max {
            zones.names -= marks.keep_only_after(moment);
        } else if marks.len() > self.per_zone_max {
            zones.names -= marks.keep_only_after(marks.middle());
        }
    }

    /// Forgets everything, and whatever is on its way.
    pub fn purge_everything(&self) {
        self.hide_everything(&mut self.zones());
    }
}

impl ZoneMarks {
    fn hide_something(&self) -> bool {
        self.all.load(Ordering::Acquire) > 0 || self.len() > 0
    }

    fn len(&self) -> usize {
        self.names.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether a mark later than `birth` names what has this key and these tags.
    fn name(&self, key: &PrimaryKey, birth: u64, tags: &Tags) -> bool {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        // Again, since marks that give way leave their moment here: under the lock one sees them or it.
        if birth <= self.all.load(Ordering::Acquire)
            || (tags.others && birth <= self.latest_tag.load(Ordering::Acquire))
        {
            return true;
        }
        let later = |hash: u64| names.get(&hash).is_some_and(|moment| birth <= *moment);
        let (host, path) = host_and_path(key.url());
        later(key.hash())
            || tags.hashes.iter().copied().any(later)
            || places(host, path).any(later)
            || (key.is_custom() && later(path_hash(key)))
    }

    /// Sets these marks; how many more there are now.
    fn add(&self, moment: u64, marks: &[Mark]) -> usize {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let before = names.len();
        for mark in marks {
            let (Mark::Tag(hash) | Mark::Place(hash) | Mark::Url(hash)) = mark;
            names.insert(*hash, moment);
            if matches!(mark, Mark::Tag(_)) {
                self.latest_tag.fetch_max(moment, Ordering::AcqRel);
            }
        }
        // Last: whoever sees it finds the marks.
        self.latest.fetch_max(moment, Ordering::AcqRel);
        names.len() - before
    }

    /// The moment before which half of the marks are.
    fn middle(&self) -> u64 {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let mut moments: Vec<u64> = names.values().copied().collect();
        let middle = moments.len() / 2;
        if moments.is_empty() { 0 } else { *moments.select_nth_unstable(middle).1 }
    }

    /// Forgets all that began up to `moment`, and with it the marks up to it; how many fewer there are now.
    fn keep_only_after(&self, moment: u64) -> usize {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        self.all.fetch_max(moment, Ordering::AcqRel);
        let before = names.len();
        names.retain(|_, at| *at > moment);
        names.shrink_to_fit();
        before - names.len()
    }
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
