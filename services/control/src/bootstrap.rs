//! The first start of a network: its first account, and the operator's token.

use proxima_chassis::Clock;
use proxima_ledger::{Append, AppendError, IdempotencyKey, Log, Precondition, Replica};
use proxima_model::{
    Account, AccountId, ApiToken, Entity, Permission, Timestamp, TokenId, TokenPolicy, TokenScope,
    TokenStatus,
};

use crate::{error::ControlError, limits, token::TokenText};

/// The id of a network's first account: the same everywhere, so that two nodes that begin at once make one.
pub const FIRST_ACCOUNT: AccountId = AccountId::from_bytes(*b"proxima/account1");

/// What a first start found or made.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapOutcome {
    /// The network's first account.
    pub account: AccountId,
    /// The operator's token, if it was made now. It is shown here and kept nowhere.
    pub token: Option<String>,
}

/// Never shows the token.
impl std::fmt::Debug for BootstrapOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let made = self.token.is_some();
        f.debug_struct("BootstrapOutcome").field("account", &self.account).field("token_made", &made).finish()
    }
}

/// Makes the first account if there is none, and a token that may do everything if there is none: the one given
/// (`ID_SECRET`), or a new one. Does nothing where both are. Safe to call on every start, on any node.
///
/// # Errors
/// The given token is not one, or the log does not take the change.
pub async fn bootstrap(
    log: &dyn Log,
    replica: &Replica,
    clock: &dyn Clock,
    given: Option<&str>,
) -> Result<BootstrapOutcome, ControlError> {
    let given = given.map(|text| TokenText::parse(text.trim())).transpose().map_err(ControlError::Token)?;
    let text = given.unwrap_or_else(|| TokenText::draw(TokenId::from_bytes(rand::random())));
    for _ in 0..limits::WRITE_ATTEMPTS_MAX {
        let (has_account, has_operator) = present(replica)?;
        if has_account && has_operator {
            return Ok(BootstrapOutcome { account: FIRST_ACCOUNT, token: None });
        }
        let now = clock.now();
        let (mut changes, mut preconditions) = (Vec::new(), Vec::new());
        if !has_account {
            let account = Account { id: FIRST_ACCOUNT, name: "Proxima".to_owned(), created_at: now };
            preconditions.push(Precondition::Absent(account.key()));
            changes.push(replica.put(&account));
        }
        if !has_operator {
            let token = operator(&text, now);
            preconditions.push(Precondition::Absent(token.key()));
            changes.push(replica.put(&token));
        }
        let append = Append {
            changes,
            preconditions,
            idempotency_key: IdempotencyKey(hex::encode(rand::random::<[u8; 16]>())),
            fingerprint: None,
            author: "node/bootstrap".to_owned(),
        };
        match log.append(append).await {
            Ok(appended) => {
                replica.wait_for(appended.seq, limits::READ_YOUR_WRITES_WITHIN).await;
                let token = (!has_operator).then(|| text.reveal());
                return Ok(BootstrapOutcome { account: FIRST_ACCOUNT, token });
            }
            // Another node began at the same time; what it made is here once it is applied.
            Err(AppendError::Precondition { .. }) => {
                replica.wait_for(log.last(), limits::READ_YOUR_WRITES_WITHIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(ControlError::Bootstrap("other changes came between again and again".to_owned()))
}

/// Whether there is an account, and a token that may do everything.
fn present(replica: &Replica) -> Result<(bool, bool), ControlError> {
    let snapshot = replica.snapshot()?;
    let has_account = snapshot.get::<Account>(&FIRST_ACCOUNT)?.is_some();
    for token in snapshot.scan::<ApiToken>(&[]) {
        let everything = |policy: &TokenPolicy| {
            policy.scope == TokenScope::Everything && policy.permissions.contains(&Permission::All)
        };
        if token?.policies.iter().any(everything) {
            return Ok((has_account, true));
        }
    }
    Ok((has_account, false))
}

fn operator(text: &TokenText, now: Timestamp) -> ApiToken {
    ApiToken {
        id: text.id,
        name: "operator".to_owned(),
        secret_hash: text.hash(),
        s3_secret: Some(text.s3_secret()),
        policies: vec![TokenPolicy { scope: TokenScope::Everything, permissions: vec![Permission::All] }],
        status: TokenStatus::Active,
        not_before: None,
        expires_on: None,
        issued_on: now,
    }
}
