//! Points in time and times to live.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Invalid, limits};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Shown as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point this many milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The point this many seconds later (earlier when negative); stops at the ends of what can be written.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => write!(f, "{} ms after 1970", self.0),
        }
    }
}

/// A record's time to live: automatic, or seconds; within the limits where its owner gives it, and whatever a primary says
/// where it comes by a zone transfer. In the log it is a number, of which 1 means automatic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Kept", into = "u32")]
pub enum Ttl {
    /// Ours to choose; `1` in the v4 API.
    Auto,
    /// This many seconds.
    Seconds(u32),
}

impl Ttl {
    /// Seconds as they go onto the wire.
    pub const fn wire_seconds(self) -> u32 {
        match self {
            Self::Auto => limits::TTL_SECONDS_AUTO,
            Self::Seconds(seconds) => seconds,
        }
    }
}

/// As it stands in the log, which has what was checked when it was put.
#[derive(Deserialize)]
#[serde(transparent)]
struct Kept(u32);

impl From<Kept> for Ttl {
    fn from(Kept(seconds): Kept) -> Self {
        if seconds == 1 { Self::Auto } else { Self::Seconds(seconds) }
    }
}

impl Ttl {
    /// Of a record that comes by a zone transfer: as it is, but for one second, which is kept as two.
    pub const fn transferred(seconds: u32) -> Self {
        Self::Seconds(if seconds == 1 { 2 } else { seconds })
    }
}

impl TryFrom<u32> for Ttl {
    type Error = Invalid;

    fn try_from(seconds: u32) -> Result<Self, Invalid> {
        match seconds {
            1 => Ok(Self::Auto),
            limits::TTL_SECONDS_MIN..=limits::TTL_SECONDS_MAX => Ok(Self::Seconds(seconds)),
            _ => Err(Invalid::new(
                "ttl",
                format!("{seconds} is out of range"),
                "give 1 for automatic, or 30 to 86400 seconds",
            )),
        }
    }
}

impl From<Ttl> for u32 {
    fn from(ttl: Ttl) -> u32 {
        match ttl {
            Ttl::Auto => 1,
            Ttl::Seconds(seconds) => seconds,
        }
    }
}
