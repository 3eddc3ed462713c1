//! Stored objects in the coding that a client wants: made once per object and coding, kept beside it.
//!
//! What is still being fetched, or is not in memory, is left to the stage `compression`, which encodes it on its way. Whether an object is
//! encoded at all was decided when it was stored: any other is settled by one look.

use std::sync::Arc;

use http::{Method, StatusCode};
use proxima_compression::{Form, NAME, fields, wanted};
use proxima_pipeline::{Body, Exchange, Response};

use super::CacheStage;
use crate::{key::PrimaryKey, store::Object};

impl CacheStage {
    /// Gives an answer that is made of a whole object the coding that its client wants.
    pub(super) fn settle_coding(
        &self,
        exchange: &mut Exchange,
        object: &Arc<Object>,
        response: &mut Response,
    ) {
        if !object.content.is_in_memory() {
            return;
        }
        response.coding_settled = true;
        let (Some(forms), Some(length)) = (&object.forms, object.content.length()) else { return };
        if response.status != StatusCode::OK || length < fields::LENGTH_MIN {
            return;
        }
        fields::vary(&mut response.headers);
        let Some(coding) = wanted(exchange) else { return };
        let head = exchange.request.method == Method::HEAD;
        let form = if head {
            // Not worth making one; but the fields are those of a GET.
            forms.made(coding).unwrap_or_else(|| Form::Making(Body::empty()))
        } else {
            let begin = || {
                let pieces = object.content.pieces().unwrap_or_default();
                let (stage, object, key) = (self.clone(), object.clone(), PrimaryKey::of(exchange));
                (pieces, move || key.iter().for_each(|key| stage.0.store.recount(key, &object)))
            };
            self.0.compressor.form(forms, coding, length, begin)
        };
        exchange.trace.note(NAME, || match &form {
            Form::Ready(form) => {
                format!("{}: {length} octets stored as {}", coding.name(), form.len())
            }
            Form::Making(_) => format!("{}: being made of what is stored", coding.name()),
            Form::Identity(why) => format!("not encoded: {why}"),
        });
        let (body, length) = match form {
            Form::Ready(form) => {
                let length = form.len() as u64;
                (Body::full(form), Some(length))
            }
            Form::Making(body) => (body, None),
            Form::Identity(_) => return,
        };
        fields::encode(&mut response.headers, coding, length);
        response.body = if head { Body::empty() } else { body };
    }
}
