//! Recursion in the lab: from its own root, through servers of other brands, to a zone on Proxima.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proxima_lab::{Fault, Lab, UpOptions};

/// A client in each region; each has a resolver.
const CLIENTS: [&str; 3] = ["paris", "boston", "bangkok"];
const PROXIMA: &str = env!("CARGO_BIN_EXE_proxima");
/// Where the zone on Proxima points to.
const ADDRESS: &str = "192.0.2.7";
/// A change is everywhere by then, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// Questions of each client whose times are told.
const QUESTIONS: u16 = 50;
/// What zonemaster finds at fault with the lab itself: addresses that are nobody's on the real internet, without names of
/// their own, and one anycast address of each family for both of Proxima's name servers.
const FAULTS_OF_THE_LAB: [&str; 5] = [
    "CHILD_NS_SAME_IP",
    "DEL_NS_SAME_IP",
    "NAMESERVER_IP_PRIVATE_NETWORK",
    "NAMESERVER_IP_WITHOUT_REVERSE",
    "SAME_IP_ADDRESS",
];
/// Names of which the servers of one PoP have each a part as their home's.
const SHARED: usize = 24;
/// How often each is asked for again: by now and then another server of the PoP, as routers have it.
const AGAIN: usize = 4;
/// Beyond the round trip: a thousand times what an answer costs, because the machine may also compile.
const OVER_ROUND_TRIP_MS_MAX: f64 = 100.0;

/// The default topology; gone when the test ends.
struct Names {
    lab: Option<Lab>,
}

impl Names {
    fn up() -> Self {
        let options = UpOptions {
            name: "names".to_owned(),
            proxima: Some(PROXIMA.into()),
            daemon: Some(PROXIMA.into()),
            ..UpOptions::default()
        };
        let lab = Lab::up(&options, &mut |step| println!("{step}")).unwrap_or_else(|error| panic!("{error}"));
        Self { lab: Some(lab) }
    }

    fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("the lab is up until it is dropped")
    }

    fn run(&self, host: &str, program: &str, args: &[&str]) -> String {
        let output = self.lab().command(host, program).unwrap().args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "{program} {args:?} on {host}: {text}");
        text
    }

    /// What a client's resolver says.
    fn ask(&self, client: &str, name: &str, more: &[&str]) -> String {
        let args = ["@127.0.0.1", "+dnssec", "+time=5", "+tries=6", name, "A"];
        self.run(client, "dig", &[&args, more].concat())
    }

    /// A client's resolver finds this name and believes it.
    fn is_believed(&self, client: &str, name: &str, address: &str) {
        let begun = Instant::now();
        let answer = self.ask(client, name, &[]);
        let took = begun.elapsed();
        let flags = answer.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_default();
        assert!(answer.contains("status: NOERROR"), "{client}: {answer}");
        assert!(flags.contains(" ad;") || flags.contains(" ad "), "{client}: not validated: {answer}");
        assert!(answer.contains(&format!("\tA\t{address}")), "{client}: {answer}");
        println!("{client}: {name}: {took:.0?}");
        let answer = self.ask_proxima(client, name, &[]);
        let validated = answer.lines().any(|line| line.starts_with(";; flags: qr rd ra ad;"));
        assert!(validated && answer.contains(&format!("\tA\t{address}")), "{client}, by Proxima: {answer}");
    }

    /// What Proxima's resolver in the nearest PoP says.
    fn ask_proxima(&self, client: &str, name: &str, more: &[&str]) -> String {
        let args = ["@198.18.0.1", "-p", "5353", "+dnssec", "+time=5", "+tries=6", name, "A"];
        self.run(client, "dig", &[&args, more].concat())
    }

    /// What zonemaster, which delegations are checked with, finds to be a warning or worse: its names for it, sorted.
    fn faults(&self, client: &str, zone: &str) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Fault {
            tag: String,
        }
        let hints = self.lab().state().root_hints();
        let hints = hints.to_str().unwrap();
        let args = ["--hints", hints, "--level", "WARNING", "--json", "--no-progress", zone];
        let told = self.run(client, "zonemaster-cli", &args);
        println!("zonemaster-cli {zone}: {told}");
        let faults: Vec<Fault> =
            serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
        let tags: BTreeSet<String> = faults.into_iter().map(|fault| fault.tag).collect();
        tags.into_iter().collect()
    }

    /// A client's resolver forgets all that it knows.
    fn forget(&self, client: &str) {
        let socket = self.lab().state().resolver_socket(client);
        let socket = socket.to_str().unwrap();
        let config = self.lab().state().config_dir(client).join("unbound.conf");
        let args = ["-c", config.to_str().unwrap(), "-s", socket, "flush_zone", "."];
        assert!(self.run(client, "unbound-control", &args).starts_with("ok"), "{client}");
    }

    /// Delegates until it is as wanted: the registry asks the PoP that is nearest to it, and changes travel.
    fn delegate_until(&self, zone: &str, wanted: &str) {
        let begun = Instant::now();
        loop {
            let told = self.lab().delegate(zone).unwrap_or_else(|error| error.to_string());
            if told.contains(wanted) {
                println!("{told}");
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "not in time: {wanted}; the last: {told}");
        }
    }

    /// The sum of a metric over all its labels that have this one, at both servers of a PoP.
    fn sum(&self, servers: [&str; 2], metric: &str, label: &str) -> u64 {
        let of = |server: &str| -> u64 {
            let metrics = self.run(server, "curl", &["-sS", "http://127.0.0.1:9090/metrics"]);
            let counted = metrics.lines().filter(|line| line.starts_with(metric) && line.contains(label));
            counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
        };
        servers.into_iter().map(of).sum()
    }

    /// What one server of a PoP has found, the other does not ask name servers for.
    fn are_shared(&self, client: &str, servers: [&str; 2]) {
        let ask = || {
            for number in 0..SHARED {
                let answer = self.ask_proxima(client, &format!("any.n{number}.shop.com"), &[]);
                assert!(answer.contains(&format!("\tA\t{ADDRESS}")), "{answer}");
            }
        };
        let homes = |outcome: &str| self.sum(servers, "proxima_resolver_homes_total", outcome);
        let queries = || self.sum(servers, "proxima_resolver_queries_total", "transport");
        ask();
        let (before, late) = (queries(), homes("late"));
        (0..AGAIN).for_each(|_| ask());
        let (found, kept, again) = (homes("resolution"), homes("cache"), queries() - before);
        println!(
            "{servers:?}: homes found {found} and had {kept}; name servers were asked {again} times again"
        );
        assert!(found + kept > 0, "nothing was asked of a home");
        assert!(again == 0 || homes("late") > late, "name servers were asked {again} times again");
    }

    fn fault(&self, fault: &Fault) {
        let report = self.lab().fault(fault).unwrap_or_else(|error| panic!("{fault}: {error}"));
        println!("{}: {}", report.fault, report.effect);
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let Some(lab) = self.lab.take() else { return };
        if std::thread::panicking() {
            match lab.status() {
                Ok(status) => println!("{status}"),
                Err(error) => println!("{error}"),
            }
            for client in CLIENTS {
                let log = lab.state().logs_dir(client).join("unbound.log");
                println!("{client}:\n{}", std::fs::read_to_string(log).unwrap_or_default());
            }
        }
        if let Err(error) = lab.down() {
            println!("the lab is not down: {error}");
        }
    }
}

#[test]
fn lab_resolvers_of_every_region_find_and_believe_zones_from_the_root_to_proxima() {
    let names = Names::up();
    let refused = names.lab().delegate("shop.com").unwrap_err().to_string();
    assert!(refused.contains("proxima zones add shop.com"), "{refused}");

    names.run("paris", PROXIMA, &["zones", "add", "shop.com"]);
    names.run("paris", PROXIMA, &["dns", "add", "shop.com", "A", "*", ADDRESS]);
    names.delegate_until("shop.com", "without DS");
    let answer = names.ask("boston", "bare.shop.com", &[]);
    assert!(answer.contains(ADDRESS) && !answer.contains(" ad;"), "it is not signed yet: {answer}");

    names.run("paris", PROXIMA, &["zones", "dnssec", "shop.com", "on"]);
    names.delegate_until("shop.com", "with 1 DS");
    for client in CLIENTS {
        names.forget(client);
        names.is_believed(client, "www.shop.com", ADDRESS);
        names.is_believed(client, "www.on-knot.com", "192.0.2.80");
        names.is_believed(client, "any.on-bind.example", "192.0.2.80");
        let bogus = names.ask(client, "www.bogus.example", &[]);
        assert!(bogus.contains("status: SERVFAIL"), "{client}: {bogus}");
        let unchecked = names.ask(client, "www.bogus.example", &["+cdflag"]);
        assert!(unchecked.contains("status: NOERROR"), "{client}: only its signatures are bad: {unchecked}");
        let bogus = names.ask_proxima(client, "www.bogus.example", &[]);
        assert!(bogus.contains("status: SERVFAIL") && bogus.contains("EDE: 9 "), "{client}: {bogus}");
        let unchecked = names.ask_proxima(client, "www.bogus.example", &["+cdflag", "+tcp"]);
        assert!(
            unchecked.contains("status: NOERROR") && !unchecked.contains(" ad;"),
            "{client}: {unchecked}"
        );
    }

    // A registry's check of the delegation has nothing to say against the zone.
    assert_eq!(names.faults("paris", "shop.com"), FAULTS_OF_THE_LAB);
    let faults = names.faults("boston", "bogus.example");
    assert!(
        faults.contains(&"DS02_NO_VALID_DNSKEY_FOR_ANY_DS".to_owned()),
        "it sees what is bogus: {faults:?}"
    );

    // Nobody but clients is resolved for.
    let refused = names.ask_proxima("iad-1", "www.on-knot.com", &[]);
    assert!(refused.contains("status: REFUSED") && refused.contains("EDE: 18 "), "{refused}");

    let times = names.lab().answer_times("www.shop.com", QUESTIONS).unwrap();
    assert_eq!(times.len(), CLIENTS.len());
    for times in times {
        println!("{times}");
        assert_eq!(times.lost, 0, "{times}");
        assert!(times.p50_ms < times.rtt_ms + OVER_ROUND_TRIP_MS_MAX, "{times}");
    }

    names.are_shared("paris", ["fra-1", "fra-2"]);

    // A root server is lost, and then a PoP: it costs nothing but time.
    names.fault(&Fault::Cut { from: "root-knot".to_owned(), to: "eu-transit".to_owned() });
    for client in CLIENTS {
        names.forget(client);
        names.is_believed(client, "without-a-root.shop.com", ADDRESS);
    }
    names.fault(&Fault::KillPop { pop: "FRA".to_owned() });
    for client in CLIENTS {
        names.is_believed(client, "without-a-pop.shop.com", ADDRESS);
    }
}
