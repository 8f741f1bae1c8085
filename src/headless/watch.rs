//! Follows a run to its end and writes progress lines.

use std::{io::Write, sync::Arc, time::Instant};

use super::reporter::{ProgressOptions, Reporter};
use crate::{
    domain::{Command, Snapshot, event::format_duration, sanitize},
    engine::EngineHandle,
};

/// Writes progress, warnings and alerts to `err` until the run is over and no request's end is still to be recorded, and
/// returns its last snapshot.
///
/// If `err` is closed, the run goes on without output. If the engine ends before the run is over, the state in the
/// returned snapshot is not an end state.
pub async fn watch(mut handle: EngineHandle, options: ProgressOptions, mut err: impl Write) -> Arc<Snapshot> {
    let stuck_timeout = options.stuck_timeout;
    let mut reporter = Reporter::new(options);
    let mut has_sent_drain = false;
    loop {
        let snapshot = Arc::clone(&handle.snapshots.borrow_and_update());
        // The last line has everything, such as what aborted requests may have cost.
        if snapshot.state.is_over() && snapshot.totals.in_flight > 0 && handle.snapshots.changed().await.is_ok() {
            continue;
        }
        let now = Instant::now();
        write_lines(&mut err, &reporter.update(now, &snapshot));
        if snapshot.state.is_over() {
            return snapshot;
        }
        let give_up_at = reporter.give_up_at().filter(|_| !has_sent_drain);
        if give_up_at.is_some_and(|at| at <= now) {
            has_sent_drain = true;
            let span = format_duration(stuck_timeout);
            let reason = format!("no operator acted for {span}");
            let answer = handle.send_stop(Command::Drain, reason).await.unwrap_or_else(|why| why);
            let line = format!("no operator acted for {span}; stopping the run, which can be resumed: {answer}");
            write_lines(&mut err, &[sanitize(&line).into_owned()]);
            continue;
        }
        let wake = [reporter.due_at(), give_up_at].into_iter().flatten().min().unwrap_or(now);
        tokio::select! {
            changed = handle.snapshots.changed() => if changed.is_err() {
                write_lines(&mut err, &["the run ended unexpectedly; run the same command again to continue".to_owned()]);
                return handle.snapshot();
            },
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
}

/// Ignores write errors: a closed pipe or a full disk must not end the run.
fn write_lines(err: &mut impl Write, lines: &[String]) {
    for line in lines {
        let _ = writeln!(err, "{line}");
    }
    let _ = err.flush();
}
