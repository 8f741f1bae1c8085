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
/// A refusal leaves the record as it was.
pub(super) fn reconcile(
    store: &mut Store,
    input: &Input,
    fingerprint: &str,
    accept_changed: bool,
) -> Result<Reconciled, Failure> {
    let (mut changed, mut named) = (0, Vec::new());
    in_batches(input, |batch| {
        for item in store.changed(batch)? {
            changed += 1;
            if named.len() < NAMED {
                named.push(format!("{} (line {})", item.id, item.line));
            }
        }
        Ok(())
    })?;
    if changed > 0 && !accept_changed {
        let mut named = named.join(", ");
        if changed > NAMED {
            named = format!("{named} and {} more", changed - NAMED);
        }
        return Err(Failure::usage(format!(
            "{changed} rows of the input are not what this run was begun with: {named}.\nTheir old answers would stand \
             beside new questions. Restore them, run again with --accept-changed to answer them anew, or choose another \
             --run-dir",
        )));
    }
    let mut taken = 0;
    let rows = in_batches(input, |batch| {
        taken += store.ingest(batch, OnChanged::Replace)?.added.len();
        Ok(())
    })?;
    store.accept_input(fingerprint, rows)?;
    Ok(Reconciled { added: taken.saturating_sub(changed) as u64, replaced: changed as u64 })
}

/// Hands the input on from its beginning, some rows at a time: how many there were.
fn in_batches(input: &Input, mut take: impl FnMut(&[ItemSpec]) -> Result<(), Failure>) -> Result<u64, Failure> {
    let mut rows = 0;
    let mut batch = Vec::with_capacity(BATCH);
    for row in input.items() {
        batch.push(row.map_err(|fault| Failure::usage(fault.to_string()))?);
        rows += 1;
        if batch.len() == BATCH {
            take(&batch)?;
            batch.clear();
        }
    }
    take(&batch)?;
    Ok(rows)
}
