//! The encoded forms of one stored object, kept beside it: each is made once, when somebody first wants it. Together they
//! take no more than the object does, so that a store knows how large an object may get.

use std::sync::{
    Mutex, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use proxima_pipeline::{Body, BodyError};
use tokio::sync::watch;

use crate::Coding;

/// How a stored object goes out to a client that wants a coding.
#[derive(Debug)]
pub enum Form {
    /// Encoded: all of it.
    Ready(Bytes),
    /// Encoded: it is being made, and the body waits for it.
    Making(Body),
    /// As it is, for this reason.
    Identity(&'static str),
}

/// The forms of one object.
#[derive(Debug, Default)]
pub struct Forms {
    slots: [Slot; Coding::ALL.len()],
    octets: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Set once, when it is made: `None` if it is not kept.
    made: OnceLock<Option<Bytes>>,
    /// Who makes it tells here, once; if it ends without a word, the next who asks begins anew.
    making: Mutex<Option<watch::Receiver<Option<Bytes>>>>,
}

/// What there is to do about a form that is not made.
pub(crate) enum Next {
    /// It has been made meanwhile.
    Made,
    /// It is being made: this will tell.
    Wait(watch::Receiver<Option<Bytes>>),
    /// Make it, and tell here.
    Make(watch::Sender<Option<Bytes>>, watch::Receiver<Option<Bytes>>),
}

impl Forms {
    /// Octets that all forms take.
    pub fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    /// How the object goes out, if that is settled: its form is made, and kept or not.
    pub fn made(&self, coding: Coding) -> Option<Form> {
        Some(match self.slots[coding.index()].made.get()? {
            Some(form) => Form::Ready(form.clone()),
            None => Form::Identity("its encoded form is not small enough to be kept"),
        })
    }

    /// Decides who makes a form. `admit` is asked whether another may be made now.
    pub(crate) fn next(&self, coding: Coding, admit: impl FnOnce() -> bool) -> Option<Next> {
        let slot = &self.slots[coding.index()];
        let mut making = slot.making.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.made.get().is_some() {
            return Some(Next::Made);
        }
        if let Some(receiver) = making.as_ref().filter(|receiver| receiver.has_changed().is_ok()) {
            return Some(Next::Wait(receiver.clone()));
        }
        if !admit() {
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        *making = Some(receiver.clone());
        Some(Next::Make(sender, receiver))
    }

    /// Keeps what was made, unless it is not smaller than the object's `length`, or all forms together would be larger than
    /// that; tells those who wait in any case.
    pub(crate) fn put(
        &self,
        coding: Coding,
        form: Bytes,
        length: u64,
        waiting: &watch::Sender<Option<Bytes>>,
    ) {
        let slot = &self.slots[coding.index()];
        let octets = form.len() as u64;
        let mut making = slot.making.lock().unwrap_or_else(PoisonError::into_inner);
        let room = |taken: u64| taken.checked_add(octets).filter(|sum| octets < length && *sum <= length);
        let kept = self.octets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        // Whoever makes it is the only one who does.
        slot.made.set(kept.then(|| form.clone())).ok();
        *making = None;
        drop(making);
        waiting.send_replace(Some(form));
    }
}

/// A body that is the form, once that is made.
pub(crate) fn waiting(mut form: watch::Receiver<Option<Bytes>>) -> Body {
    let (mut sender, body) = Body::channel(1, None);
    tokio::spawn(async move {
        let made = tokio::select! {
            made = form.wait_for(Option::is_some) => made.ok().and_then(|made| made.clone()),
            () = sender.closed() => return,
        };
        match made {
            Some(form) => {
                // Who reads no more needs no end either.
                if sender.send(form).await.is_ok() {
                    sender.finish().await;
                }
            }
            None => sender.fail(BodyError::Aborted).await,
        }
    });
    body
}
