//! One `proxima dev` of a test's own: its own data folder, ports chosen by the kernel, dead when the test is.

use std::{
    io::{BufRead, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{dies_with_the_test, free_for_both, output, workerd};

pub(crate) const PROXIMA: &str = env!("CARGO_BIN_EXE_proxima");
/// What must happen, happens by then, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// How long `proxima dev` lets what was begun come to its end.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// The least that the cache may be given of a disk.
const CACHE_DISK_MIN: u64 = 64 << 20;
/// Whoever is nobody on every system.
const NOBODY: u32 = 65_534;

/// Which program is run, and as whom.
struct Program {
    path: PathBuf,
    /// Another user than the test's.
    user: Option<u32>,
    /// The socket of whom it is to tell how it is, as systemd would have it.
    supervisor: Option<PathBuf>,
    /// Whether requests are logged.
    logs_requests: bool,
    /// Octets that its cache may take of the disk.
    cache_disk: Option<u64>,
    /// Octets of a file system of its own below the cache's folder.
    file_system: Option<u64>,
}

impl Program {
    fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            user: None,
            supervisor: None,
            logs_requests: false,
            cache_disk: None,
            file_system: None,
        }
    }
}

pub(crate) struct Dev {
    folder: tempfile::TempDir,
    program: Program,
    child: Child,
    pub(crate) http: SocketAddr,
    https: SocketAddr,
    dns: SocketAddr,
    pub(crate) api: SocketAddr,
    admin: SocketAddr,
    pub(crate) s3: SocketAddr,
}

impl Dev {
    pub(crate) fn start() -> Self {
        Self::with(tempfile::tempdir().unwrap(), Program::at(PROXIMA))
    }

    /// As [`Self::start`], without root's rights whoever runs the test: a copy of the program, in a folder that every user
    /// may enter, with data of the user `nobody`.
    pub(crate) fn start_without_root() -> Self {
        Self::without_root(None)
    }

    /// As [`Self::start_without_root`], with segments of the least size on the cache's disk.
    pub(crate) fn start_without_root_with_small_segments() -> Self {
        Self::without_root(Some(CACHE_DISK_MIN))
    }

    /// As [`Self::start`], with a file system of so many octets of its own where the cache's disk is, which is smaller than what
    /// that may take; it is gone when the process is.
    pub(crate) fn start_on_a_disk_of(octets: u64) -> Self {
        let program =
            Program { cache_disk: Some(CACHE_DISK_MIN), file_system: Some(octets), ..Program::at(PROXIMA) };
        Self::with(tempfile::tempdir().unwrap(), program)
    }

    fn without_root(cache_disk: Option<u64>) -> Self {
        if !nix::unistd::geteuid().is_root() {
            return Self::with(tempfile::tempdir().unwrap(), Program { cache_disk, ..Program::at(PROXIMA) });
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxima");
        std::fs::copy(PROXIMA, &path).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let data = data_in(&folder);
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        Self::with(folder, Program { user: Some(NOBODY), cache_disk, ..Program::at(path) })
    }

    /// As [`Self::start`], but a copy of the program, for [`Self::replace_program`].
    pub(crate) fn start_copy() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxima");
        std::fs::copy(PROXIMA, &path).unwrap();
        Self::with(folder, Program::at(path))
    }

    /// As [`Self::start`], by a supervisor that listens here.
    pub(crate) fn start_supervised(supervisor: &Path) -> Self {
        let program = Program { supervisor: Some(supervisor.to_owned()), ..Program::at(PROXIMA) };
        Self::with(tempfile::tempdir().unwrap(), program)
    }

    /// As [`Self::start`], with a log of requests at [`Self::request_log`].
    pub(crate) fn start_logging() -> Self {
        let program = Program { logs_requests: true, ..Program::at(PROXIMA) };
        Self::with(tempfile::tempdir().unwrap(), program)
    }

    pub(crate) fn request_log(&self) -> PathBuf {
        self.folder.path().join("requests")
    }

    /// Puts another copy of the program in its place, as an upgrade does: written beside, then renamed.
    pub(crate) fn replace_program(&self) {
        let beside = self.program.path.with_extension("new");
        std::fs::copy(PROXIMA, &beside).unwrap();
        std::fs::rename(&beside, &self.program.path).unwrap();
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program.path
    }

    fn with(folder: tempfile::TempDir, program: Program) -> Self {
        let (any, dns) = (SocketAddr::from(([127, 0, 0, 1], 0)), free_for_both());
        let (child, table) = spawn(&program, &folder, [any, any, dns, any, any, any]);
        let rows = ["HTTP ", "HTTPS ", "API ", "admin ", "S3 "];
        let [http, https, api, admin, s3] = rows.map(|row| address(&table, row));
        Self { folder, program, child, http, https, dns, api, admin, s3 }
    }

    /// The same server, at the same addresses, after its process has ended.
    pub(crate) fn start_again(&mut self) {
        let at = [self.http, self.https, self.dns, self.api, self.admin, self.s3];
        (self.child, _) = spawn(&self.program, &self.folder, at);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end; how long it took until it had, with success.
    pub(crate) fn terminate(&mut self) -> Duration {
        let begun = Instant::now();
        self.signal(Signal::SIGTERM);
        assert!(self.child.wait().unwrap().success());
        begun.elapsed()
    }

    /// Has the next process take over, and waits until this one has ended.
    pub(crate) fn restart_gracefully(&mut self) {
        self.signal(Signal::SIGUSR2);
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// The process that serves, as it says of itself.
    pub(crate) fn pid(&self) -> u64 {
        let begun = Instant::now();
        loop {
            // While one process takes over from another, the former may still take a connection and end.
            match self.status() {
                Some(status) => return status["pid"].as_u64().unwrap(),
                None => assert!(begun.elapsed() < DEADLINE, "no status\n{}", self.log()),
            }
        }
    }

    /// What it said of itself on standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn resident_kib(&self) -> u64 {
        self.process_status("VmRSS:")
    }

    /// The most that it had resident since it began, or since that was forgotten.
    pub(crate) fn resident_kib_max(&self) -> u64 {
        self.process_status("VmHWM:")
    }

    /// Has [`Self::resident_kib_max`] begin anew. Where the kernel does not let us, that only says more than it should.
    pub(crate) fn forget_resident_kib_max(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").ok();
    }

    /// The effective user as whom it serves.
    pub(crate) fn user(&self) -> u64 {
        self.process_status("Uid:")
    }

    /// The first number in the line of the process' status that begins so.
    pub(crate) fn process_status(&self, row: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(row)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn data(&self) -> PathBuf {
        data_in(&self.folder)
    }

    /// Where the cache's disk lies, as the process sees it.
    pub(crate) fn cache_folder(&self) -> PathBuf {
        let folder = self.data().join("cache");
        match self.program.file_system {
            Some(_) => {
                Path::new(&format!("/proc/{}/root", self.pid())).join(folder.strip_prefix("/").unwrap())
            }
            None => folder,
        }
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.data().join("token")).unwrap().trim().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let token = self.token();
        let mut command = Command::new(PROXIMA);
        command.args(args).env("PROXIMA_API", format!("http://{}", self.api)).env("PROXIMA_TOKEN", token);
        command
    }

    fn client(&self, args: &[&str]) -> (bool, String) {
        output(&mut self.command(args))
    }

    /// Begins a command of the client, and does not wait for it.
    pub(crate) fn begin(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A command of the client that succeeds; what it printed.
    pub(crate) fn proxima(&self, args: &[&str]) -> String {
        let (succeeded, text) = self.client(args);
        assert!(succeeded, "proxima {args:?}: {text}");
        self.until_in_force();
        text
    }

    /// Waits until what is in the replica is in force. The answer to a change says only that it is in the replica.
    pub(crate) fn until_in_force(&self) {
        let begun = Instant::now();
        // A process that ends, or that another one takes over from, says nothing.
        let Some(seq) = self.status().and_then(|status| status["ledger"]["seq"].as_u64()) else { return };
        while let Some(status) = self.status()
            && status["in_force"].as_u64().is_none_or(|in_force| in_force < seq)
        {
            assert!(begun.elapsed() < DEADLINE, "{seq} is not in force: {status}");
        }
    }

    /// How it is, as it says of itself.
    fn status(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let answer = std::io::read_to_string(stream).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// A command of the client that fails; what it printed.
    pub(crate) fn proxima_fails(&self, args: &[&str]) -> String {
        let (succeeded, text) = self.client(args);
        assert!(!succeeded, "proxima {args:?} should have failed: {text}");
        text
    }

    /// One call of the API: its status and its answer.
    pub(crate) fn api(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> (String, Value) {
        let (_, text) = output(&mut self.api_command(method, path, body, token));
        let (answer, code) = text.rsplit_once('\n').unwrap();
        let answer =
            serde_json::from_str(answer).unwrap_or_else(|_| panic!("{method} {path}: not JSON: {text}"));
        if method != "GET" {
            self.until_in_force();
        }
        (code.to_owned(), answer)
    }

    /// `curl`, about to make one call of the API; the answer's status is the last line that it prints.
    pub(crate) fn api_command(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> Command {
        let mut curl = Command::new("curl");
        let bearer = format!("authorization: Bearer {}", token.unwrap_or(&self.token()));
        curl.args(["-sS", "-X", method, "-w", "\n%{http_code}", "-H", &bearer]);
        if let Some(body) = body {
            curl.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
        }
        curl.arg(format!("http://{}/client/v4{path}", self.api));
        curl
    }

    /// Changes a setting of a zone.
    pub(crate) fn set(&self, zone: &str, setting: &str, value: &str) {
        let path = format!("/zones/{}/settings/{setting}", self.zone(zone));
        let (code, answer) = self.api("PATCH", &path, Some(&serde_json::json!({ "value": value })), None);
        assert_eq!(code, "200", "{answer}");
    }

    pub(crate) fn zone(&self, name: &str) -> String {
        let (_, zones) = self.api("GET", &format!("/zones?name={name}"), None, None);
        zones["result"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Has an origin rule send all requests of a zone to this port.
    pub(crate) fn send_to_origin(&self, zone: &str, port: u16) {
        let id = self.zone(zone);
        let rule = serde_json::json!({ "rules": [{ "action": "route", "expression": "true", "enabled": true,
            "action_parameters": { "origin": { "port": port } } }] });
        let path = format!("/zones/{id}/rulesets/phases/http_request_origin/entrypoint");
        let (code, answer) = self.api("PUT", &path, Some(&rule), None);
        assert_eq!(code, "200", "{answer}");
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.https
    }

    pub(crate) fn http_url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.http.port())
    }

    pub(crate) fn https_url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.https.port())
    }

    /// `curl`, with every name led to this server, trusting its authority; the answer as it came.
    pub(crate) fn curl(&self, args: &[&str]) -> String {
        output(&mut self.curl_command(&self.data().join("ca.pem"), args)).1
    }

    /// `curl`, about to ask this server by every name, trusting this authority.
    pub(crate) fn curl_command(&self, authority: &Path, args: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--connect-to", &format!("::{}:", self.http.ip()), "--max-time", "20", "--cacert"])
            .arg(authority)
            .args(args);
        curl
    }

    /// `curl` until the answer has `wanted` in it.
    pub(crate) fn curl_until(&self, args: &[&str], wanted: &str) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.curl(args);
            if answer.contains(wanted) {
                return answer;
            }
            assert!(begun.elapsed() < DEADLINE, "no answer with {wanted:?}; the last one: {answer}");
        }
    }

    /// Where it answers DNS.
    pub(crate) fn dns(&self) -> SocketAddr {
        self.dns
    }

    pub(crate) fn dig(&self, args: &[&str]) -> String {
        output(&mut self.dig_command(args)).1
    }

    /// `dig`, about to ask this server.
    pub(crate) fn dig_command(&self, args: &[&str]) -> Command {
        let (at, port) = (format!("@{}", self.dns.ip()), self.dns.port().to_string());
        let mut dig = Command::new("dig");
        dig.args([&at, "-p", &port]).args(args);
        dig
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        // After a graceful restart those that serve are no children of ours: they are known by their folder.
        let folder = data_in(&self.folder).display().to_string();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            if let Some(pid) = pid.filter(|_| String::from_utf8_lossy(&command).contains(&folder)) {
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
        }
    }
}

/// Where a server keeps its data, in a test's folder.
fn data_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("data")
}

fn spawn(program: &Program, folder: &tempfile::TempDir, at: [SocketAddr; 6]) -> (Child, String) {
    let log_path = folder.path().join("log");
    let log = std::fs::File::options().create(true).append(true).open(&log_path).unwrap();
    let mut command = match program.file_system {
        Some(octets) => with_file_system(&program.path, octets, &data_in(folder).join("cache")),
        None => Command::new(&program.path),
    };
    command.arg("dev").arg("--data").arg(data_in(folder));
    if let Some(octets) = program.cache_disk {
        command.args(["--cache-disk", &octets.to_string()]);
    }
    if program.logs_requests {
        command.arg("--request-log").arg(folder.path().join("requests"));
    }
    if let Some(user) = program.user {
        command.uid(user).gid(user);
    }
    command.envs(workerd().map(|program| ("PROXIMA_WORKERD", program)));
    if let Some(supervisor) = &program.supervisor {
        command.env("NOTIFY_SOCKET", supervisor);
    }
    let flags = ["--http", "--https", "--dns", "--api", "--admin", "--s3"];
    for (flag, address) in flags.into_iter().zip(at) {
        command.args([flag, &address.to_string()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = dies_with_the_test(&mut command).spawn().unwrap();
    let mut table = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        match lines.next() {
            Some(Ok(line)) if line == "ready" => break,
            Some(Ok(line)) => table.extend([&line, "\n"]),
            _ => panic!("proxima dev did not start: {}", std::fs::read_to_string(&log_path).unwrap()),
        }
    }
    // The network's own authority is made moments after the first start.
    let (authority, begun) = (data_in(folder).join("ca.pem"), Instant::now());
    while !authority.exists() {
        assert!(begun.elapsed() < DEADLINE, "no {}", authority.display());
        std::thread::yield_now();
    }
    // What it says later goes nowhere, but must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, table)
}

/// A program that sees a file system of its own, of so many octets, at this folder.
fn with_file_system(program: &Path, octets: u64, at: &Path) -> Command {
    std::fs::create_dir_all(at).unwrap();
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    // Each becomes the next: the process is the same throughout.
    let script = "mount -t tmpfs -o size=$0 tmpfs \"$1\" && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(octets.to_string()).arg(at).arg(program);
    command
}

/// The address in the row of the table that begins so.
fn address(table: &str, row: &str) -> SocketAddr {
    let line =
        table.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("no {row}in {table}"));
    let word = line.split_whitespace().nth(1).unwrap();
    word.rsplit("//").next().unwrap().split('/').next().unwrap().parse().unwrap()
}
