//! A client of the API, for people.

pub(crate) mod explain;
pub(crate) mod log;
pub(crate) mod objects;
pub(crate) mod purge;
pub(crate) mod records;
pub(crate) mod zones;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

/// How long the API may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Records and zones asked for at once.
const PER_PAGE: usize = 100;

/// Where the API is, and who asks.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ApiArgs {
    /// The API of any server.
    #[arg(long, env = "PROXIMA_API", default_value = "http://127.0.0.1:8787", value_name = "URL")]
    api: String,
    /// An API token; `proxima dev` keeps the first one in its data folder, in the file `token`, which is sent to
    /// loopback addresses only.
    #[arg(long, env = "PROXIMA_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Certificates of the authorities by which an API with https is trusted, such as the cluster's ca.pem. Without it,
    /// those that this machine trusts.
    #[arg(long, env = "PROXIMA_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where the name in --api is, if no resolver knows it, such as NAME.node.internal of a node's certificate.
    #[arg(long, env = "PROXIMA_API_ADDRESS", value_name = "IP")]
    api_address: Option<IpAddr>,
}

/// The API.
pub(crate) struct Api {
    base: String,
    token: String,
    http: reqwest::Client,
}

/// Runs a command of this client.
pub(crate) fn run(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)?;
    Ok(ExitCode::SUCCESS)
}

impl ApiArgs {
    pub(crate) fn open(&self) -> anyhow::Result<Api> {
        let file = crate::dev::default_data_dir().join("token");
        let token = token_for(&self.api, self.api_address, self.token.as_deref(), &file)?;
        let mut client = client();
        if let Some(path) = &self.ca {
            client = client.tls_certs_only(authorities(path)?);
        }
        if let Some(address) = self.api_address {
            // The port is that of the URL.
            client = client.resolve(&host_of(&self.api)?, SocketAddr::new(address, 0));
        }
        Api::with(client, &self.api, &token)
    }
}

fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy()
}

/// The certificates in a file.
fn authorities(path: &Path) -> anyhow::Result<Vec<reqwest::Certificate>> {
    let pem = std::fs::read(path).with_context(|| format!("--ca {}", path.display()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem);
    let found = found.with_context(|| format!("--ca {}: it holds something else", path.display()))?;
    if found.is_empty() {
        bail!("--ca {}: there is no certificate in it", path.display());
    }
    Ok(found)
}

/// The token with which the API at `base` is asked, which is at `address` if one is given: the token given, or that of
/// `proxima dev`, which lies in `file`. The latter is the operator's of this machine's own server, and is sent nowhere
/// else.
fn token_for(
    base: &str,
    address: Option<IpAddr>,
    given: Option<&str>,
    file: &Path,
) -> anyhow::Result<String> {
    const REMEDY: &str = "give --token or set PROXIMA_TOKEN";
    if let Some(token) = given.map(str::trim).filter(|token| !token.is_empty()) {
        return Ok(token.to_owned());
    }
    if !is_loopback(base)? {
        bail!("no token for {base}: {REMEDY}");
    }
    if let Some(address) = address.filter(|address| !address.is_loopback()) {
        bail!("no token for {base} at {address}: {REMEDY}");
    }
    let token = std::fs::read_to_string(file)
        .with_context(|| format!("no token: {REMEDY}; `proxima dev` has left none in {}", file.display()))?;
    Ok(token.trim().to_owned())
}

/// Whether this address of an API is on this machine.
fn is_loopback(base: &str) -> anyhow::Result<bool> {
    let host = host_of(base)?;
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    Ok(address.map_or(host == "localhost", |address| address.is_loopback()))
}

fn host_of(base: &str) -> anyhow::Result<String> {
    let url = reqwest::Url::parse(base)
        .with_context(|| format!("{base:?} is no address of an API; give such as http://127.0.0.1:8787"))?;
    Ok(url.host_str().unwrap_or_default().to_owned())
}

impl Api {
    pub(crate) fn new(base: &str, token: &str) -> anyhow::Result<Self> {
        Self::with(client(), base, token)
    }

    fn with(client: reqwest::ClientBuilder, base: &str, token: &str) -> anyhow::Result<Self> {
        let http = client.build()?;
        let root = base.trim_end_matches('/').trim_end_matches("/client/v4");
        Ok(Self { base: format!("{root}/client/v4"), token: token.to_owned(), http })
    }

    /// One call; the envelope, or the API's own words about why not.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        self.envelope(request).await
    }

    /// Sends a file as a multipart form.
    pub(crate) async fn upload(&self, path: &str, form: reqwest::multipart::Form) -> anyhow::Result<Value> {
        self.envelope(self.http.post(format!("{}{path}", self.base)).multipart(form)).await
    }

    /// An answer that is no envelope.
    pub(crate) async fn text(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.send(self.http.get(format!("{}{path}", self.base))).await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("the API answered {status}: {}", printable_lines(&text));
        }
        Ok(text)
    }

    /// What is at this path, with its entity tag, or `None` if nothing is.
    pub(crate) async fn tagged(&self, path: &str) -> anyhow::Result<Option<(Value, String)>> {
        let answer = self.send(self.http.get(format!("{}{path}", self.base))).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let result = Self::opened(answer).await?["result"].take();
        Ok(Some((result, tag.context("the API gave no ETag; has that server an older version?")?)))
    }

    /// Puts what was decided upon `read`, the tag of what was there; `false` if something else is there by now.
    pub(crate) async fn put_after(
        &self,
        path: &str,
        read: Option<&str>,
        body: &Value,
    ) -> anyhow::Result<bool> {
        let request = self.http.put(format!("{}{path}", self.base)).json(body);
        let request = match read {
            Some(tag) => request.header(header::IF_MATCH, tag),
            None => request.header(header::IF_NONE_MATCH, "*"),
        };
        let answer = self.send(request).await?;
        if answer.status() == StatusCode::PRECONDITION_FAILED {
            return Ok(false);
        }
        Self::opened(answer).await.map(|_| true)
    }

    async fn envelope(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        Self::opened(self.send(request).await?).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        request.bearer_auth(&self.token).send().await.with_context(|| {
            let hint = if self.base.starts_with("https:") {
                " (is --ca the cluster's ca.pem, and the name in --api that of the node's certificate, \
                 NAME.node.internal? --api-address says where it is)"
            } else {
                ""
            };
            format!("the API cannot be reached{hint}")
        })
    }

    /// The envelope of an answer, or its errors in words.
    async fn opened(answer: reqwest::Response) -> anyhow::Result<Value> {
        let status = answer.status();
        let text = answer.text().await?;
        let envelope: Value =
            serde_json::from_str(&text).with_context(|| format!("the API answered {status}, not in JSON"))?;
        if envelope["success"] != json!(true) {
            let errors = envelope["errors"].as_array().cloned().unwrap_or_default();
            let told: Vec<String> = errors
                .iter()
                .map(|error| {
                    let message = error["message"].as_str().unwrap_or("?");
                    format!("{} (code {})", printable_lines(message), shown(&error["code"]))
                })
                .collect();
            let told = if told.is_empty() { printable_lines(&text) } else { told.join("\n  ") };
            bail!("the API answered {status}: {told}");
        }
        Ok(envelope)
    }

    /// All pages of a list.
    pub(crate) async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        for page in 1.. {
            let mark = if path.contains('?') { '&' } else { '?' };
            let envelope =
                self.call(Method::GET, &format!("{path}{mark}per_page={PER_PAGE}&page={page}"), None).await?;
            let rows = envelope["result"].as_array().cloned().unwrap_or_default();
            let last = rows.len() < PER_PAGE;
            all.extend(rows);
            if last {
                break;
            }
        }
        Ok(all)
    }

    /// The id of the zone of this name.
    pub(crate) async fn zone(&self, name: &str) -> anyhow::Result<String> {
        let name = proxima_model::ZoneName::parse(name)?;
        let found = self.call(Method::GET, &format!("/zones?name={name}"), None).await?;
        let id = found["result"][0]["id"].as_str().map(str::to_owned);
        id.with_context(|| format!("there is no zone {name} here; `proxima zones add {name}` makes it"))
    }
}

impl Api {
    /// The id of an account: of the one with this id or name, or of the only one that the token reads.
    pub(crate) async fn account(&self, wanted: Option<&str>) -> anyhow::Result<String> {
        if let Some(id) = wanted.and_then(|wanted| wanted.parse::<proxima_model::AccountId>().ok()) {
            // May be one that the token uses without reading it.
            return Ok(id.to_string());
        }
        choose_account(&self.all("/accounts").await?, wanted)
    }
}

/// The id of the account of this name, or of the only one.
fn choose_account(accounts: &[Value], wanted: Option<&str>) -> anyhow::Result<String> {
    let chosen: Vec<&Value> =
        accounts.iter().filter(|account| wanted.is_none_or(|name| account["name"] == name)).collect();
    let names = |accounts: &[&Value]| -> String {
        let named = |account: &&Value| format!("{} ({})", shown(&account["name"]), shown(&account["id"]));
        accounts.iter().map(named).collect::<Vec<_>>().join(", ")
    };
    match (chosen.as_slice(), wanted) {
        ([account], _) => Ok(shown(&account["id"])),
        ([], None) => bail!(
            "the token reads no account: give the account's id with --account, or a token with the permission Account \
             Settings Read"
        ),
        ([], Some(name)) => {
            let all: Vec<&Value> = accounts.iter().collect();
            bail!("the token reads no account {name}; give the id of one, or the name of: {}", names(&all))
        }
        (several, _) => bail!("there are several accounts; say which with --account: {}", names(several)),
    }
}

/// Prints rows as a table with aligned columns.
pub(crate) fn print_table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("{}", padded.join("  ").trim_end());
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

/// A field as text for people, whatever its type.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => String::new(),
        other => printable(&other.to_string()),
    }
}

/// A text of the API's for a terminal: control characters, with which others could write what they like on it, are
/// escaped.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, |_| false)
}

/// As [`printable`], of several lines.
pub(crate) fn printable_lines(text: &str) -> String {
    escaped(text, |letter| matches!(letter, '\n' | '\t'))
}

fn escaped(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && !keeps(letter) {
            // As JSON has it, so that JSON stays what it is.
            out.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_proxima_dev_is_sent_to_loopback_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "the-operators\n").unwrap();
        for base in
            ["http://127.0.0.1:8787", "http://localhost:1/client/v4", "http://[::1]:8787", "http://127.8.8.8"]
        {
            assert_eq!(token_for(base, None, None, &file).unwrap(), "the-operators", "{base}");
            assert_eq!(token_for(base, None, Some(" "), &file).unwrap(), "the-operators", "{base}");
        }
        for base in [
            "http://10.1.1.2:8787",
            "https://api.example",
            "http://127.0.0.1@evil.example",
            "http://127.0.0.1.evil.example",
        ] {
            let error = token_for(base, None, None, &file).unwrap_err().to_string();
            assert!(error.contains("give --token or set PROXIMA_TOKEN"), "{base}: {error}");
            assert_eq!(token_for(base, None, Some("given"), &file).unwrap(), "given");
        }
        let nonsense = token_for("nonsense", None, None, &file).unwrap_err().to_string();
        assert!(nonsense.contains("http://127.0.0.1:8787"), "{nonsense}");
    }

    #[test]
    fn a_loopback_name_that_is_sent_elsewhere_by_its_address_gets_no_token_of_proxima_dev() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "the-operators\n").unwrap();
        let token = |address: &str, given| {
            let address = Some(address.parse().unwrap());
            token_for("http://localhost:8787", address, given, &file).map_err(|error| error.to_string())
        };
        assert_eq!(token("127.0.0.1", None).unwrap(), "the-operators");
        assert_eq!(token("::1", None).unwrap(), "the-operators");
        for elsewhere in ["203.0.113.1", "0.0.0.0", "2001:db8::1"] {
            let error = token(elsewhere, None).unwrap_err();
            assert!(error.contains(elsewhere) && error.contains("give --token"), "{error}");
            assert_eq!(token(elsewhere, Some("given")).unwrap(), "given");
        }
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(
            shown(&json!("a\u{1b}[2Jb\u{9b}c\r\n\u{7f}é")),
            "a\\u001b[2Jb\\u009bc\\u000d\\u000a\\u007fé"
        );
        assert_eq!(shown(&json!(["\u{9b}"])), "[\"\\u009b\"]");
        assert_eq!(printable_lines("a\tb\r\n"), "a\tb\\u000d\n");
    }

    #[test]
    fn an_account_is_the_only_one_or_the_one_that_is_named() {
        let accounts = [json!({ "id": "a1", "name": "One" }), json!({ "id": "a2", "name": "Two" })];
        assert_eq!(choose_account(&accounts[..1], None).unwrap(), "a1");
        assert_eq!(choose_account(&accounts, Some("Two")).unwrap(), "a2");
        let refused = |accounts: &[Value], wanted| choose_account(accounts, wanted).unwrap_err().to_string();
        assert!(refused(&[], None).contains("--account"));
        assert!(refused(&accounts, None).contains("One (a1), Two (a2)"));
        assert!(refused(&accounts, Some("Three")).contains("Three"));
    }
}
