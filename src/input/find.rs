//! Finds what an argument names, detects its format, and refuses options that don't fit.

use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf, absolute},
};

use super::{
    argument::{expand_braces, has_wildcard, is_pattern},
    detect::{DetectedFormat, detect},
    error::{InputError, list_places},
    image_batch::ImageBatch,
    image_source::ImageSource,
    kind::InputKind,
    listed_path::strip_dot_slash,
    options::{InputOptions, LineFormat},
    spool::{self, Spool},
};

/// Where the rows or pictures of an input come from.
pub(super) enum InputSource {
    Lines(PathBuf),
    Csv { path: PathBuf, delimiter: u8 },
    Pictures(ImageSource),
}

/// The input that an argument names.
pub(super) struct FoundInput {
    pub kind: InputKind,
    pub source: InputSource,
    pub base_dir: PathBuf,
    pub display_name: String,
    pub spool: Option<Spool>,
}

/// Refuses options that don't fit the input.
pub(super) fn check_options(found: &FoundInput, options: &InputOptions) -> Result<(), InputError> {
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

/// Finds the input that `argument` names. A pipe is copied beside `spool`.
pub(super) fn find_input(argument: &str, spool: &Path, options: &InputOptions) -> Result<FoundInput, InputError> {
    let max_pipe_bytes = options.max_pipe_bytes.unwrap_or(spool::DEFAULT_MAX_PIPE_BYTES);
    let line_format = options.line_format;
    if argument == "-" {
        return open_pipe(spool::copy_stdin(spool, max_pipe_bytes)?, Path::new("standard input"), options);
    }
    let path = Path::new(argument);
    let absolute_path = absolute(path).map_err(|error| InputError::unreadable(path, error))?;
    let metadata = match fs::metadata(&absolute_path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_pattern(argument) => {
            refuse_line_format(line_format, argument, "is a pattern")?;
            return open_glob(argument);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(InputError::NotFound(argument.to_owned())),
        Err(error) => return Err(InputError::unreadable(path, error)),
    };
    if metadata.is_dir() {
        refuse_line_format(line_format, argument, "is a folder")?;
        return open_pictures(ImageSource::Folder(absolute_path), argument);
    }
    let base_dir = absolute_path.parent().unwrap_or(&absolute_path).to_owned();
    if metadata.is_file() {
        return open_file(&absolute_path, path, &base_dir, options);
    }
    // A named pipe, `<(command)` or /dev/stdin, which can be read only once.
    let stream = File::open(&absolute_path).map_err(|error| InputError::unreadable(path, error))?;
    open_pipe(spool::copy_named_stream(stream, spool, argument, max_pipe_bytes)?, path, options)
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

fn open_pipe(spool: Spool, display_path: &Path, options: &InputOptions) -> Result<FoundInput, InputError> {
    let found = open_file(spool.path(), display_path, &current_dir()?, options)?;
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
    options: &InputOptions,
) -> Result<FoundInput, InputError> {
    let display_name = display_path.display().to_string();
    let (kind, source) = match detect(path, display_path, base_dir, options)? {
        DetectedFormat::Rows(kind) => (kind, InputSource::Lines(path.to_owned())),
        DetectedFormat::Csv { delimiter } => (InputKind::Csv, InputSource::Csv { path: path.to_owned(), delimiter }),
        DetectedFormat::List { base_dir: base } => {
            return open_pictures(ImageSource::List { file: path.to_owned(), base_dir: base }, &display_name);
        }
        DetectedFormat::Picture => {
            refuse_line_format(options.line_format, &display_name, "is a picture")?;
            let file = path.file_name().and_then(|file| file.to_str());
            let file = file.ok_or_else(|| {
                InputError::unsupported_format(display_path, "has a name that is not UTF-8; rename it")
            })?;
            let base = path.parent().unwrap_or(base_dir).to_owned();
            let image_source = ImageSource::Single { base_dir: base, name: file.to_owned() };
            return open_pictures(image_source, &display_name);
        }
    };
    Ok(FoundInput { kind, source, base_dir: base_dir.to_owned(), display_name, spool: None })
}

fn open_glob(pattern: &str) -> Result<FoundInput, InputError> {
    let source = glob_source(&current_dir()?, pattern);
    if let ImageSource::Glob { patterns, .. } = &source {
        for absolute_pattern in patterns {
            glob::Pattern::new(absolute_pattern).map_err(|error| {
                InputError::unsupported_format(Path::new(pattern), format!("is not a valid pattern: {error}"))
            })?;
        }
    }
    open_pictures(source, pattern)
}

/// Makes a pattern absolute. The name of `folder` is escaped, since it may contain wildcard characters.
fn glob_source(folder: &Path, pattern: &str) -> ImageSource {
    let base_dir = folder
        .join(Path::new(pattern).components().take_while(|component| !has_wildcard(component)).collect::<PathBuf>());
    let to_absolute = |pattern: String| {
        if Path::new(&pattern).is_absolute() {
            return pattern;
        }
        format!("{}/{}", glob::Pattern::escape(&folder.to_string_lossy()), strip_dot_slash(&pattern))
    };
    let patterns = expand_braces(pattern).into_iter().map(to_absolute).collect();
    ImageSource::Glob { patterns, base_dir }
}

fn open_pictures(image_source: ImageSource, label: &str) -> Result<FoundInput, InputError> {
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
    Ok(FoundInput { kind: InputKind::Pictures, source, base_dir, display_name, spool: None })
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

#[cfg(test)]
mod tests {
    use super::*;

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
