//! Session tickets that every server of the network can open (RFC 8446, 4.6.1; RFC 5077, 4).
//!
//! A ticket is `key id (16) | nonce (12) | AES-256-GCM (session, tag)`, with the key's id bound in as associated data.

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
}

impl Tickets {
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

    fn seal(key: &SealingKey, session: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let sealed = key.cipher.encrypt(&Nonce::from(nonce), Payload { msg: session, aad: &key.id }).ok()?;
        Some([&key.id[..], &nonce[..], &sealed].concat())
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (id, rest) = ticket.split_first_chunk::<ID_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.id == *id)?;
        key.cipher.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: id }).ok()
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
        Self::seal(self.keys.load().first()?, session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket)
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
