//! Changes of the database at the start of a run, before the engine runs: a changed input, changed rules, a replay, the
//! configured routes.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, params};

use super::{
    error::StoreError,
    ingest::{ChangedRowPolicy, InputDiff, compare, ingest, save_picture_stamp},
    op::IngestReport,
    open::Store,
    pinned_settings::PinnedSettings,
    requeue::requeue,
    row::{RouteName, WaitingItem, parse_json, to_json},
    rules::{Reclassification, reclassify},
    saved_state::{load_settings, load_state, save_settings, save_state},
};
use crate::domain::{
    FinalState, ItemSpec, PictureStamp, ReplayFilter, Request, ResultLine, RouteTarget, RoutingRule, Seq,
    rule::referenced_fields,
};

/// Name of the saved state with answers to requests that have changed since: a map from item to text.
pub const REPLACED_ANSWERS_STATE: &str = "replaced_answers";

impl Store {
    /// Compares rows of the input with the recorded items. Writes nothing.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn compare(&self, specs: &[ItemSpec]) -> Result<InputDiff, StoreError> {
        compare(&self.conn, specs)
    }

    /// Ingests rows of the input before the engine starts, to reconcile a changed input.
    ///
    /// # Errors
    /// If the database can't be read or written.
    pub fn ingest(&mut self, specs: &[ItemSpec], policy: ChangedRowPolicy) -> Result<IngestReport, StoreError> {
        let mut report = IngestReport::default();
        self.transact(|txn| {
            report = ingest(txn, specs, policy)?;
            Ok(())
        })?;
        self.wal_syncer.truncate_if_due(&self.conn)?;
        Ok(report)
    }

    /// Saves the present answers of these items before new ones replace them, so that a caption that still has one of
    /// these texts may be replaced. They are saved by item as [`REPLACED_ANSWERS_STATE`].
    ///
    /// # Errors
    /// If the database can't be read or written.
    pub fn save_replaced_answers(&mut self, items: &[Seq]) -> Result<(), StoreError> {
        let mut answers: BTreeMap<u64, String> = match load_state(&self.conn, REPLACED_ANSWERS_STATE)? {
            Some(json) => parse_json(&json, "answers that were replaced")?,
            None => BTreeMap::new(),
        };
        for item in items {
            let line: Option<String> = self
                .conn
                .prepare_cached("SELECT line FROM results JOIN progress ON result = n WHERE progress.seq = ?1")?
                .query_row([item.0], |row| row.get(0))
                .optional()?;
            let line: Option<ResultLine> = line.map(|line| parse_json(&line, "a result")).transpose()?;
            // The answer of a failed item was never a caption.
            if let Some(text) = line.filter(|line| line.status == FinalState::Done).and_then(|line| line.output) {
                answers.insert(item.0, text);
            }
        }
        let json = to_json(&answers, "answers")?;
        self.transact(|txn| save_state(txn.conn, REPLACED_ANSWERS_STATE, &json))?;
        Ok(())
    }

    /// Updates the picture stamps of items that are about to be sent. `stamp` gets the request and the recorded stamp,
    /// and returns the new one. Items without a recorded stamp stay without one.
    ///
    /// # Errors
    /// If the database can't be read or written.
    pub fn update_picture_stamps(
        &mut self,
        items: &[WaitingItem],
        stamp: impl Fn(&Request, Option<PictureStamp>) -> Option<PictureStamp>,
    ) -> Result<(), StoreError> {
        self.transact(|txn| {
            for item in items {
                let body: String = txn
                    .conn
                    .prepare_cached("SELECT body FROM payload WHERE seq = ?1")?
                    .query_row([item.seq.0], |row| row.get(0))?;
                // An item with a damaged body fails when it is sent, and is named then.
                let Ok(mut spec) = serde_json::from_str::<ItemSpec>(&body) else { continue };
                if let Some(recorded) = spec.picture_stamp.take() {
                    spec.picture_stamp = stamp(&spec.request, Some(recorded));
                    save_picture_stamp(txn, item.seq.0, &spec)?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Accepts the changed input as the run's: its changes were reconciled and all its `rows` were read.
    ///
    /// # Errors
    /// If the database can't be read or written.
    pub fn accept_input(&mut self, fingerprint: &str, rows: u64) -> Result<(), StoreError> {
        let settings = load_settings(&self.conn)?.unwrap_or_default();
        // The next start reads the input once more.
        let settings = PinnedSettings { fingerprint: fingerprint.to_owned(), checked_input: None, ..settings };
        self.transact(|txn| {
            txn.counters.input_rows = Some(rows);
            save_settings(txn.conn, &settings)
        })?;
        self.wal_syncer.sync()
    }

    /// Requeues failed items before the engine starts, to the whole cascade or to one target only. Used by `replay`.
    ///
    /// # Errors
    /// If the database can't be read or written.
    pub fn requeue(
        &mut self,
        filter: &ReplayFilter,
        target: Option<&RouteTarget>,
    ) -> Result<Vec<WaitingItem>, StoreError> {
        let mut items = Vec::new();
        self.transact(|txn| {
            items = requeue(txn, filter, target)?;
            Ok(())
        })?;
        self.wal_syncer.sync()?;
        Ok(items)
    }

    /// Uses `rules` from now on. If they differ from those of the last start, updates the traits of every item that
    /// isn't done.
    ///
    /// # Errors
    /// If the database can't be read or written.
    pub fn apply_rules(&mut self, rules: &[RoutingRule]) -> Result<Reclassification, StoreError> {
        let mut report = Reclassification::default();
        if self.rules == rules {
            return Ok(report);
        }
        self.transact(|txn| {
            report.changed_waiting = reclassify(txn, rules)?;
            Ok(())
        })?;
        let recorded_fields = referenced_fields(&self.rules);
        if self.counters.items > 0 {
            report.missing_fields =
                referenced_fields(rules).into_iter().filter(|field| !recorded_fields.contains(field)).collect();
        }
        self.rules = rules.to_vec();
        Ok(report)
    }

    /// Returns the ids of these routes in their order. Adds new routes.
    pub(super) fn register_routes(&mut self, routes: &[RouteName]) -> Result<Vec<i64>, StoreError> {
        let mut ids = Vec::with_capacity(routes.len());
        self.transact(|txn| {
            for RouteName { key, model, provider } in routes {
                let names = params![key, model, provider];
                txn.execute(
                    "INSERT INTO routes(key, model, provider) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                    names,
                )?;
                let find = "SELECT id FROM routes WHERE key = ?1 AND model = ?2 AND provider = ?3";
                ids.push(txn.conn.prepare_cached(find)?.query_row(names, |row| row.get(0))?);
            }
            Ok(())
        })?;
        Ok(ids)
    }
}
