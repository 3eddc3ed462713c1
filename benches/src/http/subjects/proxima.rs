//! Proxima.

use std::path::Path;

use anyhow::Result;

use super::super::HOST;
use super::{Origin, Room, Subject, nothing};
use crate::api;
use crate::dev::Dev;
use crate::report::PROXIMA;

/// `proxima dev`, with a zone whose origin is ours.
pub(super) fn start(binary: &Path, origin: &Origin, home: &Path, room: Room) -> Result<Subject> {
    let cache = [("--cache-memory", room.memory_mib), ("--cache-disk", room.disk_mib)];
    let cache: Vec<String> =
        cache.iter().flat_map(|(flag, mib)| [(*flag).to_owned(), (mib << 20).to_string()]).collect();
    let Dev { mut server, http: clear, https: tls, api, token, .. } = Dev::start(binary, home, &cache)?;
    api::Client::new(api, &token).serve(HOST, origin.address)?;
    server.wait_until("it serves the new zone", || api::answers(clear, HOST, "/store/1k.css"))?;
    Ok(Subject { name: PROXIMA, server, clear, tls: Some(tls), http3: true, cannot: nothing, _store: None })
}
