//! Caddy: Debian's has no cache, so its hits are files that it serves itself, which is the least that a hit can be.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::{HOST, SUBJECT_CORE};
use super::{Certified, Origin, Subject};
use crate::process::{self, Server, free_address};

/// A reverse proxy for `/miss/`, a file server over the origin's own files for `/store/`.
pub(super) fn start(origin: &Origin, home: &Path) -> Result<Subject> {
    let (clear, tls) = (free_address()?, free_address()?);
    let certified = Certified::make(home)?;
    let site = format!(
        "handle /store/* {{\n root * {files}\n file_server\n}}\nhandle {{\n reverse_proxy {origin}\n}}\n",
        files = origin.files.display(),
        origin = origin.address,
    );
    let text = format!(
        "{{\n admin off\n auto_https off\n skip_install_trust\n default_sni {HOST}\n}}\n\
         http://{HOST}:{clear_port} {{\n bind {ip}\n {site}}}\n\
         https://{HOST}:{tls_port} {{\n bind {ip}\n tls {certificate} {key}\n {site}}}\n",
        clear_port = clear.port(),
        tls_port = tls.port(),
        ip = clear.ip(),
        certificate = certified.certificate.display(),
        key = certified.key.display(),
    );
    let path = home.join("Caddyfile");
    process::write(&path, text)?;
    let mut caddy = Command::new("env");
    // One processor for its goroutines, as for the others.
    caddy.arg("GOMAXPROCS=1").arg(format!("HOME={}", home.display())).arg("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(&path);
    let mut server = Server::start("caddy", SUBJECT_CORE, &caddy, &home.join("log"))?;
    server
        .wait_until_listening(clear)
        .with_context(|| fs::read_to_string(home.join("log")).unwrap_or_default())?;
    Ok(Subject { name: "caddy", server, clear, tls: Some(tls), http3: true, cannot, _store: None })
}

fn cannot(case: &str) -> Option<&'static str> {
    case.ends_with("-stored").then_some("it has no cache to store in")
}
