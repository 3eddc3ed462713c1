//! Looking at a running lab: who announces what, which client lands where.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Daemon;
use crate::bird::control;
use crate::delay::line::DelayLine;
use crate::error::Result;
use crate::plan::{Host, Medium, Plan, PlannedLink};
use crate::probe;
use crate::process::ProcessState;
use crate::state::LabState;
use crate::status::{AnycastRoute, ClientStatus, Landing, LinkStatus, RouterStatus, ServerStatus, Status};
use crate::topology::{LinkShape, Topology};

/// A client that has no answer by then counts as cut off: more than five times the longest round trip of the default
/// topology.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);
/// Routers on a path: more is a loop.
const HOPS_MAX: usize = 16;

/// What it takes to look from outside: no process handles, so that threads can share it.
#[derive(Clone, Copy)]
pub(super) struct Observer<'a> {
    state: &'a LabState,
    topology: &'a Topology,
    plan: &'a Plan,
}

impl Daemon {
    pub(super) fn observer(&self) -> Observer<'_> {
        Observer { state: &self.state, topology: &self.topology, plan: &self.plan }
    }

    pub(super) fn survey(&mut self) -> Status {
        let (servers, name_servers) = (self.server_statuses(), self.name_server_statuses());
        let observer = self.observer();
        Status {
            lab: self.state.name().to_owned(),
            log: self.topology.network.log.clone(),
            servers,
            routers: self.plan.routers().map(|router| observer.router_status(router)).collect(),
            clients: observer.client_statuses(),
            name_servers,
            links: self.link_statuses(),
        }
    }

    pub(super) fn topology_shapes(&self) -> BTreeMap<String, LinkShape> {
        let shapes = self.plan.links.iter().filter_map(|link| match link.medium {
            Medium::DelayLine(shape) => Some((link.name(), shape)),
            Medium::Wire => None,
        });
        shapes.collect()
    }

    fn server_statuses(&mut self) -> Vec<ServerStatus> {
        let mut statuses = Vec::new();
        for server in self.plan.servers() {
            let node = self.nodes.get_mut(&server.name);
            let state = node.map_or((ProcessState::Dead, 0), |node| (node.state(), node.pid()));
            statuses.push(ServerStatus {
                name: server.name.clone(),
                pop: server.kind.pop().unwrap_or_default().to_owned(),
                pid: (state.0 != ProcessState::Dead).then_some(state.1),
                state: state.0,
                silenced: self.silenced.contains(&server.name),
                api: format!("http://{}", server.api()),
                announces: Vec::new(),
            });
        }
        for status in &mut statuses {
            status.announces = self.observer().announced_by(&status.name);
        }
        statuses
    }

    fn link_statuses(&self) -> Vec<LinkStatus> {
        let status = |link: &PlannedLink| LinkStatus {
            a: link.a.clone(),
            b: link.b.clone(),
            cut: self.cut.contains(&link.name()),
            shape: self.shapes.get(&link.name()).copied(),
            count: self.lines.get(&link.name()).map(DelayLine::count),
        };
        self.plan.links.iter().map(status).collect()
    }
}

impl Observer<'_> {
    /// The anycast prefixes that a server's router has from it.
    pub(super) fn announced_by(&self, server: &str) -> Vec<String> {
        let Some(router) = self.plan.server(server).ok().and_then(|host| host.interfaces.first()) else {
            return Vec::new();
        };
        let prefixes = self.topology.network.anycast.iter().map(|anycast| anycast.prefix.to_string());
        let from_server = |prefix: &String| {
            self.anycast_route(&router.peer, prefix)
                .is_some_and(|route| route.via.iter().chain(&route.also).any(|via| via == server))
        };
        prefixes.filter(from_server).collect()
    }

    fn router_status(&self, router: &Host) -> RouterStatus {
        let prefixes = self.topology.network.anycast.iter().map(|anycast| anycast.prefix.to_string());
        let routes: Option<Vec<_>> =
            prefixes.map(|prefix| self.anycast_route(&router.name, &prefix)).collect();
        let running = routes.is_some();
        RouterStatus { name: router.name.clone(), running, routes: routes.unwrap_or_default() }
    }

    /// A router's ways to a prefix; `None` when its BIRD does not answer.
    fn anycast_route(&self, router: &str, prefix: &str) -> Option<AnycastRoute> {
        let socket = self.state.bird_socket(router);
        let lines = match control::ask(router, &socket, &format!("show route {prefix}")) {
            Ok(lines) => lines,
            // 8001: the router has no such route.
            Err(error) if error.to_string().contains("Network not") => Vec::new(),
            Err(_) => return None,
        };
        let is_pop_router = self.plan.router(router).is_ok_and(|host| host.kind.pop().is_some());
        Some(parse_routes(prefix, &lines, |neighbor| is_pop_router && self.plan.server(neighbor).is_ok()))
    }

    /// All clients at once: a cut-off client must not make the others wait.
    fn client_statuses(&self) -> Vec<ClientStatus> {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                self.plan.clients().map(|client| scope.spawn(move || self.client_status(client))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        })
    }

    fn client_status(&self, client: &Host) -> ClientStatus {
        let namespace = self.state.namespace(&client.name);
        let anycast = &self.topology.network.anycast;
        let mut landings: Vec<Landing> = std::thread::scope(|scope| {
            let looking = anycast.iter().map(|anycast| {
                let namespace = &namespace;
                scope.spawn(move || self.landing(namespace, anycast.address))
            });
            let looking: Vec<_> = looking.collect();
            looking.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let first = (!landings.is_empty()).then(|| landings.remove(0));
        ClientStatus {
            name: client.name.clone(),
            region: client.region.clone(),
            path: anycast
                .first()
                .map(|anycast| self.path(client, &anycast.prefix.to_string()))
                .unwrap_or_default(),
            colo: first.as_ref().and_then(|landing| landing.colo.clone()),
            node: first.as_ref().and_then(|landing| landing.node.clone()),
            rtt_ms: first.as_ref().and_then(|landing| landing.rtt_ms),
            first_byte_ms: first.as_ref().and_then(|landing| landing.first_byte_ms),
            error: first.and_then(|landing| landing.error),
            others: landings,
        }
    }

    fn landing(&self, namespace: &str, address: IpAddr) -> Landing {
        let rtt_ms = probe::echo(namespace, address, PROBE_DEADLINE).ok().flatten().map(ms);
        let none = Landing { address, colo: None, node: None, rtt_ms, first_byte_ms: None, error: None };
        match self.trace(namespace, address) {
            Ok(trace) => Landing {
                colo: Some(trace.colo),
                node: trace.node,
                rtt_ms: rtt_ms.or(Some(ms(trace.connect))),
                first_byte_ms: Some(ms(trace.first_byte)),
                ..none
            },
            Err(error) => Landing { error: Some(error.to_string()), ..none },
        }
    }

    fn trace(&self, namespace: &str, address: IpAddr) -> Result<probe::Trace> {
        let name = self.topology.network.name_servers.first().map_or("lab.example", String::as_str);
        probe::trace(namespace, address, name, PROBE_DEADLINE)
    }

    /// The routers that a client's packets pass, and the servers at the end.
    fn path(&self, client: &Host, prefix: &str) -> Vec<String> {
        let mut path = Vec::new();
        let mut at = client.interfaces.first().map(|interface| interface.peer.clone());
        while let Some(router) = at.take() {
            let seen = path.contains(&router) || path.len() >= HOPS_MAX;
            let route = self.anycast_route(&router, prefix);
            path.push(router);
            match route.map(|route| route.via) {
                Some(via) if !seen && via.len() == 1 && self.plan.router(&via[0]).is_ok() => {
                    at = via.first().cloned()
                }
                Some(via) if !seen && !via.is_empty() => path.push(via.join(" | ")),
                _ => {}
            }
        }
        path
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Reads the answer to `show route`: a line with "[session time]" begins a route, "*" marks the best, and its next hops
/// follow as "via ADDRESS on INTERFACE". Interfaces are named after the neighbour. `merges` says whether an equal
/// route is used beside the best one.
fn parse_routes(prefix: &str, lines: &[String], merges: impl Fn(&str) -> bool) -> AnycastRoute {
    let mut route = AnycastRoute { prefix: prefix.to_owned(), via: Vec::new(), also: Vec::new() };
    let (mut is_best, mut best_is_merged) = (false, false);
    for line in lines {
        if line.contains('[') && line.contains(']') {
            is_best = line.contains("] *");
        }
        let Some((_, interface)) = line.split_once(" on ") else { continue };
        let neighbor = interface.split_whitespace().next().unwrap_or_default().to_owned();
        best_is_merged |= is_best && merges(&neighbor);
        if is_best || (best_is_merged && merges(&neighbor)) {
            route.via.push(neighbor);
        } else {
            route.also.push(neighbor);
        }
    }
    route.via.sort();
    route
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_routes_to_servers_are_used_together_and_others_are_spare() {
        let lines: Vec<String> = [
            "Table master4:",
            "198.18.0.0/24        unicast [fra_2_v4 17:40:01.123] * (100) [i]",
            "\tvia 10.1.2.2 on fra-2",
            "                     unicast [fra_1_v4 17:40:01.123] (100) [i]",
            "\tvia 10.1.1.2 on fra-1",
            "                     unicast [eu_transit_v4 17:40:01.123] (100) [AS64512i]",
            "\tvia 172.31.4.1 on eu-transit",
        ]
        .map(str::to_owned)
        .into();
        let route = parse_routes("198.18.0.0/24", &lines, |neighbor| neighbor.starts_with("fra-"));
        assert_eq!(route.via, ["fra-1", "fra-2"]);
        assert_eq!(route.also, ["eu-transit"]);
        assert_eq!(parse_routes("198.18.0.0/24", &[], |_| true).via, Vec::<String>::new());
    }
}
