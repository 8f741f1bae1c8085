//! Opens or resumes a run: restores the scheduler from the record, and starts the engine's task.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use smallvec::SmallVec;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    attempt::AttemptRunner,
    caption_writer::CaptionWriter,
    disk_fault::DiskFaultState,
    event_log::EventLog,
    event_loop::{Attendance, Channels, Engine, Phase},
    file_check::FileCheck,
    forecasting::Forecaster,
    handle::EngineHandle,
    health_checks::HealthChecks,
    intake::Intake,
    item_table::ItemTable,
    journal::Journal,
    key_budget::KeyBudget,
    lease_client::{LeaseClient, fingerprint_secrets},
    messages::{InputRows, MAX_TOKENS_FIELDS_STATE, RunOutcome, SCHEDULER_STATE},
    outage_log::OutageLog,
    provider_contact::ProviderContact,
    publisher::SnapshotPublisher,
    routing_changes::RoutingChanges,
    row_model_departures::RowModelDepartures,
    run_stats::{ActiveTime, RunStats},
    sampler::Sampler,
    silence::SilenceWatch,
    state_saver::StateSaver,
};
use crate::{
    clock::Clock,
    config::Config,
    domain::{
        Api, CaptionRules, Command, EventKind, EventLevel, Key, MetricCounts, Money, Now, RouteId, RouteLabels,
        Snapshot, UsageSlot, WallTime, WhenLimited, is_or_are,
        plain_text::sanitize,
        pluralize,
        snapshot::{Cause, RunState},
    },
    output::ExistingCaptionPolicy,
    provider::{Client, Endpoint, HiddenSecret, RequestModel},
    scheduler::Scheduler,
    store::{
        ItemLoader, KeyRecord, LostAttempt, Op, OpenedRun, OperatorDecision, Reclassification, RouteName, RunDir,
        Store, spawn_reader,
    },
};

/// Name of the run's saved state for the last command line's flags.
const FLAGS_STATE: &str = "flags";

/// Name of the run's saved state for the seed of the newest process.
const SEED_STATE: &str = "seed";

/// Age up to which past usage is restored into daily windows. The longest day has 25 hours, at the end of daylight
/// saving time; one hour is added.
const MAX_DAY_LENGTH: Duration = Duration::from_secs(26 * 3_600);

/// The settings that the engine is started with.
pub struct EngineSetup {
    pub run_name: String,
    pub config: Config,
    pub clock: Clock,
    pub existing_captions: ExistingCaptionPolicy,
    pub caption_rules: CaptionRules,
    /// No operator is present to unblock the run, so it stops if it is blocked.
    pub is_unattended: bool,
    /// Seed for all jitter.
    pub seed: u64,
    /// Command-line flags, by the setting that they decide. A flag that is new or changed since the last start
    /// overrides the operator's decision on the same setting.
    pub flags: BTreeMap<String, String>,
    /// The flags are for this start only (`replay`). They override decisions, but are neither compared with the last
    /// start's flags nor saved. The decisions that they override apply again at the next start.
    pub has_ephemeral_flags: bool,
    /// The results of key checks made just before the start.
    pub key_checks: Vec<KeyCheck>,
    /// The quota ledger that this run shares with others. `None`: it uses its own counts only.
    pub ledger_path: Option<PathBuf>,
}

impl fmt::Debug for EngineSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("run", &self.run_name).finish_non_exhaustive()
    }
}

/// The result of a key check at its provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyCheck {
    /// The key is valid: the provider lists its models.
    Valid {
        name: String,
        /// Configured models that are not in the list.
        missing_models: Vec<String>,
    },
    /// The provider lists its models to anybody, so the list does not prove the key.
    Unproven {
        name: String,
        /// Configured models that are not in the list.
        missing_models: Vec<String>,
    },
    /// The provider does not know the key.
    Invalid {
        name: String,
        /// The provider's own text.
        message: String,
    },
}

/// A started engine.
#[derive(Debug)]
pub struct RunningEngine {
    pub handle: EngineHandle,
    /// Events up to this number are from earlier processes, which have announced them.
    pub last_event: u64,
    pub task: JoinHandle<RunOutcome>,
}

/// Starts the engine for an opened run. `input_rows` delivers the rest of the input and announces its end; `None` if
/// all of it has been read.
///
/// # Errors
/// If the record can't be read, or the HTTP client can't be created.
pub fn start(
    setup: EngineSetup,
    dir: &RunDir,
    store: Store,
    opened: OpenedRun,
    input_rows: Option<mpsc::Receiver<InputRows>>,
) -> anyhow::Result<RunningEngine> {
    let last_event = opened.next_event - 1;
    let unpriced = setup.config.models.iter().filter(|model| model.price.is_none());
    store.record_unpriced_models(&unpriced.map(|model| model.name.as_str()).collect::<Vec<_>>())?;
    let (engine, channels, handle) = prepare(setup, dir, store, opened, input_rows)?;
    Ok(RunningEngine { handle, last_event, task: tokio::spawn(engine.run(channels)) })
}

/// Builds the engine of an opened run, before its first tick.
pub(super) fn prepare(
    setup: EngineSetup,
    dir: &RunDir,
    mut store: Store,
    opened: OpenedRun,
    input_rows: Option<mpsc::Receiver<InputRows>>,
) -> anyhow::Result<(Engine, Channels, EngineHandle)> {
    let EngineSetup { run_name, config, clock, key_checks, ledger_path, flags, .. } = setup;
    let now = clock.now();
    let (loaded_tx, loaded) = mpsc::channel(16);
    let (fault_tx, disk_faults) = mpsc::channel(16);
    let (forecast_tx, forecasts) = mpsc::channel(1);
    let (probe_tx, probe_results) = mpsc::channel(16);
    let (health_tx, health_results) = mpsc::channel(16);
    let (reply_tx, lease_replies) = mpsc::channel(16);
    let (command_tx, commands) = mpsc::channel(64);
    let (query_tx, query_rx) = mpsc::channel(16);
    let (snapshot_tx, snapshots) = watch::channel(Arc::new(Snapshot::empty(&run_name, now.wall, clock.speed())));

    let mut scheduler =
        Scheduler::new(&config.providers, &config.models, &config.keys, config.policy.clone(), setup.seed);
    let fingerprints = fingerprint_secrets(&config.secrets, ledger_path.as_deref());
    let leases = match ledger_path {
        Some(path) => LeaseClient::start(path, &config, &mut scheduler, reply_tx),
        None => LeaseClient::disabled(),
    };
    restore_scheduler(&mut scheduler, now, &opened, &fingerprints);
    let checked_keys = apply_key_checks(&mut scheduler, now, key_checks);

    let reclassified = store.apply_rules(&scheduler.policy().rules)?;
    let mut intake =
        Intake::new(ItemLoader::start(dir)?, loaded_tx, fault_tx.clone(), apis_of(&config), config.checks.clone());
    intake.picture_tokenizer = config.picture_tokenizer();
    intake.is_reading = input_rows.is_some();
    queue_waiting_items(&store, &opened, &mut intake, &mut scheduler)?;
    let mut stats = RunStats::new(
        opened.totals,
        opened.spend,
        key_budgets(&config.keys, &opened),
        config.models.len(),
        MetricCounts::new(route_names(&config, &scheduler).into_iter().map(to_labels)),
    );
    restore_sums(&store, &config.keys, &mut scheduler, &mut stats, now)?;
    restore_ends(&store, &mut stats);
    // While a user only looks at a run that has nothing to do, the time does not count as active.
    let is_idle = input_rows.is_none() && opened.totals.waiting <= intake.held_back_items;
    stats.active_time = if is_idle {
        ActiveTime::stopped(opened.active_time)
    } else {
        ActiveTime::running(opened.active_time, now.mono)
    };

    let attempts = attempt_runner(clock, &config, &scheduler)?;
    let silence = SilenceWatch::new(config.providers.len());
    let outage_log = OutageLog::new(config.providers.len());
    let routing_changes = RoutingChanges::new(scheduler.route_count());
    if let Some(fields) = opened.saved_states.get(MAX_TOKENS_FIELDS_STATE) {
        // Without them, they are learned again.
        attempts.client().restore_max_tokens_fields(serde_json::from_str(fields).unwrap_or_default());
    }
    let health_checks = HealthChecks::new(&config.providers, now.mono, health_tx);
    let file_check = FileCheck::new(store.capture_files()?);
    let (writer, acks) = store.into_writer(&route_names(&config, &scheduler))?;
    spawn_reader(dir, query_rx)?;
    let mut engine = Engine {
        clock,
        started_at: now,
        run_name,
        providers: config.providers,
        models: config.models,
        keys: config.keys,
        scheduler,
        journal: Journal::new(writer),
        intake,
        items: ItemTable::default(),
        attempts,
        captions: CaptionWriter::new(setup.existing_captions, setup.caption_rules, &opened, fault_tx),
        stats,
        event_log: EventLog::resumed(opened.events.clone(), opened.next_event),
        forecaster: Forecaster::new(forecast_tx),
        leases,
        probe_tx,
        health_checks,
        publisher: SnapshotPublisher::new(snapshot_tx),
        sampler: Sampler::new(opened.samples.clone()),
        state_saver: StateSaver::new(fingerprints, &opened),
        file_check,
        provider_contact: ProviderContact::Untried,
        silence,
        outage_log,
        routing_changes,
        phase: Phase::Running,
        attendance: if setup.is_unattended { Attendance::Unattended } else { Attendance::Attended },
        is_paused: false,
        gives_up_rest: false,
        disk_fault: DiskFaultState::default(),
        check_fault: None,
        uncommitted: 0,
        row_model_departures: RowModelDepartures::default(),
        #[cfg(test)]
        ticks: Arc::default(),
    };
    tracing::info!("the seed of this process is {}", setup.seed);
    engine.journal.record(Op::SetState { name: SEED_STATE.to_owned(), json: setup.seed.to_string() });
    engine.log_startup(&opened, &reclassified);
    engine.log_key_checks(checked_keys);
    engine.restore_decisions(opened, &flags, setup.has_ephemeral_flags);
    engine.record_highest_budget();
    engine.journal.record(Op::SetRunState(RunState::Running));
    engine.publish(now);
    let channels = Channels {
        commands,
        acks,
        loaded,
        input_rows,
        disk_faults,
        forecasts,
        lease_replies,
        probe_results,
        health_results,
    };
    Ok((engine, channels, EngineHandle { snapshots, command_tx, query_tx }))
}

/// Restores the scheduler's state of earlier processes, and the money that they spent.
fn restore_scheduler(scheduler: &mut Scheduler, now: Now, opened: &OpenedRun, fingerprints: &[Option<String>]) {
    scheduler.resume_from(opened.next_attempt.0, opened.spend.cost, opened.spend.at_risk);
    if let Some(saved_state) = opened.saved_states.get(SCHEDULER_STATE) {
        match serde_json::from_str(saved_state) {
            Ok(saved_state) => scheduler.restore(now, saved_state, fingerprints),
            Err(error) => tracing::warn!("can't read the cooldowns saved by the last process: {error}"),
        }
    }
}

/// The changes that the key checks before the start have made.
struct CheckedKeys {
    /// Keys that are enabled again, with the cause for which they were disabled.
    enabled: Vec<(String, Cause)>,
    disabled: Vec<EventKind>,
}

fn apply_key_checks(scheduler: &mut Scheduler, now: Now, key_checks: Vec<KeyCheck>) -> CheckedKeys {
    let mut checked = CheckedKeys { enabled: Vec::new(), disabled: Vec::new() };
    for key in key_checks {
        match key {
            KeyCheck::Valid { name, missing_models } => {
                let previous_cause = scheduler.mark_key_valid(&name, &missing_models);
                checked.enabled.extend(previous_cause.map(|cause| (name, cause)));
            }
            KeyCheck::Unproven { name, missing_models } => scheduler.mark_models_listed(&name, &missing_models),
            KeyCheck::Invalid { name, message } => {
                checked.disabled.extend(scheduler.disable_key(now, &name, message));
            }
        }
    }
    checked
}

/// Queues the waiting items of earlier processes by number, apart from those that are held back.
fn queue_waiting_items(
    store: &Store,
    opened: &OpenedRun,
    intake: &mut Intake,
    scheduler: &mut Scheduler,
) -> anyhow::Result<()> {
    for (id, traits) in store.traits() {
        intake.add_class(scheduler, id, &traits);
    }
    match &opened.items_to_send {
        Some(items_to_send) => store.for_each_waiting(|item| {
            if items_to_send.contains(&item.seq) {
                intake.add_waiting(scheduler, item);
            } else {
                intake.held_back_items += 1;
            }
        })?,
        None => store.for_each_waiting_range(|items| intake.add_waiting_range(scheduler, items))?,
    }
    intake.update_backlog(scheduler);
    Ok(())
}

fn apis_of(config: &Config) -> SmallVec<[Api; 3]> {
    let mut apis: SmallVec<[Api; 3]> = config.providers.iter().map(|provider| provider.api).collect();
    apis.sort_unstable();
    apis.dedup();
    apis
}

fn attempt_runner(clock: Clock, config: &Config, scheduler: &Scheduler) -> anyhow::Result<AttemptRunner> {
    let client = Client::new(
        clock.to_real_duration(scheduler.policy().connect_timeout),
        clock.to_real_duration(scheduler.policy().idle_timeout),
    )?
    .keeping(config.kept_parts)
    .with_pictures(config.pictures);
    let endpoints = config.keys.iter().zip(&config.secrets).map(|(key, secret)| {
        let provider = config.providers[key.provider.index()].clone();
        Ok(Arc::new(Endpoint::new(provider, secret.clone())?))
    });
    let endpoints = endpoints.collect::<anyhow::Result<Vec<_>>>()?;
    let models = config.models.iter().map(RequestModel::from).collect();
    let secrets = config.secrets.iter().flatten().map(HiddenSecret::from).collect();
    Ok(AttemptRunner::new(clock, client, endpoints, models, config.checks.clone(), secrets))
}

/// The names of the scheduler's routes, for the record.
fn route_names(config: &Config, scheduler: &Scheduler) -> Vec<RouteName> {
    let name = |index| {
        let (key, model) = scheduler.route_indices(RouteId(index));
        RouteName {
            key: config.keys[key].name.clone(),
            model: config.models[model].name.clone(),
            provider: config.providers[config.keys[key].provider.index()].name.clone(),
        }
    };
    (0..scheduler.route_count() as u32).map(name).collect()
}

fn to_labels(name: RouteName) -> RouteLabels {
    let RouteName { key, model, provider } = name;
    RouteLabels { provider, model, key }
}

impl Engine {
    /// Logs whether the run is new or resumed, and what the last process left unfinished.
    fn log_startup(&mut self, opened: &OpenedRun, reclassified: &Reclassification) {
        if opened.is_new {
            self.log(EventLevel::Info, "new run started".to_owned());
            return;
        }
        if let Some(reason) = &opened.failed_sync {
            let message = format!(
                "a sync of the run's database failed in the last process ({reason}); the database was checked and \
                 is intact"
            );
            self.log(EventLevel::Warn, message);
        }
        let totals = opened.totals;
        self.log(
            EventLevel::Info,
            format!("resumed: {} done, {} failed, {} waiting", totals.done, totals.failed, totals.waiting),
        );
        if totals.not_in_input > 0 {
            let message = format!(
                "{} of this run {} no longer in the input; they stay in the run, its results and its exports",
                pluralize(totals.not_in_input, "item"),
                is_or_are(totals.not_in_input)
            );
            self.log(EventLevel::Warn, message);
        }
        if reclassified.changed_waiting > 0 {
            let message = format!(
                "the routing rules have changed: a different rule now applies to {}",
                pluralize(reclassified.changed_waiting, "waiting item")
            );
            self.log(EventLevel::Info, message);
        }
        if !reclassified.missing_fields.is_empty() {
            let message = format!(
                "rules now use the field {}, which was not stored for the rows read before: they don't \
                 match those rows",
                reclassified.missing_fields.join(", ")
            );
            self.log(EventLevel::Warn, message);
        }
        if !opened.lost_attempts.is_empty() {
            let lost = opened.lost_attempts.len() as u64;
            let message = format!(
                "{} {} in flight when the last process ended and will be sent again; may have been billed \
                 ({})",
                pluralize(lost, "request"),
                if lost == 1 { "was" } else { "were" },
                self.max_cost_text(&opened.lost_attempts),
            );
            self.log(EventLevel::Warn, message);
            for lost_attempt in &opened.lost_attempts {
                let LostAttempt { attempt, id, route, sent_at, .. } = lost_attempt;
                let message = format!(
                    "may have been billed: item {id}, attempt {}, {}@{}, sent {sent_at}, {}",
                    attempt.0,
                    route.model,
                    route.key,
                    self.max_cost_text(std::slice::from_ref(lost_attempt)),
                );
                tracing::warn!("{}", sanitize(&message));
            }
        }
    }

    /// The most that the attempts may have cost: `up to $0.03`.
    fn max_cost_text(&self, attempts: &[LostAttempt]) -> String {
        let has_price = |attempt: &LostAttempt| {
            let mut models = self.models.iter().filter(|model| {
                model.name == attempt.route.model
                    && self.providers[model.provider.index()].name == attempt.route.provider
            });
            attempt.at_risk > Money::ZERO || models.any(|model| model.price.is_some())
        };
        let at_risk: Money = attempts.iter().map(|attempt| attempt.at_risk).sum();
        match (attempts.iter().all(has_price), at_risk) {
            (true, at_risk) => format!("up to {at_risk}"),
            (false, Money::ZERO) => "price unknown".to_owned(),
            (false, at_risk) => format!("up to {at_risk}, excluding models without a price"),
        }
    }

    fn log_key_checks(&mut self, checked: CheckedKeys) {
        for (key, cause) in checked.enabled {
            let message = format!(
                "key {key} had been disabled since {} ({}); its provider accepts it now",
                cause.since, cause.outcome
            );
            self.log(EventLevel::Info, message);
            self.state_saver.mark_dirty();
        }
        for event in checked.disabled {
            self.emit_event(event);
        }
    }

    /// Applies the operator's earlier decisions again, except those on settings whose flag is new or has changed.
    fn restore_decisions(&mut self, opened: OpenedRun, flags: &BTreeMap<String, String>, has_ephemeral_flags: bool) {
        let last_flags = opened.saved_states.get(FLAGS_STATE).filter(|_| !has_ephemeral_flags);
        let changed = changed_flags(flags, last_flags);
        self.reapply_decisions(opened.decisions, &changed, has_ephemeral_flags);
        if let (false, Ok(json)) = (has_ephemeral_flags, serde_json::to_string(flags)) {
            self.journal.record(Op::SetState { name: FLAGS_STATE.to_owned(), json });
        }
    }

    /// Applies the operator's decisions of earlier processes again, unless a changed flag overrides them. Switches are
    /// in the scheduler's saved state, with their time.
    fn reapply_decisions(
        &mut self,
        mut decisions: Vec<OperatorDecision>,
        overridden: &[String],
        has_ephemeral_flags: bool,
    ) {
        // Decisions that lift a restriction come first. Otherwise a strategy might be refused because the configured
        // `when_limited` forbids it, although a later decision changes `when_limited`.
        decisions.sort_by_key(|decision| {
            let allows_spill = matches!(decision.command, Command::SetWhenLimited { when_limited: WhenLimited::Spill });
            !allows_spill && !matches!(decision.command, Command::SetStrategy { strategy } if strategy.supports_wait())
        });
        for decision in decisions {
            let target = decision.target.clone();
            if overridden.contains(&target) {
                if !has_ephemeral_flags {
                    self.journal.record(Op::ForgetDecision { target });
                }
                continue;
            }
            let message = match &decision.command {
                Command::SetKey { .. } | Command::SetModel { .. } | Command::SetRoute { .. } | Command::Resume => {
                    continue;
                }
                Command::Pause | Command::HardPause if self.is_unattended() => {
                    "paused in the last session; resumed because this session has no operator to resume it".to_owned()
                }
                Command::HardPause => match self.apply(&Command::Pause) {
                    Ok(message) => message,
                    Err(_) => continue,
                },
                command => match self.apply(command) {
                    Ok(message) => message,
                    Err(error) => format!("an earlier decision no longer applies: {error}"),
                },
            };
            self.log(EventLevel::Info, format!("restored from the last session: {message}"));
        }
    }
}

/// Flags that are new, or have another value than at the last start.
fn changed_flags(flags: &BTreeMap<String, String>, last: Option<&String>) -> Vec<String> {
    let last: BTreeMap<String, String> = last.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    flags
        .iter()
        .filter(|(setting, value)| last.get(*setting) != Some(value))
        .map(|(setting, _)| setting.clone())
        .collect()
}

/// The money caps of the keys, with the lowest costs that earlier processes recorded.
fn key_budgets(keys: &[Key], opened: &OpenedRun) -> Vec<KeyBudget> {
    let records = KeyRecord::all_from(&opened.saved_states);
    let min_cost = |key: &Key| records.iter().find(|record| record.name == key.name).and_then(|record| record.min_cost);
    keys.iter().map(|key| KeyBudget::new(key.spend_limits, min_cost(key))).collect()
}

/// Restores what earlier processes used, spent and counted, from the sums of each route.
fn restore_sums(
    store: &Store,
    keys: &[Key],
    scheduler: &mut Scheduler,
    run_stats: &mut RunStats,
    now: Now,
) -> anyhow::Result<()> {
    let names: HashMap<(String, String), RouteId> = (0..scheduler.route_count() as u32)
        .map(|index| (scheduler.key_and_model_names(RouteId(index)), RouteId(index)))
        .collect();
    let key_indices: HashMap<&str, usize> =
        keys.iter().enumerate().map(|(index, key)| (key.name.as_str(), index)).collect();
    let mut recent_usage = Vec::new();
    let mut day_usage = Vec::new();
    for (name, sums) in store.route_sums()? {
        // Money stays spent, even if the model or key is no longer configured.
        let in_day: Money = sums.day_usage().iter().map(|used| used.committed).sum();
        let before = UsageBefore { at: WallTime::default(), committed: sums.committed().saturating_sub(in_day) };
        let parts =
            sums.day_usage().iter().map(|used| UsageBefore { at: used.at.min(now.wall), committed: used.committed });
        for UsageBefore { at, committed } in std::iter::once(before).chain(parts) {
            scheduler.restore_spend(now, &name.key, at, committed);
            if let Some(key) = key_indices.get(name.key.as_str()) {
                run_stats.key_budgets[*key].add(now.wall, at, committed);
            }
        }
        let Some(route) = names.get(&(name.key.clone(), name.model.clone())).copied() else {
            let counts = Arc::make_mut(&mut run_stats.metric_counts);
            let index = counts.add_route(to_labels(name));
            counts.add_sums(index, sums);
            continue;
        };
        let (key, model) = scheduler.route_indices(route);
        run_stats.add_sums(key, model, route, sums);
        let restored = |used: &UsageSlot| (route, UsageSlot { at: used.at.min(now.wall), ..*used });
        recent_usage.extend(sums.recent_usage().iter().map(restored));
        day_usage.extend(sums.day_usage().iter().map(restored));
    }
    // Several routes may share a pool.
    recent_usage.sort_by_key(|(_, used)| used.at);
    day_usage.sort_by_key(|(_, used)| used.at);
    for (route, used) in &recent_usage {
        scheduler.restore_recent_usage(now, *route, used);
    }
    let is_in_day = |used: &UsageSlot| now.wall.since(used.at) < MAX_DAY_LENGTH;
    for (route, used) in day_usage.iter().filter(|(_, used)| is_in_day(used)) {
        scheduler.restore_day_usage(now, *route, used);
    }
    Ok(())
}

/// Money that was spent or at risk at a time before the start.
struct UsageBefore {
    at: WallTime,
    committed: Money,
}

/// Restores the number of ended items by outcome.
fn restore_ends(store: &Store, run_stats: &mut RunStats) {
    let counts = Arc::make_mut(&mut run_stats.metric_counts);
    for (state, outcome, items) in store.ended_items() {
        counts.count_ends(state, outcome, items);
    }
}
