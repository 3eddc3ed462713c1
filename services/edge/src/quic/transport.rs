//! What a connection of QUIC may cost.

use std::sync::Arc;
use std::time::Duration;

use proxima_tls::QuicKeys;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, VarInt};

use crate::server::{HTTP3_STREAMS_MAX, HTTP3_UNIDIRECTIONAL_MAX, Timeouts};

/// Octets of one request's body that the client may send ahead; as for HTTP/2.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Octets of all bodies of a connection that the client may send ahead; as for HTTP/2.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Octets of answers that are written and not yet acknowledged: at a round trip of 100 ms enough for 160 Mbit/s. What
/// the cache holds is not copied for it.
pub(crate) const SEND_WINDOW_BYTES: u64 = 2 * 1024 * 1024;
/// How long a connection may live without a packet from the client. Connections without requests end sooner
/// ([`Timeouts::idle`]); this is for clients that vanish while an origin takes its time. A WebSocket may be silent for longer
/// ([`Timeouts::upgrade_idle`]), and which connections will have one is not known when they begin.
const SILENCE: Duration = Duration::from_secs(120);
/// Connections that have sent a first packet and were not looked at yet. They are looked at at once.
const UNSEEN_MAX: usize = 1024;
/// Octets that may come for one of them meanwhile, and for all of them together.
const UNSEEN_BYTES: u64 = 64 * 1024;
const UNSEEN_BYTES_TOTAL: u64 = 8 * 1024 * 1024;
/// How long a token by which a client shows that it was here before is good. It spares its next connection a round trip
/// when there is much to do.
const TOKEN: Duration = Duration::from_secs(3600);
/// Such tokens that a connection is given.
const TOKENS: u32 = 2;

/// Puts the bounds in force.
pub(super) fn configure(config: &mut ServerConfig, timeouts: &Timeouts, keys: &Arc<QuicKeys>) {
    let mut transport = TransportConfig::default();
    let silence = SILENCE.max(timeouts.idle).max(timeouts.upgrade_idle);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(HTTP3_STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(HTTP3_UNIDIRECTIONAL_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        // Nothing here uses datagrams (RFC 9221).
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(silence).ok());
    let mut tokens = quinn::ValidationTokenConfig::default();
    tokens.lifetime(TOKEN).sent(TOKENS).log(keys.used_tokens());
    config
        .transport_config(Arc::new(transport))
        .validation_token_config(tokens)
        .migration(true)
        .max_incoming(UNSEEN_MAX)
        .incoming_buffer_size(UNSEEN_BYTES)
        .incoming_buffer_size_total(UNSEEN_BYTES_TOTAL);
}
