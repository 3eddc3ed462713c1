//! Every bound of the model in one place. A limit that is met is an [`Invalid`](crate::Invalid), never a cut.

/// Characters of a free text (name of an account, token or rule; comment on a record).
pub const TEXT_CHARS_MAX: usize = 500;
/// Octets of a DNS label (RFC 1035, 2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;
/// Octets of a domain name as written without the last dot (RFC 1035, 2.3.4: 255 on the wire).
pub const NAME_OCTETS_MAX: usize = 253;
/// Octets of one character string of a TXT record (RFC 1035, 3.3).
pub const TXT_STRING_OCTETS_MAX: usize = 255;
/// Octets of a TXT record's text in all; what the v4 API takes.
pub const TXT_OCTETS_MAX: usize = 4_096;
/// Octets of a TXT record's data on the wire, where each of its strings has one more: its owner may cut a text into as many
/// strings as it has octets.
pub const TXT_WIRE_OCTETS_MAX: usize = 2 * TXT_OCTETS_MAX;
/// Octets of a CAA record's value.
pub const CAA_VALUE_OCTETS_MAX: usize = 1_024;
/// Octets of a record's data of other types: an OpenPGP key with its signatures, far below what a message can carry.
pub const RDATA_OCTETS_MAX: usize = 16_384;
/// Shortest time to live that a record may have, in seconds.
pub const TTL_SECONDS_MIN: u32 = 30;
/// Longest time to live that a record may have, in seconds: one day, what the v4 API takes.
pub const TTL_SECONDS_MAX: u32 = 86_400;
/// What `ttl: 1`, automatic, means on the wire, in seconds.
pub const TTL_SECONDS_AUTO: u32 = 300;
/// Records of one zone that its owner writes here: a change looks at all of them.
pub const RECORDS_PER_ZONE_MAX: usize = 100_000;
/// Records of one zone that come from its primary.
pub const TRANSFERRED_RECORDS_PER_ZONE_MAX: usize = 1_000_000;
/// Octets of them, as [`transferred_octets`](crate::transferred_octets) counts: 268 for each of so many records, of which
/// most take a third.
pub const TRANSFERRED_OCTETS_PER_ZONE_MAX: usize = 256 << 20;
/// Octets that a record is counted with besides its data: what a set of one has beside that.
pub const TRANSFERRED_RECORD_OCTETS: usize = 16;
/// Octets that a name is counted with besides itself: what it takes to find it.
pub const TRANSFERRED_NAME_OCTETS: usize = 32;
/// Records of one name and type that its owner writes here.
pub const RECORDS_PER_SET_MAX: usize = 100;
/// Records of one name, of all types, wherever they come from: as many addresses as one message of 64 KiB has room for, 16
/// octets each. What a primary may send in one set, and in how many types, is bounded by it.
pub const RECORDS_PER_NAME_MAX: usize = 4_096;
/// Tags of a record.
pub const RECORD_TAGS_MAX: usize = 20;
/// Rules of one ruleset.
pub const RULES_PER_RULESET_MAX: usize = 1_000;
/// Regular expressions of one ruleset: each may take some hundred KiB on every server that serves the zone.
pub const REGEXES_PER_RULESET_MAX: usize = 64;
/// Statuses and ranges of statuses to which a cache rule gives lifetimes.
pub const STATUS_TTLS_MAX: usize = 100;
/// Longest lifetime that a cache rule gives, in seconds: a year, what the v4 API takes.
pub const CACHE_TTL_SECONDS_MAX: u32 = 31_536_000;
/// Names and texts that a cache rule puts into the key.
pub const CACHE_KEY_NAMES_MAX: usize = 100;
/// Octets of one of them.
pub const CACHE_KEY_TEXT_OCTETS_MAX: usize = 256;
/// Policies of an API token.
pub const POLICIES_PER_TOKEN_MAX: usize = 100;
/// URLs of one purge request.
pub const PURGE_FILES_MAX: usize = 100;
/// Octets of one URL to purge.
pub const PURGE_URL_OCTETS_MAX: usize = 8_192;
/// Hosts, prefixes or tags of one purge request; what the v4 API takes.
pub const PURGE_NAMES_MAX: usize = 30;
/// Purges of a zone that are kept in the log's state; servers that missed more empty the zone's cache.
pub const PURGES_KEPT_MAX: usize = 1_000;
/// How long purges are kept in the log's state, in seconds: a server that was off for less than half of it takes up the
/// cache that lies on its disk.
pub const PURGE_KEPT_SECONDS: i64 = 86_400;
/// Octets of a cache tag; what the v4 API takes.
pub const CACHE_TAG_OCTETS_MAX: usize = 1_024;
/// Octets of a prefix of URLs to purge: a host's name, and more path than people write.
pub const URL_PREFIX_OCTETS_MAX: usize = 2_048;
/// Slashes of a prefix of URLs to purge; what the v4 API takes, and how many beginnings of a path a cache looks up.
pub const URL_PREFIX_SEPARATORS_MAX: usize = 31;
/// Octets of a PEM certificate chain or key.
pub const PEM_OCTETS_MAX: usize = 65_536;
/// Certificates of one authority of client certificates: roots of some generations.
pub const CLIENT_AUTHORITY_CERTIFICATES_MAX: usize = 16;
/// Authorities of client certificates of one account: each may take some 64 KiB of the log.
pub const CLIENT_AUTHORITIES_PER_ACCOUNT_MAX: usize = 50;
/// Authorities of client certificates with which hosts of one zone are associated: every server that serves the zone
/// keeps them parsed.
pub const CLIENT_AUTHENTICATIONS_PER_ZONE_MAX: usize = 8;
/// Hosts that are associated with one authority of client certificates.
pub const CLIENT_AUTHENTICATION_HOSTS_MAX: usize = 100;
/// Keys that sign a zone, those of a roll-over and of one that was not finished: each is a record of DNSKEY.
pub const SIGNING_KEYS_PER_ZONE_MAX: usize = 4;
/// How long others may remember a zone's SOA record, in seconds.
pub const SOA_TTL_SECONDS: u32 = 1_800;
/// SOA's refresh, retry and expire in seconds (RFC 1912, 2.2), for servers that have a zone by transfers.
pub const SOA_TIMERS_SECONDS: [u32; 3] = [10_000, 2_400, 604_800];
/// How long others may remember that something does not exist, in seconds (RFC 2308, 4): as long as a record with an
/// automatic TTL, so that a new name appears as fast as a changed one.
pub const NEGATIVE_TTL_SECONDS: u32 = 300;
/// How long others may remember the names of the network's servers, in seconds: they change with the network only.
pub const APEX_NS_TTL_SECONDS: u32 = 86_400;
/// How long others may remember a zone's keys and what its parent is to say of them, in seconds.
pub const KEY_TTL_SECONDS: u32 = 3_600;
/// How long after a change some server of the network may still answer as before, in seconds: one that is cut off from the
/// log for longer than an hour is an outage that somebody sees to.
pub const PROPAGATION_SECONDS: i64 = 3_600;
/// How long others may remember what a parent said of a zone's keys, in seconds: twice the day for which most parents have
/// it cached.
pub const DS_CACHED_SECONDS: i64 = 2 * 86_400;
/// The shortest time in days after which keys are rolled over unasked: a roll-over takes some days by itself.
pub const KEY_ROLL_DAYS_MIN: u32 = 14;
/// The longest: ten years.
pub const KEY_ROLL_DAYS_MAX: u32 = 3_653;
/// Octets of a zone's name on the wire that leave room for a hash below it (RFC 5155, 3): a label of 32 digits.
pub const NSEC3_ZONE_OCTETS_MAX: usize = 255 - 33;
/// Keys of a zone that its primary signed that are shown: more than any roll-over has.
pub const PRESIGNED_KEYS_SHOWN_MAX: usize = 16;
/// How long before the signatures of a zone's primary end that is told, in seconds: a day, in which somebody sees to it.
pub const SIGNATURES_END_SOON_SECONDS: i64 = 86_400;
/// How often, at the most, names are hashed again that a zone's primary denies by hashes: what validators take at the most
/// (RFC 9276, 3.2), and what a flood of made-up names may cost.
pub const NSEC3_ITERATIONS_MAX: u16 = 150;
/// Octets of a TSIG secret: what a peer may have from long ago (RFC 8945, 5.2.1 wants more), and as much as the largest
/// hash takes without hashing it first.
pub const TSIG_SECRET_OCTETS_MIN: usize = 8;
/// Octets of a TSIG secret at the most.
pub const TSIG_SECRET_OCTETS_MAX: usize = 128;
/// Keys, ranges or peers of one account: all of them may be read for one request.
pub const TRANSFER_NOUNS_PER_ACCOUNT_MAX: usize = 64;
/// Peers of one zone: each is told of each change.
pub const TRANSFER_PEERS_PER_ZONE_MAX: usize = 16;
/// The widest IPv4 range of peers; what the v4 API takes.
pub const TRANSFER_ACL_PREFIX_V4_MIN: u8 = 24;
/// The widest IPv6 range of peers; what the v4 API takes.
pub const TRANSFER_ACL_PREFIX_V6_MIN: u8 = 64;
/// The shortest time after which a zone's primaries are looked at unasked, in seconds, that an owner may give; what the v4
/// API takes.
pub const TRANSFER_REFRESH_SECONDS_MIN: u32 = 300;
/// The longest, in seconds: a week.
pub const TRANSFER_REFRESH_SECONDS_MAX: u32 = 604_800;
/// Zones of one network; what the replica is sized and measured for.
pub const ZONES_MAX: usize = 1_000_000;
/// Octets of a Worker's name: of a label, for it may become one.
pub const WORKER_NAME_OCTETS_MAX: usize = LABEL_OCTETS_MAX;
/// Workers of one account; what the v4 API takes.
pub const WORKERS_PER_ACCOUNT_MAX: usize = 500;
/// Versions of a Worker that are kept: those to which can be gone back.
pub const WORKER_VERSIONS_MAX: usize = 100;
/// Deployments of a Worker that are kept besides the one in force; with what they name, they are far fewer than versions.
pub const WORKER_DEPLOYMENTS_MAX: usize = 10;
/// Versions that answer at a time; what the v4 API takes.
pub const WORKER_DEPLOYED_VERSIONS_MAX: usize = 2;
/// Octets of all modules of a version.
pub const WORKER_OCTETS_MAX: usize = 10 << 20;
/// Octets of what the Workers of one account are made of, assets among it, each content counted once: every server has all of
/// it.
pub const WORKER_OCTETS_PER_ACCOUNT_MAX: u64 = 1 << 30;
/// Files of a version's assets; what the v4 API takes.
pub const WORKER_ASSETS_MAX: usize = 20_000;
/// Octets of one of them; what the v4 API takes.
pub const WORKER_ASSET_OCTETS_MAX: usize = 25 << 20;
/// Octets of all of them: as Base64 a third of what a log keeps of its history unless it is told otherwise, so that a server that
/// was away for one deployment follows on.
pub const WORKER_ASSETS_OCTETS_MAX: u64 = 128 << 20;
/// Octets of the path of one of them: more than file systems take of one name.
pub const WORKER_ASSET_PATH_OCTETS_MAX: usize = 1_024;
/// Octets of what one of them is served as.
pub const WORKER_ASSET_TYPE_OCTETS_MAX: usize = 255;
/// Octets of `_headers`, and of `_redirects`: 2,100 rules of common length.
pub const WORKER_ASSETS_RULES_OCTETS_MAX: usize = 256 << 10;
/// Rules that say which requests code is asked about before assets are; what the v4 API takes.
pub const WORKER_FIRST_PATHS_MAX: usize = 100;
/// Octets of one of them; what the v4 API takes.
pub const WORKER_FIRST_PATH_OCTETS_MAX: usize = 100;
/// Octets of one piece of a content: as Base64 a sixth of what a value of the log may have.
pub const WORKER_PIECE_OCTETS: usize = 1 << 20;
/// Modules of a version: each is a row of it, and two values of the log.
pub const WORKER_MODULES_MAX: usize = 1_000;
/// Octets of a module's name.
pub const WORKER_MODULE_NAME_OCTETS_MAX: usize = 512;
/// Bindings of a version, secrets among them; twice what the v4 API takes of variables.
pub const WORKER_BINDINGS_MAX: usize = 256;
/// Octets of a binding's name.
pub const WORKER_BINDING_NAME_OCTETS_MAX: usize = 128;
/// Octets of a variable or a secret; what the v4 API takes.
pub const WORKER_VARIABLE_OCTETS_MAX: usize = 5 << 10;
/// Compatibility flags of a version: more than engines have had in a year.
pub const WORKER_FLAGS_MAX: usize = 64;
/// Octets of a compatibility flag.
pub const WORKER_FLAG_OCTETS_MAX: usize = 128;
/// Tags of a Worker; what the v4 API takes.
pub const WORKER_TAGS_MAX: usize = 8;
/// Octets of what is to be observed of a Worker, as JSON.
pub const WORKER_OBSERVABILITY_OCTETS_MAX: usize = 4 << 10;
/// The least time of a processor that an invocation may be allowed, in milliseconds; what the v4 API takes.
pub const WORKER_CPU_MS_MIN: u32 = 1;
/// The most; what the v4 API takes.
pub const WORKER_CPU_MS_MAX: u32 = 300_000;
/// Octets of a route's pattern: a host's name, and more path than people write.
pub const ROUTE_PATTERN_OCTETS_MAX: usize = 1_024;
/// Routes of a zone: all of them are asked for a request; what the v4 API takes.
pub const WORKER_ROUTES_PER_ZONE_MAX: usize = 1_000;
/// Custom domains of a zone; what the v4 API takes.
pub const WORKER_HOSTS_PER_ZONE_MAX: usize = 100;
/// Custom domains of an account: all of them are read to list them.
pub const WORKER_DOMAINS_PER_ACCOUNT_MAX: usize = 1_000;
/// Cron triggers of one Worker: each is looked at every minute.
pub const WORKER_CRONS_MAX: usize = 50;
/// Octets of a cron expression: one that names every minute has 168.
pub const WORKER_CRON_OCTETS_MAX: usize = 256;
/// Routes of one Worker, over all zones: each is named in one value.
pub const WORKER_ROUTES_MAX: usize = 2_000;
/// Namespaces of keys and values of one account; what the v4 API takes.
pub const KV_NAMESPACES_PER_ACCOUNT_MAX: usize = 1_000;
/// Octets of what a namespace is called; what the v4 API takes.
pub const KV_TITLE_OCTETS_MAX: usize = 512;
/// Octets of a key; what the v4 API takes.
pub const KV_KEY_OCTETS_MAX: usize = 512;
/// Octets of a value; what the v4 API takes.
pub const KV_VALUE_OCTETS_MAX: usize = 25 << 20;
/// Octets of what is said of a value, as JSON; what the v4 API takes.
pub const KV_METADATA_OCTETS_MAX: usize = 1_024;
/// The shortest time that a value may be kept, in seconds; what the v4 API takes.
pub const KV_TTL_SECONDS_MIN: u64 = 60;
/// Buckets of one account: all of them are read to list them.
pub const BUCKETS_PER_ACCOUNT_MAX: usize = 10_000;
/// Octets of a bucket's name; what S3 takes.
pub const BUCKET_NAME_OCTETS: std::ops::RangeInclusive<usize> = 3..=63;
/// Queues of one account: all of them are read to list them; what the v4 API takes.
pub const QUEUES_PER_ACCOUNT_MAX: usize = 10_000;
/// Octets of a queue's name; what the v4 API takes.
pub const QUEUE_NAME_OCTETS_MAX: usize = 63;
/// Octets of a message; what the v4 API takes.
pub const QUEUE_MESSAGE_OCTETS_MAX: usize = 128_000;
/// Messages that are sent at once; what the v4 API takes.
pub const QUEUE_SEND_MESSAGES_MAX: usize = 100;
/// Octets of them; what the v4 API takes.
pub const QUEUE_SEND_OCTETS_MAX: usize = 256_000;
/// Messages that a consumer gets at once; what the v4 API takes.
pub const QUEUE_BATCH: std::ops::RangeInclusive<u32> = 1..=100;
/// How long a message may be delayed, in seconds: twelve hours; what the v4 API takes.
pub const QUEUE_DELAY_SECONDS_MAX: u32 = 43_200;
/// How long a message may be kept, in seconds: a minute to two weeks; what the v4 API takes.
pub const QUEUE_RETENTION_SECONDS: std::ops::RangeInclusive<u32> = 60..=1_209_600;
/// How long it is kept unless something else is said, in seconds: four days.
pub const QUEUE_RETENTION_SECONDS_DEFAULT: u32 = 345_600;
/// How long a batch may wait to be full, in milliseconds; what the v4 API takes.
pub const QUEUE_WAIT_MS_MAX: u32 = 60_000;
/// How often a message may be delivered again; what the v4 API takes.
pub const QUEUE_RETRIES_MAX: u32 = 100;
/// Batches that one consumer may have under way; what the v4 API takes.
pub const QUEUE_CONCURRENCY_MAX: u32 = 250;
/// How long a message that was pulled may be shown to nobody else, in milliseconds: twelve hours; what the v4 API takes.
pub const QUEUE_VISIBILITY_MS_MAX: u32 = 43_200_000;
/// Namespaces of Durable Objects of one account; what the v4 API takes.
pub const DURABLE_NAMESPACES_PER_ACCOUNT_MAX: usize = 500;
/// Octets of the name of a class of Durable Objects.
pub const DURABLE_CLASS_OCTETS_MAX: usize = 255;
/// Servers that the objects of one namespace are spread over: what a record of the log may name of a large network, and as many as
/// share the work of one class.
pub const DURABLE_HOMES_MAX: usize = 8;
/// Octets of a tag of migrations.
pub const WORKER_MIGRATION_TAG_OCTETS_MAX: usize = 255;
/// The most subrequests that an invocation may be allowed; what the v4 API takes.
pub const WORKER_SUBREQUESTS_MAX: u32 = 10_000_000;
/// Public hosts of one bucket; what the v4 API takes.
pub const BUCKET_DOMAINS_MAX: usize = 50;
