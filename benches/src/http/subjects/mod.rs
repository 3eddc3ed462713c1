//! The subjects: Proxima and its peers, each configured to serve the one origin as well as it can: kept connections to it
//! for `/miss/`, a cache in memory for `/store/`, one process or thread for the one core.

mod caddy;
mod haproxy;
mod nginx;
mod proxima;
mod trafficserver;
mod varnish;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::HOST;
use super::origin::Origin;
use crate::process::Server;
use crate::report::PROXIMA;

/// All of them, in the order in which they are shown.
pub(super) const NAMES: [&str; 6] = [PROXIMA, "nginx", "varnish", "haproxy", "trafficserver", "caddy"];

/// What a subject's cache may take, in MiB.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) memory_mib: u64,
    /// 0: memory alone. Who keeps files has them in a file system in memory then.
    pub(super) disk_mib: u64,
}

impl Room {
    /// All in memory.
    pub(super) const MEMORY: Self = Self { memory_mib: 256, disk_mib: 0 };

    /// For a subject that keeps files, and how much of them.
    fn files(self, home: &Path) -> Result<(TempDir, u64)> {
        let (folder, mib) = match self.disk_mib {
            0 => (Path::new(MEMORY), self.memory_mib),
            disk => (home, disk),
        };
        let files = tempfile::tempdir_in(folder)
            .with_context(|| format!("making a folder in {}", folder.display()))?;
        Ok((files, mib))
    }
}

pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) clear: SocketAddr,
    /// `None`: the subject speaks no TLS.
    pub(super) tls: Option<SocketAddr>,
    /// Whether HTTP/3 is spoken at that address.
    pub(super) http3: bool,
    /// Why a case is not for it, by the case's name: none of these is a measurement of what the case says.
    pub(super) cannot: fn(case: &str) -> Option<&'static str>,
    /// What it stores, removed with it.
    _store: Option<TempDir>,
}

/// Where files lie in memory: a cache on disk would be measured against caches in memory.
const MEMORY: &str = "/dev/shm";

impl Subject {
    pub(super) fn start(
        name: &str,
        proxima: &Path,
        origin: &Origin,
        folder: &Path,
        room: Room,
    ) -> Result<Self> {
        let home = folder.join(name);
        fs::create_dir_all(&home).with_context(|| format!("making the folder {}", home.display()))?;
        match name {
            PROXIMA => proxima::start(proxima, origin, &home, room),
            "nginx" => nginx::start(origin, &home, room),
            "varnish" => varnish::start(origin, &home, room),
            "haproxy" => haproxy::start(origin, &home, room),
            "trafficserver" => trafficserver::start(origin, &home, room),
            "caddy" => caddy::start(origin, &home),
            _ => bail!("there is no subject `{name}`; there are: {}", NAMES.join(", ")),
        }
    }
}

/// A certificate (ECDSA P-256) and its key, as files.
struct Certified {
    certificate: PathBuf,
    key: PathBuf,
    /// Both in one.
    both: PathBuf,
}

impl Certified {
    fn make(home: &Path) -> Result<Self> {
        let certified =
            rcgen::generate_simple_self_signed([HOST.to_owned()]).context("making a certificate")?;
        let (certificate, key) = (home.join("certificate.pem"), home.join("key.pem"));
        let (public, secret) = (certified.cert.pem(), certified.signing_key.serialize_pem());
        fs::write(&certificate, &public).context("writing the certificate")?;
        fs::write(&key, &secret).context("writing the key")?;
        let both = home.join("both.pem");
        fs::write(&both, public + &secret).context("writing the certificate and its key")?;
        Ok(Self { certificate, key, both })
    }
}

/// For whom no case is impossible.
fn nothing(_: &str) -> Option<&'static str> {
    None
}
