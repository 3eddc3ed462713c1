//! A server that is some milliseconds away: through a relay of ours, for not every kernel has a queue that delays.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What is read at a time.
const PIECE_OCTETS: usize = 16 << 10;

/// A connection on which everything takes so long, in either direction; that it stands is known at once.
pub(super) fn connect(address: SocketAddr, away: Duration) -> io::Result<TcpStream> {
    let near = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(near.local_addr()?)?;
    let (relayed, _) = near.accept()?;
    let server = TcpStream::connect(address)?;
    for stream in [&relayed, &server] {
        stream.set_nodelay(true)?;
    }
    let (back, forth) = ((server.try_clone()?, relayed.try_clone()?), (relayed, server));
    for (from, to) in [back, forth] {
        let (send, due) = mpsc::channel();
        thread::spawn(move || read(from, away, &send));
        thread::spawn(move || write(to, &due));
    }
    Ok(client)
}

/// Until there is nothing more to read, or nobody who writes it.
fn read(mut from: TcpStream, away: Duration, send: &mpsc::Sender<(Instant, Vec<u8>)>) {
    let mut piece = vec![0; PIECE_OCTETS];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if send.send((Instant::now() + away, piece[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// Each piece when it is due.
fn write(mut to: TcpStream, due: &mpsc::Receiver<(Instant, Vec<u8>)>) {
    for (at, piece) in due {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_comes_whole_and_late_and_so_does_the_end() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        let echo = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut said = Vec::new();
            stream.read_to_end(&mut said).unwrap();
            stream.write_all(&said).unwrap();
        });
        let away = Duration::from_millis(20);
        let mut client = connect(address, away).unwrap();
        let begun = Instant::now();
        let said = vec![7; 100_000];
        client.write_all(&said).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        assert!(heard == said, "{} octets came", heard.len());
        assert!(begun.elapsed() >= 2 * away);
        echo.join().unwrap();
    }
}
