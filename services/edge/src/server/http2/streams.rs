//! The streams of a connection, as the connection sees them: windows, priorities, and whose turn it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::stream::{Head, Stream};
use super::{OUTPUT_BYTES_MAX, STREAM_WINDOW_BYTES};
use crate::http2::{
    Code, FRAME_BYTES_MAX, LARGEST, Priority, WINDOW_BYTES, write_data_head, write_head, write_ready,
    write_trailers,
};
use crate::server::BODY_PROGRESS_BYTES_MIN;
use crate::server::output::Output;

/// In one of so many turns the one that has waited longest is next, however urgent it is: whoever asks for something less
/// urgent shall not wait for ever.
const FAIR_TURN: u64 = 64;

/// Pieces of content up to this length are copied: a slice of its own would cost more.
pub(super) const COPIED_BYTES_MAX: usize = 4 * 1024;

/// Octets that a client may have left to send of a request that is answered already, to be read and thrown away: what may
/// be on its way without a word from us.
const DISCARDED_BYTES_MAX: u64 = WINDOW_BYTES as u64;

/// How long that is waited for.
const DISCARD: Duration = Duration::from_secs(1);

/// What a client may send, on a stream or on the connection.
pub(super) struct ReceiveWindow {
    size: u32,
    left: i64,
    /// Octets that were taken of what it sent, and of which it was not told.
    credit: u32,
}

impl ReceiveWindow {
    pub(super) fn new(size: u32) -> Self {
        Self { size, left: size.into(), credit: 0 }
    }

    /// So much came; whether it was allowed.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        self.left -= i64::try_from(bytes).unwrap_or(i64::MAX);
        self.left >= 0
    }

    /// So much may come again. What the client is to be told, once it is worth a frame, or all that is left to it.
    pub(super) fn give(&mut self, bytes: usize) -> Option<u32> {
        self.credit += u32::try_from(bytes).unwrap_or_default();
        let worth = self.credit >= self.size / 2 || i64::from(self.credit) >= self.left;
        if self.credit == 0 || !worth {
            return None;
        }
        self.left += i64::from(self.credit);
        Some(std::mem::take(&mut self.credit))
    }
}

/// A stream of which something may still come or go.
pub(super) struct Entry {
    pub(super) stream: Arc<Stream>,
    pub(super) priority: Priority,
    /// Whether it may have something to write, as far as its window allows.
    ready: bool,
    /// Octets that we may send; below 0 where the client has made its windows smaller (RFC 9113, 6.9.2).
    send_window: i64,
    pub(super) window: ReceiveWindow,
    /// Octets that came, and for which it may not yet send others on the connection.
    pub(super) held: usize,
    /// Whether the request is whole.
    pub(super) received: bool,
    /// Octets of its body that are missing, if that was announced.
    pub(super) missing: Option<u64>,
    /// Its answer is written, and the rest of its request is thrown away until then ([`Streams::discard_rest`]).
    pub(super) leaves: Option<Instant>,
    /// When it last had its turn.
    turn: u64,
    /// Octets that were written since it was last looked at whether it moves.
    moved: usize,
    /// Whether it was left to be written when that was looked at.
    was_left: bool,
}

impl Entry {
    pub(super) fn new(stream: Arc<Stream>, priority: Priority, send_window: i64, received: bool) -> Self {
        Self {
            stream,
            priority,
            ready: false,
            send_window,
            window: ReceiveWindow::new(STREAM_WINDOW_BYTES),
            held: 0,
            received,
            missing: None,
            leaves: None,
            turn: 0,
            moved: 0,
            was_left: false,
        }
    }

    /// The client takes more, or less.
    fn open(&mut self, more: i64) -> Result<(), Code> {
        self.send_window += more;
        self.ready = true;
        self.stream.lock().outgoing.blocked &= self.send_window <= 0;
        if self.send_window > i64::from(LARGEST) { Err(Code::FLOW_CONTROL_ERROR) } else { Ok(()) }
    }
}

/// What became of a stream that had its turn.
pub(super) enum Turn {
    /// It goes on.
    Goes,
    /// Its answer is written; false: its request is not whole.
    Answered(bool),
    /// Its exchange gave up.
    Reset(Code),
}

/// All of them, by their numbers.
pub(super) struct Streams {
    entries: Vec<Entry>,
    /// Octets that we may send on the connection.
    send_window: i64,
    /// Of streams that begin now.
    initial_window: i64,
    turns: u64,
    /// Octets that streams held which are no more.
    released: usize,
    /// The client has made its table smaller, and was not told yet that none is used.
    pub(super) table_reset: bool,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            send_window: WINDOW_BYTES.into(),
            initial_window: WINDOW_BYTES.into(),
            turns: 0,
            released: 0,
            table_reset: false,
        }
    }
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn initial_window(&self) -> i64 {
        self.initial_window
    }

    /// Numbers only grow, so the newest is the last.
    pub(super) fn push(&mut self, entry: Entry) {
        debug_assert!(self.entries.last().is_none_or(|last| last.stream.id < entry.stream.id));
        self.entries.push(entry);
    }

    fn index(&self, id: u32) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.stream.id).ok()
    }

    pub(super) fn get(&mut self, id: u32) -> Option<&mut Entry> {
        self.index(id).map(|index| &mut self.entries[index])
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Entry> {
        let entry = self.entries.remove(self.index(id)?);
        self.released += entry.held;
        Some(entry)
    }

    /// Octets that nobody will take any more, since the last time.
    pub(super) fn take_released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Whether none has anything to write.
    pub(super) fn is_quiet(&self) -> bool {
        self.entries.iter().all(|entry| !entry.ready)
    }

    /// Takes room for so many octets on a stream that begins now, and on the connection, if there is room for all of them.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let Ok(bytes) = i64::try_from(bytes) else { return false };
        let room = bytes <= self.initial_window.min(self.send_window);
        self.send_window -= if room { bytes } else { 0 };
        room
    }

    /// There may be something to write.
    pub(super) fn wake(&mut self, id: u32) {
        if let Some(entry) = self.get(id) {
            entry.ready = true;
        }
    }

    /// The client takes more on the connection.
    ///
    /// # Errors
    /// The window would be larger than windows may be.
    pub(super) fn open_connection(&mut self, bytes: u32) -> Result<(), Code> {
        self.send_window += i64::from(bytes);
        if self.send_window > i64::from(LARGEST) {
            return Err(Code::FLOW_CONTROL_ERROR);
        }
        self.entries.iter_mut().for_each(|entry| entry.ready = true);
        Ok(())
    }

    /// The client takes more on a stream.
    ///
    /// # Errors
    /// The window would be larger than windows may be.
    pub(super) fn open(&mut self, id: u32, bytes: u32) -> Result<(), Code> {
        let Some(entry) = self.get(id) else { return Ok(()) };
        entry.open(bytes.into())
    }

    /// The client takes so much on new streams; and the others have that much more or less.
    ///
    /// # Errors
    /// A window would be larger than windows may be.
    pub(super) fn set_initial_window(&mut self, bytes: u32) -> Result<(), Code> {
        let more = i64::from(bytes) - self.initial_window;
        self.initial_window = bytes.into();
        for entry in &mut self.entries {
            entry.open(more)?;
        }
        Ok(())
    }

    /// Lets the streams have their turns until `output` is full or none can go on; `ended` is told of those that have
    /// come to an end.
    pub(super) fn write(
        &mut self,
        output: &mut Output,
        mut ended: impl FnMut(&mut Self, &mut Output, u32, Turn),
    ) {
        while output.bytes() < OUTPUT_BYTES_MAX {
            let Some(index) = self.next() else { return };
            let id = self.entries[index].stream.id;
            match self.turn(index, output) {
                Turn::Goes => {}
                turn => ended(self, output, id, turn),
            }
        }
    }

    /// Whose turn it is (RFC 9218, 10): the most urgent; among those that are as urgent, one after the other those that are
    /// of no use in part, and before them by turns those that are.
    fn next(&self) -> Option<usize> {
        let ready =
            self.entries.iter().enumerate().filter(|(_, entry)| entry.ready && entry.leaves.is_none());
        if self.turns % FAIR_TURN == FAIR_TURN - 1 {
            return ready.min_by_key(|(_, entry)| entry.turn).map(|(index, _)| index);
        }
        let place = |entry: &Entry| {
            let Priority { urgency, incremental } = entry.priority;
            (urgency, !incremental, if incremental { entry.turn } else { 0 }, entry.stream.id)
        };
        ready.min_by_key(|(_, entry)| place(entry)).map(|(index, _)| index)
    }

    /// Writes what a stream has: one frame of content, or, where it takes no turns, as many as there is room for.
    fn turn(&mut self, index: usize, output: &mut Output) -> Turn {
        self.turns += 1;
        let entry = &mut self.entries[index];
        entry.turn = self.turns;
        let id = entry.stream.id;
        let before = output.bytes();
        let mut state = entry.stream.look();
        let outgoing = &mut state.outgoing;
        if let Some(code) = outgoing.reset {
            return Turn::Reset(code);
        }
        while let Some(interim) = outgoing.interims.pop_front() {
            let reset = std::mem::take(&mut self.table_reset);
            write_head(interim.status, &interim.headers, false, reset, id, &mut output.staged);
        }
        let mut ended = false;
        match outgoing.head.take() {
            Some(Head::Fields { status, headers, ends }) => {
                let reset = std::mem::take(&mut self.table_reset);
                write_head(status, &headers, ends, reset, id, &mut output.staged);
                ended = ends;
            }
            Some(Head::Ready { section, ends }) => {
                let reset = std::mem::take(&mut self.table_reset);
                write_ready(&section, ends, reset, id, &mut output.staged);
                ended = ends;
            }
            None => {}
        }
        while !ended {
            let last = outgoing.whole && outgoing.data.len() <= 1 && outgoing.trailers.is_none();
            let Some(data) = outgoing.data.front_mut() else { break };
            let window = entry.send_window.min(self.send_window);
            let room = usize::try_from(window).unwrap_or_default().min(FRAME_BYTES_MAX);
            if room == 0 && !data.is_empty() {
                break;
            }
            let part = data.split_to(room.min(data.len()));
            let left = data.len();
            if left == 0 {
                outgoing.data.pop_front();
            }
            ended = last && left == 0;
            outgoing.data_bytes -= part.len();
            entry.stream.unqueue(part.len());
            entry.send_window -= part.len() as i64;
            self.send_window -= part.len() as i64;
            write_data_head(part.len(), ended, id, &mut output.staged);
            output.push(part, COPIED_BYTES_MAX);
            if entry.priority.incremental || output.bytes() >= OUTPUT_BYTES_MAX {
                break;
            }
        }
        if !ended
            && outgoing.data.is_empty()
            && let Some(trailers) = outgoing.trailers.take()
        {
            let reset = std::mem::take(&mut self.table_reset);
            write_trailers(&trailers, reset, id, &mut output.staged);
            ended = true;
        }
        // An end without content needs no window.
        let front = outgoing.data.front();
        let content = front.is_some_and(|data| !data.is_empty());
        outgoing.blocked = entry.send_window <= 0 && content;
        let shut = outgoing.blocked || self.send_window <= 0 && content;
        entry.ready = !ended && front.is_some() && !shut || outgoing.has_fields();
        let is_tunnel = outgoing.tunnel;
        let written = output.bytes() - before;
        entry.moved += written;
        entry.stream.written(state, written, ended);
        // The client's half of a tunnel may go on, and what came of it must be taken (`Session::look`).
        if !ended || is_tunnel && !entry.stream.lock().is_tunnel_over() {
            return Turn::Goes;
        }
        Turn::Answered(entry.received)
    }

    /// Keeps a stream whose answer is written until the rest of its request has come, which is thrown away, and for how
    /// long at most: if it is so little that the client has probably sent it already. Some take a reset for a failure even
    /// then, which RFC 9113 (8.1) says they must not.
    pub(super) fn discard_rest(&mut self, id: u32) -> Option<Instant> {
        let entry = self.get(id)?;
        let little = entry.missing.is_some_and(|missing| missing <= DISCARDED_BYTES_MAX);
        entry.leaves = little.then(|| Instant::now() + DISCARD);
        if little {
            entry.stream.leave();
        }
        entry.leaves
    }

    /// When the first of those leaves that only wait for the rest of their requests.
    pub(super) fn first_leaves(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.leaves).min()
    }

    /// Those who wait no longer.
    pub(super) fn leaving(&self, now: Instant) -> Vec<u32> {
        let late = self.entries.iter().filter(|entry| entry.leaves.is_some_and(|leaves| leaves <= now));
        late.map(|entry| entry.stream.id).collect()
    }

    /// Those whose exchange was over the last time already, and of whose answer too little was taken since; unless, while
    /// the connection moves, they only wait for their turn.
    pub(super) fn stalled(&mut self, connection_moves: bool) -> Vec<u32> {
        let mut stalled = Vec::new();
        for entry in &mut self.entries {
            let moved = std::mem::take(&mut entry.moved) >= BODY_PROGRESS_BYTES_MIN;
            let (left, blocked) = {
                let state = entry.stream.lock();
                (state.is_left(), state.outgoing.blocked)
            };
            if std::mem::replace(&mut entry.was_left, left)
                && left
                && !moved
                && (blocked || !connection_moves)
            {
                stalled.push(entry.stream.id);
            }
        }
        stalled
    }
}
