//! What a client sends to say who it is: `ID_SECRET`, the id of 32 and the secret of 64 hexadecimal digits.

use proxima_model::{ApiToken, Invalid, TokenId};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A token as a client sends it.
pub(crate) struct TokenText {
    pub(crate) id: TokenId,
    secret: Zeroizing<[u8; 32]>,
}

impl TokenText {
    /// A new one for this id, with 256 random bits.
    pub(crate) fn draw(id: TokenId) -> Self {
        Self { id, secret: Zeroizing::new(rand::random()) }
    }

    /// Parses what a client sent. What it was is not repeated in the error.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = || {
            Invalid::new(
                "token",
                "what was given is not a token",
                "give 32 hexadecimal digits, an underscore and 64 hexadecimal digits",
            )
        };
        let (id, digits) = text.split_once('_').ok_or_else(refuse)?;
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, secret.as_mut_slice()).map_err(|_| refuse())?;
        Ok(Self { id: id.parse().map_err(|_| refuse())?, secret })
    }

    /// What the ledger keeps of the secret.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_slice()).into()
    }

    /// What its owner signs with as an S3 client.
    pub(crate) fn s3_secret(&self) -> [u8; 32] {
        Sha256::digest(Zeroizing::new(self.reveal())).into()
    }

    /// The token as its owner is shown it, once.
    pub(crate) fn reveal(&self) -> String {
        format!("{}_{}", self.id, hex::encode(self.secret.as_slice()))
    }

    /// Whether this is the token; takes as long for a secret that is nearly right as for any other.
    pub(crate) fn opens(&self, token: &ApiToken) -> bool {
        self.hash().ct_eq(&token.secret_hash).into()
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::{Timestamp, TokenStatus};

    use super::*;

    fn token(text: &TokenText) -> ApiToken {
        ApiToken {
            id: text.id,
            name: "test".to_owned(),
            secret_hash: text.hash(),
            s3_secret: Some(text.s3_secret()),
            policies: Vec::new(),
            status: TokenStatus::Active,
            not_before: Some(Timestamp::from_millis(100)),
            expires_on: Some(Timestamp::from_millis(200)),
            issued_on: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn a_token_opens_what_it_was_made_for_and_nothing_else() {
        let text = TokenText::draw(TokenId::from_bytes([7; 16]));
        let again = TokenText::parse(&text.reveal()).unwrap();
        assert!(again.opens(&token(&text)));
        assert!(!TokenText::draw(text.id).opens(&token(&text)));
    }

    #[test]
    fn what_is_not_a_token_is_refused_and_not_repeated() {
        for text in
            ["", "_", "abc", &"f".repeat(97), "00_11", &format!("{}_{}", "g".repeat(32), "0".repeat(64))]
        {
            let refusal = TokenText::parse(text).err().unwrap().to_string();
            assert!(text.is_empty() || text == "_" || !refusal.contains(text), "{text}");
        }
    }

    #[test]
    fn a_token_may_be_used_from_and_until_when_it_says() {
        let token = token(&TokenText::draw(TokenId::from_bytes([7; 16])));
        let at = |millis| token.unusable(Timestamp::from_millis(millis)).is_none();
        assert_eq!((at(99), at(100), at(199), at(200)), (false, true, true, false));
        let disabled = ApiToken { status: TokenStatus::Disabled, ..token };
        assert!(disabled.unusable(Timestamp::from_millis(150)).is_some());
    }
}
