//! Reads inputs: turns files, folders and pipes into items.
//!
//! The format of an input is detected from its content. An input is checked in one pass before anything is sent, and
//! then streamed: rows are never all in memory. (For a glob or a list of pictures, all paths are.) This module owns the
//! readers, the templates, the ids and the hashes. It must not know keys, providers or the run's database. Of a
//! picture, only the header is read, except to compute its digest (`picture_stamp`).
//!
//! `argument` and [`find`] find what the INPUT argument names, and `detect` and `line_stats` the format of a file. [`open`]
//! makes an [`Input`] of it. `image_source` finds pictures: in folders, with `image_glob`, or with `image_list`.
//!
//! Reading goes in layers: `lines` (bytes to lines) → `json` / `csv` (lines to fields) → one file per format (fields to
//! a [`draft`]) → `item_reader` (a draft gets its id, hash and absolute paths).

mod anthropic_batch;
mod argument;
mod batch_line;
mod body_notes;
mod chat;
mod conversion;
mod csv;
mod detect;
mod draft;
mod error;
mod find;
mod gemini_batch;
mod ids;
mod image_batch;
mod image_glob;
mod image_list;
mod image_reader;
mod image_ref;
mod image_source;
mod item_reader;
mod json;
mod kind;
mod line_stats;
mod lines;
mod listed_path;
mod natural_sort;
mod open;
mod openai_batch;
mod options;
mod params;
mod picture_fields;
mod picture_file;
mod picture_names;
mod picture_stamp;
mod row;
mod sidecar;
mod spool;
mod template;

pub use self::{
    argument::{is_stream, normalize_argument, run_name},
    error::{InputError, MAX_REPORTED_ERRORS, ReportedError, RowError, RowErrors},
    item_reader::{InputSummary, ItemReader, UnknownModels},
    kind::InputKind,
    open::Input,
    options::{
        CaptionExample, CaptionOptions, DEFAULT_CAPTION_PROMPT, InputOptions, ItemCheck, ItemErrorFn, LineFormat,
        ModelCheck, ModelErrorFn,
    },
    picture_file::is_picture,
    picture_stamp::stamp_picture,
    spool::{SpoolDiff, new_copy_path},
};
pub use crate::output::captions::ExistingCaptionPolicy;
