//! Rendering of a router's BIRD configuration. Pure.
//!
//! ```text
//!   server (iBGP, same AS, direct, BFD)  ──anycast prefix──>  PoP router  ──eBGP, BFD──>  transit  ──> transits
//!                                        <── nothing ──                  <── everything ──
//! ```
//!
//! - A PoP's router believes of its servers exactly the anycast prefixes, and tells its transits those and its own
//!   PoP's addresses: it never carries traffic between transits.
//! - All PoPs share one AS, so a PoP hears of the others through a path that holds its own number (`allow local as`).
//!   It takes such routes for the anycast prefixes too: with all its servers gone, packets still under way to it turn
//!   round instead of dying.
//! - What is about to go (RFC 8326) is used by nobody who has something else, so that nothing is lost when it goes.
//! - Among paths of equal length the first link's delay decides, as MED: the nearest wins, not the lowest router id.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use crate::plan::{Host, HostKind, Interface, Medium, Plan, originated};
use crate::topology::{Bfd, Topology};

/// Seconds without a keepalive until a session is dead where BFD does not see it; RFC 4271 allows no less than 3.
const HOLD_SECONDS: u32 = 9;
/// Seconds between keepalives: a third of the hold time (RFC 4271, section 10).
const KEEPALIVE_SECONDS: u32 = 3;
/// Local preference of what a PoP's own servers announce: above the default 100, so never by way of another PoP.
const PREFERENCE_OWN_SERVERS: u32 = 200;

/// Heeds what is about to go (RFC 8326): used only where there is nothing else.
const LEAVING: &str = "if (65535, 0) ~ bgp_community then bgp_local_pref = 0;\n            ";

/// The configuration of a router. `control_socket` is not part of it: BIRD takes that on its command line.
pub(crate) fn render(topology: &Topology, plan: &Plan, host: &Host) -> String {
    let mut text = format!(
        "# {} of the lab; written by `proxima lab up`, changes are lost.\n\
         router id {};\nlog stderr all;\ndebug protocols {{ states }};\n\n",
        host.name, host.address4
    );
    text += &base(topology.network.bfd, host);
    text += &origination(plan, host);
    text += &filters(topology, plan, host);
    for interface in &host.interfaces {
        if let Ok(peer) = plan.host(&interface.peer) {
            for family in ["4", "6"] {
                text += &session(topology, plan, (host, peer), interface, family);
            }
        }
    }
    text
}

fn base(bfd: Bfd, host: &Host) -> String {
    let Bfd { interval_ms, multiplier } = bfd;
    let (source4, source6) = (host.address4, host.address6);
    format!(
        "protocol device {{ scan time 1; }}\n\
         protocol bfd {{\n    interface \"*\" {{\n        interval {interval_ms} ms;\n        \
             multiplier {multiplier};\n    }};\n}}\n\
         # Several servers of one PoP announce the same prefix: one kernel route with several next hops.\n\
         protocol kernel kernel4 {{\n    merge paths on;\n    ipv4 {{\n        import none;\n        \
             export filter {{\n            if source != RTS_BGP then reject;\n            \
             krt_prefsrc = {source4};\n            accept;\n        }};\n    }};\n}}\n\
         protocol kernel kernel6 {{\n    merge paths on;\n    ipv6 {{\n        import none;\n        \
             export filter {{\n            if source != RTS_BGP then reject;\n            \
             krt_prefsrc = {source6};\n            accept;\n        }};\n    }};\n}}\n\n"
    )
}

/// What this router brings into the world. There is no `protocol direct`: BIRD would prefer its routes of the same
/// networks, which the export filters do not know. The kernel never sees these routes: they only hold up announcements.
fn origination(plan: &Plan, host: &Host) -> String {
    let (nets4, nets6) = originated(plan, host);
    let routes = |nets: Vec<String>| {
        nets.into_iter().fold(String::new(), |text, net| text + &format!("    route {net} blackhole;\n"))
    };
    format!(
        "protocol static own4 {{\n    ipv4;\n{}}}\nprotocol static own6 {{\n    ipv6;\n{}}}\n\n",
        routes(nets4.iter().map(ToString::to_string).collect()),
        routes(nets6.iter().map(ToString::to_string).collect()),
    )
}

fn filters(topology: &Topology, plan: &Plan, host: &Host) -> String {
    let (own4, own6) = originated(plan, host);
    let mut text = String::new();
    for family in ["4", "6"] {
        let is_family = |address: IpAddr| address.is_ipv4() == (family == "4");
        let anycast: Vec<_> = topology
            .network
            .anycast
            .iter()
            .filter(|anycast| is_family(anycast.address))
            .map(|anycast| anycast.prefix.to_string())
            .collect();
        let own: Vec<_> = if family == "4" {
            own4.iter().map(ToString::to_string).collect()
        } else {
            own6.iter().map(ToString::to_string).collect()
        };
        let within = |nets: &[String]| match nets {
            // An empty set is no syntax of BIRD's.
            [] => "false".to_owned(),
            nets => format!("net ~ [ {} ]", nets.join(", ")),
        };
        let _ = write!(
            text,
            "function is_anycast{family}() {{ return {}; }}\nfunction is_own{family}() {{ return {}; }}\n",
            within(&anycast),
            within(&own),
        );
    }
    text.push('\n');
    text
}

fn session(
    topology: &Topology,
    plan: &Plan,
    (host, peer): (&Host, &Host),
    interface: &Interface,
    family: &str,
) -> String {
    let (own, neighbor): (IpAddr, IpAddr) = match family {
        "4" => (interface.net4.addr().into(), interface.peer4.into()),
        _ => (interface.net6.addr().into(), interface.peer6.into()),
    };
    let as_of = |host: &Host| match host.kind {
        HostKind::Transit { asn } => asn,
        _ => topology.network.asn,
    };
    let (rules, extra) = match (&host.kind, &peer.kind) {
        (HostKind::Router { .. }, HostKind::Server { .. }) => (
            format!(
                "        import filter {{\n            if !is_anycast{family}() then reject;\n            \
                     bgp_local_pref = {PREFERENCE_OWN_SERVERS};\n            {LEAVING}accept;\n        }};\n        \
                     export none;\n"
            ),
            "",
        ),
        (HostKind::Router { .. }, HostKind::Transit { .. }) => (
            format!(
                "        import filter {{\n            if is_own{family}() then reject;\n            \
                     {}            {LEAVING}accept;\n        }};\n        \
                     # Only what is ours: an empty AS path came from our servers or from this file.\n        \
                     export where (is_anycast{family}() && source = RTS_BGP && bgp_path.len = 0)\n            \
                     || (is_own{family}() && source = RTS_STATIC);\n",
                med(plan, host, peer)
            ),
            "    allow local as 1;\n",
        ),
        (HostKind::Transit { .. }, HostKind::Router { .. } | HostKind::Transit { .. }) => (
            format!(
                "        import filter {{\n            if is_own{family}() then reject;\n            \
                     {}            {LEAVING}accept;\n        }};\n        \
                     export where source = RTS_BGP || (is_own{family}() && source = RTS_STATIC);\n",
                med(plan, host, peer)
            ),
            "",
        ),
        // Clients, origins and servers of a transit speak no BGP.
        _ => return String::new(),
    };
    format!(
        "protocol bgp {name} {{\n    local {own} as {own_as};\n    neighbor {neighbor} as {peer_as};\n    \
             interface \"{device}\";\n    direct;\n    bfd on;\n    med metric yes;\n{extra}    \
             graceful restart off;\n    hold time {HOLD_SECONDS};\n    keepalive time {KEEPALIVE_SECONDS};\n    \
             connect delay time 1;\n    connect retry time 2;\n    error wait time 1, 2;\n    \
             ipv{family} {{\n        next hop self;\n{rules}    }};\n}}\n\n",
        name = session_name(&peer.name, family),
        own_as = as_of(host),
        peer_as = as_of(peer),
        device = interface.peer,
    )
}

/// Name of the session with a peer: BIRD's symbols know no hyphen.
pub(crate) fn session_name(peer: &str, family: &str) -> String {
    format!("{}_v{family}", peer.replace('-', "_"))
}

/// MED of what comes over this link: its delay in tenths of a millisecond.
fn med(plan: &Plan, host: &Host, peer: &Host) -> String {
    let delay = match plan.link(&host.name, &peer.name).map(|link| &link.medium) {
        Ok(Medium::DelayLine(shape)) => shape.delay,
        _ => Duration::ZERO,
    };
    format!("bgp_med = {};\n", delay.as_micros() / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(name: &str) -> String {
        let topology = Topology::default_three_continents();
        let plan = Plan::new(&topology);
        render(&topology, &plan, plan.host(name).unwrap())
    }

    #[test]
    fn a_pop_router_believes_its_servers_only_the_anycast_prefixes() {
        let text = rendered("fra-router");
        let start = text.find("protocol bgp fra_1_v4").expect("a session with the first server");
        let session = &text[start..text[start..].find("\n}\n").unwrap() + start];
        for line in [
            "local 10.1.1.1 as 64512;",
            "neighbor 10.1.1.2 as 64512;",
            "bfd on;",
            "if !is_anycast4() then reject;",
            "export none;",
        ] {
            assert!(session.contains(line), "{line} is missing in\n{session}");
        }
        assert!(text.contains("function is_anycast6() { return net ~ [ fd00:198:18::/48 ]; }"), "{text}");
    }

    #[test]
    fn a_transit_prefers_the_nearer_of_two_equal_paths() {
        let text = rendered("eu-transit");
        assert!(text.contains("bgp_med = 400;") && text.contains("bgp_med = 800;"), "{text}");
        assert!(text.contains("route 172.16.1.0/24 blackhole;"), "it announces its customers\n{text}");
        assert!(!text.contains("protocol bgp paris"), "clients speak no BGP");
    }

    #[test]
    fn lab_bird_itself_accepts_every_configuration() {
        let topology = Topology::default_three_continents();
        let plan = Plan::new(&topology);
        for host in plan.routers() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("bird.conf");
            std::fs::write(&path, render(&topology, &plan, host)).unwrap();
            let output = std::process::Command::new("bird").arg("-p").arg("-c").arg(&path).output().unwrap();
            assert!(output.status.success(), "{}: {}", host.name, String::from_utf8_lossy(&output.stderr));
        }
    }
}
