//! HAProxy: its cache is made for small objects, and speaks of a hit by not asking the origin.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::super::SUBJECT_CORE;
use super::{Certified, Origin, Room, Subject};
use crate::process::{self, Server, free_address};

/// In memory, of objects up to 1 MiB (its most is half of the cache, and its buffers have to take them).
pub(super) fn start(origin: &Origin, home: &Path, room: Room) -> Result<Subject> {
    let (clear, tls) = (free_address()?, free_address()?);
    let (certified, mib) = (Certified::make(home)?, room.memory_mib);
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\n  tune.bufsize 32768\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
         http-reuse always\n\
         cache store\n  total-max-size {mib}\n  max-object-size 1048576\n  max-age 3600\n\
         frontend web\n  bind {clear}\n  bind {tls} ssl crt {both} alpn h2,http/1.1\n  \
         acl store path_beg /store/\n  http-request cache-use store if store\n  \
         http-response cache-store store\n  default_backend origin\n\
         backend origin\n  option forwardfor\n  server origin {origin} pool-max-conn 64\n",
        both = certified.both.display(),
        origin = origin.address,
    );
    let path = home.join("haproxy.cfg");
    process::write(&path, text)?;
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-db").arg("-f").arg(&path);
    let mut server = Server::start("haproxy", SUBJECT_CORE, &haproxy, &home.join("log"))?;
    server.wait_until_listening(clear)?;
    Ok(Subject { name: "haproxy", server, clear, tls: Some(tls), http3: false, cannot, _store: None })
}

fn cannot(case: &str) -> Option<&'static str> {
    case.contains("10m").then_some("its cache takes no object of this size")
}
