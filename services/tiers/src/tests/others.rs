//! Services that ask their like on other servers.

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use proxima_model::{NodeName, PopCode};
use proxima_pipeline::{AnswersServers, Body, NoAnswer, SERVER_REQUESTS_MAX, ServerAbout, Servers as _};
use tokio_util::sync::CancellationToken;

use super::{World, metrics, servers};
use crate::{map::Map, others::Others, peers::Peers};

/// A service that says who asked it what.
pub(super) struct Echo;

const OCTETS_MAX: usize = 8 << 20;

impl AnswersServers for Echo {
    fn answer<'a>(&'a self, asker: &'a NodeName, request: Request<Body>) -> BoxFuture<'a, Response<Body>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect(OCTETS_MAX).await.expect("what was sent");
            let mut response = Response::new(Body::full(body));
            *response.status_mut() = StatusCode::CREATED;
            let said =
                format!("{asker} {} {}", parts.uri.path(), parts.headers.contains_key("proxima-service"));
            response.headers_mut().insert("said", said.parse().expect("a value"));
            // Only the server itself says it.
            response.headers_mut().insert("proxima-tier-declined", "me".parse().expect("a value"));
            response
        })
    }
}

fn name(name: &str) -> NodeName {
    NodeName::parse(name).expect("a name")
}

fn request(path: &str, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.uri_mut() = path.parse().expect("a path");
    request
}

#[tokio::test]
async fn a_service_asks_its_like_on_a_server_that_caches_ask() {
    let world = World::new().await;
    let others = Others::of(&world.peers);
    assert_eq!(others.all().iter().map(|about| about.name.as_str()).collect::<Vec<_>>(), ["here", "there"]);
    assert_eq!(others.me().as_str(), "here");
    let long = vec![b'x'; 3 << 20];
    let asked = others.ask(&name("there"), "echo", request("/a/b?c", Body::full(long.clone()))).await;
    let answered = asked.expect("answered");
    assert_eq!(answered.status(), StatusCode::CREATED);
    assert_eq!(answered.headers()["said"], "here /a/b false");
    assert_eq!(answered.into_body().collect(OCTETS_MAX).await.expect("whole"), long);
    for (server, service) in [("there", "nobody"), ("here", "echo"), ("elsewhere", "echo")] {
        let asked = others.ask(&name(server), service, request("/", Body::empty())).await;
        assert_eq!(asked.err(), Some(NoAnswer::Declined), "{server} {service}");
    }
}

#[tokio::test]
async fn a_connection_to_a_server_that_no_cache_asks_is_made_when_it_is_needed() {
    let world = World::new().await;
    let mut config = servers(&["here", "there"], world.address);
    config.servers[1].pop = PopCode::parse("SIN").expect("a code");
    let peers = Peers::new(Map::new(&config, &name("here")).expect("among them"), metrics());
    let others = Others::of(&peers);
    let asked = others.ask(&name("there"), "echo", request("/", Body::empty())).await;
    assert_eq!(asked.err(), Some(NoAnswer::Lost), "the service does not run yet");
    let stop = CancellationToken::new();
    peers.keep(&world.identity("here"), &stop);
    let all = (0..8).map(|n| {
        let others = &others;
        async move {
            let path = format!("/{n}");
            let there = name("there");
            let answered = others.ask(&there, "echo", request(&path, Body::empty())).await.expect("answered");
            assert_eq!(answered.headers()["said"], format!("here {path} false"));
        }
    });
    futures_util::future::join_all(all).await;
    stop.cancel();
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_lost_and_no_more_is_asked_of_one_than_may_be() {
    let world = World::new().await;
    let mut config = servers(&["here", "there"], ([127, 0, 0, 1], 1).into());
    config.servers[1].pop = PopCode::parse("SIN").expect("a code");
    let peers = Peers::new(Map::new(&config, &name("here")).expect("among them"), metrics());
    let stop = CancellationToken::new();
    peers.keep(&world.identity("here"), &stop);
    let others = Others::of(&peers);
    let asked = others.ask(&name("there"), "echo", request("/", Body::empty())).await;
    assert_eq!(asked.err(), Some(NoAnswer::Lost));
    let places: Vec<_> = (0..SERVER_REQUESTS_MAX).map(|_| peers.request_place(1).expect("a place")).collect();
    let asked = others.ask(&name("there"), "echo", request("/", Body::empty())).await;
    assert_eq!(asked.err(), Some(NoAnswer::Busy), "it has the service, as far as one knows");
    drop(places);
    stop.cancel();
}

#[tokio::test]
async fn a_server_that_is_alone_asks_nobody() {
    let about = ServerAbout {
        name: name("here"),
        pop: PopCode::parse("FRA").expect("a code"),
        region: proxima_model::RegionName::parse("europe").expect("a region"),
    };
    let others = Others::alone(about.clone());
    assert_eq!(others.all(), [about]);
    let asked = others.ask(&name("there"), "echo", request("/", Body::empty())).await;
    assert_eq!(asked.err(), Some(NoAnswer::Declined));
}
