//! The plain-text front end: progress lines for pipes, cron and CI, the summary table, and the exit status.
//!
//! Like the dashboard it reads only snapshots. [`reporter`] decides which lines to write and when. [`progress`],
//! [`summary`] and [`plan`] format the text. Only [`watch`] reads the clock and writes output.

mod format;
pub mod plan;
pub mod progress;
pub mod reporter;
pub mod summary;
mod watch;

pub use self::{
    reporter::{ProgressOptions, Reporter},
    summary::{report, summary_table},
    watch::watch,
};
use crate::domain::Snapshot;

/// Exit status of a run that finished with failed items.
pub const EXIT_FAILED_ITEMS: u8 = 3;

/// Exit status of a run that stopped with work left.
pub const EXIT_WORK_LEFT: u8 = 4;

/// The exit status of the process after [`watch`] has returned: 0 all done, 3 some items failed, 4 stopped with work
/// left, 1 if the engine ended without ending the run.
pub const fn exit_status(snapshot: &Snapshot) -> u8 {
    let totals = &snapshot.totals;
    if !snapshot.state.is_over() {
        1
    } else if totals.waiting > 0 || totals.in_flight > 0 || totals.ingesting {
        EXIT_WORK_LEFT
    } else if totals.failed > 0 {
        EXIT_FAILED_ITEMS
    } else {
        0
    }
}
