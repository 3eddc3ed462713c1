//! A site owner's own server: answers every path, counts what it was asked.
//!
//! `/text` is long and has an entity tag; what lies in `/large/` is [`LARGE_BYTES`] long or a little more; `/never-ends` begins an answer and says no more; `/echo` answers with the chunks
//! of the request's body, each as it comes; an upgrade is taken, and every octet sent back. What lies in `/tagged/` is
//! tagged `all` and by its name; what begins with `/no-store` is not to be kept.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// What `/text` says a thousand times.
pub(crate) const TEXT: &str = "the same again\n";

/// Octets of what lies in `/large/`: the largest objects of which five fit into the smallest segment of a cache's disk.
pub(crate) const LARGE_BYTES: usize = 3_000_000;

/// What lies there, at this path.
pub(crate) fn large(path: &str) -> String {
    format!("the page {path}\n").repeat(LARGE_BYTES / (path.len() + 10) + 1)
}

pub(crate) struct Origin {
    port: u16,
    counts: Arc<Mutex<HashMap<String, usize>>>,
}

impl Origin {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let counting = Arc::clone(&counts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counts = Arc::clone(&counting);
                std::thread::spawn(move || serve(stream, &counts).ok());
            }
        });
        Self { port, counts }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How often this path was asked for.
    pub(crate) fn requests(&self, path: &str) -> usize {
        self.counts.lock().unwrap().get(path).copied().unwrap_or_default()
    }
}

fn serve(stream: TcpStream, counts: &Mutex<HashMap<String, usize>>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    writer.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some((path, upgrade)) = request(&mut reader)? {
        *counts.lock().unwrap().entry(path.clone()).or_default() += 1;
        if upgrade {
            return echo_octets(&mut reader, &mut writer);
        }
        match path.as_str() {
            "/never-ends" => {
                writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nthe beginning")?
            }
            "/echo" => echo_chunks(&mut reader, &mut writer)?,
            "/text" => answer("etag: \"1\"\r\naccept-ranges: bytes\r\n", &TEXT.repeat(1_000), &mut writer)?,
            path if path.starts_with("/no-store") => {
                answer_for("no-store", "", &format!("the page {path}"), &mut writer)?
            }
            path if path.starts_with("/large/") => answer("", &large(path), &mut writer)?,
            path => {
                let tagged = path.strip_prefix("/tagged/");
                let tags = tagged.map_or_else(String::new, |name| format!("cache-tag: all, {name}\r\n"));
                answer(&tags, &format!("the page {path}"), &mut writer)?;
            }
        }
    }
    Ok(())
}

/// The path of the next request, and whether it asks for an upgrade; `None` at the end.
fn request(reader: &mut impl BufRead) -> std::io::Result<Option<(String, bool)>> {
    let (mut first, mut line, mut upgrade) = (String::new(), String::new(), false);
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            return Ok(Some((first.split(' ').nth(1).unwrap_or_default().to_owned(), upgrade)));
        }
        upgrade |= line.to_ascii_lowercase().starts_with("upgrade: websocket");
    }
}

fn answer(fields: &str, body: &str, writer: &mut impl Write) -> std::io::Result<()> {
    answer_for("max-age=3600", fields, body, writer)
}

fn answer_for(caches: &str, fields: &str, body: &str, writer: &mut impl Write) -> std::io::Result<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: {caches}\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    writer.write_all(answer.as_bytes())
}

/// The answer to the example handshake of RFC 6455 (1.3), then an echo.
fn echo_octets(reader: &mut impl Read, writer: &mut impl Write) -> std::io::Result<()> {
    writer.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
          sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )?;
    std::io::copy(reader, writer).map(drop)
}

/// Sends each chunk back before it reads the next (RFC 9112, 7.1).
fn echo_chunks(reader: &mut impl BufRead, writer: &mut impl Write) -> std::io::Result<()> {
    writer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let length = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
        // The chunk, and the end of its line.
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk)?;
        writer.write_all(&[size.as_bytes(), &chunk].concat())?;
        if length == 0 {
            return Ok(());
        }
    }
}
