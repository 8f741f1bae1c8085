//! What a start asks of the record before the engine runs, and may still change without it.

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

/// The state that holds answers to requests that have changed since: a map from item to text.
pub const REPLACED_ANSWERS_STATE: &str = "replaced_answers";

/// One attempt as a quota window has to know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptRecord {
    pub key: String,
    pub model: String,
    pub sent_at: WallTime,
    /// `None` where the process died before the answer.
    pub completed_at: Option<WallTime>,
    pub outcome: Outcome,
    pub usage: Usage,
    /// What stays spent where no usage was ever heard.
    pub est_tokens: u64,
    pub latency_ms: u64,
    pub cost: Money,
    /// What it may have cost: sent, and never answered.
    pub at_risk: Money,
}

impl Store {
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The settings a run was begun with: commands that name only its directory resume it with these.
    pub fn settings_of(dir: &RunDir) -> Result<PinnedSettings, StoreError> {
        let pins = connect::open_reader(dir).and_then(|conn| load_settings(&conn));
        pins.map_err(|error| error.with_path(dir.database()))?
            .ok_or_else(|| StoreError::NotARun { dir: dir.path().to_owned() })
    }

    /// Items by state, as they stand now.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        self.counters.totals(&self.conn)
    }

    /// Every waiting item in input order.
    pub fn for_each_waiting(&self, mut each: impl FnMut(WaitingItem)) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare("SELECT seq, traits FROM progress WHERE state = 0 ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(WaitingItem { seq: Seq(row.get::<_, i64>(0)? as u64), traits_id: row.get(1)? });
        }
        Ok(())
    }

    /// The number of the item that has this id.
    ///
    /// # Errors
    /// Where the record can't be read.
    pub fn number_of(&self, id: &str) -> Result<Option<Seq>, StoreError> {
        let mut find = self.conn.prepare_cached("SELECT seq FROM items WHERE id = ?1")?;
        Ok(find.query_row([id], |row| Ok(Seq(row.get::<_, i64>(0)? as u64))).optional()?)
    }

    /// All traits seen in the run so far, by id.
    pub fn traits(&self) -> Vec<(u32, RoutingTraits)> {
        let mut traits: Vec<_> = self.traits.iter().map(|(traits, id)| (*id, traits.clone())).collect();
        traits.sort_unstable_by_key(|(id, _)| *id);
        traits
    }

    /// Attempts sent at `since` or later, lost ones included, in order: quota windows are rebuilt from them.
    /// All are looked at: after a jump of the wall clock their order is not their times'.
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

    /// Rows of the input beside what was recorded of them. Writes nothing.
    pub fn compare(&self, specs: &[ItemSpec]) -> Result<InputDiff, StoreError> {
        compare(&self.conn, specs)
    }

    /// Takes rows of the input in before the engine starts: to reconcile a changed input.
    pub fn ingest(&mut self, specs: &[ItemSpec], policy: ChangedRowPolicy) -> Result<IngestReport, StoreError> {
        let mut report = IngestReport::default();
        self.transact(|group| {
            report = ingest(group, specs, policy)?;
            Ok(())
        })?;
        Ok(report)
    }

    /// Keeps the answers that these items have now, before others take their place: a caption that still is one of them
    /// may be replaced. They stand in the states under [`REPLACED_ANSWERS`], by item.
    ///
    /// # Errors
    /// Where the record can't be read or written.
    pub fn save_replaced_answers(&mut self, items: &[Seq]) -> Result<(), StoreError> {
        let mut kept: BTreeMap<u64, String> = match self.saved_states()?.get(REPLACED_ANSWERS_STATE) {
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
                kept.insert(item.0, text);
            }
        }
        let json = serde_json::to_string(&kept).map_err(|error| StoreError::corrupt_record("answers", error))?;
        self.transact(|group| {
            group.execute(
                "INSERT OR REPLACE INTO states(name, json) VALUES (?1, ?2)",
                params![REPLACED_ANSWERS_STATE, json],
            )?;
            Ok(())
        })?;
        Ok(())
    }

    /// Stamps the pictures of these items anew: they are about to be sent as they are now. `stamp` has the request and
    /// the stamp that is recorded.
    ///
    /// # Errors
    /// Where the record can't be read or written.
    pub fn update_picture_stamps(
        &mut self,
        items: &[WaitingItem],
        stamp: impl Fn(&Request, Option<PictureStamp>) -> Option<PictureStamp>,
    ) -> Result<(), StoreError> {
        self.transact(|group| {
            for item in items {
                let body: String = group
                    .conn
                    .prepare_cached("SELECT body FROM payload WHERE seq = ?1")?
                    .query_row([item.seq.0 as i64], |row| row.get(0))?;
                // A damaged one fails when it is sent, by name.
                let Ok(mut spec) = serde_json::from_str::<ItemSpec>(&body) else { continue };
                if let Some(recorded) = spec.picture_stamp.take() {
                    spec.picture_stamp = stamp(&spec.request, Some(recorded));
                    save_picture_stamp(group, item.seq.0, &spec)?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Values that the engine keeps from one process to the next, by name.
    ///
    /// # Errors
    /// Where the record can't be read.
    pub fn saved_states(&self) -> Result<BTreeMap<String, String>, StoreError> {
        load_states(&self.conn)
    }

    /// The input as it is now is the run's: its changes were reconciled, all `rows` of it were read.
    pub fn accept_input(&mut self, fingerprint: &str, rows: u64) -> Result<(), StoreError> {
        let pins = load_settings(&self.conn)?.unwrap_or_default();
        let pins = PinnedSettings { fingerprint: fingerprint.to_owned(), ..pins };
        self.transact(|group| {
            group.counters.input_rows = Some(rows);
            save_settings(group.conn, &pins)
        })?;
        self.sync()
    }

    /// Failed items wait again, for the cascade or for one target alone, before the engine starts: `replay`.
    pub fn requeue(&mut self, filter: &ReplayFilter, to: Option<&RouteTarget>) -> Result<Vec<WaitingItem>, StoreError> {
        let mut items = Vec::new();
        self.transact(|group| {
            items = requeue(group, filter, to)?;
            Ok(())
        })?;
        self.sync()?;
        Ok(items)
    }

    /// The rows of these routes, in their order; new ones are added.
    pub(super) fn register_routes(&mut self, routes: &[RouteName]) -> Result<Vec<i64>, StoreError> {
        let mut rows = Vec::with_capacity(routes.len());
        self.transact(|group| {
            for RouteName { key, model, provider } in routes {
                let names = params![key, model, provider];
                group.execute(
                    "INSERT INTO routes(key, model, provider) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                    names,
                )?;
                let find = "SELECT id FROM routes WHERE key = ?1 AND model = ?2 AND provider = ?3";
                rows.push(group.conn.prepare_cached(find)?.query_row(names, |row| row.get(0))?);
            }
            Ok(())
        })?;
        Ok(rows)
    }
}

pub(super) fn parse_outcome(name: &str) -> Result<Outcome, StoreError> {
    Outcome::from_name(name).map_or_else(|| parse_json(&format!("{name:?}"), "an outcome"), Ok)
}

/// All routes that attempts may name: key, model and provider by row.
pub(super) fn load_routes(conn: &Connection) -> Result<std::collections::HashMap<i64, RouteName>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT id, key, model, provider FROM routes")?;
    let routes = statement.query_map([], |row| {
        Ok((row.get(0)?, RouteName { key: row.get(1)?, model: row.get(2)?, provider: row.get(3)? }))
    })?;
    Ok(routes.collect::<Result<_, _>>()?)
}
