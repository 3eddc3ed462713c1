//! The one table of endpoints: method, path, what its caller needs, handler. Nothing is reachable that is not here, and
//! nothing is here without what it needs; a test asks each of them as everybody who may not.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    http::Method,
    middleware,
    routing::{MethodRouter, on},
};
use proxima_model::Permission::{
    self, AccountRead, All, CachePurge, DnsEdit, DnsRead, KvEdit, KvRead, QueuesEdit, QueuesRead, R2Edit,
    R2ItemEdit, R2ItemRead, R2Read, RulesEdit, RulesRead, SslEdit, TraceRead, WorkerRoutesEdit,
    WorkerRoutesRead, WorkersEdit, WorkersRead, ZoneEdit, ZoneRead,
};
use proxima_model::{IncomingTransfers, OutgoingTransfers, TransferAcl, TransferPeer, TsigKey};

use crate::{
    accounts,
    api::{
        Api,
        access::{Needs, authorise},
    },
    certificates, client_auth, compat, dns_analytics, dns_settings, dnssec, history, kv, purge, queues, r2,
    records, rulesets, settings, ssl, tokens, trace, traffic,
    transfers::{self, of_zone},
    workers, zones,
};

/// Under which everything lies.
pub(crate) const PREFIX: &str = "/client/v4";

/// Where objects are, whose octets take as long as they take. A key is all that is left of the path.
pub(crate) const OBJECT_PATH: &str = "/accounts/{account_id}/r2/buckets/{bucket_name}/objects/{*object_key}";

/// Where files of assets are uploaded, which may take longer than other requests.
pub(crate) const ASSETS_PATH: &str = "/accounts/{account_id}/workers/assets/upload";

/// One endpoint.
pub(crate) struct Endpoint {
    method: Method,
    /// Without [`PREFIX`]; parameters in braces.
    pub(crate) path: &'static str,
    needs: Needs,
    handler: MethodRouter<Arc<Api>>,
}

fn route<H, T>(method: Method, path: &'static str, needs: Needs, handler: H) -> Endpoint
where
    H: Handler<T, Arc<Api>>,
    T: 'static,
{
    let filter = method.clone().try_into().expect("the table's methods are ones that axum routes");
    Endpoint { method, path, needs, handler: on(filter, handler) }
}

fn get<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Endpoint {
    route(Method::GET, path, needs, handler)
}

fn post<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Endpoint {
    route(Method::POST, path, needs, handler)
}

fn put<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Endpoint {
    route(Method::PUT, path, needs, handler)
}

fn patch<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Endpoint {
    route(Method::PATCH, path, needs, handler)
}

fn delete<H: Handler<T, Arc<Api>>, T: 'static>(path: &'static str, needs: Needs, handler: H) -> Endpoint {
    route(Method::DELETE, path, needs, handler)
}

/// Every endpoint there is.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    let mut all = of_zones_and_accounts();
    all.extend(of_workers());
    all.extend(of_key_values());
    all.extend(of_queues());
    all.extend(of_objects());
    all.extend(of_durable_objects());
    all
}

/// Of which servers have Durable Objects: the operator's.
fn of_durable_objects() -> Vec<Endpoint> {
    use workers::durable::homes;
    const OPERATOR: Needs = Needs::Network(All);
    vec![
        get("/proxima/durable_objects/homes", OPERATOR, homes::list),
        post("/proxima/durable_objects/hand_over", OPERATOR, homes::hand_over),
        post("/proxima/durable_objects/cancel", OPERATOR, homes::cancel),
        post("/proxima/durable_objects/give_up", OPERATOR, homes::give_up),
    ]
}

/// Of buckets and objects.
fn of_objects() -> Vec<Endpoint> {
    use r2::{buckets, domains, graphql, notifications, objects, rules};
    const READ: Needs = Needs::Account(R2Read);
    const EDIT: Needs = Needs::Account(R2Edit);
    const BUCKETS: &str = "/accounts/{account_id}/r2/buckets";
    const BUCKET: &str = "/accounts/{account_id}/r2/buckets/{bucket_name}";
    const USAGE: &str = "/accounts/{account_id}/r2/buckets/{bucket_name}/usage";
    const CORS: &str = "/accounts/{account_id}/r2/buckets/{bucket_name}/cors";
    const LIFECYCLE: &str = "/accounts/{account_id}/r2/buckets/{bucket_name}/lifecycle";
    const DOMAINS: &str = "/accounts/{account_id}/r2/buckets/{bucket_name}/domains/custom";
    const DOMAIN: &str = "/accounts/{account_id}/r2/buckets/{bucket_name}/domains/custom/{domain}";
    const MANAGED: &str = "/accounts/{account_id}/r2/buckets/{bucket_name}/domains/managed";
    const NOTIFICATIONS: &str = "/accounts/{account_id}/event_notifications/r2/{bucket_name}/configuration";
    const NOTIFIED: &str =
        "/accounts/{account_id}/event_notifications/r2/{bucket_name}/configuration/queues/{queue_id}";
    vec![
        get(BUCKETS, READ, buckets::list),
        post(BUCKETS, EDIT, buckets::create),
        get(BUCKET, READ, buckets::get),
        patch(BUCKET, EDIT, buckets::patch),
        delete(BUCKET, EDIT, buckets::delete),
        get(USAGE, READ, buckets::usage),
        get(CORS, READ, rules::cors),
        put(CORS, EDIT, rules::put_cors),
        delete(CORS, EDIT, rules::delete_cors),
        get(LIFECYCLE, READ, rules::lifecycle),
        put(LIFECYCLE, EDIT, rules::put_lifecycle),
        get(DOMAINS, READ, domains::list),
        post(DOMAINS, EDIT, domains::attach),
        get(DOMAIN, READ, domains::get),
        put(DOMAIN, EDIT, domains::update),
        delete(DOMAIN, EDIT, domains::remove),
        get(MANAGED, READ, domains::managed),
        put(MANAGED, EDIT, domains::put_managed),
        get(NOTIFICATIONS, READ, notifications::list),
        get(NOTIFIED, READ, notifications::get),
        put(NOTIFIED, EDIT, notifications::add),
        delete(NOTIFIED, EDIT, notifications::remove),
        // What it is asked about, it finds in the query.
        post("/graphql", Needs::Somewhere(R2Read), graphql::post),
        get(OBJECT_PATH, Needs::Bucket(R2ItemRead), objects::get),
        put(OBJECT_PATH, Needs::Bucket(R2ItemEdit), objects::put),
        delete(OBJECT_PATH, Needs::Bucket(R2ItemEdit), objects::delete),
    ]
}

/// Of Workers.
fn of_workers() -> Vec<Endpoint> {
    use Needs::{Account, Zone};
    use workers::{
        assets, crons, delete, deployments, domains, durable::namespaces, routes, scripts, secrets, settings,
        subdomain, tails, versions, whole,
    };
    const READ: Needs = Account(WorkersRead);
    const EDIT: Needs = Account(WorkersEdit);
    macro_rules! of_script {
        ($rest:literal) => {
            concat!("/accounts/{account_id}/workers/scripts/{script_name}", $rest)
        };
    }
    const SERVICE: &str = "/accounts/{account_id}/workers/services/{script_name}";
    const DURABLE_OBJECTS: &str =
        "/accounts/{account_id}/workers/durable_objects/namespaces/{namespace_id}/objects";
    const DOMAINS: &str = "/accounts/{account_id}/workers/domains";
    const DOMAIN: &str = "/accounts/{account_id}/workers/domains/{domain_id}";
    // As wrangler calls them.
    const DOMAIN_RECORDS: &str = "/accounts/{account_id}/workers/domains/records";
    const DOMAIN_RECORD: &str = "/accounts/{account_id}/workers/domains/records/{domain_id}";
    const ROUTES: &str = "/zones/{zone_id}/workers/routes";
    const ROUTE: &str = "/zones/{zone_id}/workers/routes/{route_id}";
    vec![
        get("/accounts/{account_id}/workers/scripts", READ, scripts::list),
        get(of_script!(""), READ, scripts::get),
        put(of_script!(""), EDIT, scripts::put),
        self::delete(of_script!(""), EDIT, delete::delete),
        get("/accounts/{account_id}/workers/workers/{script_name}", READ, whole::get),
        patch(
            "/accounts/{account_id}/workers/workers/{script_name}/versions/latest",
            EDIT,
            whole::patch_latest,
        ),
        get(SERVICE, READ, scripts::service),
        self::delete(SERVICE, EDIT, delete::delete),
        put(of_script!("/content"), EDIT, scripts::put_content),
        get(of_script!("/content"), READ, scripts::content),
        get(of_script!("/content/v2"), READ, scripts::content),
        get(of_script!("/references"), READ, scripts::references),
        get("/accounts/{account_id}/workers/tails/by-consumer/{script_name}", READ, scripts::tail_producers),
        get(of_script!("/settings"), READ, settings::get),
        patch(of_script!("/settings"), EDIT, settings::patch),
        get(of_script!("/script-settings"), READ, settings::get_script),
        patch(of_script!("/script-settings"), EDIT, settings::patch_script),
        get(of_script!("/versions"), READ, versions::list),
        post(of_script!("/versions"), EDIT, versions::create),
        get(of_script!("/versions/{version_id}"), READ, versions::get),
        get(of_script!("/deployments"), READ, deployments::list),
        post(of_script!("/deployments"), EDIT, deployments::create),
        get(of_script!("/deployments/{deployment_id}"), READ, deployments::get),
        get(of_script!("/secrets"), READ, secrets::list),
        put(of_script!("/secrets"), EDIT, secrets::put),
        patch(of_script!("/secrets-bulk"), EDIT, secrets::put_many),
        get(of_script!("/secrets/{secret_name}"), READ, secrets::get),
        self::delete(of_script!("/secrets/{secret_name}"), EDIT, secrets::delete),
        get("/accounts/{account_id}/workers/subdomain", READ, subdomain::account),
        get(of_script!("/subdomain"), READ, subdomain::get),
        post(of_script!("/subdomain"), EDIT, subdomain::post),
        self::delete(of_script!("/subdomain"), EDIT, subdomain::delete),
        get("/accounts/{account_id}/workers/durable_objects/namespaces", READ, namespaces::list),
        get(DURABLE_OBJECTS, READ, namespaces::objects),
        get(of_script!("/schedules"), READ, crons::get),
        put(of_script!("/schedules"), EDIT, crons::put),
        get(of_script!("/tails"), READ, tails::list),
        post(of_script!("/tails"), READ, tails::create),
        self::delete(of_script!("/tails/{tail_id}"), READ, tails::delete),
        get(of_script!("/tails/{tail_id}/live"), Needs::Signed, tails::live),
        post(of_script!("/assets-upload-session"), EDIT, assets::session::create),
        post(ASSETS_PATH, Needs::AssetsUpload, assets::upload::upload),
        put(of_script!("/routes"), EDIT, routes::put_of_script),
        put(of_script!("/domains/records"), EDIT, domains::put_of_script),
        post(of_script!("/domains/changeset"), EDIT, domains::changeset),
        get(DOMAINS, READ, domains::list),
        put(DOMAINS, EDIT, domains::put),
        get(DOMAIN, READ, domains::get),
        self::delete(DOMAIN, EDIT, domains::delete),
        get(DOMAIN_RECORDS, READ, domains::list),
        get(DOMAIN_RECORD, READ, domains::get),
        self::delete(DOMAIN_RECORD, EDIT, domains::delete),
        get(ROUTES, Zone(WorkerRoutesRead), routes::list),
        post(ROUTES, Zone(WorkerRoutesEdit), routes::create),
        get(ROUTE, Zone(WorkerRoutesRead), routes::get),
        put(ROUTE, Zone(WorkerRoutesEdit), routes::put),
        self::delete(ROUTE, Zone(WorkerRoutesEdit), routes::delete),
    ]
}

/// Of keys and values.
fn of_key_values() -> Vec<Endpoint> {
    use kv::{bulk, namespaces, values};
    const READ: Needs = Needs::Account(KvRead);
    const EDIT: Needs = Needs::Account(KvEdit);
    const NAMESPACES: &str = "/accounts/{account_id}/storage/kv/namespaces";
    macro_rules! of_namespace {
        ($rest:literal) => {
            concat!("/accounts/{account_id}/storage/kv/namespaces/{namespace_id}", $rest)
        };
    }
    // A key is all that is left of the path: those who do not escape its slashes mean the same.
    const VALUE: &str = of_namespace!("/values/{*key_name}");
    vec![
        get(NAMESPACES, READ, namespaces::list),
        post(NAMESPACES, EDIT, namespaces::create),
        get(of_namespace!(""), READ, namespaces::get),
        put(of_namespace!(""), EDIT, namespaces::rename),
        delete(of_namespace!(""), EDIT, namespaces::delete),
        get(of_namespace!("/keys"), READ, values::list),
        get(VALUE, READ, values::get),
        put(VALUE, EDIT, values::put),
        delete(VALUE, EDIT, values::delete),
        get(of_namespace!("/metadata/{*key_name}"), READ, values::metadata),
        put(of_namespace!("/bulk"), EDIT, bulk::put),
        delete(of_namespace!("/bulk"), EDIT, bulk::delete),
        post(of_namespace!("/bulk/delete"), EDIT, bulk::delete),
        post(of_namespace!("/bulk/get"), READ, bulk::get),
    ]
}

/// Of queues.
fn of_queues() -> Vec<Endpoint> {
    use queues::{consumers, messages, nouns};
    const READ: Needs = Needs::Account(QueuesRead);
    const EDIT: Needs = Needs::Account(QueuesEdit);
    const QUEUES: &str = "/accounts/{account_id}/queues";
    macro_rules! of_queue {
        ($rest:literal) => {
            concat!("/accounts/{account_id}/queues/{queue_id}", $rest)
        };
    }
    vec![
        get(QUEUES, READ, nouns::list),
        post(QUEUES, EDIT, nouns::create),
        get(of_queue!(""), READ, nouns::get),
        put(of_queue!(""), EDIT, nouns::put),
        patch(of_queue!(""), EDIT, nouns::patch),
        delete(of_queue!(""), EDIT, nouns::delete),
        get(of_queue!("/consumers"), READ, consumers::list),
        post(of_queue!("/consumers"), EDIT, consumers::create),
        get(of_queue!("/consumers/{consumer_id}"), READ, consumers::get),
        put(of_queue!("/consumers/{consumer_id}"), EDIT, consumers::put),
        delete(of_queue!("/consumers/{consumer_id}"), EDIT, consumers::delete),
        post(of_queue!("/messages"), EDIT, messages::send),
        post(of_queue!("/messages/batch"), EDIT, messages::send_batch),
        post(of_queue!("/messages/pull"), EDIT, messages::pull),
        post(of_queue!("/messages/ack"), EDIT, messages::ack),
        post(of_queue!("/purge"), EDIT, messages::purge),
        get(of_queue!("/metrics"), READ, messages::metrics),
    ]
}

fn of_zones_and_accounts() -> Vec<Endpoint> {
    use Needs::{Account, Network, Somewhere, Token, Zone};
    const RULES: &str = "/zones/{zone_id}/rulesets/{ruleset_id}/rules";
    const RULE: &str = "/zones/{zone_id}/rulesets/{ruleset_id}/rules/{rule_id}";
    const PHASE: &str = "/zones/{zone_id}/rulesets/phases/{phase}/entrypoint";
    const RECORD: &str = "/zones/{zone_id}/dns_records/{record_id}";
    const CERTIFICATES: &str = "/zones/{zone_id}/custom_certificates";
    const CERTIFICATE: &str = "/zones/{zone_id}/custom_certificates/{certificate_id}";
    const AUTHORITIES: &str = "/accounts/{account_id}/mtls_certificates";
    const AUTHORITY: &str = "/accounts/{account_id}/mtls_certificates/{mtls_certificate_id}";
    const ASSOCIATIONS: &str = "/zones/{zone_id}/certificate_authorities/hostname_associations";
    const DNSSEC: &str = "/zones/{zone_id}/dnssec";
    const DNS_SETTINGS: &str = "/zones/{zone_id}/dns_settings";
    const ACLS: &str = "/accounts/{account_id}/secondary_dns/acls";
    const ACL: &str = "/accounts/{account_id}/secondary_dns/acls/{acl_id}";
    const PEERS: &str = "/accounts/{account_id}/secondary_dns/peers";
    const PEER: &str = "/accounts/{account_id}/secondary_dns/peers/{peer_id}";
    const TSIGS: &str = "/accounts/{account_id}/secondary_dns/tsigs";
    const TSIG: &str = "/accounts/{account_id}/secondary_dns/tsigs/{tsig_id}";
    const INCOMING: &str = "/zones/{zone_id}/secondary_dns/incoming";
    const OUTGOING: &str = "/zones/{zone_id}/secondary_dns/outgoing";
    const UNIVERSAL: &str = "/zones/{zone_id}/ssl/universal/settings";
    vec![
        get("/user", Token, tokens::user),
        get("/user/tokens/verify", Token, tokens::verify),
        get("/user/tokens/permission_groups", Token, tokens::permission_groups),
        get("/user/tokens", Somewhere(All), tokens::list),
        post("/user/tokens", Somewhere(All), tokens::create),
        get("/user/tokens/{token_id}", Somewhere(All), tokens::get),
        put("/user/tokens/{token_id}", Somewhere(All), tokens::update),
        delete("/user/tokens/{token_id}", Somewhere(All), tokens::delete),
        put("/user/tokens/{token_id}/value", Somewhere(All), tokens::roll),
        get("/accounts", Token, accounts::list),
        get("/memberships", Token, accounts::memberships),
        get("/accounts/{account_id}", Account(AccountRead), accounts::get),
        post("/accounts/{account_id}/request-tracer/trace", Account(TraceRead), trace::trace),
        get("/zones", Token, zones::list),
        post("/zones", Somewhere(ZoneEdit), zones::create),
        get("/zones/{zone_id}", Zone(ZoneRead), zones::get),
        patch("/zones/{zone_id}", Zone(ZoneEdit), zones::patch),
        delete("/zones/{zone_id}", Zone(ZoneEdit), zones::delete),
        put("/zones/{zone_id}/activation_check", Zone(ZoneEdit), zones::activation_check),
        get("/zones/{zone_id}/settings", Zone(ZoneRead), settings::list),
        patch("/zones/{zone_id}/settings", Zone(ZoneEdit), settings::patch_many),
        get("/zones/{zone_id}/settings/{setting_id}", Zone(ZoneRead), settings::get),
        patch("/zones/{zone_id}/settings/{setting_id}", Zone(ZoneEdit), settings::patch),
        get("/zones/{zone_id}/dns_records", Zone(DnsRead), records::list),
        post("/zones/{zone_id}/dns_records", Zone(DnsEdit), records::create),
        post("/zones/{zone_id}/dns_records/batch", Zone(DnsEdit), records::batch),
        post("/zones/{zone_id}/dns_records/import", Zone(DnsEdit), records::import),
        get("/zones/{zone_id}/dns_records/export", Zone(DnsRead), records::export),
        get(RECORD, Zone(DnsRead), records::get),
        put(RECORD, Zone(DnsEdit), records::put),
        patch(RECORD, Zone(DnsEdit), records::patch),
        delete(RECORD, Zone(DnsEdit), records::delete),
        get("/zones/{zone_id}/dns_analytics/report", Zone(DnsRead), dns_analytics::report),
        get("/zones/{zone_id}/dns_analytics/report/bytime", Zone(DnsRead), dns_analytics::bytime),
        get(DNSSEC, Zone(DnsRead), dnssec::get),
        patch(DNSSEC, Zone(DnsEdit), dnssec::patch),
        delete(DNSSEC, Zone(DnsEdit), dnssec::delete),
        get(DNS_SETTINGS, Zone(DnsRead), dns_settings::get),
        patch(DNS_SETTINGS, Zone(DnsEdit), dns_settings::patch),
        get(ACLS, Account(DnsRead), transfers::list::<TransferAcl>),
        post(ACLS, Account(DnsEdit), transfers::create::<TransferAcl>),
        get(ACL, Account(DnsRead), transfers::get::<TransferAcl>),
        put(ACL, Account(DnsEdit), transfers::put::<TransferAcl>),
        delete(ACL, Account(DnsEdit), transfers::delete::<TransferAcl>),
        get(PEERS, Account(DnsRead), transfers::list::<TransferPeer>),
        post(PEERS, Account(DnsEdit), transfers::create::<TransferPeer>),
        get(PEER, Account(DnsRead), transfers::get::<TransferPeer>),
        put(PEER, Account(DnsEdit), transfers::put::<TransferPeer>),
        delete(PEER, Account(DnsEdit), transfers::delete::<TransferPeer>),
        get(TSIGS, Account(DnsEdit), transfers::list::<TsigKey>),
        post(TSIGS, Account(DnsEdit), transfers::create::<TsigKey>),
        get(TSIG, Account(DnsEdit), transfers::get::<TsigKey>),
        put(TSIG, Account(DnsEdit), transfers::put::<TsigKey>),
        delete(TSIG, Account(DnsEdit), transfers::delete::<TsigKey>),
        get(OUTGOING, Zone(DnsRead), of_zone::get::<OutgoingTransfers>),
        post(OUTGOING, Zone(DnsEdit), of_zone::create::<OutgoingTransfers>),
        put(OUTGOING, Zone(DnsEdit), of_zone::put::<OutgoingTransfers>),
        delete(OUTGOING, Zone(DnsEdit), of_zone::delete::<OutgoingTransfers>),
        get("/zones/{zone_id}/secondary_dns/outgoing/status", Zone(DnsRead), transfers::status),
        post("/zones/{zone_id}/secondary_dns/outgoing/enable", Zone(DnsEdit), transfers::enable),
        post("/zones/{zone_id}/secondary_dns/outgoing/disable", Zone(DnsEdit), transfers::disable),
        get(INCOMING, Zone(DnsRead), of_zone::get::<IncomingTransfers>),
        post(INCOMING, Zone(DnsEdit), of_zone::create::<IncomingTransfers>),
        put(INCOMING, Zone(DnsEdit), of_zone::put::<IncomingTransfers>),
        delete(INCOMING, Zone(DnsEdit), of_zone::delete::<IncomingTransfers>),
        post("/zones/{zone_id}/secondary_dns/force_axfr", Zone(DnsEdit), of_zone::force::<IncomingTransfers>),
        post(
            "/zones/{zone_id}/secondary_dns/outgoing/force_notify",
            Zone(DnsEdit),
            of_zone::force::<OutgoingTransfers>,
        ),
        post("/zones/{zone_id}/purge_cache", Zone(CachePurge), purge::purge),
        get("/zones/{zone_id}/rulesets", Zone(RulesRead), rulesets::list),
        get("/zones/{zone_id}/rulesets/{ruleset_id}", Zone(RulesRead), rulesets::get),
        get(PHASE, Zone(RulesRead), rulesets::get_phase),
        put(PHASE, Zone(RulesEdit), rulesets::put_phase),
        post(RULES, Zone(RulesEdit), rulesets::add_rule),
        patch(RULE, Zone(RulesEdit), rulesets::patch_rule),
        delete(RULE, Zone(RulesEdit), rulesets::delete_rule),
        get(CERTIFICATES, Zone(SslEdit), certificates::list),
        post(CERTIFICATES, Zone(SslEdit), certificates::upload),
        get(CERTIFICATE, Zone(SslEdit), certificates::get),
        delete(CERTIFICATE, Zone(SslEdit), certificates::delete),
        get(AUTHORITIES, Account(SslEdit), client_auth::authorities),
        post(AUTHORITIES, Account(SslEdit), client_auth::upload),
        get(AUTHORITY, Account(SslEdit), client_auth::authority),
        delete(AUTHORITY, Account(SslEdit), client_auth::delete),
        get(ASSOCIATIONS, Zone(SslEdit), client_auth::association),
        put(ASSOCIATIONS, Zone(SslEdit), client_auth::associate),
        get("/zones/{zone_id}/ssl/certificate_packs", Zone(SslEdit), ssl::packs),
        get("/zones/{zone_id}/ssl/certificate_packs/{pack_id}", Zone(SslEdit), ssl::pack),
        get(UNIVERSAL, Zone(SslEdit), ssl::universal),
        patch(UNIVERSAL, Zone(SslEdit), ssl::patch_universal),
        get("/zones/{zone_id}/ssl/verification", Zone(SslEdit), ssl::verification),
        get("/proxima/zones/{zone_id}/traffic", Zone(ZoneRead), traffic::get),
        get("/proxima/log", Network(All), history::list),
        post("/proxima/log/revert", Network(All), history::revert),
        get("/zones/{zone_id}/pagerules", Zone(ZoneRead), compat::page_rules),
    ]
}

/// A row of the table of endpoints, for whoever describes or checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRow {
    /// The method.
    pub method: Method,
    /// The path below `/client/v4`; parameters in braces.
    pub path: &'static str,
    /// On what its caller needs something.
    pub scope: NeededScope,
    /// What they need there; nothing but a token where this is `None`.
    pub permission: Option<Permission>,
}

/// On what an endpoint's caller needs a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeededScope {
    /// On nothing: it takes what the API has signed, and no token.
    Signed,
    /// On nothing: any token will do.
    Token,
    /// On anything; it shows and changes only what the caller's permission covers.
    Somewhere,
    /// On the account in its path.
    Account,
    /// On the bucket in its path, or on that one's account.
    Bucket,
    /// On the zone in its path.
    Zone,
    /// On everything: it is the operator's.
    Network,
}

/// Every endpoint there is.
pub fn endpoint_table() -> Vec<EndpointRow> {
    let row = |Endpoint { method, path, needs, .. }| {
        let (scope, permission) = match needs {
            Needs::Signed => (NeededScope::Signed, None),
            Needs::Token => (NeededScope::Token, None),
            Needs::Somewhere(permission) => (NeededScope::Somewhere, Some(permission)),
            Needs::Account(permission) => (NeededScope::Account, Some(permission)),
            Needs::Bucket(permission) => (NeededScope::Bucket, Some(permission)),
            Needs::AssetsUpload => (NeededScope::Account, Some(WorkersEdit)),
            Needs::Zone(permission) => (NeededScope::Zone, Some(permission)),
            Needs::Network(permission) => (NeededScope::Network, Some(permission)),
        };
        EndpointRow { method, path, scope, permission }
    };
    endpoints().into_iter().map(row).collect()
}

/// All endpoints as a router, each behind [`authorise`].
pub(crate) fn router(api: &Arc<Api>) -> Router {
    let mut router = Router::new();
    for Endpoint { path, needs, handler, .. } in endpoints() {
        let guard = middleware::from_fn_with_state((api.clone(), needs), authorise);
        // The method is chosen first and the guard stands behind it, so that each method has its own need.
        router = router.route(path, handler.route_layer(guard));
    }
    Router::new()
        .nest(PREFIX, router)
        .fallback(compat::no_route)
        .method_not_allowed_fallback(compat::wrong_method)
        .with_state(api.clone())
}
