//! Sessions that may begin with early data (0-RTT; RFC 8446, 2.3), over QUIC.
//!
//! ```text
//!  first handshake, zone has `0rtt` ─▶ put: kept here under a random id, which is the ticket
//!  next one, with that ticket ──────▶ take: given out once, early data is accepted
//!                                      └─ taken before, forgotten, or another server's: a full handshake, no early data
//! ```
//!
//! Early data can be sent again by whoever saw it. Invariant: **it is accepted once, anywhere.** A session is known to the
//! one server that keeps it, and gone from it with its first use (RFC 8446, 8.1). That is why these sessions are not in
//! tickets which every server opens, as all others are: of those none could tell that another has opened it before. The
//! price is that a client which the network brings to another server shakes hands in full, which over QUIC takes as many
//! round trips as resuming does.
//!
//! Limits: a bounded number of sessions, of which the oldest makes room; they end with the process.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Sessions that are kept, those that were taken included until their turn comes: at 300 octets or so each, 10 MiB.
pub(super) const SESSIONS_MAX: usize = 32 * 1024;
/// Octets of a session that is kept; one without a client's certificate is far smaller. 40 MiB if all were so large.
const SESSION_BYTES_MAX: usize = 1024;

/// The sessions of one server.
#[derive(Default)]
pub(super) struct EarlySessions {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<Box<[u8]>, Box<[u8]>>,
    /// By age, the oldest first; with those that were taken, until their turn comes.
    ids: VecDeque<Box<[u8]>>,
}

impl EarlySessions {
    /// Keeps a session; whether it did.
    pub(super) fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        if session.len() > SESSION_BYTES_MAX {
            return false;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        while table.ids.len() >= SESSIONS_MAX {
            let Some(oldest) = table.ids.pop_front() else { break };
            table.sessions.remove(&oldest);
        }
        let id = id.into_boxed_slice();
        table.ids.push_back(id.clone());
        table.sessions.insert(id, session.into());
        true
    }

    /// Gives a session out, once.
    pub(super) fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.sessions.remove(id).map(Vec::from)
    }
}

impl fmt::Debug for EarlySessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlySessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_given_out_once() {
        let sessions = EarlySessions::default();
        assert!(sessions.put(vec![1], vec![2, 3]));
        assert_eq!(sessions.take(&[9]), None);
        assert_eq!(sessions.take(&[1]), Some(vec![2, 3]));
        assert_eq!(sessions.take(&[1]), None);
        assert!(!sessions.put(vec![1], vec![0; SESSION_BYTES_MAX + 1]));
        assert_eq!(sessions.take(&[1]), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        let sessions = EarlySessions::default();
        let id = |number: usize| number.to_be_bytes().to_vec();
        for number in 0..=SESSIONS_MAX {
            assert!(sessions.put(id(number), vec![1]));
        }
        assert_eq!(sessions.take(&id(0)), None);
        assert!(sessions.take(&id(1)).is_some() && sessions.take(&id(SESSIONS_MAX)).is_some());
        assert!(sessions.table.lock().unwrap().ids.len() <= SESSIONS_MAX);
    }
}
