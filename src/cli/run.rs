//! `cascadeck run`: starts or resumes a batch.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use tracing::level_filters::LevelFilter;

use super::{
    CliError,
    check::check_keys,
    cleanup_guard::CleanupGuard,
    ingest,
    options::{FrontEndArgs, KeysArgs, PolicyArgs, default_run_dir},
    print_stderr,
    supervise::{StartedRun, claim_captions, dashboard_options, supervise},
};
use crate::{
    clock::Clock,
    config::{self, Config, KnownModels},
    domain::{UnknownModelPolicy, rule},
    engine::{self, EngineSetup},
    input::{
        CaptionOptions, DEFAULT_CAPTION_PROMPT, Input, InputKind, InputOptions, InputSummary, LineFormat, ModelCheck,
        UnknownModels,
    },
    output::ExistingCaptionPolicy,
    store::{OpenedRun, PinnedSettings, REPLACED_ANSWERS_STATE, RunDir, Store, report},
    telemetry,
};

/// Start or resume a batch
///
/// INPUT is a JSONL, CSV or text file, OpenAI, Anthropic or Gemini batch lines, a directory, glob or list of pictures,
/// or - for standard input. The same command resumes a run, however it was stopped.
///
/// Quote a glob so that the shell does not expand it. * and ? match characters within a name, ** matches any folders,
/// [abc] and [a-z] match one of these characters, [!abc] any other; {a,b} is not supported.
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
}

/// The options that describe a batch, for a run and for its plan.
#[derive(Args, Clone, Debug)]
pub(super) struct BatchArgs {
    /// The batch
    #[arg(value_name = "INPUT")]
    pub input: String,

    #[command(flatten)]
    pub keys_args: KeysArgs,

    /// Directory of the run; default: runs/<input name>
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,

    #[command(flatten)]
    pub prompt_args: PromptArgs,

    #[command(flatten)]
    pub policy_args: PolicyArgs,
}

fn prompt_help() -> String {
    format!(
        "Prompt template with the fields of a row or a picture: '{{{{ question }}}}', '{{{{ name }}}}'.\n\
         Default: the row's own prompt; for pictures:\n{DEFAULT_CAPTION_PROMPT}"
    )
}

/// Options for the prompt and the captions.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct PromptArgs {
    /// Prompt template with the fields of a row or a picture: '{{ question }}', '{{ name }}'
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file", long_help = prompt_help())]
    pub prompt: Option<String>,

    /// Read the prompt template from a file
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,

    /// System prompt for rows that don't have their own
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,

    /// Maximum number of output tokens in an answer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_output_tokens: Option<u32>,

    /// Use only the first N rows, for a test
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// INPUT is a list of pictures, one on each line; blank lines and lines that begin with # are ignored
    #[arg(long, conflicts_with = "lines")]
    pub list: bool,

    /// INPUT is plain text: every line is a prompt
    #[arg(long)]
    pub lines: bool,

    /// Write captions under DIR instead of beside the pictures
    #[arg(long, value_name = "DIR")]
    pub captions: Option<PathBuf>,

    /// What to do with pictures that have a caption
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    pub existing: ExistingCaptionPolicy,

    /// Name captions a.jpg.txt instead of a.txt
    #[arg(long)]
    pub full_caption_names: bool,
}

impl PromptArgs {
    pub fn input_options(&self, config: &Config) -> Result<InputOptions, CliError> {
        let prompt = match &self.prompt_file {
            Some(path) => Some(read_prompt_file(path, config)?),
            None => self.prompt.clone(),
        };
        let mut default_params = config.defaults.params.clone();
        default_params.max_output_tokens = self.max_output_tokens.or(default_params.max_output_tokens);
        Ok(InputOptions {
            prompt,
            system: self.system.clone().or_else(|| config.defaults.system.clone()),
            max_rows: self.limit,
            default_params,
            captions: Some(CaptionOptions {
                dir: self.captions.clone(),
                existing: self.existing,
                keeps_extension: self.full_caption_names,
            }),
            default_caption_prompt: None,
            kept_fields: rule::referenced_fields(&config.policy.rules),
            line_format: match (self.list, self.lines) {
                (true, _) => LineFormat::Pictures,
                (false, true) => LineFormat::Prompts,
                (false, false) => LineFormat::Detect,
            },
            recorded_line_format: LineFormat::Detect,
            max_pipe_bytes: Some(config.input_limits.max_pipe_bytes),
            legacy_rows: false,
            allows_extra_pictures: false,
            model_check: Some(model_check(config)),
        })
    }

    fn pinned_settings(
        &self,
        input: &Input,
        argument: &str,
        options: &InputOptions,
        fingerprint: &str,
    ) -> PinnedSettings {
        PinnedSettings {
            input: Input::normalize_argument(argument),
            input_path: Path::new(argument).canonicalize().ok().map(|path| path.display().to_string()),
            kind: input.kind().name().to_owned(),
            fingerprint: self.limited_fingerprint(fingerprint),
            prompt: options.prompt.clone(),
            system: options.system.clone(),
            params: serde_json::to_string(&options.default_params).unwrap_or_default(),
            captions: input.kind().is_pictures().then(|| {
                let dir = self.captions.as_ref().map(|dir| Input::normalize_argument(&dir.display().to_string()));
                let dir = dir.unwrap_or_else(|| "beside the pictures".to_owned());
                format!("{dir}, existing: {}, full names: {}", self.existing.name(), self.full_caption_names)
            }),
            existing_captions: input.kind().is_pictures().then(|| self.existing.name()),
            strict_rows: !options.legacy_rows,
            refuses_extra_pictures: !options.allows_extra_pictures,
        }
    }

    /// Fingerprint of the rows that are used: that of the whole input, and the limit if there is one.
    pub fn limited_fingerprint(&self, fingerprint: &str) -> String {
        let limit = self.limit.map(|limit| format!(" first {limit}")).unwrap_or_default();
        format!("{fingerprint}{limit}")
    }
}

/// Reads the prompt template from a file.
fn read_prompt_file(path: &Path, config: &Config) -> Result<String, CliError> {
    let read = File::open(path).and_then(|file| config::read_at_most(file, config.input_limits.max_prompt_file_bytes));
    let text = read.and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
    });
    text.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::FileTooLarge => " (max_prompt_file_mib under [input] in keys.toml raises the limit)",
            _ => "",
        };
        CliError::usage(format!("--prompt-file {} can't be read: {error}{advice}", path.display()))
    })
}

pub(super) async fn run(args: RunArgs) -> Result<u8, CliError> {
    let config = args.batch.keys_args.load()?;
    run_batch(&args, config, Clock::real()).await
}

/// The settings recorded in the run directory; `None` if there is no run or they can't be read. In the second case,
/// opening the run reports the error.
pub(super) fn read_pins(dir: &RunDir) -> Option<PinnedSettings> {
    if dir.has_run() { Store::settings_of(dir).ok() } else { None }
}

/// Makes a resumed run read its rows as it did when it began.
pub(super) fn read_rows_as_pinned(options: &mut InputOptions, pins: &PinnedSettings, argument: &str) {
    options.legacy_rows = !pins.strict_rows;
    options.allows_extra_pictures = !pins.refuses_extra_pictures;
    if pins.input == Input::normalize_argument(argument) {
        options.recorded_line_format = match pins.kind.as_str() {
            kind if kind == InputKind::Text.name() => LineFormat::Prompts,
            kind if kind == InputKind::Pictures.name() => LineFormat::Pictures,
            _ => LineFormat::Detect,
        };
    }
}

fn model_check(config: &Config) -> ModelCheck {
    let known = KnownModels::from_config(config);
    ModelCheck {
        usable: known.usable(),
        error_message: Arc::new(move |name| known.unknown_model_message(name)),
        on_unknown: config.unknown_model,
    }
}

/// Warns of rows that name unknown models but are accepted, because their batch format requires a model or because the
/// run already has them.
pub(super) fn warn_of_unknown_models(summary: &InputSummary, config: &Config) {
    let UnknownModels { rows, names, first_line } = &summary.unknown_models;
    if *rows > 0 && config.unknown_model != Some(UnknownModelPolicy::UseAnyModel) {
        print_stderr(&format!(
            "warning: {}",
            KnownModels::from_config(config).unknown_models_warning(*rows, names, *first_line)
        ));
    }
}

/// Reports waiting items that are not among the rows, before anything is sent. With a limit, they are not sent.
fn find_other_waiting(store: &Store, input: &Input, opened: &mut OpenedRun, has_limit: bool) -> Result<(), CliError> {
    if opened.totals.waiting == 0 {
        return Ok(());
    }
    let others = ingest::OtherWaiting::find(store, input)?;
    if others.count > 0 {
        print_stderr(&others.message(has_limit));
    }
    opened.items_to_send = has_limit.then_some(others.row_seqs);
    Ok(())
}

/// Reports an error if the input is pictures but no model accepts pictures, since every item would fail.
pub(super) fn refuse_without_vision(input: &Input, config: &Config) -> Result<(), CliError> {
    if !input.kind().is_pictures() || config.models.iter().any(|model| model.vision) {
        return Ok(());
    }
    let models: Vec<&str> = config.models.iter().map(|model| model.name.as_str()).collect();
    Err(CliError::usage(format!(
        "the input consists of pictures, but no model in {} accepts pictures: set vision = true in the [[model]] of one \
         that does ({})",
        config.origin,
        models.join(", ")
    )))
}

/// Runs a batch to its end. The demo passes a clock that is faster than real time.
pub(super) async fn run_batch(args: &RunArgs, mut config: Config, clock: Clock) -> Result<u8, CliError> {
    let path = args.batch.run_dir.clone().unwrap_or_else(|| default_run_dir(&Input::run_name_of(&args.batch.input)));
    let dir = RunDir::new(&path);
    let webhooks = std::mem::take(&mut config.webhooks);
    supervise(&dir.name(), args.front_end.json, webhooks, start(args, config, clock, &dir)).await
}

async fn start(args: &RunArgs, mut config: Config, clock: Clock, dir: &RunDir) -> Result<StartedRun, CliError> {
    args.batch.policy_args.apply(&mut config)?;
    let dashboard = dashboard_options(&args.front_end, &config.dashboard)?;
    let mut input_options = args.batch.prompt_args.input_options(&config)?;
    // Opening a pipe copies it to the run directory, so the directory must be locked before.
    let lock = if Input::is_stream(&args.batch.input) { Some(dir.create_and_lock()?) } else { None };
    let uncommitted_copy = Input::uncommitted_copy_path(&dir.spooled_input());
    let _cleanup = match lock {
        // If it can't be removed, the next pipe overwrites it.
        Some(_) => Some(CleanupGuard::new(move || drop(std::fs::remove_file(uncommitted_copy)))?),
        None => None,
    };
    let recorded_pins = read_pins(dir);
    if let Some(pins) = &recorded_pins {
        read_rows_as_pinned(&mut input_options, pins, &args.batch.input);
    }
    let mut input = Input::open(&args.batch.input, input_options.clone(), &dir.spooled_input())?;
    refuse_without_vision(&input, &config)?;
    if recorded_pins.is_some() && input.kind().is_pictures() {
        input.skip_caption_checks_if_ended(report::fully_ended_id_lookup(dir.path())?);
    }
    let mut summary = if recorded_pins.is_some() { input.validate_resumed()? } else { input.validate()? };
    let caption_claim = claim_captions(&clock, dir, std::mem::take(&mut summary.caption_files))?;
    let skipped = if summary.skipped > 0 { format!(", {} already captioned", summary.skipped) } else { String::new() };
    let rows = input.kind().format_count(summary.items);
    print_stderr(&format!("{}: {rows}{skipped}; run directory {}", args.batch.input, dir.path().display()));
    for warning in input.warnings() {
        print_stderr(&format!("warning: {warning}"));
    }

    let mut fingerprint = summary.fingerprint.clone();
    if summary.fingerprint_unstable {
        // A unique fingerprint makes the next start compare the pictures one by one.
        fingerprint = format!("{fingerprint} at {}", clock.now().wall.0);
    }
    let pins = args.batch.prompt_args.pinned_settings(&input, &args.batch.input, &input_options, &fingerprint);
    let (mut store, opened) = match lock {
        Some(lock) => Store::open_with_lock(dir, lock, &pins)?,
        None => Store::open(dir, &pins)?,
    };
    if !opened.input_changed {
        warn_of_unknown_models(&summary, &config);
        input.commit_copy()?;
    }
    let log_guard = telemetry::init(&dir.log(), LevelFilter::INFO, dashboard.is_some())?;
    let key_checks = if args.no_check { Vec::new() } else { check_keys(&config, &clock).await? };
    let mut opened = opened;
    if input.kind().is_pictures() {
        for message in engine::write_missing_captions(dir, &mut opened, args.batch.prompt_args.existing).await? {
            print_stderr(&message);
        }
    }
    let has_limit = args.batch.prompt_args.limit.is_some();
    let is_resumed = !opened.is_new;
    let rows = if opened.input_changed {
        // A file that is redirected to standard input counts as a pipe: it has no name to distinguish it from another
        // one.
        let is_stream = pins.input == "-" || Input::is_stream(&args.batch.input);
        let changes =
            ingest::reconcile(&mut store, &mut input, &pins.fingerprint, args.accept_changed, is_stream, has_limit)?;
        print_stderr(&changes.message());
        warn_of_unknown_models(&summary, &config);
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
        Some(ingest::spawn_reader(
            input,
            report::known_id_lookup(dir.path())?,
            report::picture_stamp_lookup(dir.path())?,
        )?)
    };
    let setup = EngineSetup {
        run_name: dir.name(),
        config,
        clock,
        existing_captions: args.batch.prompt_args.existing,
        is_unattended: dashboard.is_none(),
        seed: fastrand::u64(..),
        ledger_path: super::options::ledger_path(&clock),
        flags: args.batch.policy_args.stated_flags(),
        has_ephemeral_flags: false,
        key_checks,
    };
    let running = engine::start(setup, dir, store, opened, rows)?;
    Ok(StartedRun { running, dashboard, log_guard, caption_claim })
}
