//! Client certificates (mutual TLS): authorities that an account has uploaded, and hosts whose visitors are to show a
//! certificate of one of them.
//!
//! An authority never changes; a zone's association holds a copy of its certificates. So everything that a zone is
//! compiled of lies beneath the zone, and an authority of another account or one that is gone cannot come into it.

use serde::{Deserialize, Serialize};

use crate::{AccountId, ClientAuthorityId, DnsName, Entity, Key, Kind, Timestamp, ZoneId};

/// An authority that issues client certificates. It has no key here: the network issues none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAuthority {
    /// Its id.
    pub id: ClientAuthorityId,
    /// The account whose it is.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// Its certificates, PEM: each is trusted.
    pub certificates_pem: String,
    /// When the first of them runs out.
    pub not_after: Timestamp,
    /// When it was put here.
    pub uploaded_at: Timestamp,
}

impl Entity for ClientAuthority {
    const KIND: Kind = Kind::ClientAuthority;
    type Id = (AccountId, ClientAuthorityId);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.id))
    }

    fn key_of((account, id): &(AccountId, ClientAuthorityId)) -> Key {
        Key::new(Self::KIND, &[account, id])
    }
}

/// The hosts of a zone whose visitors are asked for a certificate of one authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAuthentication {
    /// The zone.
    pub zone: ZoneId,
    /// The authority.
    pub authority: ClientAuthorityId,
    /// The authority's certificates, as they were uploaded, PEM.
    pub certificates_pem: String,
    /// The hosts, exact names in the zone.
    pub hosts: Vec<DnsName>,
    /// Whether requests without a certificate that holds are refused.
    pub enforce: bool,
}

impl Entity for ClientAuthentication {
    const KIND: Kind = Kind::ClientAuthentication;
    type Id = (ZoneId, ClientAuthorityId);

    fn key(&self) -> Key {
        Self::key_of(&(self.zone, self.authority))
    }

    fn key_of((zone, authority): &(ZoneId, ClientAuthorityId)) -> Key {
        Key::new(Self::KIND, &[zone, authority])
    }
}
