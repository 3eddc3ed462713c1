//! The routers: BIRD 2, its configuration and its control socket.

pub(crate) mod config;
pub(crate) mod control;
