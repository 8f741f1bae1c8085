//! `cascadeck plan`: what a batch would take, reckoned from the configuration, the input and what is left of today.
//! Nothing is sent.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    slice,
    time::Duration,
};

use clap::Args;
use jiff::tz::TimeZone;

use super::{
    Failure,
    feed::RefusedRows,
    interrupt::CleanUpOnSignal,
    options::{default_run_dir, ledger},
    run::{Job, refuse_unseen, stored_pins, warn_of_unknown_models},
    say,
};
use crate::{
    clock::Clock,
    config::Config,
    domain::{ItemSpec, Money, Now, RoutingRule, RoutingTraits, Summary, WallTime},
    engine,
    headless::plan::{Plan, PlanAssumptions, RouteCapacity, plan_table},
    input::Input,
    scheduler::{
        Assumptions, ForecastInput, Scheduler,
        forecast::{ASSUMED_LATENCY, ForecastResult, forecast},
    },
    store::{QuotaLedger, RunDir, report},
};

/// Show what a batch would take: capacity, duration, cost and what runs out first. Sends nothing
///
/// Where the batch has a run directory already, the plan is about the rest of it, and goes by what its answers
/// have taken so far.
#[derive(Args, Clone, Debug)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub job: Job,

    /// Reckon with answers of N tokens; default: as measured so far, or else 256
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub expect_output: Option<u32>,

    /// Reckon with answers that take SECONDS; default: as measured so far, or else 2
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub expect_latency: Option<Duration>,

    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=3_600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds from 0.001 to 3600".to_owned())
}

/// Output tokens of an answer, where nothing is known.
const ASSUMED_OUTPUT: f64 = 256.0;

pub(super) fn run(args: &PlanArgs) -> Result<u8, Failure> {
    let mut config = args.job.keys.load()?;
    args.job.conduct.apply(&mut config)?;
    let mut options = args.job.asking.options(&config)?;
    let run_dir = args.job.run_dir.clone().unwrap_or_else(|| default_run_dir(&Input::run_name_of(&args.job.input)));
    let dir = RunDir::new(&run_dir);
    let pins = stored_pins(&dir);
    options.legacy_rows = pins.as_ref().is_some_and(|pins| !pins.strict_rows);
    let spool = Spool::new();
    let folder = spool.0.clone();
    let _to_the_end = if Input::is_stream(&args.job.input) {
        Some(CleanUpOnSignal::new(move || drop(std::fs::remove_dir_all(folder)))?)
    } else {
        None
    };
    let mut input = Input::open(&args.job.input, options, &spool.0.join("input"))?;
    refuse_unseen(&input, &config)?;
    let begun = dir.has_run();
    let so_far = if begun { Some(report::summary(&run_dir)?) } else { None };
    if begun && input.kind().is_pictures() {
        input.spare_ended(report::settled_ids(&run_dir)?);
    }
    // All faults together, as a run would report them.
    let checked = if begun { input.validate_resumed()? } else { input.validate()? };
    let fingerprint = args.job.asking.fingerprint(&checked.fingerprint);
    let has_changed = pins.is_some_and(|pins| pins.fingerprint != fingerprint);
    let limited = args.job.asking.limit.is_some();
    let batch = Batch::read(&input, &config.policy.rules, begun.then_some(run_dir.as_path()), has_changed, limited)?;
    warn_of_unknown_models(&checked, &config);
    for warning in input.warnings() {
        say(&format!("warning: {warning}"));
    }

    let plan = reckon(args, &config, &input, &batch, &run_dir, so_far.as_ref());
    let text = if args.json {
        let json = serde_json::to_string(&plan).map_err(|error| Failure::broken(error.to_string()))?;
        json + "\n"
    } else {
        plan_table(&plan, &TimeZone::system())
    };
    super::print(&text).map(|()| super::DONE)
}

/// A place for standard input while it is read, removed afterwards.
struct Spool(PathBuf);

impl Spool {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("cascadeck-plan-{}", std::process::id())))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Only standard input is spooled; a temporary place that can't be removed is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the input holds, and how much of it is still to be asked.
struct Batch {
    rows: u64,
    skipped: u64,
    /// Rows that have ended in the run already.
    ended: u64,
    /// Items of an earlier start that wait and are not among the rows.
    other_waiting: u64,
    /// Of the others, by what routing depends on: items and estimated input tokens.
    classes: HashMap<RoutingTraits, (u64, u64)>,
}

impl Batch {
    /// `begun` is the directory of the run that the batch has already, and whose input `has_changed` since. A start that is
    /// `limited` to the first rows leaves what waits beyond them waiting.
    fn read(
        input: &Input,
        rules: &[RoutingRule],
        begun: Option<&Path>,
        has_changed: bool,
        limited: bool,
    ) -> Result<Self, Failure> {
        let is_unchanged = match begun {
            Some(dir) if has_changed => Some(report::unchanged(dir)?),
            _ => None,
        };
        let mut refused = RefusedRows::default();
        let (known, has_ended) = match begun {
            Some(dir) => (Some(report::known_id_lookup(dir)?), Some(report::ended_id_lookup(dir)?)),
            None => (None, None),
        };
        let mut items = input.items().with_known_ids(move |id| known.as_ref().is_some_and(|known| known(id)));
        if let Some(dir) = begun.filter(|_| has_changed) {
            items = items.with_recorded_stamps(report::picture_stamp_lookup(dir)?).without_new_stamps();
        }
        let mut batch = Self { rows: 0, skipped: 0, ended: 0, other_waiting: 0, classes: HashMap::new() };
        let mut to_go = HashSet::new();
        for row in &mut items {
            let item = row.map_err(|fault| Failure::usage(format!("{fault}; it has changed since it was checked")))?;
            batch.rows += 1;
            if let Some(is_unchanged) = &is_unchanged {
                refused.add_unknown_models(input, slice::from_ref(&item), is_unchanged)?;
            }
            if has_ended.as_ref().is_some_and(|has_ended| has_ended(&item.id)) {
                batch.ended += 1;
                continue;
            }
            batch.add(&item, rules);
            if begun.is_some() {
                to_go.insert(item.id);
            }
        }
        refused.result()?;
        if let Some(dir) = begun {
            report::other_waiting(
                dir,
                |id| to_go.contains(id),
                |item| {
                    batch.other_waiting += 1;
                    // A damaged one fails without being sent.
                    if let Some(item) = item.filter(|_| !limited) {
                        batch.add(&item, rules);
                    }
                },
            )?;
        }
        Ok(Self { skipped: items.skipped(), ..batch })
    }

    fn add(&mut self, item: &ItemSpec, rules: &[RoutingRule]) {
        let (items, tokens) = self.classes.entry(item.routing_traits(rules)).or_default();
        *items += 1;
        *tokens += item.request.estimated_input_tokens();
    }

    /// Items that are to be sent.
    fn to_go(&self) -> u64 {
        self.classes.values().map(|(items, _)| items).sum()
    }
}

fn reckon(
    args: &PlanArgs,
    config: &Config,
    input: &Input,
    batch: &Batch,
    run_dir: &Path,
    so_far: Option<&Summary>,
) -> Plan {
    let now = Clock::real().now();
    let mut scheduler = Scheduler::new(&config.providers, &config.models, &config.keys, config.policy.clone(), 0);
    let (assume, assumed) = assumptions(args, config, batch, so_far);
    let money = |usd: fn(&Summary) -> f64| so_far.and_then(|summary| Money::from_usd(usd(summary)));
    let at_risk = money(|summary| summary.at_risk_usd).unwrap_or_default();
    if let Some(spent) = money(|summary| summary.cost_usd) {
        scheduler.resume_from(1, spent, at_risk);
    }
    count_today(config, &mut scheduler, now);
    let mut means = Vec::new();
    for (traits, (items, tokens)) in &batch.classes {
        let class = scheduler.class_for(traits);
        scheduler.set_backlog(class, *items);
        means.push((class, *tokens as f64 / (*items).max(1) as f64));
    }
    let mut ahead = scheduler.forecast_input(now, &assume);
    if !assumed.input_measured {
        for (class, mean) in means {
            ahead.classes[class].mean_input_tokens = mean;
        }
    }
    let ForecastResult { forecast, items_by_route } = forecast(&ahead);
    Plan {
        input: args.job.input.clone(),
        kind: input.kind().name().to_owned(),
        noun: input.kind().noun(batch.rows),
        rows: batch.rows,
        skipped: batch.skipped,
        ended: batch.ended,
        other_waiting: batch.other_waiting,
        other_waiting_sent: args.job.asking.limit.is_none(),
        run_dir: run_dir.display().to_string(),
        budget_usd: config.policy.max_usd.map(crate::domain::Money::as_usd),
        assumed,
        ends_at: forecast.finish.map(WallTime::rfc3339),
        earliest_at: forecast.earliest_finish.map(WallTime::rfc3339),
        latest_at: forecast.latest_finish.map(WallTime::rfc3339),
        cost_usd: forecast.cost.as_usd(),
        forecast,
        capacity: capacity(&ahead, &items_by_route),
    }
}

/// What the user's runs have used of today, as far as the ledger knows.
fn count_today(config: &Config, scheduler: &mut Scheduler, now: Now) {
    let Some(path) = ledger(&Clock::real()).filter(|path| path.exists()) else { return };
    let counted = QuotaLedger::open(&path).and_then(|ledger| {
        for (pool, name) in engine::pool_names(config, scheduler, &ledger).iter().enumerate() {
            let used = ledger.daily_usage(now.wall, name)?;
            scheduler.add_usage_elsewhere(now, pool, used.requests, used.tokens, used.exhausted_until);
        }
        Ok(())
    });
    if let Err(error) = counted {
        say(&format!("warning: the daily ledger can't be read, today is taken to be unused: {error}"));
    }
}

fn assumptions(
    args: &PlanArgs,
    config: &Config,
    batch: &Batch,
    so_far: Option<&Summary>,
) -> (Assumptions, PlanAssumptions) {
    let answered = so_far.map_or(0, |summary| summary.models.iter().map(|model| model.ok).sum::<u64>());
    let mean = |tokens: fn(&Summary) -> u64| {
        let summary = so_far.filter(|_| answered > 0)?;
        Some(tokens(summary) as f64 / answered as f64)
    };
    let (input, output) = (mean(|summary| summary.input_tokens), mean(|summary| summary.output_tokens));
    let estimated: u64 = batch.classes.values().map(|(_, tokens)| tokens).sum();
    let asked = args.job.asking.max_output_tokens.or(config.defaults.params.max_output_tokens);
    let assumed_output = asked.map_or(ASSUMED_OUTPUT, |most| ASSUMED_OUTPUT.min(f64::from(most)));
    let said = args.expect_output.map(f64::from);
    let measured = |model: &crate::domain::Model| {
        let tally = so_far?.models.iter().find(|tally| tally.name == model.name)?;
        tally.mean_ms.map(Duration::from_millis)
    };
    let latency: Vec<Option<Duration>> =
        config.models.iter().map(|model| args.expect_latency.or_else(|| measured(model))).collect();
    let known: Vec<Duration> = latency.iter().flatten().copied().collect();
    let total: Duration = known.iter().sum();
    let typical = if known.is_empty() { ASSUMED_LATENCY } else { total / known.len() as u32 };
    let assumed = PlanAssumptions {
        input_measured: input.is_some(),
        output_tokens_per_answer: said.or(output).unwrap_or(assumed_output),
        output_measured: said.is_none() && output.is_some(),
        latency_s: typical.as_secs_f64(),
        latency_measured: args.expect_latency.is_none() && !known.is_empty(),
    };
    let assume = Assumptions {
        latency_by_model: latency.into_iter().map(|latency| latency.or(Some(typical))).collect(),
        mean_input_tokens: input.or(Some(estimated as f64 / batch.to_go().max(1) as f64)),
        mean_output_tokens: Some(assumed.output_tokens_per_answer),
        requests_per_item: 1.0,
    };
    (assume, assumed)
}

fn capacity(ahead: &ForecastInput, loads: &[f64]) -> Vec<RouteCapacity> {
    let rows = ahead.routes.iter().zip(loads);
    rows.map(|(lane, load)| {
        let pool = &ahead.pools[lane.pool];
        RouteCapacity {
            key: ahead.keys[lane.key].name.clone(),
            model: ahead.models[lane.model].name.clone(),
            pool: pool.label.clone(),
            per_minute: pool.per_minute,
            minute_limit: pool.minute_constraint,
            per_day: pool.per_day,
            left_today: pool.left_today,
            items: load.round() as u64,
        }
    })
    .collect()
}
