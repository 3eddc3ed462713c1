//! Policies and permission groups of tokens, as v4 writes them.

use std::collections::BTreeMap;

use proxima_model::{BucketName, Jurisdiction, Permission, TokenPolicy, TokenScope, excerpt};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{ApiError, Code};

/// A permission as v4 writes it: a group with an id and a name.
pub(crate) struct Group {
    permission: Permission,
    /// Ours to choose; where v4 documents one, it is that.
    pub(super) id: &'static str,
    pub(crate) name: &'static str,
    /// What kind of resource it is for.
    pub(super) scope: &'static str,
}

const ACCOUNT: &str = "com.cloudflare.api.account";
const ZONE: &str = "com.cloudflare.api.account.zone";
const BUCKET: &str = "com.cloudflare.edge.r2.bucket";
/// All buckets of an account, as a resource within it.
const EVERY_BUCKET: &str = "com.cloudflare.edge.r2.bucket.*";
/// What stands in the place of a jurisdiction where there is none.
const NO_JURISDICTION: &str = "default";

const fn make(permission: Permission, id: &'static str, name: &'static str, scope: &'static str) -> Group {
    Group { permission, id, name, scope }
}

/// Every permission that a token can have.
pub(crate) const GROUPS: [Group; 23] = [
    make(Permission::ZoneRead, "c8fed203ed3043cba015a93ad1616f1f", "Zone Read", ZONE),
    make(Permission::ZoneEdit, "e6d2666161e84845a636613608cee8d5", "Zone Write", ZONE),
    make(Permission::DnsRead, "82e64a83756745bbbb1c9c2701bf816b", "DNS Read", ZONE),
    make(Permission::DnsEdit, "4755a26eedb94da69e1066d98aa820be", "DNS Write", ZONE),
    make(Permission::CachePurge, "e17beae8b8cb423a99b1730f21238bed", "Cache Purge", ZONE),
    make(Permission::RulesRead, "00000000000000000000000000000501", "Origin Read", ZONE),
    make(Permission::RulesEdit, "00000000000000000000000000000502", "Origin Write", ZONE),
    make(Permission::SslEdit, "c03055bc037c4ea9afb9a9f104b7b721", "SSL and Certificates Write", ZONE),
    make(Permission::AccountRead, "c1fde68c7bcc44588cbb6ddbc16d6480", "Account Settings Read", ACCOUNT),
    make(Permission::TraceRead, "00000000000000000000000000000601", "Request Tracer Read", ACCOUNT),
    make(Permission::WorkersRead, "1a71c399035b4950a1bd1466bbe4f420", "Workers Scripts Read", ACCOUNT),
    make(Permission::WorkersEdit, "e086da7e2179491d91ee5f35b3ca210a", "Workers Scripts Write", ACCOUNT),
    make(Permission::WorkerRoutesRead, "2072033d694d415a936eaeb94e6405b8", "Workers Routes Read", ZONE),
    make(Permission::WorkerRoutesEdit, "28f4b596e7d643029c524985477ae49a", "Workers Routes Write", ZONE),
    make(Permission::KvRead, "8b47d2786a534c08a1f94ee8f9f599ef", "Workers KV Storage Read", ACCOUNT),
    make(Permission::KvEdit, "f7f0eda5697f475c90846e879bab8666", "Workers KV Storage Write", ACCOUNT),
    make(Permission::R2Read, "b4992e1108244f5d8bfbd5744320c2e1", "Workers R2 Storage Read", ACCOUNT),
    make(Permission::R2Edit, "bf7481a1826f439697cb59a20b22293e", "Workers R2 Storage Write", ACCOUNT),
    make(
        Permission::R2ItemRead,
        "6a018a9f2fc74eb6b293b0c548f38b39",
        "Workers R2 Storage Bucket Item Read",
        BUCKET,
    ),
    make(
        Permission::R2ItemEdit,
        "2efd5506f9c8494dacb1fa10a3e7d5b6",
        "Workers R2 Storage Bucket Item Write",
        BUCKET,
    ),
    make(Permission::QueuesRead, "84a7755d54c646ca87cd50682a34bf7c", "Queues Read", ACCOUNT),
    make(Permission::QueuesEdit, "366f57075ffc42689627bcf8242a1b6d", "Queues Write", ACCOUNT),
    make(Permission::All, "00000000000000000000000000000001", "All", ACCOUNT),
];

/// The group of a permission.
pub(crate) fn group(permission: Permission) -> &'static Group {
    let found = GROUPS.iter().find(|group| group.permission == permission);
    found.expect("every permission has a group; a test shows it")
}

#[derive(Debug, Deserialize)]
pub(crate) struct PolicyBody {
    effect: String,
    permission_groups: Vec<GroupBody>,
    resources: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct GroupBody {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

/// One policy of v4 is one of ours for each resource.
pub(crate) fn parse_policy(body: &PolicyBody) -> Result<Vec<TokenPolicy>, ApiError> {
    if body.effect != "allow" {
        return Err(ApiError::new(Code::NotOffered, "policies that deny are not offered yet").at("/effect"));
    }
    let unknown = || {
        ApiError::new(
            Code::FieldInvalid,
            "give permission groups with an id or name of user/tokens/permission_groups",
        )
        .at("/permission_groups")
    };
    let permissions: Vec<Permission> = body
        .permission_groups
        .iter()
        .map(|given| {
            let found = GROUPS.iter().find(|group| {
                given.id.as_deref() == Some(group.id)
                    || given.id.is_none() && given.name.as_deref() == Some(group.name)
            });
            found.map(|group| group.permission)
        })
        .collect::<Option<_>>()
        .filter(|permissions: &Vec<_>| !permissions.is_empty())
        .ok_or_else(unknown)?;
    let mut policies = Vec::with_capacity(body.resources.len());
    for (resource, value) in &body.resources {
        let covered = parse_resource(resource, value).ok_or_else(|| no_resource(resource))?;
        let permissions: Vec<_> =
            permissions.iter().copied().filter(|permission| covered.takes(*permission)).collect();
        if permissions.is_empty() {
            let message = format!(
                "resources: {} takes none of the permission groups that are given",
                excerpt(resource)
            );
            return Err(ApiError::new(Code::FieldInvalid, message).at("/resources"));
        }
        policies.push(TokenPolicy { scope: covered.scope, permissions });
    }
    if policies.is_empty() {
        return Err(ApiError::new(Code::FieldInvalid, "resources: give at least one").at("/resources"));
    }
    // What would be given nowhere was not meant so.
    let is_given =
        |wanted: &Permission| policies.iter().any(|policy: &TokenPolicy| policy.permissions.contains(wanted));
    if let Some(lost) = permissions.iter().find(|permission| !is_given(permission)) {
        let Group { name, scope, .. } = group(*lost);
        let message =
            format!("permission_groups: {name:?} is for resources of {scope}, of which none is given");
        return Err(ApiError::new(Code::FieldInvalid, message).at("/permission_groups"));
    }
    Ok(policies)
}

fn no_resource(resource: &str) -> ApiError {
    let message = format!(
        "resources: {} is not one; give \"{ACCOUNT}.ID\", \"{ZONE}.ID\", \"{ACCOUNT}.*\" or \
         \"{BUCKET}.ACCOUNT_JURISDICTION_NAME\" (JURISDICTION: {NO_JURISDICTION}, eu or fedramp), each as \"*\", or \
         \"{ACCOUNT}.ID\" as {{\"{EVERY_BUCKET}\": \"*\"}}",
        excerpt(resource)
    );
    ApiError::new(Code::FieldInvalid, message).at("/resources")
}

/// What a resource of v4 covers.
#[derive(Debug, PartialEq, Eq)]
struct Covered {
    scope: TokenScope,
    /// Whether it is buckets, and no more of their account.
    is_buckets: bool,
}

impl Covered {
    /// Whether this is a permission for resources of its kind: groups for what is in buckets are for buckets, and no others.
    fn takes(&self, permission: Permission) -> bool {
        self.is_buckets == is_of_buckets(permission)
    }
}

fn is_of_buckets(permission: Permission) -> bool {
    group(permission).scope == BUCKET
}

fn parse_resource(resource: &str, value: &Value) -> Option<Covered> {
    if let Some(named) = resource.strip_prefix(BUCKET) {
        let scope = parse_bucket(named.strip_prefix('.')?).filter(|_| value == "*")?;
        return Some(Covered { scope, is_buckets: true });
    }
    let scope = parse_scope(resource)?;
    if value == "*" {
        return Some(Covered { scope, is_buckets: false });
    }
    let is_buckets = matches!(scope, TokenScope::Account(_)) && *value == json!({ EVERY_BUCKET: "*" });
    is_buckets.then_some(Covered { scope, is_buckets })
}

fn parse_scope(resource: &str) -> Option<TokenScope> {
    if let Some(id) = resource.strip_prefix(ZONE).and_then(|rest| rest.strip_prefix('.')) {
        return id.parse().ok().map(TokenScope::Zone);
    }
    match resource.strip_prefix(ACCOUNT)?.strip_prefix('.')? {
        "*" => Some(TokenScope::Everything),
        id => id.parse().ok().map(TokenScope::Account),
    }
}

/// `ACCOUNT_JURISDICTION_NAME`: none of them has an underscore.
fn parse_bucket(named: &str) -> Option<TokenScope> {
    let (account, rest) = named.split_once('_')?;
    let (jurisdiction, name) = rest.split_once('_')?;
    let jurisdiction = match jurisdiction {
        NO_JURISDICTION => None,
        word => Some(Jurisdiction::parse(word).ok()?),
    };
    Some(TokenScope::Bucket {
        account: account.parse().ok()?,
        jurisdiction,
        name: BucketName::parse(name).ok()?,
    })
}

/// A policy as v4 shows it; it has no id of its own, so its place is one.
pub(super) fn show_policy(index: usize, policy: &TokenPolicy) -> Value {
    let resource = match &policy.scope {
        TokenScope::Everything => format!("{ACCOUNT}.*"),
        TokenScope::Account(id) => format!("{ACCOUNT}.{id}"),
        TokenScope::Zone(id) => format!("{ZONE}.{id}"),
        TokenScope::Bucket { account, jurisdiction, name } => {
            let jurisdiction = jurisdiction.map_or(NO_JURISDICTION, Jurisdiction::as_str);
            format!("{BUCKET}.{account}_{jurisdiction}_{name}")
        }
    };
    let is_every_bucket = matches!(policy.scope, TokenScope::Account(_))
        && policy.permissions.iter().all(|held| is_of_buckets(*held));
    let value = if is_every_bucket { json!({ EVERY_BUCKET: "*" }) } else { json!("*") };
    let groups = policy.permissions.iter().map(|held| group(*held));
    let groups: Vec<_> = groups.map(|group| json!({ "id": group.id, "name": group.name })).collect();
    json!({
        "id": format!("{index:032x}"),
        "effect": "allow",
        "permission_groups": groups,
        "resources": { resource: value },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_has_one_group_and_ids_are_ids() {
        for group_of in &GROUPS {
            assert_eq!(group(group_of.permission).id, group_of.id);
            assert!(group_of.id.len() == 32 && group_of.id.bytes().all(|digit| digit.is_ascii_hexdigit()));
        }
    }

    #[test]
    fn scopes_are_parsed_from_resources_and_shown_the_same() {
        use Permission::{DnsEdit, R2ItemEdit};
        let (id, every) = ("ab".repeat(16), json!({ EVERY_BUCKET: "*" }));
        for (resource, value, permission) in [
            (format!("{ZONE}.{id}"), json!("*"), DnsEdit),
            (format!("{ACCOUNT}.{id}"), json!("*"), DnsEdit),
            (format!("{ACCOUNT}.*"), json!("*"), DnsEdit),
            (format!("{ACCOUNT}.{id}"), every.clone(), R2ItemEdit),
            (format!("{BUCKET}.{id}_default_my-photos"), json!("*"), R2ItemEdit),
            (format!("{BUCKET}.{id}_eu_my-photos"), json!("*"), R2ItemEdit),
            (format!("{BUCKET}.{id}_fedramp_default"), json!("*"), R2ItemEdit),
        ] {
            let covered = parse_resource(&resource, &value).unwrap_or_else(|| panic!("{resource}"));
            assert!(covered.takes(permission), "{resource}");
            let policy = TokenPolicy { scope: covered.scope, permissions: vec![permission] };
            assert_eq!(show_policy(0, &policy)["resources"], json!({ resource: value }));
        }
        for (wrong, value) in [
            (ACCOUNT.to_owned(), json!("*")),
            (ZONE.to_owned(), json!("*")),
            (BUCKET.to_owned(), json!("*")),
            (String::new(), json!("*")),
            ("com.cloudflare.edge.worker.script.x".to_owned(), json!("*")),
            (format!("{ZONE}.*"), json!("*")),
            (format!("{ZONE}.{id}"), every.clone()),
            (format!("{ACCOUNT}.*"), every.clone()),
            (format!("{ACCOUNT}.{id}"), json!({})),
            (format!("{ACCOUNT}.{id}"), json!({ EVERY_BUCKET: "x" })),
            (
                format!("{ACCOUNT}.{id}"),
                json!({ EVERY_BUCKET: "*", "com.cloudflare.api.account.zone.*": "*" }),
            ),
            (EVERY_BUCKET.to_owned(), json!("*")),
            (format!("{BUCKET}.{id}_default_photos"), json!("x")),
            (format!("{BUCKET}.{id}_default_photos"), every),
            (format!("{BUCKET}.{id}_default_*"), json!("*")),
            (format!("{BUCKET}.{id}_default_a_b"), json!("*")),
            (format!("{BUCKET}.{id}_us_photos"), json!("*")),
            (format!("{BUCKET}.{id}__photos"), json!("*")),
            (format!("{BUCKET}.{id}_photos"), json!("*")),
            (format!("{BUCKET}.*_default_photos"), json!("*")),
            (format!("{BUCKET}{id}_default_photos"), json!("*")),
        ] {
            assert_eq!(parse_resource(&wrong, &value), None, "{wrong} {value}");
        }
    }

    #[test]
    fn groups_are_given_on_resources_of_their_kind_and_none_is_lost() {
        let account = format!("{ACCOUNT}.{}", "ab".repeat(16));
        let photos = format!("{BUCKET}.{}_default_photos", "ab".repeat(16));
        let (items, dns, buckets) =
            ("Workers R2 Storage Bucket Item Write", "DNS Write", "Workers R2 Storage Write");
        let parse = |groups: &[&str], resources: &[&str]| {
            let groups: Vec<_> = groups.iter().map(|name| json!({ "name": name })).collect();
            let resources: BTreeMap<_, _> = resources.iter().map(|resource| (*resource, "*")).collect();
            let body = json!({ "effect": "allow", "permission_groups": groups, "resources": resources });
            let parsed = parse_policy(&serde_json::from_value(body).unwrap());
            parsed.map(|policies| {
                policies.into_iter().flat_map(|policy| policy.permissions).collect::<Vec<_>>()
            })
        };
        assert_eq!(parse(&[items], &[&photos]).unwrap(), [Permission::R2ItemEdit]);
        let both = parse(&[items, dns], &[&account, &photos]).unwrap();
        assert_eq!(both, [Permission::DnsEdit, Permission::R2ItemEdit]);
        for (groups, resources) in [
            (&[items][..], &[account.as_str()][..]),
            (&[buckets], &[&photos]),
            (&["All"], &[&photos]),
            (&[items, dns], &[&account]),
            (&[items, buckets], &[&photos]),
            (&[items], &[&account, &photos]),
        ] {
            let refused = parse(groups, resources).err().map(|refusal| refusal.code());
            assert_eq!(refused, Some(Code::FieldInvalid), "{groups:?} {resources:?}");
        }
    }
}
