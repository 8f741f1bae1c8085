//! A batch as the command line and the configuration describe it: its input, its prompt, and the settings that a run
//! records.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::{
    CliError,
    caption_args::{CaptionArgs, combine_prompts, read_examples},
    options::{KeysArgs, PolicyArgs},
    print::print_stderr,
};
use crate::{
    config::{self, Config, KnownModels},
    domain::{Api, LongestSide, UnknownModelPolicy, known_param, rule, sanitize},
    input::{
        self, CaptionOptions, DEFAULT_CAPTION_PROMPT, Input, InputKind, InputOptions, InputSummary, ItemCheck,
        LineFormat, ModelCheck, UnknownModels,
    },
    output::ExistingCaptionPolicy,
    provider::can_be_sent_to,
    store::{CheckedInput, PinnedSettings, RunDir, Store},
};

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

    /// How to treat pictures that have a caption
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    pub existing: ExistingCaptionPolicy,

    /// Name captions a.jpg.txt instead of a.txt
    #[arg(long)]
    pub full_caption_names: bool,

    #[command(flatten)]
    pub caption_args: CaptionArgs,

    /// Scale larger pictures to a longest side of N pixels. off: only to what the provider accepts. Default: 1568 for
    /// Anthropic's API, 2048 for the others
    #[arg(long, value_name = "N", value_parser = parse_longest_side)]
    pub max_side: Option<LongestSide>,

    /// Send EXIF with places, comments and the like along with pictures
    #[arg(long)]
    pub keep_metadata: bool,
}

fn parse_longest_side(text: &str) -> Result<LongestSide, String> {
    if text == "off" {
        return Ok(LongestSide::Unlimited);
    }
    let pixels = text.parse().ok().filter(|pixels| (16..=65_535).contains(pixels));
    pixels.map(LongestSide::Pixels).ok_or_else(|| "expected a number of pixels from 16 to 65535, or off".to_owned())
}

impl PromptArgs {
    /// Adds the checks of captions to the configuration, if the input is pictures.
    pub fn add_caption_checks(&self, input: &Input, config: &mut Config) {
        if input.kind().is_pictures() {
            config.checks = config.checks.with_caption_checks(&self.caption_args.rules(), &config.refusals);
        }
    }

    /// Applies the options for pictures to the configuration. They take precedence over the file.
    pub fn apply_to_pictures(&self, config: &mut Config) {
        config.pictures.longest_side = self.max_side.unwrap_or(config.pictures.longest_side);
        config.pictures.keeps_metadata |= self.keep_metadata;
    }

    /// The settings with which the input is read.
    ///
    /// # Errors
    /// If the prompt file can't be read.
    pub fn input_options(&self, config: &Config) -> Result<InputOptions, CliError> {
        let args = &self.caption_args;
        let prompt = match (&self.prompt_file, &args.prompts) {
            (Some(path), _) => Some(read_prompt_file("--prompt-file", path, config)?),
            (None, Some(path)) => {
                let prompts = combine_prompts(&read_prompt_file("--prompts", path, config)?);
                let prompts =
                    prompts.map_err(|error| CliError::usage(format!("--prompts {}: {error}", path.display())));
                Some(prompts?)
            }
            (None, None) => {
                self.caption_args.style.map(|style| style.prompt().to_owned()).or_else(|| self.prompt.clone())
            }
        };
        let prompt = prompt.map(|prompt| self.caption_args.with_trigger(&prompt));
        let mut default_params = config.defaults.params.clone();
        default_params.max_output_tokens = self.max_output_tokens.or(default_params.max_output_tokens);
        Ok(InputOptions {
            prompt,
            system: self.system.clone().or_else(|| config.defaults.system.clone()),
            max_rows: self.limit,
            default_params,
            examples: match &args.examples {
                Some(folder) => read_examples(folder, &args.caption_ext).map_err(CliError::usage)?,
                None => Vec::new(),
            },
            captions: Some(CaptionOptions {
                dir: self.captions.clone(),
                existing: self.existing,
                keeps_extension: self.full_caption_names,
                extension: Some(self.caption_args.caption_ext.clone()).filter(|extension| !extension.is_empty()),
            }),
            default_caption_prompt: Some(self.caption_args.with_trigger(DEFAULT_CAPTION_PROMPT)),
            kept_fields: rule::referenced_fields(&config.policy.rules),
            check_field: config.checks.row_field().map(str::to_owned),
            line_format: match (self.list, self.lines) {
                (true, _) => LineFormat::Pictures,
                (false, true) => LineFormat::Prompts,
                (false, false) => LineFormat::Detect,
            },
            recorded_line_format: LineFormat::Detect,
            max_pipe_bytes: Some(config.input_limits.max_pipe_bytes),
            legacy_rows: false,
            legacy_bodies: false,
            allows_extra_pictures: false,
            has_spend_cap: config.has_spend_cap(),
            model_check: Some(model_check(config)),
            row_model: config.row_model,
            item_check: Some(item_check(config)),
        })
    }

    /// The settings that the record of a run keeps.
    pub fn pinned_settings(
        &self,
        input: &Input,
        argument: &str,
        options: &InputOptions,
        fingerprint: &str,
        checked_input: Option<CheckedInput>,
    ) -> PinnedSettings {
        PinnedSettings {
            input: input::normalize_argument(argument),
            input_path: Path::new(argument).canonicalize().ok().map(|path| path.display().to_string()),
            kind: input.kind().name().to_owned(),
            fingerprint: self.limited_fingerprint(fingerprint),
            prompt: options.prompt.clone(),
            system: options.system.clone(),
            params: serde_json::to_string(&options.default_params).unwrap_or_default(),
            captions: input.kind().is_pictures().then(|| {
                let dir = self.captions.as_ref().map(|dir| input::normalize_argument(&dir.display().to_string()));
                let dir = dir.unwrap_or_else(|| "beside the pictures".to_owned());
                let extension = match self.caption_args.caption_ext.as_str() {
                    // As earlier versions recorded it.
                    "" | "txt" => String::new(),
                    other => format!(", extension: {other}"),
                };
                format!("{dir}, existing: {}, full names: {}{extension}", self.existing.name(), self.full_caption_names)
            }),
            caption_rules: input.kind().is_pictures().then(|| self.caption_args.rules()),
            existing_captions: input.kind().is_pictures().then(|| self.existing.name()),
            strict_rows: !options.legacy_rows,
            refuses_extra_pictures: !options.allows_extra_pictures,
            legacy_bodies: options.legacy_bodies,
            checked_input,
        }
    }

    /// Fingerprint of the rows that are used: that of the whole input, and the limit if there is one.
    pub fn limited_fingerprint(&self, fingerprint: &str) -> String {
        let limit = self.limit.map(|limit| format!(" first {limit}")).unwrap_or_default();
        format!("{fingerprint}{limit}")
    }
}

/// Reads the prompt template from a file.
fn read_prompt_file(option: &str, path: &Path, config: &Config) -> Result<String, CliError> {
    let read = File::open(path).and_then(|file| config::read_at_most(file, config.input_limits.max_prompt_file_bytes));
    let text = read.and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
    });
    text.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::FileTooLarge => " (max_prompt_file_mib under [input] in keys.toml raises the limit)",
            _ => "",
        };
        CliError::usage(format!("{option} {} can't be read: {error}{advice}", path.display()))
    })
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
    options.legacy_bodies = pins.legacy_bodies;
    if pins.input == input::normalize_argument(argument) {
        options.recorded_line_format = match pins.kind.as_str() {
            kind if kind == InputKind::Text.name() => LineFormat::Prompts,
            kind if kind == InputKind::Pictures.name() => LineFormat::Pictures,
            _ => LineFormat::Detect,
        };
    }
}

fn item_check(config: &Config) -> ItemCheck {
    let checks = config.checks.clone();
    ItemCheck(Arc::new(move |item| checks.validate_row(item)))
}

fn model_check(config: &Config) -> ModelCheck {
    let known = KnownModels::from_config(config);
    ModelCheck {
        usable: known.usable(),
        error_message: Arc::new(move |name, is_pinned| known.unknown_model_message(name, is_pinned)),
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

/// Warns of fields that have the names of request parameters but are not sent, once for each name.
pub(super) fn warn_of_unused_params(summary: &InputSummary) {
    for (name, line) in &summary.unused_params {
        print_stderr(&format!(
            "warning: `{}` (line {line}) is the name of a request parameter, but rows don't have it, so it is not sent; to \
             send it, write {}",
            sanitize(name),
            known_param::extra_body_example(name)
        ));
    }
}

/// Warns of pictures that can't be sent and of files that are left out, before anything is sent.
pub(super) fn warn_of_pictures(input: &Input, config: &Config) {
    let apis: Vec<Api> = config.models.iter().filter(|model| model.vision).map(|model| config.api_of(model)).collect();
    for warning in input.warnings(|picture_type| apis.iter().any(|api| can_be_sent_to(picture_type, *api))) {
        print_stderr(&format!("warning: {warning}"));
    }
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
