//! Who asks, and whether they may: an API token is a pair of keys of S3.
//!
//! The access key is the token's id, the secret key the SHA-256 of its whole text, in hexadecimal, as R2 has it. Whether it may be
//! used, and for what, is looked up in the replica for each request.
//!
//! S3 names buckets, and no accounts. So an access key stands for one account, the one on whose buckets its token may do anything:
//! a token that reaches those of several, or of none, is refused, whatever it asks for. Of that account it may reach single
//! buckets: then it has what is in them, and nothing else.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use http::{HeaderMap, header};
use proxima_chassis::Clock;
use proxima_ledger::Snapshot;
use proxima_model::{
    Account, AccountId, ApiToken, Bucket, BucketName, Permission, TokenId, TokenPolicy, TokenScope,
};
use proxima_pipeline::ObjectError;
use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Result,
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
    /// What their token allows.
    rights: Rights,
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
        if !policy.allows(Permission::R2ItemRead) {
            continue;
        }
        match &policy.scope {
            TokenScope::Account(id) | TokenScope::Bucket { account: id, .. } if accounts.has(*id)? => {
                reached.extend([*id]);
            }
            TokenScope::Everything => reached.extend(accounts.two()?),
            TokenScope::Account(_) | TokenScope::Bucket { .. } | TokenScope::Zone(_) => {}
        }
    }
    Ok(match (reached.pop_first(), reached.is_empty()) {
        (Some(account), true) => Ok(account),
        (None, _) => Err(
            "this access key reaches no buckets: its token needs R2Read or R2Edit on an account, or R2ItemRead or R2ItemEdit on a \
             bucket",
        ),
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

/// What a token allows on the account that its key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rights {
    account: AccountId,
    policies: Arc<[TokenPolicy]>,
}

impl Rights {
    /// Whether this may be done with all buckets of the account, and what is in them.
    fn everywhere(&self, wanted: Permission) -> bool {
        let covers = |scope: &TokenScope| scope.covers_account(self.account);
        self.policies.iter().any(|policy| covers(&policy.scope) && policy.allows(wanted))
    }

    /// Whether this may be done with what is in a bucket.
    fn within(&self, bucket: &Bucket, wanted: Permission) -> bool {
        let Bucket { account, jurisdiction, name, .. } = bucket;
        let covers = |scope: &TokenScope| scope.covers_bucket(*account, *jurisdiction, name);
        *account == self.account
            && self.policies.iter().any(|policy| covers(&policy.scope) && policy.allows(wanted))
    }
}

fn denied(what: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, what)
}

/// Whoever may not do something with a bucket is told the same whether it is there or not.
fn may_not(wanted: Permission) -> S3Error {
    denied(format!("this access key may not do that: its token needs {wanted:?} there"))
}

/// What an operation needs. What is not named here is about buckets themselves, and not only about what is in them.
fn needed(operation: &str) -> Permission {
    match operation {
        "GetObject"
        | "GetObjectAttributes"
        | "HeadObject"
        | "ListMultipartUploads"
        | "ListObjectVersions"
        | "ListObjects"
        | "ListObjectsV2"
        | "ListParts"
        // Clients ask these before anything else; they say no more than that the bucket is there, and where.
        | "GetBucketLocation"
        | "GetBucketVersioning"
        | "HeadBucket" => Permission::R2ItemRead,
        "AbortMultipartUpload"
        | "CompleteMultipartUpload"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "DeleteObject"
        | "DeleteObjects"
        | "PutObject"
        | "UploadPart"
        | "UploadPartCopy" => Permission::R2ItemEdit,
        other if only_reads(other) => Permission::R2Read,
        _ => Permission::R2Edit,
    }
}

/// The fields by which a client says whose the buckets are that it means.
const OWNERS: [&str; 2] = ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"];

/// Refuses what is meant for the buckets of another account.
fn check_owner(headers: &HeaderMap, query: &Query, account: AccountId) -> S3Result<()> {
    let account = account.to_string();
    for name in OWNERS {
        let given = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
        if given.chain(query.fields(name)).any(|given| !given.eq_ignore_ascii_case(&account)) {
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
    /// A bucket of which something is read for a request that is about another one.
    pub(super) async fn read_from<T>(&self, request: &S3Request<T>, name: &str) -> S3Result<Bucket> {
        let rights = Self::caller(request)?.rights;
        let found = self.bucket(request, name).await;
        if rights.everywhere(Permission::R2ItemRead) {
            return found;
        }
        match found {
            Ok(bucket) if rights.within(&bucket, Permission::R2ItemRead) => Ok(bucket),
            Err(error) if *error.code() != S3ErrorCode::NoSuchBucket => Err(error),
            _ => Err(may_not(Permission::R2ItemRead)),
        }
    }

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
        let key = context.credentials().map(|credentials| credentials.access_key.clone());
        // The signature of what goes through again was checked the first time.
        let key = key.or_else(|| context.extensions_mut().remove().map(|Signed(key)| key));
        let id: TokenId = key.ok_or_else(|| denied("sign the request"))?.parse().map_err(|_| unknown())?;
        let wanted = needed(context.s3_op().name());
        let name = context.s3_path().get_bucket_name().and_then(|name| BucketName::parse(name).ok());
        let clock = self.buckets.clock.clone();
        let found = self.buckets.read(move |state| {
            let Some(token) = usable(state, id, &*clock)? else {
                return Ok(Err(denied("it may not be used any more")));
            };
            let account = match account(state, &token)? {
                Ok(account) => account,
                Err(why) => return Ok(Err(denied(why))),
            };
            let rights = Rights { account, policies: token.policies.into() };
            if rights.everywhere(wanted) {
                return Ok(Ok((rights, None)));
            }
            let bucket = name.map(|name| state.get::<Bucket>(&(account, name))).transpose();
            let bucket = bucket.map_err(unreadable)?.flatten();
            let bucket = bucket.filter(|bucket| rights.within(bucket, wanted)).map(Arc::new);
            Ok(bucket.map(|bucket| (rights, Some(bucket))).ok_or_else(|| may_not(wanted)))
        });
        let (rights, bucket) = found.await.map_err(s3_error)??;
        let account = rights.account;
        let query = Query::of(context.uri().query().unwrap_or_default());
        check_owner(context.headers(), &query, account)?;
        let looked_up = self.tell_page(context, account).await?;
        let looked_up = bucket.or(looked_up);
        let author = format!("token/{id}");
        context.extensions_mut().insert(Caller { account, author, looked_up, rights });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::{BucketTag, Jurisdiction, NodeName, StorageClass, Timestamp, TokenStatus};

    use super::*;

    impl Accounts for Vec<AccountId> {
        fn has(&self, id: AccountId) -> Result<bool, ObjectError> {
            Ok(self.contains(&id))
        }

        fn two(&self) -> Result<Vec<AccountId>, ObjectError> {
            Ok(self.iter().copied().take(2).collect())
        }
    }

    fn token(policies: &[(TokenScope, Permission)]) -> ApiToken {
        ApiToken {
            id: TokenId::from_bytes([5; 16]),
            name: String::new(),
            secret_hash: [0; 32],
            s3_secret: None,
            policies: policies
                .iter()
                .map(|(scope, permission)| TokenPolicy {
                    scope: scope.clone(),
                    permissions: vec![*permission],
                })
                .collect(),
            status: TokenStatus::Active,
            not_before: None,
            expires_on: None,
            issued_on: Timestamp::from_millis(0),
        }
    }

    /// A right on a bucket without a jurisdiction.
    fn on_bucket(account: AccountId, name: &str) -> TokenScope {
        TokenScope::Bucket { account, jurisdiction: None, name: BucketName::parse(name).unwrap() }
    }

    #[test]
    fn a_key_stands_for_one_account_whatever_it_asks_for_and_else_for_none() {
        use Permission::{All, DnsEdit, KvEdit, R2Edit, R2ItemEdit, R2ItemRead, R2Read};
        use TokenScope::Everything;
        let [one, other, gone] = [1, 2, 3].map(|number| AccountId::from_bytes([number; 16]));
        let of = TokenScope::Account;
        let zone = TokenScope::Zone(proxima_model::ZoneId::from_bytes([4; 16]));
        let both = vec![one, other];
        for (there, policies, expected, reads, edits) in [
            (&both, &[(of(one), R2Edit)][..], Some(one), true, true),
            (&both, &[(of(one), R2Read)], Some(one), true, false),
            // Reading of one and editing of another is two accounts, and not first this and then that.
            (&both, &[(of(one), R2Read), (of(other), R2Edit)], None, false, false),
            (&both, &[(of(one), R2Read), (of(one), R2Edit), (of(other), KvEdit)], Some(one), true, true),
            (&both, &[(of(gone), R2Edit), (of(other), All)], Some(other), true, true),
            (&both, &[(Everything, All)], None, false, false),
            (&vec![one], &[(Everything, All)], Some(one), true, true),
            (&vec![one], &[(Everything, R2Read), (of(one), R2Edit)], Some(one), true, true),
            (&both, &[(of(one), DnsEdit), (zone, All)], None, false, false),
            (&both, &[], None, false, false),
            // What is in buckets is less than buckets.
            (&both, &[(of(one), R2ItemEdit)], Some(one), false, false),
            (&both, &[(on_bucket(one, "abc"), R2ItemRead)], Some(one), false, false),
            (&both, &[(on_bucket(one, "abc"), R2ItemRead), (of(one), R2Read)], Some(one), true, false),
            (
                &both,
                &[(on_bucket(one, "abc"), R2ItemRead), (on_bucket(other, "abc"), R2ItemRead)],
                None,
                false,
                false,
            ),
            (&both, &[(on_bucket(gone, "abc"), R2ItemEdit)], None, false, false),
        ] {
            let token = token(policies);
            let found = account(there, &token).unwrap().ok();
            assert_eq!(found, expected, "{policies:?}");
            let rights = found.map(|account| Rights { account, policies: token.policies.into() });
            let may = |wanted| rights.as_ref().is_some_and(|rights| rights.everywhere(wanted));
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
    fn what_is_in_a_bucket_is_for_who_has_a_right_on_it_or_on_its_account() {
        use Permission::{R2Edit, R2ItemEdit, R2ItemRead, R2Read};
        let [ours, theirs] = [1, 2].map(|number| AccountId::from_bytes([number; 16]));
        let bucket = |account, jurisdiction, name| Bucket {
            account,
            name: BucketName::parse(name).unwrap(),
            tag: BucketTag::from_bytes([0; 16]),
            created_at: Timestamp::from_millis(0),
            home: NodeName::parse("test").unwrap(),
            location: None,
            jurisdiction,
            storage_class: StorageClass::Standard,
            cors: None,
            lifecycle: None,
            notifications: None,
            domains: BTreeSet::new(),
        };
        let buckets = [
            bucket(ours, None, "photos"),
            bucket(ours, Some(Jurisdiction::EuropeanUnion), "photos"),
            bucket(ours, None, "others"),
            bucket(theirs, None, "photos"),
        ];
        let (none, first, mine) = ([false; 4], [true, false, false, false], [true, true, true, false]);
        let photos = on_bucket(ours, "photos");
        for (policies, reads, writes) in [
            (&[(photos.clone(), R2ItemRead)][..], first, none),
            (&[(photos.clone(), R2ItemEdit)], first, first),
            (&[(TokenScope::Account(ours), R2ItemRead)], mine, none),
            (&[(TokenScope::Account(ours), R2ItemEdit)], mine, mine),
            (&[(TokenScope::Account(ours), R2Read), (photos, R2ItemEdit)], mine, first),
            (&[(TokenScope::Account(ours), R2Edit)], mine, mine),
            (&[(TokenScope::Everything, R2Read)], mine, none),
            (&[(on_bucket(theirs, "photos"), R2ItemEdit)], none, none),
        ] {
            let rights = Rights { account: ours, policies: token(policies).policies.into() };
            let may = |wanted| buckets.each_ref().map(|bucket| rights.within(bucket, wanted));
            assert_eq!((may(R2ItemRead), may(R2ItemEdit)), (reads, writes), "{policies:?}");
        }
    }

    #[test]
    fn who_has_only_what_is_in_buckets_makes_deletes_lists_and_sets_none() {
        for operation in [
            "CreateBucket",
            "DeleteBucket",
            "DeleteBucketCors",
            "DeleteBucketLifecycle",
            "GetBucketCors",
            "GetBucketLifecycleConfiguration",
            "ListBuckets",
            "PutBucketCors",
            "PutBucketLifecycleConfiguration",
            "PutObjectAcl",
            "SomethingNew",
            "GetSomethingNew",
        ] {
            let needed = needed(operation);
            assert!(!Permission::R2ItemEdit.allows(needed), "{operation}");
            assert_eq!(Permission::R2Read.allows(needed), only_reads(operation), "{operation}");
            assert!(Permission::R2Edit.allows(needed), "{operation}");
        }
    }

    #[test]
    fn what_changes_something_needs_more() {
        for reads in ["GetObject", "HeadBucket", "ListBuckets", "ListParts", "GetObjectAttributes"] {
            assert!(only_reads(reads), "{reads}");
            assert!(Permission::R2Read.allows(needed(reads)), "{reads}");
        }
        for writes in
            ["PutObject", "DeleteObjects", "CreateBucket", "CopyObject", "UploadPart", "AbortMultipartUpload"]
        {
            assert!(!only_reads(writes), "{writes}");
            assert!(!Permission::R2Read.allows(needed(writes)), "{writes}");
        }
    }
}
