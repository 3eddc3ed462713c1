//! Connections that are under way when routes move: they go on, wherever their packets arrive.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxima_lab::Fault;
use socket2::{Domain, Socket, Type};

use crate::two_pops::{HOST, TwoPops, at_home};

/// The origin's program for WebSockets.
const WEBSOCKETS: &str = "ws.example.com";
const WEBSOCKETS_PORT: u16 = 8080;
/// So much that it is in no socket's buffer: the client must go on acknowledging for it to come.
const FILE_OCTETS: usize = 8 << 20;
/// Nothing that a connection waits for takes so long, unless the connection is lost.
const PATIENCE: Duration = Duration::from_secs(8);

/// A client's connection to the anycast address, and what it has read of it.
struct Client {
    stream: BufReader<TcpStream>,
    /// The server that it reached, as that says.
    server: String,
}

impl Client {
    /// Connects from a host of the lab, and asks who answers.
    fn connect(lab: &TwoPops, host: &str) -> Self {
        let connected = lab.lab().within(host, || Ok(connect("198.18.0.1:80".parse().unwrap())));
        let mut client = Self { stream: BufReader::new(connected.unwrap().unwrap()), server: String::new() };
        client.ask(HOST, "/cdn-cgi/trace", "");
        let octets = client.head("200");
        let mut body = vec![0; octets];
        client.stream.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        client.server = body.lines().find_map(|line| line.strip_prefix("fl=")).unwrap().to_owned();
        client
    }

    /// Connects until this server answers: which one a router sends a connection to is chance.
    fn connect_to(lab: &TwoPops, host: &str, server: &str) -> Self {
        let begun = Instant::now();
        loop {
            let client = Self::connect(lab, host);
            if client.server == server {
                return client;
            }
            assert!(begun.elapsed() < PATIENCE, "no connection of {host} lands at {server}");
        }
    }

    fn ask(&mut self, host: &str, path: &str, fields: &str) {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n");
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
    }

    /// Reads the head of an answer with this status; how long its body is.
    fn head(&mut self, status: &str) -> usize {
        let mut octets = 0;
        let mut first = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            if first.is_empty() {
                first.clone_from(&line);
                assert_eq!(line.split(' ').nth(1), Some(status), "{line}");
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    octets = value.parse().unwrap();
                }
                Some(_) => {}
                None if line.trim_end().is_empty() => return octets,
                None => {}
            }
        }
    }

    /// Begins a download of which most is still at the server.
    fn begin_download(&mut self) {
        self.ask(HOST, "/large.bin", "");
        assert_eq!(self.head("200"), FILE_OCTETS);
    }

    /// Reads the rest of the download.
    fn end_download(&mut self) {
        let mut left = FILE_OCTETS;
        let mut piece = vec![0; 64 << 10];
        while left > 0 {
            let read = self.stream.read(&mut piece).unwrap();
            assert!(
                read > 0 && piece[..read].iter().all(|octet| *octet == b'x'),
                "{left} octets are missing"
            );
            left -= read;
        }
    }

    /// Makes a WebSocket of it.
    fn upgrade(&mut self) {
        let fields = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                      sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        self.ask(WEBSOCKETS, "/", fields);
        self.head("101");
        self.echo("at the beginning");
    }

    /// Says something on the WebSocket, and hears it again.
    fn echo(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
        let mut heard = vec![0; text.len()];
        self.stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard, text.as_bytes());
    }
}

/// A connection with a small window, so that little is under way at a time.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_recv_buffer_size(256 << 10)?;
    socket.connect_timeout(&address.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Below the ports that kernels choose (`ip_local_port_range`, ip(7)): one of those may be in TIME-WAIT at a server that has
/// closed an earlier connection of the same client, which answers for it with ACKs.
const NOBODYS_PORT: u16 = 20_000;

/// What a client's kernel believes to be a connection, and no server knows of: made without a handshake (`TCP_REPAIR`,
/// tcp(7)). How what is said on it ends.
fn say_on_a_connection_of_nobodys(lab: &TwoPops, host: &str) -> io::Error {
    let said = lab.lab().within(host, || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let repair = |value: libc::c_int| {
            let (at, octets) =
                ((&raw const value).cast(), libc::socklen_t::try_from(size_of_val(&value)).unwrap());
            // SAFETY: TCP_REPAIR reads an int, which outlives the call.
            let answer = unsafe {
                libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, at, octets)
            };
            assert_eq!(answer, 0, "{}", io::Error::last_os_error());
        };
        let from: SocketAddr = ([0, 0, 0, 0], NOBODYS_PORT).into();
        socket.bind(&from.into()).unwrap();
        repair(1);
        socket.connect(&SocketAddr::from(([198, 18, 0, 1], 80)).into()).unwrap();
        repair(0);
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = TcpStream::from(socket);
        let said = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| stream.read(&mut [0]));
        Ok(said.expect_err("nobody answers"))
    });
    said.unwrap()
}

/// Has the origin serve a large file, and answer WebSockets with what they say.
fn prepare_origin(lab: &TwoPops) {
    std::fs::write(lab.data_dir("origin").join("large.bin"), vec![b'x'; FILE_OCTETS]).unwrap();
    let origin = lab.lab().plan().host("origin").unwrap().address4.to_string();
    lab.proxima("near-a", &["dns", "add", "example.com", "A", "ws", &origin, "--proxied"]);
    let port = WEBSOCKETS_PORT.to_string();
    lab.proxima("near-a", &["zones", "origin", "example.com", "--for", WEBSOCKETS, "--port", &port]);
    let listener =
        lab.lab().within("origin", || Ok(TcpListener::bind(("0.0.0.0", WEBSOCKETS_PORT)).unwrap()));
    let listener = listener.unwrap();
    // They end with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer_websocket(stream?));
        }
    });
    for (client, path) in [("near-a", format!("{WEBSOCKETS}/")), ("near-b", format!("{WEBSOCKETS}/"))] {
        // 502 and the like while the rule is not there yet; this origin knows nothing but upgrades.
        let resolve = format!("{WEBSOCKETS}:80:198.18.0.1");
        let url = format!("http://{path}");
        let upgrade = ["-H", "connection: Upgrade", "-H", "upgrade: websocket"];
        let args =
            [["-sSi", "--max-time", "1", "--resolve"].as_slice(), &[&resolve], &upgrade, &[&url]].concat();
        lab.until("WebSockets are answered", |_| lab.run(client, "curl", &args).starts_with("HTTP/1.1 101"));
    }
}

fn answer_websocket(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while line.trim_end() != "" || line.is_empty() {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    )?;
    io::copy(&mut reader, &mut stream).map(drop)
}

/// On a way that has become longer, BBR goes at a fraction of its pace for the ten seconds that it believes in the shorter
/// one: longer than a drain in the lab. How a congestion control takes that is not what is tested.
fn without_bbr(lab: &TwoPops, server: &str) {
    let chosen = || Ok(std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno"));
    lab.lab().within(server, chosen).unwrap().unwrap();
}

/// Whether a server has a TUN device, and the program on what comes in anywhere. The hook itself may stay.
fn attached(lab: &TwoPops, server: &str) -> (bool, bool) {
    let devices = devices(lab, server);
    let attached = devices.iter().any(|name| has_program(lab, server, name));
    (devices.iter().any(|name| name.starts_with("proxima")), attached)
}

fn devices(lab: &TwoPops, server: &str) -> Vec<String> {
    let listed = lab.run(server, "ip", &["-brief", "link"]);
    let names = listed.lines().filter_map(|line| line.split(['@', ' ']).next());
    names.map(str::to_owned).collect()
}

/// Whether the program is attached to a device: not, if that has gone meanwhile.
fn has_program(lab: &TwoPops, server: &str, device: &str) -> bool {
    lab.run(server, "tc", &["filter", "show", "dev", device, "ingress"]).contains("proxima_stray")
}

/// The device that the program is attached to.
fn uplink(lab: &TwoPops, server: &str) -> String {
    let mut devices = devices(lab, server).into_iter();
    devices.find(|device| has_program(lab, server, device)).expect("the program is attached")
}

fn terminate(lab: &TwoPops, server: &str) {
    kill(Pid::from_raw(lab.admin_pid(server)), Signal::SIGTERM).unwrap();
}

fn withdrawn(lab: &TwoPops, server: &str) {
    lab.until("the router has no route to the server any more", |status| {
        status.servers.iter().any(|known| known.name == server && known.announces.is_empty())
    });
}

fn nothing_is_attached(lab: &TwoPops, servers: &[&str]) {
    for server in servers {
        lab.until("nothing is attached any more", |_| attached(lab, server) == (false, false));
    }
}

#[test]
fn lab_connections_under_way_survive_the_drain_of_their_pop_and_its_return() {
    let lab = TwoPops::up("forward");
    prepare_origin(&lab);
    ["aaa-1", "bbb-1"].into_iter().for_each(|server| without_bbr(&lab, server));
    nothing_is_attached(&lab, &["aaa-1", "bbb-1"]);
    let (mut download, mut websocket) = (Client::connect(&lab, "near-a"), Client::connect(&lab, "near-a"));
    assert_eq!([&download.server, &websocket.server], ["aaa-1", "aaa-1"]);
    download.begin_download();
    websocket.upgrade();

    terminate(&lab, "aaa-1");
    withdrawn(&lab, "aaa-1");
    assert_eq!(attached(&lab, "bbb-1"), (true, true), "and this is how it is seen");
    // These are forwarded from the other PoP.
    websocket.echo("after the route has moved");
    let error = say_on_a_connection_of_nobodys(&lab, "near-a");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    download.end_download();
    // Somebody who makes the hook new, as other tools do, takes the program away for a moment: what arrives in it is
    // reset, and nothing is under way.
    let uplink = uplink(&lab, "bbb-1");
    lab.run("bbb-1", "tc", &["qdisc", "del", "dev", &uplink, "clsact"]);
    lab.until("the program is attached again", |_| attached(&lab, "bbb-1") == (true, true));
    websocket.echo("and again");
    drop((download, websocket));
    nothing_is_attached(&lab, &["bbb-1"]);

    // And back: what began at the other PoP goes on there.
    let (mut download, mut websocket) = (Client::connect(&lab, "near-a"), Client::connect(&lab, "near-a"));
    assert_eq!([&download.server, &websocket.server], ["bbb-1", "bbb-1"]);
    download.begin_download();
    websocket.upgrade();
    lab.fault(&Fault::Restart { server: "aaa-1".to_owned() });
    lab.until("the client is at home again", |status| at_home(status, "near-a"));
    websocket.echo("after the route has come back");
    let error = say_on_a_connection_of_nobodys(&lab, "near-a");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    download.end_download();
    websocket.echo("and again");
    // It closes its end, and its server's end is closed in turn: the connection is over.
    drop((download, websocket));
    nothing_is_attached(&lab, &["aaa-1", "bbb-1"]);
}

#[test]
fn lab_connections_under_way_survive_the_drain_of_one_server_of_a_pop() {
    let lab = TwoPops::up_with("forward-rack", ("rack.toml", include_str!("rack.toml")));
    prepare_origin(&lab);
    for (draining, other) in [("aaa-1", "aaa-2"), ("aaa-2", "aaa-1")] {
        let mut download = Client::connect_to(&lab, "near-a", draining);
        let mut websocket = Client::connect_to(&lab, "near-a", draining);
        let mut neighbours = Client::connect_to(&lab, "near-a", other);
        download.begin_download();
        websocket.upgrade();
        neighbours.upgrade();
        terminate(&lab, draining);
        withdrawn(&lab, draining);
        websocket.echo("after the route has moved");
        neighbours.echo("to which nothing happens");
        let error = say_on_a_connection_of_nobodys(&lab, "near-a");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        download.end_download();
        websocket.echo("and again");
        drop((download, websocket));
        lab.fault(&Fault::Restart { server: draining.to_owned() });
        neighbours.echo("nor when the route comes back");
    }
    nothing_is_attached(&lab, &["aaa-1", "aaa-2", "bbb-1"]);
}

#[test]
fn lab_a_pop_that_drains_as_a_whole_keeps_the_connections_of_each_of_its_servers() {
    let lab = TwoPops::up_with("forward-pop", ("rack.toml", include_str!("rack.toml")));
    prepare_origin(&lab);
    let servers = ["aaa-1", "aaa-2"];
    let mut websockets = servers.map(|server| Client::connect_to(&lab, "near-a", server));
    websockets.iter_mut().for_each(Client::upgrade);
    servers.iter().for_each(|server| terminate(&lab, server));
    servers.iter().for_each(|server| withdrawn(&lab, server));
    // One of the two is the second that is asked.
    websockets.iter_mut().for_each(|websocket| websocket.echo("after the routes have moved"));
    let error = say_on_a_connection_of_nobodys(&lab, "near-a");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    websockets.iter_mut().for_each(|websocket| websocket.echo("and again"));
    drop(websockets);
    nothing_is_attached(&lab, &["bbb-1"]);
}

#[test]
fn lab_forwarding_ends_soon_when_the_draining_server_freezes_or_dies() {
    let lab = TwoPops::up("forward-dead");
    prepare_origin(&lab);
    let mut websocket = Client::connect(&lab, "near-a");
    websocket.upgrade();
    terminate(&lab, "aaa-1");
    withdrawn(&lab, "aaa-1");
    websocket.echo("it is forwarded");
    lab.fault(&Fault::Stop { server: "aaa-1".to_owned() });
    let frozen = Instant::now();
    nothing_is_attached(&lab, &["bbb-1"]);
    println!("frozen, it was let go of after {:?}", frozen.elapsed());
    // The reset may have come already, for an acknowledgment that was under way.
    let said = websocket.stream.get_mut().write_all(b"lost");
    let error = said.and_then(|()| websocket.stream.read(&mut [0])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");

    lab.fault(&Fault::Restart { server: "aaa-1".to_owned() });
    lab.until("the client is at home again", |status| at_home(status, "near-a"));
    nothing_is_attached(&lab, &["aaa-1", "bbb-1"]);
    let mut websocket = Client::connect(&lab, "near-a");
    websocket.upgrade();
    terminate(&lab, "aaa-1");
    withdrawn(&lab, "aaa-1");
    assert_eq!(attached(&lab, "bbb-1"), (true, true));
    lab.fault(&Fault::Kill { server: "aaa-1".to_owned() });
    nothing_is_attached(&lab, &["bbb-1"]);
}
