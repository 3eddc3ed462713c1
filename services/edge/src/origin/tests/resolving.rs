//! Origins that are given by a name.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use proxima_model::ZoneStatus;
use proxima_pipeline::{Fault, Site};
use smallvec::smallvec;
use tokio::sync::Mutex;

use super::super::names::{LookedUp, Lookup, Names, resolver};
use crate::stages::tests::fixtures::{BrokenSites, FixedSites, site_of, zone};

/// A resolver that says what it is told to say.
#[derive(Clone)]
struct Told {
    says: Arc<Mutex<LookedUp>>,
    asked: Arc<AtomicUsize>,
}

impl Told {
    fn to_say(says: LookedUp) -> Self {
        Self { says: Arc::new(Mutex::new(says)), asked: Arc::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Lookup for Told {
    async fn look_up(&self, _name: &str) -> LookedUp {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.says.lock().await.clone()
    }
}

fn found(address: &str, seconds: u64) -> LookedUp {
    LookedUp::Found(smallvec![address.parse().unwrap()], Duration::from_secs(seconds))
}

fn names(sites: Vec<Arc<Site>>, told: &Told) -> Names {
    Names::new(Arc::new(FixedSites(sites)), Box::new(told.clone()), Duration::from_secs(5))
}

async fn first(names: &Names, name: &str) -> Result<String, Fault> {
    names.addresses(name).await.map(|addresses| addresses[0].to_string())
}

#[tokio::test]
async fn names_in_our_own_zones_are_known_here_through_aliases() {
    let told = Told::to_say(found("203.0.113.1", 60));
    let one = site_of(
        zone("example.com"),
        &[("a.example.com", "b.example.net"), ("out.example.com", "elsewhere.example")],
        Vec::new(),
    );
    let two = site_of(
        zone("example.net"),
        &[("b.example.net", "c.example.net"), ("c.example.net", "192.0.2.3")],
        Vec::new(),
    );
    let names = names(vec![one, two], &told);
    assert_eq!(first(&names, "a.example.com").await, Ok("192.0.2.3".to_owned()));
    assert_eq!(told.asked(), 0);
    assert_eq!(first(&names, "out.example.com").await, Ok("203.0.113.1".to_owned()));
    assert_eq!(
        first(&names, "delegated.example.com").await,
        Ok("203.0.113.1".to_owned()),
        "below a delegation"
    );
}

#[tokio::test]
async fn aliases_that_lead_in_a_circle_lead_nowhere() {
    let told = Told::to_say(LookedUp::Failed);
    let circle = site_of(
        zone("example.com"),
        &[("a.example.com", "b.example.com"), ("b.example.com", "a.example.com")],
        Vec::new(),
    );
    assert_eq!(first(&names(vec![circle], &told), "a.example.com").await, Err(Fault::OriginName));
}

#[tokio::test]
async fn a_zone_that_is_not_active_says_nothing_about_origins() {
    let told = Told::to_say(found("203.0.113.1", 60));
    let mut pending = zone("victim.example");
    pending.status = ZoneStatus::Pending;
    let pending = site_of(pending, &[("www.victim.example", "192.0.2.66")], Vec::new());
    assert_eq!(first(&names(vec![pending], &told), "www.victim.example").await, Ok("203.0.113.1".to_owned()));
}

#[tokio::test]
async fn a_replica_that_cannot_be_read_is_our_fault() {
    let told = Told::to_say(LookedUp::Failed);
    let names = Names::new(Arc::new(BrokenSites), Box::new(told), Duration::from_secs(5));
    assert!(matches!(names.addresses("a.example").await, Err(Fault::Internal(_))));
}

#[tokio::test(start_paused = true)]
async fn answers_are_remembered_within_bounds_of_their_ttl() {
    for (ttl_seconds, remembered_ms, forgotten_ms) in
        [(60, 59_000, 61_000), (0, 1_900, 2_100), (86_400, 299_000, 301_000)]
    {
        let told = Told::to_say(found("203.0.113.1", ttl_seconds));
        let names = names(Vec::new(), &told);
        assert!(names.addresses("origin.example").await.is_ok());
        tokio::time::advance(Duration::from_millis(remembered_ms)).await;
        assert!(names.addresses("origin.example").await.is_ok());
        assert_eq!(told.asked(), 1, "TTL {ttl_seconds}");
        tokio::time::advance(Duration::from_millis(forgotten_ms - remembered_ms)).await;
        assert!(names.addresses("origin.example").await.is_ok());
        assert_eq!(told.asked(), 2, "TTL {ttl_seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn that_a_name_has_no_address_is_remembered_for_a_while() {
    let told = Told::to_say(LookedUp::Nothing(Duration::from_secs(3600)));
    let names = names(Vec::new(), &told);
    assert_eq!(first(&names, "origin.example").await, Err(Fault::OriginName));
    assert_eq!(first(&names, "origin.example").await, Err(Fault::OriginName));
    assert_eq!(told.asked(), 1);
    *told.says.lock().await = found("203.0.113.1", 60);
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(first(&names, "origin.example").await, Ok("203.0.113.1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_former_answer_is_used_while_no_resolver_answers() {
    let told = Told::to_say(found("203.0.113.1", 10));
    let names = names(Vec::new(), &told);
    assert!(names.addresses("origin.example").await.is_ok());
    *told.says.lock().await = LookedUp::Failed;
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(first(&names, "origin.example").await, Ok("203.0.113.1".to_owned()));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(first(&names, "origin.example").await, Err(Fault::OriginName));
}

#[tokio::test]
async fn all_who_ask_at_once_wait_for_one_answer() {
    let told = Told::to_say(found("203.0.113.1", 60));
    let names = names(Vec::new(), &told);
    let asking = (0..50).map(|_| names.addresses("origin.example"));
    assert!(futures_util::future::join_all(asking).await.iter().all(Result::is_ok));
    assert_eq!(told.asked(), 1);
}

/// A name server that knows `origin.example`, and that nothing else exists.
async fn name_server() -> std::net::SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut datagram = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
            let question_end = 12 + datagram[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
            let question = &datagram[12..question_end];
            let known = question.to_ascii_lowercase().starts_with(b"\x06origin\x07example\x00");
            let wants_a = question[question.len() - 4..] == [0, 1, 0, 1];
            let code = if known { 0 } else { 3 };
            let mut answer = datagram[..2].to_vec();
            answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(known && wants_a), 0, 0, 0, 0]);
            answer.extend(question);
            if known && wants_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 77, 0, 4, 203, 0, 113, 9]);
            }
            assert!(length >= question_end);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn the_resolvers_of_the_configuration_are_asked() {
    let resolver = resolver(&[name_server().await]).unwrap();
    let LookedUp::Found(addresses, ttl) = resolver.look_up("origin.example").await else {
        panic!("it is known")
    };
    assert_eq!(addresses.to_vec(), ["203.0.113.9".parse::<std::net::IpAddr>().unwrap()]);
    assert!(ttl > Duration::from_secs(60) && ttl <= Duration::from_secs(77), "{ttl:?}");
    assert!(matches!(resolver.look_up("nowhere.example").await, LookedUp::Nothing(_)));
}

#[tokio::test]
async fn without_resolvers_the_machines_are_asked() {
    let LookedUp::Found(addresses, _) = resolver(&[]).unwrap().look_up("localhost").await else {
        panic!("every machine knows itself")
    };
    assert!(addresses.iter().all(std::net::IpAddr::is_loopback));
}
