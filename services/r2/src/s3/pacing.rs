//! How long a connection, and a body that comes, may take a place without getting on.
//!
//! A place is given back by who says nothing, by who stops within a request's head, by who holds a connection and asks for nothing,
//! by whose body comes too slowly, and by who takes too little of an answer. What is decided here is decided without a clock of its
//! own, by [`Talk::verdict`]; `server` asks now and then, and carries it out. An answer that is not taken ends alone where others
//! have streams of their own, in HTTP/2: who reads one object slowly keeps the others of the connection.

use std::{
    collections::HashMap,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::rt::Executor;
use tokio::{
    sync::Notify,
    time::{Instant, Sleep},
};

use crate::metrics::Metrics;

/// How long a client may take until its first request is here, with the handshake of TLS before it counted by itself.
pub(super) const HEAD_DEADLINE: Duration = Duration::from_secs(15);
/// How long a connection is kept on which nothing is asked for: longer than clients' next request of the same work takes.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Within which time the next piece of an answer is taken: some KiB a second, of pieces as objects are read in. The last ones,
/// which lie in buffers, have as long.
pub(super) const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// Over which time a body that is waited for brings [`BODY_PACE_OCTETS_MIN`].
const BODY_PACE_OVER: Duration = Duration::from_secs(60);
/// Octets that it brings in that time at the least: half a KiB a second.
const BODY_PACE_OCTETS_MIN: usize = 32 << 10;

/// What goes on in one connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Talk(Arc<Mutex<State>>);

struct State {
    /// Since when nothing is asked for.
    quiet_since: Instant,
    /// Whether anything ever was.
    has_asked: bool,
    /// Requests that are being carried out.
    handled: usize,
    /// The answers that are being sent.
    answers: HashMap<u64, Sent>,
    answers_begun: u64,
}

/// An answer that is being sent.
struct Sent {
    /// When it was last taken from.
    taken: Instant,
    /// What carries it and nothing else, if anything does.
    stream: Option<Stream>,
}

tokio::task_local! {
    /// The stream that this task serves.
    static STREAM: Stream;
}

/// A stream of a connection that has several. Cheap to clone.
#[derive(Clone, Default)]
struct Stream(Arc<Notify>);

/// Runs what serves the streams of a connection, each until it ends or stalls: then it is dropped, which resets the stream.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    metrics: Metrics,
}

impl Streams {
    /// Counts those that stall.
    pub(super) const fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, serving: F) {
        let (stream, metrics) = (Stream::default(), self.metrics.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = STREAM.scope(stream.clone(), serving) => {}
                () = stream.0.notified() => {
                    metrics.streams_stalled.inc();
                }
            }
        });
    }
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    GoOn,
    /// It ends once what was sent has been taken.
    End,
    /// It is closed at once.
    Close,
}

/// A request that is being carried out.
pub(super) struct Handled(Talk);

/// An answer that is being sent.
pub(super) struct Answering {
    talk: Talk,
    number: u64,
}

impl Talk {
    /// A connection that has just been accepted.
    pub(super) fn new() -> Self {
        let state = State {
            quiet_since: Instant::now(),
            has_asked: false,
            handled: 0,
            answers: HashMap::new(),
            answers_begun: 0,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is here.
    pub(super) fn begin(&self) -> Handled {
        let mut state = self.state();
        state.has_asked = true;
        state.handled += 1;
        Handled(self.clone())
    }

    /// What is to become of it now.
    pub(super) fn verdict(&self) -> Verdict {
        let (state, now) = (self.state(), Instant::now());
        let stalled = state.answers.values().filter(|sent| now.duration_since(sent.taken) >= TAKEN_WITHIN);
        for sent in stalled {
            match &sent.stream {
                // It is told again until it has gone.
                Some(stream) => stream.0.notify_one(),
                None => return Verdict::Close,
            }
        }
        if state.handled > 0 || !state.answers.is_empty() {
            return Verdict::GoOn;
        }
        match (now.duration_since(state.quiet_since), state.has_asked) {
            (quiet, false) if quiet >= HEAD_DEADLINE => Verdict::Close,
            (quiet, true) if quiet >= KEEP_ALIVE + TAKEN_WITHIN => Verdict::Close,
            (quiet, true) if quiet >= KEEP_ALIVE => Verdict::End,
            _ => Verdict::GoOn,
        }
    }
}

impl State {
    fn ended(&mut self) {
        if self.handled == 0 && self.answers.is_empty() {
            self.quiet_since = Instant::now();
        }
    }
}

impl Handled {
    /// It has been carried out, and is answered.
    pub(super) fn answer(self) -> Answering {
        let mut state = self.0.state();
        let number = state.answers_begun;
        state.answers_begun += 1;
        let stream = STREAM.try_with(Stream::clone).ok();
        state.answers.insert(number, Sent { taken: Instant::now(), stream });
        drop(state);
        Answering { talk: self.0.clone(), number }
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.handled -= 1;
        state.ended();
    }
}

impl Answering {
    /// Something of it was taken.
    pub(super) fn taken(&self) {
        if let Some(sent) = self.talk.state().answers.get_mut(&self.number) {
            sent.taken = Instant::now();
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.talk.state();
        state.answers.remove(&self.number);
        state.ended();
    }
}

/// A body that must come at some pace as long as it is waited for.
pub(super) struct Paced<B> {
    body: B,
    /// Until when so much must have come.
    until: Option<Pin<Box<Sleep>>>,
    came: usize,
    end: End,
}

/// Whether a body came to its end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct End(Arc<AtomicBool>);

impl End {
    /// Whether nothing more comes.
    pub(super) fn is_here(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<B: http_body::Body> Paced<B> {
    /// A body, and where its end is told.
    pub(super) fn new(body: B) -> (Self, End) {
        let end = End(Arc::new(AtomicBool::new(body.is_end_stream())));
        (Self { body, until: None, came: 0, end: end.clone() }, end)
    }
}

impl<B> http_body::Body for Paced<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                self.came += data.len();
            }
            if frame.is_none() || self.body.is_end_stream() {
                self.end.0.store(true, Ordering::Relaxed);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let Self { until, came, .. } = &mut *self;
        let until = until.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_PACE_OVER)));
        while until.as_mut().poll(context).is_ready() {
            if *came < BODY_PACE_OCTETS_MIN {
                return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
            }
            *came = 0;
            until.as_mut().reset(Instant::now() + BODY_PACE_OVER);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use prometheus_client::registry::Registry;
    use proxima_pipeline::Body;
    use tokio::{
        sync::{mpsc, oneshot},
        time::advance,
    };

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    async fn after(talk: &Talk, time: Duration, expected: Verdict) {
        advance(time).await;
        assert_eq!(talk.verdict(), expected, "after {time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_nothing_gives_the_place_back() {
        let talk = Talk::new();
        after(&talk, HEAD_DEADLINE - MOMENT, Verdict::GoOn).await;
        after(&talk, MOMENT, Verdict::Close).await;
        let talk = Talk::new();
        drop(talk.begin().answer());
        after(&talk, KEEP_ALIVE - MOMENT, Verdict::GoOn).await;
        after(&talk, MOMENT, Verdict::End).await;
        after(&talk, TAKEN_WITHIN, Verdict::Close).await;
    }

    #[tokio::test(start_paused = true)]
    async fn work_may_take_its_time_and_an_answer_must_be_taken() {
        let talk = Talk::new();
        let (long, other) = (talk.begin(), talk.begin());
        after(&talk, Duration::from_secs(3_600), Verdict::GoOn).await;
        let (answer, other) = (long.answer(), other.answer());
        for _ in 0..3 {
            after(&talk, TAKEN_WITHIN - MOMENT, Verdict::GoOn).await;
            answer.taken();
            other.taken();
        }
        drop(answer);
        after(&talk, TAKEN_WITHIN, Verdict::Close).await;
        drop(other);
        assert_eq!(talk.verdict(), Verdict::GoOn, "nothing is left to be taken, and more may be asked for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_which_nothing_is_taken_ends_alone() {
        let metrics = Metrics::register(&mut Registry::default());
        let (talk, streams) = (Talk::new(), Streams::new(metrics.clone()));
        let (begun, mut answers) = mpsc::unbounded_channel();
        let mut ended = Vec::new();
        for _ in 0..2 {
            let (talk, begun) = (talk.clone(), begun.clone());
            let (held, end) = oneshot::channel::<()>();
            ended.push(end);
            streams.execute(async move {
                let answer = Arc::new(talk.begin().answer());
                begun.send(answer.clone()).unwrap();
                let _held = (held, answer);
                std::future::pending::<()>().await;
            });
        }
        let (stalls, goes_on) = (answers.recv().await.unwrap(), answers.recv().await.unwrap());
        drop(stalls);
        let mut ended = ended.into_iter();
        let (first, mut second) = (ended.next().unwrap(), ended.next().unwrap());
        advance(TAKEN_WITHIN).await;
        goes_on.taken();
        assert_eq!(talk.verdict(), Verdict::GoOn);
        assert!(first.await.is_err(), "it was dropped");
        assert_eq!(metrics.streams_stalled.get(), 1);
        after(&talk, TAKEN_WITHIN - MOMENT, Verdict::GoOn).await;
        assert!(second.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_comes_at_some_pace_or_ends() {
        for (octets, is_taken) in [(BODY_PACE_OCTETS_MIN, true), (BODY_PACE_OCTETS_MIN - 1, false)] {
            let (mut sender, body) = Body::channel(1, None);
            let (mut body, end) = Paced::new(body);
            let sending = tokio::spawn(async move {
                for _ in 0..3 {
                    // A little before the time has passed over which it is looked at.
                    tokio::time::sleep(BODY_PACE_OVER - MOMENT).await;
                    if sender.send(Bytes::from(vec![0; octets])).await.is_err() {
                        return;
                    }
                }
                sender.finish().await;
            });
            let mut came = 0;
            let outcome = loop {
                match poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut body), context)).await {
                    None => break Ok(()),
                    Some(Ok(frame)) => came += frame.into_data().map_or(0, |data| data.len()),
                    Some(Err(error)) => break Err(error.kind()),
                }
            };
            assert_eq!(end.is_here(), is_taken);
            drop(body);
            sending.await.unwrap();
            let expected =
                if is_taken { (Ok(()), 3 * octets) } else { (Err(io::ErrorKind::TimedOut), octets) };
            assert_eq!((outcome, came), expected);
        }
    }
}
