//! BIRD's control socket: one command, one reply.
//!
//! A reply is lines that begin with a four-digit code and `-` (more follows) or a space (the last one); lines that
//! begin with a space continue the code before. Codes from 8000 are errors (BIRD 2 user's guide, "Remote control").

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use crate::AnycastError;

/// Octets of a reply.
const REPLY_OCTETS_MAX: usize = 1 << 20;
/// How long BIRD may take for a reply.
const REPLY_WITHIN: Duration = Duration::from_secs(2);

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
pub fn parse_reply(octets: &[u8]) -> Result<Option<(Vec<Line>, usize)>, AnycastError> {
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
            return Err(AnycastError::Control(format!("a line without a code: {line:.80?}")));
        };
        lines.push(Line { code, text: line.get(5..).unwrap_or_default().to_owned() });
        match mark {
            b' ' => return Ok(Some((lines, start))),
            b'-' => {}
            _ => return Err(AnycastError::Control(format!("a line without a mark: {line:.80?}"))),
        }
    }
    if octets.len() > REPLY_OCTETS_MAX {
        return Err(AnycastError::Control(format!("a reply longer than {REPLY_OCTETS_MAX} octets")));
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
    pub fn connect(path: &Path) -> Result<Self, AnycastError> {
        let connect = || AnycastError::system("connecting to", path);
        let stream = UnixStream::connect(path).map_err(connect())?;
        stream.set_read_timeout(Some(REPLY_WITHIN)).map_err(connect())?;
        stream.set_write_timeout(Some(REPLY_WITHIN)).map_err(connect())?;
        let mut control = Self { stream, unread: Vec::new() };
        control.reply()?;
        Ok(control)
    }

    /// Says `command` and waits for the reply.
    ///
    /// # Errors
    /// If BIRD refuses it, in BIRD's words.
    pub fn say(&mut self, command: &str) -> Result<Vec<Line>, AnycastError> {
        self.stream
            .write_all(format!("{command}\n").as_bytes())
            .map_err(|error| AnycastError::Control(format!("{command}: {error}")))?;
        let lines = self.reply()?;
        match lines.iter().find(|line| line.code >= 8000) {
            Some(refusal) => Err(AnycastError::Control(format!("{command}: {}", refusal.text))),
            None => Ok(lines),
        }
    }

    fn reply(&mut self) -> Result<Vec<Line>, AnycastError> {
        let mut piece = [0; 4096];
        loop {
            if let Some((lines, length)) = parse_reply(&self.unread)? {
                self.unread.drain(..length);
                return Ok(lines);
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(AnycastError::Control("BIRD closed the connection".to_owned())),
                Ok(read) => self.unread.extend_from_slice(&piece[..read]),
                Err(error) => return Err(AnycastError::Control(format!("reading a reply: {error}"))),
            }
        }
    }
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
