//! `[tiers]` of `node.toml`.

use std::{collections::HashSet, net::SocketAddr};

use proxima_chassis::{ConfigError, NodeConfig};
use proxima_model::{NodeName, PopCode, RegionName};
use serde::Deserialize;

use crate::SERVICE;

/// Servers of a network.
pub const SERVERS_MAX: usize = 4_096;
/// Addresses to listen at.
const LISTEN_MAX: usize = 16;

/// `[tiers]`. Without servers, every server asks the origin for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TiersConfig {
    /// Where other servers ask this one: addresses of the network's own.
    pub listen: Vec<SocketAddr>,
    /// The upper PoPs.
    pub upper_pops: Vec<PopCode>,
    /// All servers of the network, this one included.
    pub servers: Vec<Server>,
}

/// `[[tiers.servers]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its name.
    pub name: NodeName,
    /// The PoP that it stands in.
    pub pop: PopCode,
    /// The region that the PoP stands in.
    pub region: RegionName,
    /// Where it listens for others.
    pub address: SocketAddr,
}

impl TiersConfig {
    /// Reads and checks the table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(node: &NodeConfig) -> Result<Self, ConfigError> {
        let config: Self = node.service(SERVICE)?;
        let refuse = |problem: String| ConfigError::Section { section: SERVICE.to_owned(), problem };
        if config.servers.is_empty() {
            let alone = config.listen.is_empty() && config.upper_pops.is_empty();
            return if alone {
                Ok(config)
            } else {
                Err(refuse("there are no servers: give [[tiers.servers]], or nothing at all".to_owned()))
            };
        }
        if config.servers.len() > SERVERS_MAX || config.listen.len() > LISTEN_MAX {
            let problem = format!("at most {SERVERS_MAX} servers, and {LISTEN_MAX} addresses to listen at");
            return Err(refuse(problem));
        }
        let mut names = HashSet::new();
        if let Some(twice) = config.servers.iter().find(|server| !names.insert(&server.name)) {
            return Err(refuse(format!("the server {} is there twice", twice.name)));
        }
        let (name, pop) = (&node.node.name, &node.node.pop);
        let this = config.servers.iter().find(|server| server.name == *name);
        let Some(this) = this else {
            return Err(refuse(format!("this server, {name}, is not among the servers")));
        };
        if this.pop != *pop {
            return Err(refuse(format!("this server stands in {pop}, not in {}", this.pop)));
        }
        if let Some(unknown) =
            config.upper_pops.iter().find(|pop| !config.servers.iter().any(|server| server.pop == **pop))
        {
            return Err(refuse(format!("upper_pops: no server stands in {unknown}")));
        }
        if node.identity.is_none() {
            return Err(refuse("servers ask each other by mutual TLS: give [identity]".to_owned()));
        }
        if config.listen.is_empty() {
            return Err(refuse("listen: give the address at which other servers ask this one".to_owned()));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "[node]\nname = \"fra1\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = \"d\"\nkey_file = \"k\"\n\
                        [network]\n";
    const IDENTITY: &str = "[identity]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n";

    fn server(name: &str, pop: &str) -> String {
        format!(
            "[[tiers.servers]]\nname = \"{name}\"\npop = \"{pop}\"\nregion = \"europe\"\naddress = \"10.0.0.1:7600\"\n"
        )
    }

    fn read(text: &str) -> Result<TiersConfig, String> {
        let config = NodeConfig::parse(&format!("{NODE}{text}")).map_err(|error| error.to_string())?;
        TiersConfig::of(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_network_of_one_server_needs_none_of_it() {
        assert_eq!(read(""), Ok(TiersConfig::default()));
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        let listen = "[tiers]\nlisten = [\"10.0.0.1:7600\"]\n";
        let both = server("fra1", "FRA") + &server("fra2", "FRA");
        assert!(read(&format!("{IDENTITY}{listen}{both}")).is_ok_and(|config| config.servers.len() == 2));
        for (text, told) in [
            (format!("{IDENTITY}{listen}"), "there are no servers"),
            (format!("{IDENTITY}{listen}{}", server("fra2", "FRA")), "fra1, is not among"),
            (format!("{IDENTITY}{listen}{}", server("fra1", "AMS")), "stands in FRA, not in AMS"),
            (format!("{IDENTITY}{listen}{both}{}", server("fra2", "FRA")), "fra2 is there twice"),
            (format!("{listen}{both}"), "give [identity]"),
            (format!("{IDENTITY}{both}"), "listen: give the address"),
            (format!("{IDENTITY}{listen}upper_pops = [\"SIN\"]\n{both}"), "no server stands in SIN"),
            (format!("{IDENTITY}{listen}upper = [\"SIN\"]\n{both}"), "unknown field `upper`"),
        ] {
            let error = read(&text).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
    }
}
