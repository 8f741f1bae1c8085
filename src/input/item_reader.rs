//! One pass over an input: reads rows one at a time and gives each an id and a hash.
//!
//! Every pass gives the same ids, because each assigns them from the start, in the same order. Validation is a pass
//! whose items are discarded.

use std::{
    io, mem,
    sync::{Arc, PoisonError},
    time::SystemTime,
};

use xxhash_rust::xxh3::Xxh3;

use crate::{
    domain::{ItemSpec, PictureStamp, Request, RowModelPolicy},
    output::CaptionPathDigests,
};

use super::{
    anthropic_batch,
    csv::CsvReader,
    draft::{Draft, RowOptions},
    error::{FieldError, RowError, RowErrors},
    gemini_batch,
    ids::{HashInput, IdAssigner, IdPredicate, SharedIdPredicate, hex},
    image_reader::ImageReader,
    image_ref,
    kind::InputKind,
    lines::LineReader,
    openai_batch,
    options::ItemCheck,
    picture_file::picture_sizes,
    picture_stamp::{self, stamp_picture},
    row,
};

/// Summary of one pass over the whole input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputSummary {
    /// Number of items, without skipped ones.
    pub items: u64,
    /// Number of pictures that already have a caption.
    pub skipped: u64,
    /// True if any item sends a picture.
    pub has_pictures: bool,
    /// Sum over all items, by the same estimate that reservations use.
    pub estimated_input_tokens: u64,
    /// Fields with the names of request parameters that no row uses as such, and the first line of each.
    pub unused_params: Vec<(String, u64)>,
    /// The unknown models that accepted rows name.
    pub unknown_models: UnknownModels,
    /// 32 hex digits. For pictures, a hash over all paths, sizes, inodes and times. For rows, a hash over the input's
    /// bytes, and over the sizes, inodes and times of the picture files that the rows name. Covers the whole input even
    /// if only its first rows are used, except that the files of unused rows don't count.
    pub fingerprint: String,
    /// True if a picture changed so recently that another change might not change the fingerprint.
    pub fingerprint_unstable: bool,
    /// The caption files of all items that get captions.
    pub caption_files: CaptionPathDigests,
}

impl InputSummary {
    /// The summary of an unchanged input of which [`Self::is_of_plain_rows`] was true. Its tokens are not known.
    pub fn of_plain_rows(items: u64, fingerprint: String) -> Self {
        Self {
            items,
            skipped: 0,
            has_pictures: false,
            estimated_input_tokens: 0,
            unused_params: Vec::new(),
            unknown_models: UnknownModels::default(),
            fingerprint,
            fingerprint_unstable: false,
            caption_files: CaptionPathDigests::default(),
        }
    }

    /// Whether nothing but the number of rows and the fingerprint matters for a later start: there are no pictures, whose
    /// files may change apart from the input, and no warnings.
    pub fn is_of_plain_rows(&self) -> bool {
        self.skipped == 0
            && !self.has_pictures
            && self.unused_params.is_empty()
            && self.unknown_models.rows == 0
            && !self.fingerprint_unstable
            && self.caption_files.is_empty()
    }
}

/// Models that rows name but that can't be used, and where they occur.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnknownModels {
    pub rows: u64,
    /// The first four different names.
    pub names: Vec<String>,
    pub first_line: u64,
}

impl UnknownModels {
    const MAX_NAMES: usize = 4;

    fn add(&mut self, name: &str, line: u64) {
        self.rows += 1;
        if self.rows == 1 {
            self.first_line = line;
        }
        if self.names.len() < Self::MAX_NAMES && !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }
}

/// A hash over the metadata of the picture files that rows name. Their content is not read.
struct PictureFilesHash {
    has_files: bool,
    hasher: Box<Xxh3>,
    started_at: SystemTime,
    /// True if a file changed so recently that another change might not change the hash.
    is_unstable: bool,
}

impl PictureFilesHash {
    fn new() -> Self {
        Self { has_files: false, hasher: Box::new(Xxh3::new()), started_at: SystemTime::now(), is_unstable: false }
    }

    fn add(&mut self, request: &Request) {
        for path in picture_stamp::picture_files(request) {
            self.has_files = true;
            let stamp = picture_stamp::file_metadata_stamp(path, self.started_at);
            self.hasher.update(&[u8::from(stamp.is_some())]);
            if let Some(stamp) = stamp {
                self.is_unstable |= !stamp.is_stable;
                picture_stamp::hash_file_state(&mut self.hasher, &stamp);
            }
        }
    }

    /// Combines the hash with the fingerprint of the rows.
    fn fingerprint(mut self, rows: u128) -> u128 {
        self.hasher.update(&rows.to_le_bytes());
        self.hasher.digest128()
    }
}

/// Number of rows after which the number of all rows is estimated.
const SAMPLED_ROWS: u64 = 4_096;

/// Streams the items of an input. Continues after a [`RowError`], unless the file itself can't be read any further.
pub struct ItemReader {
    input: Arc<str>,
    options: Arc<RowOptions>,
    rows: RowSource,
    ids: IdAssigner,
    scratch: Vec<u8>,
    rows_read: u64,
    skipped: u64,
    /// See [`InputSummary::unused_params`].
    unused_params: Vec<(String, u64)>,
    is_known_id: IdPredicate,
    has_ended: Option<SharedIdPredicate>,
    recorded_stamps: Option<StampLookup>,
    /// If true, pictures without a recorded stamp are stamped too.
    computes_new_stamps: bool,
    /// If false, items with an id of their own get an empty hash.
    hashes_all: bool,
}

/// Returns the recorded stamp of the item with this id.
type StampLookup = Box<dyn Fn(&str) -> Option<PictureStamp> + Send>;

pub(super) enum RowSource {
    Lines(InputKind, LineReader),
    Csv(Box<CsvReader>),
    Pictures(Box<ImageReader>),
    /// The input could not be opened.
    OpenFailed(io::Error),
    Ended,
}

impl ItemReader {
    pub(super) fn new(
        input: Arc<str>,
        options: Arc<RowOptions>,
        rows: RowSource,
        has_ended: Option<SharedIdPredicate>,
    ) -> Self {
        let is_known_id = Box::new(|_: &str| false);
        Self {
            input,
            options,
            rows,
            ids: IdAssigner::default(),
            scratch: Vec::new(),
            rows_read: 0,
            skipped: 0,
            unused_params: Vec::new(),
            is_known_id,
            has_ended,
            recorded_stamps: None,
            computes_new_stamps: true,
            hashes_all: true,
        }
    }

    /// For a resumed run: pictures that are already items of the run are not skipped if they have a caption. The run
    /// may have written that caption itself.
    #[must_use]
    pub fn with_known_ids(mut self, is_known_id: impl Fn(&str) -> bool + Send + 'static) -> Self {
        self.is_known_id = Box::new(is_known_id);
        self
    }

    /// For rows that are recorded or compared with the record: items get stamps of their picture files, with a digest
    /// of the content. A file is read only if `recorded` has no stamp of it, an unstable one, or one with another size,
    /// inode or time.
    #[must_use]
    pub fn with_recorded_stamps(mut self, recorded: impl Fn(&str) -> Option<PictureStamp> + Send + 'static) -> Self {
        self.recorded_stamps = Some(Box::new(recorded));
        self
    }

    /// For rows that are only compared with the record: pictures without a recorded stamp are not read.
    #[must_use]
    pub fn without_new_stamps(mut self) -> Self {
        self.computes_new_stamps = false;
        self
    }

    /// Reads the whole input and reports all errors together.
    ///
    /// # Errors
    /// All bad rows.
    pub fn check(self) -> Result<InputSummary, RowErrors> {
        self.check_with(|_| None)
    }

    /// Like [`Self::check`], but `refuse` may also refuse an item that was read without errors. Such an item may have no
    /// hash.
    pub(super) fn check_with(
        mut self,
        refuse: impl Fn(&ItemSpec) -> Option<RowError>,
    ) -> Result<InputSummary, RowErrors> {
        let mut errors = RowErrors::empty(&self.input);
        // A hash takes a third of the time, and a check has no use for it.
        self.hashes_all = false;
        let (mut items, mut has_pictures, mut tokens) = (0, false, 0_u64);
        let mut unknown_models = UnknownModels::default();
        let model_check = self.options.input.model_check.clone();
        let mut caption_files = CaptionPathDigests::default();
        // If the input is pictures, its own fingerprint already covers the files.
        let mut files = (!matches!(self.rows, RowSource::Pictures(_))).then(PictureFilesHash::new);
        for item in &mut self {
            match item {
                Ok(item) => {
                    if let Some(error) = refuse(&item) {
                        errors.add(error);
                        continue;
                    }
                    items += 1;
                    has_pictures |= item.request.needs_vision();
                    tokens = tokens.saturating_add(item.request.estimated_input_tokens());
                    if let Some(model) = model_check.as_ref().and_then(|check| check.unknown_model(&item)) {
                        unknown_models.add(model, item.line);
                    }
                    if let Some(target) = &item.caption_path {
                        caption_files.add(target);
                    }
                    if let Some(files) = &mut files {
                        files.add(&item.request);
                    }
                }
                Err(error) => errors.add(error),
            }
        }
        if errors.is_empty() && self.rows_read == 0 && self.options.input.max_rows != Some(0) {
            errors.add(self.row_error(1, &FieldError::new("", "there are no rows")));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let skipped = self.skipped;
        let unused_params = std::mem::take(&mut self.unused_params);
        let (input, line) = (Arc::clone(&self.input), self.rows_read);
        let (fingerprint, fingerprint_unstable) = self.fingerprint().map_err(|error| {
            let field_error = FieldError::new("", format!("can't be read any further: {error}"));
            errors.add(RowError::new(&input, line, &field_error));
            errors
        })?;
        let (fingerprint, is_unstable) = match files.filter(|files| files.has_files) {
            Some(files) => {
                let is_unstable = fingerprint_unstable || files.is_unstable;
                (files.fingerprint(fingerprint), is_unstable)
            }
            None => (fingerprint, fingerprint_unstable),
        };
        let fingerprint = hex(fingerprint);
        let estimated_input_tokens = tokens;
        Ok(InputSummary {
            items,
            skipped,
            has_pictures,
            estimated_input_tokens,
            unused_params,
            unknown_models,
            fingerprint,
            fingerprint_unstable: is_unstable,
            caption_files,
        })
    }

    /// Returns the fingerprint and whether it is unstable.
    fn fingerprint(self) -> io::Result<(u128, bool)> {
        match self.rows {
            RowSource::Lines(_, lines) => Ok((lines.fingerprint()?, false)),
            RowSource::Csv(records) => Ok((records.fingerprint()?, false)),
            RowSource::Pictures(pictures) => Ok(pictures.fingerprint(&self.options)),
            RowSource::OpenFailed(error) => Err(error),
            RowSource::Ended => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Number of pictures skipped so far because they already have a caption.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Reads the next row: its line and its draft. The draft is `Ok(None)` for a skipped picture.
    fn next_draft(&mut self) -> Option<(u64, Result<Option<Draft>, FieldError>)> {
        match &mut self.rows {
            RowSource::Lines(kind, lines) => {
                next_row(*kind, lines, &self.options).map(|(line, draft)| (line, draft.map(Some)))
            }
            RowSource::Csv(csv) => csv.next(&self.options).map(|(line, draft)| (line, draft.map(Some))),
            RowSource::Pictures(pictures) => {
                let has_ended = |id: &str| match &self.has_ended {
                    // The lock protects no data that a panic could leave half-changed.
                    Some(has_ended_id) => has_ended_id.lock().unwrap_or_else(PoisonError::into_inner)(id),
                    None => false,
                };
                pictures.next(&self.options, &self.is_known_id, &has_ended)
            }
            RowSource::OpenFailed(_) => match mem::replace(&mut self.rows, RowSource::Ended) {
                RowSource::OpenFailed(error) => {
                    Some((1, Err(FieldError::new("", format!("can't be opened: {error}")))))
                }
                _ => None,
            },
            RowSource::Ended => None,
        }
    }

    fn build_item(&mut self, line: u64, draft: Draft) -> Result<ItemSpec, FieldError> {
        let Draft {
            id,
            mut request,
            hashed_request,
            model: preferred_model,
            model_pinned,
            tier,
            max_usd,
            kept_fields,
            sidecar: caption,
            picture_bytes: bytes,
            unused_params,
        } = draft;
        for name in unused_params {
            if !self.unused_params.iter().any(|(known, _)| *known == name) {
                self.unused_params.push((name, line));
            }
        }
        // If an earlier version recorded the item without a stamp, the picture's content at that time is not known.
        // Then no stamp is made, and the size in the hash detects a changed picture.
        let recorded_stamp = match (&self.recorded_stamps, &id, &caption) {
            (Some(recorded), Some(id), Some(_)) => match recorded(id) {
                Some(recorded) => Some(Some(recorded)),
                None => (self.computes_new_stamps && !(self.is_known_id)(id)).then_some(None),
            },
            _ => None,
        };
        let current_stamp = recorded_stamp.map(|recorded| {
            let is_recorded = recorded.is_some();
            (is_recorded, stamp_picture(&request, &self.options.base_dir, recorded))
        });
        let has_stamp = current_stamp.as_ref().is_some_and(|(is_recorded, stamp)| *is_recorded || stamp.is_some());
        let hash_input = HashInput {
            request: hashed_request.as_deref().unwrap_or(&request),
            model: preferred_model.as_deref(),
            caption: caption.as_ref().map(|sidecar| sidecar.relative_path.as_str()),
            bytes: bytes.filter(|_| !has_stamp),
            model_pinned,
        };
        let request_hash = if self.hashes_all || id.is_none() {
            hash_input
                .hash(&mut self.scratch)
                .map_err(|error| FieldError::new("", format!("can't be stored as JSON: {error}")))?
        } else {
            String::new()
        };
        let id = match id {
            None => self.ids.generate(&request_hash, line),
            Some(id) => {
                self.ids.claim(&id, line).map_err(|first| {
                    FieldError::new("", format!("the id `{id}` is already used in line {first}; ids must be unique"))
                })?;
                id
            }
        };
        image_ref::resolve_paths(&mut request, &self.options.base_dir);
        let picture_stamp = match &caption {
            Some(_) => current_stamp.and_then(|(_, stamp)| stamp),
            None => self.stamp_files(&id, &request),
        };
        let picture_sizes = picture_sizes(&request);
        let caption_path = caption.map(|sidecar| sidecar.target);
        let pins_models = self.options.input.row_model == RowModelPolicy::Only;
        let item = ItemSpec {
            id,
            request,
            request_hash,
            line,
            model_pinned: preferred_model.is_some() && model_pinned.unwrap_or(pins_models),
            preferred_model,
            tier,
            max_usd,
            kept_fields,
            caption_path,
            picture_stamp,
            picture_sizes,
        };
        if let Some(ItemCheck(test)) = &self.options.input.item_check {
            test(&item).map_err(|message| FieldError::new("", message))?;
        }
        Ok(item)
    }

    /// Computes the stamp of the files that a row names. If an earlier version recorded the row without a stamp, its
    /// files count as unchanged and are stamped from now on.
    fn stamp_files(&self, id: &str, request: &Request) -> Option<PictureStamp> {
        let recorded = self.recorded_stamps.as_ref()?;
        picture_stamp::picture_files(request).next()?;
        let recorded = recorded(id);
        if recorded.is_none() && !self.computes_new_stamps {
            return None;
        }
        let is_new = recorded.is_none() && !(self.is_known_id)(id);
        stamp_picture(request, &self.options.base_dir, recorded)
            .or_else(|| is_new.then(picture_stamp::missing_file_stamp))
    }

    /// The number of rows in the file if those to come are a little longer than those that were read.
    fn estimated_rows(&self) -> Option<u64> {
        let RowSource::Lines(_, lines) = &self.rows else { return None };
        let (read, all) = lines.progress()?;
        Some((all / (read * 9 / 8 / self.rows_read).max(1)).min(self.options.input.max_rows.unwrap_or(u64::MAX)))
    }

    fn row_error(&self, line: u64, error: &FieldError) -> RowError {
        RowError::new(&self.input, line, error)
    }
}

impl Iterator for ItemReader {
    type Item = Result<ItemSpec, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.options.input.max_rows.is_some_and(|limit| self.rows_read >= limit) {
                return None;
            }
            let (line, draft) = self.next_draft()?;
            self.rows_read += 1;
            if self.rows_read == SAMPLED_ROWS
                && let Some(rows) = self.estimated_rows()
            {
                self.ids.reserve(rows);
            }
            match draft {
                Ok(None) => self.skipped += 1,
                Ok(Some(draft)) => {
                    let item = self.build_item(line, draft);
                    return Some(item.map_err(|error| self.row_error(line, &error)));
                }
                Err(error) => return Some(Err(self.row_error(line, &error))),
            }
        }
    }
}

/// Reads the next line that isn't blank.
fn next_row(kind: InputKind, lines: &mut LineReader, options: &RowOptions) -> Option<(u64, Result<Draft, FieldError>)> {
    loop {
        match lines.advance() {
            Ok(false) => return None,
            Ok(true) if lines.is_blank() => {}
            Ok(true) => {
                let draft = lines.text().and_then(|text| match kind {
                    InputKind::OpenAiBatch => openai_batch::read(text, options),
                    InputKind::AnthropicBatch => anthropic_batch::read(text, options),
                    InputKind::GeminiBatch => gemini_batch::read(text, options),
                    InputKind::Text => row::read_text(text, options),
                    // CSV and pictures have their own readers and don't get here.
                    InputKind::Jsonl | InputKind::Csv | InputKind::Pictures => row::read_jsonl(text, options),
                });
                return Some((lines.line_number(), draft));
            }
            Err(error) => return Some((lines.line_number(), Err(error))),
        }
    }
}
