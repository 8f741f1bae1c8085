//! `cascadeck demo`: runs a bundled batch with the simulated provider, without key or network.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    CliError,
    options::{FrontEndArgs, PolicyArgs},
    print_stderr,
    run::{self, BatchArgs, PromptArgs, RunArgs},
};
use crate::{
    clock::Clock,
    config,
    sim::{Profile, Simulator},
    store::{RunDir, Store},
};

/// Show the program at work on a bundled batch, with a simulated provider: no key, no network
#[derive(Args, Clone, Debug)]
pub(super) struct DemoArgs {
    /// How many times faster than real time the demo's minutes and days pass
    #[arg(long, value_name = "N", default_value_t = 30.0, value_parser = parse_speed)]
    pub speed: f64,

    /// Keep the demo's run in DIR (emptied first) instead of a temporary directory
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,

    #[command(flatten)]
    pub front_end: FrontEndArgs,
}

/// The bundled batch.
const DEMO_BATCH: &str = include_str!("../../assets/demo.jsonl");
/// Its file, and that of the simulated provider's keys.
const BATCH_FILE: &str = "demo.jsonl";
const KEYS_FILE: &str = "keys.toml";
/// Name of the run's directory beside the batch, also shown on the screen.
const RUN_NAME: &str = "demo";

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse::<f64>().ok().filter(|speed| (0.1..=1_000.0).contains(speed));
    speed.ok_or_else(|| "a number from 0.1 to 1000".to_owned())
}

pub(super) async fn run(args: DemoArgs) -> Result<u8, CliError> {
    let clock = Clock::with_speed(args.speed);
    let profile = Profile::named("free-tier").ok_or_else(|| CliError::internal("the free-tier profile is missing"))?;
    let keys = profile.clone();
    let simulator = Simulator::start(profile, clock)
        .await
        .map_err(|error| CliError::internal(format!("the simulated provider can't listen on 127.0.0.1: {error}")))?;

    let temp_dir = std::env::temp_dir().join(format!("cascadeck-demo-{}", std::process::id()));
    let demo_dir = match &args.run_dir {
        Some(dir) => std::path::absolute(dir)
            .map_err(|error| CliError::usage(format!("--run-dir {} can't be used: {error}", dir.display())))?,
        None => temp_dir.clone(),
    };
    let keys = keys.keys_toml(simulator.addr());
    refuse_foreign_files(&demo_dir, &keys)?;
    write_files(&demo_dir, &keys).map_err(|error| {
        CliError::internal(format!("the demo's files can't be written to {}: {error}", demo_dir.display()))
    })?;
    print_stderr("demo: a simulated provider on this machine, with a free tier's limits; nothing leaves it");

    let run_args = RunArgs {
        batch: BatchArgs {
            input: demo_dir.join(BATCH_FILE).display().to_string(),
            keys_args: super::options::KeysArgs { keys: None },
            run_dir: Some(demo_dir.join(RUN_NAME)),
            prompt_args: PromptArgs::default(),
            policy_args: PolicyArgs::default(),
        },
        front_end: args.front_end,
        // The run itself is to find the disabled key, while the operator watches.
        no_check: true,
        accept_changed: false,
    };
    let config = config::load(Some(&demo_dir.join(KEYS_FILE)), &|_| None, &demo_dir)?;
    let status = run::run_batch(&run_args, config, clock).await;
    if args.run_dir.is_none() {
        // If it can't be removed, the system cleans up temporary files.
        let _ = fs::remove_dir_all(&temp_dir);
    } else {
        print_stderr(&format!("the demo's run is in {}", demo_dir.join(RUN_NAME).display()));
    }
    status
}

/// Refuses a folder with files that no demo has written, or with a demo that is still under way.
fn refuse_foreign_files(home: &Path, keys: &str) -> Result<(), CliError> {
    let foreign = foreign_file(home, keys).map_err(|error| {
        CliError::usage(format!("--run-dir {} can't be used for the demo: {error}", home.display()))
    })?;
    if let Some(file) = foreign {
        return Err(CliError::usage(format!(
            "--run-dir {} holds {}, which is not the demo's: give a folder that is new, empty or an earlier demo's; \
             nothing was touched",
            home.display(),
            file.display()
        )));
    }
    let run = home.join(RUN_NAME);
    if run.exists() {
        // A demo that is still under way keeps its files.
        RunDir::new(run).create_and_lock()?;
    }
    Ok(())
}

/// The first file of the folder that no demo has written as it is. A run is a demo's if it was made from the demo's own
/// batch in this folder, and that batch and the demo's keys are still beside it.
fn foreign_file(home: &Path, keys: &str) -> io::Result<Option<PathBuf>> {
    let run = RunDir::new(home.join(RUN_NAME));
    let of_run = run.files();
    let has_demo_files = home.join(BATCH_FILE).exists() && home.join(KEYS_FILE).exists();
    let mut found = entries(home)?;
    // The run last: the files beside it are known to be the demo's then.
    found.sort_by_key(|file| file == run.path());
    for file in found {
        let is_file = fs::symlink_metadata(&file)?.is_file();
        let is_own = match file.file_name().and_then(OsStr::to_str) {
            Some(BATCH_FILE) => is_file && fs::read(&file)? == DEMO_BATCH.as_bytes(),
            Some(KEYS_FILE) => is_file && is_demo_keys(&fs::read(&file)?, keys),
            Some(RUN_NAME) if fs::symlink_metadata(&file)?.is_dir() => {
                let files = entries(&file)?;
                for file in &files {
                    if !of_run.contains(file) || !fs::symlink_metadata(file)?.is_file() {
                        return Ok(Some(file.clone()));
                    }
                }
                files.is_empty() || (has_demo_files && is_demo_run(&run, &home.join(BATCH_FILE)))
            }
            _ => false,
        };
        if !is_own {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Whether the run was made from the demo's batch as a demo makes it. A run that can't be read is nobody's.
fn is_demo_run(run: &RunDir, batch: &Path) -> bool {
    let Ok(settings) = Store::settings_of(run) else { return false };
    let input = settings.input_path.map(PathBuf::from);
    input.is_some() && input == batch.canonicalize().ok() && settings.prompt.is_none() && settings.system.is_none()
}

/// What is in a folder, by name; nothing where there is no folder.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries: Vec<PathBuf> = read.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    Ok(entries)
}

/// The keys of another demo differ by the address at which its simulated provider listened.
fn is_demo_keys(text: &[u8], keys: &str) -> bool {
    let without_address = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("base_url = ")).map(str::to_owned).collect()
    };
    std::str::from_utf8(text).is_ok_and(|text| without_address(text) == without_address(keys))
}

/// A fresh folder with the bundled batch and the simulated provider's keys.
fn write_files(demo_dir: &Path, keys: &str) -> io::Result<()> {
    let run = demo_dir.join(RUN_NAME);
    if run.exists() {
        fs::remove_dir_all(&run)?;
    }
    fs::create_dir_all(demo_dir)?;
    fs::write(demo_dir.join(BATCH_FILE), DEMO_BATCH)?;
    fs::write(demo_dir.join(KEYS_FILE), keys)
}
