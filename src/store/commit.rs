//! Groups become transactions, and transactions become durable.
//!
//! A commit writes SQLite's log and does not wait for the disk: a killed process loses nothing by that. For
//! power cuts the log is synced with the first commit that comes more than [`SYNC_EVERY`] after the last
//! sync, before it is acknowledged, and otherwise that long after the first commit that is not: so that a
//! power cut costs at most the last 100 ms. That is SQLite's own `synchronous=FULL` at a pace. The disk is
//! real, so is the time here, whatever clock the run goes by.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use rusqlite::{Transaction, TransactionBehavior};

use super::{
    apply::apply,
    error::StoreError,
    group::Group,
    op::{Answer, Op},
    open::Store,
    run_dir::RunDir,
};

const SYNC_EVERY: Duration = Duration::from_millis(50);
/// The log starts over by itself when no reader holds it; beyond this it is made to.
const LOG_LIMIT: u64 = 64 << 20;
/// How long a reader is waited for then, and how often.
const LOG_PATIENCE: Duration = Duration::from_millis(200);
const LOG_TRY_EVERY: Duration = Duration::from_secs(2);

/// SQLite's log, through a descriptor of our own: syncing any descriptor syncs the file, and SQLite keeps no
/// lock on this one that closing ours could drop. The file stays the same for as long as a connection is open.
#[derive(Debug)]
pub(super) struct Durability {
    log: File,
    /// The first commit that is not known to be on the disk.
    dirty_since: Option<Instant>,
    last_sync: Instant,
    last_cut: Instant,
}

impl Durability {
    /// The database must be open and have been written or read, so that its log exists.
    pub fn new(dir: &RunDir) -> Result<Self, StoreError> {
        let log = File::open(dir.wal()).map_err(|error| StoreError::file("open", dir.wal(), error))?;
        let now = Instant::now();
        Ok(Self { log, dirty_since: None, last_sync: now, last_cut: now })
    }

    /// How long until what was committed must be synced; `None` where everything is.
    pub fn due_in(&self) -> Option<Duration> {
        self.dirty_since.map(|since| SYNC_EVERY.saturating_sub(since.elapsed()))
    }

    fn sync(&mut self, dir: &RunDir) -> Result<(), StoreError> {
        // Also where it fails: the next try comes one pace later, not at once.
        self.last_sync = Instant::now();
        if self.dirty_since.is_some() {
            self.dirty_since = Some(self.last_sync);
            self.log.sync_data().map_err(|error| StoreError::file("sync", dir.wal(), error))?;
            self.dirty_since = None;
        }
        Ok(())
    }

    fn log_is_long(&self) -> bool {
        self.last_cut.elapsed() > LOG_TRY_EVERY && self.log.metadata().is_ok_and(|log| log.len() > LOG_LIMIT)
    }
}

impl Store {
    /// Commits a group as one transaction, or leaves no trace of it.
    pub(super) fn commit(&mut self, ops: &[Op]) -> Result<Vec<Answer>, StoreError> {
        // A file that lags must not fall further behind: what can't be shown is not recorded either.
        self.projection.catch_up(&self.conn)?;
        self.transact(|group| ops.iter().try_for_each(|op| apply(group, op)))
    }

    /// Runs `change` in a transaction and adopts what it leaves behind, or rolls everything back.
    pub(super) fn transact(
        &mut self,
        change: impl FnOnce(&mut Group<'_>) -> Result<(), StoreError>,
    ) -> Result<Vec<Answer>, StoreError> {
        let commit = || {
            let transaction = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            let mut group = Group::new(&transaction, self.tallies.clone(), &self.traits, &self.routes);
            group.rules = &self.rules;
            change(&mut group)?;
            let changes = group.finish()?;
            transaction.commit()?;
            Ok(changes)
        };
        let changes = commit().map_err(|error: StoreError| error.in_file(self.dir.database()))?;
        self.durability.dirty_since.get_or_insert_with(Instant::now);
        self.tallies = changes.tallies;
        self.traits.extend(changes.new_traits);
        self.unprojected.extend_from_slice(&changes.lines);
        Ok(changes.answers)
    }

    /// What follows a commit and can't undo it: the results file, and the disk where that is due.
    pub(super) fn follow_up(&mut self) -> Result<(), StoreError> {
        let lines = std::mem::take(&mut self.unprojected);
        self.projection.append(&lines, self.tallies.last_result)?;
        if self.durability.last_sync.elapsed() >= SYNC_EVERY {
            self.durability.sync(&self.dir)?;
        }
        if self.durability.log_is_long() {
            self.cut_log(LOG_PATIENCE)?;
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.durability.sync(&self.dir)
    }

    /// Moves the log into the database and empties it. A reader in the way is no error: later, then.
    fn cut_log(&mut self, patience: Duration) -> Result<(), StoreError> {
        self.durability.last_cut = Instant::now();
        let cut = || -> rusqlite::Result<()> {
            self.conn.busy_timeout(patience)?;
            let outcome = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            self.conn.busy_timeout(super::connect::BUSY)?;
            outcome
        };
        cut().map_err(|error| StoreError::from(error).in_file(self.dir.database()))
    }

    /// Everything on the disk, the log empty: the end of a process's work on the run.
    pub(super) fn rest(&mut self) -> Result<(), StoreError> {
        self.projection.catch_up(&self.conn)?;
        self.projection.sync()?;
        self.sync()?;
        self.cut_log(LOG_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{ItemSpec, Outcome, Request, Seq},
        store::{LocalVerdict, Pins},
    };

    fn items(lines: std::ops::RangeInclusive<u64>) -> Op {
        let spec = |line| ItemSpec {
            id: format!("item {line}"),
            request: Request::text("A question. ".repeat(50)),
            hash: format!("{line:032x}"),
            line,
            model: None,
            tier: None,
            max_usd: None,
            fields: std::collections::BTreeMap::new(),
            caption: None,
            picture: None,
        };
        Op::Items(lines.map(spec).collect())
    }

    fn unreadable(seq: u64) -> Op {
        let (outcome, id) = (Outcome::UnreadableInput, format!("item {seq}"));
        let line = serde_json::from_value(serde_json::json!({
            "id": id, "status": "failed", "error": { "outcome": outcome, "message": "no such file" },
            "usage": { "input_tokens": 0, "output_tokens": 0, "thinking_tokens": 0 }, "cost_usd": 0.0,
            "latency_ms": 0, "attempts": 0, "finished_at": "2026-11-21T09:00:00.000Z", "request_hash": "",
        }));
        Op::Verdict(Box::new(LocalVerdict { seq: Seq(seq), outcome, line: line.unwrap() }))
    }

    #[test]
    fn a_results_file_without_room_does_not_undo_a_commit_but_holds_the_next() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &Pins::default()).unwrap();
        store.commit(&[items(1..=3)]).unwrap();
        store.follow_up().unwrap();

        let full = File::options().append(true).open("/dev/full").unwrap();
        let good = store.projection.redirect(full);
        store.commit(&[unreadable(1)]).unwrap();
        assert!(store.follow_up().unwrap_err().is_disk_full());
        assert_eq!(store.tallies.totals(&store.conn).unwrap().failed, 1, "what is committed stays");
        assert!(store.commit(&[unreadable(2)]).is_err(), "but nothing more is, that could not be shown");
        assert_eq!(store.tallies.totals(&store.conn).unwrap().failed, 1);

        store.projection.redirect(good);
        store.commit(&[unreadable(2)]).unwrap();
        store.follow_up().unwrap();
        let shown = std::fs::read_to_string(home.path().join("results.jsonl")).unwrap();
        let ids: Vec<_> = shown.lines().map(|line| line.split('"').nth(3)).collect();
        assert_eq!(ids, [Some("item 1"), Some("item 2")]);
    }

    #[test]
    fn a_full_database_refuses_a_group_whole_and_takes_it_when_there_is_room() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &Pins::default()).unwrap();
        let ops = [items(1..=200)];
        let room = |store: &Store, pages: i64| {
            store.conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        };

        room(&store, 30);
        let error = store.commit(&ops).unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        assert_eq!((store.tallies.items, store.traits.len()), (0, 0), "nothing of it is left in memory");
        room(&store, 1 << 30);
        assert!(matches!(&store.commit(&ops).unwrap()[..], [Answer::Ingested(all)] if all.added.len() == 200));
        assert_eq!(store.tallies.totals(&store.conn).unwrap().waiting, 200);
    }

    #[test]
    fn a_commit_is_synced_at_once_or_soon() {
        let home = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(&RunDir::new(home.path()), &Pins::default()).unwrap();
        let ago = |span| Instant::now().checked_sub(span).unwrap();
        store.sync().unwrap();
        assert_eq!(store.durability.due_in(), None, "nothing to sync");

        store.durability.last_sync = Instant::now() + SYNC_EVERY;
        store.commit(&[]).unwrap();
        store.follow_up().unwrap();
        assert!(store.durability.due_in().is_some_and(|wait| wait <= SYNC_EVERY), "soon after another");

        store.durability.last_sync = ago(SYNC_EVERY);
        store.commit(&[]).unwrap();
        store.follow_up().unwrap();
        assert_eq!(store.durability.due_in(), None, "at once after a pause, before it is acknowledged");
    }
}
