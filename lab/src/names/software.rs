//! The configurations of knot, nsd, bind and unbound. Pure.

use std::fmt::Write as _;

use super::sign::served;
use crate::plan::Host;
use crate::state::LabState;
use crate::topology::{NameServer, Software, Zone};

/// The program and what it is called with before its configuration file; each stays in the foreground.
pub(crate) fn program(software: Software) -> (&'static str, &'static [&'static str]) {
    match software {
        Software::Knot => ("knotd", &["-c"]),
        Software::Nsd => ("nsd", &["-d", "-c"]),
        Software::Bind => ("named", &["-g", "-n", "1", "-c"]),
    }
}

/// The configuration of a name server that has these zones. SIGHUP has each of them read changed zones.
pub(crate) fn render_server<'a>(
    state: &LabState,
    server: &NameServer,
    host: &Host,
    zones: impl Iterator<Item = &'a Zone>,
) -> String {
    let zones: Vec<_> = zones.map(|zone| (zone.name.as_str(), served(state, &zone.name))).collect();
    let (data, run) = (state.data_dir(&server.name), state.run_dir(&server.name));
    let (data, run) = (data.display(), run.display());
    let (v4, v6) = (host.address4, host.address6);
    let mut text;
    match server.software {
        Software::Knot => {
            text = format!(
                "server:\n  listen: [{v4}@53, {v6}@53]\n  rundir: {run}\n  udp-workers: 1\n  tcp-workers: 1\n  \
                 background-workers: 1\nlog:\n  - target: stderr\n    any: info\ndatabase:\n  storage: {data}\n\
                 template:\n  - id: default\n    storage: {data}\n    zonefile-sync: -1\n    zonefile-load: whole\n    \
                 journal-content: none\nzone:\n"
            );
            for (name, file) in zones {
                let _ = write!(text, "  - domain: \"{name}\"\n    file: {}\n", file.display());
            }
        }
        Software::Nsd => {
            text = format!(
                "server:\n  ip-address: {v4}\n  ip-address: {v6}\n  server-count: 1\n  username: \"\"\n  zonesdir: \
                 \"{data}\"\n  database: \"\"\n  pidfile: \"{run}/nsd.pid\"\n  xfrdfile: \"{data}/xfrd\"\n  \
                 xfrdir: \"{data}\"\n  zonelistfile: \"{data}/list\"\n  zonefiles-check: yes\nremote-control:\n  control-enable: no\n"
            );
            for (name, file) in zones {
                let _ = write!(text, "zone:\n  name: \"{name}\"\n  zonefile: {}\n", file.display());
            }
        }
        Software::Bind => {
            text = format!(
                "options {{ directory \"{data}\"; listen-on {{ {v4}; }}; listen-on-v6 {{ {v6}; }}; recursion no; \
                 dnssec-validation no; pid-file none; session-keyfile none; querylog no; notify no; }};\n\
                 controls {{ }};\n"
            );
            for (name, file) in zones {
                let _ = writeln!(text, "zone \"{name}\" {{ type primary; file \"{}\"; }};", file.display());
            }
        }
    }
    text
}

/// The configuration of a client's unbound: it begins at the lab's root, and validates from the lab's anchor on.
pub(crate) fn render_resolver(state: &LabState, host: &str) -> String {
    format!(
        "server:\n  interface: 127.0.0.1\n  interface: ::1\n  num-threads: 1\n  chroot: \"\"\n  username: \"\"\n  \
         directory: \"{}\"\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  module-config: \"validator \
         iterator\"\n  root-hints: \"{}\"\n  trust-anchor-file: \"{}\"\n  val-log-level: 2\n\
         remote-control:\n  control-enable: yes\n  control-interface: \"{}\"\n  control-use-cert: no\n",
        state.data_dir(host).display(),
        state.root_hints().display(),
        state.root_anchor().display(),
        state.resolver_socket(host).display(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::Plan;
    use crate::topology::Topology;

    #[test]
    fn every_server_listens_at_its_own_addresses_and_reads_the_same_signed_file() {
        let topology = Topology::default_three_continents();
        let (plan, state) = (Plan::new(&topology), LabState::new("t", Path::new("/run/x")).unwrap());
        let root = topology.zones.iter().find(|zone| zone.name == ".").unwrap();
        for software in [Software::Knot, Software::Nsd, Software::Bind] {
            let server = NameServer { software, ..topology.name_servers[0].clone() };
            let host = plan.host(&server.name).unwrap();
            let text = render_server(&state, &server, host, [root].into_iter());
            assert!(text.contains("/run/x/t/names/zones/root.signed"), "{text}");
            assert!(text.contains(&host.address4.to_string()), "{text}");
            assert!(text.contains(&host.address6.to_string()), "{text}");
        }
    }
}
