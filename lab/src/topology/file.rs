//! The topology file as it is written: the shape that serde checks. `check` gives it its meaning.

use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;
use toml::Spanned;

use super::{Resolver, Signing, Software};

/// The whole file. Values that a check can refuse keep their place in the text (`Spanned`), for the line number.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) seed: u64,
    pub(super) network: FileNetwork,
    #[serde(default, rename = "region")]
    pub(super) regions: Vec<FileRegion>,
    #[serde(default, rename = "transit")]
    pub(super) transits: Vec<FileTransit>,
    #[serde(default, rename = "pop")]
    pub(super) pops: Vec<FilePop>,
    #[serde(default, rename = "client")]
    pub(super) clients: Vec<FileClient>,
    #[serde(default, rename = "origin")]
    pub(super) origins: Vec<FileOrigin>,
    #[serde(default, rename = "name_server")]
    pub(super) name_servers: Vec<FileNameServer>,
    #[serde(default, rename = "zone")]
    pub(super) zones: Vec<FileZone>,
    #[serde(default, rename = "link")]
    pub(super) links: Vec<FileLink>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileNetwork {
    #[serde(rename = "as")]
    pub(super) asn: Spanned<u32>,
    pub(super) log: Spanned<String>,
    pub(super) name_servers: Vec<String>,
    pub(super) anycast: Vec<FileAnycast>,
    #[serde(default)]
    pub(super) bfd: FileBfd,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAnycast {
    pub(super) prefix: Spanned<IpNet>,
    pub(super) address: Spanned<IpAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileBfd {
    pub(super) interval_ms: Spanned<u32>,
    pub(super) multiplier: Spanned<u32>,
}

impl Default for FileBfd {
    fn default() -> Self {
        Self { interval_ms: Spanned::new(0..0, 50), multiplier: Spanned::new(0..0, 4) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRegion {
    pub(super) name: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTransit {
    pub(super) name: Spanned<String>,
    #[serde(rename = "as")]
    pub(super) asn: Spanned<u32>,
    pub(super) region: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePop {
    pub(super) code: Spanned<String>,
    pub(super) region: Spanned<String>,
    pub(super) servers: Spanned<u32>,
    #[serde(default)]
    pub(super) upper_tier: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileClient {
    pub(super) name: Spanned<String>,
    pub(super) region: Spanned<String>,
    pub(super) resolver: Option<Spanned<Resolver>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileOrigin {
    pub(super) name: Spanned<String>,
    pub(super) region: Spanned<String>,
    pub(super) root: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileNameServer {
    pub(super) name: Spanned<String>,
    pub(super) region: Spanned<String>,
    pub(super) software: Software,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileZone {
    pub(super) name: Spanned<String>,
    pub(super) servers: Spanned<Vec<String>>,
    #[serde(default)]
    pub(super) signing: Signing,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLink {
    pub(super) from: Spanned<String>,
    pub(super) to: Spanned<String>,
    pub(super) delay_ms: Spanned<f64>,
    #[serde(default = "nothing")]
    pub(super) jitter_ms: Spanned<f64>,
    #[serde(default = "nothing")]
    pub(super) loss_percent: Spanned<f64>,
    pub(super) rate_mbit: Option<Spanned<f64>>,
}

fn nothing() -> Spanned<f64> {
    Spanned::new(0..0, 0.0)
}
