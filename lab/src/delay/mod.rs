//! Delay lines: what a long cable does to packets, in user space, because this kernel has no netem.
//!
//! ```text
//! namespace a            one thread per link                   namespace b
//!   TUN device ──read──> DelayQueue a→b ──due──write──> TUN device
//!   TUN device <──write──due── DelayQueue b→a <──read── TUN device
//! ```
//!
//! [`queue`] is the pure half (no clock, no I/O), [`line`] the thread with its two devices.

pub mod line;
pub mod queue;
pub(crate) mod tun;
