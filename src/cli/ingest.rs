//! Reads the input's rows on their own thread and passes them to the engine while the run is going on.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::CliError;
use crate::{
    domain::{ItemSpec, PictureStamp, Seq, is_or_are, pluralize},
    engine::InputRows,
    input::{Input, RowError, SpoolDiff},
    store::{ChangedRowPolicy, Store, StoreError, report},
};

/// Rows recorded in one transaction.
const BATCH_ROWS: usize = 512;

/// Rows are recorded at least this often, even if there are few: pictures are read whole, which takes time.
const MAX_BATCH_TIME: Duration = Duration::from_millis(200);

/// Most changed rows named in an error message.
const MAX_NAMED: usize = 10;

/// Reads `input` from the start. Rows for which `known_ids` returns true are already recorded and are skipped.
/// `recorded_stamps` returns the recorded stamp of a picture.
pub(super) fn spawn_reader(
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
                    Err(fault) => {
                        // The row was valid in the check before, so the file is being written to.
                        let message = format!("{fault}; it has changed since it was checked");
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

/// The changes found in a changed input.
pub(super) struct InputChanges {
    added: u64,
    replaced: u64,
    /// Replaced rows that had no answer yet.
    unanswered: u64,
    removed: u64,
    /// How many rows a trial takes, of which alone this is said.
    first: Option<u64>,
    /// Number of rows if a pipe contained only the first rows of the recorded input, with a limit. The record and the
    /// kept copy are unchanged then.
    prefix_rows: Option<u64>,
}

impl InputChanges {
    pub fn message(&self) -> String {
        let Self { added, replaced, unanswered, removed: gone, first: limit, prefix_rows: beginning } = *self;
        if let Some(rows) = beginning {
            return format!(
                "what was piped in is the beginning of this run's input: {}, which it has already; the other {gone} stay \
                 in it",
                pluralize(rows, "row")
            );
        }
        if let (Some(rows), 0, 0) = (limit, added, replaced) {
            let rows = pluralize(rows, "row");
            return format!("this start takes the first {rows} of the input, which the run has already, unchanged");
        }
        if (added, replaced, gone) == (0, 0, 0) {
            return "the input was looked through again: nothing has changed in it".to_owned();
        }
        let first = match unanswered {
            0 => String::new(),
            // Say that these are not just repeated: they are new questions.
            unanswered => {
                format!(" ({unanswered} of them had no answer, and {} a new question now)", is_or_are(unanswered))
            }
        };
        if let Some(rows) = limit {
            let rows = pluralize(rows, "row");
            return format!(
                "this start takes the first {rows} of the input: {added} {} new, {replaced} {} answered anew{first}",
                is_or_are(added),
                is_or_are(replaced)
            );
        }
        format!(
            "the input has changed: {} {} new, {replaced} {} answered anew{first}, {gone} {} no longer in it",
            pluralize(added, "row"),
            is_or_are(added),
            is_or_are(replaced),
            is_or_are(gone)
        )
    }
}

/// Rows of a changed input that a run can't accept.
#[derive(Default)]
pub(super) struct RefusedRows {
    total: u64,
    /// Messages of the first refused rows.
    first: Vec<String>,
}

impl RefusedRows {
    /// Adds those that name an unknown model. Rows that the run has as they are, which `is_unchanged` tells, were taken by
    /// an earlier version, or by another keys.toml.
    pub fn add_unknown_models(
        &mut self,
        input: &Input,
        rows: &[ItemSpec],
        is_unchanged: impl Fn(&ItemSpec) -> Result<bool, StoreError>,
    ) -> Result<(), CliError> {
        for item in rows {
            if let Some(fault) = input.unknown_model_error(item)
                && !is_unchanged(item)?
            {
                self.add(&fault);
            }
        }
        Ok(())
    }

    fn add(&mut self, fault: &RowError) {
        self.total += 1;
        if self.first.len() < MAX_NAMED {
            self.first.push(fault.to_string());
        }
    }

    /// `reason` says in the message which rows they are.
    ///
    /// # Errors
    /// All refused rows together, if there are any.
    pub fn into_result(self, reason: &str) -> Result<(), CliError> {
        if self.total == 0 {
            return Ok(());
        }
        let mut message = self.first.join("\n  ");
        if self.total > self.first.len() as u64 {
            message = format!("{message}\n  … and {} more", self.total - self.first.len() as u64);
        }
        let rows = pluralize(self.total, "bad row");
        Err(CliError::usage(format!("the input has {rows} {reason}; nothing was sent\n  {message}")))
    }
}

/// Adds a changed input to the record before the run continues. New rows are added. Changed rows are refused unless
/// `accept_changed` is set. A pipe that lacks recorded rows is refused too, unless it is limited to its first rows
/// (`has_limit`) and all of these are known. In that case nothing changes. No pipe replaces a kept copy that has rows
/// which are not recorded yet. If the input is refused, the record and the kept copy stay as they were.
pub(super) fn reconcile(
    store: &mut Store,
    input: &mut Input,
    fingerprint: &str,
    accept_changed: bool,
    is_stream: bool,
    has_limit: bool,
) -> Result<InputChanges, CliError> {
    let totals = store.totals()?;
    let recorded = totals.total;
    let diff = input.diff_with_kept()?;
    let (mut changed, mut answered_seqs, mut new_rows, mut named_rows) = (0, Vec::new(), 0, Vec::new());
    let is_unchanged = report::unchanged_item_lookup(store.dir().path())?;
    let mut refused_rows = RefusedRows::default();
    let mut refused_captions = RefusedRows::default();
    let rows = for_each_batch(store, input, false, |store, batch| {
        let compared = store.compare(batch)?;
        new_rows += compared.new;
        refused_rows.add_unknown_models(input, batch, &is_unchanged)?;
        for item in compared.changed {
            changed += 1;
            // The validation has checked the captions of new and waiting items only.
            if (!item.is_done || accept_changed)
                && let Some(spec) = batch.iter().find(|spec| spec.id == item.id)
                && let Some(fault) = input.caption_error(spec)
            {
                refused_captions.add(&fault);
            }
            // A row without an answer is simply a new question: no old answer would be mixed with it.
            if !item.is_done {
                continue;
            }
            answered_seqs.push(item.seq);
            if named_rows.len() < MAX_NAMED {
                named_rows.push(format!("{} (line {})", item.id, item.line));
            }
        }
        Ok(())
    })?;
    refused_rows.into_result("that this run does not have yet")?;
    refused_captions.into_result("whose captions can't be written")?;
    let removed = recorded.saturating_sub(rows - new_rows);
    let is_prefix = has_limit && new_rows == 0 && rows > 0;
    // Rows that were not read before the process ended are only in the kept copy.
    let loses_unread = is_stream && totals.ingesting && (diff != SpoolDiff::ContainsKept || (is_prefix && removed > 0));
    if loses_unread && (has_limit || !accept_changed) {
        return Err(unread_pipe_error(store, recorded));
    }
    if removed > 0 && is_stream && !is_prefix && !accept_changed {
        return Err(different_batch_error(store, recorded, removed));
    }
    if !answered_seqs.is_empty() && !accept_changed {
        let mut message = named_rows.join(", ");
        if answered_seqs.len() > named_rows.len() {
            message = format!("{message} and {} more", answered_seqs.len() - named_rows.len());
        }
        return Err(CliError::usage(format!(
            "{} of the input {} not what this run was begun with:\n  {message}\nOld answers would stand beside new \
             questions. Restore them, run again with --accept-changed to answer them anew, or choose another --run-dir",
            pluralize(answered_seqs.len() as u64, "row"),
            is_or_are(answered_seqs.len() as u64),
        )));
    }
    if is_stream && is_prefix && changed == 0 && (removed > 0 || diff != SpoolDiff::ContainsKept) {
        let (added, replaced, unanswered, first) = (0, 0, 0, None);
        return Ok(InputChanges { added, replaced, unanswered, removed, first, prefix_rows: Some(rows) });
    }
    if input.kind().is_pictures() && !answered_seqs.is_empty() {
        store.save_replaced_answers(&answered_seqs)?;
    }
    let rows = for_each_batch(store, input, true, |store, batch| {
        store.ingest(batch, ChangedRowPolicy::Replace)?;
        Ok(())
    })?;
    // What a trial does not look at has not left the input.
    let input_rows = if has_limit { recorded - totals.not_in_input + new_rows } else { rows };
    store.accept_input(fingerprint, input_rows)?;
    // A test with a larger limit may still contain only the first rows of the kept copy.
    if !(has_limit && diff == SpoolDiff::PrefixOfKept) {
        input.commit_copy()?;
    }
    let unanswered = changed - answered_seqs.len() as u64;
    let first = has_limit.then_some(rows);
    Ok(InputChanges { added: new_rows, replaced: changed, unanswered, removed, first, prefix_rows: None })
}

/// Waiting items of an earlier start that are not among the rows that this one takes.
pub(super) struct OtherWaiting {
    pub count: u64,
    /// The items that the rows are.
    pub rows: HashSet<Seq>,
}

impl OtherWaiting {
    pub fn find(store: &Store, input: &Input) -> Result<Self, CliError> {
        let mut rows = HashSet::new();
        for row in input.items().with_known_ids(report::known_id_lookup(store.dir().path())?) {
            let row = row.map_err(|fault| CliError::usage(fault.to_string()))?;
            rows.extend(store.find_seq(&row.id)?);
        }
        let mut count = 0;
        store.for_each_waiting(|item| count += u64::from(!rows.contains(&item.seq)))?;
        Ok(Self { count, rows })
    }

    /// Whether they are sent too, in words.
    pub fn words(&self, limited: bool) -> String {
        let items = format!("{} of an earlier start", pluralize(self.count, "item"));
        let one = self.count == 1;
        match (limited, one) {
            (true, _) => format!(
                "{items} {} beyond the first rows: {}, and {} not sent",
                is_or_are(self.count),
                if one { "it waits" } else { "they wait" },
                is_or_are(self.count)
            ),
            (false, true) => format!("{items} is waiting too, though no longer in the input, and is sent"),
            (false, false) => format!("{items} are waiting too, though no longer in the input, and are sent"),
        }
    }
}

/// The error if the first pipe was not read to its end and the new one would replace its copy.
fn unread_pipe_error(store: &Store, recorded: u64) -> CliError {
    let dir = store.dir();
    CliError::usage(format!(
        "what was piped into the run in {} first has not been read to its end: {} recorded so far. The rest is only in \
         {}, and what was piped in now would take its place.\nRun again with the same options, no --limit, and nothing \
         piped in (< /dev/null) to go on with it, or give this batch a --run-dir of its own",
        dir.path().display(),
        format_args!("{} {}", pluralize(recorded, "row"), is_or_are(recorded)),
        dir.spooled_input().display(),
    ))
}

/// The error for a different batch. All pipes have the same run name, so two batches may get the same directory by
/// accident.
fn different_batch_error(store: &Store, recorded: u64, removed: u64) -> CliError {
    let remaining = if removed == recorded { "none".to_owned() } else { format!("only {}", recorded - removed) };
    CliError::usage(format!(
        "what was piped in is another batch than the run in {} was begun with: it has {remaining} of its {}.\nGive this \
         batch a --run-dir of its own, or run again with --accept-changed to add its rows to that run",
        store.dir().path().display(),
        pluralize(recorded, "row"),
    ))
}

/// Calls `handle_batch` with all rows of the input, some at a time. Returns the number of rows. With
/// `stamp_unrecorded`, pictures that are not recorded are stamped too.
fn for_each_batch(
    store: &mut Store,
    input: &Input,
    stamp_unrecorded: bool,
    mut handle_batch: impl FnMut(&mut Store, &[ItemSpec]) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let mut rows = 0;
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    let dir = store.dir().path();
    let items = input
        .items()
        .with_known_ids(report::known_id_lookup(dir)?)
        .with_recorded_stamps(report::picture_stamp_lookup(dir)?);
    for row in if stamp_unrecorded { items } else { items.without_new_stamps() } {
        batch.push(row.map_err(|fault| CliError::usage(fault.to_string()))?);
        rows += 1;
        if batch.len() == BATCH_ROWS {
            handle_batch(store, &batch)?;
            batch.clear();
        }
    }
    handle_batch(store, &batch)?;
    Ok(rows)
}
