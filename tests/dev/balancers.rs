//! A load balancer in front that speaks the PROXY protocol, version 2: `proxima node` believes it, and nobody else.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Instant,
};

use socket2::{Domain, Socket, Type};

use crate::{
    dev::{DEADLINE, PROXIMA},
    process::{free_for_both, output},
    running::Running,
};

/// From 192.0.2.7 port 1234 to 198.51.100.1 port 80 (HAProxy's specification, 2.2).
const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x04\xd2\0\x50";
/// The balancer says that it asks for itself, as for a health check.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const REQUEST: &[u8] = b"GET /cdn-cgi/trace HTTP/1.1\r\nhost: www.example.com\r\nconnection: close\r\n\r\n";
const BALANCER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SOMEBODY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A node that stands alone, behind [`BALANCER`].
struct Node {
    _process: Running,
    folder: tempfile::TempDir,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Node {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [http, admin, api] = std::array::from_fn(|_| free_for_both());
        let (succeeded, text) =
            output(Command::new(PROXIMA).args(["ca", "init"]).arg(folder.path().join("ca")));
        assert!(succeeded, "{text}");
        let config = folder.path().join("node.toml");
        let text = format!(
            "[node]\nname = \"one\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = \"data\"\n\
             key_file = \"ca/at-rest.key\"\nadmin = \"{admin}\"\n\
             [edge]\nhttp = [\"{http}\"]\nproxy_protocol_from = [\"{BALANCER}/32\"]\n\
             [control]\nlisten = [\"{api}\"]\n"
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(PROXIMA);
        command.arg("node").arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let node = Self { _process: Running::start(&mut command), folder, http, admin };
        let begun = Instant::now();
        while !node.tells("readyz").contains("\"ready\":true") {
            let log = || std::fs::read_to_string(node.folder.path().join("log"));
            assert!(begun.elapsed() < DEADLINE, "it does not serve: {:?}", log());
        }
        node
    }

    fn tells(&self, what: &str) -> String {
        output(Command::new("curl").args(["-sS", &format!("http://{}/{what}", self.admin)])).1
    }

    /// What is answered to these octets from there.
    fn say(&self, from: Ipv4Addr, octets: &[u8]) -> String {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&self.http.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(octets).unwrap();
        let mut answer = Vec::new();
        // What is reset has said all that it says.
        stream.read_to_end(&mut answer).ok();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[test]
fn who_a_client_is_is_believed_of_the_configured_balancer_and_of_nobody_else() {
    let node = Node::start();
    let with = |header: &[u8]| [header, REQUEST].concat();
    let told = node.say(BALANCER, &with(HEADER));
    assert!(told.contains("\nip=192.0.2.7\n"), "{told}");
    let own = node.say(BALANCER, &with(LOCAL));
    assert!(own.contains(&format!("\nip={BALANCER}\n")), "{own}");
    // Who may leave it out lets its clients write it.
    assert_eq!(node.say(BALANCER, REQUEST), "");
    let refused = node.tells("metrics");
    assert!(refused.contains("\nproxima_edge_proxy_headers_refused_total 1\n"), "{refused}");

    let direct = node.say(SOMEBODY, REQUEST);
    assert!(direct.contains(&format!("\nip={SOMEBODY}\n")), "{direct}");
    let forged = node.say(SOMEBODY, &with(HEADER));
    assert!(forged.starts_with("HTTP/1.1 400 ") && !forged.contains("192.0.2.7"), "{forged}");
}
