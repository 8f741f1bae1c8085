//! Rows from the input to the engine, behind the run, on a thread of their own.

use std::thread;

use tokio::sync::mpsc;

use super::Failure;
use crate::{
    domain::ItemSpec,
    engine::Rows,
    input::Input,
    store::{OnChanged, Store},
};

/// Rows recorded in one transaction.
const BATCH: usize = 512;

/// Changed rows named in a refusal.
const NAMED: usize = 10;

/// Reads `input` from its beginning; rows that are recorded already are recognised and skipped.
pub(super) fn behind_the_run(input: Input) -> Result<mpsc::Receiver<Rows>, Failure> {
    let (sender, rows) = mpsc::channel(4);
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            let mut batch = Vec::with_capacity(BATCH);
            for row in input.items() {
                match row {
                    Ok(item) => batch.push(item),
                    Err(fault) => {
                        // It was good a moment ago: somebody writes to it.
                        let words = format!("{fault}; it has changed since it was checked");
                        let _ = sender.blocking_send(Rows::Broken(words));
                        return;
                    }
                }
                if batch.len() == BATCH {
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                    if sender.blocking_send(Rows::Batch(full)).is_err() {
                        return;
                    }
                }
            }
            if batch.is_empty() || sender.blocking_send(Rows::Batch(batch)).is_ok() {
                let _ = sender.blocking_send(Rows::End);
            }
        })
        .map_err(|error| Failure::broken(format!("can't start a thread to read the input: {error}")))?;
    Ok(rows)
}

/// What a changed input has brought.
pub(super) struct Reconciled {
    pub added: u64,
    pub replaced: u64,
}

/// Takes a changed input in before the run goes on: new rows are added, changed ones refused unless asked for.
pub(super) fn reconcile(
    store: &mut Store,
    input: &Input,
    fingerprint: &str,
    accept_changed: bool,
) -> Result<Reconciled, Failure> {
    let (mut added, mut rows, mut changed) = (0, 0, Vec::new());
    let mut take = |batch: &[ItemSpec], how: OnChanged| -> Result<(u64, Vec<String>), Failure> {
        let ingested = store.ingest(batch, how)?;
        let named = ingested.changed.iter().map(|item| format!("{} (line {})", item.id, item.line)).collect();
        Ok((ingested.added.len() as u64, named))
    };
    let how = if accept_changed { OnChanged::Replace } else { OnChanged::Report };
    let mut batch = Vec::with_capacity(BATCH);
    let mut items = input.items();
    loop {
        let row = items.next().transpose().map_err(|fault| Failure::usage(fault.to_string()))?;
        let last = row.is_none();
        rows += u64::from(!last);
        batch.extend(row);
        if last || batch.len() == BATCH {
            let (new, named) = take(&batch, how)?;
            added += new;
            changed.extend(named);
            batch.clear();
        }
        if last {
            break;
        }
    }
    if !accept_changed && !changed.is_empty() {
        let more = changed.len().saturating_sub(NAMED);
        let mut named = changed[..changed.len().min(NAMED)].join(", ");
        if more > 0 {
            named = format!("{named} and {more} more");
        }
        return Err(Failure::usage(format!(
            "{} rows of the input are not what this run was begun with: {named}.\nTheir old answers would stand beside \
             new questions. Restore them, run again with --accept-changed to answer them anew, or choose another --run-dir",
            changed.len()
        )));
    }
    store.accept_input(fingerprint, rows)?;
    let replaced = changed.len() as u64;
    Ok(Reconciled { added: added - replaced, replaced })
}
