//! The metrics of a snapshot as text.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, prometheus_text, text},
    registry::Registry,
};

use super::{content_type::TextFormat, families, family_writer::FamilyWriter};
use crate::domain::{Snapshot, WallTime};

/// Renders the metrics of `snapshot` at the engine's time `now`. Remaining times count from `now`, since a snapshot may
/// be some seconds old.
pub fn render(snapshot: Arc<Snapshot>, now: WallTime, format: TextFormat) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(SnapshotCollector { snapshot, now }));
    let mut rendered = String::new();
    let written = match format {
        TextFormat::OpenMetrics => text::encode(&mut rendered, &registry),
        TextFormat::Prometheus => prometheus_text::encode(&mut rendered, &registry),
    };
    debug_assert_eq!(written, Ok(()), "writing to a string can't fail");
    rendered
}

/// Sets all values from a snapshot.
#[derive(Debug)]
struct SnapshotCollector {
    snapshot: Arc<Snapshot>,
    now: WallTime,
}

impl Collector for SnapshotCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        families::write_all(&mut FamilyWriter::new(encoder), &self.snapshot, self.now)
    }
}
