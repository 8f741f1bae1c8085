//! Reads inputs: turns files, folders and pipes into items.
//!
//! The format of an input is detected from its content. An input is checked in one pass before anything is sent, and
//! then streamed: rows are never all in memory. (For a glob or a list of pictures, all paths are.) This module owns the
//! readers, the templates, the ids and the hashes. It must not know keys, providers or the run's database. Of a
//! picture, only the header is read, except to compute its digest (`picture_stamp`).
//!
//! Reading goes in layers: `lines` (bytes to lines) → `json` / `csv` (lines to fields) → one file per format (fields to
//! a [`draft`]) → `item_reader` (a draft gets its id, hash and absolute paths).

mod anthropic_batch;
mod batch_line;
mod chat;
mod csv;
mod detect;
mod draft;
mod error;
mod gemini_batch;
mod ids;
mod image_reader;
mod image_ref;
mod image_source;
mod item_reader;
mod json;
mod lines;
mod natural_sort;
mod open;
mod openai_batch;
mod params;
mod picture_fields;
mod picture_names;
mod picture_stamp;
mod row;
mod sidecar;
mod spool;
mod template;

use std::{
    collections::BTreeSet,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use crate::domain::{ItemSpec, Params, UnknownModelPolicy, is_or_are, plural, pluralize};

pub use self::spool::SpoolDiff;
pub use self::{
    error::{InputError, MAX_REPORTED_ERRORS, ReportedError, RowError, RowErrors},
    image_reader::DEFAULT_CAPTION_PROMPT,
    image_source::is_picture,
    item_reader::{InputSummary, ItemReader, UnknownModels},
    picture_stamp::stamp_picture,
};
pub use crate::output::captions::ExistingCaptionPolicy;

use self::{
    draft::RowOptions,
    error::FieldError,
    image_reader::ImageReader,
    image_source::ImageSource,
    item_reader::{RowSource, SharedIdPredicate},
    lines::LineReader,
    spool::Spool,
};

/// Settings that apply to every row of an input.
#[derive(Clone, Debug, Default)]
pub struct InputOptions {
    /// Template over a row's fields, or over a picture's `name`, `stem`, `extension`, `directory`, `path`, `width` and
    /// `height`.
    pub prompt: Option<String>,
    /// System prompt for rows without their own; may be a template too.
    pub system: Option<String>,
    /// Reads at most this many rows or pictures from the start. Pictures that already have a caption count too.
    pub max_rows: Option<u64>,
    /// Parameters for rows that don't state their own.
    pub default_params: Params,
    /// Writes answers to files beside the pictures. `None`: answers go to the results only.
    pub captions: Option<CaptionOptions>,
    /// Prompt for pictures if `prompt` is not set. If this is not set either: [`DEFAULT_CAPTION_PROMPT`].
    pub default_caption_prompt: Option<String>,
    /// Fields of rows that are stored with their items, for routing rules.
    pub kept_fields: Vec<String>,
    /// How the lines of a text file are read.
    pub line_format: LineFormat,
    /// How they were read when the run began, which decides where they could be read in two ways.
    pub recorded_line_format: LineFormat,
    /// Maximum number of bytes read from a pipe; `None`: 4 GiB.
    pub max_pipe_bytes: Option<u64>,
    /// Reads rows as earlier versions did: `images` is the only picture field, and of two fields with the same name the
    /// last one counts. For runs that such a version started, since their items would otherwise change.
    pub legacy_rows: bool,
    /// Accepts rows that contain more pictures than those that are sent. For runs that began before these were refused.
    pub allows_extra_pictures: bool,
    /// Checks the models that rows name. `None`: any name is accepted.
    pub model_check: Option<ModelCheck>,
}

/// Returns a message that explains why a model with this name can't be used.
pub type ModelErrorFn = dyn Fn(&str) -> String + Send + Sync;

/// Checks the models that rows name.
#[derive(Clone)]
pub struct ModelCheck {
    /// The model names that rows may use.
    pub usable: Arc<BTreeSet<String>>,
    pub error_message: Arc<ModelErrorFn>,
    /// The treatment of rows that name an unknown model. `None`: such a row is refused, except in batch formats whose
    /// lines must name a model.
    pub on_unknown: Option<UnknownModelPolicy>,
}

impl ModelCheck {
    /// Returns the model that the item names if it can't be used.
    fn unknown_model<'i>(&self, item: &'i ItemSpec) -> Option<&'i str> {
        item.preferred_model.as_deref().filter(|model| !self.usable.contains(*model))
    }
}

impl fmt::Debug for ModelCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelCheck").field("unknown", &self.on_unknown).finish_non_exhaustive()
    }
}

/// How the lines of a text file are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LineFormat {
    /// Detected from the lines; the input is refused if both readings are possible.
    #[default]
    Detect,
    /// Each line names a picture.
    Pictures,
    /// Each line is a prompt.
    Prompts,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptionOptions {
    /// Captions go to this folder, in the same sub-folders as their pictures. `None` puts them beside the pictures.
    pub dir: Option<PathBuf>,
    pub existing: ExistingCaptionPolicy,
    /// `a.jpg.txt` instead of `a.txt`, so that `a.jpg` and `a.png` may be in the same folder.
    pub keeps_extension: bool,
}

/// The kind of an input: its format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InputKind {
    Jsonl,
    OpenAiBatch,
    AnthropicBatch,
    GeminiBatch,
    Csv,
    Text,
    Pictures,
}

impl InputKind {
    /// The plural for messages, as in "1,319 JSONL rows".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "JSONL rows",
            Self::OpenAiBatch => "OpenAI batch lines",
            Self::AnthropicBatch => "Anthropic batch lines",
            Self::GeminiBatch => "Gemini batch lines",
            Self::Csv => "CSV rows",
            Self::Text => "lines of text",
            Self::Pictures => "pictures",
        }
    }

    /// The noun for this number of rows: `JSONL row` for 1, `JSONL rows` for 1,319.
    pub fn noun(self, rows: u64) -> String {
        match self {
            Self::Text => format!("{} of text", plural(rows, "line")),
            kind => plural(rows, kind.name().trim_end_matches('s')),
        }
    }

    /// The number and its noun: `1 JSONL row`, `1319 JSONL rows`.
    pub fn format_count(self, rows: u64) -> String {
        format!("{rows} {}", self.noun(rows))
    }

    pub const fn is_pictures(self) -> bool {
        matches!(self, Self::Pictures)
    }

    /// True if each line is a complete request, so that a prompt template can't be used.
    const fn is_batch(self) -> bool {
        matches!(self, Self::OpenAiBatch | Self::AnthropicBatch | Self::GeminiBatch)
    }

    /// True if each line must name a model.
    const fn needs_model(self) -> bool {
        matches!(self, Self::OpenAiBatch | Self::AnthropicBatch)
    }

    /// The field in which a row names its model.
    const fn model_field(self) -> &'static str {
        match self {
            Self::OpenAiBatch => "body.model",
            Self::AnthropicBatch => "params.model",
            Self::GeminiBatch => "request.model",
            Self::Jsonl | Self::Csv | Self::Text | Self::Pictures => "model",
        }
    }
}

impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An input that was found and whose format is known, with its templates compiled.
pub struct Input {
    kind: InputKind,
    /// The name used in messages.
    display_name: Arc<str>,
    /// The name of the run directory.
    run_name: String,
    source: InputSource,
    row_options: Arc<RowOptions>,
    /// The copy of the rows if the input is a pipe, since a pipe can be read only once.
    spool: Option<Spool>,
    /// Returns true if the item with this id has ended in the run and its caption will not be written again.
    has_ended: Option<SharedIdPredicate>,
}

enum InputSource {
    Lines(PathBuf),
    Csv { path: PathBuf, delimiter: u8 },
    Pictures(ImageSource),
}

impl Input {
    pub const fn kind(&self) -> InputKind {
        self.kind
    }

    /// The name for `runs/<name>`: not empty, and safe as a folder name.
    pub fn run_name(&self) -> &str {
        &self.run_name
    }

    /// Reads the whole input before anything is sent, and reports all bad rows together.
    ///
    /// # Errors
    /// All bad rows.
    pub fn validate(&self) -> Result<InputSummary, RowErrors> {
        self.items().check_with(|item| self.unknown_model_error(item))
    }

    /// Like [`Self::validate`], but for a run that already has rows of this input: rows that name unknown models are
    /// only counted.
    ///
    /// # Errors
    /// All bad rows.
    pub fn validate_resumed(&self) -> Result<InputSummary, RowErrors> {
        self.items().check()
    }

    /// Warnings about pictures that can't be read or sent, one sentence each. Reads the list of pictures once more.
    pub fn warnings(&self) -> Vec<String> {
        let InputSource::Pictures(source) = &self.source else { return Vec::new() };
        let (mut excluded, mut unsendable) = (Vec::new(), Vec::new());
        for batch in source.batches() {
            excluded.extend(batch.excluded);
            unsendable.extend(batch.unsendable);
        }
        let mut warnings = Vec::new();
        if !excluded.is_empty() {
            let count = excluded.len() as u64;
            let (files, folders) = (pluralize(count, "file"), plural(count, "folder"));
            let places = open::list_places(&self.display_name, &excluded);
            warnings.push(format!("{files} or {folders} can't be used and {} left out:{places}", is_or_are(count)));
        }
        if !unsendable.is_empty() {
            let count = unsendable.len() as u64;
            let (lines, verb) = (pluralize(count, "line"), if count == 1 { "does" } else { "do" });
            let (label, places) = (&self.display_name, open::list_places(&self.display_name, &unsendable));
            warnings
                .push(format!("{lines} of {label} {verb} not name a picture that can be sent, and will fail:{places}"));
        }
        warnings
    }

    /// Returns an error if the item must be refused because its row names an unknown model.
    pub fn unknown_model_error(&self, item: &ItemSpec) -> Option<RowError> {
        let check = self.row_options.model_check.as_ref()?;
        let default_policy =
            if self.kind.needs_model() { UnknownModelPolicy::UseAnyModel } else { UnknownModelPolicy::Refuse };
        if check.on_unknown.unwrap_or(default_policy) == UnknownModelPolicy::UseAnyModel {
            return None;
        }
        let message = (check.error_message)(check.unknown_model(item)?);
        Some(RowError::new(&self.display_name, item.line, &FieldError::new(self.kind.model_field(), message)))
    }

    /// Returns an error if the item's caption can't be written. For items that have ended and are asked anew, whose
    /// captions the validation does not check.
    pub fn caption_error(&self, item: &ItemSpec) -> Option<RowError> {
        let captions = self.row_options.captions.as_ref().filter(|_| item.caption_path.is_some())?;
        let error = captions.check(&self.row_options.base_dir, &item.id).err()?;
        Some(RowError::new(&self.display_name, item.line, &error))
    }

    /// For a resumed run: skips the check of the caption file for pictures whose items have ended, since no caption is
    /// written for them.
    pub fn skip_caption_checks_if_ended(&mut self, has_ended: impl Fn(&str) -> bool + Send + 'static) {
        self.has_ended = Some(Arc::new(Mutex::new(Box::new(has_ended))));
    }

    /// Streams the items. Every call gives the same ids and hashes in the same order.
    pub fn items(&self) -> ItemReader {
        let rows = match &self.source {
            InputSource::Lines(path) => LineReader::open(path).map(|lines| RowSource::Lines(self.kind, lines)),
            InputSource::Csv { path, delimiter } => {
                csv::CsvReader::open(path, *delimiter).map(|records| RowSource::Csv(Box::new(records)))
            }
            InputSource::Pictures(source) => Ok(RowSource::Pictures(Box::new(ImageReader::open(source)))),
        };
        let rows = rows.unwrap_or_else(RowSource::OpenFailed);
        ItemReader::new(Arc::clone(&self.display_name), Arc::clone(&self.row_options), rows, self.has_ended.clone())
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("kind", &self.kind).field("label", &self.display_name).finish_non_exhaustive()
    }
}

/// Checks at compile time that an input can be streamed on its own thread while other threads read its properties.
const _: () = {
    const fn is_send<T: Send + 'static>() {}
    const fn is_sync<T: Sync>() {}
    is_send::<ItemReader>();
    is_send::<Input>();
    is_sync::<Input>();
};
