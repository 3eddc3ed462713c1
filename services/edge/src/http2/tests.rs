//! Tests of the core: the RFCs' examples, tables of shapes, and what is written read again.

mod frames;
mod sections;
