//! Every mistake is named with its line and a remedy.

use super::*;

/// The default topology with one piece replaced; the piece must be there.
fn with(old: &str, new: &str) -> Result<Topology, TopologyError> {
    assert!(DEFAULT_TOPOLOGY.contains(old), "{old:?}");
    Topology::parse("t.toml", &DEFAULT_TOPOLOGY.replacen(old, new, 1))
}

/// The line on which the piece stands in the default topology.
fn line_of(piece: &str) -> usize {
    let at = DEFAULT_TOPOLOGY.find(piece).expect("the piece is there");
    DEFAULT_TOPOLOGY[..at].lines().count() + usize::from(DEFAULT_TOPOLOGY[..at].ends_with('\n'))
}

#[test]
fn the_default_topology_is_three_pops_of_two_servers_on_three_continents() {
    let topology = Topology::parse("default.toml", DEFAULT_TOPOLOGY).expect("it has no mistakes");
    assert_eq!(topology.regions, ["europe", "america", "asia"]);
    let pops: Vec<_> = topology.pops.iter().map(|pop| (pop.code.as_str(), pop.servers)).collect();
    assert_eq!(pops, [("FRA", 2), ("IAD", 2), ("SIN", 2)]);
    let between = &topology.links[..3];
    assert!(between.iter().all(|link| (10..=150).contains(&link.shape.delay.as_millis())), "{between:?}");
}

#[test]
fn each_mistake_is_told_with_its_line_and_what_to_do() {
    let table: [(&str, &str, &str, &str); 28] = [
        ("region = \"asia\"", "region = \"mars\"", "no region `mars`", "europe"),
        ("name = \"asia\"", "name = \"europe\"", "region `europe` is there twice", "once"),
        ("name = \"asia\"", "name = \"Far East\"", "`Far East` is no region's name", "a-z"),
        ("name = \"paris\"", "name = \"origin\"", "name `origin` is taken", "name of its own"),
        ("name = \"paris\"", "name = \"fra-2\"", "name `fra-2` is taken", "name of its own"),
        ("name = \"paris\"", "name = \"Paris!\"", "`Paris!` is no host name", "a-z"),
        ("name = \"paris\"", "name = \"a-name-of-16-byte\"", "no host name", "up to 15"),
        ("as = 64497", "as = 64496", "AS 64496 is that of `eu-transit`", "its own"),
        ("as = 64497", "as = 0", "AS 0 is reserved", "RFC 5398"),
        ("to = \"us-transit\"", "to = \"nowhere\"", "leads to `nowhere`", "name one of"),
        ("from = \"FRA\"", "from = \"fra-1\"", "leads to `fra-1`", "by its code"),
        ("to = \"us-transit\"", "to = \"eu-transit\"", "with itself", "another"),
        ("delay_ms = 40", "delay_ms = -1", "delay_ms is -1", "0 to 2000"),
        ("delay_ms = 40", "delay_ms = nan", "delay_ms is NaN", "0 to 2000"),
        ("jitter_ms = 0.2", "loss_percent = 101", "loss_percent is 101", "0 to 100"),
        ("rate_mbit = 500", "rate_mbit = 0", "rate_mbit is 0", "to 10000"),
        ("servers = 2", "servers = 0", "FRA has 0 servers", "1 to 16"),
        ("code = \"IAD\"", "code = \"iad\"", "`iad` is no PoP code", "three capital"),
        ("log = \"fra-1\"", "log = \"paris\"", "`paris`, which is no server", "fra-1"),
        ("address = \"198.18.0.1\"", "address = \"198.19.0.1\"", "not within 198.18.0.0/24", "address of"),
        ("prefix = \"198.18.0.0/24\"", "prefix = \"198.18.0.0/25\"", "not announced", "/24"),
        (
            "servers = [\"site-knot\"]",
            "servers = [\"root-knot\"]",
            "`site-knot` serves no zone",
            "leave it out",
        ),
        ("name = \"com.\"", "name = \"com\"", "`com` is no zone's name", "a dot behind it"),
        (
            "name = \"com.\"",
            "name = \"example.\"",
            "the zone `example.` is there twice",
            "all of its servers",
        ),
        ("name = \".\"", "name = \"org.\"", "there are zones and no root", "the name `.`"),
        ("servers = [\"site-knot\"]", "servers = []", "`on-knot.com.` has no servers", "site-bind"),
        ("servers = [\"site-knot\"]", "servers = [\"paris\"]", "`paris`, which is no", "site-bind"),
        (
            "[\"root-knot\", \"root-nsd\"]",
            "[\"root-knot\", \"root-knot\"]",
            "names a server twice",
            "each once",
        ),
    ];
    for (old, new, what, remedy) in table {
        let error = with(old, new).expect_err(new);
        let told = error.mistakes.iter().find(|mistake| mistake.what.contains(what));
        let told = told.unwrap_or_else(|| panic!("{new}: {what:?} is not told in {error}"));
        assert!(told.remedy.contains(remedy), "{new}: {told:?}");
        assert!(told.line.is_some(), "{new}: {told:?}");
    }
}

#[test]
fn the_line_is_the_right_one() {
    let error = with("delay_ms = 105", "delay_ms = 99999").unwrap_err();
    assert_eq!(error.mistakes.len(), 1);
    assert_eq!(error.mistakes[0].line, Some(line_of("delay_ms = 105")));
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("t.toml:{}: delay_ms is 99999: use", line_of("delay_ms = 105"))),
        "{text}"
    );
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text =
        DEFAULT_TOPOLOGY.replace("region = \"asia\"", "region = \"mars\"").replace("as = 64496", "as = 0");
    let error = Topology::parse("t.toml", &text).unwrap_err();
    assert_eq!(error.mistakes.len(), 6, "{error}");
    assert!(error.mistakes.is_sorted_by_key(|mistake| mistake.line), "{error}");
}

#[test]
fn unknown_keys_and_broken_toml_are_told_with_their_line() {
    let error = with("delay_ms = 105", "delay_ms = 105\nlatency = 1").unwrap_err();
    assert_eq!(error.mistakes[0].line, Some(line_of("delay_ms = 105") + 1));
    assert!(error.to_string().contains("unknown field `latency`"), "{error}");
    let error = with("seed = 20261124", "seed = ").unwrap_err();
    assert_eq!(error.mistakes[0].line, Some(line_of("seed =")));
    assert!(with("delay_ms = 105", "delay_ms = \"long\"").is_err());
}

#[test]
fn too_many_hosts_and_links_are_refused() {
    let pops: String = ('A'..='E').fold(String::new(), |text, letter| {
        text + &format!("[[pop]]\ncode = \"X{letter}X\"\nregion = \"asia\"\nservers = 16\n")
    });
    let error = Topology::parse("t.toml", &format!("{DEFAULT_TOPOLOGY}{pops}")).unwrap_err();
    assert!(
        error.to_string().contains("hosts (routers, servers, clients, origins, name servers) are too many"),
        "{error}"
    );
    let link = "[[link]]\nfrom = \"FRA\"\nto = \"us-transit\"\ndelay_ms = 1\n".repeat(LINKS_MAX);
    let error = Topology::parse("t.toml", &format!("{DEFAULT_TOPOLOGY}{link}")).unwrap_err();
    assert!(error.to_string().contains("links are too many"), "{error}");
    assert!(error.to_string().contains("linked twice"), "{error}");
}

#[test]
fn islands_and_hosts_without_a_link_are_refused() {
    let error =
        with("from = \"bangkok\"\nto = \"asia-transit\"\n", "from = \"IAD\"\nto = \"asia-transit\"\n")
            .unwrap_err();
    assert!(error.to_string().contains("`bangkok` has 0 links"), "{error}");
    assert!(error.to_string().contains("no way leads from"), "{error}");
}

#[test]
fn a_prefix_that_covers_the_labs_own_addresses_is_refused() {
    let error = with(
        "prefix = \"198.18.0.0/24\", address = \"198.18.0.1\"",
        "prefix = \"10.1.1.0/24\", address = \"10.1.1.2\"",
    )
    .unwrap_err();
    assert!(error.to_string().contains("overlaps 10.0.0.0/8"), "{error}");
}

#[test]
fn a_file_that_is_missing_or_no_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    assert!(Topology::read(&path).unwrap_err().to_string().contains("cannot be read"));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Topology::read(&path).unwrap_err().to_string().contains("UTF-8"));
    std::fs::write(&path, "#".repeat(usize::try_from(TOPOLOGY_BYTES_MAX).unwrap() + 1)).unwrap();
    assert!(Topology::read(&path).unwrap_err().to_string().contains("over 1 MiB"));
}

#[test]
fn a_resolver_needs_a_root() {
    let (head, rest) = DEFAULT_TOPOLOGY.split_once("# Who serves the zones").unwrap();
    let (_, links) = rest.split_once("# Between continents.").unwrap();
    let (links, _) = links.split_once("[[link]]\nfrom = \"root-knot\"").unwrap();
    let text = format!("{head}{links}");
    let error = Topology::parse("t.toml", &text).unwrap_err();
    assert!(error.to_string().contains("a resolver has no root to begin at"), "{error}");
    let without = text.replace("resolver = \"unbound\"\n", "");
    assert!(Topology::parse("t.toml", &without).unwrap().zones.is_empty());
}
