//! Rows from the input to the engine, behind the run, on a thread of their own.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::Failure;
use crate::{
    domain::{ItemSpec, PictureStamp, Seq, is_or_are, pluralize},
    engine::InputRows,
    input::{Input, RowError, SpoolDiff},
    store::{ChangedRowPolicy, Store, StoreError, report},
};

/// Rows recorded in one transaction.
const BATCH: usize = 512;

/// What was read for so long is recorded, however little it is: pictures are read whole.
const BATCH_TIME: Duration = Duration::from_millis(200);

/// Changed rows named in a refusal.
const NAMED: usize = 10;

/// Reads `input` from its beginning; rows that are recorded already, which `known` tells, are recognised and skipped.
/// `stamps` tells the recorded stamps of pictures.
pub(super) fn behind_the_run(
    input: Input,
    known: impl Fn(&str) -> bool + Send + 'static,
    stamps: impl Fn(&str) -> Option<PictureStamp> + Send + 'static,
) -> Result<mpsc::Receiver<InputRows>, Failure> {
    let (sender, rows) = mpsc::channel(4);
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            let mut batch = Vec::with_capacity(BATCH);
            let mut began = Instant::now();
            for row in input.items().with_known_ids(known).with_recorded_stamps(stamps) {
                match row {
                    Ok(item) => batch.push(item),
                    Err(fault) => {
                        // It was good a moment ago: somebody writes to it.
                        let words = format!("{fault}; it has changed since it was checked");
                        let _ = sender.blocking_send(InputRows::Failed(words));
                        return;
                    }
                }
                if batch.len() == BATCH || began.elapsed() > BATCH_TIME {
                    began = Instant::now();
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                    if sender.blocking_send(InputRows::Batch(full)).is_err() {
                        return;
                    }
                }
            }
            if batch.is_empty() || sender.blocking_send(InputRows::Batch(batch)).is_ok() {
                let _ = sender.blocking_send(InputRows::End);
            }
        })
        .map_err(|error| Failure::broken(format!("can't start a thread to read the input: {error}")))?;
    Ok(rows)
}

/// What a changed input has brought.
pub(super) struct Reconciled {
    added: u64,
    replaced: u64,
    /// Replaced rows that had no answer yet.
    unanswered: u64,
    gone: u64,
    /// How many rows a trial takes, of which alone this is said.
    first: Option<u64>,
    /// A trial's pipe had only the first of the rows: how many. The record and the kept copy stay as they are.
    beginning: Option<u64>,
}

impl Reconciled {
    pub fn words(&self) -> String {
        let Self { added, replaced, unanswered, gone, first: limit, beginning } = *self;
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
            // Not silently run again: another question waits.
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

/// Rows of a changed input that a run can't take in.
#[derive(Default)]
pub(super) struct RefusedRows {
    total: u64,
    /// The first of them, as they are said.
    named: Vec<String>,
}

impl RefusedRows {
    /// Adds those that name an unknown model. Rows that the run has as they are, which `is_unchanged` tells, were taken by
    /// an earlier version, or by another keys.toml.
    pub fn add_unknown_models(
        &mut self,
        input: &Input,
        rows: &[ItemSpec],
        is_unchanged: impl Fn(&ItemSpec) -> Result<bool, StoreError>,
    ) -> Result<(), Failure> {
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
        if self.named.len() < NAMED {
            self.named.push(fault.to_string());
        }
    }

    /// # Errors
    /// All of them together, where there are any.
    pub fn result(self) -> Result<(), Failure> {
        if self.total == 0 {
            return Ok(());
        }
        let mut words = self.named.join("\n  ");
        if self.total > self.named.len() as u64 {
            words = format!("{words}\n  … and {} more", self.total - self.named.len() as u64);
        }
        let rows = pluralize(self.total, "bad row");
        Err(Failure::usage(format!(
            "the input has {rows} that this run does not have yet; nothing was sent\n  {words}"
        )))
    }
}

/// Takes a changed input in before the run goes on: new rows are added, changed ones refused unless asked for, and so is
/// a pipe that lacks what was recorded, unless it is `limited` to its first rows, and these are known. Such a beginning
/// changes nothing, and no pipe takes the place of kept rows that are not recorded yet. A refusal leaves the record as it
/// was, and what is kept.
pub(super) fn reconcile(
    store: &mut Store,
    input: &mut Input,
    fingerprint: &str,
    accept_changed: bool,
    is_stream: bool,
    limited: bool,
) -> Result<Reconciled, Failure> {
    let totals = store.totals()?;
    let recorded = totals.total;
    let beside = input.diff_with_kept()?;
    let (mut changed, mut answered, mut new, mut named) = (0, Vec::new(), 0, Vec::new());
    let is_unchanged = report::unchanged(store.dir().path())?;
    let mut refused = RefusedRows::default();
    let rows = in_batches(store, input, false, |store, batch| {
        let compared = store.compare(batch)?;
        new += compared.new;
        refused.add_unknown_models(input, batch, &is_unchanged)?;
        for item in compared.changed {
            changed += 1;
            // What has no answer is a new question: there is none that could stand beside it.
            if !item.is_done {
                continue;
            }
            answered.push(item.seq);
            if named.len() < NAMED {
                named.push(format!("{} (line {})", item.id, item.line));
            }
        }
        Ok(())
    })?;
    refused.result()?;
    let gone = recorded.saturating_sub(rows - new);
    let beginning = limited && new == 0 && rows > 0;
    // Only the kept copy has the rows that were not read before the process ended.
    let loses_unread = is_stream && totals.ingesting && (beside != SpoolDiff::ContainsKept || (beginning && gone > 0));
    if loses_unread && (limited || !accept_changed) {
        return Err(unread(store, recorded));
    }
    if gone > 0 && is_stream && !beginning && !accept_changed {
        return Err(another_batch(store, recorded, gone));
    }
    if !answered.is_empty() && !accept_changed {
        let mut words = named.join(", ");
        if answered.len() > named.len() {
            words = format!("{words} and {} more", answered.len() - named.len());
        }
        return Err(Failure::usage(format!(
            "{} of the input {} not what this run was begun with:\n  {words}\nOld answers would stand beside new \
             questions. Restore them, run again with --accept-changed to answer them anew, or choose another --run-dir",
            pluralize(answered.len() as u64, "row"),
            is_or_are(answered.len() as u64),
        )));
    }
    if is_stream && beginning && changed == 0 && (gone > 0 || beside != SpoolDiff::ContainsKept) {
        let (added, replaced, unanswered, first) = (0, 0, 0, None);
        return Ok(Reconciled { added, replaced, unanswered, gone, first, beginning: Some(rows) });
    }
    if input.kind().is_pictures() && !answered.is_empty() {
        store.save_replaced_answers(&answered)?;
    }
    let rows = in_batches(store, input, true, |store, batch| {
        store.ingest(batch, ChangedRowPolicy::Replace)?;
        Ok(())
    })?;
    // What a trial does not look at has not left the input.
    let input_rows = if limited { recorded - totals.not_in_input + new } else { rows };
    store.accept_input(fingerprint, input_rows)?;
    // A trial with more rows than the last one may still be a beginning of what is kept.
    if !(limited && beside == SpoolDiff::PrefixOfKept) {
        input.commit_copy()?;
    }
    let unanswered = changed - answered.len() as u64;
    let first = limited.then_some(rows);
    Ok(Reconciled { added: new, replaced: changed, unanswered, gone, first, beginning: None })
}

/// Waiting items of an earlier start that are not among the rows that this one takes.
pub(super) struct OtherWaiting {
    pub count: u64,
    /// The items that the rows are.
    pub rows: HashSet<Seq>,
}

impl OtherWaiting {
    pub fn find(store: &Store, input: &Input) -> Result<Self, Failure> {
        let mut rows = HashSet::new();
        for row in input.items().with_known_ids(report::known_id_lookup(store.dir().path())?) {
            let row = row.map_err(|fault| Failure::usage(fault.to_string()))?;
            rows.extend(store.number_of(&row.id)?);
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

/// What was piped in first was not read to its end, and this would take its place.
fn unread(store: &Store, recorded: u64) -> Failure {
    let dir = store.dir();
    Failure::usage(format!(
        "what was piped into the run in {} first has not been read to its end: {} recorded so far. The rest is only in \
         {}, and what was piped in now would take its place.\nRun again with the same options, no --limit, and nothing \
         piped in (< /dev/null) to go on with it, or give this batch a --run-dir of its own",
        dir.path().display(),
        format_args!("{} {}", pluralize(recorded, "row"), is_or_are(recorded)),
        dir.spooled_input().display(),
    ))
}

/// Every pipe has the same name, so that two batches may come to one directory without anybody's meaning it.
fn another_batch(store: &Store, recorded: u64, gone: u64) -> Failure {
    let which = if gone == recorded { "none".to_owned() } else { format!("only {}", recorded - gone) };
    Failure::usage(format!(
        "what was piped in is another batch than the run in {} was begun with: it has {which} of its {}.\nGive this \
         batch a --run-dir of its own, or run again with --accept-changed to add its rows to that run",
        store.dir().path().display(),
        pluralize(recorded, "row"),
    ))
}

/// Hands the input on from its beginning, some rows at a time: how many there were. `new` has pictures that are not
/// recorded stamped too.
fn in_batches(
    store: &mut Store,
    input: &Input,
    new: bool,
    mut take: impl FnMut(&mut Store, &[ItemSpec]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut rows = 0;
    let mut batch = Vec::with_capacity(BATCH);
    let dir = store.dir().path();
    let items = input
        .items()
        .with_known_ids(report::known_id_lookup(dir)?)
        .with_recorded_stamps(report::picture_stamp_lookup(dir)?);
    for row in if new { items } else { items.without_new_stamps() } {
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
