//! The run's metrics for Prometheus and everything that reads its formats: a text that is a function of a snapshot, and
//! the server that serves it.
//!
//! ```text
//! snapshots ──> families ──> server ──> GET /metrics
//! ```

mod content_type;
mod families;
mod family_writer;
mod host_check;
mod server;
mod text;

pub use self::{
    content_type::TextFormat,
    server::{MetricsListener, MetricsServer},
    text::render,
};
