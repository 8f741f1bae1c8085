//! The run's events: numbers them, logs them, and keeps the newest for the screens.

use std::{collections::VecDeque, sync::Arc};

use crate::domain::{Event, EventKind, EventLevel, WallTime, plain_text::sanitize};

/// Maximum number of events in a snapshot.
const MAX_EVENTS_SHOWN: usize = 256;

#[derive(Debug)]
pub(super) struct EventLog {
    newest: VecDeque<Arc<Event>>,
    next_number: u64,
}

impl EventLog {
    /// A log that continues the `events` of earlier processes.
    pub fn resumed(events: Vec<Arc<Event>>, next_number: u64) -> Self {
        Self { newest: events.into(), next_number }
    }

    /// Numbers an event, writes it to the program's log and keeps it. The caller records it.
    pub fn add(&mut self, at: WallTime, kind: EventKind) -> Arc<Event> {
        let event = Arc::new(Event { number: self.next_number, at, kind });
        self.next_number += 1;
        let message = event.kind.to_string();
        let message = sanitize(&message);
        match event.level() {
            EventLevel::Info | EventLevel::Operator => tracing::info!(target: "cascadeck::events", "{message}"),
            EventLevel::Warn => tracing::warn!(target: "cascadeck::events", "{message}"),
            EventLevel::Alert => tracing::error!(target: "cascadeck::events", "{message}"),
        }
        if self.newest.len() == MAX_EVENTS_SHOWN {
            self.newest.pop_front();
        }
        self.newest.push_back(Arc::clone(&event));
        event
    }

    /// The newest events, oldest first.
    pub fn newest(&self) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        self.newest.iter()
    }
}
