//! `cascadeck run`: starts or resumes a batch.

use clap::Args;
use tracing::level_filters::LevelFilter;

use super::{
    CliError,
    batch::{
        BatchArgs, read_pins, read_rows_as_pinned, refuse_without_vision, warn_of_pictures, warn_of_unknown_models,
        warn_of_unused_params,
    },
    check::check_keys,
    cleanup_guard::CleanupGuard,
    metrics::open_metrics,
    options::{FrontEndArgs, default_run_dir, ledger_path},
    print::print_stderr,
    reconcile::{OtherWaiting, reconcile},
    row_reader::spawn_row_reader,
    supervise::{StartedRun, claim_captions, dashboard_options, supervise},
};
use crate::{
    clock::Clock,
    config::Config,
    engine::{self, EngineSetup},
    input::{self, Input, InputSummary},
    store::{CheckedInput, OpenedRun, REPLACED_ANSWERS_STATE, RunDir, Store, report},
    telemetry,
};

/// Start or resume a batch
///
/// INPUT is a JSONL, CSV or text file, OpenAI, Anthropic or Gemini batch lines, a directory, glob or list of pictures,
/// or - for standard input. The same command resumes a run, however it was stopped.
///
/// Quote a glob so that the shell does not expand it. * and ? match characters within a name, ** matches any folders,
/// [abc] and [a-z] match one of these characters, [!abc] any other, {a,b} either text.
#[derive(Args, Clone, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub batch: BatchArgs,

    #[command(flatten)]
    pub front_end: FrontEndArgs,

    /// Do not check the keys with their providers first
    #[arg(long)]
    pub no_check: bool,

    /// Send rows again if they have changed since the run started
    #[arg(long)]
    pub accept_changed: bool,

    /// The run's directory is removed at the end
    #[arg(skip)]
    pub removes_run_dir: bool,
}

pub(super) async fn run(args: RunArgs) -> Result<u8, CliError> {
    let config = args.batch.keys_args.load(args.front_end.may_ask())?;
    run_batch(&args, config, Clock::real()).await
}

/// Reports waiting items that are not among the rows, before anything is sent. With a limit, they are not sent.
fn find_other_waiting(store: &Store, input: &Input, opened: &mut OpenedRun, has_limit: bool) -> Result<(), CliError> {
    if opened.totals.waiting == 0 {
        return Ok(());
    }
    let others = OtherWaiting::find(store, input)?;
    if others.count > 0 {
        print_stderr(&others.message(has_limit));
    }
    opened.items_to_send = has_limit.then_some(others.row_seqs);
    Ok(())
}

/// Runs a batch to its end. The demo passes a clock that is faster than real time.
pub(super) async fn run_batch(args: &RunArgs, mut config: Config, clock: Clock) -> Result<u8, CliError> {
    let path = args.batch.run_dir.clone().unwrap_or_else(|| default_run_dir(&input::run_name(&args.batch.input)));
    let dir = RunDir::new(&path);
    let webhooks = std::mem::take(&mut config.webhooks);
    // Opening a pipe copies it to the run directory. A hang-up must not leave a part of it there.
    let guard = CleanupGuard::new(input::is_stream(&args.batch.input))?;
    supervise(&dir.name(), args.front_end.json, webhooks, Box::pin(start(args, config, clock, &dir, guard))).await
}

async fn start(
    args: &RunArgs,
    mut config: Config,
    clock: Clock,
    dir: &RunDir,
    guard: CleanupGuard,
) -> Result<StartedRun, CliError> {
    args.batch.policy_args.apply(&mut config)?;
    args.batch.prompt_args.apply_to_pictures(&mut config);
    let dashboard = dashboard_options(&args.front_end, &config.dashboard)?;
    let metrics = open_metrics(&args.front_end, &config.metrics, clock).await?;
    let mut input_options = args.batch.prompt_args.input_options(&config)?;
    // The directory must be locked before a pipe is copied to it.
    let lock = if input::is_stream(&args.batch.input) { Some(dir.create_and_lock()?) } else { None };
    let uncommitted_copy = input::new_copy_path(&dir.spooled_input());
    if lock.is_some() {
        // If it can't be removed, the next pipe overwrites it.
        guard.set_clean_up(move || drop(std::fs::remove_file(uncommitted_copy)));
    }
    let recorded_pins = read_pins(dir);
    if let Some(pins) = &recorded_pins {
        read_rows_as_pinned(&mut input_options, pins, &args.batch.input);
    }
    let mut input = Input::open(&args.batch.input, input_options.clone(), &dir.spooled_input())?;
    refuse_without_vision(&input, &config)?;
    args.batch.prompt_args.add_caption_checks(&input, &mut config);
    if recorded_pins.is_some() && input.kind().is_pictures() {
        input.skip_caption_checks_if_ended(report::fully_ended_id_lookup(dir.path())?);
    }
    // Checks of answers read the rows' own fields, in ways that the key doesn't cover.
    let check_key = if config.checks.is_empty() { input.check_key() } else { None };
    let checked = recorded_pins.as_ref().and_then(|pins| pins.checked_input.as_ref());
    let mut summary = match checked.filter(|checked| check_key.as_ref() == Some(&checked.key)) {
        Some(checked) => InputSummary::of_plain_rows(checked.rows, checked.fingerprint.clone()),
        None if recorded_pins.is_some() => input.validate_resumed()?,
        None => input.validate()?,
    };
    let checked_input = check_key.filter(|_| summary.is_of_plain_rows()).map(|key| CheckedInput {
        key,
        fingerprint: summary.fingerprint.clone(),
        rows: summary.items,
    });
    let caption_claim = claim_captions(&clock, dir, std::mem::take(&mut summary.caption_files))?;
    let skipped = if summary.skipped > 0 { format!(", {} already captioned", summary.skipped) } else { String::new() };
    let rows = input.kind().format_count(summary.items);
    print_stderr(&format!("{}: {rows}{skipped}; run directory {}", args.batch.input, dir.path().display()));
    warn_of_pictures(&input, &config);

    let mut fingerprint = summary.fingerprint.clone();
    if summary.fingerprint_unstable {
        // A unique fingerprint makes the next start compare the pictures one by one.
        fingerprint = format!("{fingerprint} at {}", clock.now().wall.0);
    }
    let pins =
        args.batch.prompt_args.pinned_settings(&input, &args.batch.input, &input_options, &fingerprint, checked_input);
    let (mut store, opened) = match lock {
        Some(lock) => Store::open_with_lock(dir, lock, &pins)?,
        None => Store::open(dir, &pins)?,
    };
    if !opened.input_changed {
        warn_of_unknown_models(&summary, &config);
        warn_of_unused_params(&summary);
        input.commit_copy()?;
    }
    let log_guard = telemetry::init(&dir.log(), LevelFilter::INFO, dashboard.is_some())?;
    let key_checks = if args.no_check { Vec::new() } else { check_keys(&config, &clock).await? };
    let mut opened = opened;
    let caption_rules = args.batch.prompt_args.caption_args.rules();
    if input.kind().is_pictures() {
        let existing = args.batch.prompt_args.existing;
        for message in engine::write_missing_captions(dir, &mut opened, existing, &caption_rules).await? {
            print_stderr(&message);
        }
    }
    let has_limit = args.batch.prompt_args.limit.is_some();
    let is_resumed = !opened.is_new;
    let rows = if opened.input_changed {
        // A file that is redirected to standard input counts as a pipe: it has no name to distinguish it from another
        // one.
        let is_stream = pins.input == "-" || input::is_stream(&args.batch.input);
        let changes = reconcile(&mut store, &mut input, &pins.fingerprint, args.accept_changed, is_stream, has_limit)?;
        print_stderr(&changes.message());
        warn_of_unknown_models(&summary, &config);
        warn_of_unused_params(&summary);
        opened.totals = store.totals()?;
        opened
            .saved_states
            .extend(store.saved_states()?.into_iter().filter(|(name, _)| name == REPLACED_ANSWERS_STATE));
        find_other_waiting(&store, &input, &mut opened, has_limit)?;
        None
    } else if opened.ingest.is_complete {
        if has_limit || opened.totals.total > summary.items + summary.skipped {
            find_other_waiting(&store, &input, &mut opened, has_limit)?;
        }
        None
    } else {
        if has_limit && is_resumed {
            find_other_waiting(&store, &input, &mut opened, has_limit)?;
        }
        Some(spawn_row_reader(input, report::known_id_lookup(dir.path())?, report::picture_stamp_lookup(dir.path())?)?)
    };
    let setup = EngineSetup {
        run_name: dir.name(),
        config,
        clock,
        existing_captions: args.batch.prompt_args.existing,
        caption_rules,
        is_unattended: dashboard.is_none(),
        seed: fastrand::u64(..),
        ledger_path: ledger_path(&clock),
        flags: args.batch.policy_args.stated_flags(),
        has_ephemeral_flags: false,
        key_checks,
    };
    let running = engine::start(setup, dir, store, opened, rows)?;
    Ok(StartedRun {
        run_dir: dir.path().to_owned(),
        running,
        dashboard,
        metrics,
        removes_run_dir: args.removes_run_dir,
        log_guard,
        caption_claim,
        start_guard: guard,
    })
}
