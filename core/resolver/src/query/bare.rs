//! What a client sends that asks for a cookie and nothing else (RFC 7873, 5.4).

use super::{Key, Query, Read, Stored, Written};
use crate::{
    edns::{BAD_VERSION, edns, refused},
    message::{HEADER_OCTETS, rcode},
    name::Name,
};

impl Query {
    /// Reads what asks for a cookie and nothing else; `None` of all else.
    pub(super) fn bare(message: &[u8], (id, flags): (u16, u16), additionals: u16) -> Option<Read> {
        let edns = edns(message, HEADER_OCTETS, additionals)??;
        if edns.version > 0 {
            return Some(Read::Refused(refused(id, flags, BAD_VERSION, &[])));
        }
        edns.cookie.filter(|_| !edns.is_malformed)?;
        Some(Read::Bare(Self {
            id,
            flags,
            question: Vec::new(),
            key: Key::new(&Name::root(), 0, false, false),
            edns: Some(edns),
            is_encrypted: false,
            cookie: None,
            keepalive: None,
            guard: None,
        }))
    }

    /// Appends an answer that says nothing but what stands beside all answers, the cookie, and whether the server's that came
    /// with the client's is good.
    pub fn greet(&self, is_good: bool, out: &mut Vec<u8>) -> Written {
        let has_bad = !is_good && self.cookie().is_some_and(|(_, server)| server.is_some());
        let code = if has_bad { rcode::BADCOOKIE } else { rcode::NOERROR };
        let nothing = Stored { ede: None, ..Stored::failure(code, 0, 0, 0) };
        self.write(&nothing, 0, false, usize::MAX, out)
    }
}
