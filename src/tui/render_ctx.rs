//! The context that every pane is drawn with: state and snapshot, and helpers for texts and styles.

use std::{borrow::Cow, time::Duration};

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::{
    format::countdown,
    glyphs::Glyphs,
    labels,
    state::State,
    text::{one_line, truncate, width},
    theme::StyleRole,
};
use crate::domain::{Snapshot, WallTime, snapshot::Condition};

#[derive(Clone, Copy)]
pub struct RenderCtx<'a> {
    pub state: &'a State,
    pub snapshot: &'a Snapshot,
}

impl RenderCtx<'_> {
    pub const fn glyphs(&self) -> &'static Glyphs {
        self.state.glyphs
    }

    pub const fn style(&self, role: StyleRole) -> Style {
        self.state.theme.style(role)
    }

    pub fn span<'s>(&self, text: impl Into<Cow<'s, str>>, role: StyleRole) -> Span<'s> {
        Span::styled(text, self.style(role))
    }

    /// Engine time from now until `until`; zero if that has passed.
    pub fn time_until(&self, until: WallTime) -> Duration {
        until.since(self.state.now)
    }

    /// Sanitizes text from outside and cuts it to `columns`.
    pub fn sanitized(&self, text: &str, columns: usize) -> String {
        truncate(&self.with_ascii_fallback(&one_line(text)), columns, self.glyphs().ellipsis).into_owned()
    }

    /// A route `model@key`, sanitized and cut to `columns`. The model is cut first, so that the key stays readable,
    /// unless the key alone takes too much room.
    pub fn route_text(&self, route: &str, columns: usize) -> String {
        let safe = one_line(route);
        match safe.rsplit_once('@') {
            Some((model, owner)) if width(&safe) > columns && width(owner) + 5 < columns => {
                let model = self.sanitized(model, columns - width(owner) - 1);
                format!("{model}@{owner}")
            }
            _ => self.sanitized(route, columns),
        }
    }

    /// For `model@project`, names the keys of that project: `project of dmitri and emeka`, or `project of 3 keys`.
    /// `None` if the name is a key's or unknown.
    pub fn project_text(&self, subject: &str) -> Option<String> {
        let (_, owner) = subject.rsplit_once('@')?;
        if self.snapshot.keys.iter().any(|key| key.name == owner) {
            return None;
        }
        let keys = self.snapshot.keys.iter().filter(|key| key.project == owner);
        let names: Vec<_> = keys.map(|key| self.sanitized(&key.name, 16)).collect();
        match names.len() {
            0 => None,
            1 | 2 => Some(format!("project of {}", names.join(" and "))),
            more => Some(format!("project of {more} keys")),
        }
    }

    /// Cuts text of the program itself to `columns`; it is not sanitized.
    pub fn truncated(&self, text: &str, columns: usize) -> String {
        truncate(text, columns, self.glyphs().ellipsis).into_owned()
    }

    /// Replaces arrows, dashes, ellipses and typographic quotes by ASCII, if the screen uses only ASCII. Other
    /// characters stay.
    pub fn with_ascii_fallback<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.glyphs().ascii_only || text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let replaced = text.replace('→', "->").replace('…', "...").replace('×', "x").replace(['·', '–', '—'], "-");
        Cow::Owned(replaced.replace(['\u{201c}', '\u{201d}'], "\"").replace(['\u{2018}', '\u{2019}'], "'"))
    }

    /// Joins spans to one line and cuts it to `columns`; each keeps its style.
    pub fn truncated_spans<'s>(&self, spans: impl IntoIterator<Item = Span<'s>>, columns: usize) -> Line<'s> {
        let mut remaining = columns;
        let mut shown = Vec::new();
        for span in spans {
            let span_width = width(&span.content);
            if span_width <= remaining {
                remaining -= span_width;
                shown.push(span);
            } else {
                let cut = truncate(&span.content, remaining, self.glyphs().ellipsis).into_owned();
                shown.push(Span::styled(cut, span.style));
                break;
            }
        }
        Line::from(shown)
    }

    // === Conditions ===

    /// Glyph and name of a condition, with the time left or the reason.
    pub fn condition_text(&self, condition: &Condition) -> String {
        let glyph = self.glyphs().condition(condition);
        let label = condition.label();
        let suffix = match condition {
            Condition::Ready => String::new(),
            Condition::Limited { limit, until } => match until {
                Some(until) => format!(" {} {}", countdown(self.time_until(*until)), one_line(limit)),
                None => format!(" {}", one_line(limit)),
            },
            Condition::CoolingDown { until, cause } | Condition::CircuitOpen { until, cause } => {
                format!(" {} {}", countdown(self.time_until(*until)), labels::outcome(cause.outcome))
            }
            Condition::Exhausted { until, .. } => format!(" {}", countdown(self.time_until(*until))),
            Condition::Disabled { cause, .. } => format!(": {}", labels::outcome(cause.outcome)),
            Condition::SwitchedOff { .. } => " (you)".to_owned(),
        };
        format!("{glyph} {label}{suffix}")
    }

    /// Like [`Self::condition_text`], cut and styled.
    pub fn condition_line(&self, condition: &Condition, columns: usize) -> Line<'static> {
        Line::styled(self.truncated(&self.condition_text(condition), columns), self.style(StyleRole::from(condition)))
    }
}
