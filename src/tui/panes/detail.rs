//! One item whole: how it stands, what it said, every attempt in order, and what was asked.

use std::ops::Range;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::Widget as _,
};

use crate::{
    domain::{AttemptRow, ItemDetail, ItemState, Outcome, Usage, pluralize},
    tui::{
        figures::{compact, countdown, dollars, latency, time_of_day},
        panes::picture::{self, Place},
        scene::Scene,
        state::{Detail, Known},
        text::{one_line, wrap},
        theme::Role,
        widgets::frame::{framed, position},
        words,
    },
};

/// More of one text than this is not shown, so that a huge answer doesn't slow the screen.
const LONGEST_TEXT: usize = 64 * 1024;

/// Lines of the whole text, and how many of them are seen at once.
pub fn extent(scene: Scene<'_>, detail: &Detail, body: Rect) -> (usize, usize) {
    let place = picture::place(scene, detail, body);
    (text(scene, detail, place, body).lines.len(), usize::from(picture::inside(body).height))
}

pub fn render(scene: Scene<'_>, area: Rect, buf: &mut Buffer) {
    let Some(detail) = &scene.state.detail else { return };
    let place = picture::place(scene, detail, area);
    let Text { lines, picture: depicted } = text(scene, detail, place, area);
    let rows = usize::from(picture::inside(area).height);
    let first = detail.reading.line.min(lines.len().saturating_sub(rows));
    let title = match detail.item() {
        Some(item) => format!(" Item #{} ", scene.outside(&item.row.id, 48)),
        None => " Item ".to_owned(),
    };
    let corner = position(first, rows, lines.len()).map(|text| Line::styled(text, scene.style(Role::Muted)));
    let title = Line::styled(title, scene.style(Role::Focus));
    framed(title, corner, scene.style(Role::Focus), scene.glyphs().border, area, buf);
    let inner = text_area(place, area);
    for (row, line) in lines.into_iter().skip(first).take(rows).enumerate() {
        line.render(Rect { y: inner.y + row as u16, height: 1, ..inner }, buf);
    }
    if let Place::Beside(column) = place {
        picture::render(scene, detail, column, buf);
    } else if depicted.start >= first && depicted.end <= first + rows && !depicted.is_empty() {
        let top = inner.y + (depicted.start - first) as u16;
        picture::overlay_lines(scene, detail, Rect { y: top, height: depicted.len() as u16, ..inner }, buf);
    }
}

/// What the picture leaves to the text.
fn text_area(place: Place, body: Rect) -> Rect {
    let inside = picture::inside(body);
    match place {
        Place::Beside(column) => Rect { width: inside.width.saturating_sub(column.width + picture::GAP), ..inside },
        Place::Nowhere | Place::Within(_) => inside,
    }
}

/// The whole text, and which of its lines are the picture.
struct Text {
    lines: Vec<Line<'static>>,
    picture: Range<usize>,
}

fn text(scene: Scene<'_>, detail: &Detail, place: Place, body: Rect) -> Text {
    let columns = usize::from(text_area(place, body).width);
    let say = |words: String, role: Role| Text {
        lines: vec![Line::styled(scene.fit(&words, columns), scene.style(role))],
        picture: 0..0,
    };
    match detail.known() {
        Known::NotYet => say("reading".to_owned(), Role::Muted),
        Known::Nothing => say(format!("there is no item {}", detail.seq), Role::Bad),
        Known::Trouble(words) => say(format!("can't read the item: {}", one_line(words)), Role::Bad),
        Known::Item(item) => {
            let mut page = Page { scene, columns, lines: Vec::new() };
            page.summary(item);
            let depicted = page.picture(detail, place);
            // What it came to is what one looks for: the answer of what is done, the attempts of what isn't.
            if item.row.state == ItemState::Done {
                page.answer(item);
                page.attempts(item);
            } else {
                page.attempts(item);
                page.answer(item);
            }
            page.question(item);
            Text { lines: page.lines, picture: depicted }
        }
    }
}

/// Lines being gathered for one width.
struct Page<'a> {
    scene: Scene<'a>,
    columns: usize,
    lines: Vec<Line<'static>>,
}

impl Page<'_> {
    fn push<'s>(&mut self, spans: impl IntoIterator<Item = Span<'s>>) {
        let line = self.scene.fit_spans(spans, self.columns);
        let owned = line.spans.into_iter().map(|span| Span::styled(span.content.into_owned(), span.style));
        self.lines.push(owned.collect());
    }

    fn heading(&mut self, title: &str) {
        self.lines.push(Line::default());
        self.push([self.scene.span(title.to_owned(), Role::Title)]);
    }

    fn text(&mut self, text: &str, indent: usize, role: Role) {
        let shown = cut(text);
        for line in wrap(shown, self.columns.saturating_sub(indent)) {
            self.push([Span::raw(" ".repeat(indent)), self.scene.span(line, role)]);
        }
        if shown.len() < text.len() {
            let more = format!("{} more bytes; export shows everything", compact((text.len() - shown.len()) as u64));
            self.push([self.scene.span(more, Role::Muted)]);
        }
    }

    fn summary(&mut self, item: &ItemDetail) {
        let scene = self.scene;
        let row = &item.row;
        let state = format!("{} {}", scene.glyphs().item(row.state), row.state.name());
        let outcome = match row.outcome {
            Some(outcome) if outcome != Outcome::Ok => format!("  {}", words::outcome(outcome)),
            _ => String::new(),
        };
        let tries = format!("   {}", pluralize(u64::from(row.attempts), "attempt"));
        let line = format!("   input line {}", item.line);
        self.push([
            scene.span(state, Role::from(row.state)),
            scene.span(outcome, Role::Bad),
            scene.span(tries, Role::Text),
            scene.span(line, Role::Muted),
        ]);
        self.push([scene.span(format!("{}   ${}", tokens(item.usage), dollars(item.cost)), Role::Text)]);
        let said = [
            item.row.route.as_deref().map(|route| format!("by {}", one_line(route))),
            item.model_version.as_deref().map(|version| format!("answered by {}", one_line(version))),
            item.finish_reason.as_deref().map(|reason| format!("finish reason {}", one_line(reason))),
        ];
        let said: Vec<_> = said.into_iter().flatten().collect();
        if !said.is_empty() {
            self.push([scene.span(said.join("   "), Role::Muted)]);
        }
        let asked = item.prompt.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        self.push([scene.span("asked ", Role::Muted), scene.span(one_line(asked).into_owned(), Role::Text)]);
        if let Some(rule) = &item.rule {
            self.push([scene.span("rule: ", Role::Muted), scene.span(one_line(rule).into_owned(), Role::Text)]);
        }
    }

    /// The picture where it stands within the text, or why there is none to see. Gives its lines without the caption.
    fn picture(&mut self, detail: &Detail, place: Place) -> Range<usize> {
        if let Some(words) = picture::trouble(self.scene, detail) {
            // Names are whole paths here: one that is wrong is what one has to see.
            self.text(&one_line(words), 0, Role::Warn);
        }
        let Place::Within(rows) = place else { return 0..0 };
        let lines = picture::lines(self.scene, detail, rows, self.columns);
        let first = self.lines.len();
        self.lines.extend(lines);
        first..self.lines.len() - 1
    }

    fn attempts(&mut self, item: &ItemDetail) {
        self.heading("Attempts");
        if item.attempts.is_empty() && item.in_flight.is_none() {
            self.push([self.scene.span("none yet", Role::Muted)]);
        }
        for attempt in &item.attempts {
            self.attempt(attempt);
        }
        if let Some(call) = &item.in_flight {
            let scene = self.scene;
            self.push([
                scene.span(format!("{:>3}  ", item.attempts.len() + 1), Role::Muted),
                scene.span(time_of_day(call.sent_at, &scene.state.zone), Role::Muted),
                Span::raw(format!("  {}@{}  ", one_line(&call.model), one_line(&call.key))),
                scene.span(format!("no answer for {}", countdown(scene.state.now.since(call.sent_at))), Role::Cooling),
            ]);
        }
    }

    fn attempt(&mut self, attempt: &AttemptRow) {
        let scene = self.scene;
        let role = if attempt.outcome == Outcome::Ok { Role::Ok } else { Role::Warn };
        let spent = if attempt.usage.total() > 0 {
            format!("  {}  ${}", tokens(attempt.usage), dollars(attempt.cost))
        } else {
            String::new()
        };
        let status = attempt.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
        self.push([
            scene.span(format!("{:>3}  ", attempt.number), Role::Muted),
            scene.span(time_of_day(attempt.sent_at, &scene.state.zone), Role::Muted),
            Span::raw(format!("  {}@{}  ", one_line(&attempt.model), one_line(&attempt.key))),
            scene.span(format!("{status} {}", words::outcome(attempt.outcome)), role),
            scene.span(format!("  {}", latency(Some(attempt.latency_ms))), Role::Text),
            scene.span(spent, Role::Muted),
        ]);
        if !attempt.message.is_empty() {
            self.text(&attempt.message, 5, Role::Text);
        }
    }

    fn answer(&mut self, item: &ItemDetail) {
        if let Some(output) = &item.output {
            self.heading("Answer");
            self.text(output, 0, Role::Text);
        }
    }

    fn question(&mut self, item: &ItemDetail) {
        if !item.pictures.is_empty() {
            self.heading("Pictures");
            for picture in &item.pictures {
                self.text(picture, 0, Role::Text);
            }
        }
        self.heading("Prompt");
        self.text(&item.prompt, 0, Role::Text);
        if let Some(system) = &item.system {
            self.heading("System");
            self.text(system, 0, Role::Muted);
        }
    }
}

fn tokens(usage: Usage) -> String {
    let thinking = if usage.thinking_tokens > 0 {
        format!(" + {} thinking", compact(usage.thinking_tokens))
    } else {
        String::new()
    };
    format!("{} in, {} out{thinking}", compact(usage.input_tokens), compact(usage.output_tokens))
}

/// The beginning of a text that is too long, on a character boundary.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}
