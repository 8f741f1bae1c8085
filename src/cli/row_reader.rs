//! Reads the input's rows on their own thread and passes them to the engine while the run is going on.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::CliError;
use crate::{domain::PictureStamp, engine::InputRows, input::Input};

/// Maximum number of rows passed on at once.
const BATCH_ROWS: usize = 512;

/// Rows are passed on at least this often, even if there are few: reading whole pictures takes time.
const MAX_BATCH_TIME: Duration = Duration::from_millis(200);

/// Starts a thread that reads `input` from the start. `known_ids` returns true if an id is recorded, and
/// `recorded_stamps` returns the recorded picture stamp of an id. Rows that are already recorded are passed on too.
pub(super) fn spawn_row_reader(
    input: Input,
    known_ids: impl Fn(&str) -> bool + Send + 'static,
    recorded_stamps: impl Fn(&str) -> Option<PictureStamp> + Send + 'static,
) -> Result<mpsc::Receiver<InputRows>, CliError> {
    let (sender, rows) = mpsc::channel(4);
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            let mut batch = Vec::with_capacity(BATCH_ROWS);
            let mut started_at = Instant::now();
            for row in input.items().with_known_ids(known_ids).with_recorded_stamps(recorded_stamps) {
                match row {
                    Ok(item) => batch.push(item),
                    Err(error) => {
                        // The row was valid in the check before, so the file is being written to.
                        let message = format!("{error}; the input has changed since it was checked");
                        let _ = sender.blocking_send(InputRows::Failed(message));
                        return;
                    }
                }
                if batch.len() == BATCH_ROWS || started_at.elapsed() > MAX_BATCH_TIME {
                    started_at = Instant::now();
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS));
                    if sender.blocking_send(InputRows::Batch(full)).is_err() {
                        return;
                    }
                }
            }
            if batch.is_empty() || sender.blocking_send(InputRows::Batch(batch)).is_ok() {
                let _ = sender.blocking_send(InputRows::End);
            }
        })
        .map_err(|error| CliError::internal(format!("can't start a thread to read the input: {error}")))?;
    Ok(rows)
}
