//! From an argument to an input: find it, recognise it, and refuse options that don't go with it.

use std::{
    env,
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf, absolute},
    sync::Arc,
};

use super::{
    Input, InputOptions, Kind, LineFormat, Source,
    album::{Album, Shelf, tidy},
    draft::Recipe,
    fault::InputError,
    pictures::DEFAULT_CAPTION_PROMPT,
    recognise::{Recognised, recognise},
    sidecar::Captioning,
    spool::{self, BesideKept, Spool},
    template::Templates,
};

const WILDCARDS: [char; 3] = ['*', '?', '['];
/// The name of every run whose rows came through a pipe.
const PIPE: &str = "stdin";

/// What an argument turned out to be.
struct Found {
    kind: Kind,
    source: Source,
    base: PathBuf,
    name: String,
    label: String,
    spool: Option<Spool>,
}

impl Input {
    /// The name an input will have, before it is opened: a pipe is kept in the directory of its run.
    pub fn name_of(argument: &str) -> String {
        if is_pipe(argument) {
            return PIPE.to_owned();
        }
        let path = Path::new(argument);
        if !path.exists() && argument.contains(WILDCARDS) {
            return as_folder(&glob_tail(path).to_string_lossy());
        }
        let real = if path.file_name().is_none() { path.canonicalize().ok() } else { None };
        let path = real.as_deref().unwrap_or(path);
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        as_folder(&name.unwrap_or_default().to_string_lossy())
    }

    /// Whether the argument is something that comes only once, so that opening it writes a copy.
    pub fn is_stream(argument: &str) -> bool {
        argument == "-" || fs::metadata(argument).is_ok_and(|meta| !meta.is_dir() && !meta.is_file())
    }

    /// The argument as a run remembers it: however a folder or a pipe is spelt, it is the same one.
    pub fn spelt_plainly(argument: &str) -> String {
        if is_pipe(argument) { "-".to_owned() } else { lexical(argument) }
    }

    /// Opens a file, folder, glob, list of pictures, or `-`.
    ///
    /// Pipes are copied first, so that they can be read again; the copy is at `spool` once it is [kept](Self::keep). On
    /// a terminal, or where `/dev/null` is piped in, an earlier copy there is used.
    pub fn open(argument: &str, options: InputOptions, spool: &Path) -> Result<Self, InputError> {
        let found = find(argument, spool, &options)?;
        let kind = found.kind;
        refuse_contradictions(&found, &options)?;
        if found.base.to_str().is_none() {
            let words = format!("{} lies in a folder whose name is not UTF-8; rename it", found.label);
            return Err(InputError::Options(words));
        }
        let captioning = match options.captions {
            Some(captions) if kind == Kind::Pictures => Some(Captioning {
                dir: captions
                    .dir
                    .map(|dir| absolute(&dir).map_err(|error| InputError::unreadable(&dir, error)))
                    .transpose()?,
                existing: captions.existing,
                full_name: captions.full_name,
            }),
            _ => None,
        };
        let for_pictures = options.default_caption_prompt.as_deref().unwrap_or(DEFAULT_CAPTION_PROMPT);
        let prompt = options.prompt.as_deref().or((kind == Kind::Pictures).then_some(for_pictures));
        let recipe = Recipe {
            templates: Templates::compile(prompt, options.system.as_deref())?,
            defaults: options.defaults,
            base: found.base,
            captioning,
            limit: options.limit,
            kept: options.kept,
            legacy_rows: options.legacy_rows,
            models: options.models,
        };
        let Found { source, name, label, spool, .. } = found;
        Ok(Self { kind, label: label.into(), name, source, recipe: Arc::new(recipe), spool, ended: None })
    }

    /// Where a copy of a pipe stands until it is [kept](Self::keep) at `spool`.
    pub fn unfinished_copy(spool: &Path) -> PathBuf {
        spool::fresh(spool)
    }

    /// What came through a pipe beside what is kept of an earlier one.
    pub fn beside_kept(&self) -> Result<BesideKept, InputError> {
        let Some(spool) = &self.spool else { return Ok(BesideKept::Whole) };
        spool.beside_kept().map_err(|source| InputError::Spool { path: spool.path().to_owned(), source })
    }

    /// The rows that came through a pipe are the run's from now on; others are where they were.
    pub fn keep(&mut self) -> Result<(), InputError> {
        let Some(spool) = &mut self.spool else { return Ok(()) };
        let fresh = spool.path().to_owned();
        let kept = spool.keep().map_err(|source| InputError::Spool { path: fresh, source })?;
        match &mut self.source {
            Source::Lines(path) | Source::Csv { path, .. } | Source::Pictures(Album::List { file: path, .. }) => {
                kept.clone_into(path);
            }
            Source::Pictures(_) => {}
        }
        Ok(())
    }
}

/// Something that a shell names anew every time (`/dev/fd/63`), or not at all.
fn is_pipe(argument: &str) -> bool {
    argument == "-" || ["/dev/fd", "/dev/stdin", "/proc"].iter().any(|pipes| Path::new(argument).starts_with(pipes))
}

/// Without what does not tell one path from another: `./pics//2026/` is `pics/2026`.
fn lexical(path: &str) -> String {
    let plain: PathBuf = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
    if plain.as_os_str().is_empty() { path.to_owned() } else { plain.to_string_lossy().into_owned() }
}

fn refuse_contradictions(found: &Found, options: &InputOptions) -> Result<(), InputError> {
    let refused = |words: String| Err(InputError::Options(words));
    if found.kind.is_batch() && options.prompt.is_some() {
        return refused(format!("{} holds {}, which are whole requests: leave out --prompt", found.label, found.kind));
    }
    let dir = options.captions.as_ref().and_then(|captions| captions.dir.as_ref());
    match dir {
        Some(_) if found.kind != Kind::Pictures => {
            refused(format!("{} holds {}, not pictures: leave out --captions", found.label, found.kind))
        }
        Some(dir) if dir.to_str().is_none() => refused(format!("--captions {} is not UTF-8", dir.display())),
        Some(dir) if dir.exists() && !dir.is_dir() => refused(format!("--captions {} is no folder", dir.display())),
        _ => Ok(()),
    }
}

fn find(argument: &str, spool: &Path, options: &InputOptions) -> Result<Found, InputError> {
    let max_pipe = options.max_pipe_bytes.unwrap_or(spool::MAX_PIPE_BYTES);
    let format = options.line_format;
    if argument == "-" {
        return piped(spool::stdin(spool, max_pipe)?, Path::new("standard input"), PIPE.to_owned(), format);
    }
    let path = Path::new(argument);
    let whole = absolute(path).map_err(|error| InputError::unreadable(path, error))?;
    let meta = match fs::metadata(&whole) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound && argument.contains(WILDCARDS) => {
            refuse_line_format(format, argument, "is a pattern")?;
            return globbed(argument);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(InputError::Missing(argument.to_owned())),
        Err(error) => return Err(InputError::unreadable(path, error)),
    };
    let name = Input::name_of(argument);
    if meta.is_dir() {
        refuse_line_format(format, argument, "is a folder")?;
        return pictures(Album::Folder(whole), argument, name);
    }
    let base = whole.parent().unwrap_or(&whole).to_owned();
    if meta.is_file() {
        return rows(&whole, path, &base, name, format);
    }
    // A named pipe, `<(command)`, /dev/stdin: what comes out comes out once.
    let stream = File::open(&whole).map_err(|error| InputError::unreadable(path, error))?;
    piped(spool::named(stream, spool, argument, max_pipe)?, path, name, format)
}

/// `--list` and `--lines` say what the lines of a file are; there are none elsewhere.
fn refuse_line_format(format: LineFormat, shown: &str, words: &str) -> Result<(), InputError> {
    let option = match format {
        LineFormat::Detect => return Ok(()),
        LineFormat::Pictures => "--list",
        LineFormat::Prompts => "--lines",
    };
    Err(InputError::Options(format!(
        "{option} says what the lines of a text file are, and {shown} {words}: leave it out"
    )))
}

fn piped(spool: Spool, shown: &Path, name: String, format: LineFormat) -> Result<Found, InputError> {
    let found = rows(spool.path(), shown, &current_dir()?, name, format)?;
    if matches!(found.source, Source::Pictures(Album::Single { .. })) {
        let words = "is a picture; its path is its name, and says where its caption goes: give that instead of a pipe";
        return Err(InputError::unrecognised(shown, words));
    }
    Ok(Found { spool: Some(spool), ..found })
}

fn current_dir() -> Result<PathBuf, InputError> {
    env::current_dir().map_err(|error| InputError::unreadable(Path::new("."), error))
}

/// A file: rows of some kind, a picture, or a list of pictures. `shown` is what people call it.
fn rows(path: &Path, shown: &Path, base: &Path, name: String, format: LineFormat) -> Result<Found, InputError> {
    let label = shown.display().to_string();
    let (kind, source) = match recognise(path, shown, base, format)? {
        Recognised::Rows(kind) => (kind, Source::Lines(path.to_owned())),
        Recognised::Csv { delimiter } => (Kind::Csv, Source::Csv { path: path.to_owned(), delimiter }),
        Recognised::List { base } => return pictures(Album::List { file: path.to_owned(), base }, &label, name),
        Recognised::Picture => {
            refuse_line_format(format, &label, "is a picture")?;
            let file = path.file_name().and_then(|file| file.to_str());
            let file =
                file.ok_or_else(|| InputError::unrecognised(shown, "has a name that is not UTF-8; rename it"))?;
            let base = path.parent().unwrap_or(base).to_owned();
            let album = Album::Single { base, name: file.to_owned() };
            return pictures(album, &label, name);
        }
    };
    Ok(Found { kind, source, base: base.to_owned(), name, label, spool: None })
}

fn globbed(pattern: &str) -> Result<Found, InputError> {
    let album = glob_in(&current_dir()?, pattern);
    if let Album::Glob { pattern: whole, .. } = &album {
        glob::Pattern::new(whole)
            .map_err(|error| InputError::unrecognised(Path::new(pattern), format!("is no pattern: {error}")))?;
    }
    pictures(album, pattern, Input::name_of(pattern))
}

/// A pattern as seen from a folder, whose own name may hold what looks like a wildcard.
fn glob_in(folder: &Path, pattern: &str) -> Album {
    let base =
        folder.join(Path::new(pattern).components().take_while(|component| !is_wild(component)).collect::<PathBuf>());
    let whole = if Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        format!("{}/{}", glob::Pattern::escape(&folder.to_string_lossy()), tidy(pattern))
    };
    Album::Glob { pattern: whole, base }
}

fn pictures(album: Album, label: &str, name: String) -> Result<Found, InputError> {
    // Faults count as something: validation reports them.
    let mut left_out = Vec::new();
    let mut shelves = album.shelves().inspect(|shelf| left_out.extend_from_slice(&shelf.left_out));
    let first = shelves.find(|shelf| !shelf.pictures.is_empty() || !shelf.faults.is_empty());
    drop(shelves);
    if let Some(shelf) = &first {
        refuse_unsendable_list(shelf, label)?;
    } else if !left_out.is_empty() {
        let words = format!("holds no picture that can be taken:{}", named_places(label, &left_out));
        return Err(InputError::unrecognised(Path::new(label), words));
    } else {
        let hint = match &album {
            Album::Glob { .. } => "; only pictures can be given by a glob, rows are given as one file",
            _ => "",
        };
        return Err(InputError::NoPictures { place: label.to_owned(), hint });
    }
    let base = album.base().to_owned();
    let (source, label) = (Source::Pictures(album), label.to_owned());
    Ok(Found { kind: Kind::Pictures, source, base, name, label, spool: None })
}

/// A list of which no picture can be sent is none, or stands at the wrong place.
fn refuse_unsendable_list(shelf: &Shelf, label: &str) -> Result<(), InputError> {
    if shelf.unsendable.len() < shelf.pictures.len() || shelf.unsendable.is_empty() {
        return Ok(());
    }
    let words = format!(
        "is a list of pictures, and none of them can be sent:{}\nSay --lines if its lines are prompts",
        named_places(label, &shelf.unsendable)
    );
    Err(InputError::unrecognised(Path::new(label), words))
}

/// Places in an input, one a line: the first of them with their reasons, and how many more there are.
pub(super) fn named_places(label: &str, places: &[(u64, String)]) -> String {
    const NAMED: usize = 20;
    let named = places.iter().take(NAMED).map(|(line, words)| match line {
        0 => format!("\n  {words}"),
        line => format!("\n  {label}:{line}: {words}"),
    });
    let more = places.len().saturating_sub(NAMED);
    named.chain((more > 0).then(|| format!("\n  … and {more} more"))).collect()
}

/// A pattern from the folder before its first wildcard on: `photos/*.jpg`.
fn glob_tail(pattern: &Path) -> PathBuf {
    let components: Vec<_> = pattern.components().collect();
    let wild = components.iter().position(is_wild).unwrap_or(0);
    components[wild.saturating_sub(1)..].iter().collect()
}

fn is_wild(component: &Component<'_>) -> bool {
    component.as_os_str().to_string_lossy().contains(WILDCARDS)
}

/// What is safe as a folder's name: `photos-jpg` for `photos/*.jpg`.
fn as_folder(name: &str) -> String {
    let is_safe = |letter: char| letter.is_alphanumeric() || "._-".contains(letter);
    let pieces: Vec<_> = name
        .split(|letter| !is_safe(letter))
        .map(|piece| piece.trim_matches(['.', '-']))
        .filter(|piece| !piece.is_empty())
        .collect();
    let name: String = pieces.join("-").chars().take(80).collect();
    if name.is_empty() { "input".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_folders() {
        for (argument, want) in [
            ("-", "stdin"),
            ("/dev/fd/63", "stdin"),
            ("/nowhere/gsm8k_test.jsonl", "gsm8k_test"),
            ("summer 2026.csv", "summer-2026"),
            ("größe.csv", "größe"),
            ("/nowhere/photos/*.jpg", "photos-jpg"),
            ("photos/2026-*/**/a?.png", "photos-2026-a-png"),
            ("*", "input"),
            ("src/input", "input"),
            ("src/input/..", "src"),
            ("src/input/.", "input"),
        ] {
            assert_eq!(Input::name_of(argument), want, "{argument}");
        }
    }

    #[test]
    fn one_place_has_one_spelling() {
        for (argument, want) in [
            ("pics", "pics"),
            ("pics/", "pics"),
            ("./pics", "pics"),
            (".//pics/./2026//", "pics/2026"),
            ("/pics/", "/pics"),
            ("../pics", "../pics"),
            (".", "."),
            ("photos/*.jpg", "photos/*.jpg"),
            ("-", "-"),
            ("/dev/fd/63", "-"),
        ] {
            assert_eq!(Input::spelt_plainly(argument), want, "{argument}");
        }
    }

    #[test]
    fn a_folder_with_brackets_in_its_name_is_no_pattern() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("[2026] summer");
        fs::create_dir_all(odd.join("sub")).unwrap();
        fs::write(odd.join("sub/a.png"), "").unwrap();
        for pattern in ["sub/*.png", "./sub/*.png", "*/a.png"] {
            let shelves: Vec<_> = glob_in(&odd, pattern).shelves().collect();
            assert_eq!(shelves.len(), 1, "{pattern}");
            let path = &shelves[0].pictures[0].1;
            assert_eq!(&**path, if pattern.starts_with('*') { "sub/a.png" } else { "a.png" });
        }
    }
}
