//! `[[check]]`: what an answer must satisfy, for all items, by rule or for rows that name the check.

use std::{
    env,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::unistd::{AccessFlags, access};

use super::{
    defaults::Defaults,
    env_vars::EnvVars,
    error::{format_suggestion, join_alternatives, quote_unless_secret},
    json_schema,
    providers::check_name,
    schema,
    toml_reader::{TomlField, TomlTable},
};
use crate::{
    checks::{AnswerCondition, AppliesTo, Check, CheckCommand, CheckSet, JsonSchema},
    domain::{JsonMode, RoutingRule},
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RETRIES: u32 = 1;
/// Number of bytes of a program that are read, to find the interpreter of a script.
const MAX_FIRST_LINE: u64 = 256;

/// The settings that the readers of a check need besides its table.
struct Context<'c> {
    /// Paths start from here.
    directory: &'c Path,
    defaults: &'c Defaults,
    env_vars: &'c EnvVars<'c>,
}

/// Reads the checks. Paths in the file start from `directory`.
pub(super) fn read(
    root: &TomlTable<'_>,
    directory: &Path,
    rules: &[RoutingRule],
    defaults: &Defaults,
    env_vars: &EnvVars<'_>,
) -> CheckSet {
    let context = Context { directory, defaults, env_vars };
    let mut checks: Vec<Check> = Vec::new();
    for table in root.tables("check", &schema::CHECK) {
        let name = table.required_text("name");
        let check = Check {
            name: name.map(|name| name.text.to_owned()).unwrap_or_default(),
            applies_to: read_selection(&table, rules),
            conditions: read_conditions(&table, &context),
            retries: table.count("retries", 0..=1_000).unwrap_or(DEFAULT_RETRIES),
            explains: table.flag("explain").unwrap_or_default(),
        };
        let Some(name) = name else { continue };
        check_name(table.doc, "a check's name", name);
        if name.text.contains(',') {
            let message = "a check's name must not contain a comma, since rows separate names with commas";
            table.doc.add_error(name.offset, message);
        }
        if checks.iter().any(|other| other.name == check.name) {
            let message = format!("a check named {} is already defined", quote_unless_secret(name.text));
            table.doc.add_error(name.offset, message);
        }
        checks.push(check);
    }
    CheckSet::new(checks, rules)
}

fn read_selection(table: &TomlTable<'_>, rules: &[RoutingRule]) -> AppliesTo {
    let is_per_row = table.flag("per_row").unwrap_or_default();
    let Some(field) = table.field("rules") else {
        return if is_per_row { AppliesTo::NamedByRow } else { AppliesTo::All };
    };
    if is_per_row {
        table.doc.add_error(field.offset, "rules and per_row are both set; leave one out");
    }
    let mut names = Vec::new();
    for name in field.list("names of rules").unwrap_or_default().iter().filter_map(TomlField::text) {
        let known = || rules.iter().map(|rule| rule.name.as_str());
        if known().any(|rule| rule == name.text) {
            names.push(name.text.to_owned());
            continue;
        }
        let advice = match known().count() {
            0 => String::new(),
            _ => format!("{}; use {}", format_suggestion(name.text, known()), join_alternatives(known())),
        };
        let message = format!("rules: there is no [[rule]] named {}{advice}", quote_unless_secret(name.text));
        table.doc.add_error(name.offset, message);
    }
    AppliesTo::Rules(names)
}

/// The conditions, cheap ones first.
fn read_conditions(table: &TomlTable<'_>, context: &Context<'_>) -> Vec<AnswerCondition> {
    let mut conditions = Vec::new();
    if table.flag("json") == Some(true) {
        conditions.push(AnswerCondition::Json);
    }
    let min: Option<u64> = table.count("min_words", 1..=1_000_000_000);
    let max: Option<u64> = table.count("max_words", 0..=1_000_000_000);
    if let (Some(min), Some(max), Some(field)) = (min, max, table.field("max_words"))
        && min > max
    {
        table.doc.add_error(field.offset, format!("max_words = {max} is less than min_words = {min}"));
    }
    conditions.extend(min.map(AnswerCondition::MinWords));
    conditions.extend(max.map(AnswerCondition::MaxWords));
    if let Some(phrases) = table.field("not_contains").and_then(|field| field.list("phrases")) {
        let phrases = phrases.iter().filter_map(TomlField::text).map(|phrase| phrase.text.to_owned());
        conditions.push(AnswerCondition::NotContains(phrases.collect()));
    }
    conditions.extend(table.field("regex").and_then(|field| read_regex(&field)));
    conditions.extend(table.field("schema").and_then(|field| read_schema(&field, context)));
    conditions.extend(read_command(table, context).map(AnswerCondition::Command));
    let condition_names = ["json", "schema", "regex", "min_words", "max_words", "not_contains", "command"];
    // A condition with an error has been reported already. `json = false` is none.
    let is_any_set =
        condition_names.iter().any(|name| table.field(name).is_some_and(|it| it.value.as_bool() != Some(false)));
    if !is_any_set {
        let message = format!("this check tests nothing; set {}", join_alternatives(condition_names.into_iter()));
        table.doc.add_error(table.offset, message);
    }
    conditions
}

fn read_regex(field: &TomlField<'_>) -> Option<AnswerCondition> {
    let pattern = field.text()?.text;
    AnswerCondition::regex(pattern).map_err(|reason| field.doc.add_error(field.offset, format!("regex: {reason}"))).ok()
}

fn read_schema(field: &TomlField<'_>, context: &Context<'_>) -> Option<AnswerCondition> {
    let report = |whose: &str, reason: &str| {
        field.doc.add_error(field.offset, format!("schema: {whose} can't be used: {reason}"));
    };
    if field.value.as_str() == Some("request") {
        if let Some(JsonMode::Schema(schema)) = &context.defaults.params.json
            && let Err(reason) = JsonSchema::compile(schema)
        {
            report("json of [defaults]", &reason);
        }
        return Some(AnswerCondition::RequestSchema);
    }
    let expected = "\"request\", \"file:SCHEMA.json\", or a schema as a table";
    let schema = json_schema::read(field, context.directory, expected)?;
    JsonSchema::compile(&schema).map(AnswerCondition::Schema).map_err(|reason| report("it", &reason)).ok()
}

fn read_command(table: &TomlTable<'_>, context: &Context<'_>) -> Option<CheckCommand> {
    let timeout = table.positive_duration("timeout");
    let Some(field) = table.field("command") else {
        if let Some(field) = table.field("timeout") {
            table.doc.add_error(field.offset, "timeout is the time limit of command, which is not set");
        }
        return None;
    };
    let mut words = Vec::new();
    for entry in field.list("the program and its arguments")? {
        let Some(word) = entry.value.as_str() else {
            entry.wrong_type("a list of strings in quotes");
            return None;
        };
        words.push(word.to_owned());
    }
    let report = |reason: &str| {
        let message = format!("command: {} {reason}", quote_unless_secret(&words[0]));
        table.doc.add_error(field.offset, message);
    };
    let (program, file) = find_program(&words[0], context).or_else(|| {
        let message = format!("command: there is no program {} that can be run", quote_unless_secret(&words[0]));
        table.doc.add_error(field.offset, message);
        None
    })?;
    if let Some(reason) = file.and_then(|file| start_obstacle(&file, context)) {
        report(&reason);
        return None;
    }
    Some(CheckCommand { program, args: words.split_off(1), timeout: timeout.unwrap_or(DEFAULT_TIMEOUT) })
}

/// The program to start, and its file if that is known. A path starts from the folder of keys.toml, a name is looked for
/// in `PATH`.
fn find_program(program: &str, context: &Context<'_>) -> Option<(String, Option<PathBuf>)> {
    if program.contains('/') {
        let path = std::path::absolute(context.directory.join(program)).ok()?;
        return is_executable(&path).then(|| Some((path.to_str()?.to_owned(), Some(path.clone())))).flatten();
    }
    if program.is_empty() {
        return None;
    }
    let Some(path) = context.env_vars.get_from_environment("PATH") else {
        // The system then looks in its own folders.
        return Some((program.to_owned(), None));
    };
    find_in_folders(&path, program).map(|file| (program.to_owned(), Some(file)))
}

/// The file of a program in the folders of a `PATH`.
fn find_in_folders(path: &str, program: &str) -> Option<PathBuf> {
    env::split_paths(path).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

/// Whether the path is a file that this user may execute.
fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

/// Why an executable file can't be started nevertheless: it is a script without an interpreter. `None` if nothing is known
/// against it.
fn start_obstacle(file: &Path, context: &Context<'_>) -> Option<String> {
    let mut start = Vec::new();
    File::open(file).and_then(|file| file.take(MAX_FIRST_LINE).read_to_end(&mut start)).ok()?;
    let Some(line) = start.strip_prefix(b"#!") else {
        // Programs of every format that systems know have such bytes at their start.
        let is_text = !start.iter().any(|byte| *byte == 0 || *byte >= 0x80);
        return is_text
            .then(|| "is a text without a first line that names its interpreter, such as #!/bin/sh".to_owned());
    };
    let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let interpreter = words.next().unwrap_or_default();
    if !is_executable(Path::new(interpreter)) {
        return Some(format!("names the interpreter {interpreter:?} in its first line, which can't be run"));
    }
    let name = words.next().filter(|word| !word.starts_with('-') && !word.contains('='))?;
    let path = context.env_vars.get_from_environment("PATH")?;
    let is_missing = interpreter.ends_with("/env") && !name.contains('/') && find_in_folders(&path, name).is_none();
    is_missing.then(|| format!("names the interpreter {name:?} in its first line, which is not in PATH"))
}
