//! Session tickets and QUIC's tokens, which come back from clients: they open where and for what they were sealed, and not
//! at all once an octet is another one.

use std::sync::{Arc, LazyLock};

use proxima_model::{TicketKey, TicketKeyId, TicketKeys, Timestamp};
use proxima_tls::{QuicKeys, Tickets};

fn keys(marks: &[u8]) -> TicketKeys {
    let key = |&mark| TicketKey {
        id: TicketKeyId::from_bytes([mark; 16]),
        secret: [mark; 32],
        created_at: Timestamp::default(),
    };
    TicketKeys { keys: marks.iter().map(key).collect() }
}

fn tickets(marks: &[u8]) -> Tickets {
    let tickets = Tickets::default();
    tickets.swap(Tickets::prepare(&keys(marks)));
    tickets
}

/// One that has both keys, one with the older alone, one with neither.
static SERVERS: LazyLock<[Tickets; 3]> = LazyLock::new(|| [tickets(b"21"), tickets(b"1"), tickets(b"3")]);

static QUIC: LazyLock<Arc<QuicKeys>> = LazyLock::new(|| {
    let quic = QuicKeys::new();
    quic.swap(QuicKeys::prepare(&keys(b"1")));
    quic
});

/// The target: an octet that says what is changed, then a session, or what a client says that a ticket is.
pub fn run(octets: &[u8]) {
    let Some((&change, session)) = octets.split_first() else { return };
    let [both, older, none] = &*SERVERS;
    for server in [both, older, none] {
        // Nobody who has no key makes one.
        assert_eq!(server.open_for(b"", session), None);
    }
    let Some(mut ticket) = older.seal_for(b"context", session) else {
        assert!(session.len() > 4_096);
        return;
    };
    for server in [both, older] {
        assert_eq!(server.open_for(b"context", &ticket).as_deref(), Some(session));
        assert_eq!(server.open_for(b"contex", &ticket), None);
    }
    assert_eq!(none.open_for(b"context", &ticket), None);
    let place = usize::from(change) % ticket.len();
    assert_eq!(both.open_for(b"context", &ticket[..place]), None);
    ticket[place] ^= 1 << (change % 8);
    assert_eq!(both.open_for(b"context", &ticket), None);
    tokens(change, session);
}

fn tokens(change: u8, data: &[u8]) {
    let key = QUIC.token_key().aead_from_hkdf(b"random octets");
    let mut forged = data.to_vec();
    assert!(key.open(&mut forged, b"").is_err());
    let mut token = data.to_vec();
    key.seal(&mut token, b"bound").expect("there is a key");
    assert_eq!(key.open(&mut token.clone(), b"bound").ok().as_deref(), Some(data));
    assert!(key.open(&mut token.clone(), b"").is_err());
    let place = usize::from(change) % token.len();
    token[place] ^= 1 << (change % 8);
    assert!(key.open(&mut token, b"bound").is_err());
}
