//! A small internet of a test's own, with one site on it; gone when the test ends.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use proxima_lab::{
    Fault, Lab, Status, UpOptions,
    traffic::{Ask, ClientTraffic, Traffic},
    workerd_in,
};

use crate::packages;

pub(crate) const HOST: &str = "www.example.com";
const PROXIMA: &str = env!("CARGO_BIN_EXE_proxima");
/// What must happen, happens by then, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// How much of each node's log a failed test shows.
const LOG_LINES: usize = 40;

pub(crate) struct TwoPops {
    lab: Option<Lab>,
}

impl TwoPops {
    pub(crate) fn up(name: &str) -> Self {
        Self::up_with(name, ("two_pops.toml", include_str!("two_pops.toml")))
    }

    /// With another topology, that has the same clients and the same origin.
    pub(crate) fn up_with(name: &str, topology: (&str, &str)) -> Self {
        Self::up_by(name, topology, None)
    }

    /// With a topology like that, whose servers run Workers.
    pub(crate) fn up_with_workers(name: &str, topology: (&str, &str)) -> Self {
        let workerd = workerd_in(&packages().join("workers/node_modules"));
        assert!(workerd.exists(), "{} is not there: run `cargo xtask setup`", workerd.display());
        Self::up_by(name, topology, Some(workerd))
    }

    fn up_by(name: &str, (file, topology): (&str, &str), workerd: Option<PathBuf>) -> Self {
        let options = UpOptions {
            workerd,
            name: name.to_owned(),
            topology: (file.to_owned(), topology.to_owned()),
            proxima: Some(PROXIMA.into()),
            daemon: Some(PROXIMA.into()),
            ..UpOptions::default()
        };
        let lab = Lab::up(&options, &mut |step| println!("{step}")).unwrap_or_else(|error| panic!("{error}"));
        let lab = Self { lab: Some(lab) };
        let origin = lab.lab().plan().host("origin").unwrap().address4.to_string();
        lab.proxima("near-a", &["zones", "add", "example.com"]);
        lab.proxima("near-a", &["dns", "add", "example.com", "A", "www", &origin, "--proxied"]);
        let asked = |client: &str| {
            lab.run(
                client,
                "curl",
                &["-sSi", "--resolve", &format!("{HOST}:80:198.18.0.1"), &format!("http://{HOST}/")],
            )
        };
        let begun = Instant::now();
        for client in ["near-a", "near-b"] {
            while !asked(client).starts_with("HTTP/1.1 200") {
                assert!(begun.elapsed() < DEADLINE, "{client} is not served: {}", asked(client));
            }
        }
        lab
    }

    pub(crate) fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("the lab is up until it is dropped")
    }

    pub(crate) fn data_dir(&self, server: &str) -> PathBuf {
        self.lab().state().data_dir(server)
    }

    pub(crate) fn run_dir(&self, server: &str) -> PathBuf {
        self.lab().state().run_dir(server)
    }

    pub(crate) fn fault(&self, fault: &Fault) {
        let report = self.lab().fault(fault).unwrap_or_else(|error| panic!("{fault}: {error}"));
        println!("{}: {}", report.fault, report.effect);
    }

    /// Steady traffic from both clients.
    pub(crate) fn traffic(&self) -> Traffic {
        let address = "198.18.0.1:80".parse().unwrap();
        let ask = Ask { address, host: HOST.to_owned(), path: "/".to_owned(), per_second: 50 };
        Traffic::start(self.lab(), &["near-a", "near-b"], &ask).unwrap()
    }

    /// Ends the traffic: no request may have failed.
    pub(crate) fn nothing_was_lost(traffic: Traffic) -> Vec<ClientTraffic> {
        let told = traffic.stop().unwrap();
        for client in &told {
            println!("{}: {} requests, by {:?}", client.client, client.outcomes.len(), client.pops());
            let begun = client.outcomes.first().map(|outcome| outcome.begun);
            for outcome in client.failed() {
                let after = begun.map(|begun| outcome.begun - begun);
                println!("{}: lost: begun after {after:?}, {outcome:?}", client.client);
            }
        }
        assert!(told.iter().all(|client| client.failed().next().is_none()), "requests were lost: see above");
        told
    }

    /// Waits until the lab's state is as wanted.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) {
        self.until_within(DEADLINE, what, wanted);
    }

    /// The same, for what may take longer than others do.
    pub(crate) fn until_within(&self, within: Duration, what: &str, wanted: impl Fn(&Status) -> bool) {
        let begun = Instant::now();
        loop {
            let status = self.lab().status().unwrap();
            if wanted(&status) {
                return;
            }
            assert!(begun.elapsed() < within, "not in time: {what}\n{status}");
        }
    }

    /// The process that serves on a server, as it says of itself; 0 while none answers.
    pub(crate) fn admin_pid(&self, server: &str) -> i32 {
        let status = self.run(server, "curl", &["-sS", "--max-time", "5", "http://127.0.0.1:9090/status"]);
        let pid = status.split("\"pid\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
        pid.and_then(|pid| pid.parse().ok()).unwrap_or_default()
    }

    /// Memory that the process which serves on a server has for itself: how much of the program and of mapped files the kernel
    /// keeps beside follows from how it was built, and from what else wants memory.
    pub(crate) fn own_kib(&self, server: &str) -> u64 {
        let pid = self.admin_pid(server);
        ["RssAnon:", "RssShmem:"].iter().map(|row| process_status(pid, row).unwrap()).sum()
    }

    /// A sample of a server's metrics, if it tells one.
    pub(crate) fn metric(&self, server: &str, series: &str) -> Option<f64> {
        let told = self.run(server, "curl", &["-sS", "--max-time", "5", "http://127.0.0.1:9090/metrics"]);
        let mut values = told.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        values.next()?.trim().parse().ok()
    }

    /// The paths that the origin was asked for by GET, in order.
    pub(crate) fn fetched(&self) -> Vec<String> {
        let log = self.lab().state().logs_dir("origin").join("access.log");
        let log = std::fs::read_to_string(log).unwrap();
        let path = |line: &str| Some(line.split_once("\"GET ")?.1.split_once(" HTTP")?.0.to_owned());
        log.lines().filter_map(path).collect()
    }

    pub(crate) fn run(&self, host: &str, program: &str, args: &[&str]) -> String {
        let output = self.lab().command(host, program).unwrap().args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    pub(crate) fn try_proxima(&self, host: &str, args: &[&str]) -> (bool, String) {
        let output = self.lab().command(host, PROXIMA).unwrap().args(args).output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }

    pub(crate) fn proxima(&self, host: &str, args: &[&str]) -> String {
        let (succeeded, text) = self.try_proxima(host, args);
        assert!(succeeded, "proxima {args:?}: {text}");
        text
    }

    /// What a failed test's reader needs, before the lab and its logs are gone.
    fn tell_what_was_seen(&self) {
        match self.lab().status() {
            Ok(status) => println!("{status}"),
            Err(error) => println!("{error}"),
        }
        for server in self.lab().plan().servers() {
            let name = &server.name;
            let log = self.lab().state().logs_dir(name).join("node.log");
            let log = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            println!("{name}:\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
            let metrics =
                self.run(name, "curl", &["-sS", "--max-time", "2", "http://127.0.0.1:9090/metrics"]);
            let ours = metrics.lines().filter(|line| line.starts_with("proxima_anycast"));
            ours.for_each(|line| println!("{line}"));
        }
        for host in self.lab().plan().servers().chain(self.lab().plan().clients()) {
            println!("{}:\n{}", host.name, self.run(&host.name, "ss", &["-tinoaH", "exclude", "listening"]));
        }
    }

    pub(crate) fn proxima_fails(&self, host: &str, args: &[&str]) -> String {
        let (succeeded, text) = self.try_proxima(host, args);
        assert!(!succeeded, "proxima {args:?} should have failed: {text}");
        text
    }
}

/// Whether all anycast addresses lead this client to its own PoP.
pub(crate) fn at_home(status: &Status, client: &str) -> bool {
    let pop = if client == "near-a" { "AAA" } else { "BBB" };
    status.client(client).is_some_and(|client| client.lands_only_at(pop))
}

/// The process that started this one; `None` if it is gone.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    process_status(pid, "PPid:").and_then(|parent| i32::try_from(parent).ok())
}

/// The first number in the line of a process' status that begins so.
fn process_status(pid: i32, row: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(row))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Drop for TwoPops {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_what_was_seen();
        }
        if let Some(lab) = self.lab.take()
            && let Err(error) = lab.down()
        {
            println!("the lab is not down: {error}");
        }
    }
}
