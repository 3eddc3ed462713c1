//! Tokens of a session of uploads, of which wrangler reads when they run out.

use proxima_model::{AccountId, ApiToken, ContentHash, Timestamp, TokenId, WorkerName};
use serde::{Deserialize, Serialize};

use crate::{
    api::jwt,
    error::{ApiError, Code},
};

/// One as a client sends it, which may be anybody's.
pub(crate) type Unverified = jwt::Unverified<Claims>;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Use {
    /// To upload what is missing.
    Upload,
    /// To have a version name the files, all of which are there.
    Complete,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// Whose API token began the session.
    pub(crate) sub: TokenId,
    pub(crate) aud: Use,
    pub(crate) account: AccountId,
    pub(crate) worker: WorkerName,
    pub(crate) manifest: ContentHash,
    /// When it runs out, in seconds.
    pub(crate) exp: i64,
}

impl jwt::Claims for Claims {
    const PURPOSE: &'static str = "sessions of uploads of assets";

    fn signer(&self) -> TokenId {
        self.sub
    }

    fn expires_seconds(&self) -> i64 {
        self.exp
    }
}

/// What one says, if this API token has signed it and it has not run out.
pub(crate) fn verify<'a>(
    given: &'a Unverified,
    token: &ApiToken,
    now: Timestamp,
) -> Result<&'a Claims, ApiError> {
    let invalid = || ApiError::new(Code::TokenInvalid, "Invalid token of a session of uploads");
    let claims = given.signed_by(token).ok_or_else(invalid)?;
    if jwt::Claims::has_run_out(claims, now) { Err(ran_out()) } else { Ok(claims) }
}

/// A session that is over.
pub(super) fn ran_out() -> ApiError {
    ApiError::new(
        Code::TokenUnusable,
        "Authentication error: the session of uploads has run out; begin another one: what was uploaded is there still",
    )
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use proxima_model::TokenStatus;

    use super::*;

    fn api_token(secret: u8) -> ApiToken {
        ApiToken {
            id: TokenId::from_bytes([1; 16]),
            name: "test".to_owned(),
            secret_hash: [secret; 32],
            s3_secret: None,
            policies: Vec::new(),
            status: TokenStatus::Active,
            issued_on: Timestamp::from_millis(0),
            not_before: None,
            expires_on: None,
        }
    }

    fn claims() -> Claims {
        Claims {
            sub: TokenId::from_bytes([1; 16]),
            aud: Use::Upload,
            account: AccountId::from_bytes([2; 16]),
            worker: WorkerName::parse("app").expect("a name"),
            manifest: ContentHash::from_bytes([3; 32]),
            exp: 100,
        }
    }

    #[test]
    fn a_token_holds_until_it_runs_out_and_only_as_it_was_signed() {
        let (claims, signer) = (claims(), api_token(7));
        let text = jwt::sign(&claims, &signer);
        let read = Unverified::parse(&text).expect("it is one");
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        assert_eq!(verify(&read, &signer, at(99)).ok(), Some(&claims));
        assert_eq!(verify(&read, &signer, at(100)).expect_err("it ran out").code(), Code::TokenUnusable);
        let rolled = api_token(8);
        assert_eq!(verify(&read, &rolled, at(0)).expect_err("another secret").code(), Code::TokenInvalid);

        let parts: Vec<&str> = text.split('.').collect();
        let more = jwt::sign(&Claims { exp: 1_000, ..claims }, &rolled);
        let forged = format!("{}.{}.{}", parts[0], more.split('.').nth(1).expect("claims"), parts[2]);
        let forged = Unverified::parse(&forged).expect("it has the form");
        assert_eq!(verify(&forged, &signer, at(0)).expect_err("other claims").code(), Code::TokenInvalid);
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        for wrong in ["", "a.b.c", &format!("{none}.{}.", parts[1]), &format!("{}.{}", parts[0], parts[1])] {
            assert!(Unverified::parse(wrong).is_none(), "{wrong}");
        }
    }
}
