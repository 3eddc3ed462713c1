//! Session tickets that every server of the network can open (RFC 8446, 4.6.1; RFC 5077, 4).
//!
//! A ticket is `key id (16) | nonce (12) | AES-256-GCM (session, tag)`, with the key's id bound in as associated data, and
//! after it what the session is for, where it must not be resumed for anything else.

use std::fmt;
use std::sync::Arc;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use arc_swap::ArcSwap;
use proxima_model::TicketKeys;
use rustls::server::ProducesTickets;

/// How long a client may keep a ticket, in seconds. Keys must be kept for as long after they were replaced.
pub const TICKET_SECONDS: u32 = 12 * 3600;
/// Octets of a ticket that we try to open; ours are far smaller.
const TICKET_BYTES_MAX: usize = 8 * 1024;
/// Octets of a session that is sealed: its ticket is one that we try to open.
const SESSION_BYTES_MAX: usize = TICKET_BYTES_MAX - 64;
/// Keys that are held at once.
const KEYS_MAX: usize = 16;
const ID_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;

struct SealingKey {
    id: [u8; ID_BYTES],
    cipher: Aes256Gcm,
}

/// Seals tickets with the newest of the network's keys, and opens those of any of them. Without keys, sessions are not
/// resumed.
#[derive(Default)]
pub struct Tickets {
    /// Newest first.
    keys: ArcSwap<Vec<SealingKey>>,
    /// What all its sessions are for.
    context: &'static [u8],
}

impl Tickets {
    /// For sessions that are resumed for this only.
    pub fn bound_to(context: &'static [u8]) -> Self {
        Self { context, ..Self::default() }
    }

    /// What [`Self::swap`] puts in force. Making ciphers takes time, so it is done before.
    pub fn prepare(keys: &TicketKeys) -> PreparedTickets {
        let keys = keys.keys.iter().take(KEYS_MAX);
        let keys =
            keys.map(|key| SealingKey { id: *key.id.as_bytes(), cipher: Aes256Gcm::new(&key.secret.into()) });
        PreparedTickets(Arc::new(keys.collect()))
    }

    /// Puts keys in force, all at once.
    pub fn swap(&self, keys: PreparedTickets) {
        self.keys.store(keys.0);
    }

    /// Seals a session that opens for the same context only.
    pub fn seal_for(&self, context: &[u8], session: &[u8]) -> Option<Vec<u8>> {
        // The chain of a client's certificate may be long; nobody would open it.
        if session.len() > SESSION_BYTES_MAX {
            return None;
        }
        let keys = self.keys.load();
        let key = keys.first()?;
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let aad = [&key.id[..], context].concat();
        let sealed = key.cipher.encrypt(&Nonce::from(nonce), Payload { msg: session, aad: &aad }).ok()?;
        Some([&key.id[..], &nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for this context.
    pub fn open_for(&self, context: &[u8], ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (id, rest) = ticket.split_first_chunk::<ID_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.id == *id)?;
        let aad = [&id[..], context].concat();
        key.cipher.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: &aad }).ok()
    }
}

/// Keys, ready to be put in force.
pub struct PreparedTickets(Arc<Vec<SealingKey>>);

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("keys", &self.keys.load().len()).finish()
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.keys.load().is_empty()
    }

    fn lifetime(&self) -> u32 {
        TICKET_SECONDS
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.seal_for(self.context, session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open_for(self.context, ticket)
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::{TicketKey, TicketKeyId, Timestamp};

    use super::*;

    fn tickets(ids: &[u8]) -> Tickets {
        let key = |&id| TicketKey {
            id: TicketKeyId::from_bytes([id; 16]),
            secret: [id; 32],
            created_at: Timestamp::from_millis(0),
        };
        let tickets = Tickets::default();
        tickets.swap(Tickets::prepare(&TicketKeys { keys: ids.iter().map(key).collect() }));
        tickets
    }

    #[test]
    fn a_ticket_opens_at_every_server_that_has_its_key_be_it_the_newest_or_not() {
        let ticket = tickets(&[1]).encrypt(b"session").unwrap();
        for keys in [&[1][..], &[1, 2], &[3, 2, 1]] {
            assert_eq!(tickets(keys).decrypt(&ticket).as_deref(), Some(&b"session"[..]), "{keys:?}");
        }
        assert_eq!(tickets(&[2]).decrypt(&ticket), None);
    }

    #[test]
    fn a_ticket_opens_for_what_it_was_sealed_for_and_for_nothing_else() {
        let server = tickets(&[1]);
        let bound = server.seal_for(&[1; 32], b"session").unwrap();
        assert_eq!(server.open_for(&[1; 32], &bound).as_deref(), Some(&b"session"[..]));
        assert_eq!((server.open_for(&[2; 32], &bound), server.open_for(&[], &bound)), (None, None));
        assert_eq!(server.open_for(&[1; 32], &server.seal_for(&[], b"session").unwrap()), None);
        let longest = server.encrypt(&[0; SESSION_BYTES_MAX]).unwrap();
        assert_eq!(server.decrypt(&longest).unwrap().len(), SESSION_BYTES_MAX);
        assert_eq!(server.encrypt(&[0; SESSION_BYTES_MAX + 1]), None);
    }

    #[test]
    fn the_newest_key_seals_and_a_swap_takes_effect_at_once() {
        let server = tickets(&[1]);
        server.swap(Tickets::prepare(&TicketKeys { keys: Vec::new() }));
        assert!(!server.enabled() && server.encrypt(b"session").is_none());
        let server = tickets(&[2, 1]);
        let ticket = server.encrypt(b"session").unwrap();
        assert_eq!(tickets(&[2]).decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_ne!(ticket, server.encrypt(b"session").unwrap(), "each has a nonce of its own");
    }

    #[test]
    fn a_ticket_that_was_changed_anywhere_does_not_open() {
        let server = tickets(&[1]);
        let ticket = server.encrypt(b"session").unwrap();
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(server.decrypt(&changed), None, "octet {index}");
        }
        for length in 0..ticket.len() {
            assert_eq!(server.decrypt(&ticket[..length]), None, "{length} octets");
        }
        assert_eq!(server.decrypt(&vec![1; TICKET_BYTES_MAX + 1]), None);
    }
}
