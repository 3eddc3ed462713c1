//! A configuration says what is wrong with it, and where.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

use std::collections::BTreeSet;

use proxima_chassis::NodeConfig;
use serde::Deserialize;

const NODE: &str =
    "[node]\nname = \"fra-1\"\npop = \"fra\"\nregion = \"europe\"\ndata_dir = \"data\"\nkey_file = \"key\"\n";

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Dns {
    listen: Vec<std::net::SocketAddr>,
}

#[test]
fn a_service_reads_its_own_table_and_has_defaults_without_one() {
    let config = NodeConfig::parse(&format!("{NODE}[dns]\nlisten = [\"127.0.0.1:53\"]\n")).unwrap();
    assert_eq!(config.node.pop.as_str(), "FRA");
    assert_eq!(config.service::<Dns>("dns").unwrap().listen.len(), 1);
    assert_eq!(config.service::<Dns>("edge").unwrap(), Dns::default());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let dns_only = BTreeSet::from(["dns"]);
    let cases = [
        ("", "[node]: the table is missing"),
        ("[node\n", "not valid TOML"),
        ("[node]\nname = \"fra-1\"\npop = \"FRANKFURT\"\n", "pop: pop: \"FRANKFURT\" is not a PoP code"),
        (&format!("{NODE}colour = 1\n"), "unknown field `colour`"),
        (&format!("{NODE}[network]\nanycast_addresses = [\"192.0.2.300\"]\n"), "anycast_addresses[0]"),
        (&format!("{NODE}[dns]\nlisten = [\"nowhere\"]\n"), "[dns]: listen[0]: invalid socket address"),
        (&format!("{NODE}[dnss]\n"), "[dnss]: no service has this name; there are: dns"),
    ];
    for (text, says) in cases {
        let error = NodeConfig::parse(text)
            .and_then(|config| {
                config.service::<Dns>("dns")?;
                config.check_services(&dns_only)
            })
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error:?} should say {says:?}");
    }
}

#[test]
fn paths_are_taken_from_the_files_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    std::fs::write(&path, NODE).unwrap();
    assert_eq!(NodeConfig::load(&path).unwrap().node.data_dir, folder.path().join("data"));
}
