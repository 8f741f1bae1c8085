//! One pass over an input: rows are read, named and hashed one at a time.
//!
//! Every pass makes the same ids, since each names its rows anew in the same order. Validation is such a pass whose
//! items are thrown away.

use std::{
    io, mem,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use xxhash_rust::xxh3::Xxh3;

use crate::{
    domain::{ItemSpec, PictureStamp, Request},
    output::CaptionFiles,
};

use super::{
    Kind, anthropic_batch,
    csv::Csv,
    draft::{Draft, Recipe},
    fault::{InputFaults, RowFault, Wrong},
    gemini_batch,
    ids::{Canonical, Ids, hex},
    image,
    lines::Lines,
    openai_batch,
    pictures::Pictures,
    row,
    stamp::{self, stamp_picture},
};

/// What a pass over the whole input has shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// Items, without those that are skipped.
    pub rows: u64,
    /// Pictures that have their caption already.
    pub skipped: u64,
    /// Does any item send a picture?
    pub pictures: bool,
    /// Over all items, by the estimate that room is reserved with.
    pub estimated_input_tokens: u64,
    /// Of items that were not refused for it.
    pub unknown_models: UnknownModels,
    /// 32 hex digits over the input's bytes; of pictures over paths, sizes, inodes and times, those of the files that rows
    /// name as well. Covers the whole input, also where only its first rows are taken, but for such files.
    pub fingerprint: String,
    /// A picture has changed so shortly before that its next change may leave the fingerprint as it is.
    pub unsettled: bool,
    /// Where the answers go, of the items that get captions.
    pub caption_files: CaptionFiles,
}

/// Models that rows name and that can't be used.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnknownModels {
    pub rows: u64,
    /// The first four different ones.
    pub names: Vec<String>,
    pub first_line: u64,
}

impl UnknownModels {
    /// Names kept.
    const KEPT: usize = 4;

    fn add(&mut self, name: &str, line: u64) {
        self.rows += 1;
        if self.rows == 1 {
            self.first_line = line;
        }
        if self.names.len() < Self::KEPT && !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }
}

/// The picture files that rows name, as far as they show without being read.
struct Files {
    any: bool,
    hash: Box<Xxh3>,
    began: SystemTime,
    /// One has changed so shortly before that its next change may not show.
    unsettled: bool,
}

impl Files {
    fn new() -> Self {
        Self { any: false, hash: Box::new(Xxh3::new()), began: SystemTime::now(), unsettled: false }
    }

    fn add(&mut self, request: &Request) {
        for path in stamp::files(request) {
            self.any = true;
            let stamp = stamp::unread_file(path, self.began);
            self.hash.update(&[u8::from(stamp.is_some())]);
            if let Some(stamp) = stamp {
                self.unsettled |= !stamp.is_stable;
                stamp::hash_unread(&mut self.hash, &stamp);
            }
        }
    }

    /// With the fingerprint of the rows.
    fn fingerprint(mut self, rows: u128) -> u128 {
        self.hash.update(&rows.to_le_bytes());
        self.hash.digest128()
    }
}

/// The items of an input, streamed. After a [`RowFault`] the rows behind it still come, unless the file itself
/// can't be read on.
pub struct Items {
    input: Arc<str>,
    recipe: Arc<Recipe>,
    rows: Rows,
    ids: Ids,
    scratch: Vec<u8>,
    taken: u64,
    skipped: u64,
    known: Known,
    ended: Option<Ended>,
    stamped: Option<Stamped>,
    /// Pictures that are not recorded are stamped too.
    stamps_new: bool,
}

/// The stamp that is recorded for the item of this id.
type Stamped = Box<dyn Fn(&str) -> Option<PictureStamp> + Send>;

/// Does the run have an item of this id already?
pub(super) type Known = Box<dyn Fn(&str) -> bool + Send>;

/// Has the item of this id ended in the run? Shared by the passes over an input.
pub(super) type Ended = Arc<Mutex<Known>>;

pub(super) enum Rows {
    Lines(Kind, Lines),
    Csv(Box<Csv>),
    Pictures(Box<Pictures>),
    /// Could not be opened.
    Broken(io::Error),
    Ended,
}

impl Items {
    pub(super) fn new(input: Arc<str>, recipe: Arc<Recipe>, rows: Rows, ended: Option<Ended>) -> Self {
        let known = Box::new(|_: &str| false);
        Self {
            input,
            recipe,
            rows,
            ids: Ids::default(),
            scratch: Vec::new(),
            taken: 0,
            skipped: 0,
            known,
            ended,
            stamped: None,
            stamps_new: true,
        }
    }

    /// For a run that is resumed: a picture it has among its items is not skipped for being captioned, since the
    /// caption may be its own.
    #[must_use]
    pub fn keeping(mut self, known: impl Fn(&str) -> bool + Send + 'static) -> Self {
        self.known = Box::new(known);
        self
    }

    /// For rows that are recorded or compared with the record: picture files are stamped with their content, which is read
    /// unless size and time are those that `recorded` has.
    #[must_use]
    pub fn stamping(mut self, recorded: impl Fn(&str) -> Option<PictureStamp> + Send + 'static) -> Self {
        self.stamped = Some(Box::new(recorded));
        self
    }

    /// For rows that are only compared with the record: pictures that are not recorded need not be read for it.
    #[must_use]
    pub fn without_new_stamps(mut self) -> Self {
        self.stamps_new = false;
        self
    }

    /// Reads everything, and reports all that is wrong at once.
    ///
    /// # Errors
    /// All that is wrong with the rows.
    pub fn check(self) -> Result<Checked, InputFaults> {
        self.check_with(|_| None)
    }

    /// The same; `refuses` may find fault with an item that could be read.
    pub(super) fn check_with(
        mut self,
        refuses: impl Fn(&ItemSpec) -> Option<RowFault>,
    ) -> Result<Checked, InputFaults> {
        let mut faults = InputFaults::none(&self.input);
        let (mut rows, mut pictures, mut tokens) = (0, false, 0_u64);
        let mut unknown_models = UnknownModels::default();
        let models = self.recipe.models.clone();
        let mut caption_files = CaptionFiles::default();
        // Of a collection of pictures these are in the fingerprint anyway.
        let mut files = (!matches!(self.rows, Rows::Pictures(_))).then(Files::new);
        for item in &mut self {
            match item.and_then(|item| refuses(&item).map_or(Ok(item), Err)) {
                Ok(item) => {
                    rows += 1;
                    pictures |= item.request.needs_vision();
                    tokens = tokens.saturating_add(item.request.estimated_input_tokens());
                    if let Some(model) = models.as_ref().and_then(|check| check.unknown_model(&item)) {
                        unknown_models.add(model, item.line);
                    }
                    if let Some(target) = &item.caption_path {
                        caption_files.add(target);
                    }
                    if let Some(files) = &mut files {
                        files.add(&item.request);
                    }
                }
                Err(fault) => faults.add(fault),
            }
        }
        if faults.is_empty() && self.taken == 0 && self.recipe.limit != Some(0) {
            faults.add(self.fault(1, &Wrong::new("", "there are no rows")));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let skipped = self.skipped;
        let (input, line) = (Arc::clone(&self.input), self.taken);
        let (fingerprint, unsettled) = self.fingerprint().map_err(|error| {
            let wrong = Wrong::new("", format!("can't be read on: {error}"));
            faults.add(RowFault::new(&input, line, &wrong));
            faults
        })?;
        let (fingerprint, unsettled) = match files.filter(|files| files.any) {
            Some(files) => {
                let unsettled = unsettled || files.unsettled;
                (files.fingerprint(fingerprint), unsettled)
            }
            None => (fingerprint, unsettled),
        };
        let fingerprint = hex(fingerprint);
        let estimated_input_tokens = tokens;
        Ok(Checked {
            rows,
            skipped,
            pictures,
            estimated_input_tokens,
            unknown_models,
            fingerprint,
            unsettled,
            caption_files,
        })
    }

    /// The fingerprint, and whether it is unsettled.
    fn fingerprint(self) -> io::Result<(u128, bool)> {
        match self.rows {
            Rows::Lines(_, lines) => Ok((lines.fingerprint()?, false)),
            Rows::Csv(csv) => Ok((csv.fingerprint()?, false)),
            Rows::Pictures(pictures) => Ok(pictures.fingerprint(&self.recipe)),
            Rows::Broken(error) => Err(error),
            Rows::Ended => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Captioned already, of the pictures passed so far.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next row as drafted: its line, and `Ok(None)` for a picture that is skipped.
    fn draft(&mut self) -> Option<(u64, Result<Option<Draft>, Wrong>)> {
        match &mut self.rows {
            Rows::Lines(kind, lines) => {
                next_line(*kind, lines, &self.recipe).map(|(line, draft)| (line, draft.map(Some)))
            }
            Rows::Csv(csv) => csv.next(&self.recipe).map(|(line, draft)| (line, draft.map(Some))),
            Rows::Pictures(pictures) => {
                let has_ended = |id: &str| match &self.ended {
                    // Another pass that panicked has changed nothing.
                    Some(ended) => ended.lock().unwrap_or_else(PoisonError::into_inner)(id),
                    None => false,
                };
                pictures.next(&self.recipe, &self.known, &has_ended)
            }
            Rows::Broken(_) => match mem::replace(&mut self.rows, Rows::Ended) {
                Rows::Broken(error) => Some((1, Err(Wrong::new("", format!("can't be opened: {error}"))))),
                _ => None,
            },
            Rows::Ended => None,
        }
    }

    fn finish(&mut self, line: u64, draft: Draft) -> Result<ItemSpec, Wrong> {
        let Draft { id, mut request, model: preferred_model, tier, max_usd, fields: rule_fields, caption, bytes } =
            draft;
        // Of what was recorded without a stamp, the content then is not known: it goes on being told by its size.
        let picture = match (&self.stamped, &id, &caption) {
            (Some(recorded), Some(id), Some(_)) => match recorded(id) {
                Some(recorded) => Some(Some(recorded)),
                None => (self.stamps_new && !(self.known)(id)).then_some(None),
            },
            _ => None,
        };
        let picture = picture.map(|recorded| {
            let is_recorded = recorded.is_some();
            (is_recorded, stamp_picture(&request, &self.recipe.base, recorded))
        });
        let has_stamp = picture.as_ref().is_some_and(|(is_recorded, stamp)| *is_recorded || stamp.is_some());
        let canonical = Canonical {
            request: &request,
            model: preferred_model.as_deref(),
            caption: caption.as_ref().map(|sidecar| sidecar.name.as_str()),
            bytes: bytes.filter(|_| !has_stamp),
        };
        let request_hash = canonical
            .hash(&mut self.scratch)
            .map_err(|error| Wrong::new("", format!("can't be kept as JSON: {error}")))?;
        let id = match id {
            None => self.ids.make(&request_hash, line),
            Some(id) => {
                self.ids.take(&id, line).map_err(|first| {
                    Wrong::new("", format!("the id `{id}` stands already in line {first}; ids must differ"))
                })?;
                id
            }
        };
        image::resolve(&mut request, &self.recipe.base);
        let picture_stamp = match &caption {
            Some(_) => picture.and_then(|(_, stamp)| stamp),
            None => self.stamp_files(&id, &request),
        };
        let caption_path = caption.map(|sidecar| sidecar.target);
        Ok(ItemSpec {
            id,
            request,
            request_hash,
            line,
            preferred_model,
            tier,
            max_usd,
            rule_fields,
            caption_path,
            picture_stamp,
        })
    }

    /// Stamps the files that a row names. Rows that an earlier version recorded without a stamp are taken to have been
    /// answered for these files, which are stamped from now on.
    fn stamp_files(&self, id: &str, request: &Request) -> Option<PictureStamp> {
        let recorded = self.stamped.as_ref()?;
        stamp::files(request).next()?;
        let recorded = recorded(id);
        if recorded.is_none() && !self.stamps_new {
            return None;
        }
        let is_new = recorded.is_none() && !(self.known)(id);
        stamp_picture(request, &self.recipe.base, recorded).or_else(|| is_new.then(stamp::missing))
    }

    fn fault(&self, line: u64, wrong: &Wrong) -> RowFault {
        RowFault::new(&self.input, line, wrong)
    }
}

impl Iterator for Items {
    type Item = Result<ItemSpec, RowFault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.recipe.limit.is_some_and(|limit| self.taken >= limit) {
                return None;
            }
            let (line, draft) = self.draft()?;
            self.taken += 1;
            match draft {
                Ok(None) => self.skipped += 1,
                Ok(Some(draft)) => {
                    let item = self.finish(line, draft);
                    return Some(item.map_err(|wrong| self.fault(line, &wrong)));
                }
                Err(wrong) => return Some(Err(self.fault(line, &wrong))),
            }
        }
    }
}

/// The next line that isn't blank.
fn next_line(kind: Kind, lines: &mut Lines, recipe: &Recipe) -> Option<(u64, Result<Draft, Wrong>)> {
    loop {
        match lines.advance() {
            Ok(false) => return None,
            Ok(true) if lines.is_blank() => {}
            Ok(true) => {
                let draft = lines.text().and_then(|text| match kind {
                    Kind::OpenAiBatch => openai_batch::read(text, recipe),
                    Kind::AnthropicBatch => anthropic_batch::read(text, recipe),
                    Kind::GeminiBatch => gemini_batch::read(text, recipe),
                    Kind::Text => row::text(text, recipe),
                    // The other kinds are not read by lines.
                    Kind::Jsonl | Kind::Csv | Kind::Pictures => row::jsonl(text, recipe),
                });
                return Some((lines.number(), draft));
            }
            Err(wrong) => return Some((lines.number(), Err(wrong))),
        }
    }
}
