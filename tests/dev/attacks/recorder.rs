//! An origin that keeps what it received, octet by octet, and answers what it is told to.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Instant,
};

use super::readings::{READERS, Read, Reader, Request, all, one};
use crate::dev::{DEADLINE, Dev};

type Answers = dyn Fn(&Request) -> Arc<[u8]> + Send + Sync;

/// What came over one connection.
#[derive(Clone, Default)]
struct Record {
    octets: Vec<u8>,
    ended: bool,
}

pub(super) struct Recorder {
    port: u16,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Recorder {
    /// One that answers each request with these octets, which are shared if they are an `Arc` already.
    pub(super) fn start<A: Into<Arc<[u8]>> + 'static>(
        answers: impl Fn(&Request) -> A + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let records: Arc<Mutex<Vec<Record>>> = Arc::default();
        let kept = Arc::clone(&records);
        let answers: Arc<Answers> =
            Arc::new(move |request: &Request| -> Arc<[u8]> { answers(request).into() });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (records, answers) = (Arc::clone(&kept), Arc::clone(&answers));
                let index = {
                    let mut records = records.lock().unwrap();
                    records.push(Record::default());
                    records.len() - 1
                };
                std::thread::spawn(move || {
                    serve(stream, &records, index, &*answers).ok();
                    records.lock().unwrap()[index].ended = true;
                });
            }
        });
        Self { port, records }
    }

    /// One that says what it was asked, and lets nobody store it.
    pub(super) fn telling() -> Self {
        Self::start(|request| ok("cache-control: no-store\r\n", &told(request)))
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server before it, and gives all requests that came: whole ones, on whose meaning all readers agree.
    /// What was cut off is left out; it must be the last of its connection.
    pub(super) fn requests_after(&self, dev: &mut Dev) -> Vec<Request> {
        dev.terminate();
        let begun = Instant::now();
        while !self.records.lock().unwrap().iter().all(|record| record.ended) {
            assert!(begun.elapsed() < DEADLINE, "connections to the origin stay open");
            std::thread::yield_now();
        }
        let mut requests = Vec::new();
        for record in self.records.lock().unwrap().iter() {
            let mut readings = READERS.map(|reader| all(&record.octets, reader).unwrap());
            assert_eq!(readings[0], readings[1], "{:?}", String::from_utf8_lossy(&record.octets));
            assert_eq!(readings[0], readings[2], "{:?}", String::from_utf8_lossy(&record.octets));
            requests.append(&mut readings[0].0);
        }
        requests
    }
}

fn serve(
    mut stream: TcpStream,
    records: &Mutex<Vec<Record>>,
    index: usize,
    answers: &Answers,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut answered, mut piece) = (0, [0; 16 * 1024]);
    loop {
        let length = stream.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        let octets = {
            let mut records = records.lock().unwrap();
            records[index].octets.extend_from_slice(&piece[..length]);
            records[index].octets.clone()
        };
        while let Read::Whole(request, length) = one(&octets[answered..], Reader::Strict) {
            answered += length;
            stream.write_all(&answers(&request))?;
        }
    }
}

/// What was asked, in words.
pub(super) fn told(request: &Request) -> String {
    format!("asked: {} {} with {} octets", request.method, request.target, request.body.len())
}

/// An answer of one length.
pub(super) fn ok(fields: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
