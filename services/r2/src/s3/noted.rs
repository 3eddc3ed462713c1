//! A body that is noted while `s3s` reads it: of some documents it passes over what it does not know, and nobody is told.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use s3s::Body;

/// What has come of a body. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Note(Arc<Mutex<Vec<u8>>>);

impl Note {
    /// Whether a document has come that has an element of this name.
    pub(super) fn has_element(&self, name: &str) -> bool {
        let came = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&came).split('<').any(|tag| {
            tag.strip_prefix(name).is_some_and(|rest| rest.starts_with(['>', '/', ' ', '\t', '\r', '\n']))
        })
    }
}

/// Octets that are noted. As they come, with the marks of signed pieces: more than `s3s` counts.
const NOTED_OCTETS_MAX: usize = 1 << 20;

/// A body that is noted, and breaks off where it is longer than that: what a bucket is made with has some hundred octets.
struct Noted {
    body: Body,
    note: Note,
}

/// A request whose body is noted; its operation finds the note beside it.
pub(super) fn noted(mut request: Request<Body>) -> Request<Body> {
    let note = Note::default();
    request.extensions_mut().insert(note.clone());
    request.map(|body| Body::http_body_unsync(Noted { body, note }))
}

impl http_body::Body for Noted {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, s3s::StdError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let mut noted = self.note.0.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.len() + data.len() > NOTED_OCTETS_MAX {
                return Poll::Ready(Some(Err("what a bucket is made with is too long".into())));
            }
            noted.extend_from_slice(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_found_by_its_name_and_not_by_a_text() {
        for (text, has) in [
            ("<C><Tags><Tag><Key>a</Key></Tag></Tags></C>", true),
            ("<C><Tag xmlns=\"x\">a</Tag></C>", true),
            ("<C><Tags/><LocationConstraint>Tag</LocationConstraint></C>", false),
            ("", false),
        ] {
            let note = Note::default();
            note.0.lock().unwrap().extend_from_slice(text.as_bytes());
            assert_eq!(note.has_element("Tag"), has, "{text}");
        }
    }
}
