//! The help, generated from the keymap: what has the keyboard first, then everywhere, then the rest.

use ratatui::text::{Line, Span};

use crate::{
    domain::{
        ItemState, Outcome, WallTime,
        event::EventLevel,
        snapshot::{Cause, CauseSource, Condition},
    },
    tui::{
        keymap::Context,
        pane::Pane,
        scene::Scene,
        text::{width, wrap},
        theme::Role,
    },
};

const INDENT: usize = 2;
/// The most that the column of keys takes.
const WIDEST_KEYS: usize = 20;

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
    let keys = contexts.iter().flat_map(|context| scene.state.keymap.help(*context));
    let keys_column = keys.map(|line| width(&line.keys)).max().unwrap_or_default().min(WIDEST_KEYS) + INDENT;
    let mut lines = Vec::new();
    for context in contexts {
        section(scene, context, [keys_column, columns], &mut lines);
    }
    lines.extend(signs(scene));
    lines
}

fn section(scene: Scene<'_>, context: Context, [keys_column, columns]: [usize; 2], lines: &mut Vec<Line<'static>>) {
    let help = scene.state.keymap.help(context);
    let shown = help.into_iter().filter(|line| !(scene.state.read_only && line.action.changes_run()));
    let mut shown = shown.peekable();
    if shown.peek().is_none() {
        return;
    }
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    let title = match context {
        Context::Pane(pane) => scene.state.keymap.pane(pane),
        context => context.title().to_owned(),
    };
    lines.push(Line::styled(title, scene.style(Role::Title)));
    for line in shown {
        let name = line.action.name().map_or_else(String::new, |name| format!("  :{name}"));
        let keys = scene.fit(&line.keys, keys_column - INDENT);
        let room = columns.saturating_sub(keys_column + INDENT);
        let sentence = line.action.sentence();
        // The action's name stands behind its sentence, or below it.
        let (mut rows, name) = if width(sentence) + width(&name) <= room {
            (vec![sentence.to_owned()], name)
        } else {
            let mut rows = wrap(sentence, room);
            rows.extend((!name.is_empty()).then(|| name.trim_start().to_owned()));
            (rows, String::new())
        };
        let first = rows.remove(0);
        lines.push(Line::from(vec![
            scene.span(format!("  {keys:<keys_column$}"), Role::Key),
            scene.span(first, Role::Text),
            scene.span(name, Role::Muted),
        ]));
        for row in rows {
            let role = if row.starts_with(':') { Role::Muted } else { Role::Text };
            lines.push(Line::from(vec![Span::raw(" ".repeat(keys_column + INDENT)), scene.span(row, role)]));
        }
    }
}

/// What the glyphs mean.
fn signs(scene: Scene<'_>) -> Vec<Line<'static>> {
    let cause = || Cause {
        outcome: Outcome::Ok,
        source: CauseSource::Measured,
        message: String::new(),
        since: WallTime::default(),
    };
    let until = WallTime::default();
    let conditions = [
        (Condition::Ready, "can take work now"),
        (Condition::Limited { limit: String::new(), until: None }, "its quota for the minute is used; room again soon"),
        (
            Condition::CoolingDown { until, cause: cause() },
            "out for a while: the provider asked, or a ladder after refusals",
        ),
        (Condition::Exhausted { until, cause: cause() }, "the day's quota is spent"),
        (Condition::CircuitOpen { until, cause: cause() }, "failed too often in a row; one trial when the time comes"),
        (Condition::Disabled { since: until, cause: cause() }, "dead, or off until you say otherwise"),
        (Condition::SwitchedOff { since: until }, "switched off by you"),
    ];
    let mut lines = vec![Line::default(), Line::styled("Signs", scene.style(Role::Title))];
    let mut sign = |glyph: &'static str, role: Role, word: &str, meaning: &'static str| {
        lines
            .push(Line::from(vec![scene.span(format!("  {glyph} {word:<20}"), role), scene.span(meaning, Role::Text)]));
    };
    for (condition, meaning) in conditions {
        sign(scene.glyphs().condition(&condition), Role::from(&condition), condition.label(), meaning);
    }
    sign(scene.glyphs().here, Role::Focus, "here", "where the work goes right now");
    let levels = [
        (EventLevel::Info, "event", "routine"),
        (EventLevel::Operator, "you", "something you did"),
        (EventLevel::Warn, "warning", "something is out for a while, or an item failed"),
        (EventLevel::Alert, "alarm", "wants your attention"),
    ];
    for (level, word, meaning) in levels {
        sign(scene.glyphs().level(level), Role::from(level), word, meaning);
    }
    for state in [ItemState::Waiting, ItemState::InFlight, ItemState::Done, ItemState::Failed] {
        sign(scene.glyphs().item(state), Role::from(state), state.name(), "an item's state");
    }
    lines
}
