//! Compaction of results.jsonl at the end of a run: one line per id.

use super::{commit::WAL_TRUNCATE_TIMEOUT, error::StoreError, open::Store, results_file::ResultsFile};

impl Store {
    /// Removes superseded lines (of items that were requeued) from the database and the file. Returns their number.
    /// Does nothing if there are none.
    ///
    /// It may be killed at any point. Before the commit nothing has changed. After the commit the table holds one line
    /// per id, and the old file differs from it: the next start compares them from the first byte,
    /// cuts the file at the first difference and completes it. The rename replaces the file in one step. A half-written
    /// `results.jsonl.new` is removed at the next start. So no marker is needed.
    pub fn compact_results(&mut self) -> Result<u64, StoreError> {
        self.ensure_no_failed_sync()?;
        self.results_file.catch_up(&self.conn)?;
        let removed = self.delete_superseded().map_err(|error| error.with_path(self.dir.database()))?;
        if removed > 0 {
            self.results_file = ResultsFile::rebuild(&self.dir, &self.conn)?;
            // A sync that fails while the database is closed would not be reported, so the WAL is truncated now.
            self.truncate_wal(WAL_TRUNCATE_TIMEOUT)?;
        }
        Ok(removed)
    }

    fn delete_superseded(&mut self) -> Result<u64, StoreError> {
        let transaction = self.conn.transaction()?;
        let removed = transaction.execute("DELETE FROM results WHERE n IN (SELECT n FROM superseded)", [])?;
        transaction.execute("DELETE FROM superseded", [])?;
        transaction.commit()?;
        Ok(removed as u64)
    }
}
