//! Queries within HTTP (RFC 8484): a stage on the edge's way, for the names of the network's name servers and of its
//! resolver.
//!
//! ```text
//!  https://NAME/dns-query ─▶ GET ?dns=BASE64URL      ─┐
//!                            POST, the query as body ─┴▶ Answerer::answer ─▶ 200, application/dns-message
//!                            GET ?name=, a resolver's ─▶ Answerer::answer ─▶ 200, application/dns-json (resolver/json.rs)
//!  TOKEN.NAME, anything else             ─▶ 404; 403, if no location has the token
//!  http://NAME/dns-query/TOKEN           ─▶ the next stage, without the token
//!  any other host, path or scheme        ─▶ the next stage
//! ```
//!
//! A resolver's locations are known by a token (`resolver/locations.rs`): `https://NAME/dns-query/TOKEN`, or
//! `https://TOKEN.NAME/dns-query`. Where there are tokens, whatever stands where one may be is taken out of the request
//! before anything else is done with it, so that no later stage, log, metric or origin is told: also of requests that are no
//! question, by a typing error, in clear, or written in another way (`/dns%2Dquery/TOKEN`, `//dns-query/TOKEN`). So no zone has a host one label below a resolver's name if that label has as many
//! octets as a token.
//!
//! What carries the request (HTTP/1.1, 2 or 3), its certificate, its bounds and its draining are the edge's. It stands
//! before the stage that looks for the host's zone: name servers' names are the network's own, whether a zone here has
//! them or not. Answers may be kept for as long as the shortest-lived record in them (RFC 8484, 5.1).

use std::{borrow::Cow, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use proxima_pipeline::{
    Body, BodyError, Decision, Exchange, Fault, Flow, Glance, Request, Response, Scheme, Sight, Stage,
};

use crate::{
    answerer::{Answerer, Reply},
    asker::{Asker, Shown, Transport},
    query::QUERY_OCTETS_MAX,
    resolver::{Recursive, json},
    respond::Answered,
    server::Server,
};

/// The stage's name.
const NAME: &str = "dns_over_https";
/// Where queries are answered.
const PATH: &str = "/dns-query";
/// What queries and answers are (RFC 8484, 6).
const MEDIA_TYPE: &str = "application/dns-message";
/// The parameter of a query in a URL (RFC 8484, 4.1).
const PARAMETER: &str = "dns=";
/// The client is none of those that may ask.
const NOT_ALLOWED: Fault =
    Fault::Forbidden("this resolver answers other networks, and who has a token of it");
/// The URL has none.
const MISSING: Fault = Fault::BadRequest("a query is missing: ?dns=, or POST one");
/// What was sent is not to be answered.
const NO_QUERY: Fault = Fault::BadRequest("that is no query");

/// Answers queries at `/dns-query` of the network's name servers and of its resolver.
pub struct DnsOverHttps {
    authority: Role<Server>,
    resolver: Option<Role<Recursive>>,
}

/// The hosts at which a role answers.
pub(crate) struct Role<A> {
    answerer: Arc<A>,
    /// Lower case; none if this is switched off.
    hosts: Box<[String]>,
    /// Whether it speaks JSON, too.
    json: bool,
}

/// What a request is to a role.
enum Sought {
    /// Somebody else's.
    Others,
    /// A question of somebody who shows this.
    Question(Shown),
    /// Nothing that is here, at a host that has a token in its name, or what may be one.
    Nothing(Shown),
    /// Somebody else's, but with a token in its path, or what may be one.
    OthersWithToken,
}

/// How an answer is written.
#[derive(Clone, Copy)]
enum Form {
    Wire,
    Json,
}

impl DnsOverHttps {
    pub(crate) fn new(authority: Role<Server>, resolver: Option<Role<Recursive>>) -> Self {
        Self { authority, resolver }
    }
}

impl<A: Answerer> Role<A> {
    pub(crate) fn new(answerer: Arc<A>, hosts: impl IntoIterator<Item = String>) -> Self {
        Self { answerer, hosts: hosts.into_iter().collect(), json: false }
    }

    /// One that speaks JSON, too.
    pub(crate) fn with_json(self) -> Self {
        Self { json: true, ..self }
    }

    fn is_at(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| **known == *host)
    }

    /// What a request to this host, with this behind [`PATH`], shows; `None` if it is somebody else's.
    fn shown(&self, host: &str, rest: &str) -> Option<Shown> {
        match rest.strip_prefix('/') {
            None if !rest.is_empty() => None,
            None if self.is_at(host) => Some(Shown::Nothing),
            None => self.answerer.shown_in_url(self.below(host)?.0),
            Some(token) => self.answerer.shown_in_url(token).filter(|_| self.is_at(host)),
        }
    }

    /// The label with which a host that is none of ours stands below one of ours, and that one.
    fn below<'h>(&self, host: &'h str) -> Option<(&'h str, &'h str)> {
        host.split_once('.').filter(|(_, above)| self.is_at(above) && !self.is_at(host))
    }

    /// What a request is.
    fn sought(&self, request: &Request) -> Sought {
        if !self.is_at(&request.host) && self.below(&request.host).is_none() {
            return Sought::Others;
        }
        let path = usual_form(request.target.path());
        let rest = path.strip_prefix(PATH);
        let asked = rest.filter(|_| request.scheme == Scheme::Https);
        if let Some(shown) = asked.and_then(|rest| self.shown(&request.host, rest)) {
            return Sought::Question(shown);
        }
        let below = self.below(&request.host).filter(|(label, _)| self.answerer.may_be_token(label));
        if let Some(shown) = below.and_then(|(token, _)| self.answerer.shown_in_url(token)) {
            return Sought::Nothing(shown);
        }
        // In clear, or in capitals: otherwise it is a question.
        let rest = path.split_at_checked(PATH.len()).filter(|(begin, _)| begin.eq_ignore_ascii_case(PATH));
        let token = rest.and_then(|(_, rest)| rest.strip_prefix('/')).filter(|_| self.is_at(&request.host));
        let may_be_one = token.is_some_and(|token| self.answerer.shown_in_url(token).is_some());
        if may_be_one { Sought::OthersWithToken } else { Sought::Others }
    }

    fn decide<'a>(&'a self, exchange: &'a mut Exchange, sought: Sought) -> Decision<'a> {
        match sought {
            Sought::Others => Decision::Now(Flow::Continue),
            Sought::OthersWithToken => {
                self.conceal(exchange);
                Decision::Now(Flow::Continue)
            }
            Sought::Nothing(shown) => {
                self.conceal(exchange);
                Decision::Now(match shown {
                    Shown::UnknownToken => Flow::Fail(NOT_ALLOWED),
                    _ => Flow::Respond(Response { status: StatusCode::NOT_FOUND, ..Response::default() }),
                })
            }
            Sought::Question(shown) => self.take(exchange, shown),
        }
    }

    /// Answers a question.
    fn take<'a>(&'a self, exchange: &'a mut Exchange, shown: Shown) -> Decision<'a> {
        if shown != Shown::Nothing {
            self.conceal(exchange);
        }
        let asker = Asker { shown, ..Asker::new(exchange.client.address.ip(), Transport::Https) };
        if !self.answerer.admits(asker) {
            self.answerer.turned_away(asker);
            return Decision::Now(Flow::Fail(NOT_ALLOWED));
        }
        match exchange.request.method {
            Method::GET | Method::HEAD => self.get(exchange, asker),
            Method::POST => Decision::Later(Box::pin(self.post(exchange, asker))),
            _ => Decision::Now(Flow::Fail(Fault::MethodNotAllowed)),
        }
    }

    /// Takes the token out of a request, with whatever else its path has.
    fn conceal(&self, exchange: &mut Exchange) {
        let request = &mut exchange.request;
        let query = request.target.query().map_or_else(String::new, |query| format!("?{query}"));
        if let Ok(target) = PathAndQuery::try_from(format!("{PATH}{query}")) {
            request.target = target;
        }
        if let Some(host) = self.below(&request.host).map(|(_, above)| Arc::<str>::from(above)) {
            if let Ok(value) = HeaderValue::try_from(&*host) {
                request.headers.insert(header::HOST, value);
            }
            request.host = host;
        }
    }

    fn get<'a>(&'a self, exchange: &'a mut Exchange, asker: Asker) -> Decision<'a> {
        let refuse = |fault| Decision::Now(Flow::Fail(fault));
        let (query, form) = match self.query(exchange.request.target.query().unwrap_or_default()) {
            Ok(query) => query,
            Err(fault) => return refuse(fault),
        };
        let mut out = Vec::new();
        match self.ask(exchange, &query, asker, &mut out) {
            Reply::Now(answered) => Decision::Now(respond(exchange, out, answered, form)),
            Reply::Later(later) => Decision::Later(Box::pin(async move {
                let found = later.await;
                respond(exchange, found.octets, found.answered, form)
            })),
            Reply::None => refuse(NO_QUERY),
        }
    }

    /// The query that a URL has in it.
    fn query(&self, parameters: &str) -> Result<(Vec<u8>, Form), Fault> {
        if parameters.split('&').any(|parameter| parameter.starts_with(PARAMETER)) || !self.json {
            return Ok((query_in(parameters)?, Form::Wire));
        }
        match json::question(parameters) {
            Some(Ok(query)) => Ok((query, Form::Json)),
            Some(Err(problem)) => Err(Fault::BadRequest(problem)),
            None => Err(MISSING),
        }
    }

    async fn post(&self, exchange: &mut Exchange, asker: Asker) -> Flow {
        let kind = exchange.request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())) {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Flow::Respond(Response { status, ..Response::default() });
        }
        let body = std::mem::take(&mut exchange.request_body);
        let query = match body.collect(QUERY_OCTETS_MAX).await {
            Ok(query) => query,
            Err(BodyError::TooLarge) => return Flow::Fail(Fault::BodyTooLarge),
            Err(BodyError::TimedOut) => return Flow::Fail(Fault::RequestTimeout),
            Err(_) => return Flow::Fail(Fault::BadRequest("the query ended early")),
        };
        let mut out = Vec::new();
        match self.ask(exchange, &query, asker, &mut out) {
            Reply::Now(answered) => respond(exchange, out, answered, Form::Wire),
            Reply::Later(later) => {
                let found = later.await;
                respond(exchange, found.octets, found.answered, Form::Wire)
            }
            Reply::None => Flow::Fail(NO_QUERY),
        }
    }

    fn ask(&self, exchange: &mut Exchange, query: &[u8], asker: Asker, out: &mut Vec<u8>) -> Reply<A::Later> {
        exchange.trace.note(NAME, || {
            self.answerer.explain(query, asker).unwrap_or_else(|| "asks who has authority".to_owned())
        });
        self.answerer.answer(query, asker, out)
    }
}

/// A path as it is usually written: octets that need not be are not encoded (RFC 3986, 6.2.2), and there are no segments that say
/// nothing. What is encoded twice is taken for what it becomes in the end: a token is to be found however it is hidden.
fn usual_form(path: &str) -> Cow<'_, str> {
    let is_usual = |path: &str| !path.contains('%') && !path.contains("//") && !path.contains("/.");
    if is_usual(path) {
        return Cow::Borrowed(path);
    }
    let decoded = decoded(path);
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/').filter(|segment| !matches!(*segment, "" | ".")) {
        match segment {
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if decoded.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    Cow::Owned(format!("/{}{end}", segments.join("/")))
}

/// What a path stands for when nothing in it is encoded any more, however often it was: one pass, whose work is bounded by the
/// path's length. What is no UTF-8 then is replaced.
fn decoded(path: &str) -> String {
    let mut octets = Vec::with_capacity(path.len());
    for octet in path.bytes() {
        octets.push(octet);
        // What is made may be the end of what stands encoded before it.
        while let Some(made) = octets.last_chunk().and_then(made_of) {
            octets.truncate(octets.len() - 3);
            octets.push(made);
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// The octet that three stand for, if they do (RFC 3986, 2.1).
fn made_of([sign, high, low]: &[u8; 3]) -> Option<u8> {
    let digit = |octet: u8| char::from(octet).to_digit(16);
    let octet = (digit(*high)? << 4) | digit(*low)?;
    u8::try_from(octet).ok().filter(|_| *sign == b'%')
}

fn respond(exchange: &mut Exchange, message: Vec<u8>, answered: Answered, form: Form) -> Flow {
    exchange.trace.note(NAME, || format!("answered {}", answered.rcode.name()));
    let (body, kind) = match form {
        Form::Wire => (message, MEDIA_TYPE),
        Form::Json => match json::answer(&message) {
            Some(body) => (body, json::MEDIA_TYPE),
            None => return Flow::Fail(Fault::Internal("an answer of ours cannot be read")),
        },
    };
    let mut response = Response { body: Body::full(body), coding_settled: true, ..Response::default() };
    let kept = format!("max-age={}", answered.ttl.unwrap_or(0));
    let kept = HeaderValue::try_from(kept).expect("letters, digits and a sign");
    response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers.insert(header::CACHE_CONTROL, kept);
    Flow::Respond(response)
}

/// The query within the query string of a URL.
///
/// # Errors
/// There is none.
pub(crate) fn query_in(parameters: &str) -> Result<Vec<u8>, Fault> {
    let given = parameters.split('&').find_map(|parameter| parameter.strip_prefix(PARAMETER));
    let query = given.ok_or(MISSING)?;
    // Four characters for three octets.
    if query.len() > QUERY_OCTETS_MAX.div_ceil(3) * 4 {
        return Err(Fault::TargetTooLong);
    }
    URL_SAFE_NO_PAD.decode(query).map_err(|_| Fault::BadRequest("the query is not base64url without padding"))
}

impl Stage for DnsOverHttps {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let request = &exchange.request;
        if let question @ Sought::Question(_) = self.authority.sought(request) {
            return self.authority.decide(exchange, question);
        }
        match &self.resolver {
            // A name server's name is no token.
            Some(resolver) => match resolver.sought(request) {
                Sought::Nothing(_) if self.authority.is_at(&request.host) => Decision::Now(Flow::Continue),
                sought => resolver.decide(exchange, sought),
            },
            None => Decision::Now(Flow::Continue),
        }
    }

    fn glance(&self, glance: &mut Glance<'_>) -> Sight {
        // However its path is written.
        let may_have_token =
            |role: &Role<Recursive>| role.is_at(glance.host) || role.below(glance.host).is_some();
        let is_ours = glance.path().starts_with(PATH) || self.resolver.as_ref().is_some_and(may_have_token);
        if is_ours { Sight::Unsure } else { Sight::Pass }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_to_its_end_in_one_pass() {
        for (path, usual) in [
            ("/dns-query", "/dns-query"),
            ("/dns%2Dquery/a%2fb", "/dns-query/a/b"),
            ("//dns-query/./x/..//token/", "/dns-query/token/"),
            ("/%64%256e%25%37%33-query", "/dns-query"),
            ("/%%36%34ns", "/dns"),
            ("/dns-query/token/%FF", "/dns-query/token/\u{fffd}"),
            ("/%2x%", "/%2x%"),
        ] {
            assert_eq!(usual_form(path), usual, "{path}");
        }
        // Decoded level by level this would take the square of its length.
        let deep = format!("/%{}41", "25".repeat(500_000));
        assert_eq!(usual_form(&deep), "/A");
    }
}
