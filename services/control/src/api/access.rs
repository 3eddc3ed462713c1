//! Who asks, and whether they may.
//!
//! Every route says in [`routes`](crate::routes) what it [`Needs`]; [`authorise`] runs before its handler and puts the
//! [`Caller`] and what the path names into the request. A zone or account that the caller has no right on at all answers
//! exactly as one that does not exist.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use proxima_ledger::Snapshot;
use proxima_model::{
    Account, AccountId, ApiToken, BucketName, Jurisdiction, Permission, Timestamp, TokenId, TokenPolicy,
    TokenScope, Zone, ZoneId,
};

use crate::{
    api::{Api, fingerprint, page::Query},
    error::{ApiError, Code},
    limits,
    token::TokenText,
    workers::assets::token::{self as session_token, Claims, Unverified},
};

/// What a route needs of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// What the API has signed, in the place of a token: it says what may be done, and the handler opens it.
    Signed,
    /// Any token.
    Token,
    /// The permission on anything; the handler shows or changes only what it covers.
    Somewhere(Permission),
    /// The permission on the account in the path.
    Account(Permission),
    /// The permission on the bucket in the path, or on its account.
    Bucket(Permission),
    /// To change Workers of the account in the path; by the token of a session of uploads, too.
    AssetsUpload,
    /// The permission on the zone in the path.
    Zone(Permission),
    /// The permission on everything: the operator's.
    Network(Permission),
}

/// On what something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// The whole network.
    Everything,
    /// An account, and what is made in it.
    Account(AccountId),
    /// A zone of an account.
    Zone(AccountId, ZoneId),
}

impl On {
    /// This zone.
    pub(crate) const fn zone(zone: &Zone) -> Self {
        Self::Zone(zone.account, zone.id)
    }
}

/// A bucket as a request names it.
type NamedBucket = (Option<Jurisdiction>, BucketName);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) token: TokenId,
    pub(crate) name: String,
    pub(crate) policies: Vec<TokenPolicy>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) expires_on: Option<Timestamp>,
    /// The session of uploads by whose token they ask, which is good for nothing else.
    pub(crate) session: Option<Arc<Claims>>,
}

impl Caller {
    /// Who has this token.
    pub(crate) fn of(token: ApiToken) -> Self {
        let ApiToken { id, name, policies, not_before, expires_on, .. } = token;
        Self { token: id, name, policies, not_before, expires_on, session: None }
    }

    /// Whether they may do this there.
    pub(crate) fn may(&self, permission: Permission, on: On) -> bool {
        self.policies.iter().any(|policy| covers(&policy.scope, on) && policy.allows(permission))
    }

    /// The same, in an answer's words.
    ///
    /// # Errors
    /// They may not.
    pub(crate) fn check(&self, permission: Permission, on: On) -> Result<(), ApiError> {
        if self.may(permission, on) { Ok(()) } else { Err(not_allowed(permission)) }
    }

    /// Whether they may do this with what is in a bucket of an account.
    fn may_in_bucket(&self, permission: Permission, account: AccountId, bucket: &NamedBucket) -> bool {
        let (jurisdiction, name) = bucket;
        let covers = |scope: &TokenScope| scope.covers_bucket(account, *jurisdiction, name);
        self.policies.iter().any(|policy| covers(&policy.scope) && policy.allows(permission))
    }

    /// Whether they may do anything at all there: else it does not exist for them. Who has a right on a bucket has been told
    /// whose it is.
    fn knows(&self, on: On) -> bool {
        let names = |scope: &TokenScope| match (scope, on) {
            (TokenScope::Bucket { account, .. }, On::Account(asked)) => *account == asked,
            _ => covers(scope, on),
        };
        self.policies.iter().any(|policy| names(&policy.scope) && !policy.permissions.is_empty())
    }

    /// Whether they may do this anywhere.
    fn may_somewhere(&self, permission: Permission) -> bool {
        self.policies.iter().any(|policy| policy.allows(permission))
    }
}

/// Whether a policy's scope covers a thing.
fn covers(scope: &TokenScope, on: On) -> bool {
    match on {
        On::Account(account) => scope.covers_account(account),
        On::Zone(account, zone) => scope.covers_zone(account, zone),
        On::Everything => *scope == TokenScope::Everything,
    }
}

/// Finds out who asks, whether they may, and on what.
pub(crate) async fn authorise(
    State((api, needs)): State<(Arc<Api>, Needs)>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    // Whatever takes apart the path after this takes it apart as well.
    let parameters = match parameters {
        Ok(parameters) => parameters,
        Err(rejection) => {
            let message = format!("the path: {}", rejection.body_text());
            return ApiError::new(Code::FieldInvalid, message).into_response();
        }
    };
    if needs == Needs::Signed {
        return next.run(request).await;
    }
    match admit(&api, needs, &parameters, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            if matches!(
                refusal.code(),
                Code::CredentialsMissing
                    | Code::CredentialsMalformed
                    | Code::TokenInvalid
                    | Code::TokenUnusable
                    | Code::NotAllowed
            ) {
                api.metrics.refused(refusal.code());
            }
            refusal.into_response()
        }
    }
}

async fn admit(
    api: &Arc<Api>,
    needs: Needs,
    parameters: &RawPathParams,
    request: &mut Request,
) -> Result<(), ApiError> {
    let given = Arc::new(credentials(request.headers(), needs)?);
    let query = Query::parse(request.uri().query())?;
    let now = api.now();
    if let Some(seq) = query.wait()? {
        // Only whoever may ask at all may make us wait.
        let given = given.clone();
        api.read(move |snapshot| identify(snapshot, &given, now)).await?;
        if !api.replica.wait_for(seq, limits::WAIT_WITHIN).await {
            return Err(ApiError::new(
                Code::NotYet,
                format!(
                    "this server is at {} and has not reached {seq} in time; ask again",
                    api.replica.seq()
                ),
            ));
        }
    }
    let named = |name: &str| {
        let found = parameters.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let (zone_id, account_id) = (named("zone_id"), named("account_id"));
    let bucket = match needs {
        Needs::Bucket(_) => named_bucket(&named("bucket_name"), request.headers()),
        _ => None,
    };
    let (caller, zone, account) = api
        .read(move |snapshot| {
            let caller = identify(snapshot, &given, now)?;
            let (mut zone, mut account) = (None, None);
            match needs {
                Needs::Token | Needs::Signed => {}
                Needs::Somewhere(permission) if caller.may_somewhere(permission) => {}
                Needs::Network(permission) if caller.may(permission, On::Everything) => {}
                Needs::Somewhere(permission) | Needs::Network(permission) => {
                    return Err(not_allowed(permission));
                }
                Needs::Account(_) | Needs::Bucket(_) | Needs::AssetsUpload => {
                    let permission = match needs {
                        Needs::Account(permission) | Needs::Bucket(permission) => permission,
                        _ => Permission::WorkersEdit,
                    };
                    let wanted = (permission, bucket.as_ref());
                    account = Some(known_account(snapshot, &caller, &account_id, wanted)?);
                }
                Needs::Zone(permission) => {
                    zone = Some(known_zone(snapshot, &caller, &zone_id, permission)?);
                }
            }
            Ok((caller, zone, account))
        })
        .await?;
    if request.headers().contains_key("idempotency-key") && !request.method().is_safe() {
        let fingerprint = fingerprint::of(request).await?;
        request.extensions_mut().insert(fingerprint);
    }
    let extensions = request.extensions_mut();
    extensions.insert(Arc::new(caller));
    extensions.insert(Arc::new(query));
    if let Some(zone) = zone {
        extensions.insert(zone);
    }
    if let Some(account) = account {
        extensions.insert(account);
    }
    Ok(())
}

/// The bucket that a path and the fields of its request name, if they name one.
fn named_bucket(name: &str, headers: &HeaderMap) -> Option<NamedBucket> {
    let jurisdiction = crate::r2::jurisdiction(headers).ok()?;
    Some((jurisdiction, BucketName::parse(name).ok()?))
}

/// By what a caller is known.
enum Credentials {
    /// A token of the API.
    Token(TokenText),
    /// That of a session of uploads, which one of those has signed.
    Session(Unverified),
}

/// The token in a request's fields.
fn credentials(headers: &HeaderMap, needs: Needs) -> Result<Credentials, ApiError> {
    let malformed = |what: &str| {
        let message = format!("Invalid request headers: {what}; send `Authorization: Bearer TOKEN`");
        ApiError::new(Code::CredentialsMalformed, message)
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        if headers.contains_key("x-auth-key") || headers.contains_key("x-auth-email") {
            return Err(malformed("keys that belong to an e-mail address do not exist here"));
        }
        return Err(ApiError::new(
            Code::CredentialsMissing,
            "Missing Authorization header: send `Authorization: Bearer TOKEN`",
        ));
    };
    if values.next().is_some() {
        return Err(malformed("Authorization is given twice"));
    }
    let text = value.to_str().map_err(|_| malformed("Authorization is not ASCII"))?;
    let (scheme, token) = text.split_once(' ').ok_or_else(|| malformed("Authorization has no token"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed("the scheme of Authorization is not Bearer"));
    }
    if needs == Needs::AssetsUpload
        && let Some(session) = Unverified::parse(token.trim())
    {
        return Ok(Credentials::Session(session));
    }
    let token = TokenText::parse(token.trim()).map_err(|invalid| malformed(&invalid.to_string()))?;
    Ok(Credentials::Token(token))
}

/// Whose token it is, if it is one that may be used now.
fn identify(snapshot: &Snapshot, given: &Credentials, now: Timestamp) -> Result<Caller, ApiError> {
    let invalid = || ApiError::new(Code::TokenInvalid, "Invalid API Token");
    let id = match given {
        Credentials::Token(text) => text.id,
        Credentials::Session(session) => session.signer(),
    };
    let token = snapshot.get::<ApiToken>(&id)?.ok_or_else(invalid)?;
    let session = match given {
        Credentials::Token(text) if text.opens(&token) => None,
        Credentials::Token(_) => return Err(invalid()),
        Credentials::Session(session) => Some(Arc::new(session_token::verify(session, &token, now)?.clone())),
    };
    if let Some(why) = token.unusable(now) {
        return Err(ApiError::new(Code::TokenUnusable, format!("Authentication error: {why}")));
    }
    Ok(Caller { session, ..Caller::of(token) })
}

fn not_allowed(permission: Permission) -> ApiError {
    let name = crate::tokens::group(permission).name;
    ApiError::new(
        Code::NotAllowed,
        format!("Unauthorized to access requested resource: the token needs the permission {name:?} on it"),
    )
}

fn known_zone(
    snapshot: &Snapshot,
    caller: &Caller,
    id: &str,
    permission: Permission,
) -> Result<Zone, ApiError> {
    let unknown = || ApiError::no_object(&format!("/zones/{id:.80}"));
    let parsed: ZoneId = id.parse().map_err(|_| unknown())?;
    let zone = snapshot.get::<Zone>(&parsed)?.ok_or_else(unknown)?;
    let on = On::zone(&zone);
    match (caller.knows(on), caller.may(permission, on)) {
        (_, true) => Ok(zone),
        (true, false) => Err(not_allowed(permission)),
        (false, false) => Err(unknown()),
    }
}

/// The account of this id, if the caller has the permission on it, or on its bucket that is named.
fn known_account(
    snapshot: &Snapshot,
    caller: &Caller,
    id: &str,
    (permission, bucket): (Permission, Option<&NamedBucket>),
) -> Result<Account, ApiError> {
    let unknown = || ApiError::no_object(&format!("/accounts/{id:.80}"));
    let parsed: AccountId = id.parse().map_err(|_| unknown())?;
    let account = snapshot.get::<Account>(&parsed)?.ok_or_else(unknown)?;
    let on = On::Account(account.id);
    let may = caller.may(permission, on)
        || bucket.is_some_and(|bucket| caller.may_in_bucket(permission, account.id, bucket));
    match (caller.knows(on), may) {
        (_, true) => Ok(account),
        (true, false) => Err(not_allowed(permission)),
        (false, false) => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: AccountId = AccountId::from_bytes([1; 16]);
    const THEIRS: AccountId = AccountId::from_bytes([2; 16]);
    const ZONE: ZoneId = ZoneId::from_bytes([3; 16]);
    const OTHER: ZoneId = ZoneId::from_bytes([4; 16]);

    fn caller(scope: TokenScope, permissions: &[Permission]) -> Caller {
        Caller {
            token: TokenId::from_bytes([9; 16]),
            name: String::new(),
            policies: vec![TokenPolicy { scope, permissions: permissions.to_vec() }],
            not_before: None,
            expires_on: None,
            session: None,
        }
    }

    #[test]
    fn a_scope_covers_what_lies_in_it_and_nothing_beside_or_above() {
        let edit = [Permission::DnsEdit];
        let may = |scope, on| caller(scope, &edit).may(Permission::DnsRead, on);
        let targets = [On::Everything, On::Account(OURS), On::Zone(OURS, ZONE), On::Zone(THEIRS, OTHER)];
        assert_eq!(targets.map(|on| may(TokenScope::Everything, on)), [true, true, true, true]);
        assert_eq!(targets.map(|on| may(TokenScope::Account(OURS), on)), [false, true, true, false]);
        assert_eq!(targets.map(|on| may(TokenScope::Zone(ZONE), on)), [false, false, true, false]);
    }

    #[test]
    fn rights_of_two_policies_are_not_mixed() {
        let mut two = caller(TokenScope::Zone(ZONE), &[Permission::DnsEdit]);
        two.policies
            .push(TokenPolicy { scope: TokenScope::Zone(OTHER), permissions: vec![Permission::ZoneRead] });
        assert!(two.may(Permission::DnsEdit, On::Zone(OURS, ZONE)));
        assert!(!two.may(Permission::DnsEdit, On::Zone(OURS, OTHER)));
        assert!(!two.may(Permission::ZoneRead, On::Zone(OURS, ZONE)));
    }

    #[test]
    fn a_policy_without_permissions_makes_nothing_known() {
        assert!(!caller(TokenScope::Everything, &[]).knows(On::Zone(OURS, ZONE)));
    }

    #[test]
    fn a_right_on_a_bucket_is_one_on_no_other_and_on_nothing_of_its_account() {
        let named = |text: &str| BucketName::parse(text).unwrap();
        let scope = TokenScope::Bucket { account: OURS, jurisdiction: None, name: named("photos") };
        let writer = caller(scope, &[Permission::R2ItemEdit]);
        let may = |permission, account, bucket| writer.may_in_bucket(permission, account, &bucket);
        assert!(may(Permission::R2ItemRead, OURS, (None, named("photos"))));
        assert!(may(Permission::R2ItemEdit, OURS, (None, named("photos"))));
        assert!(!may(Permission::R2Edit, OURS, (None, named("photos"))));
        assert!(!may(Permission::R2ItemRead, OURS, (None, named("others"))));
        assert!(!may(Permission::R2ItemRead, OURS, (Some(Jurisdiction::Fedramp), named("photos"))));
        assert!(!may(Permission::R2ItemRead, THEIRS, (None, named("photos"))));
        assert!(!writer.may(Permission::R2ItemRead, On::Account(OURS)));
        assert!(writer.knows(On::Account(OURS)) && !writer.knows(On::Account(THEIRS)));
        assert!(!writer.knows(On::Zone(OURS, ZONE)) && !writer.knows(On::Everything));
    }

    #[test]
    fn credentials_of_every_wrong_shape_are_told_apart_from_none() {
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            credentials(&headers, Needs::AssetsUpload).err().unwrap().code()
        };
        assert_eq!(
            credentials(&HeaderMap::new(), Needs::Token).err().unwrap().code(),
            Code::CredentialsMissing
        );
        assert_eq!(with("x-auth-key", "k"), Code::CredentialsMalformed);
        for value in ["Bearer", "Bearer ", "Basic eDp5", "Bearer abc", "Bearer é"] {
            assert_eq!(with("authorization", value), Code::CredentialsMalformed, "{value}");
        }
    }
}
