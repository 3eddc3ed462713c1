//! `[r2]` of `node.toml`.

use std::{fmt, fs, net::SocketAddr, path::PathBuf};

use proxima_chassis::{ConfigError, NodeConfig};
use proxima_store::FREE_OCTETS_MIN;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use crate::{SERVICE, s3::name_of, store::EngineSettings};

/// The least that the index is worth anything with.
const INDEX_BYTES_MIN: u64 = 1 << 20;
/// More connections than one server has descriptors for.
const CONNECTIONS_MAX: usize = 65_536;
/// More requests than a server has threads and memory for: each may hold some 512 KiB.
const REQUESTS_MAX: usize = 16_384;
/// More names than an endpoint has: each is compared with the host of every request.
const HOSTS_MAX: usize = 16;

/// `[r2]`. [`Default`] is what a node has that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct R2Config {
    /// Where S3 is spoken, in clear.
    pub listen: Vec<SocketAddr>,
    /// Where S3 is spoken by TLS: under the certificates of the network's zones, and under the node's own for all other names.
    pub https: Vec<SocketAddr>,
    /// The endpoint's names, below which buckets are hosts, `BUCKET.HOST`, too. One has to be known where it has three labels or more:
    /// without it they may begin with a bucket's name.
    #[serde(deserialize_with = "one_or_several")]
    pub host: Vec<String>,
    /// Octets of the index of objects: address space, of which the disk has what is used.
    pub index_bytes_max: u64,
    /// Octets of the disk that are left free: with less, nothing large is taken any more.
    pub free_bytes_min: u64,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections of one client at a time: of one IPv4 address, or one IPv6 network of 64 bits.
    pub connections_per_client_max: usize,
    /// Requests at a time.
    pub requests_max: usize,
    /// Requests of one client at a time.
    pub requests_per_client_max: usize,
    /// The S3 engine in which octets of more than a row takes lie; without it they lie in files.
    pub blobs: Option<BlobsConfig>,
}

/// `[r2.blobs]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobsConfig {
    /// The engine's URL.
    pub endpoint: String,
    /// The bucket in it.
    pub bucket: String,
    /// For which region requests are signed.
    #[serde(default = "region")]
    pub region: String,
    /// Who asks.
    pub access_key: String,
    /// The file with the key to that.
    pub secret_key_file: PathBuf,
    /// What names begin with, of all servers that have blobs in this bucket.
    #[serde(default)]
    pub prefix: String,
}

/// A name, or a list of names.
fn one_or_several<'de, D: Deserializer<'de>>(given: D) -> Result<Vec<String>, D::Error> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of a host, or a list of such names")
        }

        fn visit_str<E>(self, name: &str) -> Result<Vec<String>, E> {
            Ok(vec![name.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Vec<String>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(names))
        }
    }
    given.deserialize_any(Names)
}

/// What is wrong with the endpoint's names.
fn check_hosts(hosts: &[String]) -> Result<(), String> {
    if hosts.len() > HOSTS_MAX {
        return Err(format!("host: give {HOSTS_MAX} names at the most"));
    }
    if let Some(host) = hosts.iter().find(|host| s3s::host::SingleDomain::new(host).is_err()) {
        return Err(format!("host: {host} is not the name of a host"));
    }
    let names: Vec<_> = hosts.iter().map(|host| name_of(host)).collect();
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            return Err(format!("host: {name} is there twice"));
        }
        let is_below =
            |other: &&String| name.strip_suffix(other.as_str()).is_some_and(|name| name.ends_with('.'));
        if let Some(other) = names.iter().find(is_below) {
            return Err(format!(
                "host: {name} lies below {other}, where it would be a bucket's name: give one of them"
            ));
        }
    }
    Ok(())
}

/// What engines that have none take.
fn region() -> String {
    "us-east-1".to_owned()
}

impl BlobsConfig {
    /// Reads the key.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn load(&self, node: &NodeConfig) -> Result<EngineSettings, ConfigError> {
        let path = node.path(&self.secret_key_file);
        let refuse = |problem: String| ConfigError::Section { section: SERVICE.to_owned(), problem };
        let read = fs::read_to_string(&path);
        let read = read
            .map_err(|error| refuse(format!("blobs.secret_key_file: reading {}: {error}", path.display())))?;
        let secret_key = read.trim();
        if secret_key.is_empty() {
            return Err(refuse(format!("blobs.secret_key_file: {} is empty", path.display())));
        }
        Ok(EngineSettings {
            endpoint: self.endpoint.clone(),
            bucket: self.bucket.clone(),
            region: self.region.clone(),
            access_key: self.access_key.clone(),
            secret_key: secret_key.to_owned(),
            prefix: self.prefix.trim_matches('/').to_owned(),
            node: node.node.name.to_string(),
        })
    }

    /// What is wrong with it by itself, and what to give instead.
    fn check(&self) -> Result<(), String> {
        let url = self.endpoint.parse::<http::Uri>().ok();
        let is_engine = |url: &http::Uri| {
            matches!(url.scheme_str(), Some("http" | "https")) && url.path() == "/" && url.query().is_none()
        };
        if !url.is_some_and(|url| is_engine(&url)) {
            return Err(format!("endpoint: {} is no URL such as https://s3.example.com", self.endpoint));
        }
        for (what, value) in
            [("bucket", &self.bucket), ("region", &self.region), ("access_key", &self.access_key)]
        {
            if value.is_empty() {
                return Err(format!("{what}: give one"));
            }
        }
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_./".contains(&octet);
        if !self.prefix.bytes().all(is_plain) || self.prefix.contains("..") || self.prefix.contains("//") {
            return Err("prefix: letters, digits, '-', '_', '.' and '/' alone".to_owned());
        }
        Ok(())
    }
}

impl Default for R2Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            https: Vec::new(),
            host: Vec::new(),
            // Some ten million objects.
            index_bytes_max: 16 << 30,
            // For the index itself, and for the log, which may lie on the same disk.
            free_bytes_min: FREE_OCTETS_MIN,
            connections_max: 1_024,
            // More than tools for many files open; four clients that hold all of theirs keep the others out.
            connections_per_client_max: 256,
            requests_max: 512,
            // As with connections.
            requests_per_client_max: 128,
            blobs: None,
        }
    }
}

impl R2Config {
    /// Reads and checks the table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(node: &NodeConfig) -> Result<Self, ConfigError> {
        let config: Self = node.service(SERVICE)?;
        let refuse = |problem: String| Err(ConfigError::Section { section: SERVICE.to_owned(), problem });
        if config.index_bytes_max < INDEX_BYTES_MIN || usize::try_from(config.index_bytes_max).is_err() {
            return refuse(format!("index_bytes_max: give {INDEX_BYTES_MIN} or more"));
        }
        if !(1..=CONNECTIONS_MAX).contains(&config.connections_max) {
            return refuse(format!("connections_max: give 1 to {CONNECTIONS_MAX}"));
        }
        if config.connections_per_client_max == 0 {
            return refuse("connections_per_client_max: give 1 or more".to_owned());
        }
        if !(1..=REQUESTS_MAX).contains(&config.requests_max) {
            return refuse(format!("requests_max: give 1 to {REQUESTS_MAX}"));
        }
        if config.requests_per_client_max == 0 {
            return refuse("requests_per_client_max: give 1 or more".to_owned());
        }
        if let Some(blobs) = &config.blobs {
            blobs.check().or_else(|problem| refuse(format!("blobs.{problem}")).map(drop))?;
        }
        check_hosts(&config.host).or_else(|problem| refuse(problem).map(drop))?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<R2Config, String> {
        let node = "[node]\nname = \"a\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = \"d\"\nkey_file = \"k\"\n\
                    [network]\n[r2]\n";
        let config = NodeConfig::parse(&format!("{node}{text}")).map_err(|error| error.to_string())?;
        R2Config::of(&config).map_err(|error| error.to_string())
    }

    const BLOBS: &str = "[r2.blobs]\nendpoint = \"http://127.0.0.1:3900\"\nbucket = \"blobs\"\naccess_key = \"k\"\n\
                         secret_key_file = \"secret\"\n";

    #[test]
    fn an_engine_is_one_that_can_be_asked() {
        let blobs = read(BLOBS).unwrap().blobs.unwrap();
        assert_eq!((blobs.region.as_str(), blobs.prefix.as_str()), ("us-east-1", ""));
        for (text, instead, told) in [
            ("http://127.0.0.1:3900", "127.0.0.1:3900", "blobs.endpoint: 127.0.0.1:3900"),
            ("http://127.0.0.1:3900", "ftp://a", "blobs.endpoint: ftp://a"),
            ("http://127.0.0.1:3900", "http://a/b", "blobs.endpoint: http://a/b"),
            ("\"blobs\"", "\"\"", "blobs.bucket: give one"),
            ("\"k\"", "\"\"", "blobs.access_key: give one"),
            ("bucket =", "prefix = \"a b\"\nbucket =", "blobs.prefix: letters"),
            ("bucket =", "prefix = \"../a\"\nbucket =", "blobs.prefix: letters"),
            ("bucket =", "secret = \"x\"\nbucket =", "unknown field `secret`"),
            ("bucket = \"blobs\"\n", "", "missing field `bucket`"),
        ] {
            let error = read(&BLOBS.replace(text, instead)).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_engines_key_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(
            at("node.toml"),
            format!("[node]\nname = \"a\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = \"d\"\nkey_file = \"k\"\n{BLOBS}prefix = \"/x/\"\n"),
        )
        .unwrap();
        let node = NodeConfig::load(&at("node.toml")).unwrap();
        let load = || R2Config::of(&node).unwrap().blobs.unwrap().load(&node);
        assert!(load().err().unwrap().to_string().contains("blobs.secret_key_file: reading"));
        fs::write(at("secret"), "\n").unwrap();
        assert!(load().err().unwrap().to_string().contains("is empty"));
        fs::write(at("secret"), "the key\n").unwrap();
        let settings = load().unwrap();
        assert_eq!((settings.secret_key.as_str(), settings.prefix.as_str()), ("the key", "x"));
        assert_eq!(settings.node, "a");
    }

    #[test]
    fn what_could_not_work_is_told() {
        assert_eq!(read(""), Ok(R2Config::default()));
        for (text, told) in [
            ("index_bytes_max = 1048575", "index_bytes_max: give 1048576"),
            ("connections_max = 0", "connections_max: give 1"),
            ("connections_max = 65537", "connections_max: give 1"),
            ("connections_per_client_max = 0", "connections_per_client_max: give 1"),
            ("requests_max = 0", "requests_max: give 1"),
            ("requests_max = 16385", "requests_max: give 1"),
            ("requests_per_client_max = 0", "requests_per_client_max: give 1"),
            ("host = \"a b\"", "host: a b is not"),
            ("host = \"\"", "host:  is not"),
            ("host = 1", "expected the name of a host, or a list of such names"),
            ("host = [1]", "expected a string"),
            ("host = [\"s3.internal\", \"a..b\"]", "host: a..b is not"),
            ("host = [\"s3.internal\", \"S3.Internal:9000\"]", "host: s3.internal is there twice"),
            (
                "host = [\"eu.s3.internal\", \"s3.internal:9000\"]",
                "host: eu.s3.internal lies below s3.internal,",
            ),
            (
                "host = [\"s3.internal\", \"a.eu.s3.internal\"]",
                "host: a.eu.s3.internal lies below s3.internal,",
            ),
            ("hosts = \"x\"", "unknown field `hosts`"),
        ] {
            let error = read(text).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
        assert!(read("listen = [\"[::1]:9000\"]\nconnections_max = 65536").is_ok());
    }

    #[test]
    fn an_endpoint_has_no_name_or_one_or_several() {
        let hosts = |text: &str| read(&format!("host = {text}")).map(|config| config.host);
        assert_eq!(hosts("[]"), Ok(Vec::new()));
        assert_eq!(hosts("\"s3.example.com:9000\""), Ok(vec!["s3.example.com:9000".to_owned()]));
        let both = ["s3.corp.example", "as3.corp.example"].map(str::to_owned);
        assert_eq!(hosts("[\"s3.corp.example\", \"as3.corp.example\"]"), Ok(both.to_vec()));
        let many = |count: usize| {
            let names: Vec<_> = (0..count).map(|at| format!("\"s3-{at}.example\"")).collect();
            hosts(&format!("[{}]", names.join(","))).map(|hosts| hosts.len())
        };
        assert_eq!(many(16), Ok(16));
        assert!(many(17).is_err_and(|error| error.contains("host: give 16 names at the most")));
    }
}
