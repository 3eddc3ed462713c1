//! The one place where a fault becomes an HTTP answer: a page for people, JSON for programs, a line for the rest.

use http::{HeaderValue, header};
use serde::Serialize;

use crate::{Blame, Body, Exchange, Fault, Response};

/// Which form the client would rather have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Json,
    Text,
}

impl Form {
    /// The first of our forms that `Accept` names (RFC 9110, 12.5.1); quality values between them do not matter to an
    /// error page.
    fn wanted(exchange: &Exchange) -> Self {
        let accept =
            exchange.request.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
        let named = accept.split(',').filter_map(|range| match range.split(';').next()?.trim() {
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "application/json" | "application/problem+json" => Some(Self::Json),
            "text/plain" => Some(Self::Text),
            _ => None,
        });
        named.into_iter().next().unwrap_or(Self::Text)
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/problem+json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// RFC 9457, with what our users look for.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: String,
    code: u16,
    name: &'static str,
    blame: &'static str,
    retry: bool,
    ray: String,
}

/// The answer for what failed. It is never stored by a cache, says whose fault it was, and names the ray.
pub fn answer(fault: &Fault, exchange: &Exchange) -> Response {
    let form = Form::wanted(exchange);
    let status = fault.status();
    let ray = exchange.ray.to_string();
    let text = match form {
        Form::Html => page(fault, exchange, &ray),
        Form::Json => {
            let problem = Problem {
                title: title(fault),
                status: status.as_u16(),
                detail: fault.to_string(),
                code: fault.code(),
                name: fault.name(),
                blame: blame(fault),
                retry: fault.retry(),
                ray,
            };
            serde_json::to_string(&problem).unwrap_or_default()
        }
        Form::Text => format!("error {}: {fault}\nray {ray}\n", fault.code()),
    };
    let mut response = Response { status, body: Body::full(text), ..Response::default() };
    response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    if fault.retry() {
        response.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

fn blame(fault: &Fault) -> &'static str {
    match fault.blame() {
        Blame::Client => "client",
        Blame::Origin => "origin",
        Blame::Proxima => "proxima",
    }
}

/// The page's heading: the names under which operators know these statuses.
fn title(fault: &Fault) -> &'static str {
    match fault {
        Fault::WorkerThrew => return "Worker threw exception",
        Fault::WorkerExceeded(_) | Fault::WorkerLockedOut { .. } => return "Worker exceeded resource limits",
        _ => {}
    }
    match fault.status().as_u16() {
        520 => "Web server is returning an unknown error",
        521 => "Web server is down",
        522 => "Connection timed out",
        523 => "Origin is unreachable",
        524 => "A timeout occurred",
        525 => "SSL handshake failed",
        526 => "Invalid SSL certificate",
        530 => "The site cannot be reached through this network",
        508 => "Loop detected",
        _ => fault.status().canonical_reason().unwrap_or("Error"),
    }
}

fn page(fault: &Fault, exchange: &Exchange, ray: &str) -> String {
    let mark = |blamed: Blame| if fault.blame() == blamed { ("bad", "failed") } else { ("good", "working") };
    let (you, you_word) = mark(Blame::Client);
    let (proxima, proxima_word) = mark(Blame::Proxima);
    let (origin, origin_word) = mark(Blame::Origin);
    let code = fault.code();
    let title = title(fault);
    let host = escape(&exchange.request.host);
    let detail = escape(&fault.to_string());
    let pop = exchange.ray.pop();
    let at = exchange.received_at;
    let again = if fault.retry() { "<p>Trying again in a few seconds may help.</p>" } else { "" };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{code}: {title}</title><style>\
         body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:10vh auto;padding:0 1rem;color:#222;\
         background:#fff}}h1{{font-size:1.6rem}}ol{{display:flex;gap:1rem;list-style:none;padding:0}}\
         li{{flex:1;border-top:4px solid;padding:.5rem 0}}.good{{border-color:#2a9d5c}}.bad{{border-color:#c8323c}}\
         small{{color:#666}}@media(prefers-color-scheme:dark){{body{{background:#16181c;color:#ddd}}}}\
         </style></head><body><h1>{title} <small>error {code}</small></h1><p>{host}: {detail}.</p>{again}\
         <ol><li class=\"{you}\">You<br><small>{you_word}</small></li>\
         <li class=\"{proxima}\">{pop}<br><small>{proxima_word}</small></li>\
         <li class=\"{origin}\">{host}<br><small>{origin_word}</small></li></ol>\
         <p><small>Ray {ray} &middot; {at}</small></p></body></html>\n"
    )
}

/// Text made safe to stand in HTML.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            plain => safe.push(plain),
        }
    }
    safe
}
