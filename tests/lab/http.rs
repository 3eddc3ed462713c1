//! One request over a connection of its own, sent from wherever the thread is that sends it.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// No answer takes so long, also while a server is found to be away.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The PoP that answered.
    pub(crate) fn pop(&self) -> Option<&str> {
        let ray = self.head.lines().find_map(|line| line.strip_prefix("cf-ray: "))?;
        Some(ray.rsplit_once('-')?.1)
    }
}

/// Sends a request, whose fields say that it is the connection's last, and reads the answer whole.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    // Half an answer is none.
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    if length.is_some_and(|length| length.parse() != Ok(body.len())) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
