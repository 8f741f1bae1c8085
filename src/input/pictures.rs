//! Caption jobs: a picture an item, asked with a prompt that may speak of its name, place and size.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufReader},
    path::{Path, PathBuf},
    time::SystemTime,
    vec,
};

use xxhash_rust::xxh3::Xxh3;

use crate::domain::{Image, Message, MessageRole, Part, Request};

use super::{
    album::{Album, Shelf, Shelves, open_regular},
    draft::{Draft, Recipe},
    fault::Wrong,
    items::Known,
    json::{Fields, Json},
    sidecar::Sidecar,
    stamp,
};

/// What a picture is asked where nobody says otherwise.
pub const DEFAULT_CAPTION_PROMPT: &str = "Describe this picture for a training caption: its subject, what happens, \
    the setting, colours, light and style, in one paragraph of plain text. Write only the description.";

/// One pass over an album.
pub(super) struct Pictures {
    shelves: Shelves,
    faults: vec::IntoIter<(u64, Wrong)>,
    shelf: vec::IntoIter<(u32, Box<str>)>,
    /// Line of a picture whose caption an earlier picture has, and which.
    clashes: HashMap<u32, Box<str>>,
    /// Over every path, size, inode and time.
    hash: Box<Xxh3>,
    began: SystemTime,
    /// Of the pictures looked at, one has changed so shortly before that its next change may not show.
    unsettled: bool,
    /// The last picture's.
    bytes: u64,
    /// The last folder that captions may go to: pictures come folder by folder.
    inside: Option<PathBuf>,
    /// The last folder that captions are to be written to, which was found to take them, or told.
    checked: Option<PathBuf>,
}

impl Pictures {
    pub(super) fn open(album: &Album) -> Self {
        Self {
            shelves: album.shelves(),
            faults: Vec::new().into_iter(),
            shelf: Vec::new().into_iter(),
            clashes: HashMap::new(),
            hash: Box::new(Xxh3::new()),
            began: SystemTime::now(),
            unsettled: false,
            bytes: 0,
            inside: None,
            checked: None,
        }
    }

    /// The next picture: `Ok(None)` where it has its caption already.
    pub(super) fn next(
        &mut self,
        recipe: &Recipe,
        known: &Known,
        has_ended: &dyn Fn(&str) -> bool,
    ) -> Option<(u64, Result<Option<Draft>, Wrong>)> {
        if let Some((line, wrong)) = self.faults.next() {
            return Some((line, Err(wrong)));
        }
        let Some((line, path)) = self.shelf.next() else {
            let shelf = self.shelves.next()?;
            self.put_up(shelf, recipe);
            return self.next(recipe, known, has_ended);
        };
        self.look_at(&path, recipe);
        let clash = self.clashes.remove(&line);
        let caption = self.caption(&path, clash.as_deref(), recipe, has_ended);
        let draft = caption.and_then(|caption| match caption {
            Some((_, true)) if !known(&path) => Ok(None),
            caption => self.draft(&path, caption.map(|(sidecar, _)| sidecar), recipe).map(Some),
        });
        Some((u64::from(line), draft))
    }

    /// The hash of the whole album, and whether it is unsettled: looks at what has not been looked at yet.
    pub(super) fn fingerprint(mut self, recipe: &Recipe) -> (u128, bool) {
        loop {
            while let Some((_, path)) = self.shelf.next() {
                self.look_at(&path, recipe);
            }
            match self.shelves.next() {
                Some(shelf) => self.shelf = shelf.pictures.into_iter(),
                None => return (self.hash.digest128(), self.unsettled),
            }
        }
    }

    fn put_up(&mut self, shelf: Shelf, recipe: &Recipe) {
        let captioning = recipe.captioning.as_ref();
        self.clashes =
            captioning.map(|captioning| captioning.clashes(&recipe.base, &shelf.pictures)).unwrap_or_default();
        self.faults = shelf.faults.into_iter();
        self.shelf = shelf.pictures.into_iter();
    }

    fn look_at(&mut self, path: &str, recipe: &Recipe) {
        let stamp = fs::metadata(recipe.base.join(path)).ok().map(|meta| stamp::unread(&meta, self.began));
        self.bytes = stamp.as_ref().map_or(0, |stamp| stamp.size_bytes);
        self.hash.update(path.as_bytes());
        self.hash.update(&[0]);
        if let Some(stamp) = stamp {
            self.unsettled |= !stamp.is_stable;
            stamp::hash_unread(&mut self.hash, &stamp);
        }
    }

    /// Where the caption goes, and whether there is one already; `None` where captions aren't written.
    fn caption(
        &mut self,
        path: &str,
        clash: Option<&str>,
        recipe: &Recipe,
        has_ended: &dyn Fn(&str) -> bool,
    ) -> Result<Option<(Sidecar, bool)>, Wrong> {
        let Some(captioning) = &recipe.captioning else { return Ok(None) };
        let sidecar = captioning.sidecar(&recipe.base, path)?;
        if let Some(earlier) = clash {
            let words = format!(
                "{path} and {earlier} would share the caption {}; rename one, or ask for full names with --full-caption-names ({}.txt)",
                sidecar.name,
                Path::new(path).file_name().unwrap_or_default().display()
            );
            return Err(Wrong::new("", words));
        }
        let folder = sidecar.target.parent();
        if folder != self.inside.as_deref() {
            captioning.keeps_inside(&sidecar)?;
            self.inside = folder.map(Path::to_owned);
        }
        let is_there = match captioning.skips(&sidecar) {
            // What stands there of an item that has ended is not written to again.
            Err(_) if has_ended(path) => false,
            is_there => is_there?,
        };
        if !is_there && folder != self.checked.as_deref() && !has_ended(path) {
            // Told once a folder.
            self.checked = folder.map(Path::to_owned);
            sidecar.check_folder()?;
        }
        Ok(Some((sidecar, is_there)))
    }

    fn draft(&self, path: &str, caption: Option<Sidecar>, recipe: &Recipe) -> Result<Draft, Wrong> {
        let fields = fields(path, recipe);
        let prompt = recipe.templates.prompt(&fields)?.unwrap_or_else(|| DEFAULT_CAPTION_PROMPT.to_owned());
        if prompt.trim().is_empty() {
            return Err(Wrong::new("", "the prompt template gives an empty prompt"));
        }
        let parts = vec![Part::Image(Image::File(path.into())), Part::Text(prompt)];
        let request = Request {
            system: recipe.templates.system(&fields)?,
            messages: vec![Message { role: MessageRole::User, parts }],
            params: recipe.defaults.clone(),
        };
        let id = Some(path.to_owned());
        let fields = recipe.keep(&fields);
        Ok(Draft { id, request, fields, caption, bytes: Some(self.bytes), ..Draft::default() })
    }
}

/// What templates may say of a picture. A size that can't be read is 0: such a picture fails when it is sent.
fn fields<'p>(picture: &'p str, recipe: &Recipe) -> Fields<'p> {
    let path = Path::new(picture);
    let part = |part: Option<&std::ffi::OsStr>| part.and_then(|part| part.to_str()).unwrap_or_default().to_owned();
    let whole = recipe.base.join(path);
    let mut fields: Fields<'p> = vec![
        ("path".into(), Json::Text(picture.into())),
        ("name".into(), Json::Text(part(path.file_name()).into())),
        ("stem".into(), Json::Text(part(path.file_stem()).into())),
        ("extension".into(), Json::Text(part(path.extension()).to_lowercase().into())),
        ("directory".into(), Json::Text(part(whole.parent().and_then(Path::file_name)).into())),
    ];
    if recipe.templates.needs("width") || recipe.templates.needs("height") {
        let (width, height) = dimensions(&whole).unwrap_or_default();
        fields.push(("width".into(), Json::Int(width)));
        fields.push(("height".into(), Json::Int(height)));
    }
    fields
}

fn dimensions(path: &Path) -> io::Result<(i64, i64)> {
    // Looked at before it is opened: a pipe would block.
    if !path.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let size = imagesize::reader_size(BufReader::new(open_regular(path)?)).map_err(io::Error::other)?;
    let pixels = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    Ok((pixels(size.width), pixels(size.height)))
}
