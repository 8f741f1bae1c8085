//! Opens an input: finds what the argument names, detects its format, and refuses options that don't fit.

use std::{
    env,
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf, absolute},
    sync::Arc,
};

use super::{
    Input, InputKind, InputOptions, InputSource, LineFormat,
    detect::{DetectedFormat, detect},
    draft::RowOptions,
    error::InputError,
    image_reader::DEFAULT_CAPTION_PROMPT,
    image_source::{ImageBatch, ImageSource, strip_dot_slash},
    sidecar::CaptionSettings,
    spool::{self, Spool, SpoolDiff},
    template::Templates,
};

const WILDCARDS: [char; 3] = ['*', '?', '['];
/// The run name of every input that comes through a pipe.
const PIPE_RUN_NAME: &str = "stdin";

/// The input that an argument names.
struct FoundInput {
    kind: InputKind,
    source: InputSource,
    base_dir: PathBuf,
    run_name: String,
    display_name: String,
    spool: Option<Spool>,
}

impl Input {
    /// The run name for this argument. It is needed before the input is opened, since a pipe's copy is kept in the run
    /// directory.
    pub fn run_name_of(argument: &str) -> String {
        if is_pipe(argument) {
            return PIPE_RUN_NAME.to_owned();
        }
        let path = Path::new(argument);
        if !path.exists() && argument.contains(WILDCARDS) {
            return folder_name(&glob_tail(path).to_string_lossy());
        }
        let real = if path.file_name().is_none() { path.canonicalize().ok() } else { None };
        let path = real.as_deref().unwrap_or(path);
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        folder_name(&name.unwrap_or_default().to_string_lossy())
    }

    /// True if the argument can be read only once, like a pipe. Opening it then writes a copy.
    pub fn is_stream(argument: &str) -> bool {
        argument == "-" || fs::metadata(argument).is_ok_and(|meta| !meta.is_dir() && !meta.is_file())
    }

    /// Normalizes the argument for the record, so that different spellings of the same path or pipe are equal.
    pub fn normalize_argument(argument: &str) -> String {
        if is_pipe(argument) { "-".to_owned() } else { normalize_path(argument) }
    }

    /// Opens a file, folder, glob, list of pictures, or `-`.
    ///
    /// A pipe is copied first so that it can be read again; the copy is at `spool` after [`Self::commit_copy`]. On a
    /// terminal, or with an empty device like /dev/null, an earlier copy at `spool` is used.
    pub fn open(argument: &str, options: InputOptions, spool: &Path) -> Result<Self, InputError> {
        let found = find_input(argument, spool, &options)?;
        let kind = found.kind;
        check_options(&found, &options)?;
        if found.base_dir.to_str().is_none() {
            let message = format!("{} is in a folder whose name is not UTF-8; rename it", found.display_name);
            return Err(InputError::InvalidOptions(message));
        }
        let caption_settings = match options.captions {
            Some(captions) if kind == InputKind::Pictures => Some(CaptionSettings {
                dir: captions
                    .dir
                    .map(|dir| absolute(&dir).map_err(|error| InputError::unreadable(&dir, error)))
                    .transpose()?,
                existing: captions.existing,
                keeps_extension: captions.keeps_extension,
            }),
            _ => None,
        };
        let caption_prompt = options.default_caption_prompt.as_deref().unwrap_or(DEFAULT_CAPTION_PROMPT);
        let prompt = options.prompt.as_deref().or((kind == InputKind::Pictures).then_some(caption_prompt));
        let row_options = RowOptions {
            templates: Templates::compile(prompt, options.system.as_deref())?,
            default_params: options.default_params,
            base_dir: found.base_dir,
            captions: caption_settings,
            max_rows: options.max_rows,
            kept_fields: options.kept_fields,
            legacy_rows: options.legacy_rows,
            allows_extra_pictures: options.allows_extra_pictures,
            model_check: options.model_check,
        };
        let FoundInput { source, run_name, display_name, spool, .. } = found;
        Ok(Self {
            kind,
            display_name: display_name.into(),
            run_name,
            source,
            row_options: Arc::new(row_options),
            spool,
            has_ended: None,
        })
    }

    /// Path of a pipe's copy until [`Self::commit_copy`] moves it to `spool`.
    pub fn uncommitted_copy_path(spool: &Path) -> PathBuf {
        spool::new_copy_path(spool)
    }

    /// Compares the new copy of a pipe with the one kept from an earlier start.
    pub fn diff_with_kept(&self) -> Result<SpoolDiff, InputError> {
        let Some(spool) = &self.spool else { return Ok(SpoolDiff::ContainsKept) };
        spool.diff_with_kept().map_err(|source| InputError::Spool { path: spool.path().to_owned(), source })
    }

    /// Makes the new copy of a pipe the run's input. Does nothing for other inputs.
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
}

/// True if the argument means a pipe: `-`, or a name that the shell or the system makes up, like `/dev/fd/63`.
fn is_pipe(argument: &str) -> bool {
    argument == "-" || ["/dev/fd", "/dev/stdin", "/proc"].iter().any(|pipes| Path::new(argument).starts_with(pipes))
}

/// Removes parts that don't change the meaning of a path: `./pics//2026/` becomes `pics/2026`.
fn normalize_path(path: &str) -> String {
    let normalized: PathBuf = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
    if normalized.as_os_str().is_empty() { path.to_owned() } else { normalized.to_string_lossy().into_owned() }
}

fn check_options(found: &FoundInput, options: &InputOptions) -> Result<(), InputError> {
    let refuse = |message: String| Err(InputError::InvalidOptions(message));
    if found.kind.is_batch() && options.prompt.is_some() {
        return refuse(format!(
            "{} contains {}, which are complete requests: leave out --prompt",
            found.display_name, found.kind
        ));
    }
    let dir = options.captions.as_ref().and_then(|captions| captions.dir.as_ref());
    match dir {
        Some(_) if found.kind != InputKind::Pictures => {
            refuse(format!("{} contains {}, not pictures: leave out --captions", found.display_name, found.kind))
        }
        Some(dir) if dir.to_str().is_none() => refuse(format!("--captions {} is not UTF-8", dir.display())),
        Some(dir) if dir.exists() && !dir.is_dir() => refuse(format!("--captions {} is not a folder", dir.display())),
        _ => Ok(()),
    }
}

fn find_input(argument: &str, spool: &Path, options: &InputOptions) -> Result<FoundInput, InputError> {
    let max_pipe_bytes = options.max_pipe_bytes.unwrap_or(spool::DEFAULT_MAX_PIPE_BYTES);
    let line_format = options.line_format;
    if argument == "-" {
        return open_pipe(
            spool::copy_stdin(spool, max_pipe_bytes)?,
            Path::new("standard input"),
            PIPE_RUN_NAME.to_owned(),
            options,
        );
    }
    let path = Path::new(argument);
    let absolute_path = absolute(path).map_err(|error| InputError::unreadable(path, error))?;
    let metadata = match fs::metadata(&absolute_path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound && argument.contains(WILDCARDS) => {
            refuse_line_format(line_format, argument, "is a pattern")?;
            return open_glob(argument);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(InputError::NotFound(argument.to_owned())),
        Err(error) => return Err(InputError::unreadable(path, error)),
    };
    let name = Input::run_name_of(argument);
    if metadata.is_dir() {
        refuse_line_format(line_format, argument, "is a folder")?;
        return open_pictures(ImageSource::Folder(absolute_path), argument, name);
    }
    let base_dir = absolute_path.parent().unwrap_or(&absolute_path).to_owned();
    if metadata.is_file() {
        return open_file(&absolute_path, path, &base_dir, name, options);
    }
    // A named pipe, `<(command)` or /dev/stdin, which can be read only once.
    let stream = File::open(&absolute_path).map_err(|error| InputError::unreadable(path, error))?;
    open_pipe(spool::copy_named_stream(stream, spool, argument, max_pipe_bytes)?, path, name, options)
}

/// Refuses `--list` and `--lines` for an input that is not a text file.
fn refuse_line_format(line_format: LineFormat, display_path: &str, message: &str) -> Result<(), InputError> {
    let option = match line_format {
        LineFormat::Detect => return Ok(()),
        LineFormat::Pictures => "--list",
        LineFormat::Prompts => "--lines",
    };
    Err(InputError::InvalidOptions(format!(
        "{option} applies only to text files, but {display_path} {message}: leave it out"
    )))
}

fn open_pipe(
    spool: Spool,
    display_path: &Path,
    name: String,
    options: &InputOptions,
) -> Result<FoundInput, InputError> {
    let found = open_file(spool.path(), display_path, &current_dir()?, name, options)?;
    if matches!(found.source, InputSource::Pictures(ImageSource::Single { .. })) {
        let message =
            "is a picture, whose path determines its name and where its caption goes: give the path instead of a pipe";
        return Err(InputError::unsupported_format(display_path, message));
    }
    Ok(FoundInput { spool: Some(spool), ..found })
}

fn current_dir() -> Result<PathBuf, InputError> {
    env::current_dir().map_err(|error| InputError::unreadable(Path::new("."), error))
}

/// Opens a file: rows of some kind, a picture, or a list of pictures. `display_path` is its name in messages.
fn open_file(
    path: &Path,
    display_path: &Path,
    base_dir: &Path,
    run_name: String,
    options: &InputOptions,
) -> Result<FoundInput, InputError> {
    let display_name = display_path.display().to_string();
    let (kind, source) = match detect(path, display_path, base_dir, options)? {
        DetectedFormat::Rows(kind) => (kind, InputSource::Lines(path.to_owned())),
        DetectedFormat::Csv { delimiter } => (InputKind::Csv, InputSource::Csv { path: path.to_owned(), delimiter }),
        DetectedFormat::List { base_dir: base } => {
            return open_pictures(ImageSource::List { file: path.to_owned(), base_dir: base }, &display_name, run_name);
        }
        DetectedFormat::Picture => {
            refuse_line_format(options.line_format, &display_name, "is a picture")?;
            let file = path.file_name().and_then(|file| file.to_str());
            let file = file.ok_or_else(|| {
                InputError::unsupported_format(display_path, "has a name that is not UTF-8; rename it")
            })?;
            let base = path.parent().unwrap_or(base_dir).to_owned();
            let image_source = ImageSource::Single { base_dir: base, name: file.to_owned() };
            return open_pictures(image_source, &display_name, run_name);
        }
    };
    Ok(FoundInput { kind, source, base_dir: base_dir.to_owned(), run_name, display_name, spool: None })
}

fn open_glob(pattern: &str) -> Result<FoundInput, InputError> {
    let source = glob_source(&current_dir()?, pattern);
    if let ImageSource::Glob { pattern: absolute_pattern, .. } = &source {
        glob::Pattern::new(absolute_pattern).map_err(|error| {
            InputError::unsupported_format(Path::new(pattern), format!("is not a valid pattern: {error}"))
        })?;
    }
    open_pictures(source, pattern, Input::run_name_of(pattern))
}

/// Makes a pattern absolute. The name of `folder` is escaped, since it may contain wildcard characters.
fn glob_source(folder: &Path, pattern: &str) -> ImageSource {
    let base_dir = folder
        .join(Path::new(pattern).components().take_while(|component| !has_wildcard(component)).collect::<PathBuf>());
    let absolute_pattern = if Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        format!("{}/{}", glob::Pattern::escape(&folder.to_string_lossy()), strip_dot_slash(pattern))
    };
    ImageSource::Glob { pattern: absolute_pattern, base_dir }
}

fn open_pictures(image_source: ImageSource, label: &str, run_name: String) -> Result<FoundInput, InputError> {
    // A batch with errors is accepted here: validation reports the errors.
    let mut excluded = Vec::new();
    let mut batches = image_source.batches().inspect(|batch| excluded.extend_from_slice(&batch.excluded));
    let first = batches.find(|batch| !batch.pictures.is_empty() || !batch.errors.is_empty());
    drop(batches);
    if let Some(batch) = &first {
        refuse_unsendable_list(batch, label)?;
    } else if !excluded.is_empty() {
        let message = format!("contains no picture that can be used:{}", list_places(label, &excluded));
        return Err(InputError::unsupported_format(Path::new(label), message));
    } else {
        let advice = match &image_source {
            ImageSource::Glob { .. } => "; a glob can only name pictures, and rows must be given as one file",
            _ => "",
        };
        return Err(InputError::NoPictures { place: label.to_owned(), advice });
    }
    let base_dir = image_source.base_dir().to_owned();
    let (source, display_name) = (InputSource::Pictures(image_source), label.to_owned());
    Ok(FoundInput { kind: InputKind::Pictures, source, base_dir, run_name, display_name, spool: None })
}

/// Refuses a list if none of its pictures can be sent. Then the file is probably not a list, or its paths are relative
/// to another folder.
fn refuse_unsendable_list(batch: &ImageBatch, label: &str) -> Result<(), InputError> {
    if batch.unsendable.len() < batch.pictures.len() || batch.unsendable.is_empty() {
        return Ok(());
    }
    let message = format!(
        "is a list of pictures, but none of them can be sent:{}\nUse --lines if its lines are prompts",
        list_places(label, &batch.unsendable)
    );
    Err(InputError::unsupported_format(Path::new(label), message))
}

/// Lists the first `places` for a message, one a line, and the number of the others. A place is a line number (0 if
/// there is none) and a message.
pub(super) fn list_places(label: &str, places: &[(u64, String)]) -> String {
    const MAX_LISTED: usize = 20;
    let named = places.iter().take(MAX_LISTED).map(|(line, message)| match line {
        0 => format!("\n  {message}"),
        line => format!("\n  {label}:{line}: {message}"),
    });
    let more = places.len().saturating_sub(MAX_LISTED);
    named.chain((more > 0).then(|| format!("\n  … and {more} more"))).collect()
}

/// The end of a pattern, from the last folder before its first wildcard: `photos/*.jpg` for `/home/me/photos/*.jpg`.
fn glob_tail(pattern: &Path) -> PathBuf {
    let components: Vec<_> = pattern.components().collect();
    let first_wildcard = components.iter().position(has_wildcard).unwrap_or(0);
    components[first_wildcard.saturating_sub(1)..].iter().collect()
}

fn has_wildcard(component: &Component<'_>) -> bool {
    component.as_os_str().to_string_lossy().contains(WILDCARDS)
}

/// Makes a safe folder name: `photos-jpg` for `photos/*.jpg`.
fn folder_name(name: &str) -> String {
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
    fn run_names_are_safe_folder_names() {
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
            assert_eq!(Input::run_name_of(argument), want, "{argument}");
        }
    }

    #[test]
    fn spellings_of_one_path_are_normalized() {
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
            assert_eq!(Input::normalize_argument(argument), want, "{argument}");
        }
    }

    #[test]
    fn brackets_in_the_working_directory_are_no_pattern() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("[2026] summer");
        fs::create_dir_all(odd.join("sub")).unwrap();
        fs::write(odd.join("sub/a.png"), "").unwrap();
        for pattern in ["sub/*.png", "./sub/*.png", "*/a.png"] {
            let batches: Vec<_> = glob_source(&odd, pattern).batches().collect();
            assert_eq!(batches.len(), 1, "{pattern}");
            let path = &batches[0].pictures[0].1;
            assert_eq!(&**path, if pattern.starts_with('*') { "sub/a.png" } else { "a.png" });
        }
    }
}
