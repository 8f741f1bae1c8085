//! Environment variables. A `.env` file in the working directory supplies variables that are not set.

use std::{
    cell::OnceCell,
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
};

use dotenvy::Error as DotenvError;

use super::bounded_read::read_small_bytes;

/// Looks up an environment variable; `None` if it is not set. [`process_env`] looks it up in this process.
pub type EnvLookup<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// Looks up an environment variable of this process.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The variables of the environment and of the `.env`.
pub(super) struct EnvVars<'e> {
    lookup: &'e EnvLookup<'e>,
    dotenv_path: PathBuf,
    /// Read when a variable is first missing from the environment. Before that, problems in the file don't matter: it
    /// often belongs to another program.
    dotenv: OnceCell<Dotenv>,
}

#[derive(Default)]
struct Dotenv {
    values: HashMap<String, String>,
    /// Why some lines, or the file, could not be read.
    problems: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EnvVarSource {
    Environment,
    Dotenv,
}

impl<'e> EnvVars<'e> {
    pub fn new(lookup: &'e EnvLookup<'e>, dotenv_path: PathBuf) -> Self {
        Self { lookup, dotenv_path, dotenv: OnceCell::new() }
    }

    /// Returns a variable that is not blank: from the environment, or else from the `.env`.
    pub fn get(&self, name: &str) -> Option<(String, EnvVarSource)> {
        let is_not_blank = |value: &String| !value.trim().is_empty();
        if let Some(value) = (self.lookup)(name).filter(is_not_blank) {
            return Some((value, EnvVarSource::Environment));
        }
        let dotenv = self.dotenv.get_or_init(|| Dotenv::read(&self.dotenv_path));
        dotenv.values.get(name).filter(|value| is_not_blank(value)).map(|value| (value.clone(), EnvVarSource::Dotenv))
    }

    /// Returns a variable of the environment; the `.env` does not count.
    pub fn get_from_environment(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
    }

    pub fn dotenv_path(&self) -> &Path {
        &self.dotenv_path
    }

    /// Problems in the `.env`, if it was read.
    pub fn dotenv_problems(&self) -> &[String] {
        self.dotenv.get().map_or(&[], |dotenv| &dotenv.problems)
    }
}

impl fmt::Debug for EnvVars<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvVars").field("dotenv_path", &self.dotenv_path).finish_non_exhaustive()
    }
}

impl Dotenv {
    fn read(path: &Path) -> Self {
        let name = path.display();
        // A folder of this name may be a Python virtual environment.
        if !path.exists() || path.is_dir() {
            return Self::default();
        }
        let bytes = match read_small_bytes(path) {
            Ok(bytes) => bytes,
            Err(error) => return Self::with_problem(format!("{name} is ignored: it {error}")),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&text, &name.to_string()),
            Err(error) => {
                let (bytes, valid_bytes) = (error.as_bytes(), error.utf8_error().valid_up_to());
                let line = 1 + memchr::memchr_iter(b'\n', &bytes[..valid_bytes]).count();
                let utf_16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
                let encoding = if utf_16 { "not UTF-8 but UTF-16" } else { "not UTF-8" };
                Self::with_problem(format!("{name}:{line}: {encoding}; the file is ignored: save it as UTF-8"))
            }
        }
    }

    fn with_problem(problem: String) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }

    /// Parses a `.env`. If a name is set twice, the first one counts, as in other readers of such files.
    fn parse(text: &str, name: &str) -> Self {
        let mut dotenv = Self::default();
        let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().map(str::trim).collect();
        // The search for a bad line starts here: after the previous bad line, since equal lines may occur.
        let mut next_index = 0;
        for entry in dotenvy::Iter::new(text.trim_start_matches('\u{feff}').as_bytes()) {
            match entry {
                Ok((variable, value)) => {
                    dotenv.values.entry(variable).or_insert(value);
                }
                // The error contains the rest of the line, which may be a secret. Only the line number is reported.
                Err(DotenvError::LineParse(entry, _)) => {
                    let mut entry_lines = entry.lines();
                    let first_line = entry_lines.next().unwrap_or_default().trim();
                    // The error contains either the whole line or only its value.
                    let has_this_value =
                        |line: &str| line.split_once('=').is_some_and(|(_, value)| value.trim() == first_line);
                    let rest = &lines[next_index..];
                    let whole_line = rest.iter().position(|line| *line == first_line);
                    let index = next_index
                        + whole_line.or_else(|| rest.iter().position(|line| has_this_value(line))).unwrap_or_default();
                    next_index = (index + 1).min(lines.len());
                    let location = format!("{name}:{}", index + 1);
                    // The error contains several lines only if a quote is not closed.
                    let reason = if entry_lines.next().is_some() {
                        "a quote is opened here and never closed; the rest of the file is ignored"
                    } else {
                        "not a line of the form NAME=value, so it is ignored; a value that contains spaces or quotes must be \
                         quoted"
                    };
                    dotenv.problems.push(format!("{location}: {reason}"));
                }
                Err(_) => dotenv.problems.push(format!("{name} could not be read to the end")),
            }
        }
        dotenv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotenv_is_read_with_quotes_comments_and_export() {
        let dotenv = Dotenv::parse("\u{feff}# keys\nA=1\nexport B=\"x y\"\nA=2\nC='z' # why\n", ".env");
        let get = |name: &str| dotenv.values.get(name).map(String::as_str);
        assert_eq!((get("A"), get("B"), get("C")), (Some("1"), Some("x y"), Some("z")));
        assert!(dotenv.problems.is_empty());
    }

    #[test]
    fn a_bad_line_is_reported_by_number_without_its_text() {
        let dotenv = Dotenv::parse("A=1\nKEY=hunter2 hunter3\nB=2\n", ".env");
        let [problem] = &dotenv.problems[..] else { panic!("{:?}", dotenv.problems) };
        assert!(problem.starts_with(".env:2: not a line of the form NAME=value"), "{problem}");
        assert!(!problem.contains("hunter"), "{problem}");
        assert_eq!(dotenv.values.get("B").map(String::as_str), Some("2"));
    }
}
