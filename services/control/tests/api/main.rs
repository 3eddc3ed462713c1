//! The API over real sockets: a node in this process, asked as clients ask it.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests: what cannot be set up fails them")]

mod analytics;
mod assets;
mod auth;
mod bucket_domains;
mod client_auth;
mod clients;
mod connections;
mod delegation;
mod dns_settings;
mod dnssec;
mod documents;
mod durable;
mod followers;
mod full;
mod harness;
mod history;
mod https;
mod imports;
mod interrupted;
mod kv;
#[path = "../../../../tests/memory_kv.rs"]
mod memory_kv;
#[path = "../../../../tests/memory_queues.rs"]
mod memory_queues;
mod notifications;
mod presigned;
mod queues;
mod records;
mod rules;
mod secondaries;
mod ssl;
mod tails;
mod tokens;
mod transfers;
mod worker_checks;
mod worker_routes;
mod worker_uploads;
mod workers;
mod zones;
