//! `cascadeck replay`: failed items again, on purpose, after a preview.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, IsTerminal as _},
    path::PathBuf,
};

use clap::Args;
use tracing::level_filters::LevelFilter;

use super::{
    Failure,
    check::sort_out_keys,
    conduct::{conduct, dashboard, say},
    options::{Conduct, FrontEnd, Keys},
};
use crate::{
    clock::Clock,
    domain::{Outcome, ReplayFilter, counted},
    engine::{self, Setup},
    output::Existing,
    store::{RunDir, Store, report},
    telemetry,
};

/// Queue failed items again, after a preview, and run
#[derive(Args, Clone, Debug)]
pub(super) struct ReplayArgs {
    #[arg(value_name = "RUN_DIR")]
    pub run_dir: PathBuf,

    /// Every failed item
    #[arg(long, required_unless_present_any = ["id", "outcome"])]
    pub failed: bool,

    /// The failed item with this id; may be given several times
    #[arg(long, value_name = "ID")]
    pub id: Vec<String>,

    /// Items that failed with this outcome; may be given several times
    #[arg(long, value_name = "NAME", value_parser = outcome)]
    pub outcome: Vec<Outcome>,

    #[command(flatten)]
    pub keys: Keys,

    #[command(flatten)]
    pub conduct: Conduct,

    #[command(flatten)]
    pub front_end: FrontEnd,

    /// Only show what would be sent
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Do not ask the providers about the keys first
    #[arg(long)]
    pub no_check: bool,
}

/// Items named in the preview.
const NAMED: usize = 10;

fn outcome(name: &str) -> Result<Outcome, String> {
    Outcome::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
        format!("one of: {}", names.join(", "))
    })
}

pub(super) async fn run(args: ReplayArgs) -> Result<u8, Failure> {
    let dir = RunDir::new(&args.run_dir);
    let filter = ReplayFilter { ids: args.id.clone(), outcomes: args.outcome.clone(), ..ReplayFilter::default() };
    if !preview(&args, &filter)? {
        return Ok(super::DONE);
    }
    let mut config = args.keys.load()?;
    args.conduct.apply(&mut config)?;
    let dashboard = dashboard(&args.front_end, &config.dashboard)?;
    let pins = Store::pins_of(&dir)?;
    let (mut store, mut opened) = Store::open(&dir, &pins)?;
    if !opened.ingested.complete {
        return Err(Failure::usage(format!(
            "the input of {} was not read to its end ({} so far): the same `cascadeck run {}` command as before \
             reads on and finishes it; replay what failed then",
            args.run_dir.display(),
            counted(opened.ingested.rows, "row"),
            pins.input,
        )));
    }
    let _log = telemetry::init(&dir.log(), LevelFilter::INFO, dashboard.is_some())?;
    let clock = Clock::real();
    let checked_keys = if args.no_check { Vec::new() } else { sort_out_keys(&config, &clock).await? };
    // Only now: where no key is good, the record stays as it was.
    let existing = pins.existing.as_deref().and_then(Existing::from_name).unwrap_or_default();
    engine::complete_captions(&dir, &opened, existing).await?;
    let queued = store.requeue(&filter)?;
    opened.totals = store.totals()?;
    let wait = if queued.len() == 1 { "waits" } else { "wait" };
    say(&format!("{} {wait} again", counted(queued.len() as u64, "item")));
    let setup = Setup {
        run: dir.name(),
        config,
        clock,
        existing,
        unattended: dashboard.is_none(),
        seed: fastrand::u64(..),
        ledger: super::options::ledger(&clock),
        flags: args.conduct.said(),
        passing: true,
        checked_keys,
    };
    let running = engine::start(setup, &dir, store, opened, None)?;
    conduct(running, args.front_end.json, dashboard).await
}

/// Shows what would be sent; true where it shall be.
fn preview(args: &ReplayArgs, filter: &ReplayFilter) -> Result<bool, Failure> {
    let (rows, matching) = report::failed(&args.run_dir, filter, usize::MAX)?;
    if matching == 0 {
        say("no failed item matches: nothing to replay");
        return Ok(false);
    }
    let mut by_outcome: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &rows {
        *by_outcome.entry(row.outcome.map_or("?", Outcome::name)).or_default() += 1;
    }
    say(&format!("{} will be sent again:", counted(matching, "failed item")));
    for (outcome, count) in by_outcome {
        say(&format!("  {count:>6}  {outcome}"));
    }
    for row in rows.iter().take(NAMED) {
        say(&format!("  #{}  {}", row.id, row.words));
    }
    if matching > NAMED as u64 {
        say(&format!("  … and {} more", matching - NAMED as u64));
    }
    let unfinished = report::summary(&args.run_dir)?.waiting;
    if unfinished > 0 {
        say(&format!("and the run goes on with {} not finished yet", counted(unfinished, "item")));
    }
    if args.dry_run {
        return Ok(false);
    }
    if args.yes || !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    say("Send them? [y/N]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}
