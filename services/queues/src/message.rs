//! A message, as it lies in a store and goes from server to server: pure.

use std::fmt;

use bytes::Bytes;
use proxima_model::Timestamp;
use proxima_pipeline::{QueueContentType, QueueDelivered};
use serde::{Deserialize, Serialize};

/// Octets of the time in an id.
const TIME_OCTETS: usize = 6;

/// Which message: when it was sent, in milliseconds, and what nobody can guess. In the order of their octets they are in that of
/// time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct MessageId([u8; 16]);

impl MessageId {
    /// One that nobody has had.
    pub(crate) fn new(now: Timestamp) -> Self {
        let mut octets = Self::first_of(now).0;
        octets[TIME_OCTETS..].copy_from_slice(&rand::random::<[u8; 16 - TIME_OCTETS]>());
        Self(octets)
    }

    /// What is before all that were sent from then on.
    pub(crate) fn first_of(time: Timestamp) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or_default().to_be_bytes();
        let mut octets = [0; 16];
        octets[..TIME_OCTETS].copy_from_slice(&millis[8 - TIME_OCTETS..]);
        Self(octets)
    }

    pub(crate) const fn from_octets(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    pub(crate) const fn octets(&self) -> &[u8; 16] {
        &self.0
    }

    /// When it was sent.
    pub(crate) fn sent_at(self) -> Timestamp {
        let mut millis = [0; 8];
        millis[8 - TIME_OCTETS..].copy_from_slice(&self.0[..TIME_OCTETS]);
        Timestamp::from_millis(i64::try_from(u64::from_be_bytes(millis)).unwrap_or(i64::MAX))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_hexadecimal = |octet: u8| octet.is_ascii_digit() || matches!(octet, b'a'..=b'f');
        let whole = text.len() == 32 && text.bytes().all(is_hexadecimal);
        u128::from_str_radix(text, 16).ok().filter(|_| whole).map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// How a message stands: what changes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// From when on it is delivered. One that was pulled is as one that waits until its lease has run out.
    pub(crate) due_ms: i64,
    /// How often it was delivered.
    pub(crate) attempts: u32,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) state: State,
    pub(crate) content_type: QueueContentType,
    #[serde(with = "octets")]
    pub(crate) body: Bytes,
}

impl Message {
    /// What its latest delivery is known by.
    pub(crate) const fn lease(&self) -> Lease {
        Lease { id: self.id, attempts: self.state.attempts }
    }

    /// As it is given to who takes it, for one time more than it was delivered so far.
    pub(crate) fn delivered(&self) -> QueueDelivered {
        QueueDelivered {
            id: self.id.to_string(),
            sent_at: self.id.sent_at(),
            attempts: self.state.attempts.saturating_add(1),
            content_type: self.content_type,
            body: self.body.clone(),
            lease: String::new(),
        }
    }
}

/// What a delivery is known by: the message, and how often it had been delivered with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) id: MessageId,
    pub(crate) attempts: u32,
}

impl Lease {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, attempts) = text.split_once('-')?;
        Some(Self { id: MessageId::parse(id)?, attempts: attempts.parse().ok()? })
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.id, self.attempts)
    }
}

/// Octets in one piece, which serde would write one by one.
mod octets {
    use std::fmt;

    use bytes::Bytes;
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(octets: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(octets)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Octets;
        impl de::Visitor<'_> for Octets {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("octets")
            }

            fn visit_bytes<E: de::Error>(self, octets: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(octets))
            }
        }
        deserializer.deserialize_bytes(Octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_its_message_was_sent_and_is_after_those_of_before() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let (one, other) = (MessageId::new(at), MessageId::new(at));
        assert_ne!(one, other);
        assert_eq!(one.sent_at(), at);
        assert!(
            MessageId::first_of(at) <= one
                && one < MessageId::first_of(Timestamp::from_millis(1_700_000_000_124))
        );
        assert_eq!(MessageId::parse(&one.to_string()), Some(one));
        for wrong in ["", "0", "+0000000000000000000000000000000", "0000000000000000000000000000000G"] {
            assert_eq!(MessageId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_lease_is_read_as_it_was_written_and_nothing_else_is_one() {
        let lease = Lease { id: MessageId::from_octets([7; 16]), attempts: 3 };
        assert_eq!(Lease::parse(&lease.to_string()), Some(lease));
        for wrong in
            ["", "-", "7-3", "07070707070707070707070707070707", "07070707070707070707070707070707-x"]
        {
            assert_eq!(Lease::parse(wrong), None, "{wrong}");
        }
    }
}
