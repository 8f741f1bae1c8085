//! `cascadeck replay`: sends failed items again, after a preview.

use std::{
    io::{BufRead as _, IsTerminal as _},
    path::{Path, PathBuf},
};

use clap::{Args, builder::NonEmptyStringValueParser};
use tracing::level_filters::LevelFilter;

use super::{
    CliError,
    check::check_keys,
    cleanup_guard::CleanupGuard,
    metrics::open_metrics,
    options::{FrontEndArgs, KeysArgs, PolicyArgs, ledger_path},
    print::{EXIT_DONE, print_stderr},
    supervise::{StartedRun, claim_captions, dashboard_options, supervise},
};
use crate::{
    clock::Clock,
    config::{Config, nearest_match},
    domain::{Outcome, ReplayFilter, RouteTarget, Summary, is_or_are, pluralize},
    engine::{self, EngineSetup},
    input,
    output::{CaptionPathDigests, ExistingCaptionPolicy},
    store::{RunDir, Store, report},
    telemetry,
};

/// Send failed items again, after a preview
///
/// An item must match every kind of filter that is given. If a filter is given several times, one of them must match.
/// Model and key are those of the item's last attempt.
#[derive(Args, Clone, Debug)]
pub(super) struct ReplayArgs {
    #[arg(value_name = "RUN_DIR")]
    pub run_dir: PathBuf,

    /// All failed items
    #[arg(long, required_unless_present_any = ["id", "outcome", "model", "key", "message"])]
    pub failed: bool,

    /// The failed item with this id; may be given several times. An id that is not in the run is an error
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub id: Vec<String>,

    /// Items that failed with this outcome; may be given several times
    #[arg(long, value_name = "NAME", value_parser = parse_outcome)]
    pub outcome: Vec<Outcome>,

    /// Items that failed on this model; may be given several times
    #[arg(long, value_name = "NAME")]
    pub model: Vec<String>,

    /// Items that failed with this key, by its alias; may be given several times
    #[arg(long, value_name = "NAME")]
    pub key: Vec<String>,

    /// Items whose error contains this text, ignoring case, with # for any number; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub message: Vec<String>,

    /// Send the items only to this model, or only to one key of it; default: to the cascade
    #[arg(long, value_name = "MODEL[@KEY]")]
    pub to: Option<String>,

    #[command(flatten)]
    pub keys: KeysArgs,

    #[command(flatten)]
    pub policy_args: PolicyArgs,

    #[command(flatten)]
    pub front_end: FrontEndArgs,

    /// Only show what would be sent
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask for confirmation. This is the default if standard input is not a terminal
    #[arg(short, long)]
    pub yes: bool,

    /// Do not check the keys with their providers first
    #[arg(long)]
    pub no_check: bool,
}

/// Maximum number of items and routes named in a message.
const MAX_NAMED: usize = 10;

fn parse_outcome(name: &str) -> Result<Outcome, String> {
    Outcome::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
        format!("one of: {}", names.join(", "))
    })
}

pub(super) async fn run(args: ReplayArgs) -> Result<u8, CliError> {
    let dir = RunDir::new(&args.run_dir);
    let filter = ReplayFilter {
        ids: args.id.clone(),
        outcomes: args.outcome.clone(),
        models: args.model.clone(),
        keys: args.key.clone(),
        messages: args.message.clone(),
        ..ReplayFilter::default()
    };
    let may_ask = args.front_end.may_ask() && !args.yes;
    let (to, loaded_config) = match &args.to {
        Some(name) => {
            let config = args.keys.load(may_ask)?;
            (Some(find_target(name, &config)?), Some(config))
        }
        None => (None, None),
    };
    if !preview_and_confirm(&args, &filter, to.as_ref())? {
        return Ok(EXIT_DONE);
    }
    let mut config = loaded_config.map_or_else(|| args.keys.load(may_ask), Ok)?;
    let webhooks = std::mem::take(&mut config.webhooks);
    let guard = CleanupGuard::new(false)?;
    supervise(&dir.name(), args.front_end.json, webhooks, start(&args, config, &dir, &filter, to.as_ref(), guard)).await
}

async fn start(
    args: &ReplayArgs,
    mut config: Config,
    dir: &RunDir,
    filter: &ReplayFilter,
    to: Option<&RouteTarget>,
    guard: CleanupGuard,
) -> Result<StartedRun, CliError> {
    args.policy_args.apply(&mut config)?;
    let dashboard = dashboard_options(&args.front_end, &config.dashboard)?;
    let clock = Clock::real();
    let metrics = open_metrics(&args.front_end, &config.metrics, clock).await?;
    let pins = Store::settings_of(dir)?;
    let (mut store, mut opened) = Store::open(dir, &pins)?;
    if !opened.ingest.is_complete {
        return Err(CliError::usage(format!(
            "the input of {} was not read to its end ({} so far): first run the same `cascadeck run {}` command as \
             before, which reads the rest and finishes the run, then replay the failed items",
            args.run_dir.display(),
            pluralize(opened.ingest.rows, "row"),
            pins.input,
        )));
    }
    let log_guard = telemetry::init(&dir.log(), LevelFilter::INFO, dashboard.is_some())?;
    let mut caption_files = CaptionPathDigests::default();
    report::for_each_unfinished_caption(dir.path(), |caption| caption_files.add(caption))?;
    let caption_claim = claim_captions(&clock, dir, caption_files)?;
    let key_checks = if args.no_check { Vec::new() } else { check_keys(&config, &clock).await? };
    // Missing captions are written only after the check of the keys: if no key is good, nothing has changed.
    let caption_rules = pins.caption_rules.clone().unwrap_or_default();
    if pins.captions.is_some() {
        config.checks = config.checks.with_caption_checks(&caption_rules, &config.refusals);
    }
    let existing_captions =
        pins.existing_captions.as_deref().and_then(ExistingCaptionPolicy::from_name).unwrap_or_default();
    if pins.captions.is_some() {
        for message in engine::write_missing_captions(dir, &mut opened, existing_captions, &caption_rules).await? {
            print_stderr(&message);
        }
    }
    let queued = store.requeue(filter, to)?;
    store
        .update_picture_stamps(&queued, |request, recorded| input::stamp_picture(request, Path::new("/"), recorded))?;
    opened.totals = store.totals()?;
    let count = queued.len() as u64;
    print_stderr(&format!("{} {} waiting again", pluralize(count, "item"), is_or_are(count)));
    let setup = EngineSetup {
        run_name: dir.name(),
        config,
        clock,
        existing_captions,
        caption_rules,
        is_unattended: dashboard.is_none(),
        seed: fastrand::u64(..),
        ledger_path: ledger_path(&clock),
        flags: args.policy_args.stated_flags(),
        has_ephemeral_flags: true,
        key_checks,
    };
    let running = engine::start(setup, dir, store, opened, None)?;
    Ok(StartedRun {
        run_dir: dir.path().to_owned(),
        running,
        dashboard,
        metrics,
        removes_run_dir: false,
        log_guard,
        caption_claim,
        start_guard: guard,
    })
}

/// Returns the target of `--to`, a model or a route. A model's name may contain an `@`, so the text is not split there.
///
/// # Errors
/// If there is no such route.
fn find_target(name: &str, config: &Config) -> Result<RouteTarget, CliError> {
    let routes = || {
        config.models.iter().flat_map(|model| {
            let allows_model = |models: &Vec<String>| models.contains(&model.name);
            let of_model = config
                .keys
                .iter()
                .filter(move |key| key.provider == model.provider && key.models.as_ref().is_none_or(allows_model));
            of_model.map(|key| (model.name.as_str(), key.name.as_str()))
        })
    };
    let target = routes().find_map(|(model, key)| {
        let is_model_name = name == model;
        let is_one_key = name.strip_prefix(model).and_then(|rest| rest.strip_prefix('@')) == Some(key);
        (is_model_name || is_one_key)
            .then(|| RouteTarget { model: model.to_owned(), key: is_one_key.then(|| key.to_owned()) })
    });
    target.ok_or_else(|| {
        let known: Vec<String> = routes().take(MAX_NAMED).map(|(model, key)| format!("{model}@{key}")).collect();
        let more = if routes().count() > MAX_NAMED { " and more" } else { "" };
        CliError::usage(format!(
            "there is no route {name} in {}: give a model, or one of {}{more}",
            config.origin,
            known.join(", ")
        ))
    })
}

/// Shows which items would be sent, and asks for confirmation if needed. Returns true if they are to be sent.
fn preview_and_confirm(args: &ReplayArgs, filter: &ReplayFilter, to: Option<&RouteTarget>) -> Result<bool, CliError> {
    let summary = report::load_summary(&args.run_dir)?;
    let models: Vec<&str> = summary.models.iter().map(|model| model.name.as_str()).collect();
    let keys: Vec<&str> = summary.keys.iter().map(|key| key.name.as_str()).collect();
    check_names("model", &args.model, &models)?;
    check_names("key", &args.key, &keys)?;
    check_ids(args)?;
    let preview = report::preview_replay(&args.run_dir, filter, MAX_NAMED)?;
    let matching = preview.matching;
    if matching == 0 {
        report_no_match(args)?;
        return Ok(false);
    }
    print_stderr(&format!("{} will be sent again:", pluralize(matching, "failed item")));
    for (outcome, count) in preview.outcomes {
        print_stderr(&format!("  {count:>6}  {}", outcome.map_or("?", Outcome::name)));
    }
    for row in &preview.first {
        print_stderr(&format!("  #{}  {}", row.id, row.preview));
    }
    if matching > MAX_NAMED as u64 {
        print_stderr(&format!("  … and {} more", matching - MAX_NAMED as u64));
    }
    match to {
        None => print_stderr("to the cascade, like any other item"),
        Some(to @ RouteTarget { key: None, .. }) => print_stderr(&format!("only to {to}, with any key")),
        Some(to) => print_stderr(&format!("only to {to}")),
    }
    print_stderr(&match estimate_cost(&summary, to, matching) {
        Some(usd) if usd > 0.0 => format!("cost: about ${usd:.4}, from the average cost of an answer there so far"),
        Some(_) => "cost: none, since answers there have been free so far".to_owned(),
        None => "cost: unknown, since there is no answer yet".to_owned(),
    });
    let unfinished = summary.waiting;
    if unfinished > 0 {
        print_stderr(&format!("the run also continues with {} not finished yet", pluralize(unfinished, "item")));
    }
    if args.dry_run {
        return Ok(false);
    }
    if args.yes || !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    print_stderr("Send them? [y/N]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    let agreed = read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes");
    Ok(agreed)
}

/// Reports that no failed item matches the filter, and which failed items there are.
fn report_no_match(args: &ReplayArgs) -> Result<(), CliError> {
    let failed = report::preview_replay(&args.run_dir, &ReplayFilter::default(), 0)?;
    let reasons: Vec<String> = failed
        .outcomes
        .iter()
        .map(|(outcome, count)| format!("{} ({count})", outcome.map_or("?", Outcome::name)))
        .collect();
    let failed_note = match failed.matching {
        0 => String::new(),
        count => format!("; {count} failed: {}", reasons.join(", ")),
    };
    print_stderr(&format!("no failed item matches, so there is nothing to replay{failed_note}"));
    Ok(())
}

/// Maximum number of failed items that are searched for a similar id.
const MAX_SEARCHED: usize = 10_000;

/// Refuses ids that are not in the run, and reports ids of items that have not failed.
fn check_ids(args: &ReplayArgs) -> Result<(), CliError> {
    if args.id.is_empty() {
        return Ok(());
    }
    let is_known = report::known_id_lookup(&args.run_dir)?;
    let unknown: Vec<&str> = args.id.iter().map(String::as_str).filter(|id| !is_known(id)).collect();
    if let [first, more @ ..] = unknown.as_slice() {
        let failed = report::preview_replay(&args.run_dir, &ReplayFilter::default(), MAX_SEARCHED)?;
        let nearest = nearest_match(first, failed.first.iter().map(|row| row.id.as_str()));
        let did_you_mean = nearest.map_or_else(String::new, |nearest_id| format!(" (did you mean `{nearest_id}`?)"));
        let message = if more.is_empty() {
            format!("there is no item {first} in {}{did_you_mean}", args.run_dir.display())
        } else {
            let named: Vec<&str> = unknown.iter().copied().take(MAX_NAMED).collect();
            let rest = if unknown.len() > MAX_NAMED { " and more" } else { "" };
            format!("there are no items {}{rest} in {}{did_you_mean}", named.join(", "), args.run_dir.display())
        };
        return Err(CliError::usage(format!("{message}; nothing was sent. `cascadeck export` lists every item's id")));
    }
    let chosen = ReplayFilter { ids: args.id.clone(), ..ReplayFilter::default() };
    let failed = report::preview_replay(&args.run_dir, &chosen, args.id.len())?;
    let has_ended = report::ended_id_lookup(&args.run_dir)?;
    for id in args.id.iter().filter(|id| !failed.first.iter().any(|row| row.id == **id)) {
        let state = if has_ended(id) { "it is done" } else { "it has not ended yet" };
        print_stderr(&format!("item {id} has not failed: {state}"));
    }
    Ok(())
}

/// Refuses a model or key that no attempt used. It is probably a typing error, and the filter would match nothing.
fn check_names(label: &str, names: &[String], known: &[&str]) -> Result<(), CliError> {
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let tried = if known.is_empty() { "nothing yet".to_owned() } else { known.join(", ") };
            Err(CliError::usage(format!("no item was tried with the {label} {name}; this run has tried {tried}")))
        }
    }
}

/// Estimated cost of `count` items in dollars: `count` times the average cost of an answer so far, of the target's
/// model or of all models. `None` if there is no answer yet.
fn estimate_cost(summary: &Summary, to: Option<&RouteTarget>, count: u64) -> Option<f64> {
    let models = summary.models.iter().filter(|model| to.is_none_or(|to| model.name == to.model));
    let (cost, answers) = models.fold((0.0, 0), |(cost, ok), model| (cost + model.usage.cost_usd, ok + model.ok));
    (answers > 0).then(|| cost / answers as f64 * count as f64)
}
