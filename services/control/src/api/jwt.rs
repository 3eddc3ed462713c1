//! What the API gives to be brought back to it, perhaps on another server: JSON Web Tokens (RFC 7519) by HMAC-SHA256 (RFC 7518, 3.2).
//!
//! They are signed with a key that is derived from the API token of who asked for them: every server has what it takes to check
//! them, they end with that token or its secret, and what was signed for one purpose opens nothing else.

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use proxima_model::{ApiToken, Timestamp, TokenId};
use serde::{Serialize, de::DeserializeOwned};

/// The first part of every one, so that nobody else chooses an algorithm (RFC 8725, 3.1).
const HEAD: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What may be signed.
pub(crate) trait Claims: Serialize + DeserializeOwned {
    /// What for: other than that of all others.
    const PURPOSE: &'static str;

    /// Whose API token signs it (`sub`).
    fn signer(&self) -> TokenId;

    /// From this second on it is good for nothing (`exp`).
    fn expires_seconds(&self) -> i64;

    /// Whether it is good for nothing any more.
    fn has_run_out(&self, now: Timestamp) -> bool {
        now.as_seconds() >= self.expires_seconds()
    }
}

/// One as a client sends it, which may be anybody's.
#[derive(Clone, Debug)]
pub(crate) struct Unverified<C> {
    claims: C,
    signed: String,
    signature: Vec<u8>,
}

/// Signs what this token's owner may bring back.
pub(crate) fn sign<C: Claims>(claims: &C, token: &ApiToken) -> String {
    let written = serde_json::to_vec(claims).expect("claims are texts, numbers and lists of them");
    let encode = |octets: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(octets);
    let signed = format!("{}.{}", encode(HEAD.as_bytes()), encode(&written));
    let signature = hmac::sign(&key::<C>(token), signed.as_bytes());
    format!("{signed}.{}", encode(signature.as_ref()))
}

impl<C: Claims> Unverified<C> {
    /// Reads one; nothing of what is none of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let (signed, signature) = text.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        if decode(head)? != HEAD.as_bytes() {
            return None;
        }
        let claims = serde_json::from_slice(&decode(claims)?).ok()?;
        Some(Self { claims, signed: signed.to_owned(), signature: decode(signature)? })
    }

    /// The API token that must have signed it.
    pub(crate) fn signer(&self) -> TokenId {
        self.claims.signer()
    }

    /// What it says, if this API token has signed it and it has not run out.
    pub(crate) fn verify(&self, token: &ApiToken, now: Timestamp) -> Option<&C> {
        self.signed_by(token).filter(|claims| !claims.has_run_out(now))
    }

    /// What it says, if this API token has signed it, whenever that was.
    pub(crate) fn signed_by(&self, token: &ApiToken) -> Option<&C> {
        let is_ours = hmac::verify(&key::<C>(token), self.signed.as_bytes(), &self.signature).is_ok();
        (is_ours && token.id == self.claims.signer()).then_some(&self.claims)
    }
}

fn key<C: Claims>(token: &ApiToken) -> hmac::Key {
    let purpose = format!("proxima jwt: {}", C::PURPOSE);
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &token.secret_hash), purpose.as_bytes());
    hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
}

#[cfg(test)]
mod tests {
    use proxima_model::TokenStatus;
    use serde::Deserialize;

    use super::*;

    macro_rules! claims {
        ($name:ident, $purpose:literal) => {
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            struct $name {
                sub: TokenId,
                exp: i64,
                what: String,
            }

            impl Claims for $name {
                const PURPOSE: &'static str = $purpose;

                fn signer(&self) -> TokenId {
                    self.sub
                }

                fn expires_seconds(&self) -> i64 {
                    self.exp
                }
            }
        };
    }

    claims!(Ours, "ours");
    claims!(Theirs, "theirs");

    fn api_token(id: u8, secret: u8) -> ApiToken {
        ApiToken {
            id: TokenId::from_bytes([id; 16]),
            name: "test".to_owned(),
            secret_hash: [secret; 32],
            s3_secret: None,
            policies: Vec::new(),
            status: TokenStatus::Active,
            not_before: None,
            expires_on: None,
            issued_on: Timestamp::from_millis(0),
        }
    }

    fn ours() -> Ours {
        Ours { sub: TokenId::from_bytes([1; 16]), exp: 100, what: "größe".to_owned() }
    }

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn what_was_signed_holds_for_its_purpose_and_its_time_and_while_its_token_is_the_same() {
        let token = api_token(1, 7);
        let text = sign(&ours(), &token);
        let read = Unverified::<Ours>::parse(&text).unwrap();
        assert_eq!(read.signer(), token.id);
        assert_eq!(read.verify(&token, seconds(99)), Some(&ours()));
        assert_eq!(read.verify(&token, seconds(100)), None, "it has run out");
        assert_eq!(read.verify(&api_token(1, 8), seconds(0)), None, "the token was rolled");
        assert_eq!(read.verify(&api_token(2, 7), seconds(0)), None, "another token");
        let other = Unverified::<Theirs>::parse(&text).unwrap();
        assert_eq!(other.verify(&token, seconds(0)), None, "for another purpose");
    }

    #[test]
    fn what_was_changed_is_good_for_nothing() {
        let token = api_token(1, 7);
        let text = sign(&ours(), &token);
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = Unverified::<Ours>::parse(std::str::from_utf8(&changed).unwrap());
            assert!(changed.is_none_or(|it| it.verify(&token, seconds(0)).is_none()), "at {place}");
        }
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let claims = text.split('.').nth(1).unwrap();
        for wrong in ["", ".", "..", "a.b.c", &format!("{none}.{claims}."), &format!("{none}.{claims}")] {
            assert!(Unverified::<Ours>::parse(wrong).is_none(), "{wrong}");
        }
    }
}
