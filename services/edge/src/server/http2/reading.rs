//! What comes in on a connection, frame by frame.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use proxima_http1::{Http1Error, content_length};
use proxima_pipeline::{BodyError, RayId};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::streams::Entry;
use super::{
    CANCELLED_MIN, END_PING, Ending, OUTPUT_BYTES_MAX, REFUSED_MAX, STREAMS_MAX, Session, TASKS_MAX, exchange,
};
use crate::fields::FieldError;
use crate::http2::{
    Broken, Code, FRAME_HEAD_BYTES, FrameHead, LARGEST, PREFACE, Priority, Setting, decode_request, flag,
    frame_type, read_settings, read_trailers, request_head, unpadded, write_ping_answer,
    write_settings_answer,
};
use crate::server::Transport;

/// Octets that one read takes, on the stack: an idle connection holds no buffer.
const READ_BYTES: usize = 16 * 1024;
/// Octets that one read takes while a body comes in.
const BODY_READ_BYTES: usize = 64 * 1024;
/// Pieces in which a field section may come. Its octets are bounded anyway; pieces without any are not.
const PIECES_MAX: u32 = 64;
/// A field section may have so many times the octets that a decoded one may have: to be answered it has to be decoded,
/// and beyond that it is an attack.
const SECTION_TIMES: usize = 4;
/// Priorities of streams that have not begun, of which we take note.
const PRIORITIES_MAX: usize = 16;

/// A field section of which more must come.
pub(super) struct Gathering {
    stream: u32,
    end_stream: bool,
    section: BytesMut,
    pieces: u32,
}

/// Why reading is over: with a code for the client, or without anybody to tell.
type Over = Option<Code>;

impl<T: Transport> Session<T> {
    /// Reads and heeds all frames that have come. Ready when something was read.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Over>> {
        // Who does not take what is written is not listened to either.
        if self.output.bytes() >= OUTPUT_BYTES_MAX {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(context)) {
            Ok(0) | Err(_) => return Poll::Ready(Err(None)),
            Ok(_) => {}
        }
        let heeded = self.heed_all(context);
        Poll::Ready(heeded.map_err(Some))
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        if self.inbound.len() >= READ_BYTES {
            self.inbound.reserve(BODY_READ_BYTES);
            return tokio_util::io::poll_read_buf(Pin::new(&mut self.io), context, &mut self.inbound);
        }
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut read))?;
        if self.inbound.is_empty() {
            // Lets go of what bodies hold slices of.
            self.inbound = BytesMut::with_capacity(read.filled().len());
        }
        self.inbound.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    fn heed_all(&mut self, context: &mut Context<'_>) -> Result<(), Code> {
        if !self.greeted {
            let length = self.inbound.len().min(PREFACE.len());
            if self.inbound[..length] != PREFACE[..length] {
                return Err(Code::PROTOCOL_ERROR);
            }
            if length < PREFACE.len() {
                return Ok(());
            }
            self.inbound.advance(PREFACE.len());
            self.greeted = true;
        }
        let (mut body, mut heeded) = (false, false);
        while let Some(head) = FrameHead::read(&self.inbound)? {
            if self.inbound.len() < FRAME_HEAD_BYTES + head.length {
                body = head.kind == frame_type::DATA;
                if body {
                    self.inbound.reserve(BODY_READ_BYTES);
                }
                break;
            }
            self.inbound.advance(FRAME_HEAD_BYTES);
            let payload = self.inbound.split_to(head.length).freeze();
            heeded = true;
            if let Err(broken) = self.heed(head, payload, context) {
                self.end_broken(head.stream, broken)?;
            }
        }
        // A body has its own time; all else has to come to its end.
        let waits = self.gathering.is_some() || !self.settled || !self.inbound.is_empty() && !body;
        if !waits {
            self.head.clear();
        } else if !self.head.is_set() || heeded && self.settled && self.gathering.is_none() {
            self.head.set(Instant::now() + self.context.timeouts.head);
        }
        Ok(())
    }

    /// Ends what is broken.
    fn end_broken(&mut self, stream: u32, broken: Broken) -> Result<(), Code> {
        let code = match broken {
            Broken::Connection(code) => return Err(code),
            Broken::Stream(code) => code,
            Broken::TooLarge => Code::ENHANCE_YOUR_CALM,
        };
        self.reset(stream, code);
        if code == Code::REFUSED_STREAM {
            // It is no fault before the client knows how many there may be.
            self.refused += 1;
            return if self.refused > REFUSED_MAX { Err(Code::ENHANCE_YOUR_CALM) } else { Ok(()) };
        }
        self.context.metrics.http2_broken(code);
        self.fault()
    }

    fn heed(&mut self, head: FrameHead, payload: Bytes, context: &mut Context<'_>) -> Result<(), Broken> {
        let protocol_error = Err(Broken::Connection(Code::PROTOCOL_ERROR));
        if !std::mem::replace(&mut self.settled, true)
            && (head.kind != frame_type::SETTINGS || head.has(flag::ACK))
        {
            return protocol_error;
        }
        // Nothing comes between the pieces of a section (RFC 9113, 6.10).
        let goes_on = self.gathering.as_ref().map(|gathering| gathering.stream);
        if (head.kind == frame_type::CONTINUATION) != goes_on.is_some()
            || goes_on.is_some_and(|stream| stream != head.stream)
        {
            return protocol_error;
        }
        let of_connection = matches!(
            head.kind,
            frame_type::SETTINGS | frame_type::PING | frame_type::GOAWAY | frame_type::PRIORITY_UPDATE
        );
        let of_stream = matches!(
            head.kind,
            frame_type::DATA
                | frame_type::HEADERS
                | frame_type::CONTINUATION
                | frame_type::RST_STREAM
                | frame_type::PRIORITY
        );
        if of_connection && head.stream != 0 || of_stream && head.stream.is_multiple_of(2) {
            return protocol_error;
        }
        match head.kind {
            frame_type::DATA => self.data(head, payload),
            frame_type::HEADERS => self.headers(head, &payload, context),
            frame_type::CONTINUATION => self.continuation(head, &payload, context),
            frame_type::RST_STREAM => self.rst_stream(head, &payload),
            frame_type::WINDOW_UPDATE => {
                self.idle.window_opened()?;
                self.window_update(head, &payload)
            }
            frame_type::PUSH_PROMISE => protocol_error,
            _ => {
                self.idle.came()?;
                self.other(head, &payload)
            }
        }
    }

    fn other(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Broken> {
        let wrong_size = Err(Broken::Connection(Code::FRAME_SIZE_ERROR));
        match head.kind {
            frame_type::SETTINGS if head.has(flag::ACK) => {
                if payload.is_empty() {
                    Ok(())
                } else {
                    wrong_size
                }
            }
            frame_type::SETTINGS => self.settings(payload),
            frame_type::PING => {
                let Ok(opaque) = <[u8; 8]>::try_from(payload) else { return wrong_size };
                match head.has(flag::ACK) {
                    true if self.ending == Ending::Said && opaque == END_PING => self.end_heard(),
                    true => {}
                    false => write_ping_answer(opaque, &mut self.output.staged),
                }
                Ok(())
            }
            frame_type::PRIORITY if payload.len() != 5 => Err(Broken::Stream(Code::FRAME_SIZE_ERROR)),
            frame_type::PRIORITY_UPDATE => {
                let Some((id, value)) = payload.split_first_chunk::<4>() else { return wrong_size };
                self.priority_update(u32::from_be_bytes(*id) & LARGEST, Priority::read(value))
            }
            // The client's streams are all that there are: that it opens no more shows by itself.
            _ => Ok(()),
        }
    }

    /// It may come before its stream does (RFC 9218, 7.1).
    fn priority_update(&mut self, id: u32, priority: Priority) -> Result<(), Broken> {
        if id.is_multiple_of(2) {
            return Err(Broken::Connection(Code::PROTOCOL_ERROR));
        }
        self.has_priorities = true;
        if let Some(entry) = self.streams.get(id) {
            entry.priority = priority;
        } else if id > self.last_id && self.priorities.len() < PRIORITIES_MAX {
            self.priorities.push((id, priority));
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Broken> {
        for setting in read_settings(payload)? {
            match setting {
                // None is used; whoever makes it smaller wants to hear so.
                Setting::HeaderTableSize(_) => self.streams.table_reset = true,
                Setting::InitialWindowSize(bytes) => {
                    self.streams.set_initial_window(bytes).map_err(Broken::Connection)?;
                }
            }
        }
        write_settings_answer(&mut self.output.staged);
        Ok(())
    }

    fn window_update(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Broken> {
        let Ok(bytes) = <[u8; 4]>::try_from(payload) else {
            return Err(Broken::Connection(Code::FRAME_SIZE_ERROR));
        };
        let bytes = u32::from_be_bytes(bytes) & LARGEST;
        match (head.stream, bytes) {
            (0, 0) => Err(Broken::Connection(Code::PROTOCOL_ERROR)),
            (0, _) => self.streams.open_connection(bytes).map_err(Broken::Connection),
            (id, _) if id > self.last_id || id.is_multiple_of(2) => {
                Err(Broken::Connection(Code::PROTOCOL_ERROR))
            }
            (_, 0) => Err(Broken::Stream(Code::PROTOCOL_ERROR)),
            (id, _) => self.streams.open(id, bytes).map_err(Broken::Stream),
        }
    }

    fn rst_stream(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Broken> {
        if payload.len() != 4 {
            return Err(Broken::Connection(Code::FRAME_SIZE_ERROR));
        }
        if head.stream > self.last_id {
            return Err(Broken::Connection(Code::PROTOCOL_ERROR));
        }
        let Some(entry) = self.streams.remove(head.stream) else { return self.idle.came() };
        if entry.leaves.is_some() {
            return Ok(());
        }
        self.count(entry.stream.leave());
        self.cancelled += 1;
        if self.cancelled > CANCELLED_MIN && self.cancelled > self.served / 2 {
            return Err(Broken::Connection(Code::ENHANCE_YOUR_CALM));
        }
        Ok(())
    }

    fn data(&mut self, head: FrameHead, payload: Bytes) -> Result<(), Broken> {
        let id = head.stream;
        if id > self.last_id {
            return Err(Broken::Connection(Code::PROTOCOL_ERROR));
        }
        let bytes = payload.len();
        if !self.window.take(bytes) {
            return Err(Broken::Connection(Code::FLOW_CONTROL_ERROR));
        }
        let range = unpadded(head, &payload)?;
        if !range.is_empty() {
            self.idle.moved();
        } else if !head.has(flag::END_STREAM) {
            self.idle.came()?;
        }
        let Some(entry) = self.streams.get(id) else {
            self.give_on_connection(bytes);
            let late = self.ended_ids.contains(&id);
            return if late { Ok(()) } else { Err(Broken::Stream(Code::STREAM_CLOSED)) };
        };
        if entry.received {
            self.give_on_connection(bytes);
            return Err(Broken::Stream(Code::STREAM_CLOSED));
        }
        entry.held += bytes;
        if !entry.window.take(bytes) {
            return Err(Broken::Stream(Code::FLOW_CONTROL_ERROR));
        }
        let stream = Arc::clone(&entry.stream);
        let content = range.len();
        if let Some(missing) = &mut entry.missing {
            match missing.checked_sub(content as u64) {
                Some(left) => *missing = left,
                None => return Err(wrong_length(&stream)),
            }
        }
        if entry.leaves.is_some() {
            // Nobody takes it.
            self.give(id, bytes);
            return if head.has(flag::END_STREAM) { self.received(id, None) } else { Ok(()) };
        }
        // Padding is not for anybody to take.
        self.give(id, bytes - content);
        if content > 0 {
            stream.arrive(payload.slice(range));
        }
        if head.has(flag::END_STREAM) { self.received(id, None) } else { Ok(()) }
    }

    /// The request of a stream is whole.
    fn received(&mut self, id: u32, trailers: Option<http::HeaderMap>) -> Result<(), Broken> {
        let Some(entry) = self.streams.get(id) else { return Ok(()) };
        if entry.missing.is_some_and(|missing| missing > 0) {
            return Err(wrong_length(&entry.stream));
        }
        entry.received = true;
        entry.stream.arrived(Ok(trailers));
        if entry.leaves.is_some() || entry.stream.lock().is_tunnel_over() {
            self.streams.remove(id);
        }
        Ok(())
    }

    fn headers(&mut self, head: FrameHead, payload: &[u8], context: &mut Context<'_>) -> Result<(), Broken> {
        let section = &payload[unpadded(head, payload)?];
        let end_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.section(head.stream, end_stream, section, context);
        }
        self.gathering =
            Some(Gathering { stream: head.stream, end_stream, section: section.into(), pieces: 1 });
        Ok(())
    }

    fn continuation(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), Broken> {
        let Some(mut gathering) = self.gathering.take() else { return Ok(()) };
        gathering.section.extend_from_slice(payload);
        gathering.pieces += 1;
        if gathering.section.len() > SECTION_TIMES * self.context.limits.head_bytes_max
            || gathering.pieces > PIECES_MAX
        {
            // It would have to be decoded to the end, however long it is.
            return Err(Broken::Connection(Code::ENHANCE_YOUR_CALM));
        }
        if head.has(flag::END_HEADERS) {
            let Gathering { stream, end_stream, section, .. } = gathering;
            return self.section(stream, end_stream, &section, context);
        }
        self.gathering = Some(gathering);
        Ok(())
    }

    /// A whole field section: a request's head, or its trailers.
    fn section(
        &mut self,
        id: u32,
        end_stream: bool,
        section: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), Broken> {
        if id <= self.last_id {
            return self.trailers(id, end_stream, section);
        }
        self.last_id = id;
        // Whatever becomes of it, it has to be decoded.
        let decoded = decode_request(&mut self.decoder, section, &self.context.limits, &mut self.fields);
        if decoded == Err(FieldError::Undecodable) {
            return Err(FieldError::Undecodable.into());
        }
        // What was on its way when the end had been heard is for another connection.
        if self.ending == Ending::Heard {
            self.remember(id);
            return Ok(());
        }
        if self.streams.len() >= STREAMS_MAX as usize || self.tasks.len() >= TASKS_MAX {
            return Err(Broken::Stream(Code::REFUSED_STREAM));
        }
        let mut ray = None;
        if end_stream && decoded.is_ok() {
            match self.glance(id) {
                Ok(()) => return Ok(()),
                Err(named) => ray = named,
            }
        }
        match request_head(&self.fields, decoded) {
            Ok(request) => self.request(id, end_stream, request, ray, context),
            Err(Broken::TooLarge) => {
                self.fault().map_err(Broken::Connection)?;
                let stream = self.open(id, end_stream, Priority::UNSAID);
                let (peer, server) = (self.peer.clone(), Arc::clone(&self.context));
                self.begin(exchange::refuse(Http1Error::HeadTooLarge, stream, peer, server), context);
                Ok(())
            }
            Err(broken) => Err(broken),
        }
    }

    fn request(
        &mut self,
        id: u32,
        end_stream: bool,
        request: Request<()>,
        ray: Option<RayId>,
        context: &mut Context<'_>,
    ) -> Result<(), Broken> {
        // A wrong one is refused with an answer.
        let announced = content_length(request.headers()).ok().flatten();
        if end_stream && announced.is_some_and(|bytes| bytes > 0) {
            return Err(Broken::Stream(Code::PROTOCOL_ERROR));
        }
        let said = request.headers().get("priority").map(|value| Priority::read(value.as_bytes()));
        let priority = self.priority(id, said);
        let stream = self.open(id, end_stream, priority);
        if let Some(entry) = self.streams.get(id) {
            entry.missing = announced.filter(|_| !end_stream);
        }
        let (peer, server) = (self.peer.clone(), Arc::clone(&self.context));
        self.begin(exchange::serve((request, ray), !end_stream, stream, peer, server), context);
        Ok(())
    }

    /// How urgent a stream that begins now is, of which its request says this.
    pub(super) fn priority(&mut self, id: u32, said: Option<Priority>) -> Priority {
        let noted = self.priorities.iter().position(|(noted, _)| *noted == id);
        let noted = noted.map(|index| self.priorities.swap_remove(index).1);
        self.priorities.retain(|(noted, _)| *noted > id);
        self.has_priorities |= said.is_some();
        let unsaid = if self.has_priorities { Priority::read(b"") } else { Priority::UNSAID };
        noted.or(said).unwrap_or(unsaid)
    }

    pub(super) fn open(&mut self, id: u32, received: bool, priority: Priority) -> Arc<super::Stream> {
        let stream = self.stream(id);
        let send_window = self.streams.initial_window();
        self.streams.push(Entry::new(Arc::clone(&stream), priority, send_window, received));
        stream
    }

    fn trailers(&mut self, id: u32, end_stream: bool, section: &[u8]) -> Result<(), Broken> {
        let decoded = read_trailers(&mut self.decoder, section, &self.context.limits);
        if let Err(broken @ Broken::Connection(_)) = decoded {
            return Err(broken);
        }
        let Some(entry) = self.streams.get(id) else {
            let late = self.ended_ids.contains(&id);
            return if late { Ok(()) } else { Err(Broken::Stream(Code::STREAM_CLOSED)) };
        };
        if entry.received {
            return Err(Broken::Stream(Code::STREAM_CLOSED));
        }
        // Behind them nothing may follow (RFC 9113, 8.1).
        let trailers = decoded.ok().filter(|_| end_stream);
        let Some(trailers) = trailers else {
            entry.stream.arrived(Err(BodyError::Malformed));
            return Err(Broken::Stream(Code::PROTOCOL_ERROR));
        };
        self.received(id, Some(trailers))
    }
}

/// The body is not as long as was announced.
fn wrong_length(stream: &super::Stream) -> Broken {
    stream.arrived(Err(BodyError::WrongLength));
    Broken::Stream(Code::PROTOCOL_ERROR)
}
