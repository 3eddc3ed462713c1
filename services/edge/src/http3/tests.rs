//! The core by tables and properties.

mod messages;
mod sections;
mod streams;
