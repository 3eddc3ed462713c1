//! Policies and permission groups of tokens, as v4 writes them.

use std::collections::BTreeMap;

use proxima_model::{Permission, TokenPolicy, TokenScope, excerpt};
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

const fn make(permission: Permission, id: &'static str, name: &'static str, scope: &'static str) -> Group {
    Group { permission, id, name, scope }
}

/// Every permission that a token can have.
pub(crate) const GROUPS: [Group; 21] = [
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
        let scope = parse_scope(resource).filter(|_| value == "*").ok_or_else(|| {
            ApiError::new(
                Code::FieldInvalid,
                format!(
                    "resources: {} is not one; give \"{ACCOUNT}.ID\", \"{ZONE}.ID\" or \"{ACCOUNT}.*\", each as \"*\"", excerpt(resource)
                ),
            )
            .at("/resources")
        })?;
        policies.push(TokenPolicy { scope, permissions: permissions.clone() });
    }
    if policies.is_empty() {
        return Err(ApiError::new(Code::FieldInvalid, "resources: give at least one").at("/resources"));
    }
    Ok(policies)
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

/// A policy as v4 shows it; it has no id of its own, so its place is one.
pub(super) fn show_policy(index: usize, policy: &TokenPolicy) -> Value {
    let resource = match policy.scope {
        TokenScope::Everything => format!("{ACCOUNT}.*"),
        TokenScope::Account(id) => format!("{ACCOUNT}.{id}"),
        TokenScope::Zone(id) => format!("{ZONE}.{id}"),
    };
    let groups = policy.permissions.iter().map(|held| group(*held));
    let groups: Vec<_> = groups.map(|group| json!({ "id": group.id, "name": group.name })).collect();
    json!({
        "id": format!("{index:032x}"),
        "effect": "allow",
        "permission_groups": groups,
        "resources": { resource: "*" },
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
        let zone = format!("{ZONE}.{}", "ab".repeat(16));
        assert!(matches!(parse_scope(&zone), Some(TokenScope::Zone(_))));
        assert!(matches!(
            parse_scope(&format!("{ACCOUNT}.{}", "0".repeat(32))),
            Some(TokenScope::Account(_))
        ));
        assert_eq!(parse_scope(&format!("{ACCOUNT}.*")), Some(TokenScope::Everything));
        for wrong in
            [ACCOUNT, ZONE, "com.cloudflare.edge.worker.script.x", "", "com.cloudflare.api.account.zone.*"]
        {
            assert_eq!(parse_scope(wrong), None, "{wrong}");
        }
    }
}
