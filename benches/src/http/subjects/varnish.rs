//! Varnish: it speaks no TLS.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::super::SUBJECT_CORE;
use super::{Origin, Room, Subject, nothing};
use crate::process::{self, Server, free_address};

/// In memory; passes `/miss/`, which is how varnish proxies what it is told not to store.
pub(super) fn start(origin: &Origin, home: &Path, room: Room) -> Result<Subject> {
    let clear = free_address()?;
    let (ip, port) = (origin.address.ip(), origin.address.port());
    let vcl = format!(
        "vcl 4.1;\nbackend default {{ .host = \"{ip}\"; .port = \"{port}\"; }}\n\
         sub vcl_recv {{ if (req.url ~ \"^/miss/\") {{ return (pass); }} }}\n"
    );
    let path = home.join("default.vcl");
    process::write(&path, vcl)?;
    let mut varnish = Command::new("varnishd");
    let memory = format!("malloc,{}m", room.memory_mib);
    varnish.args(["-F", "-j", "none", "-s", &memory, "-a", &clear.to_string()]);
    varnish.arg("-f").arg(&path).arg("-n").arg(home.join("run"));
    let mut server = Server::start("varnish", SUBJECT_CORE, &varnish, &home.join("log"))?;
    server.wait_until_listening(clear)?;
    Ok(Subject { name: "varnish", server, clear, tls: None, http3: false, cannot: nothing, _store: None })
}
