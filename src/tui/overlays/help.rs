//! The help text: the keys of the focused pane or the open item, then the global keys, then all other keys, and a
//! legend of the glyphs. The keys are generated from the keymap.

use ratatui::text::{Line, Span};

use crate::{
    domain::{
        ItemState, Outcome, WallTime,
        event::EventLevel,
        snapshot::{Cause, CauseSource, Condition},
    },
    tui::{
        keymap::KeyContext,
        pane::Pane,
        render_ctx::RenderCtx,
        text::{width, wrap},
        theme::StyleRole,
    },
};

const INDENT_COLUMNS: usize = 2;
/// Maximum width of the keys column.
const MAX_KEYS_COLUMNS: usize = 20;

pub fn build_lines(ctx: RenderCtx<'_>, columns: usize) -> Vec<Line<'static>> {
    let focused_context = match ctx.state.detail {
        Some(_) => KeyContext::ItemDetail,
        None => KeyContext::Pane(ctx.state.focus),
    };
    let mut contexts = vec![focused_context, KeyContext::Global];
    let rest = Pane::ALL.map(KeyContext::Pane).into_iter().chain([
        KeyContext::ItemDetail,
        KeyContext::Menu,
        KeyContext::ConfirmDialog,
        KeyContext::ReplayDialog,
        KeyContext::QuitDialog,
        KeyContext::TextInput,
        KeyContext::TextOverlay,
        KeyContext::Always,
    ]);
    contexts.extend(rest.filter(|context| *context != focused_context));
    let keys = contexts.iter().flat_map(|context| ctx.state.keymap.help_lines(*context));
    let keys_width =
        keys.map(|line| width(&line.keys)).max().unwrap_or_default().min(MAX_KEYS_COLUMNS) + INDENT_COLUMNS;
    let mut lines = Vec::new();
    for context in contexts {
        push_section(ctx, context, [keys_width, columns], &mut lines);
    }
    lines.extend(glyph_legend(ctx));
    lines
}

fn push_section(
    ctx: RenderCtx<'_>,
    context: KeyContext,
    [keys_width, columns]: [usize; 2],
    lines: &mut Vec<Line<'static>>,
) {
    let help = ctx.state.keymap.help_lines(context);
    let shown = help.into_iter().filter(|line| !(ctx.state.read_only && line.action.changes_run()));
    let mut shown = shown.peekable();
    if shown.peek().is_none() {
        return;
    }
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    let title = match context {
        KeyContext::Pane(pane) => ctx.state.keymap.pane_label(pane),
        context => context.title().to_owned(),
    };
    lines.push(Line::styled(title, ctx.style(StyleRole::Title)));
    for line in shown {
        let name = line.action.command_name().map_or_else(String::new, |name| format!("  :{name}"));
        let keys = ctx.truncated(&line.keys, keys_width - INDENT_COLUMNS);
        let room = columns.saturating_sub(keys_width + INDENT_COLUMNS);
        let help_text = line.action.help_text();
        // The action's command name follows its help text, or is on the next line if both don't fit on one.
        let (mut rows, name) = if width(help_text) + width(&name) <= room {
            (vec![help_text.to_owned()], name)
        } else {
            let mut rows = wrap(help_text, room);
            rows.extend((!name.is_empty()).then(|| name.trim_start().to_owned()));
            (rows, String::new())
        };
        let first = rows.remove(0);
        lines.push(Line::from(vec![
            ctx.span(format!("  {keys:<keys_width$}"), StyleRole::Key),
            ctx.span(first, StyleRole::Text),
            ctx.span(name, StyleRole::Muted),
        ]));
        for row in rows {
            let role = if row.starts_with(':') { StyleRole::Muted } else { StyleRole::Text };
            lines.push(Line::from(vec![Span::raw(" ".repeat(keys_width + INDENT_COLUMNS)), ctx.span(row, role)]));
        }
    }
}

/// The meaning of the glyphs.
fn glyph_legend(ctx: RenderCtx<'_>) -> Vec<Line<'static>> {
    let cause = || Cause {
        outcome: Outcome::Ok,
        source: CauseSource::Measured,
        message: String::new(),
        since: WallTime::default(),
        status: None,
    };
    let until = WallTime::default();
    let conditions = [
        (Condition::Ready, "ready for requests"),
        (Condition::Limited { limit: String::new(), until: None }, "a per-minute or concurrency limit is reached"),
        (
            Condition::CoolingDown { until, cause: cause() },
            "no requests until it ends: stated by the provider, or our backoff",
        ),
        (Condition::Exhausted { until, cause: cause() }, "the day quota or the credit is spent"),
        (Condition::CircuitOpen { until, cause: cause() }, "failed too often in a row; one trial request when it ends"),
        (Condition::Disabled { since: until, cause: cause() }, "rejected by the provider; off until you switch it on"),
        (Condition::SwitchedOff { since: until }, "switched off by you"),
    ];
    let mut lines = vec![Line::default(), Line::styled("Symbols", ctx.style(StyleRole::Title))];
    let mut push_row = |glyph: &'static str, role: StyleRole, label: &str, meaning: &'static str| {
        lines.push(Line::from(vec![
            ctx.span(format!("  {glyph} {label:<20}"), role),
            ctx.span(meaning, StyleRole::Text),
        ]));
    };
    for (condition, meaning) in conditions {
        push_row(
            ctx.glyphs().condition(&condition),
            StyleRole::from(&condition),
            Condition::label_of(condition.name()),
            meaning,
        );
    }
    push_row(ctx.glyphs().current_marker, StyleRole::Focus, "here", "the route of the last request");
    let levels = [
        (EventLevel::Info, "event", "routine"),
        (EventLevel::Operator, "you", "something you did"),
        (EventLevel::Warn, "warning", "something is unavailable for a while, or an item failed"),
        (EventLevel::Alert, "alert", "needs your attention"),
    ];
    for (level, label, meaning) in levels {
        push_row(ctx.glyphs().event_level(level), StyleRole::from(level), label, meaning);
    }
    for state in ItemState::ALL {
        push_row(ctx.glyphs().item_state(state), StyleRole::from(state), state.name(), "an item's state");
    }
    lines
}
