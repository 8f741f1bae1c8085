//! Reads pictures as caption items, one per picture. The prompt may use the picture's name, folder and size.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
    time::SystemTime,
    vec,
};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::domain::{Image, Message, MessageRole, Part, Request};

use super::{
    draft::{Draft, RowOptions},
    error::FieldError,
    ids::IdPredicate,
    image_batch::ImageBatch,
    image_source::{ImageBatches, ImageSource},
    json::{Fields, Json},
    options::{CaptionExample, DEFAULT_CAPTION_PROMPT},
    picture_file::open_regular_file,
    picture_stamp,
    sidecar::Sidecar,
};

/// One pass over the pictures of an [`ImageSource`].
pub(super) struct ImageReader {
    batches: ImageBatches,
    errors: vec::IntoIter<(u64, FieldError)>,
    pictures: vec::IntoIter<(u32, Box<str>)>,
    /// Pictures whose caption file is already used by an earlier picture, by line, with the earlier picture's path.
    clashes: HashMap<u32, Box<str>>,
    /// Hashes the path, size, inode and times of every picture.
    hasher: Box<Xxh3>,
    started_at: SystemTime,
    /// True if a picture changed so recently that another change might not be detected.
    is_unstable: bool,
    /// Size in bytes of the last picture.
    last_bytes: u64,
    /// The last folder that was checked to be inside the captions' folder. One is enough, since pictures come folder by
    /// folder.
    dir_checked_inside: Option<PathBuf>,
    /// The last folder that was checked to be writable for captions. If it was not, that was reported then.
    dir_checked_writable: Option<PathBuf>,
}

impl ImageReader {
    pub(super) fn open(source: &ImageSource) -> Self {
        Self {
            batches: source.batches(),
            errors: Vec::new().into_iter(),
            pictures: Vec::new().into_iter(),
            clashes: HashMap::new(),
            hasher: Box::new(Xxh3::new()),
            started_at: SystemTime::now(),
            is_unstable: false,
            last_bytes: 0,
            dir_checked_inside: None,
            dir_checked_writable: None,
        }
    }

    /// Reads the next picture and returns its line and draft. The draft is `Ok(None)` if the picture is skipped: it
    /// already has a caption and is not an item of the run yet.
    pub(super) fn next(
        &mut self,
        options: &RowOptions,
        is_known_id: &IdPredicate,
        has_ended: &dyn Fn(&str) -> bool,
    ) -> Option<(u64, Result<Option<Draft>, FieldError>)> {
        if let Some((line, error)) = self.errors.next() {
            return Some((line, Err(error)));
        }
        let Some((line, path)) = self.pictures.next() else {
            let batch = self.batches.next()?;
            self.start_batch(batch, options);
            return self.next(options, is_known_id, has_ended);
        };
        self.hash_metadata(&path, options);
        let clash = self.clashes.remove(&line);
        let caption = self.find_sidecar(&path, clash.as_deref(), options, has_ended);
        let draft = caption.and_then(|caption| match caption {
            Some((_, true)) if !is_known_id(&path) => Ok(None),
            caption => self.build_draft(line, &path, caption.map(|(sidecar, _)| sidecar), options).map(Some),
        });
        Some((u64::from(line), draft))
    }

    /// The hash of all pictures and whether it is unstable. Reads the metadata of the remaining pictures first.
    pub(super) fn fingerprint(mut self, options: &RowOptions) -> (u128, bool) {
        loop {
            while let Some((_, path)) = self.pictures.next() {
                self.hash_metadata(&path, options);
            }
            match self.batches.next() {
                Some(batch) => self.pictures = batch.pictures.into_iter(),
                None => return (self.hasher.digest128(), self.is_unstable),
            }
        }
    }

    fn start_batch(&mut self, batch: ImageBatch, options: &RowOptions) {
        let caption_settings = options.input.captions.as_ref();
        self.clashes = caption_settings
            .map(|caption_settings| caption_settings.find_clashes(&options.base_dir, &batch.pictures))
            .unwrap_or_default();
        self.errors = batch.errors.into_iter();
        self.pictures = batch.pictures.into_iter();
    }

    fn hash_metadata(&mut self, path: &str, options: &RowOptions) {
        let stamp = fs::metadata(options.base_dir.join(path))
            .ok()
            .map(|meta| picture_stamp::metadata_stamp(&meta, self.started_at));
        self.last_bytes = stamp.as_ref().map_or(0, |stamp| stamp.size_bytes);
        self.hasher.update(path.as_bytes());
        self.hasher.update(&[0]);
        if let Some(stamp) = stamp {
            self.is_unstable |= !stamp.is_stable;
            picture_stamp::hash_file_state(&mut self.hasher, &stamp);
        }
    }

    /// The caption file of a picture and whether it exists; `None` if captions aren't written.
    fn find_sidecar(
        &mut self,
        path: &str,
        clash: Option<&str>,
        options: &RowOptions,
        has_ended: &dyn Fn(&str) -> bool,
    ) -> Result<Option<(Sidecar, bool)>, FieldError> {
        let Some(caption_settings) = &options.input.captions else { return Ok(None) };
        let sidecar = caption_settings.sidecar_for(&options.base_dir, path)?;
        if let Some(earlier) = clash {
            let message = format!(
                "{path} and {earlier} would share the caption file {}; rename one of them, or use \
                 --full-caption-names ({}.{})",
                sidecar.relative_path,
                Path::new(path).file_name().unwrap_or_default().display(),
                caption_settings.extension()
            );
            return Err(FieldError::new("", message));
        }
        let folder = sidecar.target.parent();
        if folder != self.dir_checked_inside.as_deref() {
            caption_settings.check_inside_dir(&sidecar)?;
            self.dir_checked_inside = folder.map(Path::to_owned);
        }
        let is_captioned = match caption_settings.is_captioned(&sidecar) {
            // If the item has ended, no caption is written, so the error doesn't matter.
            Err(_) if has_ended(path) => false,
            result => result?,
        };
        if !is_captioned && folder != self.dir_checked_writable.as_deref() && !has_ended(path) {
            // Check each folder once, so that an error is reported once per folder.
            self.dir_checked_writable = folder.map(Path::to_owned);
            sidecar.check_writable()?;
        }
        Ok(Some((sidecar, is_captioned)))
    }

    fn build_draft(
        &self,
        index: u32,
        path: &str,
        caption: Option<Sidecar>,
        options: &RowOptions,
    ) -> Result<Draft, FieldError> {
        let mut fields = template_fields(path, options);
        let uses = |name| options.templates.uses_field(name);
        let mut hashed_request = None;
        if uses("caption") || uses("tags") || uses("index") {
            // The run writes captions itself, and pictures may be added before this one. Neither changes the item.
            let mut hashed_fields = fields.clone();
            push_changing_fields(&mut hashed_fields, 0, "");
            hashed_request = Some(Box::new(build_request(path, &hashed_fields, options)?));
            let target = caption.as_ref().map(|sidecar| sidecar.target.as_path());
            push_changing_fields(&mut fields, index, &target.map(read_caption).unwrap_or_default());
        }
        let request = build_request(path, &fields, options)?;
        let id = Some(path.to_owned());
        let fields = options.pick_kept_fields(&fields)?;
        Ok(Draft {
            id,
            request,
            hashed_request,
            kept_fields: fields,
            sidecar: caption,
            picture_bytes: Some(self.last_bytes),
            ..Draft::default()
        })
    }
}

/// The request for a picture with these fields.
fn build_request(path: &str, fields: &Fields<'_>, options: &RowOptions) -> Result<Request, FieldError> {
    let prompt = options.templates.render_prompt(fields)?.unwrap_or_else(|| DEFAULT_CAPTION_PROMPT.to_owned());
    if prompt.trim().is_empty() {
        return Err(FieldError::new("", "the prompt template produces an empty prompt"));
    }
    let mut messages = Vec::with_capacity(1 + 2 * options.input.examples.len());
    let question = |picture: &Path| {
        let parts = vec![Part::Image(Image::File(picture.into())), Part::Text(prompt.clone())];
        Message { role: MessageRole::User, parts }
    };
    for CaptionExample { picture, caption } in &options.input.examples {
        messages.push(question(picture));
        messages.push(Message { role: MessageRole::Assistant, parts: vec![Part::Text(caption.clone())] });
    }
    messages.push(question(Path::new(path)));
    Ok(Request {
        system: options.templates.render_system(fields)?,
        messages,
        params: options.input.default_params.clone(),
        ..Request::default()
    })
}

/// Adds the fields that may change while the picture stays the same: its place in the input, the caption beside it, and
/// the parts of the caption between commas.
fn push_changing_fields(fields: &mut Fields<'_>, index: u32, caption: &str) {
    let tags = caption.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    let tags = tags.map(|tag| Json::Text(tag.to_owned().into())).collect();
    fields.push(("index".into(), Json::Int(index.into())));
    fields.push(("caption".into(), Json::Text(caption.to_owned().into())));
    fields.push(("tags".into(), Json::List(tags)));
}

/// The caption in a file; empty if there is none.
fn read_caption(target: &Path) -> String {
    // Longer than any caption.
    const MAX_BYTES: u64 = 1 << 20;
    let mut bytes = Vec::new();
    let read = open_regular_file(target).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').trim().to_owned(),
        Err(_) => String::new(),
    }
}

/// The fields of a picture for templates. A size that can't be read is 0: such a picture fails when it is sent.
fn template_fields<'p>(picture: &'p str, options: &RowOptions) -> Fields<'p> {
    let path = Path::new(picture);
    let part = |part: Option<&std::ffi::OsStr>| part.and_then(|part| part.to_str()).unwrap_or_default().to_owned();
    let absolute_path = options.base_dir.join(path);
    let mut fields: Fields<'p> = vec![
        ("path".into(), Json::Text(picture.into())),
        ("name".into(), Json::Text(part(path.file_name()).into())),
        ("stem".into(), Json::Text(part(path.file_stem()).into())),
        ("extension".into(), Json::Text(part(path.extension()).to_lowercase().into())),
        ("directory".into(), Json::Text(part(absolute_path.parent().and_then(Path::file_name)).into())),
    ];
    if options.templates.uses_field("choice") {
        // The same for a picture at every start, and different for pictures that are numbered.
        fields.push(("choice".into(), Json::Int(i64::from(xxh3_64(picture.as_bytes()) as u32))));
    }
    if options.templates.uses_field("width") || options.templates.uses_field("height") {
        let (width, height) = dimensions(&absolute_path).unwrap_or_default();
        fields.push(("width".into(), Json::Int(width)));
        fields.push(("height".into(), Json::Int(height)));
    }
    fields
}

fn dimensions(path: &Path) -> io::Result<(i64, i64)> {
    // Check before opening: a pipe would block.
    if !path.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let size = imagesize::reader_size(BufReader::new(open_regular_file(path)?)).map_err(io::Error::other)?;
    let pixels = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Ok((pixels(size.width), pixels(size.height)))
}
