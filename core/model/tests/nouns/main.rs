//! What may be a noun and what may not: tables of both, and properties over any input.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests: what cannot be set up fails them")]

mod assets;
mod keys;
mod mnemonics;
mod names;
mod purges;
mod record_types;
mod records;
mod rolls;
mod routes;
mod rules;
mod settings;
mod times;
mod tokens;
mod workers;
