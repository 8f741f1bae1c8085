//! The command line: every action by its name, and the commands that take a word or a number.

use crate::{
    domain::{CascadeOrder, Command, Money, OnExhausted, Outcome, ReplayFilter, Snapshot, Strategy, WhenLimited},
    tui::{action::Action, state::State, words},
};

/// What a line asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Parsed {
    Nothing,
    Action(Action),
    Command(Command),
    /// Shows the items, of any state, that match a text.
    Find(String),
    /// Shows the item at this place of the input, from 1.
    Item(u64),
}

/// One way to go on typing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// The whole line.
    pub text: String,
    pub meaning: String,
}

/// A command with words after its name.
struct Form {
    name: &'static str,
    usage: &'static str,
    /// What has to follow the name, for whoever wrote something else.
    takes: &'static str,
    meaning: &'static str,
}

impl Form {
    fn misused(&self, rest: &str) -> String {
        let typed = if rest.is_empty() { String::new() } else { format!(", not {rest}") };
        format!("{} takes {}{typed}", self.name, self.takes)
    }
}

/// The two with words after their name that a reader may use.
const FIND: &str = "find";
const ITEM: &str = "item";

const FORMS: [Form; 12] = [
    Form {
        name: "in-flight",
        usage: "in-flight N",
        takes: "a whole number from 1 up (pause stops sending)",
        meaning: "most attempts in flight at once",
    },
    Form {
        name: "budget",
        usage: "budget USD | none",
        takes: "dollars, like 2.50, or none",
        meaning: "hard cap on the run's spend",
    },
    Form {
        name: "strategy",
        usage: "strategy NAME",
        takes: "the name of one",
        meaning: "which of the ready routes an item takes",
    },
    Form {
        name: "order",
        usage: "order key-first | model-first",
        takes: "key-first or model-first",
        meaning: "the order of the cascade",
    },
    Form {
        name: "when-limited",
        usage: "when-limited spill | wait",
        takes: "spill or wait",
        meaning: "when a route is full or cooling",
    },
    Form {
        name: "on-exhausted",
        usage: "on-exhausted stop | wait",
        takes: "stop or wait",
        meaning: "when everything is out for the day",
    },
    Form { name: "key", usage: "key NAME on | off", takes: "a key's name, then on or off", meaning: "switch a key" },
    Form {
        name: "model",
        usage: "model NAME on | off",
        takes: "a model's name, then on or off",
        meaning: "switch a model",
    },
    Form {
        name: "route",
        usage: "route MODEL@KEY on | off",
        takes: "MODEL@KEY, then on or off",
        meaning: "switch a route",
    },
    Form {
        name: "replay-outcome",
        usage: "replay-outcome NAME",
        takes: "an outcome, like timeout",
        meaning: "queue items that failed like this again",
    },
    Form {
        name: FIND,
        usage: "find TEXT",
        takes: "a text",
        meaning: "items of any state, by id, question, answer or error",
    },
    Form {
        name: ITEM,
        usage: "item N",
        takes: "an item's place in the input, from 1 up",
        meaning: "the N-th item of the input",
    },
];

pub fn parse(line: &str, snapshot: &Snapshot) -> Result<Parsed, String> {
    let line = line.trim().trim_start_matches(':').trim_start();
    let (name, rest) = line.split_once(' ').map_or((line, ""), |(name, rest)| (name, rest.trim()));
    if name.is_empty() {
        return Ok(Parsed::Nothing);
    }
    if rest.is_empty()
        && let Some(action) = Action::named().find(|action| action.name() == Some(name))
    {
        return Ok(Parsed::Action(action));
    }
    if name == FIND {
        return Ok(Parsed::Find(rest.to_owned()));
    }
    let Some(form) = FORMS.iter().find(|form| form.name == name) else {
        return Err(format!("there is no command {name}"));
    };
    if name == ITEM {
        return match rest.parse() {
            Ok(place) if (1..=snapshot.totals.total).contains(&place) => Ok(Parsed::Item(place)),
            Ok(0) | Err(_) => Err(form.misused(rest)),
            Ok(_) => Err(format!("there are {} items", snapshot.totals.total)),
        };
    }
    command(form, rest, snapshot).map(Parsed::Command)
}

fn command(form: &Form, rest: &str, snapshot: &Snapshot) -> Result<Command, String> {
    let usage = || form.misused(rest);
    match form.name {
        "in-flight" => match rest.parse() {
            Ok(max_in_flight) if max_in_flight > 0 => Ok(Command::SetMaxInFlight { max_in_flight }),
            _ => Err(usage()),
        },
        "budget" if rest == "none" => Ok(Command::SetBudget { max_usd: None }),
        "budget" => {
            let amount = rest.trim_start_matches('$').parse().ok().and_then(Money::from_usd);
            amount.map(|amount| Command::SetBudget { max_usd: Some(amount) }).ok_or_else(usage)
        }
        "strategy" => {
            let strategy = Strategy::ALL.into_iter().find(|strategy| spelled(strategy.name()) == spelled(rest));
            strategy.map(|strategy| Command::SetStrategy { strategy }).ok_or_else(usage)
        }
        "order" => [CascadeOrder::KeyFirst, CascadeOrder::ModelFirst]
            .into_iter()
            .find(|order| spelled(words::order(*order)) == spelled(rest))
            .map(|order| Command::SetCascadeOrder { order })
            .ok_or_else(usage),
        "when-limited" => [WhenLimited::Spill, WhenLimited::Wait]
            .into_iter()
            .find(|when_limited| words::when_limited(*when_limited) == rest)
            .map(|when_limited| Command::SetWhenLimited { when_limited })
            .ok_or_else(usage),
        "on-exhausted" => [OnExhausted::Stop, OnExhausted::Wait]
            .into_iter()
            .find(|on_exhausted| words::on_exhausted(*on_exhausted) == rest)
            .map(|on_exhausted| Command::SetOnExhausted { on_exhausted })
            .ok_or_else(usage),
        "replay-outcome" => {
            let outcome = Outcome::from_name(&spelled(rest).replace('-', "_")).ok_or_else(usage)?;
            Ok(Command::Replay {
                filter: ReplayFilter { outcomes: vec![outcome], ..ReplayFilter::default() },
                target: None,
            })
        }
        _ => switch(form, rest, snapshot),
    }
}

/// `NAME on`, `NAME off`, for a key, model or route that exists.
fn switch(form: &Form, rest: &str, snapshot: &Snapshot) -> Result<Command, String> {
    let (name, on) = match rest.rsplit_once(' ') {
        Some((name, "on")) => (name.trim(), true),
        Some((name, "off")) => (name.trim(), false),
        _ => return Err(form.misused(rest)),
    };
    let missing = || format!("there is no {} {name}", form.name);
    match form.name {
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

/// Names are found with hyphens, underscores or spaces.
fn spelled(name: &str) -> String {
    name.trim().replace(['_', ' '], "-").to_ascii_lowercase()
}

/// Ways to go on from `line`, best first.
pub fn completions(line: &str, state: &State, snapshot: &Snapshot) -> Vec<Completion> {
    let line = line.trim_start().trim_start_matches(':').trim_start();
    let (candidates, typed) = match line.split_once(' ') {
        None => (names(state.read_only), line),
        Some(_) if state.read_only => (Vec::new(), line),
        Some((name, _)) => (arguments(name, snapshot), line),
    };
    let begins = |completion: &Completion| completion.text.starts_with(typed);
    let contains = |completion: &Completion| !begins(completion) && completion.text.contains(typed);
    let first = candidates.iter().filter(|completion| begins(completion));
    let then = candidates.iter().filter(|completion| contains(completion));
    first.chain(then).cloned().collect()
}

/// What all completions that go on from `typed` have in common, if that is more than was typed.
pub fn shared(completions: &[Completion], typed: &str) -> Option<String> {
    let typed = typed.trim_start().trim_start_matches(':').trim_start();
    let mut begun =
        completions.iter().map(|completion| completion.text.as_str()).filter(|text| text.starts_with(typed));
    let first = begun.next()?;
    let common = begun.fold(first, |common, text| {
        let differs = common.char_indices().zip(text.chars()).find(|((_, a), b)| a != b);
        &common[..differs.map_or(common.len().min(text.len()), |((at, _), _)| at)]
    });
    (common.len() > typed.len()).then(|| common.to_owned())
}

/// To a reader nothing is offered that would be refused.
fn names(read_only: bool) -> Vec<Completion> {
    let offered = Action::named().filter(|action| !(read_only && action.changes_run()));
    let actions = offered.filter_map(|action| {
        Some(Completion { text: action.name()?.to_owned(), meaning: action.sentence().to_owned() })
    });
    let forms = FORMS.iter().filter(|form| !read_only || [FIND, ITEM].contains(&form.name)).map(|form| Completion {
        text: format!("{} ", form.name),
        meaning: format!("{} ({})", form.meaning, form.usage),
    });
    let mut names: Vec<_> = actions.chain(forms).collect();
    names.sort_by(|a, b| a.text.cmp(&b.text));
    names
}

fn arguments(name: &str, snapshot: &Snapshot) -> Vec<Completion> {
    let Some(form) = FORMS.iter().find(|form| form.name == name) else { return Vec::new() };
    let switches = |names: Vec<String>| -> Vec<String> {
        names.into_iter().flat_map(|name| [format!("{name} off"), format!("{name} on")]).collect()
    };
    let arguments: Vec<String> = match name {
        "budget" => vec!["none".to_owned()],
        "strategy" => Strategy::ALL.iter().map(|strategy| spelled(strategy.name())).collect(),
        "order" => vec!["key-first".to_owned(), "model-first".to_owned()],
        "when-limited" => vec!["spill".to_owned(), "wait".to_owned()],
        "on-exhausted" => vec!["stop".to_owned(), "wait".to_owned()],
        "key" => switches(snapshot.keys.iter().map(|key| key.name.clone()).collect()),
        "model" => switches(snapshot.models.iter().map(|model| model.name.clone()).collect()),
        "route" => switches(snapshot.routes.iter().map(|route| route_name(&route.key, &route.model)).collect()),
        "replay-outcome" => Outcome::ALL.iter().map(|outcome| outcome.name().to_owned()).collect(),
        _ => Vec::new(),
    };
    let whole = |argument: String| Completion { text: format!("{name} {argument}"), meaning: form.meaning.to_owned() };
    arguments.into_iter().map(whole).collect()
}
