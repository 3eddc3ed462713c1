//! The work of encoding on one node, within bounds.

use std::sync::Arc;

use bytes::Bytes;
use proxima_pipeline::Body;
use tokio::sync::Semaphore;

use crate::{
    Coding, Form, Forms, Metrics,
    encoder::{self, Effort, Encoder},
    forms::{self, Next},
    stream::Encoded,
};

/// Answers that are encoded on their way at once: each has an encoder, of a MiB or two, for as long as its client reads.
pub const STREAMS_MAX: usize = 256;
/// Forms that wait to be made, with those being made. What waits keeps its clients waiting: no more than passes in a
/// moment.
pub const FORMS_WAITING_MAX: usize = 16;
/// Content that has forms; what is larger has none, and is not encoded: a form is made in one go, in memory.
pub const FORM_OCTETS_MAX: u64 = 16 << 20;
/// Up to here clients wait for a form that is being made, some tens of milliseconds; the form of more is made while they
/// get it as it is.
const WAITED_OCTETS_MAX: u64 = 1 << 20;
/// One core in so many makes forms: at least one, and never all of several.
const CORES_PER_WORKER: usize = 2;

/// Encodes, within the bounds of the node.
#[derive(Debug)]
pub struct Compressor {
    streams: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    metrics: Metrics,
}

impl Compressor {
    /// One for a node of so many cores as this machine has.
    pub fn new(metrics: Metrics) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(metrics, STREAMS_MAX, (cores / CORES_PER_WORKER).max(1))
    }

    /// One that encodes so many answers on their way at once, and makes so many forms.
    pub fn with(metrics: Metrics, streams: usize, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            streams: Arc::new(Semaphore::new(streams)),
            waiting: Arc::new(Semaphore::new(FORMS_WAITING_MAX)),
            workers: Arc::new(Semaphore::new(workers)),
            metrics,
        })
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A body encoded on its way.
    ///
    /// # Errors
    /// The body as it was: too much is being encoded.
    pub fn stream(&self, body: Body, coding: Coding) -> Result<Body, Body> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let (Ok(permit), Ok(encoder)) = (permit, Encoder::new(coding, Effort::Streamed)) else {
            self.metrics.busy.inc();
            return Err(body);
        };
        let counted = self.metrics.of(coding, Effort::Streamed);
        counted.answers.inc();
        Ok(Body::stream(Encoded::new(body, encoder, Arc::clone(counted), permit)))
    }

    /// The form of a stored object of so many octets. If it is not made yet, making it begins: `begin` gives the pieces
    /// that it is made of, and what is to be called once it is there and counts in [`Forms::octets`].
    pub fn form<K: FnOnce() + Send + 'static>(
        self: &Arc<Self>,
        forms: &Arc<Forms>,
        coding: Coding,
        length: u64,
        begin: impl FnOnce() -> (Vec<Bytes>, K),
    ) -> Form {
        let form = self.find(forms, coding, length, begin);
        match &form {
            Form::Ready(_) | Form::Making(_) => {
                self.metrics.of(coding, Effort::Stored).answers.inc();
            }
            Form::Identity(_) => {}
        }
        form
    }

    fn find<K: FnOnce() + Send + 'static>(
        self: &Arc<Self>,
        forms: &Arc<Forms>,
        coding: Coding,
        length: u64,
        begin: impl FnOnce() -> (Vec<Bytes>, K),
    ) -> Form {
        if let Some(form) = forms.made(coding) {
            return form;
        }
        if length > FORM_OCTETS_MAX {
            return Form::Identity("it is too large to be encoded");
        }
        let mut slot = None;
        let next = forms.next(coding, || {
            slot = Arc::clone(&self.waiting).try_acquire_owned().ok();
            slot.is_some()
        });
        let receiver = match next {
            None => {
                self.metrics.busy.inc();
                return Form::Identity("too much is being encoded");
            }
            Some(Next::Made) => {
                return forms.made(coding).unwrap_or(Form::Identity("its encoded form is lost"));
            }
            Some(Next::Wait(receiver)) => receiver,
            Some(Next::Make(sender, receiver)) => {
                let (this, forms) = (Arc::clone(self), Arc::clone(forms));
                let (pieces, kept) = begin();
                tokio::spawn(async move {
                    let _slot = slot;
                    let Some(form) = this.make(coding, pieces).await else { return };
                    forms.put(coding, form, length, &sender);
                    kept();
                });
                receiver
            }
        };
        if length > WAITED_OCTETS_MAX {
            return Form::Identity("its encoded form is being made");
        }
        Form::Making(forms::waiting(receiver))
    }

    /// Makes a form, on a thread of its own, when it is its turn.
    async fn make(&self, coding: Coding, pieces: Vec<Bytes>) -> Option<Bytes> {
        let _worker = self.workers.acquire().await.ok()?;
        let read: usize = pieces.iter().map(Bytes::len).sum();
        let encode = move || encoder::encode(coding, pieces.iter().map(|piece| &piece[..]));
        let mut form = tokio::task::spawn_blocking(encode).await.ok()?.ok()?;
        // It is kept for long: it must take the memory that it says it takes.
        form.shrink_to_fit();
        let counted = self.metrics.of(coding, Effort::Stored);
        counted.read.inc_by(read as u64);
        counted.written.inc_by(form.len() as u64);
        Some(form.into())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use proxima_pipeline::BodyError;

    use super::*;

    fn compressor(streams: usize) -> Arc<Compressor> {
        Compressor::with(Metrics::register(&mut Registry::default()), streams, 1)
    }

    async fn piece(body: &mut Body) -> Bytes {
        body.next_frame().await.expect("a frame").expect("no error").into_data().expect("data")
    }

    #[tokio::test]
    async fn a_slow_body_is_flushed_whenever_it_pauses() {
        for coding in Coding::ALL {
            let (mut sender, source) = Body::channel(2, None);
            let mut body = compressor(1).stream(source, coding).expect("room");
            assert_eq!(body.length(), None);
            let mut all = Vec::new();
            for word in ["one", "two", "three"] {
                sender.send(Bytes::from(word)).await.expect("read");
                // All of the word can be read before the next comes.
                let begun = all.len();
                while !decoded(coding, &all).ends_with(word.as_bytes()) {
                    all.extend(piece(&mut body).await);
                }
                assert!(all.len() > begun);
            }
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-end", http::HeaderValue::from_static("1"));
            sender.send_trailers(trailers.clone()).await.expect("read");
            sender.finish().await;
            all.extend(piece(&mut body).await);
            let last = body.next_frame().await.expect("trailers").expect("no error");
            assert_eq!(last.into_trailers().expect("trailers"), trailers);
            assert!(body.next_frame().await.is_none());
            assert_eq!(encoder::decode(coding, &all).expect("whole"), b"onetwothree");
        }
    }

    /// What can be read of an encoding that goes on.
    fn decoded(coding: Coding, octets: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut reader: Box<dyn std::io::Read + '_> = match coding {
            Coding::Zstd => Box::new(zstd::Decoder::new(octets).expect("memory")),
            Coding::Br => Box::new(brotli::Decompressor::new(octets, 1)),
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(octets)),
        };
        let mut octet = [0];
        while let Ok(1) = reader.read(&mut octet) {
            all.push(octet[0]);
        }
        all
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_breaks_off_encoded_too() {
        let (mut sender, source) = Body::channel(2, None);
        let mut body = compressor(1).stream(source, Coding::Gzip).expect("room");
        sender.send(Bytes::from_static(b"one")).await.expect("read");
        sender.fail(BodyError::TimedOut).await;
        loop {
            match body.next_frame().await.expect("an error comes") {
                Ok(_) => {}
                Err(error) => break assert_eq!(error, BodyError::TimedOut),
            }
        }
        assert!(body.next_frame().await.is_none());
    }

    #[tokio::test]
    async fn a_large_body_that_is_here_comes_whole() {
        let octets: Vec<u8> = (0..1_000_000_u32).map(|number| (number.isqrt() % 251) as u8).collect();
        for coding in Coding::ALL {
            for source in [octets.clone(), vec![0; 1_000_000]] {
                let body = compressor(1).stream(Body::full(source.clone()), coding).expect("room");
                let all = body.collect(1 << 20).await.expect("whole");
                assert_eq!(encoder::decode(coding, &all).expect("whole"), source);
            }
        }
    }

    #[tokio::test]
    async fn beyond_the_bounds_content_goes_as_it_is() {
        let compressor = compressor(1);
        let first = compressor.stream(Body::full("one"), Coding::Br).expect("room");
        let second = compressor.stream(Body::full("two"), Coding::Br).expect_err("no room");
        assert_eq!(second.collect(9).await.expect("whole"), "two");
        drop(first);
        assert!(compressor.stream(Body::full("three"), Coding::Br).is_ok(), "who leaves makes room");
        assert_eq!(compressor.metrics.busy.get(), 1);
        let forms: Vec<Arc<Forms>> = (0..=FORMS_WAITING_MAX).map(|_| Arc::default()).collect();
        let ask =
            |forms| compressor.form(forms, Coding::Br, 9, || (vec![Bytes::from_static(b"aaaaaaaaa")], || {}));
        let (last, rest) = forms.split_last().expect("some");
        assert!(rest.iter().all(|forms| matches!(ask(forms), Form::Making(_))));
        assert!(matches!(ask(last), Form::Identity(_)));
    }

    fn kept_octets(forms: &Forms, coding: Coding) -> Option<usize> {
        let Some(Form::Ready(form)) = forms.made(coding) else { return None };
        Some(form.len())
    }

    #[tokio::test]
    async fn a_form_is_made_once_for_all_who_want_it() {
        let compressor = compressor(1);
        let (forms, text) = (Arc::new(Forms::default()), "again and again ".repeat(100));
        let length = text.len() as u64;
        let (kept, mut told) = tokio::sync::mpsc::unbounded_channel();
        let ask = |coding| {
            let kept = kept.clone();
            let begin = || (vec![Bytes::from(text.clone())], move || kept.send(()).expect("heard"));
            compressor.form(&forms, coding, length, begin)
        };
        for coding in Coding::ALL {
            for _ in 0..3 {
                let Form::Making(body) = ask(coding) else { panic!("it is not made yet") };
                let encoded = body.collect(1 << 20).await.expect("whole");
                assert_eq!(encoder::decode(coding, &encoded).expect("whole"), text.as_bytes());
                if forms.made(coding).is_some() {
                    break;
                }
            }
            told.recv().await.expect("it is kept");
            let before = compressor.metrics.of(coding, Effort::Stored).read.get();
            let Form::Ready(form) = ask(coding) else { panic!("it is made") };
            assert_eq!(encoder::decode(coding, &form).expect("whole"), text.as_bytes());
            assert_eq!((before, compressor.metrics.of(coding, Effort::Stored).read.get()), (length, length));
        }
        let sum: usize = Coding::ALL.iter().filter_map(|coding| kept_octets(&forms, *coding)).sum();
        assert_eq!(forms.octets(), sum as u64);
    }

    #[tokio::test]
    async fn what_does_not_get_smaller_is_not_kept() {
        let (compressor, forms) = (compressor(1), Arc::new(Forms::default()));
        let ask = || compressor.form(&forms, Coding::Gzip, 1, || (vec![Bytes::from_static(b"x")], || {}));
        let Form::Making(body) = ask() else { panic!("it is not made yet") };
        let encoded = body.collect(1 << 20).await.expect("whole");
        assert_eq!(encoder::decode(Coding::Gzip, &encoded).expect("whole"), b"x");
        assert!(matches!(ask(), Form::Identity(_)));
        assert_eq!(forms.octets(), 0);
        let (sender, _) = tokio::sync::watch::channel(None);
        let forms = Forms::default();
        for (coding, octets, kept) in
            [(Coding::Zstd, 6, true), (Coding::Br, 5, false), (Coding::Gzip, 4, true)]
        {
            forms.put(coding, Bytes::from(vec![0; octets]), 10, &sender);
            assert_eq!(
                matches!(forms.made(coding).expect("made"), Form::Ready(_)),
                kept,
                "together no larger than the object"
            );
        }
        assert_eq!(forms.octets(), 10);
    }
}
