//! Certificates and keys of the edge. Every one of them is a secret at rest, and none is ever shown by `Debug`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CertificateId, DnsName, Entity, Key, KeyAlgorithm, Kind, TicketKeyId, Timestamp, ZoneId};

/// Where a certificate came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// Issued by the cluster's own authority.
    LocalAuthority,
    /// Ordered by the network from a public authority, by ACME. Preferred to the one of the cluster's own.
    Acme {
        /// The directory of the authority.
        directory: String,
        /// The kind of its key.
        algorithm: KeyAlgorithm,
    },
    /// Uploaded by the zone's owner. Preferred to any other for the names that it holds.
    Custom,
}

/// A certificate that the edge serves, with its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its id.
    pub id: CertificateId,
    /// The zone whose it is.
    pub zone: ZoneId,
    /// The names that it holds, exact or wildcard (`*.example.com`).
    pub hosts: Vec<DnsName>,
    /// Where it came from.
    pub source: CertificateSource,
    /// The chain, leaf first, PEM.
    pub chain_pem: String,
    /// The private key, PKCS #8 PEM.
    pub key_pem: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// When it was put here.
    pub uploaded_at: Timestamp,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("id", &self.id)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Entity for Certificate {
    const KIND: Kind = Kind::Certificate;
    type Id = (ZoneId, CertificateId);

    fn key(&self) -> Key {
        Self::key_of(&(self.zone, self.id))
    }

    fn key_of((zone, id): &(ZoneId, CertificateId)) -> Key {
        Key::new(Self::KIND, &[zone, id])
    }
}

/// The network's own certificate authority for zones that brought no certificate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeAuthority {
    /// The authority's certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PKCS #8 PEM.
    pub key_pem: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl fmt::Debug for EdgeAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeAuthority").field("created_at", &self.created_at).finish_non_exhaustive()
    }
}

impl Entity for EdgeAuthority {
    const KIND: Kind = Kind::Authority;
    type Id = ();

    fn key(&self) -> Key {
        Self::key_of(&())
    }

    fn key_of((): &()) -> Key {
        Key::new(Self::KIND, &[])
    }
}

/// One key for TLS session tickets (RFC 8446, 4.6.1; RFC 5077).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKey {
    /// Named in each ticket, so that its key is found at once.
    pub id: TicketKeyId,
    /// An AES-256 key.
    #[serde(with = "hex::serde")]
    pub secret: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
}

/// The ticket keys that all servers share, newest first: the first seals, all of them open.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKeys {
    /// The keys.
    pub keys: Vec<TicketKey>,
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| (key.id, key.created_at))).finish()
    }
}

impl Entity for TicketKeys {
    const KIND: Kind = Kind::TicketKeys;
    type Id = ();

    fn key(&self) -> Key {
        Self::key_of(&())
    }

    fn key_of((): &()) -> Key {
        Key::new(Self::KIND, &[])
    }
}
