//! The shape of every product on a request's way.

use futures_util::future::BoxFuture;

use crate::{Exchange, Fault, Response};

/// How the way goes on.
#[derive(Debug)]
pub enum Flow {
    /// To the next stage.
    Continue,
    /// Back: this is the answer.
    Respond(Response),
    /// Back: this is what failed; the pipeline makes the answer.
    Fail(Fault),
}

/// A stage's decision: at once, or after waiting for something.
pub enum Decision<'a> {
    /// Decided.
    Now(Flow),
    /// Still waiting: a lookup, a fetch.
    Later(BoxFuture<'a, Flow>),
}

/// One product on a request's way.
pub trait Stage: Send + Sync + 'static {
    /// Its name: folder, crate, configuration key, metric prefix and trace entry.
    fn name(&self) -> &'static str;

    /// On the way to the origin. Dropping the decision cancels it: the client has gone.
    /// Goes on unless the stage says otherwise: some have their work on the way back.
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let _ = exchange;
        Decision::Now(Flow::Continue)
    }

    /// On the way back, if `on_request` had said [`Flow::Continue`]; `exchange.response` is there.
    fn on_response(&self, exchange: &mut Exchange) {
        let _ = exchange;
    }
}
