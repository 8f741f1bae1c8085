//! Supervises a run: front end, signals, end, summary and exit status.

use std::{
    io::IsTerminal as _,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    CliError,
    cleanup_guard::CleanupGuard,
    error::format_chain,
    metrics::OpenMetrics,
    options::{FrontEndArgs, ledger_path},
    print::{EXIT_INTERRUPTED, print, print_stderr},
};
use crate::{
    alerts::{self, WebhookSender},
    clock::Clock,
    config::{Dashboard, Webhook},
    domain::{
        Command, Snapshot, Summary, TRUNCATED_HINT, are_mostly_truncated, event::format_duration, is_or_are, pluralize,
        snapshot::Totals,
    },
    engine::{EngineHandle, RunOutcome, RunningEngine},
    headless::{self, ProgressOptions},
    metrics::MetricsServer,
    output::{self, CaptionPathDigests, Claim, ConflictingRun},
    store::{RunDir, report},
    telemetry, tui,
};

/// Maximum time that the engine may take to close the record of a run.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(600);

/// The dashboard's options, checked before the run starts; `None` for plain progress. The dashboard needs a terminal as
/// both standard input and standard output.
pub(super) fn dashboard_options(
    front_end: &FrontEndArgs,
    config: &Dashboard,
) -> Result<Option<tui::DashboardOptions>, CliError> {
    let defaults = tui::DashboardOptions::default();
    let options = tui::DashboardOptions {
        ascii_only: front_end.ascii || config.ascii,
        theme: front_end.theme.clone().or_else(|| config.theme.clone()),
        image_mode: config.pictures,
        max_fps: config.fps.unwrap_or(defaults.max_fps),
        read_only: front_end.read_only,
        capture_mouse: config.mouse.unwrap_or(defaults.capture_mouse),
        notifications: config.notify.unwrap_or(defaults.notifications),
        key_overrides: config.keys.clone(),
        ..defaults
    };
    options.validate().map_err(|error| CliError::usage(format_chain(&error)))?;
    let is_wanted = !front_end.headless && !front_end.json;
    Ok((is_wanted && std::io::stdout().is_terminal() && std::io::stdin().is_terminal()).then_some(options))
}

/// Claims the caption files for this run, so that no two runs pay for the same captions at the same time. If a claim
/// can't be made for another reason than a conflicting run, only warns.
pub(super) fn claim_captions(
    clock: &Clock,
    dir: &RunDir,
    files: CaptionPathDigests,
) -> Result<Option<Claim>, CliError> {
    let folder = ledger_path(clock).and_then(|ledger| Some(ledger.parent()?.join("captions")));
    let (Some(folder), false) = (folder, files.is_empty()) else { return Ok(None) };
    match output::claim_files(&folder, dir.path(), files) {
        Ok(Ok(claim)) => Ok(Some(claim)),
        Ok(Err(other)) => {
            let ConflictingRun { run_dir, pid, shared_files } = other;
            let run_dir = run_dir.display();
            Err(CliError::usage(format!(
                "{} of this batch {} being written by the run in {run_dir} (process {pid}), so both would pay for them. \
                 Wait until that run has ended (`cascadeck status {run_dir}`), or write these captions to another folder \
                 with --captions DIR",
                pluralize(shared_files, "caption"),
                is_or_are(shared_files),
            )))
        }
        Err(error) => {
            let message =
                "warning: can't check whether another run writes the same captions and would also pay for them";
            print_stderr(&format!("{message}: {}: {error}", folder.display()));
            Ok(None)
        }
    }
}

/// A run that has started.
pub(super) struct StartedRun {
    pub run_dir: PathBuf,
    pub running: RunningEngine,
    pub dashboard: Option<tui::DashboardOptions>,
    pub metrics: Option<OpenMetrics>,
    /// The run's directory is removed at the end.
    pub removes_run_dir: bool,
    /// Must live until the end of the run.
    pub log_guard: telemetry::LogGuard,
    /// The claim on the caption files. No other run may write them until it is dropped.
    pub caption_claim: Option<Claim>,
    /// Ends the process on a signal, until the front end listens for signals.
    pub start_guard: CleanupGuard,
}

/// Awaits the start of the run called `run`, and watches it until it ends. Notifies `webhooks`, also if `start` fails.
pub(super) async fn supervise(
    run: &str,
    json: bool,
    webhooks: Vec<Webhook>,
    start: impl Future<Output = Result<StartedRun, CliError>>,
) -> Result<u8, CliError> {
    match start.await {
        Ok(started) => watch_run(started, json, webhooks).await,
        Err(error) => {
            // Webhooks get no message if another process is running the run, or if the user sees the error on a
            // terminal.
            if !matches!(error, CliError::Busy(_)) && !std::io::stderr().is_terminal() {
                for warning in alerts::send_start_failure(webhooks, run, &error.to_string()).await {
                    print_stderr(&format!("warning: {warning}"));
                }
            }
            Err(error)
        }
    }
}

/// Watches the run in its front end until it ends, prints the summary, and returns the exit status.
async fn watch_run(started: StartedRun, json: bool, webhooks: Vec<Webhook>) -> Result<u8, CliError> {
    let StartedRun {
        run_dir,
        running,
        dashboard,
        metrics,
        removes_run_dir,
        log_guard: _log,
        caption_claim: _claim,
        start_guard,
    } = started;
    let RunningEngine { handle, last_event, task: mut engine } = running;
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let mut webhook_sender = WebhookSender::start(webhooks, &handle, last_event, &is_interrupted);
    let metrics_server = metrics.map(|open| (open.listener.serve(handle.snapshots.clone()), open.linger));
    let has_dashboard = dashboard.is_some();
    let mut start_guard = Some(start_guard);
    if let Some(options) = dashboard {
        // The process must not end while the dashboard has the terminal.
        start_guard = None;
        match tui::run(handle.clone(), options).await {
            // However the dashboard ended, the engine decides whether the run is over. If not, it is watched below.
            Ok(
                tui::ExitReason::Detached
                | tui::ExitReason::RunEnded
                | tui::ExitReason::Drained
                | tui::ExitReason::Stopped,
            ) => {}
            Err(error) => {
                print_stderr(&format!("the dashboard failed, but the run continues: {}", format_chain(&error)));
            }
        }
    }
    let mut plain_zone = None;
    // Without a dashboard, a run that has already ended may still have warnings to show.
    let snapshot = if has_dashboard && handle.snapshot().state.is_over() {
        handle.snapshot()
    } else {
        // Installed before the first progress line: a script may send a signal once it reads one. The task runs until
        // the process exits: without it, signals would have no effect.
        if let Some(signals) = Signals::install() {
            tokio::spawn(handle_signals(signals, handle.clone(), Arc::clone(&is_interrupted)));
        }
        drop(start_guard);
        let last_event_number = || handle.snapshot().events.last().map_or(0, |event| event.number);
        let last_known_event = if has_dashboard { last_event_number() } else { last_event };
        let progress_options = ProgressOptions { last_known_event, ..ProgressOptions::default() };
        plain_zone = Some(progress_options.zone.clone());
        let watching = headless::watch(handle.clone(), progress_options, std::io::stderr());
        with_warnings(&mut webhook_sender, watching).await
    };
    // With the dashboard, the engine doesn't end by itself when no work is left, since the operator may add some. The
    // operator has left the dashboard now.
    if snapshot.state.is_over() && has_dashboard {
        // The command fails if the engine has ended already.
        let _ = handle.send_command(Command::Drain).await;
    }
    let outcome = tokio::time::timeout(CLOSE_TIMEOUT, &mut engine).await;
    // The engine's last snapshot may be newer than the front end's last one.
    let front_end_snapshot = snapshot;
    let snapshot = if front_end_snapshot.state.is_over() { handle.snapshot() } else { Arc::clone(&front_end_snapshot) };
    // Report changes between the two, like items given up at the end, before the summary counts them.
    if let Some(line) =
        plain_zone.and_then(|zone| headless::progress::line_if_changed(&front_end_snapshot, &snapshot, &zone))
    {
        print_stderr(&line);
    }
    let mut summary = Summary::from(&*snapshot);
    // The snapshot does not name items. If the record can't be read, the outcome says so.
    summary.place = report::load_summary(&run_dir).ok().and_then(|recorded| recorded.place);
    let print_result = print(&headless::report(&summary, json));
    let Totals { done, truncated, .. } = snapshot.totals;
    // The table says so itself.
    if json && are_mostly_truncated(done, truncated) {
        print_stderr(&format!("hint: {TRUNCATED_HINT}"));
    }
    for warning in webhook_sender.finish().await {
        print_stderr(&format!("warning: {warning}"));
    }
    if let Some((server, linger)) = metrics_server {
        await_final_scrape(server, linger, &is_interrupted).await;
    }
    match outcome {
        Ok(Ok(run_outcome)) => {
            let status = exit_status(&run_outcome, &snapshot, is_interrupted.load(Ordering::Relaxed), removes_run_dir)?;
            match print_result {
                Ok(()) => Ok(status),
                Err(error) => Err(CliError::internal(format!(
                    "the run's summary could not be printed: {error}. The results are recorded, and `cascadeck status` \
                     shows the summary again"
                ))),
            }
        }
        Ok(Err(error)) => Err(CliError::internal(format!(
            "the engine failed ({error}). Everything recorded is safe; the same command resumes the run. Please report \
             this."
        ))),
        Err(_) => {
            Err(CliError::internal("the run's last records were not written in time; the same command resumes the run"))
        }
    }
}

/// How often the wait for the final scrape looks for an interrupt.
const INTERRUPT_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until the final metrics were scraped once, at most `linger`, and not after an interrupt.
async fn await_final_scrape(mut server: MetricsServer, linger: Duration, is_interrupted: &AtomicBool) {
    if linger.is_zero() || server.has_served_final_state() {
        return;
    }
    let limit = format_duration(linger);
    print_stderr(&format!("waiting for the final scrape of the metrics, at most {limit}; an interrupt ends this"));
    let interrupted = async {
        while !is_interrupted.load(Ordering::Relaxed) {
            tokio::time::sleep(INTERRUPT_CHECK_INTERVAL).await;
        }
    };
    tokio::select! {
        () = server.wait_for_final_scrape() => {}
        () = interrupted => {}
        () = tokio::time::sleep(linger) => {}
    }
}

/// Awaits `work`, and meanwhile prints the warnings of the webhook sender.
async fn with_warnings<T>(webhook_sender: &mut WebhookSender, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            warning = webhook_sender.next_warning() => print_stderr(&format!("warning: {warning}")),
        }
    }
}

fn exit_status(
    outcome: &RunOutcome,
    snapshot: &Snapshot,
    is_interrupted: bool,
    removes_run_dir: bool,
) -> Result<u8, CliError> {
    match outcome {
        RunOutcome::Stopped { reason } | RunOutcome::BudgetSpent { reason } if removes_run_dir => {
            print_stderr(&format!("stopped: {reason}; this run was temporary and can't be resumed"));
            Ok(status_with_work_left(is_interrupted))
        }
        RunOutcome::Failed { reason } if removes_run_dir => Err(CliError::internal(reason.clone())),
        RunOutcome::Failed { reason } => Err(CliError::internal(format!("{reason}. The same command resumes the run"))),
        RunOutcome::Stopped { reason } => {
            print_stderr(&format!("stopped: {reason}; the same command resumes the run"));
            Ok(status_with_work_left(is_interrupted))
        }
        RunOutcome::BudgetSpent { reason } => {
            print_stderr(&format!("stopped: {reason}; after that the run can be resumed"));
            Ok(status_with_work_left(is_interrupted))
        }
        RunOutcome::HeldBack { reason } => {
            print_stderr(&format!("stopped: {reason}; the same command without --limit sends them"));
            Ok(status_with_work_left(is_interrupted))
        }
        RunOutcome::Finished => Ok(headless::exit_status(snapshot)),
    }
}

/// The exit status if work is left. The counts of items can't decide this, since the work may be a caption file.
const fn status_with_work_left(is_interrupted: bool) -> u8 {
    if is_interrupted { EXIT_INTERRUPTED } else { headless::EXIT_WORK_LEFT }
}

/// The signals that are handled during a run.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on these signals no longer end the process. `None` if the system refuses that.
    fn install() -> Option<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [Ok(interrupt), Ok(terminate), Ok(hangup)] = kinds.map(signal) else {
            tracing::warn!(
                "can't install signal handlers: an interrupt ends the process at once; the run can still be resumed"
            );
            return None;
        };
        Some(Self { interrupt, terminate, hangup })
    }
}

/// Handles signals during a run. The first interrupt or termination drains the run, the second one stops it at once. A
/// hang-up is ignored: the run continues without its terminal.
async fn handle_signals(signals: Signals, handle: EngineHandle, is_interrupted: Arc<AtomicBool>) {
    let Signals { mut interrupt, mut terminate, mut hangup } = signals;
    let mut is_draining = false;
    loop {
        let reason = tokio::select! {
            Some(()) = interrupt.recv() => "interrupted",
            Some(()) = terminate.recv() => "stopped by SIGTERM",
            Some(()) = hangup.recv() => {
                tracing::info!("the terminal was closed; the run continues");
                continue;
            }
            else => return,
        };
        is_interrupted.store(true, Ordering::Relaxed);
        let command = if is_draining { Command::Stop } else { Command::Drain };
        if !is_draining {
            print_stderr("interrupted: finishing the requests in flight; interrupt again to stop at once");
        }
        is_draining = true;
        // The reply comes only after the command is recorded, which a full disk may prevent. Listen for signals
        // meanwhile.
        let handle = handle.clone();
        tokio::spawn(async move { handle.send_stop(command, reason.to_owned()).await });
    }
}
