//! The connection to a provider: whether it can be reached from this machine, and when to try again.

use std::time::Duration;

use crate::{
    domain::{Now, snapshot::Cause},
    scheduler::admission::Cooldown,
};

/// Longest cooldown of a provider that can't be reached.
const MAX_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Cooldown while the provider can't be reached. It ends with a probe.
    unreachable: Option<Cooldown>,
    /// Failed tries in a row; at most 10.
    failures: u32,
}

impl Connection {
    pub const fn unreachable(&self) -> Option<&Cooldown> {
        self.unreachable.as_ref()
    }

    /// Starts a cooldown, unless one is running. It doubles with each failure. Returns its length if this is the first
    /// failure of an outage.
    pub fn on_failure(&mut self, now: Now, cause: Cause) -> Option<Duration> {
        if Cooldown::running(self.unreachable(), now).is_some() {
            return None;
        }
        let wait = (Duration::from_secs(1) * 2_u32.saturating_pow(self.failures)).min(MAX_WAIT);
        self.failures = (self.failures + 1).min(10);
        self.unreachable = Some(Cooldown::lasting(now, wait, cause));
        (self.failures == 1).then_some(wait)
    }

    /// Records that the provider responded. True if it could not be reached before.
    pub fn on_response(&mut self) -> bool {
        self.failures = 0;
        self.clear()
    }

    /// Ends the cooldown. True if there was one.
    pub fn clear(&mut self) -> bool {
        self.unreachable.take().is_some()
    }
}
