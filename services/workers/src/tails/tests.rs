//! Two servers, of which each asks the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture};
use http::{Request, Response};
use prometheus_client::registry::Registry;
use proxima_model::{AccountId, NodeName, PopCode, RegionName, Timestamp, WorkerName};
use proxima_pipeline::{
    AnswersServers as _, Body, NoAnswer, ServerAbout, Servers, Tail, TailEnd, TailRefused, TailSeen,
    TailStream, Tails as _,
};
use serde_json::json;
use tokio::time::{Instant, interval};

use super::{Answers, Looks, Network, network::HELD_MAX};
use crate::metrics::Metrics;

const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);

/// The other server, as the first one reaches it.
struct Other {
    about: Vec<ServerAbout>,
    answers: Answers,
    is_away: AtomicBool,
    asked: AtomicUsize,
}

impl Servers for Other {
    fn all(&self) -> &[ServerAbout] {
        &self.about
    }

    fn me(&self) -> &NodeName {
        &self.about[0].name
    }

    fn ask<'a>(
        &'a self,
        server: &'a NodeName,
        service: &'static str,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, NoAnswer>> {
        assert_eq!((server.as_str(), service), ("other", super::TAILS_SERVICE));
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            if self.is_away.load(Ordering::Relaxed) {
                return Err(NoAnswer::Lost);
            }
            Ok(self.answers.answer(self.me(), request).await)
        })
    }
}

struct Two {
    here: Arc<Looks>,
    network: Network,
    there: Arc<Looks>,
    other: Arc<Other>,
}

fn two() -> Two {
    let looks = || Looks::new(Metrics::register(&mut Registry::default()));
    let about = |name| ServerAbout {
        name: NodeName::parse(name).unwrap(),
        pop: PopCode::parse("FRA").unwrap(),
        region: RegionName::parse("europe").unwrap(),
    };
    let (here, there) = (looks(), looks());
    let other = Arc::new(Other {
        about: vec![about("me"), about("other")],
        answers: Answers(Arc::clone(&there)),
        is_away: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
    });
    let network = Network::new(Arc::clone(&here));
    network.over(other.clone());
    Two { here, network, there, other }
}

fn worker() -> WorkerName {
    WorkerName::parse("app").unwrap()
}

impl Two {
    fn open(&self, id: &str) -> Result<TailStream, TailRefused> {
        let expires = Timestamp::from_millis(0);
        let tail =
            Tail { id: id.to_owned(), account: ACCOUNT, worker: worker(), expires, filters: Vec::new() };
        self.network.open(tail)
    }

    /// Until the other server knows of it, or not any more.
    async fn until_there(&self, is_looked_at: bool) {
        pass(|| self.there.is_looked_at(ACCOUNT, &worker()) == is_looked_at).await;
    }
}

/// Lets time pass until this is so.
async fn pass(is_so: impl Fn() -> bool) {
    let mut due = interval(Duration::from_millis(10));
    while !is_so() {
        due.tick().await;
    }
}

fn happens(at: &Looks, number: u32) {
    at.tell(ACCOUNT, &worker(), json!({ "number": number }));
}

fn event(number: u32) -> Option<TailSeen> {
    Some(TailSeen::Event(json!({ "number": number }).to_string().into()))
}

#[tokio::test(start_paused = true)]
async fn what_happens_on_either_server_is_seen_until_nobody_looks() {
    let two = two();
    let mut seen = two.open("tail").unwrap();
    two.until_there(true).await;
    happens(&two.here, 1);
    assert_eq!(seen.next().await, event(1));
    happens(&two.there, 2);
    assert_eq!(seen.next().await, event(2));
    assert_eq!(two.network.list(ACCOUNT, &worker()).len(), 1);
    assert_eq!(two.there.tails(ACCOUNT, &worker())[0].id, "tail");
    drop(seen);
    two.until_there(false).await;
    assert!(!two.here.is_looked_at(ACCOUNT, &worker()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_delays_nothing_and_is_seen_when_it_is_back() {
    let two = two();
    two.other.is_away.store(true, Ordering::Relaxed);
    let mut seen = two.open("tail").unwrap();
    happens(&two.here, 1);
    assert_eq!(seen.next().await, event(1));
    let until = Instant::now() + Duration::from_secs(600);
    pass(|| Instant::now() >= until).await;
    let asked = two.other.asked.load(Ordering::Relaxed);
    assert!((45..=90).contains(&asked), "{asked} times in ten minutes");
    two.other.is_away.store(false, Ordering::Relaxed);
    two.until_there(true).await;
    happens(&two.there, 2);
    assert_eq!(seen.next().await, event(2));
    // It ends, and begins again.
    two.there.end_all();
    two.until_there(false).await;
    happens(&two.here, 3);
    assert_eq!(seen.next().await, event(3), "the tail goes on");
}

#[tokio::test(start_paused = true)]
async fn a_tail_that_is_ended_on_another_server_ends() {
    let two = two();
    let (mut seen, mut another) = (two.open("tail").unwrap(), two.open("another").unwrap());
    pass(|| two.there.tails(ACCOUNT, &worker()).len() == 2).await;
    two.there.end(ACCOUNT, &worker(), "tail");
    assert_eq!(seen.next().await, Some(TailSeen::Ended(TailEnd::Done)));
    assert_eq!(seen.next().await, None);
    happens(&two.there, 1);
    assert_eq!(another.next().await, event(1));
}

#[tokio::test(start_paused = true)]
async fn a_server_shows_so_many_tails_and_no_more() {
    let two = two();
    let of = |number: usize| Tail {
        id: String::new(),
        account: ACCOUNT,
        worker: WorkerName::parse(&format!("app{number}")).unwrap(),
        expires: Timestamp::from_millis(0),
        filters: Vec::new(),
    };
    let mut held: Vec<_> = (0..HELD_MAX).map(|number| two.network.open(of(number)).unwrap()).collect();
    assert_eq!(two.network.open(of(HELD_MAX)).err(), Some(TailRefused::ServerFull));
    held.pop();
    assert!(two.network.open(of(HELD_MAX)).is_ok());
}
