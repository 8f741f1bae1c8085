//! Reads and changes of the database at the start of a run, before the engine runs.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    connect,
    error::StoreError,
    ingest::{ChangedRowPolicy, IngestReport, InputDiff, compare, ingest, save_picture_stamp},
    op::{RouteName, WaitingItem},
    open::{Store, load_settings, load_states, parse_json, save_settings},
    pinned_settings::PinnedSettings,
    requeue::requeue,
    run_dir::RunDir,
};
use crate::domain::{
    ItemSpec, Money, Outcome, PictureStamp, ReplayFilter, Request, ResultLine, RouteTarget, RoutingTraits, Seq, Usage,
    WallTime, snapshot::Totals,
};

/// Name of the saved state with answers to requests that have changed since: a map from item to text.
pub const REPLACED_ANSWERS_STATE: &str = "replaced_answers";

/// One recorded attempt, with what the quota windows need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptRecord {
    pub key: String,
    pub model: String,
    pub sent_at: WallTime,
    /// `None` if the process died before the answer.
    pub completed_at: Option<WallTime>,
    pub outcome: Outcome,
    pub usage: Usage,
    /// Estimated input tokens. They count as used if the provider reported no usage.
    pub est_tokens: u64,
    pub latency_ms: u64,
    pub cost: Money,
    /// The highest possible cost of an attempt that may have been sent and got no answer.
    pub at_risk: Money,
}

impl Store {
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The settings that a run was created with. Commands that name only its directory resume it with these.
    pub fn settings_of(dir: &RunDir) -> Result<PinnedSettings, StoreError> {
        let settings = connect::open_reader(dir).and_then(|conn| load_settings(&conn));
        settings
            .map_err(|error| error.with_path(dir.database()))?
            .ok_or_else(|| StoreError::NotARun { dir: dir.path().to_owned() })
    }

    /// The current number of items by state.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        self.counters.load_totals(&self.conn)
    }

    /// Calls `each` with every waiting item in input order.
    pub fn for_each_waiting(&self, mut each: impl FnMut(WaitingItem)) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare("SELECT seq, traits FROM progress WHERE state = 0 ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(WaitingItem { seq: Seq(row.get::<_, i64>(0)? as u64), traits_id: row.get(1)? });
        }
        Ok(())
    }

    /// The number of the item with this id; `None` if there is none.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn find_seq(&self, id: &str) -> Result<Option<Seq>, StoreError> {
        let mut find = self.conn.prepare_cached("SELECT seq FROM items WHERE id = ?1")?;
        Ok(find.query_row([id], |row| Ok(Seq(row.get::<_, i64>(0)? as u64))).optional()?)
    }

    /// All traits seen in the run so far, by id.
    pub fn traits(&self) -> Vec<(u32, RoutingTraits)> {
        let mut traits: Vec<_> = self.routing_traits.iter().map(|(traits, id)| (*id, traits.clone())).collect();
        traits.sort_unstable_by_key(|(id, _)| *id);
        traits
    }

    /// Calls `each` with the attempts sent at `since` or later, lost ones included, in order. Quota windows are rebuilt
    /// from them. All attempts are scanned, since the wall clock may have jumped, so that times are not in the order of
    /// the attempts.
    pub fn for_each_attempt_since(
        &self,
        since: WallTime,
        mut each: impl FnMut(AttemptRecord),
    ) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare(
            "SELECT key, model, sent_at, settled_at, outcome, input_tokens, output_tokens, thinking_tokens, est_tokens,
                    latency_ms, cost, at_risk
             FROM attempts JOIN routes ON routes.id = attempts.route
             WHERE sent_at >= ?1 ORDER BY attempt",
        )?;
        let mut rows = statement.query([since.0])?;
        while let Some(row) = rows.next()? {
            each(AttemptRecord {
                key: row.get(0)?,
                model: row.get(1)?,
                sent_at: WallTime(row.get(2)?),
                completed_at: row.get::<_, Option<i64>>(3)?.map(WallTime),
                outcome: parse_outcome(&row.get::<_, String>(4)?)?,
                usage: Usage {
                    input_tokens: row.get::<_, i64>(5)? as u64,
                    output_tokens: row.get::<_, i64>(6)? as u64,
                    thinking_tokens: row.get::<_, i64>(7)? as u64,
                },
                est_tokens: row.get::<_, i64>(8)? as u64,
                latency_ms: row.get::<_, i64>(9)? as u64,
                cost: Money(row.get::<_, i64>(10)? as u64),
                at_risk: Money(row.get::<_, i64>(11)? as u64),
            });
        }
        Ok(())
    }

    /// Compares rows of the input with the recorded items. Writes nothing.
    pub fn compare(&self, specs: &[ItemSpec]) -> Result<InputDiff, StoreError> {
        compare(&self.conn, specs)
    }

    /// Ingests rows of the input before the engine starts, to reconcile a changed input.
    pub fn ingest(&mut self, specs: &[ItemSpec], policy: ChangedRowPolicy) -> Result<IngestReport, StoreError> {
        let mut report = IngestReport::default();
        self.transact(|txn| {
            report = ingest(txn, specs, policy)?;
            Ok(())
        })?;
        Ok(report)
    }

    /// Saves the present answers of these items before new ones replace them, so that a caption that still has one of
    /// these texts may be replaced. They are saved by item as [`REPLACED_ANSWERS_STATE`].
    ///
    /// # Errors
    /// If the database can't be read or written.
    pub fn save_replaced_answers(&mut self, items: &[Seq]) -> Result<(), StoreError> {
        let mut answers: BTreeMap<u64, String> = match self.saved_states()?.get(REPLACED_ANSWERS_STATE) {
            Some(json) => parse_json(json, "answers that were replaced")?,
            None => BTreeMap::new(),
        };
        for item in items {
            let line: Option<String> = self
                .conn
                .prepare_cached("SELECT line FROM results JOIN progress ON result = n WHERE progress.seq = ?1")?
                .query_row([item.0 as i64], |row| row.get(0))
                .optional()?;
            let line: Option<ResultLine> = line.map(|line| parse_json(&line, "a result")).transpose()?;
            if let Some(text) = line.and_then(|line| line.output) {
                answers.insert(item.0, text);
            }
        }
        let json = serde_json::to_string(&answers).map_err(|error| StoreError::corrupt_record("answers", error))?;
        self.transact(|txn| {
            txn.execute(
                "INSERT OR REPLACE INTO states(name, json) VALUES (?1, ?2)",
                params![REPLACED_ANSWERS_STATE, json],
            )?;
            Ok(())
        })?;
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
                    .query_row([item.seq.0 as i64], |row| row.get(0))?;
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

    /// Values that the engine saves from one process to the next, by name.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn saved_states(&self) -> Result<BTreeMap<String, String>, StoreError> {
        load_states(&self.conn)
    }

    /// Accepts the changed input as the run's: its changes were reconciled and all its `rows` were read.
    pub fn accept_input(&mut self, fingerprint: &str, rows: u64) -> Result<(), StoreError> {
        let settings = load_settings(&self.conn)?.unwrap_or_default();
        let settings = PinnedSettings { fingerprint: fingerprint.to_owned(), ..settings };
        self.transact(|txn| {
            txn.counters.input_rows = Some(rows);
            save_settings(txn.conn, &settings)
        })?;
        self.sync()
    }

    /// Requeues failed items before the engine starts, to the whole cascade or to one target only. Used by `replay`.
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
        self.sync()?;
        Ok(items)
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

pub(super) fn parse_outcome(name: &str) -> Result<Outcome, StoreError> {
    Outcome::from_name(name).map_or_else(|| parse_json(&format!("{name:?}"), "an outcome"), Ok)
}

/// All recorded routes: key, model and provider by id.
pub(super) fn load_routes(conn: &Connection) -> Result<std::collections::HashMap<i64, RouteName>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT id, key, model, provider FROM routes")?;
    let routes = statement.query_map([], |row| {
        Ok((row.get(0)?, RouteName { key: row.get(1)?, model: row.get(2)?, provider: row.get(3)? }))
    })?;
    Ok(routes.collect::<Result<_, _>>()?)
}
