//! The subjects: Proxima and its peers, each configured to serve the one origin as well as it can.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::api;
use super::origin::{Origin, start_nginx};
use super::{HOST, SUBJECT_CORE};
use crate::process::{Server, free_address};
use crate::report::PROXIMA;

/// All of them, in the order in which they are shown.
pub(super) const NAMES: [&str; 3] = [PROXIMA, "nginx", "varnish"];

pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) clear: SocketAddr,
    /// `None`: the subject speaks no TLS.
    pub(super) tls: Option<SocketAddr>,
    /// What it stores, removed with it.
    _store: Option<TempDir>,
}

/// Where files lie in memory: a cache on disk would be measured against caches in memory.
const MEMORY: &str = "/dev/shm";

impl Subject {
    pub(super) fn start(name: &str, proxima: &Path, origin: &Origin, folder: &Path) -> Result<Self> {
        let home = folder.join(name);
        fs::create_dir_all(&home).with_context(|| format!("making the folder {}", home.display()))?;
        match name {
            PROXIMA => start_proxima(proxima, origin, &home),
            "nginx" => start_nginx_proxy(origin, &home),
            "varnish" => start_varnish(origin, &home),
            _ => bail!("there is no subject `{name}`; there are: {}", NAMES.join(", ")),
        }
    }
}

/// `proxima dev`, with a zone whose origin is ours.
fn start_proxima(binary: &Path, origin: &Origin, home: &Path) -> Result<Subject> {
    let (clear, tls, api) = (free_address()?, free_address()?, free_address()?);
    let (dns, admin) = (free_address()?, free_address()?);
    let data = home.join("data");
    let mut dev = Command::new(binary);
    dev.arg("dev").arg("--data").arg(&data);
    let flags = [("--http", clear), ("--https", tls), ("--dns", dns), ("--api", api), ("--admin", admin)];
    for (flag, address) in flags {
        dev.arg(flag).arg(address.to_string());
    }
    let log = home.join("log");
    let mut server = Server::start(PROXIMA, SUBJECT_CORE, &dev, &log)?;
    let ready = || fs::read_to_string(&log).is_ok_and(|log| log.lines().any(|line| line.trim() == "ready"));
    server
        .wait_until("it says `ready`", ready)
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;

    let token = fs::read_to_string(data.join("token")).context("reading the API token")?;
    api::Client::new(api, token.trim()).serve(HOST, origin.address)?;
    server.wait_until("it serves the new zone", || api::answers(clear, HOST, "/store/1k.css"))?;
    Ok(Subject { name: PROXIMA, server, clear, tls: Some(tls), _store: None })
}

/// A reverse proxy with kept connections for `/miss/`, and a cache in front of it for `/store/`.
fn start_nginx_proxy(origin: &Origin, home: &Path) -> Result<Subject> {
    let (clear, tls) = (free_address()?, free_address()?);
    let certified = rcgen::generate_simple_self_signed([HOST.to_owned()]).context("making a certificate")?;
    let (certificate, key) = (home.join("certificate.pem"), home.join("key.pem"));
    fs::write(&certificate, certified.cert.pem()).context("writing the certificate")?;
    fs::write(&key, certified.signing_key.serialize_pem()).context("writing the key")?;
    let store = tempfile::tempdir_in(MEMORY).with_context(|| format!("making a folder in {MEMORY}"))?;
    let http = format!(
        r#"
        access_log off;
        keepalive_requests 1000000000;
        proxy_cache_path {cache} levels=1:2 keys_zone=store:64m max_size=256m inactive=1h use_temp_path=off;
        upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}
        server {{
          listen {clear};
          listen {tls} ssl http2;
          ssl_certificate {certificate};
          ssl_certificate_key {key};
          proxy_http_version 1.1;
          proxy_set_header connection "";
          proxy_set_header host $host;
          proxy_set_header x-forwarded-for $proxy_add_x_forwarded_for;
          proxy_set_header x-forwarded-proto $scheme;
          proxy_buffers 16 32k;
          location / {{ proxy_pass http://origin; }}
          location /store/ {{ proxy_pass http://origin; proxy_cache store; proxy_cache_lock on; }}
        }}
        "#,
        cache = store.path().display(),
        origin = origin.address,
        certificate = certificate.display(),
        key = key.display(),
    );
    let mut server = start_nginx("nginx", SUBJECT_CORE, home, &http)?;
    server.wait_until_listening(clear)?;
    Ok(Subject { name: "nginx", server, clear, tls: Some(tls), _store: Some(store) })
}

/// In memory; passes `/miss/`, which is how varnish proxies what it is told not to store.
fn start_varnish(origin: &Origin, home: &Path) -> Result<Subject> {
    let clear = free_address()?;
    let (ip, port) = (origin.address.ip(), origin.address.port());
    let vcl = format!(
        "vcl 4.1;\nbackend default {{ .host = \"{ip}\"; .port = \"{port}\"; }}\n\
         sub vcl_recv {{ if (req.url ~ \"^/miss/\") {{ return (pass); }} }}\n"
    );
    let path = home.join("default.vcl");
    fs::write(&path, vcl).with_context(|| format!("writing {}", path.display()))?;
    let mut varnish = Command::new("varnishd");
    varnish.args(["-F", "-j", "none", "-s", "malloc,256m", "-a", &clear.to_string()]);
    varnish.arg("-f").arg(&path).arg("-n").arg(home.join("run"));
    let mut server = Server::start("varnish", SUBJECT_CORE, &varnish, &home.join("log"))?;
    server.wait_until_listening(clear)?;
    Ok(Subject { name: "varnish", server, clear, tls: None, _store: None })
}
