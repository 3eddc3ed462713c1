//! Who asks, and whether they may: an API token is a pair of keys of S3.
//!
//! The access key is the token's id, the secret key the SHA-256 of its whole text, in hexadecimal, as R2 has it. Whether it may be
//! used, and for what, is looked up in the replica for each request.

use proxima_chassis::Clock;
use proxima_ledger::Snapshot;
use proxima_model::{Account, AccountId, ApiToken, Permission, TokenId, TokenScope, TokenStatus};
use proxima_pipeline::ObjectError;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
};

use super::{Front, error::s3_error};

/// On whose buckets a request is carried out, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) account: AccountId,
    /// As it stands in the log.
    pub(super) author: String,
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
    let found = state.get::<ApiToken>(&id).map_err(|error| ObjectError::Broken(error.to_string()))?;
    Ok(found.filter(|token| {
        token.status == TokenStatus::Active
            && token.not_before.is_none_or(|from| from <= now)
            && token.expires_on.is_none_or(|until| now < until)
    }))
}

/// The account on whose buckets a token may do this: the first that it names; the network's first, if it is for all.
fn account(state: &Snapshot, token: &ApiToken, wanted: Permission) -> Result<Option<AccountId>, ObjectError> {
    for policy in &token.policies {
        if !policy.permissions.iter().any(|held| held.allows(wanted)) {
            continue;
        }
        match policy.scope {
            TokenScope::Account(account) => return Ok(Some(account)),
            TokenScope::Everything => {
                let first = state.scan::<Account>(&[]).next().transpose();
                let first = first.map_err(|error| ObjectError::Broken(error.to_string()))?;
                return Ok(first.map(|account| account.id));
            }
            TokenScope::Zone(_) => {}
        }
    }
    Ok(None)
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

#[async_trait::async_trait]
impl S3Access for Front {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let denied = |what| S3Error::with_message(S3ErrorCode::AccessDenied, what);
        let credentials = context.credentials().ok_or_else(|| denied("sign the request"))?;
        let id: TokenId = credentials.access_key.parse().map_err(|_| unknown())?;
        let reads = only_reads(context.s3_op().name());
        let wanted = if reads { Permission::R2Read } else { Permission::R2Edit };
        let clock = self.buckets.clock.clone();
        let found = self.buckets.read(move |state| {
            let Some(token) = usable(state, id, &*clock)? else { return Ok(None) };
            account(state, &token, wanted)
        });
        let account = found.await.map_err(s3_error)?;
        let account = account.ok_or_else(|| denied("this access key may not do that"))?;
        context.extensions_mut().insert(Caller { account, author: format!("token/{id}") });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
