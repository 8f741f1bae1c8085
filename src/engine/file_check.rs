//! Checks during the run that the store's files are in place.

use std::time::{Duration, Instant};

use super::messages::RunOutcome;
use crate::store::RunFiles;

/// Time between two checks.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct FileCheck {
    /// The identities of the store's files.
    files: RunFiles,
    checked_at: Instant,
}

impl FileCheck {
    pub fn new(files: RunFiles) -> Self {
        Self { files, checked_at: Instant::now() }
    }

    /// The fault of the files; `None` if nothing is, or if no check is due.
    pub fn find_fault_if_due(&mut self) -> Option<String> {
        if self.checked_at.elapsed() < FILE_CHECK_INTERVAL {
            return None;
        }
        self.checked_at = Instant::now();
        self.files.check_in_place().err().map(|error| error.to_string())
    }

    /// Returns `run_outcome`, or a failure if a file of the store was moved or replaced.
    pub fn apply_to(&self, run_outcome: RunOutcome) -> RunOutcome {
        match (self.files.check_in_place(), run_outcome) {
            (Ok(()), outcome) | (Err(_), outcome @ RunOutcome::Failed { .. }) => outcome,
            (Err(error), _) => RunOutcome::Failed { reason: error.to_string() },
        }
    }
}
