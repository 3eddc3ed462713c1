//! Every bound of the ledger in one place, with its reason. What is met is answered with an error, never cut.

use std::time::Duration;

/// Changes of one append: a bulk load of a zone file fits, and its transaction stays well under a second.
pub const CHANGES_PER_APPEND_MAX: usize = 10_000;
/// Preconditions of one append: one for each change, and the zone that they lie in.
pub const PRECONDITIONS_PER_APPEND_MAX: usize = CHANGES_PER_APPEND_MAX + 16;
/// Octets of a key; LMDB takes 511.
pub const KEY_OCTETS_MAX: usize = 480;
/// Octets of one value: a ruleset with every rule at its longest, as JSON, sealed.
pub const VALUE_OCTETS_MAX: usize = 8 << 20;
/// Octets of the keys and values of one append together: what one frame carries and one transaction writes.
pub const APPEND_OCTETS_MAX: usize = 16 << 20;
/// Octets of an idempotency key or of an author's name.
pub const NAME_OCTETS_MAX: usize = 256;

/// Octets of one frame between peers: the largest append with the framing of its changes.
pub const FRAME_OCTETS_MAX: usize = APPEND_OCTETS_MAX + (2 << 20);
/// Octets of keys and values in one chunk of a snapshot, before the one that passes it: some milliseconds on a slow
/// line, so that heartbeat deadlines keep their meaning.
pub const SNAPSHOT_CHUNK_OCTETS: usize = 256 << 10;
/// Items in one chunk of a snapshot.
pub const SNAPSHOT_CHUNK_ITEMS_MAX: usize = 65_536;
/// Octets of a snapshot that are committed in one transaction while it is loaded: bounds LMDB's list of dirty pages.
pub const SNAPSHOT_COMMIT_OCTETS: usize = 32 << 20;
/// Snapshots that one node sends at a time: each reads the whole state and holds a read transaction.
pub const SNAPSHOTS_SENT_MAX: usize = 2;
/// How long sending or loading one snapshot may take in all: 2 GB at 30 Mbit/s.
pub const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(600);

/// Address space of a store: larger than the state of the largest network with its log; the file is sparse and only
/// what is written takes disk and memory.
pub const MAP_OCTETS_DEFAULT: usize = 64 << 30;
/// Readers of a store at a time, over all processes: each snapshot that is held is one.
pub const READERS_MAX: u32 = 2_048;
/// Octets of files, the store's among them, that a process has mapped before the store's are let go: with its own
/// memory, a server of a million zones stays well within a gibibyte.
pub const MAPPED_OCTETS_MAX: u64 = 384 << 20;
/// After how many read transactions it is looked how much is mapped: each may map some 256 KiB more (four pages, in
/// groups of sixteen), so that what is looked for is passed by 64 MiB at the most; looking takes microseconds.
pub const READS_PER_TRIM: u32 = 256;

/// How long after the start everything that is kept is first checked: when what a start costs is over.
pub const VERIFY_FIRST_AFTER: Duration = Duration::from_secs(60);
/// How often everything that is kept is checked.
pub const VERIFY_INTERVAL: Duration = Duration::from_secs(86_400);
/// Values and entries checked at a time: some milliseconds of one core.
pub const VERIFY_STEP: usize = 1_000;
/// Octets of values and entries checked at a time, before the one that passes it: large values are no reason to read
/// more of the disk at once. With [`VERIFY_PAUSE`], 40 MB/s at the most.
pub const VERIFY_STEP_OCTETS: usize = 4 << 20;
/// How long a step may take, with the value or entry under way: its read transaction keeps LMDB from using room again,
/// and on a slow disk that room is what grows.
pub const VERIFY_STEP_TIME: Duration = Duration::from_millis(50);
/// How long is waited between two steps: 10,000 values a second, a few MB/s of disk and a few hundredths of a core; a
/// million zones take ten minutes.
pub const VERIFY_PAUSE: Duration = Duration::from_millis(100);

/// Entries that a store keeps for followers, the audit and going back. A follower that was away a day during which
/// 100,000 changes were made tails; one further behind takes a snapshot.
pub const LOG_ENTRIES_DEFAULT: u64 = 100_000;
/// Octets of the entries kept, with the values that they replaced.
pub const LOG_OCTETS_DEFAULT: u64 = 512 << 20;
/// Entries dropped at the most for each one that is applied: compaction costs every append the same.
pub const COMPACTED_PER_ENTRY_MAX: usize = 4;
/// Idempotency keys remembered by default: a day of heavy writing.
pub const IDEMPOTENCY_KEYS_DEFAULT: u64 = 100_000;
/// Idempotency keys that are remembered however old they are, so that a jump of the clock forgets no retry in flight.
pub const IDEMPOTENCY_KEYS_MIN: u64 = 1_000;
/// How long an idempotency key is remembered: longer than any client retries.
pub const IDEMPOTENCY_AGE_SECONDS: i64 = 86_400;
/// Idempotency keys forgotten at the most for each entry that is applied.
pub const FORGOTTEN_PER_ENTRY_MAX: usize = 4;

/// Appends that wait for the writer; more are answered [`AppendError::Busy`](crate::AppendError::Busy).
pub const APPEND_QUEUE_MAX: usize = 1_024;
/// Appends that share one transaction and one sync of the disk.
pub const GROUP_COMMIT_MAX: usize = 256;
/// Octets of appends that share one transaction, before the one that passes it.
pub const GROUP_COMMIT_OCTETS: usize = 4 << 20;

/// Changed keys that a replica remembers for [`Replica::changes_since`](crate::Replica::changes_since); who asks for
/// more is told that anything may have changed.
pub const RECENT_KEYS_MAX: usize = 65_536;
/// Entries that are read from the log at a time for one follower.
pub const TAIL_ENTRIES_MAX: usize = 256;
/// Octets of entries that are read from the log at a time for one follower, before the one that passes it.
pub const TAIL_OCTETS: usize = 1 << 20;
/// Entries that a follower applies in one transaction.
pub const APPLY_ENTRIES_MAX: usize = 256;
/// Octets of entries that a follower applies in one transaction, before the one that passes it.
pub const APPLY_OCTETS: usize = 4 << 20;

/// How often an idle upstream says that it lives.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(200);
/// An upstream that said nothing for so long is taken for dead: five heartbeats.
pub const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(1);
/// An upstream that has not heard from the log for so long, or lags so long behind it, is stale: another is tried.
pub const STALE_AFTER: Duration = Duration::from_secs(2);
/// How often a follower that is not where it wants to be looks for a better upstream.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// How long a preferred upstream must have answered probes before a follower returns to it: a flapping one is left
/// alone.
pub const RETURN_AFTER: Duration = Duration::from_secs(6);
/// First wait before an upstream that failed is tried again; doubled each time.
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest wait before an upstream that failed is tried again: how long after the return of the log all know it.
pub const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Upstreams of one follower.
pub const UPSTREAMS_MAX: usize = 16;

/// How long connecting may take: four round trips across the world.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// How long the TLS handshake and the greeting may take.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(3);
/// How long one frame may take to be written: a peer that reads slower is dropped and resumes by its cursor.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long sent octets may go unacknowledged before the system gives the connection up (TCP_USER_TIMEOUT, RFC 5482):
/// a follower that vanished without a word is forgotten.
pub const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// Connections that one server holds: every node of the largest network, twice.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Appends of one connection that wait for their answer.
pub const APPENDS_IN_FLIGHT_MAX: usize = 64;
/// How long an append to a log elsewhere is retried: a restart of the log's node fits.
pub const APPEND_DEADLINE: Duration = Duration::from_secs(10);
/// How long an append waits for a log that has been away for longer than [`APPEND_DEADLINE`] already: callers get their
/// error soon.
pub const APPEND_DEADLINE_AWAY: Duration = Duration::from_secs(1);
