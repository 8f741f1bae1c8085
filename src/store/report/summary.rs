//! The summary of a run: its state, its items, and its attempts by key and by model.

use std::{collections::HashMap, path::Path};

use rusqlite::Connection;

use crate::{
    clock::system_time,
    domain::{
        LatencyHistogram, Money, Outcome, RouteSums, Summary, is_unchecked,
        snapshot::{Condition, RunState},
        summary::{KeySummary, ModelSummary, UsageSummary},
    },
    store::{
        billing::{Billing, billing_columns, read_billing},
        connect,
        counters::RunCounters,
        error::StoreError,
        op::{KEY_RECORDS, KeyRecord, RUN_STATE, UNPRICED_MODELS},
        place::load_place,
        route_sums::AllRouteSums,
        row::{RouteName, load_routes, parse_outcome},
        run_dir::RunDir,
        saved_state::{load_active_time, parse_state},
        schema,
    },
};

/// Loads the summary of a run.
///
/// # Errors
/// If there is no run, or its database can't be read.
pub fn load_summary(dir: &Path) -> Result<Summary, StoreError> {
    connect::read_run(dir, |dir, conn| read_summary(dir, &conn))
}

fn read_summary(dir: &RunDir, conn: &Connection) -> Result<Summary, StoreError> {
    // A read transaction, so that all figures come from the same state of the database.
    let snapshot = conn.unchecked_transaction()?;
    let conn = &*snapshot;
    let counters = RunCounters::load(conn)?;
    let totals = counters.load_totals(conn)?;
    // If no process owns the run, attempts still in flight were left by a killed process and will never be answered.
    let abandoned = if dir.is_owned() { Money::ZERO } else { counters.load_spend(conn)?.reserved };
    let route_totals = RouteTotals::load(conn, counters.attempts)?;
    let keys = load_keys(dir, conn)?;
    let key_names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    Ok(Summary {
        run: dir.name(),
        state: run_state_label(dir, conn)?,
        total: totals.total,
        waiting: totals.waiting,
        in_flight: totals.in_flight,
        done: totals.done,
        failed: totals.failed,
        truncated: totals.truncated,
        not_in_input: totals.not_in_input,
        attempts: totals.attempts,
        rate_limited: totals.rate_limited,
        invalid_outputs: totals.invalid_outputs,
        usage: UsageSummary::new(counters.usage, counters.cost, counters.cost_by_kind),
        at_risk_usd: (counters.at_risk + abandoned).as_usd(),
        elapsed_s: load_active_time(conn)?.as_secs_f64(),
        place: load_place(conn, &counters, &key_names)?,
        keys: route_totals.key_summaries(&keys),
        models: route_totals.model_summaries(&parse_state::<Vec<String>>(conn, UNPRICED_MODELS)?.unwrap_or_default()),
    })
}

/// The run's state for a summary. If no process owns the run, the saved state is valid only if it is `Finished`;
/// otherwise the run is stopped. If a process owns it, a saved state of the end is from an earlier process, and the run
/// is running.
fn run_state_label(dir: &RunDir, conn: &Connection) -> Result<String, StoreError> {
    let recorded: Option<RunState> = parse_state(conn, RUN_STATE)?;
    let label = match recorded {
        Some(RunState::Finished) => RunState::Finished.name(),
        Some(state) if dir.is_owned() && !state.is_over() => state.name(),
        _ if dir.is_owned() => RunState::Running.name(),
        _ => "stopped",
    };
    Ok(label.to_owned())
}

/// Loads the saved state of the keys. If no process owns the run, they are from its end. Then keys that were at a limit
/// are shown as ready, since per-minute limits have passed, and so are those whose cooldown or spent day has ended
/// since.
fn load_keys(dir: &RunDir, conn: &Connection) -> Result<Vec<KeyRecord>, StoreError> {
    let mut keys: Vec<KeyRecord> = parse_state(conn, KEY_RECORDS)?.unwrap_or_default();
    if !dir.is_owned() {
        let (limited, now) = (Condition::Limited { limit: String::new(), until: None }, system_time());
        let is_over = |key: &KeyRecord| key.state == limited.name() || key.until.is_some_and(|until| until <= now);
        for key in keys.iter_mut().filter(|key| is_over(key)) {
            Condition::Ready.name().clone_into(&mut key.state);
        }
    }
    Ok(keys)
}

/// Sums of attempts by route.
struct RouteTotals {
    routes: Vec<(RouteName, AttemptSums)>,
}

#[derive(Clone, Default)]
struct AttemptSums {
    ok: u64,
    failed: u64,
    /// Part of `failed`: answers that failed a check.
    invalid_outputs: u64,
    billing: Billing,
    /// Of successful attempts only.
    latencies: LatencyHistogram,
}

impl RouteTotals {
    /// Loads the sums over the run's `attempts` completed attempts. Those that are stored do without reading each
    /// attempt.
    fn load(conn: &Connection, attempts: u64) -> Result<Self, StoreError> {
        let stored = if schema::has_sums(conn)? { AllRouteSums::load(conn, attempts)? } else { None };
        let mut sums = match stored {
            Some(stored) => stored.iter().map(|(route, sums)| (route, AttemptSums::from(sums))).collect(),
            None => Self::add_up(conn)?,
        };
        let mut routes: Vec<_> = load_routes(conn)?.into_iter().collect();
        routes.sort_unstable_by_key(|(id, _)| *id);
        let routes = routes.into_iter().map(|(id, name)| (name, sums.remove(&id).unwrap_or_default())).collect();
        Ok(Self { routes })
    }

    /// Computes the sums from all attempts.
    fn add_up(conn: &Connection) -> Result<HashMap<i64, AttemptSums>, StoreError> {
        let mut sums: HashMap<i64, AttemptSums> = HashMap::new();
        let columns = billing_columns(conn)?;
        let mut statement =
            conn.prepare(&format!("SELECT route, outcome, latency_ms, message, {columns} FROM attempts"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let route = sums.entry(row.get(0)?).or_default();
            let outcome = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            let outcome = parse_outcome(outcome)?;
            let message = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
            if outcome.is_answered() {
                route.ok += 1;
                route.latencies.record(row.get(2)?);
            } else if !outcome.is_unattributed() && !is_unchecked(outcome, message) {
                route.failed += 1;
                route.invalid_outputs += u64::from(outcome == Outcome::InvalidOutput);
            }
            route.billing.add(&read_billing(row, 4)?);
        }
        Ok(sums)
    }

    /// Adds up the routes with the same `name`, in the order in which the names were first recorded.
    fn sum_by(&self, name: impl Fn(&RouteName) -> &str) -> Vec<(String, AttemptSums)> {
        let mut groups: Vec<(String, AttemptSums)> = Vec::new();
        for (route, sums) in &self.routes {
            let name = name(route);
            let at = groups.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                groups.push((name.to_owned(), AttemptSums::default()));
                groups.len() - 1
            });
            groups[at].1.add(sums);
        }
        groups
    }

    fn key_summaries(&self, keys: &[KeyRecord]) -> Vec<KeySummary> {
        let summarised = self.sum_by(|route| &route.key).into_iter().map(|(name, sums)| {
            let key = keys.iter().find(|record| record.name == name);
            KeySummary {
                state: key.map_or_else(|| "ready".to_owned(), |record| record.state.clone()),
                health: key.map_or(100, |record| record.health),
                ok: sums.ok,
                failed: sums.failed,
                cost_usd: sums.billing.cost.as_usd(),
                name,
            }
        });
        let mut summaries: Vec<KeySummary> = summarised.collect();
        // Keys that are no longer configured come last.
        summaries.sort_by_key(|key| keys.iter().position(|record| record.name == key.name).unwrap_or(usize::MAX));
        summaries
    }

    /// `unpriced` are the names of the models without a price.
    fn model_summaries(&self, unpriced: &[String]) -> Vec<ModelSummary> {
        let summarised = self.sum_by(|route| &route.model).into_iter().map(|(name, sums)| ModelSummary {
            unpriced: unpriced.contains(&name),
            name,
            ok: sums.ok,
            failed: sums.failed,
            invalid_outputs: sums.invalid_outputs,
            mean_ms: sums.latencies.mean_ms(),
            p50_ms: sums.latencies.percentile_ms(50),
            p95_ms: sums.latencies.percentile_ms(95),
            usage: UsageSummary::new(sums.billing.usage, sums.billing.cost, sums.billing.cost_by_kind),
        });
        summarised.collect()
    }
}

impl From<&RouteSums> for AttemptSums {
    fn from(sums: &RouteSums) -> Self {
        Self {
            ok: sums.answered(),
            failed: sums.failed(),
            invalid_outputs: sums.invalid_outputs(),
            billing: Billing { usage: sums.usage(), cost: sums.cost(), cost_by_kind: sums.cost_by_kind() },
            latencies: sums.latencies().clone(),
        }
    }
}

impl AttemptSums {
    fn add(&mut self, other: &Self) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.invalid_outputs += other.invalid_outputs;
        self.billing.add(&other.billing);
        self.latencies.merge(&other.latencies);
    }
}
