//! `proxima dev`, started to be measured.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{SUBJECT_CORE, Server, free_address};
use crate::report::PROXIMA;

/// One that is ready.
pub(crate) struct Dev {
    pub(crate) server: Server,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) s3: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) token: String,
}

impl Dev {
    /// Starts it with what it keeps below `home`, and more arguments.
    pub(crate) fn start(binary: &Path, home: &Path, more: &[String]) -> Result<Self> {
        let (http, https, dns, api) = (free_address()?, free_address()?, free_address()?, free_address()?);
        let data = home.join("data");
        let mut dev = Command::new(binary);
        dev.arg("dev").arg("--data").arg(&data).args(more);
        let (admin, s3) = (free_address()?, free_address()?);
        let flags = [
            ("--http", http),
            ("--https", https),
            ("--dns", dns),
            ("--api", api),
            ("--admin", admin),
            ("--s3", s3),
        ];
        for (flag, address) in flags {
            dev.arg(flag).arg(address.to_string());
        }
        let log = home.join("log");
        let mut server = Server::start(PROXIMA, SUBJECT_CORE, &dev, &log)?;
        let ready =
            || fs::read_to_string(&log).is_ok_and(|log| log.lines().any(|line| line.trim() == "ready"));
        server
            .wait_until("it says `ready`", ready)
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        let token = fs::read_to_string(data.join("token")).context("reading the API token")?;
        Ok(Self { server, http, https, dns, api, s3, admin, token: token.trim().to_owned() })
    }
}
