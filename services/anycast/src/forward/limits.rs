//! Every bound of connection forwarding, with its reason.

use std::time::Duration;

/// Servers that one connects to. Each is told, in parallel, before a withdrawal.
pub(crate) const PEERS_MAX: usize = 64;
/// Connections that one peer may hold here: it may be home and forwarder at a time, and each of these may be replaced by a
/// newer one before it has ended.
pub(crate) const PEER_LINKS_MAX: usize = 4;
/// Connections that peers may hold here.
pub(crate) const LINKS_MAX: usize = PEER_LINKS_MAX * PEERS_MAX;
/// Connections that have not yet said who they are and what they want: so many that all peers may come at once. Each has
/// to say it within three times [`STEP_WITHIN`].
pub(crate) const HANDSHAKES_MAX: usize = PEERS_MAX;
/// How long a withdrawal waits for peers to forward. A new connection over TLS 1.3 takes three round trips and some work:
/// this covers 250 ms between servers, and a peer that is dead delays a withdrawal by no more.
pub(crate) const IN_FORCE_WITHIN: Duration = Duration::from_secs(1);
/// How long connecting, the TLS handshake and the first words may take, each.
pub(crate) const STEP_WITHIN: Duration = Duration::from_secs(2);
/// Between two beats on a connection.
pub(crate) const BEAT_EVERY: Duration = Duration::from_millis(400);
/// A peer that is silent for so long is dead, as is one that takes nothing for so long: five beats.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Between two attempts to connect to a peer.
pub(crate) const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Without a word from this process for so long, the kernel's half lets everything pass.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// Between two of those words.
pub(crate) const LEASE_RENEWED_EVERY: Duration = Duration::from_millis(500);
/// Packets that wait to be written to a peer. What does not fit is dropped: TCP sends it again.
pub(crate) const QUEUE_PACKETS_MAX: usize = 1_024;
/// Octets that wait to be written to a peer: 30 ms at 1 Gbit/s.
pub(crate) const QUEUE_OCTETS_MAX: usize = 4 << 20;
/// Packets from peers that wait for a tap; then their connections wait.
pub(crate) const EVENTS_MAX: usize = 256;
/// Octets that are written to a peer at once.
pub(crate) const BATCH_OCTETS: usize = 64 << 10;
/// Packets that are read from a TUN device before others have their turn.
pub(crate) const READ_AT_ONCE: usize = 64;
/// Between two looks at the kernel's connections while draining, at least; ten times what a look takes, if that is more.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);
