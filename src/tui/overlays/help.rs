//! The help, generated from the keymap: what has the keyboard first, then everywhere, then the rest.

use ratatui::text::{Line, Span};

use crate::{
    domain::{
        ItemState, Outcome, Wall,
        event::Level,
        snapshot::{Cause, Condition, Source},
    },
    tui::{keymap::Context, pane::Pane, scene::Scene, theme::Role},
};

const KEYS_COLUMN: usize = 22;

pub fn lines(scene: Scene<'_>, columns: usize) -> Vec<Line<'static>> {
    let here = match scene.state.detail {
        Some(_) => Context::Detail,
        None => Context::Pane(scene.state.focus),
    };
    let mut contexts = vec![here, Context::Global];
    let rest = Pane::ALL.map(Context::Pane).into_iter().chain([
        Context::Detail,
        Context::Menu,
        Context::Confirm,
        Context::Replay,
        Context::Quit,
        Context::Typing,
        Context::Reading,
        Context::Always,
    ]);
    contexts.extend(rest.filter(|context| *context != here));
    let mut lines = Vec::new();
    for context in contexts {
        section(scene, context, columns, &mut lines);
    }
    lines.extend(signs(scene));
    lines
}

fn section(scene: Scene<'_>, context: Context, columns: usize, lines: &mut Vec<Line<'static>>) {
    let help = scene.state.keymap.help(context);
    let shown = help.into_iter().filter(|line| !(scene.state.read_only && line.action.changes_run()));
    let mut shown = shown.peekable();
    if shown.peek().is_none() {
        return;
    }
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines.push(Line::styled(context.title(), scene.style(Role::Title)));
    for line in shown {
        let name = line.action.name().map_or_else(String::new, |name| format!("  :{name}"));
        let keys = scene.fit(&line.keys, KEYS_COLUMN);
        lines.push(owned(scene.fit_spans(
            [
                scene.span(format!("  {keys:<KEYS_COLUMN$}"), Role::Key),
                scene.span(line.action.sentence(), Role::Text),
                scene.span(name, Role::Muted),
            ],
            columns,
        )));
    }
}

/// What the glyphs mean.
fn signs(scene: Scene<'_>) -> Vec<Line<'static>> {
    let cause =
        || Cause { outcome: Outcome::Ok, source: Source::Measured, words: String::new(), since: Wall::default() };
    let until = Wall::default();
    let conditions = [
        (Condition::Ready, "can take work now"),
        (Condition::Full { what: String::new(), until: None }, "its quota for the minute is used; room again soon"),
        (
            Condition::Cooling { until, cause: cause() },
            "out for a while: the provider asked, or a ladder after refusals",
        ),
        (Condition::Exhausted { until, cause: cause() }, "the day's quota is spent"),
        (Condition::Broken { until, cause: cause() }, "failed too often in a row; one trial when the time comes"),
        (Condition::Disabled { since: until, cause: cause() }, "dead, or off until you say otherwise"),
        (Condition::Off { since: until }, "switched off by you"),
    ];
    let mut lines = vec![Line::default(), Line::styled("Signs", scene.style(Role::Title))];
    let mut sign = |glyph: &'static str, role: Role, word: &str, meaning: &'static str| {
        lines
            .push(Line::from(vec![scene.span(format!("  {glyph} {word:<20}"), role), scene.span(meaning, Role::Text)]));
    };
    for (condition, meaning) in conditions {
        sign(scene.glyphs().condition(&condition), Role::from(&condition), condition.word(), meaning);
    }
    sign(scene.glyphs().here, Role::Focus, "here", "where the work goes right now");
    let levels = [
        (Level::Info, "event", "routine"),
        (Level::You, "you", "something you did"),
        (Level::Warn, "warning", "something is out for a while, or an item failed"),
        (Level::Alarm, "alarm", "wants your attention"),
    ];
    for (level, word, meaning) in levels {
        sign(scene.glyphs().level(level), Role::from(level), word, meaning);
    }
    for state in [ItemState::Waiting, ItemState::InFlight, ItemState::Done, ItemState::Failed] {
        sign(scene.glyphs().item(state), Role::from(state), state.name(), "an item's state");
    }
    lines
}

fn owned(line: Line<'_>) -> Line<'static> {
    line.spans.into_iter().map(|span| Span::styled(span.content.into_owned(), span.style)).collect()
}
