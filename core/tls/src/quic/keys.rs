//! What a server of QUIC must keep secret, derived from the network's ticket keys: so that all servers of the network
//! have the same without asking each other, and it changes when they do.
//!
//! ```text
//!  ticket key ─HKDF─▶ Retry tokens, tokens for later connections: the newest seals, any of them opens
//!                  └▶ stateless resets: the key that a connection id names
//!  connection id = generation | key's mark | 72 random bits
//! ```
//!
//! A stateless reset must be what the client was told when it got the connection id, perhaps by another server and
//! before the keys changed; so the id carries the first octet of the key's name. The generation tells a process from
//! the one that it took over from.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::{aead, hkdf, hmac};
use proxima_model::TicketKeys;
use quinn::crypto::{AeadKey, CryptoError, HandshakeTokenKey, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator, TokenLog, TokenReuseError};

/// Octets of a connection id. An odd number that clients do not use for the ids which they make up for their first
/// packets, so that one of ours is known by its length.
pub const CONNECTION_ID_BYTES: usize = 11;
/// Keys that are held at once; as many as for tickets.
const KEYS_MAX: usize = 16;
/// Tokens for later connections that are remembered as used, for one lifetime of them; beyond, they count as used.
const USED_MAX: usize = 65_536;

/// What is derived from one ticket key.
struct Derived {
    /// The first octet of its name.
    mark: u8,
    tokens: hkdf::Prk,
    resets: hmac::Key,
}

impl Derived {
    fn new(mark: u8, secret: &[u8]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"proxima quic").extract(secret);
        let tokens = root.expand(&[b"tokens"], hkdf::HKDF_SHA256);
        let resets = root.expand(&[b"stateless resets"], hmac::HMAC_SHA256);
        Self {
            mark,
            tokens: tokens.expect("a key is shorter than HKDF allows").into(),
            resets: resets.expect("a key is shorter than HKDF allows").into(),
        }
    }
}

/// Keys, ready to be put in force.
pub struct PreparedKeys(Arc<Vec<Derived>>);

/// The keys in force, and what is made with them.
pub struct QuicKeys {
    /// Newest first; never empty.
    keys: ArcSwap<Vec<Derived>>,
    used: Arc<UsedTokens>,
}

impl QuicKeys {
    /// Keys of this process alone, until the network's come.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            keys: ArcSwap::from(Self::prepare(&TicketKeys { keys: Vec::new() }).0),
            used: Arc::default(),
        })
    }

    /// What [`Self::swap`] puts in force.
    pub fn prepare(keys: &TicketKeys) -> PreparedKeys {
        let mut derived: Vec<Derived> = keys
            .keys
            .iter()
            .take(KEYS_MAX)
            .map(|key| Derived::new(key.id.as_bytes()[0], &key.secret))
            .collect();
        if derived.is_empty() {
            derived.push(Derived::new(0, &rand::random::<[u8; 32]>()));
        }
        PreparedKeys(Arc::new(derived))
    }

    /// Puts keys in force, all at once.
    pub fn swap(&self, keys: PreparedKeys) {
        self.keys.store(keys.0);
    }

    /// What seals and opens tokens.
    pub fn token_key(self: &Arc<Self>) -> Arc<dyn HandshakeTokenKey> {
        Arc::new(TokenKey(Arc::clone(self)))
    }

    /// What makes stateless resets.
    pub fn reset_key(self: &Arc<Self>) -> Arc<dyn HmacKey> {
        Arc::new(ResetKey(Arc::clone(self)))
    }

    /// What makes the connection ids of a process of this generation.
    pub fn connection_ids(self: &Arc<Self>, generation: u8) -> Box<dyn ConnectionIdGenerator> {
        Box::new(ConnectionIds { keys: Arc::clone(self), generation })
    }

    /// What remembers which tokens were used.
    pub fn used_tokens(&self) -> Arc<dyn TokenLog> {
        Arc::<UsedTokens>::clone(&self.used)
    }
}

struct TokenKey(Arc<QuicKeys>);

impl HandshakeTokenKey for TokenKey {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn AeadKey> {
        Box::new(TokenAead { keys: self.0.keys.load_full(), random: random_bytes.to_vec() })
    }
}

/// The keys of one token: each derived from one of ours and the token's own randomness.
struct TokenAead {
    keys: Arc<Vec<Derived>>,
    random: Vec<u8>,
}

impl TokenAead {
    fn key(&self, derived: &Derived) -> Result<aead::LessSafeKey, CryptoError> {
        let info = [self.random.as_slice()];
        let key = derived.tokens.expand(&info, &aead::AES_256_GCM).map_err(|_| CryptoError)?;
        Ok(aead::LessSafeKey::new(aead::UnboundKey::from(key)))
    }
}

/// A key seals one token only, so the nonce need not differ.
fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

impl AeadKey for TokenAead {
    fn seal(&self, data: &mut Vec<u8>, additional_data: &[u8]) -> Result<(), CryptoError> {
        let newest = self.keys.first().ok_or(CryptoError)?;
        let sealed =
            self.key(newest)?.seal_in_place_append_tag(nonce(), aead::Aad::from(additional_data), data);
        sealed.map_err(|_| CryptoError)
    }

    fn open<'a>(&self, data: &'a mut [u8], additional_data: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        for derived in &*self.keys {
            // What does not open is destroyed.
            let mut copy = data.to_vec();
            let opened =
                self.key(derived)?.open_in_place(nonce(), aead::Aad::from(additional_data), &mut copy);
            if let Ok(opened) = opened {
                let length = opened.len();
                data[..length].copy_from_slice(opened);
                return Ok(&mut data[..length]);
            }
        }
        Err(CryptoError)
    }
}

struct ResetKey(Arc<QuicKeys>);

impl ResetKey {
    /// The key that a connection id names, or the newest.
    fn with<T>(&self, id: &[u8], sign: impl FnOnce(&hmac::Key) -> T) -> T {
        let keys = self.0.keys.load();
        let named = id.get(1).and_then(|mark| keys.iter().find(|key| key.mark == *mark));
        sign(&named.unwrap_or(&keys[0]).resets)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(self.with(data, |key| hmac::sign(key, data)).as_ref());
    }

    fn signature_len(&self) -> usize {
        hmac::HMAC_SHA256.digest_algorithm().output_len()
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.with(data, |key| hmac::verify(key, data, signature)).map_err(|_| CryptoError)
    }
}

struct ConnectionIds {
    keys: Arc<QuicKeys>,
    generation: u8,
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id: [u8; CONNECTION_ID_BYTES] = rand::random();
        id[0] = self.generation;
        id[1] = self.keys.keys.load()[0].mark;
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Tokens for later connections that were used here. One may be used again at another server, from the same address,
/// within its lifetime: that lets its sender be sent more than three times what it sent, once for each server.
#[derive(Default)]
struct UsedTokens(Mutex<Used>);

#[derive(Default)]
struct Used {
    now: HashSet<u128>,
    before: HashSet<u128>,
    /// When the newer set was begun.
    since: Option<Instant>,
}

impl TokenLog for UsedTokens {
    #[allow(clippy::disallowed_methods, reason = "quinn's tokens tell the wall clock's time")]
    fn check_and_insert(
        &self,
        nonce: u128,
        issued: SystemTime,
        lifetime: Duration,
    ) -> Result<(), TokenReuseError> {
        // Nothing that holds the lock can panic halfway through a change.
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A token that is good was issued at most a lifetime ago: what is older than two sets is not.
        if used.since.is_none_or(|since| since.elapsed() >= lifetime) {
            used.before = std::mem::take(&mut used.now);
            used.since = Some(Instant::now());
        }
        let known = used.before.contains(&nonce) || used.now.len() >= USED_MAX || !used.now.insert(nonce);
        if known || issued > SystemTime::now() { Err(TokenReuseError) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::{TicketKey, TicketKeyId, Timestamp};

    use super::*;

    fn keys(ids: &[u8]) -> Arc<QuicKeys> {
        let key = |&id| TicketKey {
            id: TicketKeyId::from_bytes([id; 16]),
            secret: [id; 32],
            created_at: Timestamp::from_millis(0),
        };
        let keys = QuicKeys::new();
        keys.swap(QuicKeys::prepare(&TicketKeys { keys: ids.iter().map(key).collect() }));
        keys
    }

    fn opens(keys: &Arc<QuicKeys>, sealed: &[u8]) -> bool {
        let mut data = sealed.to_vec();
        keys.token_key().aead_from_hkdf(b"random").open(&mut data, b"").is_ok_and(|opened| opened == b"token")
    }

    #[test]
    fn a_token_opens_at_every_server_that_has_its_key_be_it_the_newest_or_not() {
        let mut sealed = b"token".to_vec();
        keys(&[1]).token_key().aead_from_hkdf(b"random").seal(&mut sealed, b"").unwrap();
        for (ids, expected) in
            [(&[1][..], true), (&[2, 1], true), (&[3, 2, 1], true), (&[2], false), (&[], false)]
        {
            assert_eq!(opens(&keys(ids), &sealed), expected, "{ids:?}");
        }
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(!opens(&keys(&[1]), &changed), "octet {index}");
        }
    }

    #[test]
    fn a_reset_is_the_same_at_every_server_and_after_a_rotation() {
        let reset = |ids: &[u8], id: &ConnectionId| {
            let mut signature = [0; 32];
            keys(ids).reset_key().sign(id, &mut signature);
            keys(ids).reset_key().verify(id, &signature).unwrap();
            signature
        };
        let id = keys(&[1]).connection_ids(7).generate_cid();
        assert_eq!((id.len(), id[0], id[1]), (CONNECTION_ID_BYTES, 7, 1));
        assert_eq!(reset(&[1], &id), reset(&[2, 1], &id));
        assert_ne!(reset(&[1], &id), reset(&[2], &id));
        assert_ne!(id, keys(&[1]).connection_ids(7).generate_cid());
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "quinn's tokens tell the wall clock's time")]
    fn a_token_is_used_once_and_those_that_cannot_be_remembered_count_as_used() {
        let used = UsedTokens::default();
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let check = |nonce| used.check_and_insert(nonce, now, hour).is_ok();
        assert!(check(1) && !check(1) && check(2));
        for nonce in 3..=USED_MAX as u128 {
            assert!(check(nonce));
        }
        assert!(!check(u128::MAX), "the set is full");
    }
}
