//! `cascadeck plan`: estimates a batch from the configuration, the input and the quota left today. Sends nothing.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    slice,
    time::Duration,
};

use clap::Args;
use jiff::tz::TimeZone;

use super::{
    CliError,
    batch::{
        BatchArgs, read_pins, read_rows_as_pinned, refuse_without_vision, warn_of_pictures, warn_of_unknown_models,
        warn_of_unused_params,
    },
    cleanup_guard::CleanupGuard,
    options::{default_run_dir, ledger_path},
    print::{EXIT_DONE, print, print_stderr},
    reconcile::RefusedRows,
};
use crate::{
    clock::Clock,
    config::Config,
    domain::{
        ItemSpec, Money, Now, PictureTokenizer, RoutingTraits, Summary, WallTime, escape_json, summary::ModelSummary,
    },
    engine,
    forecast::{ASSUMED_LATENCY, Assumptions, ForecastInput, ForecastResult, ForecastRoute, PoolInput, forecast},
    headless::plan::{
        Capacity, CapacityTotals, InvalidOutputs, NamedCapacity, Plan, PlanAssumptions, RouteCapacity, plan_table,
    },
    input::{self, Input},
    scheduler::Scheduler,
    store::{QuotaLedger, RunDir, report},
};

/// Estimate a batch: capacity, duration, cost and which quota runs out first. Sends nothing
///
/// If the batch already has a run directory, the plan is for the rest of it, and uses the values measured so far.
#[derive(Args, Clone, Debug)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub batch: BatchArgs,

    /// Assume that an answer has N tokens; default: the mean so far, or 256 if there is none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub expect_output: Option<u32>,

    /// Assume that an answer takes SECONDS; default: the mean so far, or 2 if there is none
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub expect_latency: Option<Duration>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=3_600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a number of seconds from 0.001 to 3600".to_owned())
}

/// Assumed number of output tokens per answer if nothing is measured yet.
const ASSUMED_OUTPUT_TOKENS: f64 = 256.0;

pub(super) fn run(args: &PlanArgs) -> Result<u8, CliError> {
    let mut config = args.batch.keys_args.load(!args.json)?;
    args.batch.policy_args.apply(&mut config)?;
    args.batch.prompt_args.apply_to_pictures(&mut config);
    let mut options = args.batch.prompt_args.input_options(&config)?;
    let run_dir = args.batch.run_dir.clone().unwrap_or_else(|| default_run_dir(&input::run_name(&args.batch.input)));
    let dir = RunDir::new(&run_dir);
    let pins = read_pins(&dir);
    if let Some(pins) = &pins {
        read_rows_as_pinned(&mut options, pins, &args.batch.input);
    }
    let temp_dir = TempDir::new();
    let temp_path = temp_dir.0.clone();
    let guard = input::is_stream(&args.batch.input).then(|| CleanupGuard::new(true)).transpose()?;
    if let Some(guard) = &guard {
        guard.set_clean_up(move || drop(std::fs::remove_dir_all(temp_path)));
    }
    let mut input = Input::open(&args.batch.input, options, &temp_dir.0.join("input"))?;
    refuse_without_vision(&input, &config)?;
    let has_run = dir.has_run();
    let progress = if has_run { Some(report::load_summary(&run_dir)?) } else { None };
    if has_run && input.kind().is_pictures() {
        input.skip_caption_checks_if_ended(report::fully_ended_id_lookup(&run_dir)?);
    }
    // Validate first, to report all errors together, as a run does.

    let summary = if has_run { input.validate_resumed()? } else { input.validate()? };
    let fingerprint = args.batch.prompt_args.limited_fingerprint(&summary.fingerprint);
    let has_changed = pins.is_some_and(|pins| pins.fingerprint != fingerprint);
    let has_limit = args.batch.prompt_args.limit.is_some();
    let batch = PlannedBatch::read(&input, &config, has_run.then_some(run_dir.as_path()), has_changed, has_limit)?;
    warn_of_unknown_models(&summary, &config);
    warn_of_unused_params(&summary);
    warn_of_pictures(&input, &config);

    let plan = build_plan(args, &config, &input, &batch, &run_dir, progress.as_ref());
    let text = if args.json {
        let json = serde_json::to_string(&plan).map_err(|error| CliError::internal(error.to_string()))?;
        escape_json(&json).into_owned() + "\n"
    } else {
        plan_table(&plan, &TimeZone::system())
    };
    print(&text).map(|()| EXIT_DONE)
}

/// A temporary directory for the copy of standard input, removed on drop.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("cascadeck-plan-{}", std::process::id())))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Holds only a copy of standard input. If it can't be removed, the system cleans up temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The rows of the input, and how much work is left.
struct PlannedBatch {
    rows: u64,
    skipped: u64,
    /// Rows that the run has already finished.
    ended: u64,
    /// Waiting items of an earlier start that are not among the rows.
    other_waiting: u64,
    /// The items to send, by their routing traits.
    classes: HashMap<RoutingTraits, PlannedItems>,
}

/// Items with the same routing traits.
#[derive(Default)]
struct PlannedItems {
    count: u64,
    /// Estimated.
    input_tokens: u64,
    /// The largest output limit of an item.
    max_output_tokens: u32,
    /// Some item has no output limit of its own.
    has_unlimited_output: bool,
}

impl PlannedBatch {
    /// Reads the input. `run_dir` is the directory of an existing run; `has_changed` says whether its input has changed
    /// since.
    fn read(
        input: &Input,
        config: &Config,
        run_dir: Option<&Path>,
        has_changed: bool,
        has_limit: bool,
    ) -> Result<Self, CliError> {
        let pictures = config.picture_tokenizer();
        let is_unchanged = match run_dir {
            Some(dir) if has_changed => Some(report::unchanged_item_lookup(dir)?),
            _ => None,
        };
        let mut refused = RefusedRows::default();
        let (is_known, has_ended) = match run_dir {
            Some(dir) => (Some(report::known_id_lookup(dir)?), Some(report::ended_id_lookup(dir)?)),
            None => (None, None),
        };
        let mut items = input.items().with_known_ids(move |id| is_known.as_ref().is_some_and(|is_known| is_known(id)));
        if let Some(dir) = run_dir.filter(|_| has_changed) {
            items = items.with_recorded_stamps(report::picture_stamp_lookup(dir)?).without_new_stamps();
        }
        let mut batch = Self { rows: 0, skipped: 0, ended: 0, other_waiting: 0, classes: HashMap::new() };
        let mut ids_to_send = HashSet::new();
        for row in &mut items {
            let item =
                row.map_err(|error| CliError::usage(format!("{error}; the input has changed since it was checked")))?;
            batch.rows += 1;
            if let Some(is_unchanged) = &is_unchanged {
                refused.add_unknown_models(input, slice::from_ref(&item), is_unchanged)?;
            }
            if has_ended.as_ref().is_some_and(|has_ended| has_ended(&item.id)) {
                batch.ended += 1;
                continue;
            }
            batch.add(&item, config, &pictures);
            if run_dir.is_some() {
                ids_to_send.insert(item.id);
            }
        }
        refused.into_result("that are new or changed")?;
        if let Some(dir) = run_dir {
            report::for_each_unknown_waiting(
                dir,
                |id| ids_to_send.contains(id),
                |item| {
                    batch.other_waiting += 1;
                    // A damaged item (`None`) fails without being sent.
                    if let Some(item) = item.filter(|_| !has_limit) {
                        batch.add(&item, config, &pictures);
                    }
                },
            )?;
        }
        Ok(Self { skipped: items.skipped(), ..batch })
    }

    fn add(&mut self, item: &ItemSpec, config: &Config, pictures: &PictureTokenizer) {
        let items = self.classes.entry(item.routing_traits(&config.policy.rules)).or_default();
        items.count += 1;
        items.input_tokens += item.estimated_input_tokens(pictures);
        match item.request.params.max_output_tokens {
            Some(limit) => items.max_output_tokens = items.max_output_tokens.max(limit),
            None => items.has_unlimited_output = true,
        }
    }

    /// Number of items to send.
    fn items_to_send(&self) -> u64 {
        self.classes.values().map(|items| items.count).sum()
    }
}

/// The models that gave answers which failed a check.
fn invalid_outputs(progress: &Summary) -> Vec<InvalidOutputs> {
    let models = progress.models.iter().filter(|model| model.invalid_outputs > 0);
    let count = |model: &ModelSummary| InvalidOutputs {
        model: model.name.clone(),
        invalid: model.invalid_outputs,
        answers: model.ok + model.invalid_outputs,
    };
    models.map(count).collect()
}

fn build_plan(
    args: &PlanArgs,
    config: &Config,
    input: &Input,
    batch: &PlannedBatch,
    run_dir: &Path,
    progress: Option<&Summary>,
) -> Plan {
    let now = Clock::real().now();
    let mut scheduler = Scheduler::new(&config.providers, &config.models, &config.keys, config.policy.clone(), 0);
    let (assumptions, assumed) = build_assumptions(args, config, batch, progress);
    let read_money = |usd: fn(&Summary) -> f64| progress.and_then(|summary| Money::from_usd(usd(summary)));
    let at_risk = read_money(|summary| summary.at_risk_usd).unwrap_or_default();
    if let Some(spent) = read_money(|summary| summary.usage.cost_usd) {
        scheduler.resume_from(1, spent, at_risk);
    }
    apply_usage_today(config, &mut scheduler, now);
    let mut classes = Vec::new();
    for (traits, items) in &batch.classes {
        let class = scheduler.find_or_add_class(traits);
        scheduler.set_backlog(class, items.count);
        classes.push((class, items));
    }
    let mut forecast_input = scheduler.forecast_input(now, &assumptions);
    for (class, items) in classes {
        let class = &mut forecast_input.classes[class];
        class.max_output_tokens = (!items.has_unlimited_output).then(|| f64::from(items.max_output_tokens));
        if !assumed.input_measured {
            class.mean_input_tokens = items.input_tokens as f64 / items.count.max(1) as f64;
        }
    }
    let ForecastResult { forecast, items_by_route } = forecast(&forecast_input);
    Plan {
        input: args.batch.input.clone(),
        kind: input.kind().name().to_owned(),
        noun: input.kind().noun(batch.rows),
        rows: batch.rows,
        skipped: batch.skipped,
        ended: batch.ended,
        done: progress.map_or(0, |summary| summary.done),
        truncated: progress.map_or(0, |summary| summary.truncated),
        invalid_outputs: progress.map_or_else(Vec::new, invalid_outputs),
        other_waiting: batch.other_waiting,
        other_waiting_sent: args.batch.prompt_args.limit.is_none(),
        run_dir: run_dir.display().to_string(),
        budget_usd: config.policy.max_usd.map(crate::domain::Money::as_usd),
        assumed,
        ends_at: forecast.finish.map(WallTime::rfc3339),
        earliest_at: forecast.earliest_finish.map(WallTime::rfc3339),
        latest_at: forecast.latest_finish.map(WallTime::rfc3339),
        cost_usd: forecast.cost.as_usd(),
        forecast,
        capacity: build_capacities(&forecast_input, &items_by_route),
        totals: total_capacities(&forecast_input, &items_by_route),
    }
}

/// Adds the quota that all runs of this user have used today, according to the daily ledger.
fn apply_usage_today(config: &Config, scheduler: &mut Scheduler, now: Now) {
    let Some(path) = ledger_path(&Clock::real()).filter(|path| path.exists()) else { return };
    let counted = QuotaLedger::open(&path).and_then(|ledger| {
        for (pool, name) in scheduler.pool_ids().zip(engine::pool_names(config, scheduler, &ledger)) {
            let used = ledger.daily_usage(now.wall, &name)?;
            scheduler.add_usage_elsewhere(now, pool, used.requests, used.tokens, used.exhausted_until);
        }
        Ok(())
    });
    if let Err(error) = counted {
        print_stderr(&format!("warning: can't read the daily ledger, so the plan assumes an unused day: {error}"));
    }
}

fn build_assumptions(
    args: &PlanArgs,
    config: &Config,
    batch: &PlannedBatch,
    progress: Option<&Summary>,
) -> (Assumptions, PlanAssumptions) {
    let answered = progress.map_or(0, |summary| summary.models.iter().map(|model| model.ok).sum::<u64>());
    let mean = |tokens: fn(&Summary) -> u64| {
        let summary = progress.filter(|_| answered > 0)?;
        Some(tokens(summary) as f64 / answered as f64)
    };
    let (input, output) = (mean(|summary| summary.usage.input_tokens), mean(|summary| summary.usage.output_tokens));
    let estimated: u64 = batch.classes.values().map(|items| items.input_tokens).sum();
    let max_output = args.batch.prompt_args.max_output_tokens.or(config.defaults.params.max_output_tokens);
    let assumed_output = max_output.map_or(ASSUMED_OUTPUT_TOKENS, |most| ASSUMED_OUTPUT_TOKENS.min(f64::from(most)));
    let stated_output = args.expect_output.map(f64::from);
    let measured = |model: &crate::domain::Model| {
        let model_report = progress?.models.iter().find(|report| report.name == model.name)?;
        model_report.mean_ms.map(Duration::from_millis)
    };
    let latency: Vec<Option<Duration>> =
        config.models.iter().map(|model| args.expect_latency.or_else(|| measured(model))).collect();
    let known: Vec<Duration> = latency.iter().flatten().copied().collect();
    let total: Duration = known.iter().sum();
    let typical_latency =
        if known.is_empty() { ASSUMED_LATENCY } else { total / u32::try_from(known.len()).unwrap_or(u32::MAX) };
    let assumed = PlanAssumptions {
        input_measured: input.is_some(),
        output_tokens_per_answer: stated_output.or(output).unwrap_or(assumed_output),
        output_measured: stated_output.is_none() && output.is_some(),
        latency_s: typical_latency.as_secs_f64(),
        latency_measured: args.expect_latency.is_none() && !known.is_empty(),
    };
    let assumptions = Assumptions {
        latency_by_model: latency.into_iter().map(|latency| latency.or(Some(typical_latency))).collect(),
        mean_input_tokens: input.or(Some(estimated as f64 / batch.items_to_send().max(1) as f64)),
        mean_output_tokens: Some(assumed.output_tokens_per_answer),
        requests_per_item: 1.0,
    };
    (assumptions, assumed)
}

fn build_capacities(forecast_input: &ForecastInput, items_by_route: &[f64]) -> Vec<RouteCapacity> {
    let rows = forecast_input.routes.iter().zip(items_by_route);
    rows.map(|(route, load)| {
        let pool = &forecast_input.pools[route.pool];
        RouteCapacity {
            key: forecast_input.keys[route.key].name.clone(),
            model: forecast_input.models[route.model].name.clone(),
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

fn total_capacities(forecast_input: &ForecastInput, items_by_route: &[f64]) -> CapacityTotals {
    let ForecastInput { keys, models, routes, pools, .. } = forecast_input;
    let mut all = CapacitySum::default();
    for (route, items) in routes.iter().zip(items_by_route) {
        all.add(route.pool, *items);
    }
    CapacityTotals {
        keys: total_by(forecast_input, items_by_route, keys.iter().map(|key| &key.name), |route| route.key),
        models: total_by(forecast_input, items_by_route, models.iter().map(|model| &model.name), |route| route.model),
        all: all.into_capacity(pools),
    }
}

/// The total of each key or of each model: of the routes for which `part_of` returns its index in `names`.
fn total_by<'n>(
    forecast_input: &ForecastInput,
    items_by_route: &[f64],
    names: impl Iterator<Item = &'n String>,
    part_of: fn(&ForecastRoute) -> usize,
) -> Vec<NamedCapacity> {
    let mut totals: Vec<(&String, CapacitySum)> = names.map(|name| (name, CapacitySum::default())).collect();
    for (route, items) in forecast_input.routes.iter().zip(items_by_route) {
        totals[part_of(route)].1.add(route.pool, *items);
    }
    let named = totals.into_iter();
    named
        .map(|(name, sum)| NamedCapacity { name: name.clone(), capacity: sum.into_capacity(&forecast_input.pools) })
        .collect()
}

/// Routes whose capacity is summed. Each pool counts once, however many of the routes use it.
#[derive(Default)]
struct CapacitySum {
    pools: BTreeSet<usize>,
    items: f64,
}

impl CapacitySum {
    fn add(&mut self, pool: usize, items: f64) {
        self.pools.insert(pool);
        self.items += items;
    }

    fn into_capacity(self, pools: &[PoolInput]) -> Capacity {
        let sum = |amount: fn(&PoolInput) -> Option<f64>| self.pools.iter().map(|pool| amount(&pools[*pool])).sum();
        Capacity {
            per_minute: sum(|pool| pool.per_minute),
            per_day: sum(|pool| pool.per_day),
            left_today: sum(|pool| pool.left_today),
            items: self.items.round() as u64,
        }
    }
}
