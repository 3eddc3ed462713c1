//! What lies in a segment: a pure, bounded encoding.
//!
//! ```text
//!   segment:  record record … record │ footer trailer        (the latter once it is full)
//!   record:   head (40 octets) │ description │ a checksum for each block │ content
//!   footer:   places of all records, so that a start reads these and no content
//! ```
//!
//! Integers are little-endian. The head has a checksum over itself, the description and the blocks' checksums; each block
//! of [`BLOCK_OCTETS`] has its own, so that a part of large content is verified without reading the rest. Nothing that is
//! read is trusted: lengths are compared with what there is before anything is allocated.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proxima_model::{Timestamp, ZoneId};
use serde::{Deserialize, Serialize};

use crate::{
    key::PrimaryKey,
    marks::{CACHE_TAG, Tags},
    policy::{
        freshness::Freshness,
        vary::{Variant, Vary},
    },
    store::Object,
};

/// The octets of a head.
pub(crate) const HEAD_OCTETS: usize = 40;
/// The octets of a trailer.
pub(crate) const TRAILER_OCTETS: usize = 16;
/// Content is verified, and so read, in blocks of this size.
pub(crate) const BLOCK_OCTETS: usize = 64 * 1_024;
/// What a description may take: fields are bounded by the edge to less.
const DESCRIPTION_OCTETS_MAX: usize = 1 << 20;

const OBJECT: u32 = u32::from_le_bytes(*b"PxO1");
const FORGOTTEN: u32 = u32::from_le_bytes(*b"PxF1");
const TRAILER: u32 = u32::from_le_bytes(*b"PxT1");

/// A record's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Whether it is an object; else it says that what came before it is forgotten.
    pub(crate) is_object: bool,
    /// The hash of its URL.
    pub(crate) primary: u64,
    /// The hash of its secondary key; 0 in a record that forgets stands for all.
    pub(crate) variant: u64,
    description: u32,
    content: u64,
    checksum: u32,
}

/// What cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// What is kept of an object beside its content.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    zone: [u8; 16],
    url: String,
    /// What a cache rule put into the key.
    parts: Option<Vec<u8>>,
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    freshness: Freshness,
    vary: Vec<String>,
    variant: Vec<u8>,
    received_at: i64,
    birth: u64,
    /// The field in which the origin tagged it.
    tags: Option<Vec<u8>>,
}

/// An object as it is read: all but its content.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) zone: ZoneId,
    pub(crate) url: String,
    pub(crate) parts: Option<Vec<u8>>,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) freshness: Freshness,
    pub(crate) vary: Vary,
    pub(crate) variant: Variant,
    pub(crate) received_at: Timestamp,
    /// The moment of its birth.
    pub(crate) birth: u64,
    pub(crate) tags: Tags,
    /// The checksums of its content's blocks.
    pub(crate) sums: Arc<[u32]>,
    /// The octets of its content.
    pub(crate) length: u64,
}

/// Where a record lies in its segment, and what it is found by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) is_object: bool,
    pub(crate) primary: u64,
    pub(crate) variant: u64,
    /// By which names it varies: a number in the footer's list.
    pub(crate) vary: u16,
    pub(crate) offset: u32,
    /// Octets before the content.
    pub(crate) before: u32,
    /// Octets of all.
    pub(crate) octets: u32,
}

/// The end of a full segment.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Footer {
    pub(crate) varies: Vec<Vec<String>>,
    pub(crate) places: Vec<Place>,
}

/// The checksum of some octets.
pub(crate) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// The checksums of content in pieces.
fn sums_of(pieces: &[Bytes]) -> Vec<u32> {
    let (mut sums, mut hasher, mut filled) = (Vec::new(), crc32fast::Hasher::new(), 0);
    for piece in pieces {
        let mut left = &piece[..];
        while !left.is_empty() {
            let (now, later) = left.split_at(left.len().min(BLOCK_OCTETS - filled));
            hasher.update(now);
            filled += now.len();
            left = later;
            if filled == BLOCK_OCTETS {
                sums.push(std::mem::take(&mut hasher).finalize());
                filled = 0;
            }
        }
    }
    if filled > 0 {
        sums.push(hasher.finalize());
    }
    sums
}

impl Place {
    /// A record that begins with this head, at no place yet.
    pub(crate) fn of(head: &Head) -> Self {
        let small = |octets: u64| u32::try_from(octets).unwrap_or(u32::MAX);
        Self {
            is_object: head.is_object,
            primary: head.primary,
            variant: head.variant,
            vary: 0,
            offset: 0,
            before: small(head.before() as u64),
            octets: small(head.octets()),
        }
    }
}

impl Head {
    /// A record that forgets a URL, or one variant of it.
    pub(crate) fn forgetting(primary: u64, variant: Option<u64>) -> (Self, Vec<u8>) {
        let variant = variant.unwrap_or(0);
        let head = Self { is_object: false, primary, variant, description: 0, content: 0, checksum: 0 };
        (head, head.write(&[]))
    }

    /// Everything of an object that goes before its content.
    pub(crate) fn object(key: &PrimaryKey, object: &Object, pieces: &[Bytes]) -> (Self, Vec<u8>) {
        let content = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut after = describe(key, object);
        let described = after.len();
        for sum in sums_of(pieces) {
            after.extend_from_slice(&sum.to_le_bytes());
        }
        let head = Self {
            is_object: true,
            primary: key.hash(),
            variant: object.variant.hash(),
            description: u32::try_from(described).unwrap_or(u32::MAX),
            content,
            checksum: 0,
        };
        (head, head.write(&after))
    }

    fn write(&self, after: &[u8]) -> Vec<u8> {
        let mut octets = Vec::with_capacity(HEAD_OCTETS + after.len());
        octets.extend_from_slice(&if self.is_object { OBJECT } else { FORGOTTEN }.to_le_bytes());
        octets.extend_from_slice(&self.description.to_le_bytes());
        octets.extend_from_slice(&self.primary.to_le_bytes());
        octets.extend_from_slice(&self.variant.to_le_bytes());
        octets.extend_from_slice(&self.content.to_le_bytes());
        let sum = checksum(&[&octets, after]);
        octets.extend_from_slice(&sum.to_le_bytes());
        octets.extend_from_slice(&[0; 4]);
        octets.extend_from_slice(after);
        octets
    }

    /// Reads a head. Its checksum is compared later, with what follows it: see [`Self::verify`].
    pub(crate) fn read(octets: &[u8]) -> Result<Self, Corrupt> {
        let octets = octets.get(..HEAD_OCTETS).ok_or(Corrupt)?;
        let word = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap_or_default());
        let long = |at: usize| u64::from_le_bytes(octets[at..at + 8].try_into().unwrap_or_default());
        let is_object = match word(0) {
            OBJECT => true,
            FORGOTTEN => false,
            _ => return Err(Corrupt),
        };
        let head = Self {
            is_object,
            description: word(4),
            primary: long(8),
            variant: long(16),
            content: long(24),
            checksum: word(32),
        };
        let whole = head.description as usize <= DESCRIPTION_OCTETS_MAX
            && head.content <= u64::from(u32::MAX)
            && (is_object || head.description == 0 && head.content == 0);
        if whole { Ok(head) } else { Err(Corrupt) }
    }

    fn blocks(&self) -> usize {
        usize::try_from(self.content).unwrap_or(usize::MAX).div_ceil(BLOCK_OCTETS)
    }

    /// Octets before the content.
    pub(crate) fn before(&self) -> usize {
        HEAD_OCTETS + self.description as usize + 4 * self.blocks()
    }

    /// Octets of the whole record.
    pub(crate) fn octets(&self) -> u64 {
        self.before() as u64 + self.content
    }

    /// Compares the checksum of everything before the content. `octets` begins with the head.
    pub(crate) fn verify(&self, octets: &[u8]) -> Result<(), Corrupt> {
        let octets = octets.get(..self.before()).ok_or(Corrupt)?;
        let sum = checksum(&[&octets[..HEAD_OCTETS - 8], &octets[HEAD_OCTETS..]]);
        if sum == self.checksum { Ok(()) } else { Err(Corrupt) }
    }
}

fn describe(key: &PrimaryKey, object: &Object) -> Vec<u8> {
    let field =
        |(name, value): (&HeaderName, &HeaderValue)| (name.as_str().to_owned(), value.as_bytes().to_vec());
    let description = Description {
        zone: *key.zone().as_bytes(),
        url: key.url().to_owned(),
        parts: key.parts().map(<[u8]>::to_vec),
        status: object.status.as_u16(),
        fields: object.headers.iter().map(field).collect(),
        freshness: object.freshness.clone(),
        vary: object.vary.names().map(str::to_owned).collect(),
        variant: object.variant.as_bytes().to_vec(),
        received_at: object.received_at.as_millis(),
        birth: object.birth.moment(),
        tags: object.tags.field().map(|tags| tags.as_bytes().to_vec()),
    };
    // Only strings and numbers: there is nothing in it that cannot be written.
    postcard::to_allocvec(&description).unwrap_or_default()
}

/// Reads everything of an object that goes before its content, and compares the checksum.
pub(crate) fn read_object(octets: &[u8]) -> Result<Described, Corrupt> {
    let head = Head::read(octets)?;
    head.verify(octets)?;
    let described = HEAD_OCTETS + head.description as usize;
    let (description, sums) = octets[HEAD_OCTETS..head.before()].split_at(described - HEAD_OCTETS);
    let read: Description = postcard::from_bytes(description).map_err(|_| Corrupt)?;
    let mut headers = HeaderMap::with_capacity(read.fields.len());
    for (name, value) in read.fields {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Corrupt)?;
        headers
            .try_append(name, HeaderValue::from_bytes(&value).map_err(|_| Corrupt)?)
            .map_err(|_| Corrupt)?;
    }
    if !head.is_object {
        return Err(Corrupt);
    }
    let mut tagged = HeaderMap::new();
    if let Some(tags) = read.tags {
        tagged.insert(CACHE_TAG, HeaderValue::from_bytes(&tags).map_err(|_| Corrupt)?);
    }
    Ok(Described {
        zone: ZoneId::from_bytes(read.zone),
        url: read.url,
        parts: read.parts,
        status: StatusCode::from_u16(read.status).map_err(|_| Corrupt)?,
        headers,
        freshness: read.freshness,
        vary: Vary::of_names(&read.vary).ok_or(Corrupt)?,
        variant: Variant::from_octets(&read.variant),
        received_at: Timestamp::from_millis(read.received_at),
        birth: read.birth,
        tags: Tags::take(&mut tagged).unwrap_or_default(),
        sums: sums
            .chunks_exact(4)
            .map(|sum| u32::from_le_bytes(sum.try_into().unwrap_or_default()))
            .collect(),
        length: head.content,
    })
}

impl Footer {
    /// The footer and its trailer.
    pub(crate) fn write(&self) -> Vec<u8> {
        Self::sealed(postcard::to_allocvec(self).unwrap_or_default())
    }

    /// Octets with the trailer that belongs to them.
    fn sealed(mut octets: Vec<u8>) -> Vec<u8> {
        let (length, sum) = (octets.len() as u64, checksum(&[&octets]));
        octets.extend_from_slice(&length.to_le_bytes());
        octets.extend_from_slice(&sum.to_le_bytes());
        octets.extend_from_slice(&TRAILER.to_le_bytes());
        octets
    }

    /// How long a footer is, by the trailer at its end.
    pub(crate) fn length(trailer: &[u8; TRAILER_OCTETS]) -> Result<u64, Corrupt> {
        let (length, rest) = trailer.split_at(8);
        let is_trailer = rest[4..] == TRAILER.to_le_bytes();
        is_trailer.then(|| u64::from_le_bytes(length.try_into().unwrap_or_default())).ok_or(Corrupt)
    }

    /// Reads a footer; `octets` ends with the trailer. `records` is where it begins: no place lies beyond.
    pub(crate) fn read(octets: &[u8], records: u64) -> Result<Self, Corrupt> {
        let (footer, trailer) = octets.split_last_chunk::<TRAILER_OCTETS>().ok_or(Corrupt)?;
        if Self::length(trailer)? != footer.len() as u64
            || trailer[8..12] != checksum(&[footer]).to_le_bytes()
        {
            return Err(Corrupt);
        }
        let footer: Self = postcard::from_bytes(footer).map_err(|_| Corrupt)?;
        let within = |place: &Place| {
            u64::from(place.offset) + u64::from(place.octets) <= records
                && place.before <= place.octets
                && place.before as usize >= HEAD_OCTETS
                && (!place.is_object || usize::from(place.vary) < footer.varies.len())
        };
        if footer.places.iter().all(within) { Ok(footer) } else { Err(Corrupt) }
    }
}

/// Reads octets as everything that can lie in a segment: what property and fuzz tests call. Nothing in it may panic.
pub(super) fn exercise(octets: &[u8]) {
    let _object = read_object(octets);
    let _head = Head::read(octets).map(|head| (head.octets(), head.verify(octets)));
    let _footer = Footer::read(octets, octets.len() as u64);
    // The same with the checksums that it would have: nobody finds those, and what stands behind them would never be read.
    let mut record = octets.to_vec();
    if let Ok(head) = Head::read(octets)
        && octets.len() >= head.before()
    {
        let sum = checksum(&[&octets[..HEAD_OCTETS - 8], &octets[HEAD_OCTETS..head.before()]]);
        record[HEAD_OCTETS - 8..HEAD_OCTETS - 4].copy_from_slice(&sum.to_le_bytes());
        let _object = read_object(&record);
    }
    let footer = Footer::sealed(octets.to_vec());
    let _footer = Footer::read(&footer, octets.len() as u64);
}
