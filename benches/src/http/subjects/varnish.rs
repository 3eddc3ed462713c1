//! Varnish: it speaks no TLS.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::SUBJECT_CORE;
use super::{CACHE_MIB, Origin, Subject, nothing};
use crate::process::{Server, free_address};

/// In memory; passes `/miss/`, which is how varnish proxies what it is told not to store.
pub(super) fn start(origin: &Origin, home: &Path) -> Result<Subject> {
    let clear = free_address()?;
    let (ip, port) = (origin.address.ip(), origin.address.port());
    let vcl = format!(
        "vcl 4.1;\nbackend default {{ .host = \"{ip}\"; .port = \"{port}\"; }}\n\
         sub vcl_recv {{ if (req.url ~ \"^/miss/\") {{ return (pass); }} }}\n"
    );
    let path = home.join("default.vcl");
    fs::write(&path, vcl).with_context(|| format!("writing {}", path.display()))?;
    let mut varnish = Command::new("varnishd");
    varnish.args(["-F", "-j", "none", "-s", &format!("malloc,{CACHE_MIB}m"), "-a", &clear.to_string()]);
    varnish.arg("-f").arg(&path).arg("-n").arg(home.join("run"));
    let mut server = Server::start("varnish", SUBJECT_CORE, &varnish, &home.join("log"))?;
    server.wait_until_listening(clear)?;
    Ok(Subject { name: "varnish", server, clear, tls: None, cannot: nothing, _store: None })
}
