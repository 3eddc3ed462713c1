//! Knot DNS and BIND with the same zones, until they are dropped.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use proxima_transfer::message::{self, Read};
use proxima_wire::rtype;
use tempfile::TempDir;

use super::{Said, reply::Reply};
use crate::support::Question;

/// How long a server may take for an answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked over UDP, which loses a datagram now and then.
const TRIES: usize = 4;

/// A program that ends with its value.
pub(super) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

impl Daemon {
    fn end(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }

    /// Starts it, and waits until it prints a line with `ready` in it.
    pub(super) fn start(command: &mut Command, ready: &str) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut daemon = Self(child.with_context(|| format!("{program}: `cargo xtask setup` installs it"))?);
        let mut lines = BufReader::new(daemon.0.stderr.take().context("its errors")?).lines();
        let mut said = Vec::new();
        let is_ready = lines.by_ref().map_while(Result::ok).any(|line| {
            let is_ready = line.contains(ready);
            said.push(line);
            is_ready
        });
        ensure!(is_ready, "{program}: {}", said.join("\n"));
        std::thread::spawn(move || lines.for_each(drop));
        Ok(daemon)
    }
}

/// An address that was free a moment ago, for both transports: those programs bind by themselves.
pub(super) fn free_address() -> Result<SocketAddr> {
    loop {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

/// A server that answers at an address.
pub(super) struct Server {
    daemon: Daemon,
    address: SocketAddr,
}

impl Server {
    pub(super) const fn new(daemon: Daemon, address: SocketAddr) -> Self {
        Self { daemon, address }
    }

    /// What it says.
    pub(super) fn ask(&self, question: &[u8]) -> Result<Said> {
        let answer = (0..TRIES).find_map(|_| self.ask_once(question).ok());
        let first = Reply::read(&answer.context("no answer over UDP")?)?;
        let whole = if first.truncated { self.ask_whole(question)? } else { first.clone() };
        Ok(Said { first, whole })
    }

    /// By a socket of its own, so that no late answer is taken for another question's.
    fn ask_once(&self, question: &[u8]) -> std::io::Result<Vec<u8>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(self.address)?;
        socket.send(question)?;
        let mut answer = vec![0; 4_096];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    }

    fn ask_whole(&self, question: &[u8]) -> Result<Reply> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[&u16::try_from(question.len())?.to_be_bytes()[..], question].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer)?;
        Reply::read(&answer)
    }
}

/// Both.
pub(super) struct Servers {
    knot: Server,
    bind: Server,
    /// Where their zones' files and configurations are.
    folder: TempDir,
    zones: Vec<String>,
}

impl Servers {
    /// With these zones: a name and a file's text each.
    pub(super) fn start(zones: &[(String, String)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, text) in zones {
            fs::write(folder.path().join(name), text)?;
        }
        let zones: Vec<String> = zones.iter().map(|(name, _)| name.clone()).collect();
        let (knot, bind) = (start_knot(folder.path(), &zones)?, start_bind(folder.path(), &zones)?);
        Ok(Self { knot, bind, folder, zones })
    }

    /// Both anew, with the same zones: one that was silent may answer nothing any more.
    pub(super) fn revive(&mut self) -> Result<()> {
        // Knot begins in no folder in which another one runs.
        self.knot.daemon.end();
        self.bind.daemon.end();
        self.knot = start_knot(self.folder.path(), &self.zones)?;
        self.bind = start_bind(self.folder.path(), &self.zones)?;
        Ok(())
    }

    /// Whether both serve the zone: a file that they take to be wrong they may refuse whole.
    pub(super) fn have(&self, apex: &str) -> Result<bool> {
        let question = Question::new(apex, 6).encode();
        let [knot, bind] = self.ask(&question)?;
        Ok([knot, bind].iter().all(|said| said.first.rcode == 0 && said.first.authoritative))
    }

    /// All records of a zone, transferred from BIND; the SOA record first and last.
    pub(super) fn transfer(&self, apex: &[u8]) -> Result<Vec<Read>> {
        let mut stream = TcpStream::connect(self.bind.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let question = message::question(7, 0, apex, rtype::AXFR);
        stream.write_all(&[&u16::try_from(question.len())?.to_be_bytes()[..], &question].concat())?;
        let mut records = Vec::new();
        while records.iter().filter(|record: &&Read| record.rtype == rtype::SOA).count() < 2 {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut answer = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut answer)?;
            let some = message::answers(&answer)?;
            ensure!(!some.is_empty(), "the transfer is refused");
            records.extend(some);
        }
        Ok(records)
    }

    /// What Knot says, and what BIND does.
    pub(super) fn ask(&self, question: &[u8]) -> Result<[Said; 2]> {
        Ok([self.knot.ask(question).context("knot")?, self.bind.ask(question).context("bind")?])
    }
}

fn start_knot(folder: &Path, zones: &[String]) -> Result<Server> {
    let (address, path) = (free_address()?, folder.display());
    let (ip, port) = (address.ip(), address.port());
    let mut text = format!(
        "server:\n  listen: {ip}@{port}\n  rundir: {path}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    server: info\n    zone: critical\n\
         database:\n  storage: {path}/knot\ntemplate:\n  - id: default\n    storage: {path}\n    \
         zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: none\n    semantic-checks: off\nzone:\n"
    );
    for zone in zones {
        writeln!(text, "  - domain: {zone}\n    file: {zone}")?;
    }
    fs::create_dir_all(folder.join("knot"))?;
    let config = folder.join("knot.conf");
    fs::write(&config, text)?;
    let daemon = Daemon::start(Command::new("knotd").arg("-c").arg(config), "server started")?;
    Ok(Server::new(daemon, address))
}

/// Its checks of whether a zone makes sense are off: what is to be answered from such a zone is the question. So is a TTL of
/// its own for the SOA record beside a denial of itself.
fn start_bind(folder: &Path, zones: &[String]) -> Result<Server> {
    let (address, path) = (free_address()?, folder.display());
    let (ip, port) = (address.ip(), address.port());
    let mut text = format!(
        "options {{ directory \"{path}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; recursion no; \
         pid-file none; session-keyfile none; dnssec-validation no; notify no; empty-zones-enable no; \
         check-integrity no; check-names primary ignore; check-sibling no; check-mx ignore; check-mx-cname ignore; \
         check-srv-cname ignore; check-dup-records ignore; check-wildcard no; zero-no-soa-ttl no; allow-transfer {{ any; }}; }};\ncontrols {{ }};\n"
    );
    for zone in zones {
        writeln!(text, "zone \"{zone}\" {{ type primary; file \"{zone}\"; }};")?;
    }
    let config = folder.join("named.conf");
    fs::write(&config, text)?;
    let daemon =
        Daemon::start(Command::new("named").args(["-g", "-n", "1", "-c"]).arg(config), "all zones loaded")?;
    Ok(Server::new(daemon, address))
}
