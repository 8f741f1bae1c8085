//! A run is opened or resumed: the record is read back into the scheduler, and the engine's task begins.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    ahead::Ahead,
    captions::{self, Owed},
    core::{Channels, Engine, Phase},
    ending::Contact,
    handle::Handle,
    intake::Intake,
    journal::Journal,
    sharing::{Sharing, fingerprints},
    stats::{Tally, Throughput, Worked},
};
use crate::{
    clock::Clock,
    config::Config,
    domain::{
        Api, Command, EventLevel, ItemSpec, Now, RouteId, Snapshot, WallTime, WhenLimited, is_or_are,
        plain_text::sanitize,
        pluralize,
        snapshot::{Cause, RunState},
    },
    output::Existing,
    provider::{Client, Endpoint},
    scheduler::{PastUsage, Scheduler},
    store::{Decision, Loader, LostCall, Op, Opened, Reclassed, RouteName, RunDir, Store, audit::CAP, spawn_reader},
};

/// The name under which the scheduler's memory is kept in the run.
pub(super) const MEMORY: &str = "scheduler";

/// The name under which the last command line's flags are kept in the run.
const FLAGS: &str = "flags";

/// Daily windows look back no further: a day that saving time makes longest has 25 hours.
const LONGEST_DAY: Duration = Duration::from_secs(26 * 3_600);

/// So long after it was recorded a request that nobody saw the end of may still have reached its provider.
const ON_ITS_WAY: Duration = Duration::from_secs(30);

/// What the engine is started with, beside the run itself.
pub struct Setup {
    pub run: String,
    pub config: Config,
    pub clock: Clock,
    pub existing: Existing,
    /// Nobody is there to lift a hold: stop instead.
    pub unattended: bool,
    /// Decides every jitter.
    pub seed: u64,
    /// What was said on the command line, by what it decides. A flag that was not said, or said otherwise, when
    /// the run was last started overrules the operator's decision about the same.
    pub flags: BTreeMap<String, String>,
    /// The flags are said for this start alone (`replay`): they overrule, but are not compared with the last
    /// start's nor remembered, and what they overrule holds again at the next.
    pub passing: bool,
    /// What the providers said of the keys a moment ago.
    pub checked_keys: Vec<CheckedKey>,
    /// The daily ledger that this run shares with others; `None`: it goes by its own counts.
    pub ledger: Option<PathBuf>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("run", &self.run).finish_non_exhaustive()
    }
}

/// What a provider has just said of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckedKey {
    /// It lists the key's models.
    Good {
        name: String,
        /// Models of the configuration that are not on the list.
        unlisted: Vec<String>,
    },
    /// It lists its models, and that proves no key: anybody may see them.
    Listed {
        name: String,
        /// Models of the configuration that are not on the list.
        unlisted: Vec<String>,
    },
    /// It does not know the key.
    Invalid {
        name: String,
        /// Its own words.
        words: String,
    },
}

/// Rows on their way in.
#[derive(Debug)]
pub enum Rows {
    Batch(Vec<ItemSpec>),
    /// The input has been read to its end.
    End,
    Broken(String),
}

/// A run under way.
#[derive(Debug)]
pub struct Running {
    pub handle: Handle,
    /// Events up to this number are of earlier processes, which have told them.
    pub told: u64,
    pub engine: JoinHandle<Ending>,
}

/// How a run's process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Every item is done or failed.
    Finished,
    /// Work is left; the same command resumes it.
    Stopped { why: String },
    /// Work is left; a larger budget resumes it, and the same command stops again.
    BudgetSpent { why: String },
    /// A trial of the first rows has ended; items of an earlier start wait, and a start without a limit sends them.
    HeldBack { why: String },
    /// Something here failed; what is recorded is recorded, and the same command resumes it.
    Broken { why: String },
}

/// Starts the engine over an opened run. `rows` brings what is still to be read of the input, and announces its end;
/// `None` where it has been read.
///
/// # Errors
/// Where the record can't be read, or the HTTP client can't be made.
pub fn start(
    setup: Setup,
    dir: &RunDir,
    store: Store,
    opened: Opened,
    rows: Option<mpsc::Receiver<Rows>>,
) -> anyhow::Result<Running> {
    let told = opened.next_event - 1;
    let (engine, channels, handle) = prepare(setup, dir, store, opened, rows)?;
    Ok(Running { handle, told, engine: tokio::spawn(engine.run(channels)) })
}

/// The engine with everything that an opened run has, before its first turn.
pub(super) fn prepare(
    setup: Setup,
    dir: &RunDir,
    mut store: Store,
    opened: Opened,
    rows: Option<mpsc::Receiver<Rows>>,
) -> anyhow::Result<(Engine, Channels, Handle)> {
    let Setup { run, config, clock, existing, unattended, seed, flags, passing, checked_keys, ledger } = setup;
    let now = clock.now();
    let mut scheduler = Scheduler::new(&config.providers, &config.models, &config.keys, config.policy.clone(), seed);
    let (tell, days) = mpsc::channel(16);
    let fingerprints = fingerprints(&config.secrets, ledger.as_deref());
    let sharing = match ledger {
        Some(path) => Sharing::start(path, &config, &mut scheduler, tell),
        None => Sharing::none(),
    };
    let Config { providers, models, keys, secrets, .. } = config;
    scheduler.resume_from(opened.next_attempt.0, opened.spend.cost, opened.spend.at_risk);
    if let Some(memory) = opened.states.get(MEMORY) {
        match serde_json::from_str(memory) {
            Ok(memory) => scheduler.restore(now, memory, &fingerprints),
            Err(error) => tracing::warn!("what the last process knew of cooldowns can't be read: {error}"),
        }
    }

    let mut acquitted: Vec<(String, Cause)> = Vec::new();
    let mut condemned = Vec::new();
    for key in checked_keys {
        match key {
            CheckedKey::Good { name, unlisted } => {
                acquitted.extend(scheduler.mark_valid(&name, &unlisted).map(|cause| (name, cause)));
            }
            CheckedKey::Listed { name, unlisted } => scheduler.mark_models_listed(&name, &unlisted),
            CheckedKey::Invalid { name, words } => condemned.extend(scheduler.disable_key(now, &name, words)),
        }
    }

    let mut apis: SmallVec<[Api; 3]> = providers.iter().map(|provider| provider.api).collect();
    apis.sort_unstable();
    apis.dedup();
    let mut intake = Intake::new(apis);
    let reclassed = store.adopt_rules(&scheduler.policy().rules)?;
    for (id, traits) in store.traits() {
        intake.learn(&mut scheduler, id, &traits);
    }
    let mut held_back = 0;
    store.waiting(|item| match &opened.only {
        Some(only) if !only.contains(&item.seq) => held_back += 1,
        _ => intake.queue(&mut scheduler, item),
    })?;
    intake.count_backlog(&mut scheduler);
    intake.reading = rows.is_some();

    let mut key_tallies = vec![Tally::default(); keys.len()];
    let mut model_tallies = vec![Tally::default(); models.len()];
    let mut route_counts = vec![(0, 0); scheduler.route_count()];
    recount(&store, &mut scheduler, now, &mut key_tallies, &mut model_tallies, &mut route_counts)?;

    // A run that has ended, and that nobody adds to, is not worked on by looking at it.
    let idle = rows.is_none() && opened.totals.waiting <= held_back;
    let client =
        Client::new(clock.to_real(scheduler.policy().connect_timeout), clock.to_real(scheduler.policy().idle_timeout))?;
    let endpoints = keys
        .iter()
        .zip(secrets)
        .map(|(key, secret)| Ok(Arc::new(Endpoint::new(providers[key.provider.index()].clone(), secret)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let routes: Vec<RouteName> = (0..scheduler.route_count() as u32)
        .map(|index| {
            let (key, model) = scheduler.route_indices(RouteId(index));
            RouteName {
                key: keys[key].name.clone(),
                model: models[model].name.clone(),
                provider: providers[keys[key].provider.index()].name.clone(),
            }
        })
        .collect();
    let held_files = store.held_files()?;
    let (writer, acks) = store.into_writer(&routes)?;

    let (orders, order_inbox) = mpsc::channel(64);
    let (asks, ask_inbox) = mpsc::channel(16);
    let (loaded, loaded_inbox) = mpsc::channel(16);
    let (complaints, trouble) = mpsc::channel(16);
    let (ahead, foreseen) = mpsc::channel(1);
    let (probes, probed) = mpsc::channel(16);
    spawn_reader(dir, ask_inbox)?;
    let (snapshots, watcher) = watch::channel(Arc::new(Snapshot::empty(&run, now.wall, clock.speed())));
    let mut engine = Engine {
        clock,
        began: now,
        worked: if idle { Worked::resting(opened.worked) } else { Worked::resumed(opened.worked, now.mono) },
        widest_cap: opened.states.get(CAP).and_then(|json| serde_json::from_str(json).ok()),
        run,
        model_names: models.iter().map(|model| Arc::from(model.name.as_str())).collect(),
        providers,
        models,
        keys,
        fingerprints,
        scheduler,
        journal: Journal::new(writer),
        intake,
        loader: Loader::start(dir)?,
        loaded,
        client,
        endpoints,
        existing,
        complaints,
        probes,
        tasks: JoinSet::new(),
        captions: JoinSet::new(),
        caption_threads: captions::threads(),
        owed: Owed::resumed(&opened),
        flights: HashMap::new(),
        settling: 0,
        first_sent: HashMap::new(),
        totals: opened.totals,
        spend: opened.spend,
        key_tallies,
        model_tallies,
        route_counts,
        throughput: Throughput::default(),
        ahead: Ahead::new(ahead),
        sharing,
        last_dispatch: None,
        events: VecDeque::from(opened.events.clone()),
        next_event: opened.next_event,
        phase: Phase::Going,
        paused: false,
        trouble: None,
        unattended,
        ingesting: false,
        snapshots,
        dirty: true,
        published: Instant::now(),
        forgetful: false,
        remembered: Instant::now(),
        standings: Vec::new(),
        stood: Instant::now(),
        held_files,
        looked: Instant::now(),
        contact: Contact::NotYet,
        held_back,
        #[cfg(test)]
        turns: Arc::default(),
    };
    engine.greet(&opened, &reclassed);
    for (key, cause) in acquitted {
        let words = format!("key {key} was off since {} ({}); its provider accepts it now", cause.since, cause.outcome);
        engine.say(EventLevel::Info, words);
        engine.forgetful = true;
    }
    for event in condemned {
        engine.event(event);
    }
    let last = opened.states.get(FLAGS).filter(|_| !passing);
    engine.reinstate(opened.decisions, &overruled(&flags, last), passing);
    if let (false, Ok(json)) = (passing, serde_json::to_string(&flags)) {
        engine.journal.record(Op::State { name: FLAGS.to_owned(), json });
    }
    engine.note_cap();
    engine.journal.record(Op::RunState(RunState::Running));
    engine.publish(now);
    let channels =
        Channels { orders: order_inbox, acks, loaded: loaded_inbox, rows, trouble, foreseen, days, probes: probed };
    let handle = Handle { snapshots: watcher, orders, asks };
    Ok((engine, channels, handle))
}

impl Engine {
    /// Says what kind of start this is, and what the last process left behind.
    fn greet(&mut self, opened: &Opened, reclassed: &Reclassed) {
        if opened.fresh {
            self.say(EventLevel::Info, "a new run begins".to_owned());
            return;
        }
        if let Some(reason) = &opened.checked {
            let words =
                format!("a sync of the record failed in the last process ({reason}); it was checked, and is sound");
            self.say(EventLevel::Warn, words);
        }
        let totals = opened.totals;
        self.say(
            EventLevel::Info,
            format!("resumed: {} done, {} failed, {} waiting", totals.done, totals.failed, totals.waiting),
        );
        if totals.not_in_input > 0 {
            let words = format!(
                "{} of this run {} no longer in the input; they stay in the run, its results and its exports",
                pluralize(totals.not_in_input, "item"),
                is_or_are(totals.not_in_input)
            );
            self.say(EventLevel::Warn, words);
        }
        if reclassed.waiting > 0 {
            let words = format!(
                "the routing rules have changed: another applies to {}",
                pluralize(reclassed.waiting, "waiting item")
            );
            self.say(EventLevel::Info, words);
        }
        if !reclassed.not_kept.is_empty() {
            let words = format!(
                "rules now look at the field {}, which was not kept of the rows read before: they don't fit those",
                reclassed.not_kept.join(", ")
            );
            self.say(EventLevel::Warn, words);
        }
        if !opened.lost.is_empty() {
            let lost = opened.lost.len() as u64;
            let at_risk: crate::domain::Money = opened.lost.iter().map(|call| call.at_risk).sum();
            let words = format!(
                "{} {} in flight when the last process ended, to be sent again; may have been billed ({at_risk} at most)",
                pluralize(lost, "request"),
                if lost == 1 { "was" } else { "were" },
            );
            self.say(EventLevel::Warn, words);
            for call in &opened.lost {
                let LostCall { attempt, id, route, sent_at, at_risk, .. } = call;
                let words = format!(
                    "may have been billed: item {id}, attempt {}, {}@{}, sent {sent_at}, {at_risk} at most",
                    attempt.0, route.model, route.key
                );
                tracing::warn!("{}", sanitize(&words));
            }
        }
    }

    /// The operator's decisions of earlier processes hold, unless a changed flag overrules them. Switches are in
    /// the scheduler's memory, with their time.
    fn reinstate(&mut self, mut decisions: Vec<Decision>, overruled: &[String], passing: bool) {
        // What makes room for others comes first: the newest decision about each, in the order of their making,
        // may otherwise ask for a strategy that what was configured, and then changed, forbids.
        decisions.sort_by_key(|decision| {
            let spills = matches!(decision.command, Command::SetWhenLimited { when_limited: WhenLimited::Spill });
            !spills && !matches!(decision.command, Command::SetStrategy { strategy } if strategy.supports_wait())
        });
        for decision in decisions {
            let target = decision.target.clone();
            if overruled.contains(&target) {
                if !passing {
                    self.journal.record(Op::Forget { target });
                }
                continue;
            }
            let words = match &decision.command {
                Command::SetKey { .. } | Command::SetModel { .. } | Command::SetRoute { .. } | Command::Resume => {
                    continue;
                }
                Command::Pause | Command::HardPause if self.unattended => {
                    "paused when it was last stopped; goes on, since nobody is here to resume it".to_owned()
                }
                Command::HardPause => match self.obey(&Command::Pause) {
                    Ok(words) => words,
                    Err(_) => continue,
                },
                command => match self.obey(command) {
                    Ok(words) => words,
                    Err(error) => format!("an earlier decision no longer applies: {error}"),
                },
            };
            self.say(EventLevel::Info, format!("as decided {}: {words}", decision.at));
        }
    }
}

/// Flags that are new, or say something else than last time.
fn overruled(flags: &BTreeMap<String, String>, last: Option<&String>) -> Vec<String> {
    let last: BTreeMap<String, String> = last.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    flags.iter().filter(|(what, value)| last.get(*what) != Some(value)).map(|(what, _)| what.clone()).collect()
}

/// Brings back the counts of earlier processes from the record of attempts.
fn recount(
    store: &Store,
    scheduler: &mut Scheduler,
    now: Now,
    keys: &mut [Tally],
    models: &mut [Tally],
    routes: &mut [(u64, u64)],
) -> anyhow::Result<()> {
    let names: HashMap<(String, String), RouteId> = (0..scheduler.route_count() as u32)
        .map(|index| (scheduler.key_and_model_names(RouteId(index)), RouteId(index)))
        .collect();
    store.attempts_since(WallTime(i64::MIN), |past| {
        let at = past.settled_at.unwrap_or_else(|| (past.sent_at + ON_ITS_WAY).min(now.wall));
        // Money stays spent, whatever has become of the model or the key.
        scheduler.restore_spend(now, &past.key, at, past.cost + past.at_risk);
        let Some(route) = names.get(&(past.key.clone(), past.model.clone())).copied() else { return };
        let (key, model) = scheduler.route_indices(route);
        let latency = Duration::from_millis(past.latency_ms);
        keys[key].count(past.outcome, past.usage, past.cost, latency);
        models[model].count(past.outcome, past.usage, past.cost, latency);
        let (ok, failed) = &mut routes[route.index()];
        *ok += u64::from(past.outcome.is_answered());
        *failed += u64::from(!past.outcome.is_answered() && !past.outcome.is_unattributed());
        if now.wall.since(at) < LONGEST_DAY {
            scheduler.restore_usage(
                now,
                route,
                &PastUsage { at, outcome: past.outcome, usage: past.usage, reserved_input_tokens: past.est_tokens },
            );
        }
    })?;
    Ok(())
}
