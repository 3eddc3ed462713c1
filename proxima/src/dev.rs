//! `proxima dev`: one server on loopback, without root, with everything on.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use proxima_chassis::NodeConfig;

use crate::{ca, node};

/// One server on loopback.
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Where it keeps its state.
    #[arg(long, default_value_os_t = default_data_dir(), value_name = "DIR")]
    data: PathBuf,
    /// HTTP in clear.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    http: SocketAddr,
    /// HTTP over TLS.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    https: SocketAddr,
    /// DNS, by UDP and TCP.
    #[arg(long, default_value = "127.0.0.1:5300", value_name = "ADDRESS")]
    dns: SocketAddr,
    /// The API.
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDRESS")]
    api: SocketAddr,
    /// S3, in clear.
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS")]
    s3: SocketAddr,
    /// Octets of memory for the cache.
    #[arg(long, default_value_t = CACHE_MEMORY_BYTES, value_name = "OCTETS")]
    cache_memory: u64,
    /// Octets of the disk for the cache; 0 is none.
    #[arg(long, default_value_t = CACHE_DISK_BYTES, value_name = "OCTETS")]
    cache_disk: u64,
    /// Health, readiness, metrics and status.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    admin: SocketAddr,
    /// The program that runs Workers; looked for in PATH unless told otherwise.
    #[arg(long, env = "PROXIMA_WORKERD", value_name = "FILE")]
    workerd: Option<PathBuf>,
    /// Where requests are logged, a line of JSON each, with their queries: a file, or `stdout`.
    #[arg(long, value_name = "FILE")]
    request_log: Option<PathBuf>,
}

/// What the cache may take of memory unless told otherwise.
const CACHE_MEMORY_BYTES: u64 = 64 << 20;
/// And of the disk: enough for the sites of one developer.
const CACHE_DISK_BYTES: u64 = 1 << 30;

/// What the index of objects may have of address space: some hundred thousand objects.
const INDEX_BYTES: u64 = 1 << 30;

/// Where `proxima dev` keeps its state unless told otherwise, and where the client looks for a token.
pub(crate) fn default_data_dir() -> PathBuf {
    let share = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    share.or_else(home).unwrap_or_else(|| PathBuf::from(".")).join("proxima-dev")
}

impl DevArgs {
    /// The same as a node's configuration would say.
    fn config(&self, key: &std::path::Path) -> anyhow::Result<NodeConfig> {
        let text = |path: &std::path::Path| -> anyhow::Result<String> {
            Ok(toml::Value::from(path.to_str().context("a path is not UTF-8")?).to_string())
        };
        let (http, https, dns, api, admin) = (self.http, self.https, self.dns, self.api, self.admin);
        let s3 = self.s3;
        let addresses = toml::Value::from(vec![http.ip().to_string()]);
        let request_log = match &self.request_log {
            Some(path) => format!("[edge.request_log]\nquery = true\npath = {}\n", text(path)?),
            None => String::new(),
        };
        let workerd = match &self.workerd {
            Some(path) => format!("workerd = {}\n", text(&std::path::absolute(path)?)?),
            None => String::new(),
        };
        let config = format!(
            "[node]\nname = \"dev\"\npop = \"DEV\"\nregion = \"local\"\ndata_dir = {data}\nkey_file = {key}\n\
             admin = \"{admin}\"\ndrain_seconds = 5\n\
             [network]\nanycast_addresses = {addresses}\nname_servers = [\"ns1.proxima.test\", \"ns2.proxima.test\"]\n\
             [dns]\nlisten = [\"{dns}\"]\nhttps = true\nrate_limit_exempt = [\"127.0.0.0/8\", \"::1/128\"]\n\
             [edge]\nhttp = [\"{http}\"]\nhttps = [\"{https}\"]\nallow_private_origins = true\n\
             {request_log}\
             [workers]\nisolation = \"available\"\n{workerd}\
             [cache]\nmemory_bytes_max = {memory}\ndisk_bytes_max = {disk}\n\
             [r2]\nlisten = [\"{s3}\"]\nindex_bytes_max = {INDEX_BYTES}\n\
             [control]\nlisten = [\"{api}\"]\nactivation = \"trust\"\nallow_private_peers = true\n",
            memory = self.cache_memory,
            disk = self.cache_disk,
            data = text(&self.data)?,
            key = text(key)?,
        );
        Ok(NodeConfig::parse(&config)?)
    }
}

pub(crate) fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&args.data)
        .with_context(|| format!("making the data folder {}", args.data.display()))?;
    let key = ca::write_at_rest_key(&args.data)?;
    let config = args.config(&key)?;
    node::serve(config, |node| {
        let data = args.data.display();
        let nth_at = |service, asked, nth| node.listeners.tcp_address(service, asked, nth).unwrap_or(asked);
        let at = |service, asked| nth_at(service, asked, 0);
        println!("HTTP     http://{}", at("edge", args.http));
        // Asked for after HTTP; at the same address only where the kernel chooses both ports.
        let https = nth_at("edge", args.https, usize::from(args.http == args.https));
        println!("HTTPS    https://{https}   (authority: {data}/ca.pem)");
        println!("DNS      {}   (UDP and TCP)", args.dns);
        println!("API      http://{}/client/v4   (token: {data}/token)", at("control", args.api));
        println!(
            "S3       http://{}   (access key: the token's id, secret key: its SHA-256)",
            at("r2", args.s3)
        );
        println!("admin    http://{}/status   (also /metrics, /healthz, /readyz)", at("admin", args.admin));
        println!("ready");
    })
}
