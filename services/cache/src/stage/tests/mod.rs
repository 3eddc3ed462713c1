//! The stage between clients and an origin that the tests play themselves: every request that reaches the origin is
//! handed to the test, which answers it when it wants. Nothing here waits for time to pass; where time matters it is
//! paused and advanced.

mod collapsing;
mod disk;
mod encoded;
mod fill;
mod glance;
mod harness;
mod led;
mod parts;
mod peers;
mod purging;
mod racing;
mod reasons;
mod responses;
mod reuse;
mod rules;
mod slices;
mod tags;
