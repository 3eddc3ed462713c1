//! The shape of every product on a request's way.

use futures_util::future::BoxFuture;

use crate::{Adding, Exchange, Fault, Glance, Response, Sight};

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

    /// The same as `on_request`, of a request that is only looked at (see `glance.rs`): what would be decided about it, if
    /// that can be said. Nothing may be left behind but by the stage that answers.
    fn glance(&self, glance: &mut Glance<'_>) -> Sight {
        let _ = glance;
        Sight::Unsure
    }

    /// The same as `on_response`, of an answer that was ready, if `glance` had said [`Sight::Pass`].
    fn add(&self, glance: &Glance<'_>, answer: &mut Adding<'_>) {
        let _ = (glance, answer);
    }

    /// The fields of a request, by their names in lower case, with which `glance` may not be asked: those at which
    /// `on_request` and `on_response` look, as far as that could change an answer. `*` at the end stands for any end. (No
    /// name with `_` in it is ever let through.)
    fn heeds(&self) -> &'static [&'static str] {
        &[]
    }
}
