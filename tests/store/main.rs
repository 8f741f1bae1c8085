//! The store from outside: committed data stays, whatever happens to the process, the disk or the results file.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod audit;
mod crash;
mod harness;
mod queries;
mod recovery;
mod resume;
mod rules;
mod throughput;
mod writer;
