use http::{HeaderValue, Method};
use prometheus_client::registry::Registry;
use proxima_chassis::SystemClock;
use proxima_model::PopCode;
use proxima_pipeline::{Decision, Flow, Pipeline, Stage};
use tokio::time::{sleep, timeout};

use super::*;
use crate::{EdgeMetrics, Observer, observe::ZoneTable, server::Timeouts, stages::tests::fixtures::exchange};

const SECOND: Duration = Duration::from_secs(1);
const WRITE_IDLE: Duration = Timeouts::DEFAULT.write_idle;
const URL: &str = "http://www.example.com/";

/// Takes the body of a request, and answers with this one; or with what has become of the former.
struct Behind(Mutex<Body>);

impl Stage for Behind {
    fn name(&self) -> &'static str {
        "behind"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        Decision::Later(Box::pin(async move {
            let body = match std::mem::take(&mut exchange.request_body).collect(1 << 20).await {
                Ok(_) => std::mem::take(&mut *self.0.lock().unwrap()),
                Err(error) => Body::full(error.to_string()),
            };
            Flow::Respond(Response { body, ..Response::default() })
        }))
    }
}

/// What is answered to this request where that is the answer.
async fn answer(mut asked: Exchange, answer: Body) -> Body {
    let (clock, pop) = (Arc::new(SystemClock), PopCode::parse("TST").unwrap());
    let entry = Entry::new(Arc::new(ServerContext {
        pipeline: Pipeline::new(vec![Box::new(Behind(Mutex::new(answer)))]),
        limits: Limits::DEFAULT,
        request_body_bytes_max: 1 << 20,
        timeouts: Timeouts::DEFAULT,
        pop: pop.clone(),
        clock,
        metrics: EdgeMetrics::register(&mut Registry::default()),
        observer: Arc::new(Observer::new(ZoneTable::new(pop, 10), None)),
    }));
    let stranger = Stranger { named: HeaderValue::from_static("stranger.example"), row: 4 };
    let (response, fault) = entry.answer(&mut asked, stranger).await;
    assert_eq!((response.status, fault), (StatusCode::OK, None));
    response.body
}

/// Octets of the next piece.
async fn taken(body: &mut Body) -> usize {
    body.next_frame().await.unwrap().unwrap().into_data().unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_its_reader_leaves_is_cut_and_what_it_comes_from_is_free() {
    for pieces_taken in [0, 1] {
        let (mut sender, body) = Body::channel(2, None);
        sender.send("x".into()).await.unwrap();
        sender.send("y".into()).await.unwrap();
        let mut body = answer(exchange(URL), body).await;
        for _ in 0..pieces_taken {
            assert_eq!(taken(&mut body).await, 1);
        }
        let begun = Instant::now();
        timeout(2 * WRITE_IDLE, sender.closed()).await.expect("nothing is kept of it");
        assert_eq!(begun.elapsed().as_secs(), WRITE_IDLE.as_secs());
        assert!(!body.is_empty(), "it is not whole");
        assert_eq!(body.next_frame().await.unwrap().unwrap_err(), BodyError::TimedOut);
        assert!(body.next_frame().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_more_of_an_answer_may_wait() {
    let (mut sender, body) = Body::channel(2, None);
    let mut body = answer(exchange(URL), body).await;
    for _ in 0..2 {
        timeout(3 * WRITE_IDLE, body.next_frame()).await.unwrap_err();
        sender.send("x".into()).await.unwrap();
        assert_eq!(taken(&mut body).await, 1);
    }
    sender.finish().await;
    assert!(body.next_frame().await.is_none());
    sleep(2 * WRITE_IDLE).await;
    assert!(body.next_frame().await.is_none(), "it has ended well");
}

#[tokio::test(start_paused = true)]
async fn who_takes_some_of_an_answer_in_time_gets_all_of_it() {
    const PIECES: usize = 4;
    let mut body = answer(exchange(URL), Body::full(vec![b'x'; PIECES * PIECE_OCTETS_MAX])).await;
    for left in (0..PIECES).rev() {
        assert!(!body.is_empty());
        sleep(WRITE_IDLE - SECOND).await;
        assert_eq!(taken(&mut body).await, PIECE_OCTETS_MAX);
        assert_eq!(body.length(), Some((left * PIECE_OCTETS_MAX) as u64));
    }
    assert!(body.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_body_trickles_in_fails_in_time() {
    const BODY_IDLE: Duration = Timeouts::DEFAULT.body_idle;
    let (mut sender, body) = Body::channel(2, None);
    let trickling = tokio::spawn(async move {
        for _ in 0..100 {
            if sender.send("x".into()).await.is_err() {
                return true;
            }
            sleep(BODY_IDLE / 10).await;
        }
        false
    });
    let mut asked = exchange(URL);
    (asked.request.method, asked.request_body) = (Method::POST, body);
    let begun = Instant::now();
    let said = answer(asked, Body::empty()).await.collect(1 << 10).await.unwrap();
    assert_eq!(said, BodyError::TimedOut.to_string());
    assert_eq!(begun.elapsed().as_secs(), BODY_IDLE.as_secs());
    assert!(trickling.await.unwrap(), "nobody wants the rest of it");
}
