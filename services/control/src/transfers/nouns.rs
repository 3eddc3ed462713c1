//! What an account has for all its zones: ranges, peers and keys. They are listed, made, replaced and deleted alike.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension,
    extract::{Path, State},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ipnet::IpNet;
use proxima_ledger::{Precondition, ReadError, Snapshot};
use proxima_model::{
    Account, AccountId, DnsName, Entity, IncomingTransfers, OutgoingTransfers, Timestamp, TransferAcl,
    TransferAclId, TransferPeer, TransferPeerId, TsigAlgorithm, TsigKey, TsigKeyId, excerpt,
    limits as model_limits,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{invalid, refuse, unknown, whole};
use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::Answer,
        page::Query,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    limits,
};

/// The port of DNS.
const PORT: u16 = 53;

/// A thing of an account.
pub(crate) trait Noun: Entity<Id = (AccountId, Self::OwnId)> + Send + 'static {
    /// Its id within its account.
    type OwnId: Copy + PartialEq + std::str::FromStr + std::fmt::Display + Send + Sync + 'static;
    /// What it is made of.
    type Body: DeserializeOwned + Send + Sync + 'static;
    /// What it is called.
    const WHAT: &'static str;

    fn id(drawn: [u8; 16]) -> Self::OwnId;
    fn own_id(&self) -> Self::OwnId;
    fn modified_at(&self) -> Timestamp;
    /// Makes one of its body; `others` are those that the account has beside it.
    fn make(
        body: &Self::Body,
        id: Self::Id,
        others: &[Self],
        draft: &mut Draft<'_>,
    ) -> Result<Self, ApiError>;
    fn show(&self) -> Value;
    /// Whether something needs it.
    fn is_used(&self, snapshot: &Snapshot) -> Result<bool, ReadError>;
}

/// A range of addresses.
#[derive(Debug, Deserialize)]
pub(crate) struct AclBody {
    name: String,
    ip_range: String,
}

/// A peer.
#[derive(Debug, Deserialize)]
pub(crate) struct PeerBody {
    name: String,
    #[serde(default)]
    ip: Option<String>,
    #[serde(default)]
    port: Option<f64>,
    #[serde(default)]
    ixfr_enable: Option<bool>,
    #[serde(default)]
    tsig_id: Option<String>,
}

/// A key.
#[derive(Debug, Deserialize)]
pub(crate) struct TsigBody {
    name: String,
    algo: String,
    secret: String,
}

fn text(name: &str) -> Result<String, ApiError> {
    if name.is_empty() || name.chars().count() > model_limits::TEXT_CHARS_MAX {
        return Err(refuse("name", format!("give 1 to {} characters", model_limits::TEXT_CHARS_MAX)));
    }
    Ok(name.to_owned())
}

impl AclBody {
    /// Its name and range.
    pub(crate) fn read(&self) -> Result<(String, IpNet), ApiError> {
        let parsed =
            self.ip_range.parse::<IpNet>().or_else(|_| self.ip_range.parse::<IpAddr>().map(IpNet::from));
        let range = parsed.map_err(|_| refuse("ip_range", "give a range such as 192.0.2.53/28"))?.trunc();
        TransferAcl::check_range(range).map_err(|wrong| invalid(&wrong))?;
        Ok((text(&self.name)?, range))
    }
}

impl PeerBody {
    /// Its name, address and port. Which key it has is for the account to say.
    pub(crate) fn read(&self) -> Result<(String, Option<IpAddr>, u16), ApiError> {
        let given = self.ip.as_deref().filter(|ip| !ip.is_empty());
        let address = given.map(str::parse).transpose().map_err(|_| refuse("ip", "give an address"))?;
        let port = match self.port {
            None => PORT,
            Some(port) => whole(port, 1..=u16::MAX.into())
                .and_then(|port| port.try_into().ok())
                .ok_or_else(|| refuse("port", "give 1 to 65535"))?,
        };
        Ok((text(&self.name)?, address, port))
    }
}

impl TsigBody {
    /// Its name, algorithm and secret.
    pub(crate) fn read(&self) -> Result<(DnsName, TsigAlgorithm, Vec<u8>), ApiError> {
        let name = DnsName::parse(&self.name).map_err(|wrong| invalid(&wrong))?;
        if name.as_str() == "." {
            return Err(refuse("name", "the root names no key; give one such as peer.key"));
        }
        let algorithm = TsigAlgorithm::parse(&self.algo).map_err(|wrong| invalid(&wrong))?;
        let secret = BASE64_STANDARD.decode(self.secret.trim());
        let secret = secret.map_err(|_| refuse("secret", "give it in base 64"))?;
        TsigKey::check_secret(&secret).map_err(|wrong| invalid(&wrong))?;
        Ok((name, algorithm, secret))
    }
}

impl Noun for TransferAcl {
    type OwnId = TransferAclId;
    type Body = AclBody;
    const WHAT: &'static str = "the range";

    fn id(drawn: [u8; 16]) -> TransferAclId {
        TransferAclId::from_bytes(drawn)
    }

    fn own_id(&self) -> TransferAclId {
        self.id
    }

    fn modified_at(&self) -> Timestamp {
        self.modified_at
    }

    fn make(
        body: &AclBody,
        (account, id): Self::Id,
        _: &[Self],
        draft: &mut Draft<'_>,
    ) -> Result<Self, ApiError> {
        let (name, range) = body.read()?;
        Ok(Self { id, account, name, range, modified_at: draft.now })
    }

    fn show(&self) -> Value {
        json!({ "id": self.id.to_string(), "name": self.name, "ip_range": self.range.to_string() })
    }

    fn is_used(&self, _: &Snapshot) -> Result<bool, ReadError> {
        Ok(false)
    }
}

impl Noun for TransferPeer {
    type OwnId = TransferPeerId;
    type Body = PeerBody;
    const WHAT: &'static str = "the peer";

    fn id(drawn: [u8; 16]) -> TransferPeerId {
        TransferPeerId::from_bytes(drawn)
    }

    fn own_id(&self) -> TransferPeerId {
        self.id
    }

    fn modified_at(&self) -> Timestamp {
        self.modified_at
    }

    fn make(
        body: &PeerBody,
        (account, id): Self::Id,
        _: &[Self],
        draft: &mut Draft<'_>,
    ) -> Result<Self, ApiError> {
        let (name, address, port) = body.read()?;
        let tsig = match body.tsig_id.as_deref().filter(|id| !id.is_empty()) {
            None => None,
            Some(given) => {
                let wrong = || refuse("tsig_id", format!("{} is not a key of this account", excerpt(given)));
                let id: TsigKeyId = given.parse().map_err(|_| wrong())?;
                let key = draft.read::<TsigKey>(&(account, id))?.ok_or_else(wrong)?;
                // As it is: who deletes it at the same time decides anew, and finds it in use.
                draft.put(&key);
                Some(id)
            }
        };
        let ixfr = body.ixfr_enable.unwrap_or(false);
        Ok(Self { id, account, name, address, port, ixfr, tsig, modified_at: draft.now })
    }

    fn show(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "name": self.name,
            "ip": self.address,
            "port": self.port,
            "ixfr_enable": self.ixfr,
            "tsig_id": self.tsig.map(|tsig| tsig.to_string()),
        })
    }

    fn is_used(&self, snapshot: &Snapshot) -> Result<bool, ReadError> {
        for outgoing in snapshot.scan::<OutgoingTransfers>(&[]) {
            if outgoing?.peers.contains(&self.id) {
                return Ok(true);
            }
        }
        for incoming in snapshot.scan::<IncomingTransfers>(&[]) {
            if incoming?.peers.contains(&self.id) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Noun for TsigKey {
    type OwnId = TsigKeyId;
    type Body = TsigBody;
    const WHAT: &'static str = "the key";

    fn id(drawn: [u8; 16]) -> TsigKeyId {
        TsigKeyId::from_bytes(drawn)
    }

    fn own_id(&self) -> TsigKeyId {
        self.id
    }

    fn modified_at(&self) -> Timestamp {
        self.modified_at
    }

    fn make(
        body: &TsigBody,
        (account, id): Self::Id,
        others: &[Self],
        draft: &mut Draft<'_>,
    ) -> Result<Self, ApiError> {
        let (name, algorithm, secret) = body.read()?;
        if others.iter().any(|other| other.name == name) {
            return Err(refuse("name", format!("the account has a key {name}; names tell keys apart")));
        }
        Ok(Self { id, account, name, algorithm, secret, modified_at: draft.now })
    }

    fn show(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "name": format!("{}.", self.name),
            "algo": format!("{}.", self.algorithm.name()),
            "secret": BASE64_STANDARD.encode(&self.secret),
        })
    }

    fn is_used(&self, snapshot: &Snapshot) -> Result<bool, ReadError> {
        for peer in snapshot.scan::<TransferPeer>(&[&self.account]) {
            if peer?.tsig == Some(self.id) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn of_account<N: Noun>(snapshot: &Snapshot, account: AccountId) -> Result<Vec<N>, ApiError> {
    let mut all = snapshot.scan::<N>(&[&account]).collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(N::modified_at);
    Ok(all)
}

fn parse_id<N: Noun>(id: &str) -> Result<N::OwnId, ApiError> {
    id.parse().map_err(|_| unknown(N::WHAT))
}

/// `GET`, all of them.
pub(crate) async fn list<N: Noun>(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::OTHERS_PER_PAGE_MAX, limits::OTHERS_PER_PAGE_MAX)?;
    api.read(move |snapshot| {
        let (all, info) = page.cut(of_account::<N>(snapshot, account.id)?);
        Ok(Answer::page((all.iter().map(N::show).collect(), info)).at(snapshot.seq()))
    })
    .await
}

/// `GET`, one.
pub(crate) async fn get<N: Noun>(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let id = (account.id, parse_id::<N>(&id)?);
        let found = snapshot.get::<N>(&id)?.ok_or_else(|| unknown(N::WHAT))?;
        Ok(Answer::new(found.show()).at(snapshot.seq()))
    })
    .await
}

/// `POST`.
pub(crate) async fn create<N: Noun>(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    author: Author,
    JsonBody(body): JsonBody<N::Body>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let id = (account.id, N::id(draft.id()));
        if draft.is_repeat {
            return Ok(draft.made::<N>(&id)?.show());
        }
        draft.require(Precondition::Present(Account::key_of(&account.id)));
        let others = of_account::<N>(draft.snapshot, account.id)?;
        let most = model_limits::TRANSFER_NOUNS_PER_ACCOUNT_MAX;
        if others.len() >= most {
            return Err(ApiError::new(
                Code::TransferInvalid,
                format!("an account has at most {most} of them"),
            ));
        }
        let made = N::make(&body, id, &others, draft)?;
        draft.put(&made);
        Ok(made.show())
    })
    .await
}

/// `PUT`.
pub(crate) async fn put<N: Noun>(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    author: Author,
    Path((_, id)): Path<(String, String)>,
    JsonBody(body): JsonBody<N::Body>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let id = (account.id, parse_id::<N>(&id)?);
        if draft.is_repeat {
            return Ok(draft.made::<N>(&id)?.show());
        }
        draft.read::<N>(&id)?.ok_or_else(|| unknown(N::WHAT))?;
        let mut others = of_account::<N>(draft.snapshot, account.id)?;
        others.retain(|other| other.own_id() != id.1);
        let made = N::make(&body, id, &others, draft)?;
        draft.put(&made);
        Ok(made.show())
    })
    .await
}

/// `DELETE`; refused while something needs it.
pub(crate) async fn delete<N: Noun>(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    author: Author,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let key = (account.id, parse_id::<N>(&id)?);
        if !draft.is_repeat {
            let found = draft.read::<N>(&key)?.ok_or_else(|| unknown(N::WHAT))?;
            if found.is_used(draft.snapshot)? {
                let message = format!("{} is in use: take it out of peers and zones first", N::WHAT);
                return Err(ApiError::new(Code::TransferInvalid, message));
            }
            draft.delete::<N>(&key);
        }
        Ok(json!({ "id": id }))
    })
    .await
}
