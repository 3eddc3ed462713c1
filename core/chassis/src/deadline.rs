//! A timer that is set often and fires seldom.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A point in time until which something must have happened. Setting it later costs nothing but a store: the timer
/// underneath is left where it is, and put right when it fires.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Until `at`.
    pub fn set(&mut self, at: Instant) {
        self.at = Some(at);
    }

    /// No longer.
    pub fn clear(&mut self) {
        self.at = None;
    }

    /// Whether it is set.
    pub const fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// Ready once it has passed; it is then no longer set.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if Instant::now() >= at {
                self.at = None;
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}
