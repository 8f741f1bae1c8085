//! The end of a run leaves one line per id in `results.jsonl`.

use super::{commit::WAL_TRUNCATE_TIMEOUT, error::StoreError, open::Store, projection::Projection};

impl Store {
    /// Takes superseded lines (of items that were queued again) out of the record and the file. Returns
    /// how many. Costs nothing where there are none.
    ///
    /// Safe to be killed anywhere. Before the commit, nothing has happened. From the commit on, the table
    /// holds one line per id, and the file, still the old one, is merely a projection that disagrees: the
    /// next start compares them from the first byte, cuts the file where they part and completes it. The
    /// rename puts the rebuilt file in place in one step; a half-written `results.jsonl.new` that a crash
    /// leaves is removed at the next start. So no mark is needed to tell these cases apart.
    pub fn compact_results(&mut self) -> Result<u64, StoreError> {
        self.check_failed_sync()?;
        self.projection.catch_up(&self.conn)?;
        let removed = self.delete_superseded().map_err(|error| error.with_path(self.dir.database()))?;
        if removed > 0 {
            self.projection = Projection::rebuild(&self.dir, &self.conn)?;
            // At the closing of the database a sync that fails would not be told.
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
