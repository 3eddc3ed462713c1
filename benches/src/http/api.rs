//! The little of API v4 that makes a zone which serves the origin; by curl, so that it is the API that people meet.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::LOAD_CORE;
use crate::process;

pub(super) struct Client<'a> {
    api: SocketAddr,
    token: &'a str,
}

impl<'a> Client<'a> {
    pub(super) fn new(api: SocketAddr, token: &'a str) -> Self {
        Self { api, token }
    }

    /// Makes the zone `host`, proxied to `origin` in clear HTTP.
    pub(super) fn serve(&self, host: &str, origin: SocketAddr) -> Result<()> {
        let accounts = self.call("GET", "accounts", None)?;
        let account = text(&accounts, "/0/id").context("the token sees no account")?;
        let zone = self.call("POST", "zones", Some(&json!({"name": host, "account": {"id": account}})))?;
        let zone = text(&zone, "/id").context("the new zone has no id")?;
        let record =
            json!({"type": "A", "name": host, "content": origin.ip().to_string(), "ttl": 1, "proxied": true});
        self.call("POST", &format!("zones/{zone}/dns_records"), Some(&record))?;
        let rules = json!({"rules": [{
            "action": "route",
            "action_parameters": {"origin": {"port": origin.port()}},
            "expression": "true",
        }]});
        let phase = format!("zones/{zone}/rulesets/phases/http_request_origin/entrypoint");
        self.call("PUT", &phase, Some(&rules))?;
        self.call("PATCH", &format!("zones/{zone}/settings/ssl"), Some(&json!({"value": "flexible"})))?;
        Ok(())
    }

    /// The `result` of a call that must succeed.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10", "--request", method]);
        curl.arg("--header").arg(format!("authorization: Bearer {}", self.token));
        if let Some(body) = body {
            curl.args(["--header", "content-type: application/json", "--data", &body.to_string()]);
        }
        curl.arg(format!("http://{}/client/v4/{path}", self.api));
        let printed = process::output(LOAD_CORE, &curl)?;
        let mut envelope: Value = serde_json::from_str(&printed)
            .with_context(|| format!("{method} {path} answered no JSON: {printed}"))?;
        ensure!(envelope["success"] == true, "{method} {path} failed: {}", envelope["errors"]);
        Ok(envelope["result"].take())
    }
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    Some(value.pointer(pointer)?.as_str()?.to_owned())
}

/// Whether `path` is served with 200 at `address` under the name `host`.
pub(super) fn answers(address: SocketAddr, host: &str, path: &str) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "2", "--output", "/dev/null"]);
    curl.arg("--header").arg(format!("host: {host}")).arg(format!("http://{address}{path}"));
    process::output(LOAD_CORE, &curl).is_ok()
}
