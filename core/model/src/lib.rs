//! The nouns of Proxima: what a customer owns, what the network is made of, and what may be said about either.
//!
//! ```text
//!  API body, zone file, node.toml ──parse──▶ noun ──to_value──▶ ledger ──from_value──▶ noun ──▶ services
//!                                   │
//!                                   └─ Invalid { field, problem, remedy }: told to whoever asked
//! ```
//!
//! Invariants:
//! * **Parse at the border, trust inside.** A [`ZoneName`], [`DnsName`], [`Ttl`] or [`RecordData`] that exists is
//!   valid; there is no constructor around the check, and deserialising runs it again. (Data of types that nobody here
//!   looks into, [`Rdata`], is only bounded then: a type that becomes known later leaves older records readable. And a
//!   [`Ttl`] is any then: records that come from a primary have those that it gives.)
//! * **No I/O, no async, no clock, no randomness.** Whoever makes a noun hands in its id and its time.
//! * **Every noun knows its key** in the ledger ([`Entity`]) and whether it is a secret at rest ([`Kind::secret`]).
//!
//! Limits are named constants beside the noun that they bound, and are collected in [`limits`].

mod account;
mod acme;
mod address;
mod bucket;
mod cache_settings;
mod certificate;
mod client_auth;
mod dnssec;
mod durable;
mod entity;
mod error;
mod id;
mod kv;
pub mod limits;
mod name;
mod network;
mod presigned;
mod purge;
mod queue;
mod record;
mod ruleset;
mod secondary;
mod settings;
mod time;
mod token;
mod transfer;
mod worker;
mod zone;

pub use account::Account;
pub use acme::{AcmeAccount, AcmeFailure, AcmeOrder, AcmeStage, KeyAlgorithm};
pub use address::Reach;
pub use bucket::{Bucket, BucketDomain, BucketName, BucketUsage, Jurisdiction, LocationHint, StorageClass};
pub use cache_settings::{
    ArgNames, BrowserMode, BrowserTtl, CacheKey, CacheSettings, CustomKey, EdgeLifetime, EdgeMode, EdgeTtl,
    KeyCookies, KeyHeaders, KeyHost, KeyQuery, KeyUser, ServeStale, StatusRange, StatusTtl,
};
pub use certificate::{Certificate, CertificateSource, EdgeAuthority, TicketKey, TicketKeys};
pub use client_auth::{ClientAuthentication, ClientAuthority};
pub use dnssec::{
    KeyRole, ParentDs, SIGNING_KEY_FLAGS, SigningAlgorithm, SigningKey, SigningState, ZoneSigning, key_tag,
    roll::{KeyRoll, ParentSays, RollStage},
};
pub use durable::{DurableClass, DurableNamespace, DurableObjectId, DurableSlot, DurableUsage};
pub use entity::{Entity, Key, Kind};
pub use error::{Invalid, excerpt};
pub use id::{
    AccountId, BucketTag, CertificateId, ClientAuthorityId, DurableNamespaceId, KvNamespaceId, PurgeId,
    QueueConsumerId, QueueId, RecordId, RuleId, RulesetId, TicketKeyId, TokenId, TransferAclId,
    TransferPeerId, TsigKeyId, WorkerDomainId, WorkerRouteId, WorkerTag, ZoneId,
};
pub use kv::{KvKey, KvNamespace, KvUsage};
pub use name::{DnsName, ZoneName};
pub use network::{Node, NodeName, Pop, PopCode, RegionName};
pub use presigned::{Denial, Presigned, PresignedContent, PresignedProblem, is_of_signing};
pub use purge::{CacheTag, Purge, PurgeWhat, UrlPrefix};
pub use queue::{Queue, QueueConsumer, QueueName, QueueReader, QueueSettings, QueueUsage};
pub use record::{
    Angle, CaaTag, Field, FieldKind, FieldValue, Location, OtherType, Rdata, Record, RecordData, RecordType,
    TxtData, conflict, present, quote, type_code, type_name,
};
pub use ruleset::{OriginOverride, OriginRoute, Phase, Rule, RuleAction, RuleExpression, Ruleset};
pub use secondary::{
    IncomingTransfers, PrimarySoa, SecondaryZone, TransferFailure, TransferredRecord, ZoneNotice,
    transferred_octets,
};
pub use settings::{
    CnameFlattening, MinTlsVersion, OriginMaxHttpVersion, Setting, SslMode, StrictTransportSecurity,
    ZoneSettings,
};
pub use time::{Timestamp, Ttl};
pub use token::{ApiToken, Permission, TokenPolicy, TokenScope, TokenStatus};
pub use transfer::{
    OutgoingTransfers, PeerNotice, TransferAcl, TransferNotices, TransferPeer, TsigAlgorithm, TsigKey,
};
pub use worker::{
    AssetConfig, AssetFile, AssetHash, AssetManifest, AssetPath, BindingName, BindingValue,
    CompatibilityDate, CompatibilityFlag, ContentHash, ContentRef, CronExpression, Deployment, DeploymentId,
    FirstPaths, HtmlHandling, ModuleKind, ModuleName, NotFoundHandling, RoutePattern, RouteScheme,
    RouteSpecificity, VersionShare, VersionShares, Worker, WorkerAnnotations, WorkerAsset,
    WorkerAssetSession, WorkerAssets, WorkerBinding, WorkerContent, WorkerContentUse, WorkerCron,
    WorkerDeployment, WorkerDomain, WorkerFirst, WorkerHost, WorkerModule, WorkerName, WorkerRoute,
    WorkerSecrets, WorkerSyntax, WorkerTriggers, WorkerUsage, WorkerVersion, WorkerVersionId,
};
pub use zone::{Zone, ZoneIndex, ZoneStatus};
