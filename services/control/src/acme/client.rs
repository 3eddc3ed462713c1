//! HTTP to the authority, every request with a deadline and every answer with a bound, and our account there.

use std::cell::Cell;
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body as _;
use instant_acme::{
    Account, AccountCredentials, BodyWrapper, BytesResponse, Error, ExternalAccountKey, HttpClient,
    NewAccount,
};
use proxima_model::AcmeAccount;
use tokio::sync::Mutex;

use super::{AcmeSettings, plan::Failure, state};
use crate::{
    api::{Api, write::Author},
    error::ControlError,
    limits,
};

tokio::task_local! {
    /// How long the authority asked to be left alone, in the refusal that the order of this task got last.
    static ASKED: Cell<Option<Duration>>;
}

/// Runs an order's requests; with its outcome, how long the authority asked to be left alone, if it refused one.
pub(super) async fn heeding<T>(requests: impl Future<Output = T>) -> (T, Option<Duration>) {
    ASKED
        .scope(Cell::new(None), async {
            let outcome = requests.await;
            (outcome, ASKED.with(Cell::get))
        })
        .await
}

/// The authority, and our account there once it was needed.
pub(super) struct Client {
    settings: AcmeSettings,
    http: reqwest::Client,
    account: Mutex<Option<Account>>,
}

impl Client {
    /// Of this authority; nothing is asked yet.
    pub(super) fn new(settings: AcmeSettings) -> Result<Self, ControlError> {
        let mut builder = reqwest::Client::builder()
            .timeout(limits::ACME_REQUEST_DEADLINE)
            .connect_timeout(limits::ACME_CONNECT_DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .https_only(true)
            .no_proxy();
        if !settings.roots.is_empty() {
            builder = builder.tls_certs_only(settings.roots.iter().cloned());
        }
        let http = builder.build().map_err(|error| {
            ControlError::Acme(format!("[control.acme] making the authority's client: {}", chain(&error)))
        })?;
        Ok(Self { settings, http, account: Mutex::new(None) })
    }

    pub(super) const fn settings(&self) -> &AcmeSettings {
        &self.settings
    }

    /// Our account: the one in the log, or a new one that is then put there.
    pub(super) async fn account(&self, api: &Arc<Api>, author: &Author) -> Result<Account, Failure> {
        let mut held = self.account.lock().await;
        if let Some(account) = &*held {
            return Ok(account.clone());
        }
        let directory = self.settings.directory.clone();
        let stored = api.read(|snapshot| Ok(snapshot.get::<AcmeAccount>(&())?)).await;
        let stored = stored.map_err(|error| Failure::of_authority(error.to_string()))?;
        let stored = stored.filter(|account| account.directory == directory);
        let account = match stored {
            Some(stored) => self.restore(&stored).await?,
            None => self.register(api, author).await?,
        };
        *held = Some(account.clone());
        Ok(account)
    }

    /// Forgets an account that the authority does not know any more: the next order makes a new one.
    pub(super) async fn forget_account(&self, api: &Arc<Api>, author: &Author) {
        *self.account.lock().await = None;
        if let Err(error) = state::forget_account(api, author).await {
            tracing::warn!(%error, "the account at the certificate authority is not forgotten; the next failure tries again");
        }
    }

    async fn restore(&self, stored: &AcmeAccount) -> Result<Account, Failure> {
        let credentials: AccountCredentials = serde_json::from_str(&stored.credentials)
            .map_err(|_| Failure::of_authority("the stored account is not readable"))?;
        let builder = Account::builder_with_http(Box::new(Http(self.http.clone())));
        builder.from_credentials(credentials).await.map_err(|error| self.unreachable(&error))
    }

    async fn register(&self, api: &Arc<Api>, author: &Author) -> Result<Account, Failure> {
        let contact: Vec<&str> = self.settings.contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let binding =
            self.settings.binding.as_ref().map(|(id, key)| ExternalAccountKey::new(id.clone(), key));
        let builder = Account::builder_with_http(Box::new(Http(self.http.clone())));
        let created = builder.create(&new, self.settings.directory.clone(), binding.as_ref()).await;
        let (account, credentials) = created.map_err(|error| self.unreachable(&error))?;
        let credentials = serde_json::to_string(&credentials)
            .map_err(|_| Failure::of_authority("the new account cannot be written"))?;
        let directory = self.settings.directory.clone();
        let stored = AcmeAccount { directory, credentials, created_at: api.now() };
        let written = api.write(author, move |draft| {
            draft.read::<AcmeAccount>(&())?;
            draft.put(&stored);
            Ok(())
        });
        written.await.map_err(|error| Failure::of_authority(error.to_string()))?;
        tracing::info!(directory = %self.settings.directory, account = account.id(), "registered with the certificate authority");
        Ok(account)
    }

    /// Whatever is wrong before an order is one: it concerns all zones.
    fn unreachable(&self, error: &Error) -> Failure {
        let (message, _, account_lost) = words(error);
        Failure {
            account_lost,
            ..Failure::of_authority(format!(
                "the certificate authority at {}: {message}",
                self.settings.directory
            ))
        }
    }
}

/// What an error says, the type of the problem if the authority has one, and whether it does not know our account.
pub(super) fn words(error: &Error) -> (String, Option<String>, bool) {
    const ACCOUNT_LOST: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
    match error {
        Error::Api(problem) => {
            let lost = problem.r#type.as_deref() == Some(ACCOUNT_LOST);
            (said(problem), problem.r#type.clone(), lost)
        }
        error => (chain(error), None, false),
    }
}

/// What an authority's problem document says.
pub(super) fn said(problem: &instant_acme::Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_default();
    for below in &problem.subproblems {
        text.push_str(&format!("; {below}"));
    }
    match &problem.r#type {
        Some(kind) => format!("{text} ({kind})"),
        None => text,
    }
}

/// An error with what caused it.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(&format!(": {inner_text}"));
        }
        cause = inner.source();
    }
    text
}

struct Http(reqwest::Client);

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move { exchange(client, request).await.map_err(Error::Other) })
    }
}

async fn exchange(
    client: reqwest::Client,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Box<dyn StdError + Send + Sync>> {
    let (parts, mut body) = request.into_parts();
    let url = parts.uri.to_string();
    // It is one frame, or none.
    let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.transpose()?;
    let content = frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    let asked = client.request(parts.method, &url).headers(parts.headers).body(content);
    let mut answer = asked.send().await?;
    let mut content = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if content.len() + chunk.len() > limits::ACME_ANSWER_OCTETS_MAX {
            return Err(format!("{url} answered more than {} octets", limits::ACME_ANSWER_OCTETS_MAX).into());
        }
        content.extend_from_slice(&chunk);
    }
    let status = answer.status();
    let refused = status.is_client_error() || status.is_server_error();
    if refused && let Some(asked) = retry_after(answer.headers()) {
        ASKED.try_with(|cell| cell.set(Some(asked))).ok();
    }
    if refused && !is_problem(answer.headers()) {
        return Err(format!("{url} answered {status}, and not as an ACME server does").into());
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = answer.headers().clone();
    let (parts, ()) = response.into_parts();
    Ok(BytesResponse { parts, body: Box::new(Bytes::from(content)) })
}

/// Whether an error is told as RFC 8555, 6.7 has it.
fn is_problem(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/problem+json"))
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date, which is taken against the answer's own.
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text =
        |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(str::trim);
    let asked = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| httpdate::parse_http_date(text).ok();
    date(asked)?.duration_since(date(text(header::DATE)?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_asked_for_in_seconds_or_until_a_date() {
        let of = |fields: &[(header::HeaderName, &'static str)]| {
            let value = |text: &'static str| http::HeaderValue::from_static(text);
            let headers = fields.iter().map(|(name, text)| (name.clone(), value(text))).collect();
            retry_after(&headers)
        };
        let date = (header::DATE, "Thu, 27 Nov 2025 10:00:00 GMT");
        let until = (header::RETRY_AFTER, "Thu, 27 Nov 2025 10:02:00 GMT");
        assert_eq!(of(&[(header::RETRY_AFTER, "120")]), Some(Duration::from_secs(120)));
        assert_eq!(of(&[date.clone(), until.clone()]), Some(Duration::from_secs(120)));
        assert_eq!((of(&[until]), of(&[date]), of(&[(header::RETRY_AFTER, "soon")])), (None, None, None));
    }
}
