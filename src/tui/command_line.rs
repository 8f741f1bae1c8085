//! Parses and completes the command line: every action by its name, and the commands with arguments.

use super::{action::Action, keymap::all_actions, state::State};
use crate::domain::{
    CascadeOrder, Command, Money, Named, OnExhausted, Outcome, ReplayFilter, Snapshot, Strategy, WhenLimited,
};

/// A parsed command line.
#[derive(Clone, PartialEq, Debug)]
pub enum ParsedLine {
    Empty,
    Action(Action),
    Command(Command),
    /// Shows the items in any state that match a text.
    FindItems(String),
    /// Shows the item at this position of the input, from 1.
    OpenItem(u64),
}

/// A possible completion of the line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineCompletion {
    /// The whole line.
    pub text: String,
    pub description: String,
}

/// A command with arguments.
struct CommandSpec {
    name: &'static str,
    usage: &'static str,
    /// The expected arguments, for the error message.
    expects: &'static str,
    description: &'static str,
}

impl CommandSpec {
    fn usage_error(&self, rest: &str) -> String {
        let typed = if rest.is_empty() { String::new() } else { format!(", not {rest}") };
        format!("{} expects {}{typed}", self.name, self.expects)
    }
}

/// Shows items that match a text. This and [`ITEM_COMMAND`] are the only commands with arguments that a read-only
/// screen allows.
const FIND_COMMAND: &str = "find";
const ITEM_COMMAND: &str = "item";

const COMMANDS: [CommandSpec; 12] = [
    CommandSpec {
        name: "in-flight",
        usage: "in-flight N",
        expects: "a whole number, at least 1 (pause stops sending)",
        description: "maximum number of attempts in flight",
    },
    CommandSpec {
        name: "budget",
        usage: "budget USD | none",
        expects: "dollars, like 2.50, or none",
        description: "hard cap on the run's spend",
    },
    CommandSpec {
        name: "strategy",
        usage: "strategy NAME",
        expects: "a strategy's name",
        description: "which of the ready routes an item uses",
    },
    CommandSpec {
        name: "order",
        usage: "order key-first | model-first",
        expects: "key-first or model-first",
        description: "the order of the cascade",
    },
    CommandSpec {
        name: "when-limited",
        usage: "when-limited spill | wait",
        expects: "spill or wait",
        description: "when a route is full or cooling",
    },
    CommandSpec {
        name: "on-exhausted",
        usage: "on-exhausted stop | wait",
        expects: "stop or wait",
        description: "when all day quotas are spent",
    },
    CommandSpec {
        name: "key",
        usage: "key NAME on | off",
        expects: "a key's name, then on or off",
        description: "switch a key",
    },
    CommandSpec {
        name: "model",
        usage: "model NAME on | off",
        expects: "a model's name, then on or off",
        description: "switch a model",
    },
    CommandSpec {
        name: "route",
        usage: "route MODEL@KEY on | off",
        expects: "MODEL@KEY, then on or off",
        description: "switch a route",
    },
    CommandSpec {
        name: "replay-outcome",
        usage: "replay-outcome NAME",
        expects: "an outcome, like timeout",
        description: "queue the items with this outcome again",
    },
    CommandSpec {
        name: FIND_COMMAND,
        usage: "find TEXT",
        expects: "a text",
        description: "items of any state, by id, question, answer or error",
    },
    CommandSpec {
        name: ITEM_COMMAND,
        usage: "item N",
        expects: "an item's position in the input, at least 1",
        description: "the N-th item of the input",
    },
];

/// Parses a command line.
///
/// # Errors
/// If there is no such command, or its arguments are wrong; the message is for the operator.
pub fn parse(line: &str, snapshot: &Snapshot) -> Result<ParsedLine, String> {
    let line = line.trim().trim_start_matches(':').trim_start();
    let (name, rest) = line.split_once(' ').map_or((line, ""), |(name, rest)| (name, rest.trim()));
    if name.is_empty() {
        return Ok(ParsedLine::Empty);
    }
    if rest.is_empty()
        && let Some(action) = all_actions().find(|action| action.command_name() == Some(name))
    {
        return Ok(ParsedLine::Action(action));
    }
    if name == FIND_COMMAND {
        return Ok(ParsedLine::FindItems(rest.to_owned()));
    }
    let Some(spec) = COMMANDS.iter().find(|spec| spec.name == name) else {
        return Err(format!("there is no command {name}"));
    };
    if name == ITEM_COMMAND {
        return match rest.parse() {
            Ok(number) if (1..=snapshot.totals.total).contains(&number) => Ok(ParsedLine::OpenItem(number)),
            Ok(0) | Err(_) => Err(spec.usage_error(rest)),
            Ok(_) => Err(format!("there are {} items", snapshot.totals.total)),
        };
    }
    parse_command(spec, rest, snapshot).map(ParsedLine::Command)
}

fn parse_command(spec: &CommandSpec, rest: &str, snapshot: &Snapshot) -> Result<Command, String> {
    let usage_error = || spec.usage_error(rest);
    match spec.name {
        "in-flight" => match rest.parse() {
            Ok(max_in_flight) if max_in_flight > 0 => Ok(Command::SetMaxInFlight { max_in_flight }),
            _ => Err(usage_error()),
        },
        "budget" if rest == "none" => Ok(Command::SetBudget { max_usd: None }),
        "budget" => {
            let amount = rest.trim_start_matches('$').parse().ok().and_then(Money::from_usd);
            amount.map(|amount| Command::SetBudget { max_usd: Some(amount) }).ok_or_else(usage_error)
        }
        "strategy" => find_named(rest).map(|strategy| Command::SetStrategy { strategy }).ok_or_else(usage_error),
        "order" => find_named(rest).map(|order| Command::SetCascadeOrder { order }).ok_or_else(usage_error),
        "when-limited" => {
            find_named(rest).map(|when_limited| Command::SetWhenLimited { when_limited }).ok_or_else(usage_error)
        }
        "on-exhausted" => {
            find_named(rest).map(|on_exhausted| Command::SetOnExhausted { on_exhausted }).ok_or_else(usage_error)
        }
        "replay-outcome" => {
            let outcome = find_named(rest).ok_or_else(usage_error)?;
            Ok(Command::Replay {
                filter: ReplayFilter { outcomes: vec![outcome], ..ReplayFilter::default() },
                target: None,
            })
        }
        _ => parse_switch(spec, rest, snapshot),
    }
}

/// Parses `NAME on` or `NAME off` for a key, model or route that exists.
fn parse_switch(spec: &CommandSpec, rest: &str, snapshot: &Snapshot) -> Result<Command, String> {
    let (name, on) = match rest.rsplit_once(' ') {
        Some((name, "on")) => (name.trim(), true),
        Some((name, "off")) => (name.trim(), false),
        _ => return Err(spec.usage_error(rest)),
    };
    let missing = || format!("there is no {} {name}", spec.name);
    match spec.name {
        "key" => {
            let key = snapshot.keys.iter().find(|view| view.name == name).ok_or_else(missing)?;
            Ok(Command::SetKey { key: key.name.clone(), on })
        }
        "model" => {
            let model = snapshot.models.iter().find(|view| view.name == name).ok_or_else(missing)?;
            Ok(Command::SetModel { model: model.name.clone(), on })
        }
        _ => {
            let route = snapshot.routes.iter().find(|view| route_name(&view.key, &view.model) == name);
            let route = route.ok_or_else(missing)?;
            Ok(Command::SetRoute { key: route.key.clone(), model: route.model.clone(), on })
        }
    }
}

fn route_name(key: &str, model: &str) -> String {
    format!("{model}@{key}")
}

/// The value with this name.
fn find_named<T: Named>(name: &str) -> Option<T> {
    let is_same = |(known, _): &&(&str, T)| normalize_name(known) == normalize_name(name);
    T::NAMED.iter().find(is_same).map(|(_, value)| *value)
}

/// The names of all values, as they are completed.
fn names_of<T: Named>() -> Vec<String> {
    T::NAMED.iter().map(|(name, _)| normalize_name(name)).collect()
}

/// Normalizes a name: hyphens, underscores and spaces are the same, and so are upper and lower case.
fn normalize_name(name: &str) -> String {
    name.trim().replace(['_', ' '], "-").to_ascii_lowercase()
}

/// Completions of `line`: first those that begin with it, then those that contain it.
pub fn completions(line: &str, state: &State, snapshot: &Snapshot) -> Vec<LineCompletion> {
    let line = line.trim_start().trim_start_matches(':').trim_start();
    let (candidates, typed) = match line.split_once(' ') {
        None => (command_completions(state.read_only), line),
        Some(_) if state.read_only => (Vec::new(), line),
        Some((name, _)) => (argument_completions(name, snapshot), line),
    };
    let starts_with_typed = |completion: &LineCompletion| completion.text.starts_with(typed);
    let contains_typed =
        |completion: &LineCompletion| !starts_with_typed(completion) && completion.text.contains(typed);
    let first = candidates.iter().filter(|completion| starts_with_typed(completion));
    let then = candidates.iter().filter(|completion| contains_typed(completion));
    first.chain(then).cloned().collect()
}

/// The longest common prefix of the completions that begin with `typed`, if it is longer than `typed`.
pub fn common_prefix(completions: &[LineCompletion], typed: &str) -> Option<String> {
    let typed = typed.trim_start().trim_start_matches(':').trim_start();
    let mut candidates =
        completions.iter().map(|completion| completion.text.as_str()).filter(|text| text.starts_with(typed));
    let first = candidates.next()?;
    let common = candidates.fold(first, |common, text| {
        let first_difference = common.char_indices().zip(text.chars()).find(|((_, a), b)| a != b);
        &common[..first_difference.map_or(common.len().min(text.len()), |((at, _), _)| at)]
    });
    (common.len() > typed.len()).then(|| common.to_owned())
}

/// Completions for the name of a command. A read-only screen doesn't offer commands that it would reject.
fn command_completions(read_only: bool) -> Vec<LineCompletion> {
    let offered = all_actions().filter(|action| !(read_only && action.changes_run()));
    let actions = offered.filter_map(|action| {
        Some(LineCompletion { text: action.command_name()?.to_owned(), description: action.help_text().to_owned() })
    });
    let specs =
        COMMANDS.iter().filter(|spec| !read_only || [FIND_COMMAND, ITEM_COMMAND].contains(&spec.name)).map(|spec| {
            LineCompletion {
                text: format!("{} ", spec.name),
                description: format!("{} ({})", spec.description, spec.usage),
            }
        });
    let mut names: Vec<_> = actions.chain(specs).collect();
    names.sort_by(|a, b| a.text.cmp(&b.text));
    names
}

/// Completions for the arguments of a command; each repeats the command's name.
fn argument_completions(name: &str, snapshot: &Snapshot) -> Vec<LineCompletion> {
    let Some(spec) = COMMANDS.iter().find(|spec| spec.name == name) else { return Vec::new() };
    let switches = |names: Vec<String>| -> Vec<String> {
        names.into_iter().flat_map(|name| [format!("{name} off"), format!("{name} on")]).collect()
    };
    let arguments: Vec<String> = match name {
        "budget" => vec!["none".to_owned()],
        "strategy" => names_of::<Strategy>(),
        "order" => names_of::<CascadeOrder>(),
        "when-limited" => names_of::<WhenLimited>(),
        "on-exhausted" => names_of::<OnExhausted>(),
        "key" => switches(snapshot.keys.iter().map(|key| key.name.clone()).collect()),
        "model" => switches(snapshot.models.iter().map(|model| model.name.clone()).collect()),
        "route" => switches(snapshot.routes.iter().map(|route| route_name(&route.key, &route.model)).collect()),
        "replay-outcome" => Outcome::ALL.iter().map(|outcome| outcome.name().to_owned()).collect(),
        _ => Vec::new(),
    };
    let completion = |argument: String| LineCompletion {
        text: format!("{name} {argument}"),
        description: spec.description.to_owned(),
    };
    arguments.into_iter().map(completion).collect()
}
