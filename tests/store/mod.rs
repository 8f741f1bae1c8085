//! The store from outside: committed data stays, whatever happens to the process, the disk or the results file.

mod audit;
mod crash;
mod harness;
mod queries;
mod recovery;
mod resume;
mod rules;
mod throughput;
mod writer;
