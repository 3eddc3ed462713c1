//! What browsers ask before pages of other sites may ask, and what they are told with each answer
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! A preflight is not signed, and so names a bucket and no account; only a URL that is signed says by its access key whose bucket is
//! meant. Otherwise it is answered by the first account whose bucket of this name allows it. That gives nothing away: what comes then
//! is signed, is answered by its own bucket's rules, and shows a page nothing unless these allow it. Why one is refused is not told:
//! anybody may ask, and would learn which buckets others have.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use proxima_ledger::{ChangeSet, ReadError, Snapshot};
use proxima_model::{AccountId, Bucket, BucketName, Kind, TokenId};
use proxima_pipeline::{CorsPolicy, CorsRule, ObjectError};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::{Front, admit::Query, auth, error::s3_error, hosts::Hosts};
use crate::buckets::unreadable;

/// Accounts whose buckets of one name are looked at for a preflight: each costs some microseconds.
const ACCOUNTS_MAX: usize = 1_000;
/// Names of fields that a preflight may ask for; what is beyond is asked for by no page.
const FIELDS_MAX: usize = 100;

/// Where what a request's page is to be told is left for whoever sends the answer.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<OnceLock<HeaderMap>>);

impl Told {
    /// What was left here.
    pub(super) fn take(&self) -> HeaderMap {
        self.0.get().cloned().unwrap_or_default()
    }

    /// Leaves what a page at `origin` is to be told of an answer from this bucket.
    pub(super) fn tell(&self, bucket: &Bucket, origin: &HeaderValue, method: &Method) {
        let policy = bucket.cors.as_ref().and_then(CorsPolicy::kept);
        let Some((policy, origin_text)) = policy.zip(origin.to_str().ok()) else { return };
        if let Some(rule) = policy.rule(origin_text, method.as_str(), &[]) {
            let mut fields = allowed(rule, origin);
            fields.append(header::VARY, HeaderValue::from_static("Origin"));
            self.0.set(fields).ok();
        }
    }
}

/// What both kinds of answers say.
pub(crate) fn allowed(rule: &CorsRule, origin: &HeaderValue) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let all = HeaderValue::from_static("*");
    fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, if rule.is_for_all() { all } else { origin.clone() });
    let mut list = |name: HeaderName, words: &[String]| {
        if let Ok(value) = HeaderValue::try_from(words.join(", "))
            && !words.is_empty()
        {
            fields.insert(name, value);
        }
    };
    list(header::ACCESS_CONTROL_ALLOW_METHODS, &rule.allowed.methods);
    list(header::ACCESS_CONTROL_EXPOSE_HEADERS, &rule.expose_headers);
    fields
}

/// The fields of the answer to a preflight by this rule.
fn granted(rule: &CorsRule, origin: &HeaderValue, asked: Option<&HeaderValue>) -> HeaderMap {
    let mut fields = allowed(rule, origin);
    if let Some(asked) = asked {
        fields.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    if let Some(seconds) = rule.max_age_seconds {
        fields.insert(header::ACCESS_CONTROL_MAX_AGE, seconds.into());
    }
    let differs = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
    fields.insert(header::VARY, HeaderValue::from_static(differs));
    fields
}

/// What a preflight is granted by a bucket with these rules, if it is one and anything is.
pub(crate) fn preflight(policy: &CorsPolicy, headers: &HeaderMap) -> Option<HeaderMap> {
    let origin = headers.get(header::ORIGIN)?;
    let method = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|asked| !asked.is_empty());
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let fields = asked.map(text).unwrap_or_default();
    let fields: Vec<_> = fields.split(',').map(str::trim).filter(|field| !field.is_empty()).collect();
    if fields.len() > FIELDS_MAX {
        return None;
    }
    let rule = policy.rule(&text(origin), &text(method), &fields)?;
    Some(granted(rule, origin, asked))
}

/// The bucket that a request names, by its host or its path.
fn named<B>(hosts: &Hosts, request: &Request<B>) -> Option<BucketName> {
    let of_host = hosts.bucket_of(request).ok()?;
    let first = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
    BucketName::parse(of_host.as_deref().unwrap_or(first)).ok()
}

/// Whose buckets have rules for other sites, by their names: kept as the log changes, so that who asks has nobody else's looked
/// through. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Owners(Arc<RwLock<HashMap<BucketName, BTreeSet<AccountId>>>>);

/// What a state of the replica changes of it.
pub(crate) struct OwnersChanged {
    is_all: bool,
    /// Whether this one's bucket has rules.
    each: Vec<(AccountId, BucketName, bool)>,
}

impl OwnersChanged {
    /// What these changes change.
    pub(crate) fn of(snapshot: &Snapshot, changed: &ChangeSet) -> Result<Self, ReadError> {
        let Some(keys) = changed.of_kind(Kind::Bucket) else {
            let all = snapshot.scan::<Bucket>(&[]).filter_map(|found| match found {
                Ok(bucket) => bucket.cors.is_some().then_some(Ok((bucket.account, bucket.name, true))),
                Err(error) => Some(Err(error)),
            });
            return Ok(Self { is_all: true, each: all.collect::<Result<_, _>>()? });
        };
        let ids = keys.filter_map(|key| {
            let name: String = key.part(2)?;
            Some((key.first_part::<AccountId>()?, BucketName::parse(&name).ok()?))
        });
        let each = ids.map(|(account, name)| {
            let found = snapshot.get::<Bucket>(&(account, name.clone()))?;
            Ok((account, name, found.is_some_and(|bucket| bucket.cors.is_some())))
        });
        Ok(Self { is_all: false, each: each.collect::<Result<_, ReadError>>()? })
    }
}

impl Owners {
    /// Puts a change in force.
    pub(crate) fn apply(&self, changed: OwnersChanged) {
        if !changed.is_all && changed.each.is_empty() {
            return;
        }
        let mut owners = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if changed.is_all {
            owners.clear();
        }
        for (account, name, has_rules) in changed.each {
            if has_rules {
                owners.entry(name).or_default().insert(account);
                continue;
            }
            if let Some(of_name) = owners.get_mut(&name) {
                of_name.remove(&account);
                if of_name.is_empty() {
                    owners.remove(&name);
                }
            }
        }
    }

    /// Whose buckets of this name have such rules.
    fn of(&self, name: &BucketName) -> Vec<AccountId> {
        let owners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        owners.get(name).into_iter().flatten().copied().take(ACCOUNTS_MAX).collect()
    }
}

/// Of all buckets that may be meant, what the first one says whose rules cover it.
fn decide(
    state: &Snapshot,
    accounts: impl IntoIterator<Item = AccountId>,
    name: &BucketName,
    covers: impl Fn(&CorsPolicy) -> Option<HeaderMap>,
) -> Result<Option<HeaderMap>, ObjectError> {
    for account in accounts {
        let found = state.get::<Bucket>(&(account, name.clone())).map_err(unreadable)?;
        let policy = found.and_then(|bucket| bucket.cors.as_ref().and_then(CorsPolicy::kept));
        if let Some(fields) = policy.and_then(|policy| covers(&policy)) {
            return Ok(Some(fields));
        }
    }
    Ok(None)
}

impl Front {
    /// Answers a preflight.
    pub(super) async fn preflight<B>(&self, hosts: &Hosts, request: &Request<B>) -> S3Result<HeaderMap> {
        let headers = request.headers().clone();
        let needed = [header::ORIGIN, header::ACCESS_CONTROL_REQUEST_METHOD];
        if !needed.iter().all(|name| headers.contains_key(name)) {
            let mut refusal = refused(
                "OPTIONS is for browsers: Origin and Access-Control-Request-Method say what they ask",
            );
            refusal.set_status_code(StatusCode::BAD_REQUEST);
            return Err(refusal);
        }
        let name = named(hosts, request).ok_or_else(|| s3_error(ObjectError::NoSuchBucket))?;
        let query = Query::of(request.uri().query().unwrap_or_default());
        let key = query.get("X-Amz-Credential").and_then(|credential| credential.split('/').next());
        let token: Option<TokenId> = key.and_then(|key| key.parse().ok());
        let owners = if token.is_some() { Vec::new() } else { self.owners.of(&name) };
        let found = self.buckets.read(move |state| {
            let covers = |policy: &CorsPolicy| preflight(policy, &headers);
            match token {
                Some(token) => decide(state, auth::account_of(state, token)?, &name, covers),
                None => decide(state, owners, &name, covers),
            }
        });
        let refused = || refused("no rule for other sites (CORS) of this bucket allows this");
        found.await.map_err(s3_error)?.ok_or_else(refused)
    }
}

fn refused(what: &'static str) -> S3Error {
    let mut refusal = S3Error::with_message(S3ErrorCode::Custom("AccessForbidden".into()), what);
    refusal.set_status_code(StatusCode::FORBIDDEN);
    refusal
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::hosts::tests::hosts, *};

    fn rule(allowed: serde_json::Value) -> CorsRule {
        let rule = json!({ "allowed": allowed, "exposeHeaders": ["ETag", "x-a"], "maxAgeSeconds": 9 });
        CorsPolicy::parse(json!({ "rules": [rule] })).unwrap().rules.remove(0)
    }

    #[test]
    fn a_page_is_told_what_it_may_and_for_whom_that_is() {
        let origin = HeaderValue::from_static("https://a.example");
        let asked = HeaderValue::from_static("x-b,x-c");
        for (pattern, told) in [("*", "*"), ("https://*.example", "https://a.example")] {
            let rule = rule(json!({ "methods": ["GET", "PUT"], "origins": [pattern], "headers": ["*"] }));
            let fields = granted(&rule, &origin, Some(&asked));
            let field = |name| fields.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            assert_eq!(field("access-control-allow-origin"), Some(told));
            assert_eq!(field("access-control-allow-methods"), Some("GET, PUT"));
            assert_eq!(field("access-control-allow-headers"), Some("x-b,x-c"));
            assert_eq!(field("access-control-expose-headers"), Some("ETag, x-a"));
            assert_eq!(field("access-control-max-age"), Some("9"));
            assert!(field("vary").unwrap().contains("Origin"));
            assert_eq!(field("access-control-allow-credentials"), None);
        }
    }

    #[test]
    fn whose_buckets_have_rules_is_kept_as_they_change() {
        let (owners, name) = (Owners::default(), |text: &str| BucketName::parse(text).unwrap());
        let [one, two] = [1, 2].map(|number| AccountId::from_bytes([number; 16]));
        let apply = |is_all, each: &[(AccountId, &str, bool)]| {
            let each = each.iter().map(|(account, text, has_rules)| (*account, name(text), *has_rules));
            owners.apply(OwnersChanged { is_all, each: each.collect() });
            ["abc", "bcd"].map(|text| owners.of(&name(text)))
        };
        assert_eq!(apply(true, &[(one, "abc", true), (two, "abc", true)]), [vec![one, two], vec![]]);
        assert_eq!(apply(false, &[]), [vec![one, two], vec![]]);
        assert_eq!(apply(false, &[(one, "abc", false), (one, "bcd", true)]), [vec![two], vec![one]]);
        assert_eq!(apply(false, &[(two, "abc", false), (two, "abc", false)]), [vec![], vec![one]]);
        assert_eq!(apply(true, &[]), [vec![], vec![]], "what is not there any more is forgotten");
    }

    #[test]
    fn a_bucket_is_named_by_the_host_or_by_the_path() {
        let of = |endpoints: &[&str], given: &str, path: &str| {
            let request = Request::builder().uri(path).header("host", given).body(()).unwrap();
            named(&hosts(endpoints), &request).map(|name| name.as_str().to_owned())
        };
        let (none, host): (&[_], &[_]) = (&[], &["s3.example"]);
        assert_eq!(of(none, "s3.example", "/two/k").as_deref(), Some("two"));
        assert_eq!(of(none, "one.localhost:9000", "/two/k").as_deref(), Some("one"));
        assert_eq!(of(host, "one.s3.example:9000", "/two/k").as_deref(), Some("one"));
        assert_eq!(of(host, "s3.example", "/two/k").as_deref(), Some("two"));
        assert_eq!(of(host, "ones3.example", "/two").as_deref(), None);
        assert_eq!(of(host, "127.0.0.1:9000", "/").as_deref(), None);
    }
}
