//! What one server tells another of what it sees: lines, each with a letter that says what follows. JSON has no line's end in it.
//!
//! `e{…}` an event; `d17` so many were dropped; `x` the tail was ended.

use bytes::Bytes;
use proxima_pipeline::{TailEnd, TailSeen};

use super::event;

/// Octets of a line, but for its end.
const OCTETS_MAX: usize = event::OCTETS_MAX + 1;

/// The line of what is seen; none where the server itself ends, which the end of all lines says.
pub(super) fn write(seen: &TailSeen) -> Option<Bytes> {
    match seen {
        TailSeen::Event(event) => Some([b"e", &event[..], b"\n"].concat().into()),
        TailSeen::Dropped(count) => Some(format!("d{count}\n").into()),
        TailSeen::Ended(TailEnd::Done) => Some(Bytes::from_static(b"x\n")),
        TailSeen::Ended(TailEnd::GoingAway) => None,
    }
}

/// What a line says.
fn read(line: &[u8]) -> Option<TailSeen> {
    match line.split_first()? {
        (b'e', event) => Some(TailSeen::Event(Bytes::copy_from_slice(event))),
        (b'd', count) => Some(TailSeen::Dropped(std::str::from_utf8(count).ok()?.parse().ok()?)),
        (b'x', []) => Some(TailSeen::Ended(TailEnd::Done)),
        _ => None,
    }
}

/// Lines as they come, in pieces.
#[derive(Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

/// What comes is no such lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoLines;

impl Lines {
    /// Takes a piece, and says what is complete with it.
    pub(super) fn take(&mut self, piece: &[u8], mut each: impl FnMut(TailSeen)) -> Result<(), NoLines> {
        let mut pieces = piece.split(|octet| *octet == b'\n').peekable();
        while let Some(part) = pieces.next() {
            if self.begun.len() + part.len() > OCTETS_MAX {
                return Err(NoLines);
            }
            self.begun.extend_from_slice(part);
            if pieces.peek().is_some() {
                each(read(&self.begun).ok_or(NoLines)?);
                self.begun.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_is_read_as_it_was_written_in_whatever_pieces_it_comes() {
        let seen = [
            TailSeen::Event(Bytes::from_static(b"{\"a\":1}")),
            TailSeen::Dropped(17),
            TailSeen::Event(Bytes::from(vec![b'x'; event::OCTETS_MAX])),
            TailSeen::Ended(TailEnd::Done),
        ];
        let written: Vec<u8> = seen.iter().filter_map(write).flatten().collect();
        for octets in [1, 2, 3, 1_000, written.len()] {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for piece in written.chunks(octets) {
                lines.take(piece, |seen| found.push(seen)).unwrap();
            }
            assert_eq!(found, seen, "in pieces of {octets}");
        }
        assert_eq!(write(&TailSeen::Ended(TailEnd::GoingAway)), None);
    }

    #[test]
    fn what_is_no_such_line_is_refused() {
        let long = vec![b'e'; OCTETS_MAX + 1];
        for wrong in [&b"\n"[..], b"y\n", b"d\n", b"d-1\n", b"xx\n", &long] {
            assert_eq!(Lines::default().take(wrong, |_| {}), Err(NoLines));
        }
    }
}
