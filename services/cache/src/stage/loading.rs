//! What is not in memory, but on the disk.
//!
//! A read that need not wait is made on the way: it costs a look-up and a system call. One that must wait is made by a
//! thread, and the request is decided upon anew when it is done; then the disk is not looked at again.

use std::sync::Arc;

use proxima_pipeline::{Exchange, Flow};

use super::{CacheStage, From, NAME, Plan};
use crate::{
    disk::{Loaded, Location},
    key::PrimaryKey,
    status::Pass,
    store::Object,
};

impl CacheStage {
    /// What the disk has for a request. `Err`: it has to be waited for.
    pub(super) fn look_on_disk(
        &self,
        exchange: &mut Exchange,
        key: &PrimaryKey,
        from: From,
    ) -> Result<Option<Arc<Object>>, Location> {
        let Some(disk) = self.0.store.disk() else { return Ok(None) };
        if let From::Loaded(object) = from {
            return Ok(object);
        }
        let Some(location) = disk.look_up(key, &exchange.request.headers) else { return Ok(None) };
        match disk.load_at_once(key, location) {
            Loaded::Here(object) => {
                exchange.trace.note(NAME, || "read from the disk");
                Ok(self.take_in(exchange, key, location, object))
            }
            Loaded::Nothing => Ok(None),
            Loaded::WouldWait => Err(location),
        }
    }

    /// Reads what has to be waited for, and decides.
    pub(super) async fn load(&self, exchange: &mut Exchange, key: PrimaryKey, location: Location) -> Flow {
        let loaded = match self.0.store.disk() {
            Some(disk) => disk.load(&key, location).await,
            None => Loaded::Nothing,
        };
        let object = match loaded {
            Loaded::Here(object) => self.take_in(exchange, &key, location, object),
            Loaded::Nothing | Loaded::WouldWait => None,
        };
        exchange.trace.note(NAME, || match &object {
            Some(_) => "read from the disk, which was waited for",
            None => "on the disk was nothing that could be used",
        });
        let plan = self.plan(exchange, From::Loaded(object));
        self.carry_out(exchange, plan).await
    }

    async fn carry_out(&self, exchange: &mut Exchange, plan: Plan) -> Flow {
        match plan {
            Plan::Answer(flow) => flow,
            Plan::Pass(pass, key) => self.pass(exchange, pass, key),
            Plan::Ask(ask) => match self.lead_here(exchange, &ask) {
                Some(flow) => flow,
                None => self.ask(exchange, ask).await,
            },
            Plan::Load(key, _) => self.pass(exchange, Pass::Busy, Some(key)),
        }
    }

    fn take_in(
        &self,
        exchange: &Exchange,
        key: &PrimaryKey,
        location: Location,
        object: Arc<Object>,
    ) -> Option<Arc<Object>> {
        self.0.flights.take_in(&self.0.store, key, &exchange.request.headers, location, object)
    }
}
