//! A bucket of S3 listed to its end, page by page, again and again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::keys::Authority;
use super::{Load, Target, http1::Connection};
use crate::sigv4::Asked;

/// Longer waits are a server that has died.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What a signature wants to be encoded: all but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    authority: Authority,
    #[arg(long)]
    bucket: String,
    /// How many objects there are in it: one that is not listed is an error.
    #[arg(long)]
    objects: usize,
    #[arg(long)]
    rounds: u32,
}

/// The requests are the pages, and so are the latencies.
pub(super) fn run(options: &Options) -> Result<Load> {
    let mut connection = Connection::open(options.target.address, TIMEOUT)?;
    let begun = Instant::now();
    let mut latencies_us = Vec::new();
    for _ in 0..options.rounds {
        let (mut listed, mut more) = (0, None);
        loop {
            let sent = Instant::now();
            let page = page(options, &mut connection, more.as_deref())?;
            latencies_us.push(sent.elapsed().as_secs_f64() * 1e6);
            listed += page.matches("<Key>").count();
            more = continuation(&page).map(str::to_owned);
            if more.is_none() {
                break;
            }
        }
        ensure!(listed == options.objects, "{listed} objects are listed of {}", options.objects);
    }
    Ok(Load::new(latencies_us.len() as u64, 0, begun.elapsed(), &mut latencies_us))
}

fn page(
    options: &Options,
    connection: &mut Connection<std::net::TcpStream>,
    more: Option<&str>,
) -> Result<String> {
    let (host, path) = (&options.target.host, format!("/{}", options.bucket));
    let from = more.map(|token| format!("continuation-token={}&", utf8_percent_encode(token, ENCODED)));
    let query = from.unwrap_or_default() + "list-type=2";
    let fields = options.authority.fields(&Asked { method: "GET", host, path: &path, query: &query })?;
    let mut page = Vec::new();
    let head = format!("GET {path}?{query} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    connection.exchange(&head, &[], Some(&mut page)).context("asking for a page")?;
    String::from_utf8(page).context("a page is text")
}

/// What the next page is asked for by; `None` at the end.
fn continuation(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("<NextContinuationToken>")?;
    Some(rest.split_once('<')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_how_it_goes_on_or_that_it_was_the_last() {
        let page = "<R><NextContinuationToken>a/b+c=</NextContinuationToken><Key>k</Key></R>";
        assert_eq!(continuation(page), Some("a/b+c="));
        assert_eq!(continuation("<R><IsTruncated>false</IsTruncated></R>"), None);
        assert_eq!(utf8_percent_encode("a/b+c=", ENCODED).to_string(), "a%2Fb%2Bc%3D");
    }
}
