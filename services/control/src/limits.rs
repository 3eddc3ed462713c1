//! Every bound of the API in one place, with its reason. What is met is answered with an error, never cut.

use std::time::Duration;

/// Octets of a JSON body: the largest batch of records fits.
pub const JSON_BODY_OCTETS_MAX: usize = 4 << 20;
/// Octets of an import's body: a zone file of the most records that one import takes, with room for comments.
pub const IMPORT_BODY_OCTETS_MAX: usize = 20 << 20;
/// Octets of a body beyond its limit that are still read, and thrown away, so that its sender gets to read the refusal.
pub const DISCARDED_OCTETS_MAX: usize = 16 << 20;
/// How long they, or those of a body that its endpoint has not read, may take to come, once the refusal is sent.
pub const DISCARDED_WITHIN: Duration = Duration::from_secs(5);
/// Octets of a body that its endpoint has not read which are read before the answer, so that the connection goes on.
pub const UNREAD_KEPT_OCTETS_MAX: usize = 64 << 10;
/// How long the answer waits for them: most are here already.
pub const UNREAD_KEPT_WITHIN: Duration = Duration::from_millis(250);
/// Octets of a larger body that are read beside the answer, and thrown away: more than any endpoint takes, because some clients send all
/// that they have in one go, and look for an answer after that.
pub const UNREAD_DISCARDED_OCTETS_MAX: usize = 256 << 20;
/// How long a client that may still be sending is given to read the last answer of a connection, and to close.
pub const LINGER: Duration = Duration::from_secs(2);
/// Octets that are read and thrown away in that time.
pub const LINGER_OCTETS_MAX: usize = 4 << 20;
/// Octets of a request's head.
pub const HEAD_OCTETS_MAX: usize = 64 << 10;
/// Octets of a query string.
pub const QUERY_OCTETS_MAX: usize = 8 << 10;
/// Octets of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_OCTETS_MAX: usize = 255;

/// How long a client may take to send a request's head: keeps idle and slow connections from piling up.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(15);
/// How long a drain waits for the first octets of a connection that was accepted before it: a round trip to the other side
/// of the earth, and some more.
pub const FIRST_OCTETS_WHILE_DRAINING: Duration = Duration::from_secs(1);
/// How long a request may take in all, with its append to a log on another continent.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// The same for an object, which may be large, and whose pauses are bounded where it is received.
pub const OBJECT_DEADLINE: Duration = Duration::from_secs(3_600);
/// How long an answer to a write waits until this server's own replica shows it.
pub const READ_YOUR_WRITES_WITHIN: Duration = Duration::from_secs(2);
/// How long `?wait=SEQ` waits.
pub const WAIT_WITHIN: Duration = Duration::from_secs(5);
/// How long an appended change may take to be refused by the log before the client is told to ask again.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often a write is decided anew when another write came between: with each, one other write has succeeded.
pub const WRITE_ATTEMPTS_MAX: usize = 8;
/// How long accepting pauses after the system refused a connection (no descriptors left).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections of one listener, unless configured. Each has its own, so that none takes those of another.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Requests of one listener that are worked on at a time, unless configured: each may hold a snapshot of the replica, of
/// which there are [`proxima_ledger::limits::READERS_MAX`].
pub const REQUESTS_MAX: usize = 256;
/// Requests of all listeners that may be configured to be worked on at a time: half of those snapshots. The other half
/// is for the node's other services, for followers, and for the process that takes over from this one.
pub const REQUESTS_OF_ALL_MAX: usize = proxima_ledger::limits::READERS_MAX as usize / 2;
/// Objects that are sent or received at a time, at all listeners: they go at their clients' pace, so they have places of their own
/// and take none of those of other requests. Objects in great number are for S3.
pub const OBJECTS_UNDER_WAY_MAX: usize = 64;
/// The same, of one account.
pub const OBJECTS_UNDER_WAY_PER_ACCOUNT_MAX: usize = 16;
/// Streams of one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 64;

/// Zones of a page unless asked.
pub const ZONES_PER_PAGE: usize = 20;
/// Zones of a page at the most.
pub const ZONES_PER_PAGE_MAX: usize = 1_000;
/// Records of a page unless asked.
pub const RECORDS_PER_PAGE: usize = 100;
/// Reads at a time of zones that may be large as a whole: one of a million records takes some 500 MiB while it is written.
pub const READS_OF_MUCH_MAX: usize = 2;
/// Records of a page at the most.
pub const RECORDS_PER_PAGE_MAX: usize = 5_000;
/// Entries of the log on a page unless asked.
pub const ENTRIES_PER_PAGE: usize = 20;
/// Entries of the log on a page at the most.
pub const ENTRIES_PER_PAGE_MAX: usize = 100;
/// Changes of an entry of the log that are shown; more are counted.
pub const CHANGES_SHOWN_PER_ENTRY: usize = 20;
/// Changes of a revert that are shown; more are counted.
pub const CHANGES_SHOWN_PER_REVERT: usize = 1_000;
/// Things of a page of any other list.
pub const OTHERS_PER_PAGE_MAX: usize = 1_000;

/// Operations of one batch: what the v4 API takes, and well within one append.
pub const BATCH_OPERATIONS_MAX: usize = 3_500;
/// Records that one import may add: they and their zone are one append.
pub const IMPORT_RECORDS_MAX: usize = 9_900;
/// Lines of a zone file that are named in the answer; more are counted.
pub const IMPORT_PROBLEMS_MAX: usize = 100;
/// Changes in one append of a deletion that does not fit into one.
pub const DELETES_PER_APPEND: usize = 5_000;

/// Octets of an upload of a Worker: its modules, and room for what is said of them and for the form.
pub const WORKER_BODY_OCTETS_MAX: usize = proxima_model::limits::WORKER_OCTETS_MAX + (2 << 20);
/// Versions of a Worker on a page unless asked; what the v4 API shows.
pub const VERSIONS_PER_PAGE: usize = 10;
/// Namespaces of Durable Objects of a page, unless it is said how many.
pub const DURABLE_NAMESPACES_PER_PAGE: usize = 20;
/// Changes that versions take in one append of a Worker's deletion: any one fits, and the routes and custom domains that go
/// with the first ones have room beside them.
pub const WORKER_DELETES_PER_APPEND: usize = 3_000;

/// For how long files of a session may be uploaded, and named by a version, in seconds; what the v4 API says.
pub const ASSETS_SESSION_SECONDS: i64 = 3_600;
/// Octets of files that one append brings: as Base64 two thirds of what it holds.
pub const ASSETS_APPEND_OCTETS: usize = 8 << 20;
/// Files of one form: each is a handful of changes.
pub const ASSETS_PER_BUCKET_MAX: usize = 1_000;
/// Octets of a form: the largest file as Base64, or a bucket of small ones, with what is said of each.
pub const ASSETS_FORM_OCTETS_MAX: usize =
    proxima_model::limits::WORKER_ASSET_OCTETS_MAX.div_ceil(3) * 4 + (1 << 20);
/// How long an upload of files may take: the largest form at a megabit a second. It keeps room from others meanwhile.
pub const ASSETS_DEADLINE: Duration = Duration::from_secs(300);
/// How often the log's node looks whether sessions of uploads have run out.
pub const ASSETS_SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// Files that are swept in one append: of the largest, each is 27 changes.
pub const ASSETS_SWEPT_PER_APPEND: usize = 300;
/// Octets of what is asked of a tail: its filters, with room for how they are written.
pub const TAIL_BODY_OCTETS_MAX: usize = 4 * proxima_pipeline::TAIL_FILTERS_OCTETS_MAX;
/// How long a tail may be looked at, in seconds; about as long as v4 has it.
pub const TAIL_SECONDS: i64 = 6 * 3_600;
/// How long its URL opens it, in seconds: who asked for it opens it at once.
pub const TAIL_OPEN_SECONDS: i64 = 60;

/// Namespaces of keys and values on a page unless asked; what the v4 API shows.
pub const KV_NAMESPACES_PER_PAGE: usize = 20;
/// Queues of a page unless asked otherwise: of most accounts all, which is what clients of v4 are used to.
pub const QUEUES_PER_PAGE: usize = 100;
/// The fewest keys that a list may be asked for; what the v4 API takes.
pub const KV_LIST_MIN: usize = 10;
/// Octets of a form with a value: the largest one, with what is said of it and room for the form.
pub const KV_FORM_OCTETS_MAX: usize = proxima_model::limits::KV_VALUE_OCTETS_MAX + (64 << 10);
/// Octets of a body of many pairs; what the v4 API takes.
pub const KV_BULK_OCTETS_MAX: usize = 100 << 20;
/// Pairs, or keys to delete, of one body; what the v4 API takes.
pub const KV_BULK_KEYS_MAX: usize = 10_000;
/// Octets of a body of that many keys, each of the longest, with room for the escapes of JSON.
pub const KV_BULK_DELETE_OCTETS_MAX: usize = 12 << 20;
/// Octets of values that are being uploaded at a time, as far as their senders say how many, otherwise as many as each may
/// have: two of the largest bodies, which are in memory twice while they are taken apart.
pub const KV_UPLOADS_OCTETS_MAX: usize = 256 << 20;

/// How long a zone that is not active keeps its name from other accounts, in seconds: a week is enough to change a
/// delegation, and nobody holds the name of somebody else's domain for longer.
pub const PENDING_NAME_HELD_SECONDS: i64 = 7 * 86_400;

/// Custom certificates of one zone.
pub const CERTIFICATES_PER_ZONE_MAX: usize = 100;
/// Days for which a certificate of the network's own authority is valid.
pub const CERTIFICATE_DAYS: i64 = 90;
/// Days for which the network's own authority is valid.
pub const AUTHORITY_DAYS: i64 = 3_650;
/// Certificates issued in one append: some milliseconds of work, and small entries for followers.
pub const CERTIFICATES_PER_APPEND: usize = 50;

/// How often the keys of TLS session tickets change, in seconds.
pub const TICKET_KEY_SECONDS: i64 = 12 * 3_600;
/// Ticket keys that are kept: tickets stay good for a day at least.
pub const TICKET_KEYS_KEPT: usize = 3;

/// How often the log's node looks at everything it keeps up, even if nothing changed.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How often every zone is looked at, not only those that changed: certificates age without a change.
pub const FULL_LOOK_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long upkeep waits after it failed.
pub const UPKEEP_RETRY: Duration = Duration::from_secs(2);
/// Pending zones whose delegation is looked up in one round.
pub const ACTIVATIONS_PER_ROUND: usize = 100;
/// How often pending zones are looked up.
pub const ACTIVATION_INTERVAL: Duration = Duration::from_secs(300);
/// Signed zones whose DS is looked up in one round, of those that wait for it to come or to go.
pub const DS_LOOKUPS_PER_ROUND: usize = 100;
/// Signed zones whose keys are rolled on in one round.
pub const ROLLS_PER_ROUND: usize = 100;
/// How long one look-up of a delegation may take.
pub const ACTIVATION_DEADLINE: Duration = Duration::from_secs(5);
/// Resolvers that may be configured.
pub const RESOLVERS_MAX: usize = 8;
/// Addresses that may be listened at.
pub const LISTEN_MAX: usize = 16;

/// How much of a certificate's life is left when it is renewed, in percent, unless configured: what public authorities
/// ask for.
pub const ACME_RENEW_LEFT_PERCENT: u8 = 33;
/// Orders at a time, unless configured: an order takes some seconds of waiting and next to no work.
pub const ACME_ORDERS: usize = 4;
/// Orders that may be configured to go on at a time: public authorities limit an account to some in a second.
pub const ACME_ORDERS_MAX: usize = 64;
/// Addresses that an authority may be given.
pub const ACME_CONTACTS_MAX: usize = 4;
/// How long other servers are given to answer a challenge, in milliseconds, unless configured: some times what a change
/// takes to the other side of the earth.
pub const ACME_PROPAGATION_MS: u64 = 5_000;
/// How long they may be given, in milliseconds; also after failures, which lengthen it.
pub const ACME_PROPAGATION_MS_MAX: u64 = 120_000;
/// How long one request to an authority may take.
pub const ACME_REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// How long connecting to an authority may take.
pub const ACME_CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long an authority may take to look at the challenges, and then to sign.
pub const ACME_POLL_DEADLINE: Duration = Duration::from_secs(120);
/// How long an order may take in all: beyond what its parts may take, so that no part is forgotten.
pub const ACME_ORDER_DEADLINE: Duration = Duration::from_secs(600);
/// Octets of an answer of an authority: a chain of certificates is some KiB.
pub const ACME_ANSWER_OCTETS_MAX: usize = 256 << 10;
/// How long a zone waits after its first failure. Doubled from then on it stays within the five failed validations an
/// hour and name that large authorities allow.
pub const ACME_ZONE_WAIT: Duration = Duration::from_secs(300);
/// How long a zone waits at the most: its owner may have mended it meanwhile.
pub const ACME_ZONE_WAIT_MAX: Duration = Duration::from_secs(86_400);
/// How long all zones wait after an authority failed for the first time.
pub const ACME_ALL_WAIT: Duration = Duration::from_secs(5);
/// How long all zones wait at the most, also when an authority asks for more: it says so again.
pub const ACME_ALL_WAIT_MAX: Duration = Duration::from_secs(3_600);
/// How long a zone waits whose order a process left under way, in seconds: one that dies of it must not order in a loop.
pub const ACME_LEFT_WAIT_SECONDS: i64 = 10;
/// How soon after the last order began an owner may have it tried again, in seconds.
pub const ACME_RETRY_SECONDS: i64 = 60;
/// Characters of an authority's words that are kept.
pub const ACME_MESSAGE_CHARS_MAX: usize = 1_000;
/// Zones that are looked at in one go.
pub const ACME_LOOKS: usize = 256;

/// How long after a change a zone's peers are told: changes that come together are told together, and the other servers
/// have taken them up by then.
pub const NOTIFY_AFTER: Duration = Duration::from_secs(1);
/// How often a peer that does not answer is told (RFC 1996, 3.6).
pub const NOTIFY_ATTEMPTS: u32 = 5;
/// How long a peer's first answer is waited for; each next one twice as long (RFC 1996, 3.6): half a minute in all.
pub const NOTIFY_ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Peers that are told at a time.
pub const NOTIFIES_MAX: usize = 256;
/// Peers of one account that are: those that are silent take half a minute each.
pub const NOTIFIES_PER_ACCOUNT_MAX: usize = 32;
/// Characters of what is kept of a failure.
pub const TRANSFER_MESSAGE_CHARS_MAX: usize = 200;

/// Zones that are fetched at a time: each may hold [`TRANSFER_LARGE_RECORDS`] and [`TRANSFER_LARGE_OCTETS`]
/// in memory.
pub const TRANSFERS_IN_MAX: usize = 8;
/// Zones of one account that are: primaries that are slow take the places of their own account.
pub const TRANSFERS_IN_PER_ACCOUNT_MAX: usize = 2;
/// How long a transfer may keep such a place: nearly every zone has come by then, and so nobody waits for one for long. One
/// that takes longer goes on in a place for slow ones, or not at all if none is free.
pub const TRANSFER_QUICK_WITHIN: Duration = Duration::from_secs(60);
/// Zones that are fetched slowly at a time, beside the others.
pub const TRANSFERS_SLOW_MAX: usize = 8;
/// Zones of one account that are.
pub const TRANSFERS_SLOW_PER_ACCOUNT_MAX: usize = 1;
/// Beyond so many records a transfer needs a place for large ones too: of a million it holds some 400 MiB.
pub const TRANSFER_LARGE_RECORDS: usize = 100_000;
/// Beyond so many octets of them, too: as many as those have of common size, and some more.
pub const TRANSFER_LARGE_OCTETS: usize = 32 << 20;
/// Large zones that are fetched at a time.
pub const TRANSFERS_LARGE_MAX: usize = 2;
/// Large zones of one account that are.
pub const TRANSFERS_LARGE_PER_ACCOUNT_MAX: usize = 1;
/// How long a primary may take for what is left of a large zone: some hundred KiB a second. Nobody waits longer for a place
/// behind it, and what has then come is put into the log.
pub const TRANSFER_LARGE_WITHIN: Duration = Duration::from_secs(300);
/// Over which time a primary must send [`TRANSFER_PACE_OCTETS_MIN`].
pub const TRANSFER_PACE_OVER: Duration = Duration::from_secs(60);
/// Octets that a primary sends in that time at the least, or the transfer ends: half a KiB a second, with which some ten
/// thousand records come in [`TRANSFER_WITHIN`].
pub const TRANSFER_PACE_OCTETS_MIN: usize = 32 << 10;
/// How long fetching a zone may take in all, however little comes, as long as that keeps to the pace.
pub const TRANSFER_SLOW_GRACE: Duration = Duration::from_secs(300);
/// Beyond that, a second for each so many octets that have come: who sends at the least pace is through after seven minutes
/// and leaves its place to others, and who sends as fast as this may go on for [`TRANSFER_WITHIN`].
pub const TRANSFER_SLOW_OCTETS_PER_SECOND: usize = 2 << 10;
/// Zones whose primaries are asked for their serial at a time: each has a connection.
pub const TRANSFER_LOOKS_MAX: usize = 256;
/// Zones of one account that are.
pub const TRANSFER_LOOKS_PER_ACCOUNT_MAX: usize = 16;
/// How long a primary may take to tell its serial, with connecting.
pub const TRANSFER_LOOK_WITHIN: Duration = Duration::from_secs(10);
/// How long a look that is under way keeps a zone from expiring, in seconds: a process that has just begun hears its
/// primaries first.
pub const TRANSFER_EXPIRY_GRACE_SECONDS: i64 = 60;
/// How long connecting to a primary may take.
pub const TRANSFER_CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a primary may take for one message.
pub const TRANSFER_MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// How long fetching a zone may take in all, from however many primaries: 100,000 records at some KiB a second.
pub const TRANSFER_WITHIN: Duration = Duration::from_secs(1_800);
/// Changes of a transfer in one append.
pub const TRANSFER_CHANGES_AT_ONCE: usize = 5_000;
/// Octets of them, before the one that passes it: well within one append.
pub const TRANSFER_OCTETS_AT_ONCE: usize = 8 << 20;
/// How long a transfer that was broken off is left alone, in seconds: a process that ends may still be at it.
pub const TRANSFER_LEFT_SECONDS: i64 = 5;
/// Zones of which what such transfers left is taken away at a time: nobody waits for it.
pub const TRANSFERS_SWEPT_MAX: usize = 1;
/// The shortest refresh that a primary's SOA record can ask for, in seconds: nobody is asked in a loop.
pub const TRANSFER_REFRESH_SECONDS_LEAST: u32 = 10;
/// The shortest retry, in seconds.
pub const TRANSFER_RETRY_SECONDS_LEAST: u32 = 5;
/// The longest refresh, in seconds: a month.
pub const TRANSFER_TIMER_SECONDS_MOST: u32 = 30 * 86_400;
/// How long a zone waits that never came, in seconds; doubled with each failure.
pub const TRANSFER_FIRST_WAIT_SECONDS: i64 = 10;
/// How long it waits at the most, in seconds.
pub const TRANSFER_FIRST_WAIT_SECONDS_MAX: i64 = 3_600;
/// How often it is noted in the log that a primary was heard and had nothing newer, in seconds: the log is not for that. Of
/// zones that expire soon four times as often as they would: a process that begins knows of no other times.
pub const TRANSFER_NOTED_SECONDS: i64 = 3_600;
/// Zones whose primaries' notices wait to be written to the log at one server; further ones are not acknowledged.
pub const NOTICES_WAITING_MAX: usize = 16_384;
/// Zones whose notices are written in one append.
pub const NOTICES_AT_ONCE: usize = 100;
/// How often one zone's notices are written there, by all servers together: what comes meanwhile is written once, then.
pub const NOTICE_EVERY: Duration = Duration::from_secs(10);
/// How long a server that drains may take to write what waits.
pub const NOTICES_LAST_WITHIN: Duration = Duration::from_secs(2);
