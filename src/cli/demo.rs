//! `cascadeck demo`: runs a bundled batch with the simulated provider, without key or network.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    CliError,
    batch::{BatchArgs, PromptArgs},
    options::{FrontEndArgs, KeysArgs, PolicyArgs},
    print::print_stderr,
    run::{self, RunArgs},
};
use crate::{
    clock::Clock,
    config,
    sim::{Profile, Simulator},
    store::{RunDir, Store},
};

/// Run a bundled batch against a simulated provider; needs no key and no network
#[derive(Args, Clone, Debug)]
pub(super) struct DemoArgs {
    /// How many times faster than real time the demo's clock runs
    #[arg(long, value_name = "N", default_value_t = 30.0, value_parser = parse_speed)]
    pub speed: f64,

    /// Keep the demo's run in DIR (new, empty or from an earlier demo) instead of a temporary directory
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,

    #[command(flatten)]
    pub front_end: FrontEndArgs,
}

/// The bundled batch.
const DEMO_BATCH: &str = include_str!("../../assets/demo.jsonl");
/// The file names of the batch and of the simulated provider's keys.
const BATCH_FILE: &str = "demo.jsonl";
const KEYS_FILE: &str = "keys.toml";
/// Name of the run's directory beside the batch, also shown on the screen.
const RUN_NAME: &str = "demo";

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse::<f64>().ok().filter(|speed| (0.1..=1_000.0).contains(speed));
    speed.ok_or_else(|| "expected a number from 0.1 to 1000".to_owned())
}

pub(super) async fn run(args: DemoArgs) -> Result<u8, CliError> {
    let clock = Clock::with_speed(args.speed);
    let profile = Profile::named("free-tier").ok_or_else(|| CliError::internal("the free-tier profile is missing"))?;
    let keys_profile = profile.clone();
    let simulator = Simulator::start(profile, clock)
        .await
        .map_err(|error| CliError::internal(format!("the simulated provider can't listen on 127.0.0.1: {error}")))?;

    let temp_dir = std::env::temp_dir().join(format!("cascadeck-demo-{}", std::process::id()));
    let demo_dir = match &args.run_dir {
        Some(dir) => std::path::absolute(dir)
            .map_err(|error| CliError::usage(format!("--run-dir {} can't be used: {error}", dir.display())))?,
        None => temp_dir.clone(),
    };
    let keys_toml = keys_profile.keys_toml(simulator.addr());
    refuse_foreign_files(&demo_dir, &keys_toml)?;
    write_files(&demo_dir, &keys_toml).map_err(|error| {
        CliError::internal(format!("can't write the demo's files to {}: {error}", demo_dir.display()))
    })?;
    print_stderr("demo: using a simulated provider with the limits of a free tier; nothing leaves this machine");

    let run_args = RunArgs {
        batch: BatchArgs {
            input: demo_dir.join(BATCH_FILE).display().to_string(),
            keys_args: KeysArgs::default(),
            run_dir: Some(demo_dir.join(RUN_NAME)),
            prompt_args: PromptArgs::default(),
            policy_args: PolicyArgs::default(),
        },
        front_end: args.front_end,
        // One key is disabled. The demo shows how the run finds it.
        no_check: true,
        is_temporary: args.run_dir.is_none(),
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
fn refuse_foreign_files(demo_dir: &Path, keys_toml: &str) -> Result<(), CliError> {
    let foreign = foreign_file(demo_dir, keys_toml).map_err(|error| {
        CliError::usage(format!("--run-dir {} can't be used for the demo: {error}", demo_dir.display()))
    })?;
    if let Some(file) = foreign {
        return Err(CliError::usage(format!(
            "--run-dir {} contains {}, which is not part of a demo: use a folder that is new, empty or from an earlier \
             demo; nothing was changed",
            demo_dir.display(),
            file.display()
        )));
    }
    let run_dir = demo_dir.join(RUN_NAME);
    if run_dir.exists() {
        // Fails if an earlier demo is still running.
        RunDir::new(run_dir).create_and_lock()?;
    }
    Ok(())
}

/// The first file of the folder that no demo has written as it is. A run is a demo's if it was made from the demo's own
/// batch in this folder, and that batch and the demo's keys are still beside it.
fn foreign_file(demo_dir: &Path, keys_toml: &str) -> io::Result<Option<PathBuf>> {
    let run = RunDir::new(demo_dir.join(RUN_NAME));
    let run_files = run.files();
    let has_demo_files = demo_dir.join(BATCH_FILE).exists() && demo_dir.join(KEYS_FILE).exists();
    let mut entries = list_entries(demo_dir)?;
    // The run last: the files beside it are known to be the demo's then.
    entries.sort_by_key(|file| file == run.path());
    for file in entries {
        let is_file = fs::symlink_metadata(&file)?.is_file();
        let is_demo_file = match file.file_name().and_then(OsStr::to_str) {
            Some(BATCH_FILE) => is_file && fs::read(&file)? == DEMO_BATCH.as_bytes(),
            Some(KEYS_FILE) => is_file && is_demo_keys(&fs::read(&file)?, keys_toml),
            Some(RUN_NAME) if fs::symlink_metadata(&file)?.is_dir() => {
                let files = list_entries(&file)?;
                for file in &files {
                    if !run_files.contains(file) || !fs::symlink_metadata(file)?.is_file() {
                        return Ok(Some(file.clone()));
                    }
                }
                files.is_empty() || (has_demo_files && is_demo_run(&run, &demo_dir.join(BATCH_FILE)))
            }
            _ => false,
        };
        if !is_demo_file {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// True if the run was made from the demo's batch as a demo makes it. False if the run can't be read.
fn is_demo_run(run: &RunDir, batch: &Path) -> bool {
    let Ok(settings) = Store::settings_of(run) else { return false };
    let input = settings.input_path.map(PathBuf::from);
    input.is_some() && input == batch.canonicalize().ok() && settings.prompt.is_none() && settings.system.is_none()
}

/// Returns the paths in a folder, sorted; none if the folder doesn't exist.
fn list_entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries: Vec<PathBuf> = read.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    Ok(entries)
}

/// True if a file is the keys.toml of a demo. Only the address of the simulated provider may differ from `keys_toml`.
fn is_demo_keys(text: &[u8], keys_toml: &str) -> bool {
    let without_address = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("base_url = ")).map(str::to_owned).collect()
    };
    std::str::from_utf8(text).is_ok_and(|text| without_address(text) == without_address(keys_toml))
}

/// Writes the bundled batch and the simulated provider's keys to the folder, and removes an earlier demo's run.
fn write_files(demo_dir: &Path, keys_toml: &str) -> io::Result<()> {
    let run_dir = demo_dir.join(RUN_NAME);
    if run_dir.exists() {
        fs::remove_dir_all(&run_dir)?;
    }
    fs::create_dir_all(demo_dir)?;
    fs::write(demo_dir.join(BATCH_FILE), DEMO_BATCH)?;
    fs::write(demo_dir.join(KEYS_FILE), keys_toml)
}
