//! The disk fault that blocks new requests, until it is no longer reported.

use std::time::{Duration, Instant};

/// A fault that was not reported again for this long is over.
const FAULT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct DiskFaultState {
    /// The fault, and when it was last reported.
    fault: Option<(String, Instant)>,
}

impl DiskFaultState {
    /// Takes a report of a fault. True if there was none before.
    pub fn on_fault(&mut self, message: String) -> bool {
        self.fault.replace((message, Instant::now())).is_none()
    }

    /// Ends the fault if it was not reported again for long enough. True if it has ended now.
    pub fn end_if_over(&mut self) -> bool {
        self.fault.take_if(|(_, reported_at)| reported_at.elapsed() > FAULT_TIMEOUT).is_some()
    }

    pub const fn is_blocked(&self) -> bool {
        self.fault.is_some()
    }

    /// The fault as a message for people.
    pub fn reason(&self) -> Option<&str> {
        self.fault.as_ref().map(|(message, _)| message.as_str())
    }
}
