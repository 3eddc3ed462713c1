//! Who asks, and whether they may: an API token is a pair of keys of S3.
//!
//! The access key is the token's id, the secret key the SHA-256 of its whole text, in hexadecimal, as R2 has it. Whether it may be
//! used, and for what, is looked up in the replica for each request.
//!
//! S3 names buckets, and no accounts. So an access key stands for one account, the one on whose buckets its token may do anything:
//! a token that reaches those of several, or of none, is refused, whatever it asks for.

use std::{collections::BTreeSet, sync::Arc};

use http::{HeaderMap, header};
use proxima_chassis::Clock;
use proxima_ledger::Snapshot;
use proxima_model::{Account, AccountId, ApiToken, Bucket, BucketName, Permission, TokenId, TokenScope};
use proxima_pipeline::ObjectError;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
};

use super::{Front, admit::Query, again::Signed, cors::Told, error::s3_error};
use crate::buckets::unreadable;

/// On whose buckets a request is carried out, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) account: AccountId,
    /// As it stands in the log.
    pub(super) author: String,
    /// The bucket that the request is about, if it had to be looked up before.
    pub(super) looked_up: Option<Arc<Bucket>>,
}

fn unknown() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::InvalidAccessKeyId,
        "there is no such access key, or it may not be used",
    )
}

/// A token that may be used now.
fn usable(state: &Snapshot, id: TokenId, clock: &dyn Clock) -> Result<Option<ApiToken>, ObjectError> {
    let now = clock.now();
    let found = state.get::<ApiToken>(&id).map_err(unreadable)?;
    Ok(found.filter(|token| token.unusable(now).is_none()))
}

/// Which accounts there are, as far as it matters here.
trait Accounts {
    fn has(&self, id: AccountId) -> Result<bool, ObjectError>;

    /// Two of them, if there are as many: beyond one, it does not matter how many there are.
    fn two(&self) -> Result<Vec<AccountId>, ObjectError>;
}

impl Accounts for Snapshot {
    fn has(&self, id: AccountId) -> Result<bool, ObjectError> {
        self.get::<Account>(&id).map(|found| found.is_some()).map_err(unreadable)
    }

    fn two(&self) -> Result<Vec<AccountId>, ObjectError> {
        self.scan::<Account>(&[])
            .take(2)
            .map(|found| found.map(|account| account.id).map_err(unreadable))
            .collect()
    }
}

/// The account whose buckets a token reaches by S3, whatever is done: the one on which it may do anything with buckets. S3 has no
/// way to say which of several is meant, and one that were chosen here could become another with the next account that is made.
fn account(
    accounts: &impl Accounts,
    token: &ApiToken,
) -> Result<Result<AccountId, &'static str>, ObjectError> {
    let mut reached = BTreeSet::new();
    for policy in &token.policies {
        if !policy.allows(Permission::R2Read) {
            continue;
        }
        match policy.scope {
            TokenScope::Account(id) if accounts.has(id)? => reached.extend([id]),
            TokenScope::Everything => reached.extend(accounts.two()?),
            TokenScope::Account(_) | TokenScope::Zone(_) => {}
        }
    }
    Ok(match (reached.pop_first(), reached.is_empty()) {
        (Some(account), true) => Ok(account),
        (None, _) => {
            Err("this access key reaches no buckets: its token needs R2Read or R2Edit on an account")
        }
        (Some(_), false) => {
            Err("this access key reaches buckets of several accounts: use a token for one of them")
        }
    })
}

/// The account that an access key stands for, if anybody's request may be signed with it: for what is asked before anything is
/// signed.
pub(super) fn account_of(state: &Snapshot, id: TokenId) -> Result<Option<AccountId>, ObjectError> {
    let Some(token) = state.get::<ApiToken>(&id).map_err(unreadable)? else { return Ok(None) };
    Ok(account(state, &token)?.ok())
}

/// Whether a token may do this on an account.
fn may(token: &ApiToken, account: AccountId, wanted: Permission) -> bool {
    token.policies.iter().any(|policy| policy.scope.covers_account(account) && policy.allows(wanted))
}

/// The fields by which a client says whose the buckets are that it means.
const OWNERS: [&str; 2] = ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"];

/// Refuses what is meant for the buckets of another account.
fn check_owner(headers: &HeaderMap, query: &Query, account: AccountId) -> S3Result<()> {
    let account = account.to_string();
    for name in OWNERS {
        let given = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
        if given.chain(query.field(name)).any(|given| !given.eq_ignore_ascii_case(&account)) {
            let told =
                format!("{name}: the buckets that this access key reaches are those of account {account}");
            return Err(S3Error::with_message(S3ErrorCode::AccessDenied, told));
        }
    }
    Ok(())
}

/// Whether an operation changes nothing.
fn only_reads(operation: &str) -> bool {
    ["Get", "Head", "List"].iter().any(|begin| operation.starts_with(begin))
}

#[async_trait::async_trait]
impl S3Auth for Front {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let id: TokenId = access_key.parse().map_err(|_| unknown())?;
        let clock = self.buckets.clock.clone();
        let token = self.buckets.read(move |state| usable(state, id, &*clock)).await.map_err(s3_error)?;
        let secret = token.and_then(|token| token.s3_secret).ok_or_else(unknown)?;
        Ok(SecretKey::from(hex::encode(secret)))
    }
}

impl Front {
    /// Leaves what a page of another site is to be told with the answer, whatever that is; and the bucket that says so.
    async fn tell_page(
        &self,
        context: &mut S3AccessContext<'_>,
        account: AccountId,
    ) -> S3Result<Option<Arc<Bucket>>> {
        let Some(told) = context.extensions_mut().get::<Told>().cloned() else { return Ok(None) };
        let Some(origin) = context.headers().get(header::ORIGIN) else { return Ok(None) };
        let Some(name) = context.s3_path().get_bucket_name().and_then(|name| BucketName::parse(name).ok())
        else {
            return Ok(None);
        };
        match self.buckets.find(account, name).await {
            Ok(bucket) => {
                told.tell(&bucket, origin, context.method());
                Ok(Some(Arc::new(bucket)))
            }
            // Which is told by the operation.
            Err(ObjectError::NoSuchBucket) => Ok(None),
            Err(error) => Err(s3_error(error)),
        }
    }
}

#[async_trait::async_trait]
impl S3Access for Front {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let denied = |what| S3Error::with_message(S3ErrorCode::AccessDenied, what);
        let key = context.credentials().map(|credentials| credentials.access_key.clone());
        // The signature of what goes through again was checked the first time.
        let key = key.or_else(|| context.extensions_mut().remove().map(|Signed(key)| key));
        let id: TokenId = key.ok_or_else(|| denied("sign the request"))?.parse().map_err(|_| unknown())?;
        let reads = only_reads(context.s3_op().name());
        let wanted = if reads { Permission::R2Read } else { Permission::R2Edit };
        let clock = self.buckets.clock.clone();
        let found = self.buckets.read(move |state| {
            let Some(token) = usable(state, id, &*clock)? else {
                return Ok(Err("it may not be used any more"));
            };
            let found = account(state, &token)?;
            Ok(found.and_then(|account| {
                may(&token, account, wanted).then_some(account).ok_or("this access key may not do that")
            }))
        });
        let account = found.await.map_err(s3_error)?.map_err(denied)?;
        let query = Query::of(context.uri().query().unwrap_or_default());
        check_owner(context.headers(), &query, account)?;
        let looked_up = self.tell_page(context, account).await?;
        context.extensions_mut().insert(Caller { account, author: format!("token/{id}"), looked_up });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::{Timestamp, TokenPolicy, TokenStatus};

    use super::*;

    impl Accounts for Vec<AccountId> {
        fn has(&self, id: AccountId) -> Result<bool, ObjectError> {
            Ok(self.contains(&id))
        }

        fn two(&self) -> Result<Vec<AccountId>, ObjectError> {
            Ok(self.iter().copied().take(2).collect())
        }
    }

    #[test]
    fn a_key_stands_for_one_account_whatever_it_asks_for_and_else_for_none() {
        use Permission::{All, DnsEdit, KvEdit, R2Edit, R2Read};
        use TokenScope::Everything;
        let [one, other, gone] = [1, 2, 3].map(|number| AccountId::from_bytes([number; 16]));
        let (of_one, of_other, of_gone) =
            (TokenScope::Account(one), TokenScope::Account(other), TokenScope::Account(gone));
        let zone = TokenScope::Zone(proxima_model::ZoneId::from_bytes([4; 16]));
        let token = |policies: &[(TokenScope, Permission)]| ApiToken {
            id: TokenId::from_bytes([5; 16]),
            name: String::new(),
            secret_hash: [0; 32],
            s3_secret: None,
            policies: policies
                .iter()
                .map(|(scope, permission)| TokenPolicy { scope: *scope, permissions: vec![*permission] })
                .collect(),
            status: TokenStatus::Active,
            not_before: None,
            expires_on: None,
            issued_on: Timestamp::from_millis(0),
        };
        let both = vec![one, other];
        for (there, policies, expected, reads, edits) in [
            (&both, &[(of_one, R2Edit)][..], Some(one), true, true),
            (&both, &[(of_one, R2Read)], Some(one), true, false),
            // Reading of one and editing of another is two accounts, and not first this and then that.
            (&both, &[(of_one, R2Read), (of_other, R2Edit)], None, false, false),
            (&both, &[(of_one, R2Read), (of_one, R2Edit), (of_other, KvEdit)], Some(one), true, true),
            (&both, &[(of_gone, R2Edit), (of_other, All)], Some(other), true, true),
            (&both, &[(Everything, All)], None, false, false),
            (&vec![one], &[(Everything, All)], Some(one), true, true),
            (&vec![one], &[(Everything, R2Read), (of_one, R2Edit)], Some(one), true, true),
            (&both, &[(of_one, DnsEdit), (zone, All)], None, false, false),
            (&both, &[], None, false, false),
        ] {
            let token = token(policies);
            let found = account(there, &token).unwrap().ok();
            assert_eq!(found, expected, "{policies:?}");
            let may = |wanted| found.is_some_and(|account| may(&token, account, wanted));
            assert_eq!((may(R2Read), may(R2Edit)), (reads, edits), "{policies:?}");
        }
    }

    #[test]
    fn what_is_meant_for_buckets_of_another_account_is_refused() {
        let [one, other] = [1, 2].map(|number| AccountId::from_bytes([number; 16]));
        let told = |name: &str, query: &str| {
            let mut headers = HeaderMap::new();
            if let Ok(name) = http::HeaderName::try_from(name) {
                headers.insert(name, one.to_string().parse().unwrap());
            }
            [one, other].map(|account| check_owner(&headers, &Query::of(query), account).is_ok())
        };
        assert_eq!(told("", ""), [true, true]);
        for name in OWNERS {
            assert_eq!(told(name, ""), [true, false], "{name}");
            assert_eq!(told("", &format!("{}={one}", name.to_uppercase())), [true, false], "{name}");
            assert_eq!(told(name, &format!("{name}={other}")), [false, false], "{name}");
        }
    }

    #[test]
    fn what_changes_something_needs_more() {
        for reads in ["GetObject", "HeadBucket", "ListBuckets", "ListParts", "GetObjectAttributes"] {
            assert!(only_reads(reads), "{reads}");
        }
        for writes in
            ["PutObject", "DeleteObjects", "CreateBucket", "CopyObject", "UploadPart", "AbortMultipartUpload"]
        {
            assert!(!only_reads(writes), "{writes}");
        }
    }
}
