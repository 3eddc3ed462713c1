//! Proxima.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::{HOST, LOAD_CORE, SUBJECT_CORE};
use super::{Origin, Room, Subject, nothing};
use crate::api;
use crate::process::{Server, free_address};
use crate::report::PROXIMA;

/// `proxima dev`, with a zone whose origin is ours.
pub(super) fn start(binary: &Path, origin: &Origin, home: &Path, room: Room) -> Result<Subject> {
    let (clear, tls, api) = (free_address()?, free_address()?, free_address()?);
    let (dns, admin) = (free_address()?, free_address()?);
    let data = home.join("data");
    let mut dev = Command::new(binary);
    dev.arg("dev").arg("--data").arg(&data);
    dev.args(["--cache-memory", &(room.memory_mib << 20).to_string()]);
    dev.args(["--cache-disk", &(room.disk_mib << 20).to_string()]);
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
    api::Client::new(api, LOAD_CORE, token.trim()).serve(HOST, origin.address)?;
    server.wait_until("it serves the new zone", || api::answers(LOAD_CORE, clear, HOST, "/store/1k.css"))?;
    Ok(Subject { name: PROXIMA, server, clear, tls: Some(tls), http3: true, cannot: nothing, _store: None })
}
