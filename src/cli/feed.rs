//! Rows from the input to the engine, behind the run, on a thread of their own.

use std::thread;

use tokio::sync::mpsc;

use super::Failure;
use crate::{
    domain::{ItemSpec, are, counted},
    engine::Rows,
    input::Input,
    store::{OnChanged, Store, report},
};

/// Rows recorded in one transaction.
const BATCH: usize = 512;

/// Changed rows named in a refusal.
const NAMED: usize = 10;

/// Reads `input` from its beginning; rows that are recorded already, which `known` tells, are recognised and skipped.
pub(super) fn behind_the_run(
    input: Input,
    known: impl Fn(&str) -> bool + Send + 'static,
) -> Result<mpsc::Receiver<Rows>, Failure> {
    let (sender, rows) = mpsc::channel(4);
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            let mut batch = Vec::with_capacity(BATCH);
            for row in input.items().keeping(known) {
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
    added: u64,
    replaced: u64,
    gone: u64,
}

impl Reconciled {
    pub fn words(&self) -> String {
        let Self { added, replaced, gone } = *self;
        format!(
            "{} {} new, {replaced} {} answered anew, {gone} {} no longer in it",
            counted(added, "row"),
            are(added),
            are(replaced),
            are(gone)
        )
    }
}

/// Takes a changed input in before the run goes on: new rows are added, changed ones refused unless asked for, and so is
/// a pipe that lacks what was recorded, unless it is `limited` to its first rows, and these are known. A refusal leaves
/// the record as it was.
pub(super) fn reconcile(
    store: &mut Store,
    input: &Input,
    fingerprint: &str,
    accept_changed: bool,
    is_stream: bool,
    limited: bool,
) -> Result<Reconciled, Failure> {
    let recorded = store.totals()?.total;
    let (mut changed, mut new, mut named) = (0, 0, Vec::new());
    let rows = in_batches(store, input, |store, batch| {
        let compared = store.compare(batch)?;
        new += compared.new;
        for item in compared.changed {
            changed += 1;
            if named.len() < NAMED {
                named.push(format!("{} (line {})", item.id, item.line));
            }
        }
        Ok(())
    })?;
    let gone = recorded.saturating_sub(rows - new);
    let beginning = limited && new == 0 && rows > 0;
    if gone > 0 && is_stream && !beginning && !accept_changed {
        return Err(another_batch(store, recorded, gone));
    }
    if changed > 0 && !accept_changed {
        let mut words = named.join(", ");
        if changed > named.len() as u64 {
            words = format!("{words} and {} more", changed - named.len() as u64);
        }
        return Err(Failure::usage(format!(
            "{} of the input {} not what this run was begun with:\n  {words}\nOld answers would stand beside new \
             questions. Restore them, run again with --accept-changed to answer them anew, or choose another --run-dir",
            counted(changed, "row"),
            are(changed),
        )));
    }
    let rows = in_batches(store, input, |store, batch| {
        store.ingest(batch, OnChanged::Replace)?;
        Ok(())
    })?;
    store.accept_input(fingerprint, rows)?;
    Ok(Reconciled { added: new, replaced: changed, gone })
}

/// Every pipe has the same name, so that two batches may come to one directory without anybody's meaning it.
fn another_batch(store: &Store, recorded: u64, gone: u64) -> Failure {
    let which = if gone == recorded { "none".to_owned() } else { format!("only {}", recorded - gone) };
    Failure::usage(format!(
        "what was piped in is another batch than the run in {} was begun with: it has {which} of its {}.\nGive this \
         batch a --run-dir of its own, or run again with --accept-changed to add its rows to that run",
        store.dir().path().display(),
        counted(recorded, "row"),
    ))
}

/// Hands the input on from its beginning, some rows at a time: how many there were.
fn in_batches(
    store: &mut Store,
    input: &Input,
    mut take: impl FnMut(&mut Store, &[ItemSpec]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut rows = 0;
    let mut batch = Vec::with_capacity(BATCH);
    for row in input.items().keeping(report::known_ids(store.dir().path())?) {
        batch.push(row.map_err(|fault| Failure::usage(fault.to_string()))?);
        rows += 1;
        if batch.len() == BATCH {
            take(store, &batch)?;
            batch.clear();
        }
    }
    take(store, &batch)?;
    Ok(rows)
}
