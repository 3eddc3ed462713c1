//! How nouns lie in the ledger: one key and one value each.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The kinds of noun, and the first part of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`Account`](crate::Account): `account/ID`.
    Account,
    /// [`Zone`](crate::Zone): `zone/ID`.
    Zone,
    /// [`ZoneIndex`](crate::ZoneIndex): `zone_name/NAME`.
    ZoneName,
    /// [`Record`](crate::Record): `record/ZONE/ID`.
    Record,
    /// [`ApiToken`](crate::ApiToken): `token/ID`. Secret.
    Token,
    /// [`Ruleset`](crate::Ruleset): `ruleset/ZONE/PHASE`.
    Ruleset,
    /// [`Certificate`](crate::Certificate): `certificate/ZONE/ID`. Secret.
    Certificate,
    /// [`ClientAuthority`](crate::ClientAuthority): `client_authority/ACCOUNT/ID`.
    ClientAuthority,
    /// [`ClientAuthentication`](crate::ClientAuthentication): `client_authentication/ZONE/AUTHORITY`.
    ClientAuthentication,
    /// [`EdgeAuthority`](crate::EdgeAuthority): `authority`. Secret.
    Authority,
    /// [`AcmeAccount`](crate::AcmeAccount): `acme_account`. Secret.
    AcmeAccount,
    /// [`AcmeOrder`](crate::AcmeOrder): `acme_order/ZONE`.
    AcmeOrder,
    /// [`TicketKeys`](crate::TicketKeys): `ticket_keys`. Secret.
    TicketKeys,
    /// [`ZoneSigning`](crate::ZoneSigning): `dnssec/ZONE`. Secret.
    Dnssec,
    /// [`TsigKey`](crate::TsigKey): `tsig/ACCOUNT/ID`. Secret.
    Tsig,
    /// [`TransferAcl`](crate::TransferAcl): `transfer_acl/ACCOUNT/ID`.
    TransferAcl,
    /// [`TransferPeer`](crate::TransferPeer): `transfer_peer/ACCOUNT/ID`.
    TransferPeer,
    /// [`OutgoingTransfers`](crate::OutgoingTransfers): `transfer_out/ZONE`.
    TransferOut,
    /// [`TransferNotices`](crate::TransferNotices): `transfer_notices/ZONE`.
    TransferNotices,
    /// [`IncomingTransfers`](crate::IncomingTransfers): `transfer_in/ZONE`.
    TransferIn,
    /// [`SecondaryZone`](crate::SecondaryZone): `secondary/ZONE`.
    Secondary,
    /// [`TransferredRecord`](crate::TransferredRecord): `transferred/ZONE/ID`.
    Transferred,
    /// [`ZoneNotice`](crate::ZoneNotice): `zone_notice/ZONE`.
    ZoneNotice,
    /// [`Purge`](crate::Purge): `purge/ZONE/ID`.
    Purge,
    /// [`Worker`](crate::Worker): `worker/ACCOUNT/NAME`.
    Worker,
    /// [`WorkerDeployment`](crate::WorkerDeployment): `worker_deployment/ACCOUNT/NAME/ID`.
    WorkerDeployment,
    /// [`WorkerVersion`](crate::WorkerVersion): `worker_version/ACCOUNT/NAME/ID`.
    WorkerVersion,
    /// [`WorkerSecrets`](crate::WorkerSecrets): `worker_secret/ACCOUNT/NAME/VERSION`. Secret.
    WorkerSecrets,
    /// [`WorkerContent`](crate::WorkerContent): `worker_content/ACCOUNT/HASH/PIECE`.
    WorkerContent,
    /// [`WorkerContentUse`](crate::WorkerContentUse): `worker_content_use/ACCOUNT/HASH`.
    WorkerContentUse,
    /// [`WorkerAsset`](crate::WorkerAsset): `worker_asset/ACCOUNT/HASH`.
    WorkerAsset,
    /// [`WorkerAssetSession`](crate::WorkerAssetSession): `worker_asset_session/ACCOUNT/MANIFEST`.
    WorkerAssetSession,
    /// [`WorkerUsage`](crate::WorkerUsage): `worker_usage/ACCOUNT`.
    WorkerUsage,
    /// [`WorkerRoute`](crate::WorkerRoute): `worker_route/ZONE/ID`.
    WorkerRoute,
    /// [`WorkerDomain`](crate::WorkerDomain): `worker_domain/ACCOUNT/ID`.
    WorkerDomain,
    /// [`WorkerHost`](crate::WorkerHost): `worker_host/ZONE/HOST`.
    WorkerHost,
    /// [`WorkerTriggers`](crate::WorkerTriggers): `worker_triggers/ACCOUNT/NAME`.
    WorkerTriggers,
    /// [`KvNamespace`](crate::KvNamespace): `kv_namespace/ACCOUNT/ID`.
    KvNamespace,
    /// [`KvUsage`](crate::KvUsage): `kv_usage/ACCOUNT`.
    KvUsage,
    /// [`Bucket`](crate::Bucket): `bucket/ACCOUNT/NAME`.
    Bucket,
    /// [`BucketUsage`](crate::BucketUsage): `bucket_usage/ACCOUNT`.
    BucketUsage,
    /// [`BucketDomain`](crate::BucketDomain): `bucket_domain/ZONE/HOST`.
    BucketDomain,
    /// [`Queue`](crate::Queue): `queue/ACCOUNT/ID`.
    Queue,
    /// [`QueueUsage`](crate::QueueUsage): `queue_usage/ACCOUNT`.
    QueueUsage,
    /// [`DurableNamespace`](crate::DurableNamespace): `durable_namespace/ACCOUNT/ID`.
    DurableNamespace,
    /// [`DurableUsage`](crate::DurableUsage): `durable_usage/ACCOUNT`.
    DurableUsage,
    /// [`Pop`](crate::Pop): `pop/CODE`.
    Pop,
    /// [`Node`](crate::Node): `node/NAME`.
    Node,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 48] = [
        Self::Account,
        Self::Zone,
        Self::ZoneName,
        Self::Record,
        Self::Token,
        Self::Ruleset,
        Self::Certificate,
        Self::ClientAuthority,
        Self::ClientAuthentication,
        Self::Authority,
        Self::AcmeAccount,
        Self::AcmeOrder,
        Self::TicketKeys,
        Self::Dnssec,
        Self::Tsig,
        Self::TransferAcl,
        Self::TransferPeer,
        Self::TransferOut,
        Self::TransferNotices,
        Self::TransferIn,
        Self::Secondary,
        Self::Transferred,
        Self::ZoneNotice,
        Self::Purge,
        Self::Worker,
        Self::WorkerDeployment,
        Self::WorkerVersion,
        Self::WorkerSecrets,
        Self::WorkerContent,
        Self::WorkerContentUse,
        Self::WorkerAsset,
        Self::WorkerAssetSession,
        Self::WorkerUsage,
        Self::WorkerRoute,
        Self::WorkerDomain,
        Self::WorkerHost,
        Self::WorkerTriggers,
        Self::KvNamespace,
        Self::KvUsage,
        Self::Bucket,
        Self::BucketUsage,
        Self::BucketDomain,
        Self::Queue,
        Self::QueueUsage,
        Self::DurableNamespace,
        Self::DurableUsage,
        Self::Pop,
        Self::Node,
    ];

    /// The first part of its keys.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Zone => "zone",
            Self::ZoneName => "zone_name",
            Self::Record => "record",
            Self::Token => "token",
            Self::Ruleset => "ruleset",
            Self::Certificate => "certificate",
            Self::ClientAuthority => "client_authority",
            Self::ClientAuthentication => "client_authentication",
            Self::Authority => "authority",
            Self::AcmeAccount => "acme_account",
            Self::AcmeOrder => "acme_order",
            Self::TicketKeys => "ticket_keys",
            Self::Dnssec => "dnssec",
            Self::Tsig => "tsig",
            Self::TransferAcl => "transfer_acl",
            Self::TransferPeer => "transfer_peer",
            Self::TransferOut => "transfer_out",
            Self::TransferNotices => "transfer_notices",
            Self::TransferIn => "transfer_in",
            Self::Secondary => "secondary",
            Self::Transferred => "transferred",
            Self::ZoneNotice => "zone_notice",
            Self::Purge => "purge",
            Self::Worker => "worker",
            Self::WorkerDeployment => "worker_deployment",
            Self::WorkerVersion => "worker_version",
            Self::WorkerSecrets => "worker_secret",
            Self::WorkerContent => "worker_content",
            Self::WorkerContentUse => "worker_content_use",
            Self::WorkerAsset => "worker_asset",
            Self::WorkerAssetSession => "worker_asset_session",
            Self::WorkerUsage => "worker_usage",
            Self::WorkerRoute => "worker_route",
            Self::WorkerDomain => "worker_domain",
            Self::WorkerHost => "worker_host",
            Self::WorkerTriggers => "worker_triggers",
            Self::KvNamespace => "kv_namespace",
            Self::KvUsage => "kv_usage",
            Self::Bucket => "bucket",
            Self::BucketUsage => "bucket_usage",
            Self::BucketDomain => "bucket_domain",
            Self::Queue => "queue",
            Self::QueueUsage => "queue_usage",
            Self::DurableNamespace => "durable_namespace",
            Self::DurableUsage => "durable_usage",
            Self::Pop => "pop",
            Self::Node => "node",
        }
    }

    /// Whether values of this kind are encrypted at rest and never logged.
    pub const fn secret(self) -> bool {
        matches!(
            self,
            Self::Token
                | Self::Certificate
                | Self::Authority
                | Self::AcmeAccount
                | Self::TicketKeys
                | Self::Dnssec
                | Self::Tsig
                | Self::WorkerSecrets
        )
    }
}

/// Where a value lies in the ledger: the kind and its parts, joined by `/`. Keys of one zone's things start with
/// `KIND/ZONE/`, so that a prefix scan finds them all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// The key of these parts. Parts come from validated ids and names, none of which can hold a `/`.
    pub fn new(kind: Kind, parts: &[&dyn fmt::Display]) -> Self {
        let mut text = String::from(kind.prefix());
        for part in parts {
            use fmt::Write as _;
            write!(text, "/{part}").expect("writing to a String does not fail");
        }
        Self(text)
    }

    /// The prefix under which all things of `kind` lie whose first parts are these: `KIND/PART/…/`.
    pub fn prefix(kind: Kind, parts: &[&dyn fmt::Display]) -> String {
        let mut key = Self::new(kind, parts).0;
        key.push('/');
        key
    }

    /// A key as it was read back from a log, a replica or a peer; `None` if its kind is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        let key = Self(text.to_owned());
        key.kind().map(|_| key.clone())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind of noun that lies here.
    pub fn kind(&self) -> Option<Kind> {
        let first = self.0.split('/').next().unwrap_or_default();
        Kind::ALL.into_iter().find(|kind| kind.prefix() == first)
    }

    /// The part after the kind, as the id it is (`zone/ID` and everything that lies under a zone give the zone's id).
    pub fn first_part<T: std::str::FromStr>(&self) -> Option<T> {
        self.part(1)
    }

    /// A part as what it is, counted from 0, the kind.
    pub fn part<T: std::str::FromStr>(&self, index: usize) -> Option<T> {
        self.0.split('/').nth(index)?.parse().ok()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A noun that lies in the ledger.
pub trait Entity: Serialize + DeserializeOwned {
    /// Its kind.
    const KIND: Kind;
    /// What names it.
    type Id;

    /// Where it lies.
    fn key(&self) -> Key;

    /// Where the one of this id lies.
    fn key_of(id: &Self::Id) -> Key;
}
