//! `cascadeck demo`: the whole program over a bundled batch and the simulated provider, without key or network.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    Failure,
    options::{Conduct, FrontEnd},
    run::{self, Asking, Job, RunArgs},
    say,
};
use crate::{
    clock::Clock,
    config,
    sim::{Profile, Simulator},
};

/// Show the program at work on a bundled batch, with a simulated provider: no key, no network
#[derive(Args, Clone, Debug)]
pub(super) struct DemoArgs {
    /// How many times faster than real time the demo's minutes and days pass
    #[arg(long, value_name = "N", default_value_t = 30.0, value_parser = speed)]
    pub speed: f64,

    /// Keep the demo's run in DIR (emptied first) instead of a temporary place
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,

    #[command(flatten)]
    pub front_end: FrontEnd,
}

/// The bundled batch.
const BATCH: &str = include_str!("../../assets/demo.jsonl");
/// The run's directory beside it, and so its name on the screen.
const RUN: &str = "demo";

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse::<f64>().ok().filter(|speed| (0.1..=1_000.0).contains(speed));
    speed.ok_or_else(|| "a number from 0.1 to 1000".to_owned())
}

pub(super) async fn run(args: DemoArgs) -> Result<u8, Failure> {
    let clock = Clock::sped_up(args.speed);
    let profile = Profile::named("free-tier").ok_or_else(|| Failure::broken("the free-tier profile is missing"))?;
    let keys = profile.clone();
    let simulator = Simulator::start(profile, clock)
        .await
        .map_err(|error| Failure::broken(format!("the simulated provider can't listen on 127.0.0.1: {error}")))?;

    let temporary = std::env::temp_dir().join(format!("cascadeck-demo-{}", std::process::id()));
    let home = match &args.run_dir {
        Some(dir) => std::path::absolute(dir)
            .map_err(|error| Failure::usage(format!("--run-dir {} can't be used: {error}", dir.display())))?,
        None => temporary.clone(),
    };
    lay_out(&home, &keys.keys_toml(simulator.addr())).map_err(|error| {
        Failure::broken(format!("the demo's files can't be written to {}: {error}", home.display()))
    })?;
    say("demo: a simulated provider on this machine, with a free tier's limits; nothing leaves it");

    let run_args = RunArgs {
        job: Job {
            input: home.join("demo.jsonl").display().to_string(),
            keys: super::options::Keys { keys: None },
            run_dir: Some(home.join(RUN)),
            asking: Asking::default(),
            conduct: Conduct::default(),
        },
        front_end: args.front_end,
        // The dead key shall be found by the run, before the operator's eyes.
        no_check: true,
        accept_changed: false,
    };
    let config = config::load(Some(&home.join("keys.toml")), &|_| None, &home)?;
    let status = run::batch(&run_args, config, clock).await;
    if args.run_dir.is_none() {
        // A temporary place that can't be removed is the system's to clean.
        let _ = fs::remove_dir_all(&temporary);
    } else {
        say(&format!("the demo's run is in {}", home.join(RUN).display()));
    }
    status
}

/// A fresh folder with the bundled batch and the simulated provider's keys.
fn lay_out(home: &Path, keys: &str) -> std::io::Result<()> {
    let run = home.join(RUN);
    if run.exists() {
        fs::remove_dir_all(&run)?;
    }
    fs::create_dir_all(home)?;
    fs::write(home.join("demo.jsonl"), BATCH)?;
    fs::write(home.join("keys.toml"), keys)
}
