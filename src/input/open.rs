//! Opens an input, checks it, and streams its items.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, absolute},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    csv::CsvReader,
    draft::RowOptions,
    error::{FieldError, InputError, RowError, RowErrors, list_places},
    find::{FoundInput, InputSource, check_options, find_input},
    ids::{SharedIdPredicate, hex},
    image_reader::ImageReader,
    image_source::ImageSource,
    item_reader::{InputSummary, ItemReader, RowSource},
    kind::InputKind,
    lines::LineReader,
    options::{DEFAULT_CAPTION_PROMPT, InputOptions},
    picture_file::picture_type_of,
    picture_stamp::file_metadata_stamp,
    spool::{Spool, SpoolDiff},
    template::Templates,
};
use crate::domain::{ItemSpec, PictureType, UnknownModelPolicy, is_or_are, plural, pluralize};

/// An input that was found and whose format is known, with its templates compiled.
pub struct Input {
    kind: InputKind,
    /// The name used in messages.
    display_name: Arc<str>,
    source: InputSource,
    row_options: Arc<RowOptions>,
    /// The copy of the rows if the input is a pipe, since a pipe can be read only once.
    spool: Option<Spool>,
    /// Returns true if the item with this id has ended in the run and its caption will not be written again.
    has_ended: Option<SharedIdPredicate>,
}

impl Input {
    /// Opens a file, folder, glob, list of pictures, or `-`.
    ///
    /// A pipe is copied first so that it can be read again; the copy is at `spool` after [`Self::commit_copy`]. On a
    /// terminal, or with an empty device like /dev/null, an earlier copy at `spool` is used.
    ///
    /// # Errors
    /// If the input can't be found or read, or its format is not known, or the options don't fit it.
    pub fn open(argument: &str, options: InputOptions, spool: &Path) -> Result<Self, InputError> {
        let found = find_input(argument, spool, &options)?;
        let kind = found.kind;
        check_options(&found, &options)?;
        if found.base_dir.to_str().is_none() {
            let message = format!("{} is in a folder whose name is not UTF-8; rename it", found.display_name);
            return Err(InputError::InvalidOptions(message));
        }
        let mut options =
            InputOptions { captions: options.captions.filter(|_| kind == InputKind::Pictures), ..options };
        if let Some(dir) = options.captions.as_mut().and_then(|captions| captions.dir.as_mut()) {
            *dir = absolute(&dir).map_err(|error| InputError::unreadable(dir, error))?;
        }
        let caption_prompt = options.default_caption_prompt.as_deref().unwrap_or(DEFAULT_CAPTION_PROMPT);
        let prompt = options.prompt.as_deref().or((kind == InputKind::Pictures).then_some(caption_prompt));
        let row_options = RowOptions {
            templates: Templates::compile(prompt, options.system.as_deref())?,
            base_dir: found.base_dir,
            input: options,
        };
        let FoundInput { source, display_name, spool, .. } = found;
        Ok(Self {
            kind,
            display_name: display_name.into(),
            source,
            row_options: Arc::new(row_options),
            spool,
            has_ended: None,
        })
    }

    /// Compares the new copy of a pipe with the one kept from an earlier start.
    ///
    /// # Errors
    /// If one of the copies can't be read.
    pub fn diff_with_kept(&self) -> Result<SpoolDiff, InputError> {
        let Some(spool) = &self.spool else { return Ok(SpoolDiff::ContainsKept) };
        spool.diff_with_kept().map_err(|source| InputError::Spool { path: spool.path().to_owned(), source })
    }

    /// Makes the new copy of a pipe the run's input. Does nothing for other inputs.
    ///
    /// # Errors
    /// If the copy can't be moved.
    pub fn commit_copy(&mut self) -> Result<(), InputError> {
        let Some(spool) = &mut self.spool else { return Ok(()) };
        let new_path = spool.path().to_owned();
        let kept = spool.commit().map_err(|source| InputError::Spool { path: new_path, source })?;
        match &mut self.source {
            InputSource::Lines(path)
            | InputSource::Csv { path, .. }
            | InputSource::Pictures(ImageSource::List { file: path, .. }) => {
                kept.clone_into(path);
            }
            InputSource::Pictures(_) => {}
        }
        Ok(())
    }

    pub const fn kind(&self) -> InputKind {
        self.kind
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

    /// A digest of everything that the result of [`Self::validate_resumed`] depends on, apart from item checks: the
    /// file's size, inode and times, and the options. `None` if the file may change without changing these, because it
    /// has just changed, or if the input is not one file of rows.
    pub fn check_key(&self) -> Option<String> {
        self.check_key_at(SystemTime::now())
    }

    fn check_key_at(&self, now: SystemTime) -> Option<String> {
        let (InputSource::Lines(path) | InputSource::Csv { path, .. }) = &self.source else { return None };
        if self.spool.is_some() {
            return None;
        }
        let stamp = file_metadata_stamp(path, now).filter(|stamp| stamp.is_stable)?;
        let RowOptions { base_dir, input: options, .. } = &*self.row_options;
        let models = options.model_check.as_ref().map(|check| (&check.usable, check.on_unknown));
        let version = env!("CARGO_PKG_VERSION");
        let (kind, place) = (self.kind.name(), (path, base_dir));
        let parts = format!("{version} {kind} {place:?} {stamp:?} {options:?} {models:?}");
        Some(hex(xxh3_128(parts.as_bytes())))
    }

    /// Warnings about pictures that can't be read or sent, and about other files, one sentence each. Reads the list of
    /// pictures and their first bytes once more. `can_send` says whether some provider gets pictures of this type.
    pub fn warnings(&self, can_send: impl Fn(PictureType) -> bool) -> Vec<String> {
        let InputSource::Pictures(source) = &self.source else { return Vec::new() };
        let (mut excluded, mut unsendable) = (Vec::new(), Vec::new());
        let (mut left_out, mut refused): (BTreeMap<String, u64>, BTreeMap<&str, u64>) = Default::default();
        for batch in source.batches() {
            for (_, picture) in &batch.pictures {
                let picture_type = picture_type_of(&self.row_options.base_dir.join(&**picture));
                if let Some(picture_type) = picture_type.filter(|known| !can_send(*known)) {
                    *refused.entry(picture_type.name()).or_default() += 1;
                }
            }
            excluded.extend(batch.excluded);
            unsendable.extend(batch.unsendable);
            for (kind, count) in batch.left_out {
                *left_out.entry(kind).or_default() += count;
            }
        }
        let mut warnings = Vec::new();
        if !left_out.is_empty() {
            let count = left_out.values().sum();
            let kinds: Vec<String> = left_out.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let (files, verb) = (pluralize(count, "file"), is_or_are(count));
            warnings.push(format!("{files} {verb} left out, not being pictures: {}", kinds.join(", ")));
        }
        for (name, count) in refused {
            let (pictures, them) =
                (pluralize(count, &format!("{name} picture")), if count == 1 { "it" } else { "them" });
            warnings.push(format!(
                "{pictures} can't be sent and will fail: no provider here takes this format, and it can't be converted \
                 here; convert {them} to PNG or JPEG"
            ));
        }
        if !excluded.is_empty() {
            let count = excluded.len() as u64;
            let (files, folders) = (pluralize(count, "file"), plural(count, "folder"));
            let places = list_places(&self.display_name, &excluded);
            warnings.push(format!("{files} or {folders} can't be used and {} left out:{places}", is_or_are(count)));
        }
        if !unsendable.is_empty() {
            let count = unsendable.len() as u64;
            let (lines, verb) = (pluralize(count, "line"), if count == 1 { "does" } else { "do" });
            let (label, places) = (&self.display_name, list_places(&self.display_name, &unsendable));
            warnings
                .push(format!("{lines} of {label} {verb} not name a picture that can be sent, and will fail:{places}"));
        }
        warnings
    }

    /// Returns an error if the item must be refused because its row names an unknown model.
    pub fn unknown_model_error(&self, item: &ItemSpec) -> Option<RowError> {
        let check = self.row_options.input.model_check.as_ref()?;
        let default_policy =
            if self.kind.needs_model() { UnknownModelPolicy::UseAnyModel } else { UnknownModelPolicy::Refuse };
        // No other model may answer a row whose model is pinned.
        if !item.model_pinned && check.on_unknown.unwrap_or(default_policy) == UnknownModelPolicy::UseAnyModel {
            return None;
        }
        let message = (check.error_message)(check.unknown_model(item)?, item.model_pinned);
        Some(RowError::new(&self.display_name, item.line, &FieldError::new(self.kind.model_field(), message)))
    }

    /// Returns an error if the item's caption can't be written. For items that have ended and are asked anew, whose
    /// captions the validation does not check.
    pub fn caption_error(&self, item: &ItemSpec) -> Option<RowError> {
        let captions = self.row_options.input.captions.as_ref().filter(|_| item.caption_path.is_some())?;
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
                CsvReader::open(path, *delimiter).map(|records| RowSource::Csv(Box::new(records)))
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_check_key_is_that_of_the_file_and_of_the_options() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("rows.jsonl");
        std::fs::write(&path, "{\"prompt\":\"a\"}\n").unwrap();
        let key = |options: InputOptions, now: SystemTime| {
            Input::open(path.to_str().unwrap(), options, &home.path().join("spool")).unwrap().check_key_at(now)
        };
        let (now, later) = (SystemTime::now(), SystemTime::now() + Duration::from_secs(3));
        assert_eq!(key(InputOptions::default(), now), None, "it may change again without another time");
        let first = key(InputOptions::default(), later);
        assert!(first.is_some());
        assert_eq!(key(InputOptions::default(), later), first);
        for options in [
            InputOptions { max_rows: Some(5), ..InputOptions::default() },
            InputOptions { system: Some("Be brief.".to_owned()), ..InputOptions::default() },
            InputOptions { has_spend_cap: true, ..InputOptions::default() },
        ] {
            assert_ne!(key(options.clone(), later), first, "{options:?}");
        }
        std::fs::write(&path, "{\"prompt\":\"b\"}\n").unwrap();
        assert_ne!(key(InputOptions::default(), later), first, "the same size, but another time");
    }
}
