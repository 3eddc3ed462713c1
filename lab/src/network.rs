//! Builds the network of a plan: namespaces, wires, delay lines, addresses.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::delay::line::DelayLine;
use crate::delay::tun::Tun;
use crate::error::{Doing, Result};
use crate::netns::{ip_batch, within};
use crate::plan::{Host, HostKind, Medium, Plan};
use crate::state::LabState;
use crate::topology::Topology;

/// Packets that wait in a TUN device until the delay line reads them: at 50,000 packets/s, 80 ms of a busy machine.
const TUN_QUEUE_PACKETS: u32 = 4096;

/// Kernel settings of every host.
const SYSCTLS: [(&str, &str); 10] = [
    // Anycast makes paths asymmetric: a reverse path filter would drop what is right.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    // A route over a link without carrier is no route.
    ("net/ipv4/conf/all/ignore_routes_with_linkdown", "1"),
    ("net/ipv6/conf/all/ignore_routes_with_linkdown", "1"),
    // All addresses are given; waiting for duplicates or router advertisements only costs time.
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    // A cut wire that is healed has its IPv6 addresses again.
    ("net/ipv6/conf/all/keep_addr_on_down", "1"),
    ("net/ipv6/conf/default/keep_addr_on_down", "1"),
    // Echo sockets for whoever measures.
    ("net/ipv4/ping_group_range", "0 2147483647"),
];

/// Kernel settings of routers. Hash policy 1 is unstable over veth (identical flows moved between runs); policy 3 with
/// the five-tuple is stable, and withdrawing one next hop moves only that one's flows.
const ROUTER_SYSCTLS: [(&str, &str); 6] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/fib_multipath_hash_policy", "3"),
    ("net/ipv4/fib_multipath_hash_fields", "0x37"),
    ("net/ipv6/fib_multipath_hash_policy", "3"),
    ("net/ipv6/fib_multipath_hash_fields", "0x37"),
];

/// Makes everything that carries packets, and starts the delay lines; they are keyed by their link's name.
pub(crate) fn build(
    state: &LabState,
    topology: &Topology,
    plan: &Plan,
) -> Result<BTreeMap<String, DelayLine>> {
    let namespaces = plan.hosts.iter().fold(String::new(), |mut batch, host| {
        let _ = writeln!(batch, "netns add {}", state.namespace(&host.name));
        batch
    });
    ip_batch(None, &namespaces)?;
    for host in &plan.hosts {
        within(&state.namespace(&host.name), || set_sysctls(host))?;
    }
    let mut lines = BTreeMap::new();
    let mut wires = String::new();
    for link in &plan.links {
        let (a, b) = (state.namespace(&link.a), state.namespace(&link.b));
        match link.medium {
            Medium::Wire => {
                let _ =
                    writeln!(wires, "link add {} netns {a} type veth peer name {} netns {b}", link.b, link.a);
            }
            Medium::DelayLine(shape) => {
                let ends = [within(&a, || Tun::create(&link.b))?, within(&b, || Tun::create(&link.a))?];
                let seed = line_seed(topology.seed, &link.name());
                lines.insert(link.name(), DelayLine::start(&link.name(), ends, shape, seed)?);
            }
        }
    }
    ip_batch(None, &wires)?;
    for host in &plan.hosts {
        ip_batch(Some(&state.namespace(&host.name)), &addresses(topology, plan, host))?;
    }
    Ok(lines)
}

fn set_sysctls(host: &Host) -> Result<()> {
    let router: &[_] = if host.kind.is_router() { &ROUTER_SYSCTLS } else { &[] };
    for (name, value) in SYSCTLS.iter().chain(router) {
        let path = format!("/proc/sys/{name}");
        std::fs::write(&path, value).doing(|| format!("setting {name} to {value} on {}", host.name))?;
    }
    Ok(())
}

/// The batch that gives a host its addresses and, unless it is a router, its default route.
fn addresses(topology: &Topology, plan: &Plan, host: &Host) -> String {
    let mut batch = String::from("link set lo up\n");
    if host.kind.is_router() {
        let _ = writeln!(batch, "addr add {}/32 dev lo", host.address4);
        let _ = writeln!(batch, "addr add {}/128 dev lo nodad", host.address6);
    }
    if let HostKind::Server { .. } = host.kind {
        for anycast in &topology.network.anycast {
            let (length, nodad) = if anycast.address.is_ipv4() { (32, "") } else { (128, " nodad") };
            let _ = writeln!(batch, "addr add {}/{length} dev lo{nodad}", anycast.address);
        }
    }
    for interface in &host.interfaces {
        let device = &interface.peer;
        let is_line =
            plan.link(&host.name, device).is_ok_and(|link| matches!(link.medium, Medium::DelayLine(_)));
        let queue = if is_line { format!(" txqueuelen {TUN_QUEUE_PACKETS}") } else { String::new() };
        let _ = writeln!(batch, "addr add {} dev {device}", interface.net4);
        let _ = writeln!(batch, "addr add {} dev {device} nodad", interface.net6);
        let _ = writeln!(batch, "link set {device} up{queue}");
        if !host.kind.is_router() {
            let _ = writeln!(
                batch,
                "route add default via {} dev {device} src {}",
                interface.peer4, host.address4
            );
            let _ = writeln!(
                batch,
                "route add default via {} dev {device} src {}",
                interface.peer6, host.address6
            );
        }
    }
    batch
}

/// A seed of its own for each link, so that a link keeps its luck when others are added: FNV-1a over its name.
fn line_seed(seed: u64, link: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    link.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_holds_the_anycast_addresses_on_its_loopback() {
        let topology = Topology::default_three_continents();
        let plan = Plan::new(&topology);
        let batch = addresses(&topology, &plan, plan.server("fra-1").unwrap());
        assert!(batch.contains("addr add 198.18.0.1/32 dev lo\n"), "{batch}");
        assert!(batch.contains("addr add fd00:198:18::1/128 dev lo nodad\n"), "{batch}");
        assert!(batch.contains("route add default via 10.1.1.1 dev fra-router src 10.1.1.2\n"), "{batch}");
    }

    #[test]
    fn links_have_different_luck_and_keep_it() {
        assert_ne!(line_seed(1, "a – b"), line_seed(1, "a – c"));
        assert_ne!(line_seed(1, "a – b"), line_seed(2, "a – b"));
        assert_eq!(line_seed(1, "a – b"), line_seed(1, "a – b"));
    }
}
