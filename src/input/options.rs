//! The settings with which an input is read.

use std::{collections::BTreeSet, fmt, path::PathBuf, sync::Arc};

use crate::{
    domain::{ItemSpec, Params, RowModelPolicy, UnknownModelPolicy},
    output::captions::ExistingCaptionPolicy,
};

/// The prompt for pictures if no other is configured.
pub const DEFAULT_CAPTION_PROMPT: &str = "Describe this picture for a training caption: its subject, what happens, \
    the setting, colours, light and style, in one paragraph of plain text. Write only the description.";

/// Settings that apply to every row of an input.
#[derive(Clone, Debug, Default)]
pub struct InputOptions {
    /// Template over a row's fields, or over a picture's `name`, `stem`, `extension`, `directory`, `path`, `width`,
    /// `height`, `index`, `choice`, and the `caption` and `tags` that are beside it.
    pub prompt: Option<String>,
    /// System prompt for rows without their own; may be a template too.
    pub system: Option<String>,
    /// Reads at most this many rows or pictures from the start. Pictures that already have a caption count too.
    pub max_rows: Option<u64>,
    /// Parameters for rows that don't state their own.
    pub default_params: Params,
    /// Pictures and their captions that are shown before each picture.
    pub examples: Vec<CaptionExample>,
    /// Writes answers to files beside the pictures. `None`: answers go to the results only.
    pub captions: Option<CaptionOptions>,
    /// Prompt for pictures if `prompt` is not set. If this is not set either: [`DEFAULT_CAPTION_PROMPT`].
    pub default_caption_prompt: Option<String>,
    /// Fields of rows that are stored with their items, for routing rules.
    pub kept_fields: Vec<String>,
    /// The field of rows that names checks; stored too. `None`: no field does.
    pub check_field: Option<String>,
    /// How the lines of a text file are read.
    pub line_format: LineFormat,
    /// How they were read when the run began, which decides where they could be read in two ways.
    pub recorded_line_format: LineFormat,
    /// Maximum number of bytes read from a pipe; `None`: 4 GiB.
    pub max_pipe_bytes: Option<u64>,
    /// Reads rows as earlier versions did: `images` is the only picture field, and of two fields with the same name the
    /// last one counts. For runs that such a version started, since their items would otherwise change.
    pub legacy_rows: bool,
    /// Reads requests as earlier versions did: only what can be translated is kept. For runs that such a version
    /// started, since their items would otherwise change.
    pub legacy_bodies: bool,
    /// Accepts rows that contain more pictures than those that are sent. For runs that began before these were refused.
    pub allows_extra_pictures: bool,
    /// A cap limits the cost, so requests whose cost has no upper bound are refused.
    pub has_spend_cap: bool,
    /// Checks the models that rows name. `None`: any name is accepted.
    pub model_check: Option<ModelCheck>,
    /// The meaning of the model that a row names, unless the row says it itself.
    pub row_model: RowModelPolicy,
    /// Refuses items whose answers can't be checked. `None`: none is refused.
    pub item_check: Option<ItemCheck>,
}

/// Returns a message that explains why a model with this name can't be used; the flag says whether no other model may
/// answer the row.
pub type ModelErrorFn = dyn Fn(&str, bool) -> String + Send + Sync;

/// Returns a message that explains why an item can't be used.
pub type ItemErrorFn = dyn Fn(&ItemSpec) -> Result<(), String> + Send + Sync;

/// Tests the items of the rows.
#[derive(Clone)]
pub struct ItemCheck(pub Arc<ItemErrorFn>);

impl fmt::Debug for ItemCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemCheck").finish_non_exhaustive()
    }
}

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

impl CaptionOptions {
    /// Extension of caption files, without a dot.
    pub fn extension(&self) -> &str {
        self.extension.as_deref().unwrap_or("txt")
    }
}

impl ModelCheck {
    /// Returns the model that the item names if it can't be used.
    pub(super) fn unknown_model<'i>(&self, item: &'i ItemSpec) -> Option<&'i str> {
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

/// A picture and a caption of the kind that is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaptionExample {
    /// Absolute.
    pub picture: PathBuf,
    pub caption: String,
}

/// Where captions are written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptionOptions {
    /// Captions go to this folder, in the same sub-folders as their pictures. `None` puts them beside the pictures.
    pub dir: Option<PathBuf>,
    pub existing: ExistingCaptionPolicy,
    /// `a.jpg.txt` instead of `a.txt`, so that `a.jpg` and `a.png` may be in the same folder.
    pub keeps_extension: bool,
    /// Extension of caption files, without a dot; `None`: `txt`.
    pub extension: Option<String>,
}
