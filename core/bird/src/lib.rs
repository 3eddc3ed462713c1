//! BIRD's control socket, spoken: one command, one reply. By the anycast service and its watchdog to a server's own BIRD,
//! by the lab to its routers'.
//!
//! ```text
//! command ──> socket ──> BIRD ──> octets ──parse_reply──> lines, each with its code ──> protocols()
//!                                   pure
//! ```
//!
//! A reply is lines that begin with a four-digit code and `-` (more follows) or a space (the last one); lines that
//! begin with a space continue the code before. Codes from 8000 are errors (BIRD 2 user's guide, "Remote control").
//!
//! Invariants: whatever comes from the socket is an answer or an error, never a panic; what BIRD refuses is an error in
//! BIRD's words.
//!
//! Limits: a reply has at most [`REPLY_OCTETS_MAX`] octets; connecting, and each piece of a reply, takes at most
//! [`REPLY_WITHIN`].

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

/// Octets of a reply: `show route all` of a router with thousands of routes.
pub const REPLY_OCTETS_MAX: usize = 1 << 20;
/// How long BIRD may take for a reply: milliseconds suffice, on a machine that is not busy.
pub const REPLY_WITHIN: Duration = Duration::from_secs(2);

/// Codes of replies from here on are refusals.
const REFUSALS_FROM: u16 = 8000;

/// Why BIRD gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum BirdError {
    /// BIRD is not there.
    #[error("connecting to BIRD at {path}: {source}; does it run?")]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It was there, and no whole reply came.
    #[error("speaking to BIRD: {0}")]
    Connection(#[from] io::Error),
    /// What came is not its protocol, or too much.
    #[error("BIRD's reply: {0}")]
    Protocol(String),
    /// It refuses the command, in its own words.
    #[error("BIRD refuses `{command}`: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// Its words.
        reason: String,
    },
}

/// One line of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What kind of line it is.
    pub code: u16,
    /// What it says.
    pub text: String,
}

/// Reads a reply from the front of `octets`: its lines and how long it was; `None` while it is not complete.
///
/// # Errors
/// What is not BIRD's protocol.
pub fn parse_reply(octets: &[u8]) -> Result<Option<(Vec<Line>, usize)>, BirdError> {
    let mut lines: Vec<Line> = Vec::new();
    let mut start = 0;
    while let Some(length) = octets[start..].iter().position(|octet| *octet == b'\n') {
        let line = String::from_utf8_lossy(&octets[start..start + length]).into_owned();
        start += length + 1;
        if let Some(text) = line.strip_prefix(' ') {
            let code = lines.last().map_or(0, |last| last.code);
            lines.push(Line { code, text: text.to_owned() });
            continue;
        }
        // Something asynchronous for people (`+`); of no matter to us.
        if line.starts_with('+') {
            continue;
        }
        let code = line.get(..4).and_then(|digits| digits.parse().ok());
        let (Some(code), Some(mark)) = (code, line.as_bytes().get(4)) else {
            return Err(BirdError::Protocol(format!("a line without a code: {line:?}")));
        };
        lines.push(Line { code, text: line.get(5..).unwrap_or_default().to_owned() });
        match mark {
            b' ' => return Ok(Some((lines, start))),
            b'-' => {}
            _ => return Err(BirdError::Protocol(format!("a line without a mark: {line:?}"))),
        }
    }
    if octets.len() > REPLY_OCTETS_MAX {
        return Err(BirdError::Protocol(format!("a reply longer than {REPLY_OCTETS_MAX} octets")));
    }
    Ok(None)
}

/// A connection to BIRD. Blocking: for the watchdog, and for tools.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Control {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// If BIRD is not there, or does not greet.
    pub fn connect(path: &Path) -> Result<Self, BirdError> {
        let stream = connect_within(path, REPLY_WITHIN)
            .map_err(|source| BirdError::Connect { path: path.to_owned(), source })?;
        stream.set_read_timeout(Some(REPLY_WITHIN))?;
        let mut control = Self { stream, unread: Vec::new() };
        control.reply()?;
        Ok(control)
    }

    /// Says `command` and waits for the reply.
    ///
    /// # Errors
    /// No whole reply came, or BIRD refuses the command.
    pub fn say(&mut self, command: &str) -> Result<Vec<Line>, BirdError> {
        self.stream.write_all(format!("{command}\n").as_bytes())?;
        let lines = self.reply()?;
        match lines.iter().find(|line| line.code >= REFUSALS_FROM) {
            Some(Line { text, .. }) => {
                Err(BirdError::Refused { command: command.to_owned(), reason: text.clone() })
            }
            None => Ok(lines),
        }
    }

    fn reply(&mut self) -> Result<Vec<Line>, BirdError> {
        let mut piece = [0; 4096];
        loop {
            if let Some((lines, length)) = parse_reply(&self.unread)? {
                self.unread.drain(..length);
                return Ok(lines);
            }
            match self.stream.read(&mut piece)? {
                0 => return Err(BirdError::Connection(io::ErrorKind::UnexpectedEof.into())),
                read => self.unread.extend_from_slice(&piece[..read]),
            }
        }
    }
}

/// Connects in time. A BIRD that hangs accepts nothing: once its queue is full, connecting would wait for ever.
fn connect_within(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On a Unix socket this is the limit for connecting too (socket(7)).
    socket.set_write_timeout(Some(limit))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// A protocol instance, as `show protocols` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolState {
    /// Its name in the configuration.
    pub name: String,
    /// `BGP`, `Static`, `BFD` …
    pub kind: String,
    /// `up`, `start`, `down`.
    pub state: String,
    /// For BGP `Established` or why not.
    pub info: String,
}

/// The protocols in the reply to `show protocols`.
pub fn protocols(lines: &[Line]) -> Vec<ProtocolState> {
    let listed = lines.iter().filter(|line| line.code == 1002);
    listed
        .filter_map(|line| {
            let mut words = line.text.split_whitespace();
            let (name, kind, _table, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
            // The time since when is one word or two, by BIRD's time format: it begins with a digit.
            let info: Vec<&str> =
                words.skip_while(|word| word.starts_with(|first: char| first.is_ascii_digit())).collect();
            Some(ProtocolState {
                name: name.to_owned(),
                kind: kind.to_owned(),
                state: state.to_owned(),
                info: info.join(" "),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROTOCOLS: &[u8] = concat!(
        "2002-Name       Proto      Table      State  Since         Info\n",
        "1002-device1    Device     ---        up     12:00:00.123  \n",
        " anycast4   Static     master4    down   12:00:00.123  \n",
        " uplink4    BGP        ---        up     2026-11-24 12:00:01  Established   \n",
        "0000 \n",
    )
    .as_bytes();

    #[test]
    fn the_protocols_are_read_with_their_states() {
        let (lines, length) = parse_reply(PROTOCOLS).unwrap().unwrap();
        assert_eq!(length, PROTOCOLS.len());
        let protocols = protocols(&lines);
        assert_eq!(protocols.len(), 3);
        assert_eq!((protocols[1].name.as_str(), protocols[1].state.as_str()), ("anycast4", "down"));
        assert_eq!((protocols[2].kind.as_str(), protocols[2].info.as_str()), ("BGP", "Established"));
    }

    #[test]
    fn routes_keep_their_indentation() {
        let routes = "1007-Table master4:\n 198.18.0.0/24   unicast [fra_1_v4] * (100)\n \tvia 10.1.1.2 on fra-1\n0000 \n";
        let (lines, _) = parse_reply(routes.as_bytes()).unwrap().unwrap();
        let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            texts,
            ["Table master4:", "198.18.0.0/24   unicast [fra_1_v4] * (100)", "\tvia 10.1.1.2 on fra-1", ""]
        );
        assert_eq!(lines[2].code, 1007);
    }

    #[test]
    fn a_refusal_is_an_error_in_birds_words_and_a_reply_that_breaks_off_is_one_too() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"8001 Network not in table\n1007-Table master4:\n").unwrap();
        let mut control = Control { stream: ours, unread: Vec::new() };
        let refused = control.say("show route 192.0.2.0/24").unwrap_err().to_string();
        assert_eq!(refused, "BIRD refuses `show route 192.0.2.0/24`: Network not in table");
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(control.say("show route"), Err(BirdError::Connection(_))));
    }

    #[test]
    fn connecting_to_a_bird_that_accepts_nothing_is_an_error_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bird.ctl");
        let bird = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        bird.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        bird.listen(0).unwrap();
        let waiting: Vec<_> = (0..4).map(|_| connect_within(&path, Duration::from_millis(20))).collect();
        let refused = waiting.iter().find_map(|connected| connected.as_ref().err()).unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_line_without_a_code_is_an_error() {
        assert!(parse_reply(b"hello\n").is_err());
        assert!(parse_reply(b"0001*BIRD\n").is_err());
    }

    proptest! {
        #[test]
        fn a_reply_cut_anywhere_is_not_complete_yet(cut in 0..PROTOCOLS.len() - 1) {
            prop_assert_eq!(parse_reply(&PROTOCOLS[..cut]).unwrap(), None);
        }

        #[test]
        fn arbitrary_octets_do_not_panic(octets: Vec<u8>) {
            let _ = parse_reply(&octets);
        }
    }
}
