//! Tokens of a session of uploads: JSON Web Tokens (RFC 7519), of which wrangler reads when they run out.

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use proxima_model::{AccountId, ApiToken, ContentHash, Timestamp, TokenId, WorkerName};
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Code};

/// The first part of every one, so that nobody else chooses an algorithm (RFC 8725, 3.1).
const HEAD: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// What keys of these tokens are derived for.
const PURPOSE: &[u8] = b"proxima: sessions of uploads of assets";

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

/// A token as a client sends it, which may be anybody's.
#[derive(Clone, Debug)]
pub(crate) struct Unverified {
    claims: Claims,
    signed: String,
    signature: Vec<u8>,
}

impl Claims {
    /// The token, signed with what belongs to the API token.
    pub(crate) fn sign(&self, token: &ApiToken) -> String {
        let claims = serde_json::to_vec(self).expect("claims are texts and numbers");
        let encode = |octets: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(octets);
        let signed = format!("{}.{}", encode(HEAD.as_bytes()), encode(&claims));
        let signature = hmac::sign(&key(token), signed.as_bytes());
        format!("{signed}.{}", encode(signature.as_ref()))
    }
}

impl Unverified {
    /// Reads one; nothing of what is none of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let (signed, signature) = text.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        if decode(head)? != HEAD.as_bytes() {
            return None;
        }
        Some(Self {
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
            signed: signed.to_owned(),
            signature: decode(signature)?,
        })
    }

    /// The API token that must have signed it.
    pub(crate) const fn signer(&self) -> TokenId {
        self.claims.sub
    }

    /// What it says, if this API token has signed it and it has not run out.
    pub(crate) fn verify(&self, token: &ApiToken, now: Timestamp) -> Result<&Claims, ApiError> {
        let verified = hmac::verify(&key(token), self.signed.as_bytes(), &self.signature);
        if verified.is_err() || token.id != self.claims.sub {
            return Err(ApiError::new(Code::TokenInvalid, "Invalid token of a session of uploads"));
        }
        if now.as_seconds() >= self.claims.exp {
            return Err(ran_out());
        }
        Ok(&self.claims)
    }
}

/// A session that is over.
pub(super) fn ran_out() -> ApiError {
    ApiError::new(
        Code::TokenUnusable,
        "Authentication error: the session of uploads has run out; begin another one: what was uploaded is there still",
    )
}

fn key(token: &ApiToken) -> hmac::Key {
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &token.secret_hash), PURPOSE);
    hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
}

#[cfg(test)]
mod tests {
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
        let text = claims.sign(&signer);
        let read = Unverified::parse(&text).expect("it is one");
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        assert_eq!(read.verify(&signer, at(99)).ok(), Some(&claims));
        assert_eq!(read.verify(&signer, at(100)).expect_err("it ran out").code(), Code::TokenUnusable);
        let rolled = api_token(8);
        assert_eq!(read.verify(&rolled, at(0)).expect_err("another secret").code(), Code::TokenInvalid);

        let parts: Vec<&str> = text.split('.').collect();
        let more = Claims { exp: 1_000, ..claims }.sign(&rolled);
        let forged = format!("{}.{}.{}", parts[0], more.split('.').nth(1).expect("claims"), parts[2]);
        let forged = Unverified::parse(&forged).expect("it has the form");
        assert_eq!(forged.verify(&signer, at(0)).expect_err("other claims").code(), Code::TokenInvalid);
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        for wrong in ["", "a.b.c", &format!("{none}.{}.", parts[1]), &format!("{}.{}", parts[0], parts[1])] {
            assert!(Unverified::parse(wrong).is_none(), "{wrong}");
        }
    }
}
