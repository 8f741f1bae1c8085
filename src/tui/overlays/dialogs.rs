//! Draws the dialogs: hard pause, quit, and the strategy menu.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::popup::{popup_area, render_choices, render_popup_frame};
use crate::{
    domain::{Command, pluralize},
    tui::{
        action::Action,
        format::group_digits,
        keymap::KeyContext,
        render_ctx::RenderCtx,
        state::menu_choices,
        text::{width, wrap},
        theme::StyleRole,
        widgets::{
            frame::{first_visible_row, render_lines},
            status_line::{self, Segment},
        },
    },
};

pub fn render_hard_pause(ctx: RenderCtx<'_>, body: Rect, buf: &mut Buffer) {
    let columns = 64.min(usize::from(body.width.saturating_sub(6)));
    let question = format!("Pause and abort {} in flight?", ctx.snapshot.totals.in_flight);
    let pause = ctx.state.keymap.key_label(Action::TogglePause);
    let consequence = format!(
        "Those requests may have been billed; their items are sent again later. ({pause} pauses without aborting.)"
    );
    let mut lines: Vec<Line<'_>> =
        wrap(&question, columns).into_iter().map(|line| Line::styled(line, ctx.style(StyleRole::Title))).collect();
    lines.extend(wrap(&consequence, columns).into_iter().map(Line::raw));
    lines.push(Line::default());
    lines.push(answer_hints(ctx, KeyContext::ConfirmDialog));
    render_dialog(ctx, "Sure?", columns as u16 + 4, lines, body, buf);
}

pub fn render_give_up(ctx: RenderCtx<'_>, command: &Command, body: Rect, buf: &mut Buffer) {
    let columns = 64.min(usize::from(body.width.saturating_sub(6)));
    let totals = ctx.snapshot.totals;
    let items = match command {
        Command::GiveUp { item_ids: Some(ids) } if ids.len() == 1 => format!("item {}", ctx.sanitized(&ids[0], 40)),
        Command::GiveUp { item_ids: Some(ids) } => format!("{} marked items", group_digits(ids.len() as u64)),
        _ => format!("all {} that remain", pluralize(totals.waiting + totals.in_flight, "item")),
    };
    let question = format!("Give up on {items}?");
    let consequence = "They fail as given_up and can be replayed later. Requests in flight for them are broken off, and may \
                       have been billed.";
    let mut lines: Vec<Line<'_>> =
        wrap(&question, columns).into_iter().map(|line| Line::styled(line, ctx.style(StyleRole::Title))).collect();
    lines.extend(wrap(consequence, columns).into_iter().map(Line::raw));
    lines.push(Line::default());
    lines.push(answer_hints(ctx, KeyContext::ConfirmDialog));
    render_dialog(ctx, "Sure?", columns as u16 + 4, lines, body, buf);
}

/// Width of the quit dialog, its frame included.
const QUIT_COLUMNS: u16 = 70;

pub fn render_quit(ctx: RenderCtx<'_>, body: Rect, buf: &mut Buffer) {
    let in_flight = ctx.snapshot.totals.in_flight;
    let rows = [
        (Action::Detach, "plain progress", "close the dashboard, the run continues here".to_owned()),
        (Action::Drain, "drain", format!("finish {in_flight} in flight, then stop")),
        (Action::StopNow, "stop now", format!("{in_flight} in flight may have been billed")),
        (Action::Back, "stay", String::new()),
    ];
    let mut lines = vec![
        Line::styled("The run is under way. Nothing is lost in any case.", ctx.style(StyleRole::Title)),
        Line::default(),
    ];
    let text_columns = usize::from(popup_area(body, QUIT_COLUMNS, 1).width.saturating_sub(4));
    for (action, label, meaning) in rows {
        let key = ctx.state.keymap.key_label_in(KeyContext::QuitDialog, action);
        let choice = [ctx.span(format!("{key:>4}  "), StyleRole::Key), Span::raw(format!("{label:<16}"))];
        let indent: usize = choice.iter().map(Span::width).sum();
        let wrapped = wrap(&meaning, text_columns.saturating_sub(indent));
        let mut parts = wrapped.into_iter().map(|part| ctx.span(part, StyleRole::Muted));
        lines.push(choice.into_iter().chain(parts.next()).collect());
        lines.extend(parts.map(|part| Line::from(vec![Span::raw(" ".repeat(indent)), part])));
    }
    render_dialog(ctx, "Leave", QUIT_COLUMNS, lines, body, buf);
}

/// Draws the quit dialog in one row: only the keys and their labels.
pub fn render_quit_line(ctx: RenderCtx<'_>, row: Rect, buf: &mut Buffer) {
    status_line::render(
        hint_spans(ctx, KeyContext::QuitDialog).map(|spans| Segment::left(0, spans)).collect(),
        1,
        row,
        buf,
    );
}

/// The keys that answer a question, with their labels as in the footer.
pub(super) fn answer_hints(ctx: RenderCtx<'_>, context: KeyContext) -> Line<'static> {
    hint_spans(ctx, context).flat_map(|[key, label]| [key, label, Span::raw("    ")]).collect()
}

fn hint_spans(ctx: RenderCtx<'_>, context: KeyContext) -> impl Iterator<Item = [Span<'static>; 2]> {
    let keymap = &ctx.state.keymap;
    let hints = keymap.bindings_in(context).filter_map(|binding| keymap.footer_hint(binding));
    hints.map(move |(key, label)| [ctx.span(key, StyleRole::Key), Span::raw(format!(" {label}"))])
}

fn render_dialog(ctx: RenderCtx<'_>, title: &str, columns: u16, lines: Vec<Line<'_>>, body: Rect, buf: &mut Buffer) {
    let area = popup_area(body, columns, lines.len() as u16 + 2);
    let inner = render_popup_frame(ctx, title, None, area, buf);
    render_lines(lines, inner, buf);
}

pub fn render_menu(ctx: RenderCtx<'_>, selected: usize, body: Rect, buf: &mut Buffer) {
    let mut lines = Vec::new();
    let mut selected_line = 0;
    let mut section = "";
    for (at, choice) in menu_choices(ctx.snapshot).into_iter().enumerate() {
        if choice.section != section {
            section = choice.section;
            if !lines.is_empty() {
                lines.push(Line::default());
            }
            lines.push(Line::styled(section, ctx.style(StyleRole::Title)));
        }
        if at == selected {
            selected_line = lines.len();
        }
        let role = if choice.is_current { StyleRole::Ok } else { StyleRole::Text };
        let mark = ctx.glyphs().radio_button(choice.is_current);
        lines.push(Line::styled(format!("  {mark} {}", choice.label), ctx.style(role)));
    }
    let columns = lines.iter().map(Line::width).max().unwrap_or(0).max(width("Strategy")) as u16 + 4;
    let area = popup_area(body, columns, lines.len() as u16 + 2);
    let inner = render_popup_frame(ctx, "Strategy", None, area, buf);
    let first = first_visible_row(selected_line, usize::from(inner.height), lines.len());
    render_choices(ctx, lines, first, Some(selected_line), inner, buf);
}
