//! Extensible priorities (RFC 9218).

/// How urgent an answer is, and whether it may take turns with others that are as urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// From 0, the most urgent, to 7.
    pub urgency: u8,
    /// Whether the client can use it piece by piece.
    pub incremental: bool,
}

impl Priority {
    /// Of a client that says nothing: all of its answers take turns. A client that says something means all that the RFC
    /// says, and so answers one after the other unless it says otherwise (RFC 9218, 4).
    pub const UNSAID: Self = Self { urgency: 3, incremental: true };
    /// What is not said of an answer by a client that says something.
    const DEFAULT: Self = Self { urgency: 3, incremental: false };

    /// Reads the field `priority`, or the value of a PRIORITY_UPDATE: a dictionary (RFC 8941, 3.2) of which members that
    /// are unknown or wrong are as if they were not there.
    pub fn read(value: &[u8]) -> Self {
        let mut priority = Self::DEFAULT;
        for member in value.split(|&octet| octet == b',') {
            // Parameters of a member mean nothing here.
            let member = member.split(|&octet| octet == b';').next().unwrap_or_default().trim_ascii();
            match member {
                [b'u', b'=', urgency @ b'0'..=b'7'] => priority.urgency = urgency - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }
}
