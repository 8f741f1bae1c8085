//! The context that every pane is drawn with: state and snapshot, and helpers for texts and styles.

use std::{borrow::Cow, time::Duration};

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::{
    format::{format_countdown, short_datetime, time_of_day},
    glyphs::Glyphs,
    labels,
    state::State,
    text::{one_line, truncate, width},
    theme::StyleRole,
};
use crate::domain::{Outcome, Snapshot, WallTime, snapshot::Condition};

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

    /// A short date and time in the operator's time zone.
    pub fn local_time(&self, at: WallTime) -> String {
        short_datetime(at, self.state.now, &self.state.time_zone)
    }

    /// The time of day in the operator's time zone, with seconds.
    pub fn time_of_day(&self, at: WallTime) -> String {
        time_of_day(at, &self.state.time_zone)
    }

    /// Whether the engine's clock runs at the speed of real time.
    pub fn is_real_time(&self) -> bool {
        (self.snapshot.clock_speed - 1.0).abs() < f64::EPSILON
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

    /// Glyph, name and reason of a condition, with the time left.
    pub fn condition_text(&self, condition: &Condition) -> String {
        let [text, ..] = self.condition_texts(condition);
        format!("{} {text}", self.glyphs().condition(condition))
    }

    /// Like [`Self::condition_text`], styled; the most detailed text that fits into `columns`.
    pub fn condition_line(&self, condition: &Condition, columns: usize) -> Line<'static> {
        let glyph = self.glyphs().condition(condition);
        let texts = self.condition_texts(condition).map(|text| format!("{glyph} {text}"));
        let fitting = texts.iter().find(|text| width(text) <= columns).unwrap_or(&texts[2]);
        Line::styled(self.truncated(fitting, columns), self.style(StyleRole::from(condition)))
    }

    /// The shortest text of a condition, for the cells of a matrix.
    pub fn short_condition_text(&self, condition: &Condition) -> String {
        let [.., text] = self.condition_texts(condition);
        text
    }

    /// Name and reason of a condition, with the time left, from the most detailed to the shortest text.
    fn condition_texts(&self, condition: &Condition) -> [String; 3] {
        let left = |until: &WallTime| format_countdown(self.time_until(*until));
        let same = |text: String| [text.clone(), text.clone(), text];
        match condition {
            Condition::Ready => same("ready".to_owned()),
            Condition::Limited { limit, until } => {
                let limit = one_line(limit);
                let short = limit.trim_end_matches(" reached");
                match until.as_ref().map(left) {
                    Some(left) => [
                        format!("{limit}, frees in {left}"),
                        format!("{short}, frees in {left}"),
                        format!("{} {left}", short.trim_end_matches(" limit")),
                    ],
                    None => [limit.to_string(), short.to_owned(), short.to_owned()],
                }
            }
            Condition::CoolingDown { until, cause } => {
                let (left, reason) = (left(until), labels::outcome(cause.outcome));
                [
                    format!("cooling down {left} {reason}"),
                    format!("cooling {left} {reason}"),
                    format!("cooling down {left}"),
                ]
            }
            Condition::CircuitOpen { until, cause } => {
                let (left, reason) = (left(until), labels::outcome(cause.outcome));
                [
                    format!("circuit open (retry in {left}) {reason}"),
                    format!("circuit open (retry in {left})"),
                    format!("circuit open {left}"),
                ]
            }
            Condition::Exhausted { until, cause } if matches!(cause.outcome, Outcome::QuotaExhaustedBilling) => {
                let left = left(until);
                [
                    format!("no credit, retry in {left}"),
                    format!("no credit, retry in {left}"),
                    format!("no credit {left}"),
                ]
            }
            Condition::Exhausted { until, .. } => {
                let left = left(until);
                [
                    format!("day quota spent, frees in {left}"),
                    format!("day quota spent {left}"),
                    format!("day quota {left}"),
                ]
            }
            Condition::Disabled { cause, .. } => {
                let reason = labels::disabled_reason(cause.outcome);
                [format!("disabled: {reason}"), reason.to_owned(), reason.to_owned()]
            }
            Condition::SwitchedOff { .. } => ["off (you)".to_owned(), "off (you)".to_owned(), "off".to_owned()],
        }
    }
}
