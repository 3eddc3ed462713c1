//! Requests over connections of HTTP/3, by quinn and the `h3` crate: neither is how Proxima speaks HTTP/3 above QUIC.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes};
use clap::Args;
use http::Request;
use quinn::Endpoint;
use quinn::crypto::rustls::QuicClientConfig;
use tokio::task::JoinSet;

use super::{Load, Target};
use crate::trust::client_config;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    #[arg(long)]
    path: String,
    /// Over all streams together.
    #[arg(long)]
    requests: u64,
    /// Over one connection: servers end them after some thousands.
    #[arg(long)]
    per_connection: u64,
    /// Streams at once.
    #[arg(long)]
    streams: u64,
}

type Sender = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

pub(super) fn run(options: &Options) -> Result<Load> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut left, mut latencies_us, mut took) = (options.requests, Vec::new(), Duration::ZERO);
    while left > 0 {
        let now = left.min(options.per_connection.max(1));
        took += runtime.block_on(connection(options, now, &mut latencies_us))?;
        left -= now;
    }
    Ok(Load::new(options.requests, 0, took, &mut latencies_us))
}

/// So many requests over one connection.
async fn connection(options: &Options, requests: u64, latencies_us: &mut Vec<f64>) -> Result<Duration> {
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).context("opening a socket")?;
    let tls = QuicClientConfig::try_from(client_config(&["h3"])?).context("TLS for QUIC")?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    let connection = endpoint.connect(options.target.address, &options.target.host)?.await?;
    let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
    let driven =
        tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
    let took = ask(options, &sender, requests, latencies_us).await;
    driven.abort();
    took
}

/// Streams take their requests from one count until it is used up.
async fn ask(
    options: &Options,
    sender: &Sender,
    requests: u64,
    latencies_us: &mut Vec<f64>,
) -> Result<Duration> {
    let left = Arc::new(AtomicU64::new(requests));
    let url = format!("https://{}{}", options.target.host, options.path);
    let begun = Instant::now();
    let mut streams = JoinSet::new();
    for _ in 0..options.streams {
        let (mut sender, left, url) = (sender.clone(), Arc::clone(&left), url.clone());
        streams.spawn(async move {
            let mut latencies_us = Vec::new();
            let take = |left: u64| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                let asked = Instant::now();
                get(&mut sender, &url).await?;
                latencies_us.push(asked.elapsed().as_secs_f64() * 1e6);
            }
            anyhow::Ok(latencies_us)
        });
    }
    while let Some(stream) = streams.join_next().await {
        latencies_us.append(&mut stream??);
    }
    Ok(begun.elapsed())
}

/// h3 says itself when a body is shorter than announced.
async fn get(sender: &mut Sender, url: &str) -> Result<()> {
    let mut stream = sender.send_request(Request::get(url).body(())?).await?;
    stream.finish().await?;
    let answer = stream.recv_response().await?;
    ensure!(answer.status() == 200, "the answer is no 200: {}", answer.status());
    let announced = answer.headers().get(http::header::CONTENT_LENGTH);
    let announced: Option<usize> = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    let mut read = 0;
    while let Some(mut data) = stream.recv_data().await? {
        read += data.remaining();
        data.advance(data.remaining());
    }
    ensure!(announced == Some(read), "{read} octets came of {announced:?}");
    Ok(())
}
