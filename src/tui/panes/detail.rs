//! The full view of one item: state, answer, all attempts in order, and prompt.

use std::ops::Range;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    domain::{AttemptRow, ItemDetail, ItemState, Outcome, Usage, pluralize},
    tui::{
        format::{compact, dollars, format_countdown, latency},
        labels,
        panes::picture::{self, ImagePlacement},
        render_ctx::RenderCtx,
        state::{DetailState, DetailView},
        text::{one_line, wrap},
        theme::StyleRole,
        widgets::frame::{position_label, render_frame, render_lines},
    },
};

/// Longer texts are cut, so that a huge answer doesn't slow down the screen.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// The number of lines of the whole text, and how many of them are visible at once.
pub fn text_extent(ctx: RenderCtx<'_>, detail: &DetailView, body: Rect) -> (usize, usize) {
    let placement = picture::placement(ctx, detail, body);
    (build_text(ctx, detail, placement, body).lines.len(), usize::from(picture::inner_area(body).height))
}

pub fn render(ctx: RenderCtx<'_>, area: Rect, buf: &mut Buffer) {
    let Some(detail) = &ctx.state.detail else { return };
    let placement = picture::placement(ctx, detail, area);
    let DetailText { lines, image_rows } = build_text(ctx, detail, placement, area);
    let rows = usize::from(picture::inner_area(area).height);
    let first = detail.scroll.line.min(lines.len().saturating_sub(rows));
    let title = match detail.item() {
        Some(item) => format!(" Item #{} ", ctx.sanitized(&item.row.id, 48)),
        None => " Item ".to_owned(),
    };
    let corner = position_label(first, rows, lines.len()).map(|text| Line::styled(text, ctx.style(StyleRole::Muted)));
    let title = Line::styled(title, ctx.style(StyleRole::Focus));
    render_frame(title, corner, ctx.style(StyleRole::Focus), ctx.glyphs().border, area, buf);
    let inner = text_area(placement, area);
    render_lines(lines.into_iter().skip(first), inner, buf);
    if let ImagePlacement::Beside(column) = placement {
        picture::render_beside(ctx, detail, column, buf);
    } else if image_rows.start >= first && image_rows.end <= first + rows && !image_rows.is_empty() {
        let top = inner.y + (image_rows.start - first) as u16;
        picture::render_inline_graphics(ctx, detail, Rect { y: top, height: image_rows.len() as u16, ..inner }, buf);
    }
}

/// The area for the text: beside the picture, or the whole inner area.
fn text_area(placement: ImagePlacement, body: Rect) -> Rect {
    let inside = picture::inner_area(body);
    match placement {
        ImagePlacement::Beside(column) => {
            Rect { width: inside.width.saturating_sub(column.width + picture::COLUMN_GAP), ..inside }
        }
        ImagePlacement::Hidden | ImagePlacement::Inline(_) => inside,
    }
}

/// The whole text, and the indices of the lines that hold the picture.
struct DetailText {
    lines: Vec<Line<'static>>,
    image_rows: Range<usize>,
}

fn build_text(ctx: RenderCtx<'_>, detail: &DetailView, placement: ImagePlacement, body: Rect) -> DetailText {
    let columns = usize::from(text_area(placement, body).width);
    let message_only = |message: String, role: StyleRole| DetailText {
        lines: vec![Line::styled(ctx.truncated(&message, columns), ctx.style(role))],
        image_rows: 0..0,
    };
    match detail.load_state() {
        DetailState::Loading => message_only("reading".to_owned(), StyleRole::Muted),
        DetailState::NotFound => message_only(format!("there is no item {}", detail.seq), StyleRole::Bad),
        DetailState::Failed(message) => {
            message_only(format!("can't read the item: {}", one_line(message)), StyleRole::Bad)
        }
        DetailState::Loaded(item) => {
            let mut page = DetailBuilder { ctx, columns, lines: Vec::new() };
            page.push_summary(item);
            let image_rows = page.push_picture(detail, placement);
            // The result comes first: the answer if the item is done, the attempts otherwise.
            if item.row.state == ItemState::Done {
                page.push_answer(item);
                page.push_attempts(item);
            } else {
                page.push_attempts(item);
                page.push_answer(item);
            }
            page.push_input(item);
            DetailText { lines: page.lines, image_rows }
        }
    }
}

/// Builds the lines of the text for one width.
struct DetailBuilder<'a> {
    ctx: RenderCtx<'a>,
    columns: usize,
    lines: Vec<Line<'static>>,
}

impl DetailBuilder<'_> {
    fn push_spans<'s>(&mut self, spans: impl IntoIterator<Item = Span<'s>>) {
        let line = self.ctx.truncated_spans(spans, self.columns);
        let owned = line.spans.into_iter().map(|span| Span::styled(span.content.into_owned(), span.style));
        self.lines.push(owned.collect());
    }

    fn push_heading(&mut self, title: &str) {
        self.lines.push(Line::default());
        self.push_spans([self.ctx.span(title.to_owned(), StyleRole::Title)]);
    }

    fn push_text(&mut self, text: &str, indent: usize, role: StyleRole) {
        let shown = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
        for line in wrap(shown, self.columns.saturating_sub(indent)) {
            self.push_spans([Span::raw(" ".repeat(indent)), self.ctx.span(line, role)]);
        }
        if shown.len() < text.len() {
            let more = format!("{} more bytes; export shows everything", compact((text.len() - shown.len()) as u64));
            self.push_spans([self.ctx.span(more, StyleRole::Muted)]);
        }
    }

    fn push_summary(&mut self, item: &ItemDetail) {
        let ctx = self.ctx;
        let row = &item.row;
        let state = format!("{} {}", ctx.glyphs().item_state(row.state), row.state.name());
        let outcome = match row.outcome {
            Some(outcome) if outcome != Outcome::Ok => format!("  {}", labels::outcome(outcome)),
            _ => String::new(),
        };
        let attempts = format!("   {}", pluralize(u64::from(row.attempts), "attempt"));
        let line = format!("   input line {}", item.line);
        self.push_spans([
            ctx.span(state, StyleRole::from(row.state)),
            ctx.span(outcome, StyleRole::Bad),
            ctx.span(attempts, StyleRole::Text),
            ctx.span(line, StyleRole::Muted),
        ]);
        let kinds = item.cost_by_kind.describe().map_or_else(String::new, |kinds| format!("  {kinds}"));
        self.push_spans([
            ctx.span(format!("{}   ${}", usage_text(item.usage), dollars(item.cost)), StyleRole::Text),
            ctx.span(kinds, StyleRole::Muted),
        ]);
        let origin = [
            item.row.route.as_deref().map(|route| format!("by {}", one_line(route))),
            item.model_version.as_deref().map(|version| format!("answered by {}", one_line(version))),
            item.finish_reason.as_deref().map(|reason| format!("finish reason {}", one_line(reason))),
        ];
        let origin_parts: Vec<_> = origin.into_iter().flatten().collect();
        if !origin_parts.is_empty() {
            self.push_spans([ctx.span(origin_parts.join("   "), StyleRole::Muted)]);
        }
        let first_prompt_line = item.prompt.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        self.push_spans([
            ctx.span("asked ", StyleRole::Muted),
            ctx.span(one_line(first_prompt_line).into_owned(), StyleRole::Text),
        ]);
        if let Some(rule) = &item.rule {
            self.push_spans([
                ctx.span("rule: ", StyleRole::Muted),
                ctx.span(one_line(rule).into_owned(), StyleRole::Text),
            ]);
        }
    }

    /// Appends the picture if it is shown within the text, or why it can't be shown. Returns the indices of the lines
    /// that hold the picture, without its caption; empty if there are none.
    fn push_picture(&mut self, detail: &DetailView, placement: ImagePlacement) -> Range<usize> {
        if let Some(message) = picture::load_error(self.ctx, detail) {
            // The error names the full path, so that a wrong path can be seen.
            self.push_text(&one_line(message), 0, StyleRole::Warn);
        }
        let ImagePlacement::Inline(rows) = placement else { return 0..0 };
        let lines = picture::inline_lines(self.ctx, detail, rows, self.columns);
        let first = self.lines.len();
        self.lines.extend(lines);
        first..self.lines.len() - 1
    }

    fn push_attempts(&mut self, item: &ItemDetail) {
        self.push_heading("Attempts");
        if item.attempts.is_empty() && item.in_flight.is_none() {
            self.push_spans([self.ctx.span("none yet", StyleRole::Muted)]);
        }
        for attempt in &item.attempts {
            self.push_attempt(attempt);
        }
        if let Some(in_flight) = &item.in_flight {
            let ctx = self.ctx;
            self.push_spans([
                ctx.span(format!("{:>3}  ", item.attempts.len() + 1), StyleRole::Muted),
                ctx.span(ctx.time_of_day(in_flight.sent_at), StyleRole::Muted),
                Span::raw(format!("  {}@{}  ", one_line(&in_flight.model), one_line(&in_flight.key))),
                ctx.span(
                    format!("no answer for {}", format_countdown(ctx.state.now.since(in_flight.sent_at))),
                    StyleRole::Cooling,
                ),
            ]);
        }
    }

    fn push_attempt(&mut self, attempt: &AttemptRow) {
        let ctx = self.ctx;
        let role = if attempt.outcome == Outcome::Ok { StyleRole::Ok } else { StyleRole::Warn };
        let spent = if attempt.usage.total() > 0 {
            format!("  {}  ${}", usage_text(attempt.usage), dollars(attempt.cost))
        } else {
            String::new()
        };
        let status = attempt.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
        self.push_spans([
            ctx.span(format!("{:>3}  ", attempt.number), StyleRole::Muted),
            ctx.span(ctx.time_of_day(attempt.sent_at), StyleRole::Muted),
            Span::raw(format!("  {}@{}  ", one_line(&attempt.model), one_line(&attempt.key))),
            ctx.span(format!("{status} {}", labels::outcome(attempt.outcome)), role),
            ctx.span(format!("  {}", latency(Some(attempt.latency_ms))), StyleRole::Text),
            ctx.span(spent, StyleRole::Muted),
        ]);
        if !attempt.message.is_empty() {
            self.push_text(&attempt.message, 5, StyleRole::Text);
        }
    }

    fn push_answer(&mut self, item: &ItemDetail) {
        if let Some(output) = &item.output {
            self.push_heading("Answer");
            self.push_text(output, 0, StyleRole::Text);
        }
    }

    fn push_input(&mut self, item: &ItemDetail) {
        if !item.pictures.is_empty() {
            self.push_heading("Pictures");
            for picture in &item.pictures {
                self.push_text(picture, 0, StyleRole::Text);
            }
        }
        self.push_heading("Prompt");
        self.push_text(&item.prompt, 0, StyleRole::Text);
        if let Some(system) = &item.system {
            self.push_heading("System");
            self.push_text(system, 0, StyleRole::Muted);
        }
    }
}

fn usage_text(usage: Usage) -> String {
    let thinking = if usage.thinking_tokens > 0 {
        format!(" + {} thinking", compact(usage.thinking_tokens))
    } else {
        String::new()
    };
    let kinds = [(usage.cached_input_tokens, "cached"), (usage.all_cache_writes(), "cache writes")];
    let used = kinds.into_iter().filter(|(tokens, _)| *tokens > 0);
    let parts: Vec<String> = used.map(|(tokens, label)| format!("{} {label}", compact(tokens))).collect();
    let cached = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    format!("{} in{cached}, {} out{thinking}", compact(usage.input_tokens), compact(usage.output_tokens))
}
