//! Inputs: what stands in files, folders and pipes, turned into items.
//!
//! An input is recognised by itself, checked in one pass before anything is sent, and then streamed: no format is
//! ever held whole. This module owns the readers, the templates, the ids and the hashes; it must not know of keys,
//! providers or the run's database. Pictures are read further than their headers only for their digests (`stamp`).
//!
//! Reading goes in layers: `lines` (bytes to lines) → `json` / `csv` (lines to fields) → one file per format (fields
//! to a [`draft`]) → `items` (a draft gets its id, hash and absolute paths).

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
    item_reader::{Ended, RowSource},
    lines::LineReader,
    spool::Spool,
};

/// What is asked of every row besides what it says itself.
#[derive(Clone, Debug, Default)]
pub struct InputOptions {
    /// Template over a row's fields, or a picture's `name`, `stem`, `extension`, `directory`, `path`, `width`, `height`.
    pub prompt: Option<String>,
    /// System prompt for rows without their own; may be a template too.
    pub system: Option<String>,
    /// Takes only the first so many rows or pictures, captioned ones included.
    pub limit: Option<u64>,
    /// A row's own values win.
    pub default_params: Params,
    /// Writes answers beside pictures. `None`: answers go to the results only.
    pub captions: Option<CaptionOptions>,
    /// The prompt for pictures where `prompt` is not set; [`DEFAULT_CAPTION_PROMPT`] if this isn't either.
    pub default_caption_prompt: Option<String>,
    /// Fields of rows that are kept with their items, for routing rules.
    pub kept_fields: Vec<String>,
    /// How the lines of a text file are read.
    pub line_format: LineFormat,
    /// Most bytes that are taken from a pipe; `None`: 4 GiB.
    pub max_pipe_bytes: Option<u64>,
    /// Reads rows as versions did that took no picture field but `images` and let the last of two fields with one name
    /// count. For the runs that they began, whose items would be others otherwise.
    pub legacy_rows: bool,
    /// Judges the models that rows name. `None`: any name is good.
    pub model_check: Option<ModelCheck>,
}

/// Says what is wrong with the name of a model that can't be used.
pub type ModelErrorFn = dyn Fn(&str) -> String + Send + Sync;

/// Judges the models that rows name.
#[derive(Clone)]
pub struct ModelCheck {
    /// The names that rows may have.
    pub usable: Arc<BTreeSet<String>>,
    pub error_message: Arc<ModelErrorFn>,
    /// `None`: rows that name an unknown model are refused, except batch lines that have to name one.
    pub on_unknown: Option<UnknownModelPolicy>,
}

impl ModelCheck {
    /// The model that a row names and that can't be used.
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
    /// Recognised by the lines themselves; refused where they leave doubt.
    #[default]
    Detect,
    /// Each names a picture.
    Pictures,
    /// Each is a prompt.
    Prompts,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptionOptions {
    /// Captions go here, in the sub-folders of their pictures; `None` puts them beside the pictures.
    pub dir: Option<PathBuf>,
    pub existing: ExistingCaptionPolicy,
    /// `a.jpg.txt` instead of `a.txt`, so that `a.jpg` and `a.png` may share a folder.
    pub keeps_extension: bool,
}

/// The format of an input.
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
    /// As it is said to people: "1,319 JSONL rows".
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

    /// What goes with a number: `JSONL row` with 1, `JSONL rows` with 1,319.
    pub fn noun(self, rows: u64) -> String {
        match self {
            Self::Text => format!("{} of text", plural(rows, "line")),
            kind => plural(rows, kind.name().trim_end_matches('s')),
        }
    }

    /// `1 JSONL row`, `1319 JSONL rows`
    pub fn format_count(self, rows: u64) -> String {
        format!("{rows} {}", self.noun(rows))
    }

    pub const fn is_pictures(self) -> bool {
        matches!(self, Self::Pictures)
    }

    /// Are its lines whole requests, so that a prompt template has no say?
    const fn is_batch(self) -> bool {
        matches!(self, Self::OpenAiBatch | Self::AnthropicBatch | Self::GeminiBatch)
    }

    /// Must each of its lines name a model?
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

/// An input that was found and recognised, with its templates compiled.
pub struct Input {
    kind: InputKind,
    /// As messages call it.
    display_name: Arc<str>,
    /// As its run directory is called.
    run_name: String,
    source: InputSource,
    row_options: Arc<RowOptions>,
    /// Where its rows are, of one that comes only once.
    spool: Option<Spool>,
    /// Tells which items have ended in the run, and their captions with them.
    ended: Option<Ended>,
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

    /// For `runs/<name>`: never empty, and safe as a folder's name.
    pub fn run_name(&self) -> &str {
        &self.run_name
    }

    /// Reads everything once, before anything is sent, and reports all bad rows together.
    ///
    /// # Errors
    /// All that is wrong with the rows.
    pub fn validate(&self) -> Result<InputSummary, RowErrors> {
        self.items().check_with(|item| self.unknown_model_error(item))
    }

    /// The same for a run that has rows of the input already: those that name unknown models are only counted.
    ///
    /// # Errors
    /// All that is wrong with the rows.
    pub fn validate_resumed(&self) -> Result<InputSummary, RowErrors> {
        self.items().check()
    }

    /// Names the pictures that can't be taken or can't be sent, in sentences. Looks through the collection once more.
    pub fn warnings(&self) -> Vec<String> {
        let InputSource::Pictures(source) = &self.source else { return Vec::new() };
        let (mut left_out, mut unsendable) = (Vec::new(), Vec::new());
        for batch in source.batches() {
            left_out.extend(batch.excluded);
            unsendable.extend(batch.unsendable);
        }
        let mut warnings = Vec::new();
        if !left_out.is_empty() {
            let count = left_out.len() as u64;
            let (files, folders) = (pluralize(count, "file"), plural(count, "folder"));
            let places = open::list_places(&self.display_name, &left_out);
            warnings.push(format!("{files} or {folders} can't be taken and {} left out:{places}", is_or_are(count)));
        }
        if !unsendable.is_empty() {
            let count = unsendable.len() as u64;
            let (lines, verb) = (pluralize(count, "line"), if count == 1 { "names" } else { "name" });
            let (label, places) = (&self.display_name, open::list_places(&self.display_name, &unsendable));
            warnings.push(format!("{lines} of {label} {verb} no picture that can be sent, and will fail:{places}"));
        }
        warnings
    }

    /// The fault of an item that can't be taken into a run because of the model that its row names.
    pub fn unknown_model_error(&self, item: &ItemSpec) -> Option<RowError> {
        let check = self.row_options.model_check.as_ref()?;
        let by_default =
            if self.kind.needs_model() { UnknownModelPolicy::UseAnyModel } else { UnknownModelPolicy::Refuse };
        if check.on_unknown.unwrap_or(by_default) == UnknownModelPolicy::UseAnyModel {
            return None;
        }
        let message = (check.error_message)(check.unknown_model(item)?);
        Some(RowError::new(&self.display_name, item.line, &FieldError::new(self.kind.model_field(), message)))
    }

    /// For a run that is resumed: where no caption is to be written, since the item has ended, none is checked.
    pub fn spare_ended(&mut self, ended: impl Fn(&str) -> bool + Send + 'static) {
        self.ended = Some(Arc::new(Mutex::new(Box::new(ended))));
    }

    /// Streams the items: the same ids and hashes in the same order, each time.
    pub fn items(&self) -> ItemReader {
        let rows = match &self.source {
            InputSource::Lines(path) => LineReader::open(path).map(|lines| RowSource::Lines(self.kind, lines)),
            InputSource::Csv { path, delimiter } => {
                csv::CsvReader::open(path, *delimiter).map(|records| RowSource::Csv(Box::new(records)))
            }
            InputSource::Pictures(source) => Ok(RowSource::Pictures(Box::new(ImageReader::open(source)))),
        };
        let rows = rows.unwrap_or_else(RowSource::OpenFailed);
        ItemReader::new(Arc::clone(&self.display_name), Arc::clone(&self.row_options), rows, self.ended.clone())
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("kind", &self.kind).field("label", &self.display_name).finish_non_exhaustive()
    }
}

/// An input can be streamed on a thread of its own while others look at it.
const _: () = {
    const fn is_send<T: Send + 'static>() {}
    const fn is_sync<T: Sync>() {}
    is_send::<ItemReader>();
    is_send::<Input>();
    is_sync::<Input>();
};
