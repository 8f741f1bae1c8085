//! Reconciles a changed input with the record of a resumed run before the run continues.

use std::collections::HashSet;

use super::CliError;
use crate::{
    domain::{ItemSpec, Seq, is_or_are, pluralize},
    input::{Input, RowError, SpoolDiff},
    store::{ChangedRowPolicy, Store, StoreError, report},
};

/// Number of rows recorded in one transaction.
const BATCH_ROWS: usize = 512;

/// Maximum number of changed rows named in an error message.
const MAX_NAMED: usize = 10;

/// The changes found in a changed input.
pub(super) struct InputChanges {
    added: u64,
    replaced: u64,
    /// Replaced rows that had no answer yet.
    unanswered: u64,
    removed: u64,
    /// The number of first rows that this start reads, if it has a limit. The message is then about these rows only.
    limit: Option<u64>,
    /// The number of rows of a pipe that contained only the beginning of the run's input, with a limit. The record and
    /// the kept copy are unchanged then.
    prefix_rows: Option<u64>,
}

impl InputChanges {
    pub fn message(&self) -> String {
        let Self { added, replaced, unanswered, removed, limit, prefix_rows } = *self;
        if let Some(rows) = prefix_rows {
            return format!(
                "the piped input is the beginning of this run's input: {}, already recorded; the other {removed} stay in the \
                 run",
                pluralize(rows, "row")
            );
        }
        if let (Some(rows), 0, 0) = (limit, added, replaced) {
            let rows = pluralize(rows, "row");
            return format!("this start uses the first {rows} of the input, already recorded and unchanged");
        }
        if (added, replaced, removed) == (0, 0, 0) {
            return "the input was checked again: nothing has changed".to_owned();
        }
        let unanswered_note = match unanswered {
            0 => String::new(),
            // Say that these rows are new questions and are not just sent again.
            unanswered => {
                format!(" ({unanswered} of them had no answer and {} sent with the new content)", is_or_are(unanswered))
            }
        };
        if let Some(rows) = limit {
            let rows = pluralize(rows, "row");
            return format!(
                "this start uses the first {rows} of the input: {added} {} new, {replaced} {} answered again{unanswered_note}",
                is_or_are(added),
                is_or_are(replaced)
            );
        }
        format!(
            "the input has changed: {} {} new, {replaced} {} answered again{unanswered_note}, {removed} {} no longer in it",
            pluralize(added, "row"),
            is_or_are(added),
            is_or_are(replaced),
            is_or_are(removed)
        )
    }
}

/// Rows of a changed input that a run can't accept.
#[derive(Default)]
pub(super) struct RefusedRows {
    total: u64,
    /// Messages of the first refused rows.
    first_messages: Vec<String>,
}

impl RefusedRows {
    /// Adds the rows that name an unknown model. Rows for which `is_unchanged` returns true are not refused: the run
    /// has accepted them already, in an earlier version or with another keys.toml.
    ///
    /// # Errors
    /// Those of `is_unchanged`.
    pub fn add_unknown_models(
        &mut self,
        input: &Input,
        rows: &[ItemSpec],
        is_unchanged: impl Fn(&ItemSpec) -> Result<bool, StoreError>,
    ) -> Result<(), CliError> {
        for item in rows {
            if let Some(error) = input.unknown_model_error(item)
                && !is_unchanged(item)?
            {
                self.add(&error);
            }
        }
        Ok(())
    }

    fn add(&mut self, error: &RowError) {
        self.total += 1;
        if self.first_messages.len() < MAX_NAMED {
            self.first_messages.push(error.to_string());
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
        let mut message = self.first_messages.join("\n  ");
        if self.total > self.first_messages.len() as u64 {
            message = format!("{message}\n  … and {} more", self.total - self.first_messages.len() as u64);
        }
        let rows = pluralize(self.total, "bad row");
        Err(CliError::usage(format!("the input has {rows} {reason}; nothing was sent\n  {message}")))
    }
}

/// Adds a changed input to the record before the run continues. New rows are added, and changed rows replaced.
///
/// With `has_limit`, only the first rows of the input are read. If a pipe then contains only recorded and unchanged
/// rows, and lacks some that are recorded or in the kept copy, nothing changes.
///
/// # Errors
/// If the input can't be read, has bad rows, or is refused. If it is refused, the record and the kept copy stay as they
/// were. These inputs are refused:
/// - new or changed rows that name an unknown model, if such rows are not allowed;
/// - changed rows that have an answer, unless `accept_changed` is set;
/// - a pipe without some of the recorded rows, unless `accept_changed` is set, or `has_limit` is set and all rows of
///   the pipe are recorded;
/// - a pipe that would replace a kept copy of which some rows are not recorded yet, unless `accept_changed` is set and
///   `has_limit` isn't.
pub(super) fn reconcile(
    store: &mut Store,
    input: &mut Input,
    fingerprint: &str,
    accept_changed: bool,
    is_stream: bool,
    has_limit: bool,
) -> Result<InputChanges, CliError> {
    let totals = store.totals()?;
    let recorded_rows = totals.total;
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
            // A changed row without an answer is simply a new question: there is no old answer to mix up.

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
    refused_rows.into_result("that are new or changed")?;
    refused_captions.into_result("whose captions can't be written")?;
    let removed = recorded_rows.saturating_sub(rows - new_rows);
    let is_prefix = has_limit && new_rows == 0 && rows > 0;
    // If an earlier process ended before it had read all rows, the rest of them is only in the kept copy.
    let loses_unread = is_stream && totals.ingesting && (diff != SpoolDiff::ContainsKept || (is_prefix && removed > 0));
    if loses_unread && (has_limit || !accept_changed) {
        return Err(unread_pipe_error(store, recorded_rows));
    }
    if removed > 0 && is_stream && !is_prefix && !accept_changed {
        return Err(different_batch_error(store, recorded_rows, removed));
    }
    if !answered_seqs.is_empty() && !accept_changed {
        let mut message = named_rows.join(", ");
        if answered_seqs.len() > named_rows.len() {
            message = format!("{message} and {} more", answered_seqs.len() - named_rows.len());
        }
        return Err(CliError::usage(format!(
            "{} of the input {} different from when this run started:\n  {message}\nTheir recorded answers belong to the old \
             content. Restore the rows, run again with --accept-changed to have them answered again, or choose another \
             --run-dir",
            pluralize(answered_seqs.len() as u64, "row"),
            is_or_are(answered_seqs.len() as u64),
        )));
    }
    if is_stream && is_prefix && changed == 0 && (removed > 0 || diff != SpoolDiff::ContainsKept) {
        let (added, replaced, unanswered, limit) = (0, 0, 0, None);
        return Ok(InputChanges { added, replaced, unanswered, removed, limit, prefix_rows: Some(rows) });
    }
    if input.kind().is_pictures() && !answered_seqs.is_empty() {
        store.save_replaced_answers(&answered_seqs)?;
    }
    let rows = for_each_batch(store, input, true, |store, batch| {
        store.ingest(batch, ChangedRowPolicy::Replace)?;
        Ok(())
    })?;
    // With a limit, rows that were not read are still part of the input.
    let input_rows = if has_limit { recorded_rows - totals.not_in_input + new_rows } else { rows };
    store.accept_input(fingerprint, input_rows)?;
    // With a limit, a pipe that contains only the first part of the kept copy must not replace it.
    if !(has_limit && diff == SpoolDiff::PrefixOfKept) {
        input.commit_copy()?;
    }
    let unanswered = changed - answered_seqs.len() as u64;
    let limit = has_limit.then_some(rows);
    Ok(InputChanges { added: new_rows, replaced: changed, unanswered, removed, limit, prefix_rows: None })
}

/// Waiting items of an earlier start that are not among the rows of this start.
pub(super) struct OtherWaiting {
    pub count: u64,
    /// The items of the rows of this start.
    pub row_seqs: HashSet<Seq>,
}

impl OtherWaiting {
    /// Reads the input and compares it with the waiting items of the record.
    ///
    /// # Errors
    /// If the input or the record can't be read.
    pub fn find(store: &Store, input: &Input) -> Result<Self, CliError> {
        let mut row_seqs = HashSet::new();
        for row in input.items().with_known_ids(report::known_id_lookup(store.dir().path())?) {
            let row = row.map_err(|error| CliError::usage(error.to_string()))?;
            row_seqs.extend(store.find_seq(&row.id)?);
        }
        let mut count = 0;
        store.for_each_waiting(|item| count += u64::from(!row_seqs.contains(&item.seq)))?;
        Ok(Self { count, row_seqs })
    }

    /// The message about these items: whether they are sent too.
    pub fn message(&self, has_limit: bool) -> String {
        let items = format!("{} from an earlier start", pluralize(self.count, "item"));
        let is_one = self.count == 1;
        match (has_limit, is_one) {
            (true, _) => format!(
                "{items} {} not among the first rows: {} waiting and {} not sent",
                is_or_are(self.count),
                if is_one { "it stays" } else { "they stay" },
                is_or_are(self.count)
            ),
            (false, true) => format!("{items} is still waiting and will be sent, though it is no longer in the input"),
            (false, false) => {
                format!("{items} are still waiting and will be sent, though they are no longer in the input")
            }
        }
    }
}

/// The error for a pipe that would replace the copy of an earlier one that was not read to its end.
fn unread_pipe_error(store: &Store, recorded: u64) -> CliError {
    let dir = store.dir();
    CliError::usage(format!(
        "the input first piped into the run in {} has not been read to its end: {} recorded so far. The rest is only in \
         {}, which the new pipe would overwrite.\nTo continue with it, run again with the same options, without --limit \
         and with nothing piped in (< /dev/null). Otherwise use another --run-dir for this batch",
        dir.path().display(),
        format_args!("{} {}", pluralize(recorded, "row"), is_or_are(recorded)),
        dir.spooled_input().display(),
    ))
}

/// The error for a pipe that lacks recorded rows. It is probably another batch: all pipes have the same run name, so
/// two batches may get the same directory by accident.
fn different_batch_error(store: &Store, recorded: u64, removed: u64) -> CliError {
    let remaining = if removed == recorded { "none".to_owned() } else { format!("only {}", recorded - removed) };
    CliError::usage(format!(
        "the piped input is another batch than that of the run in {}: it has {remaining} of its {}.\nUse another \
         --run-dir for this batch, or run again with --accept-changed to add its rows to that run",
        store.dir().path().display(),
        pluralize(recorded, "row"),
    ))
}

/// Calls `handle_batch` with all rows of the input, up to [`BATCH_ROWS`] at a time. Returns the number of rows. If
/// `stamp_unrecorded` is set, pictures without a recorded stamp are stamped too.
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
        batch.push(row.map_err(|error| CliError::usage(error.to_string()))?);
        rows += 1;
        if batch.len() == BATCH_ROWS {
            handle_batch(store, &batch)?;
            batch.clear();
        }
    }
    handle_batch(store, &batch)?;
    Ok(rows)
}
