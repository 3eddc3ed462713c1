//! The little of API v4 that benchmarks need; by curl, so that it is the API that people meet.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::{self, LOAD_CORE};

pub(crate) struct Client<'a> {
    api: SocketAddr,
    token: &'a str,
}

/// A namespace of keys and values.
pub(crate) struct Namespace {
    pub(crate) id: String,
    /// What the path of a value in the API has before the key.
    pub(crate) values: String,
}

impl<'a> Client<'a> {
    pub(crate) const fn new(api: SocketAddr, token: &'a str) -> Self {
        Self { api, token }
    }

    /// The account that the token is for.
    pub(crate) fn account(&self) -> Result<String> {
        text(&self.call("GET", "accounts", None)?, "/0/id").context("the token sees no account")
    }

    /// Makes something; its id.
    pub(crate) fn make(&self, path: &str, body: &Value) -> Result<String> {
        text(&self.call("POST", path, Some(body))?, "/id").with_context(|| format!("{path}: no id"))
    }

    /// Changes something.
    pub(crate) fn change(&self, path: &str, body: &Value) -> Result<()> {
        self.call("PATCH", path, Some(body)).map(drop)
    }

    /// Imports a zone file.
    pub(crate) fn import(&self, zone: &str, file: &Path) -> Result<()> {
        let path = format!("zones/{zone}/dns_records/import");
        self.ask("POST", &path, &["--form".to_owned(), format!("file=@{}", file.display())]).map(drop)
    }

    /// Makes the zone `host`, proxied to `origin` in clear HTTP.
    pub(crate) fn serve(&self, host: &str, origin: SocketAddr) -> Result<()> {
        let zone = self.make("zones", &json!({"name": host, "account": {"id": self.account()?}}))?;
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
        self.change(&format!("zones/{zone}/settings/ssl"), &json!({"value": "flexible"}))?;
        Ok(())
    }

    /// Makes a namespace of keys and values.
    pub(crate) fn namespace(&self, title: &str) -> Result<Namespace> {
        let namespaces = format!("accounts/{}/storage/kv/namespaces", self.account()?);
        let id = self.make(&namespaces, &json!({"title": title}))?;
        Ok(Namespace { values: format!("/client/v4/{namespaces}/{id}/values/"), id })
    }

    /// Makes a bucket.
    pub(crate) fn bucket(&self, name: &str) -> Result<()> {
        let path = format!("accounts/{}/r2/buckets", self.account()?);
        self.call("POST", &path, Some(&json!({"name": name}))).map(drop)
    }

    /// Uploads a Worker of one module, which is called as its file; it answers at once.
    pub(crate) fn worker(&self, name: &str, metadata: &Path, module: &Path) -> Result<()> {
        let path = format!("accounts/{}/workers/scripts/{name}", self.account()?);
        let part = module.file_name().context("the module is a file")?.to_string_lossy();
        let form = [
            "--form".to_owned(),
            format!("metadata=@{};type=application/json", metadata.display()),
            "--form".to_owned(),
            format!("{part}=@{};type=application/javascript+module", module.display()),
        ];
        self.ask("PUT", &path, &form).map(drop)
    }

    /// Has a Worker answer the URLs of a zone that match.
    pub(crate) fn route(&self, zone: &str, pattern: &str, worker: &str) -> Result<()> {
        let zones = self.call("GET", &format!("zones?name={zone}"), None)?;
        let id = text(&zones, "/0/id").with_context(|| format!("there is no zone {zone}"))?;
        let route = json!({"pattern": pattern, "script": worker});
        self.call("POST", &format!("zones/{id}/workers/routes"), Some(&route)).map(drop)
    }

    /// The `result` of a call that must succeed.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let content = body.map(|body| {
            ["--header", "content-type: application/json", "--data", &body.to_string()].map(str::to_owned)
        });
        self.ask(method, path, content.as_ref().map_or(&[][..], |content| content))
    }

    fn ask(&self, method: &str, path: &str, content: &[String]) -> Result<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10", "--request", method]);
        curl.arg("--header").arg(format!("authorization: Bearer {}", self.token));
        curl.args(content).arg(format!("http://{}/client/v4/{path}", self.api));
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

/// What a node says of itself by the name of a metric.
pub(crate) fn metric(admin: SocketAddr, name: &str) -> Result<f64> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "5"]).arg(format!("http://{admin}/metrics"));
    let told = process::output(LOAD_CORE, &curl)?;
    let mut values = told.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = values.next().with_context(|| format!("the node has no metric {name}"))?;
    value.trim().parse().with_context(|| format!("{name} is {value}"))
}

/// Whether `path` is served with 200 at `address` under the name `host`.
pub(crate) fn answers(address: SocketAddr, host: &str, path: &str) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "2", "--output", "/dev/null"]);
    curl.arg("--header").arg(format!("host: {host}")).arg(format!("http://{address}{path}"));
    process::output(LOAD_CORE, &curl).is_ok()
}
