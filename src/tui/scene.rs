//! What every pane is drawn from: the state, the snapshot, and the words and styles that go with them.

use std::{borrow::Cow, time::Duration};

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::{
    figures::countdown,
    glyphs::Glyphs,
    state::State,
    text::{fit, one_line, width},
    theme::Role,
    words,
};
use crate::domain::{Snapshot, WallTime, snapshot::Condition};

#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub state: &'a State,
    pub snapshot: &'a Snapshot,
}

impl Scene<'_> {
    pub const fn glyphs(&self) -> &'static Glyphs {
        self.state.glyphs
    }

    pub const fn style(&self, role: Role) -> Style {
        self.state.theme.style(role)
    }

    pub fn span<'s>(&self, text: impl Into<Cow<'s, str>>, role: Role) -> Span<'s> {
        Span::styled(text, self.style(role))
    }

    /// Engine time from now until `until`; zero where that has come.
    pub fn left(&self, until: WallTime) -> Duration {
        until.since(self.state.now)
    }

    /// Text from outside, safe and cut to `columns`.
    pub fn outside(&self, text: &str, columns: usize) -> String {
        fit(&self.spelled(&one_line(text)), columns, self.glyphs().ellipsis).into_owned()
    }

    /// `model@key` cut in the model, so that whose it is stays readable.
    pub fn route(&self, route: &str, columns: usize) -> String {
        let safe = one_line(route);
        match safe.rsplit_once('@') {
            Some((model, owner)) if width(&safe) > columns && width(owner) + 5 < columns => {
                let model = self.outside(model, columns - width(owner) - 1);
                format!("{model}@{owner}")
            }
            _ => self.outside(route, columns),
        }
    }

    /// Of `model@project`, which keys that project is: `project of dmitri, emeka`. `None` where a key is named itself.
    pub fn project_of(&self, what: &str) -> Option<String> {
        let (_, owner) = what.rsplit_once('@')?;
        if self.snapshot.keys.iter().any(|key| key.name == owner) {
            return None;
        }
        let keys = self.snapshot.keys.iter().filter(|key| key.project == owner);
        let names: Vec<_> = keys.map(|key| self.outside(&key.name, 16)).collect();
        match names.len() {
            0 => None,
            1 | 2 => Some(format!("project of {}", names.join(" and "))),
            more => Some(format!("project of {more} keys")),
        }
    }

    /// Our own words, cut to `columns`.
    pub fn fit(&self, text: &str, columns: usize) -> String {
        fit(text, columns, self.glyphs().ellipsis).into_owned()
    }

    /// Signs that the engine's sentences use, as this terminal can show them.
    pub fn spelled<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.glyphs().ascii || text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let signs = text.replace('→', "->").replace('…', "...").replace('×', "x").replace(['·', '–', '—'], "-");
        Cow::Owned(signs.replace(['\u{201c}', '\u{201d}'], "\"").replace(['\u{2018}', '\u{2019}'], "'"))
    }

    /// Spans cut to `columns` as a whole, each keeping its style.
    pub fn fit_spans<'s>(&self, spans: impl IntoIterator<Item = Span<'s>>, columns: usize) -> Line<'s> {
        let mut left = columns;
        let mut shown = Vec::new();
        for span in spans {
            let wide = width(&span.content);
            if wide <= left {
                left -= wide;
                shown.push(span);
            } else {
                let cut = fit(&span.content, left, self.glyphs().ellipsis).into_owned();
                shown.push(Span::styled(cut, span.style));
                break;
            }
        }
        Line::from(shown)
    }

    // === Conditions ===

    /// Glyph, word, and how long or why.
    pub fn condition(&self, condition: &Condition) -> String {
        let glyph = self.glyphs().condition(condition);
        let word = condition.label();
        let tail = match condition {
            Condition::Ready => String::new(),
            Condition::Limited { limit, until } => match until {
                Some(until) => format!(" {} {}", countdown(self.left(*until)), one_line(limit)),
                None => format!(" {}", one_line(limit)),
            },
            Condition::CoolingDown { until, cause } | Condition::CircuitOpen { until, cause } => {
                format!(" {} {}", countdown(self.left(*until)), words::outcome(cause.outcome))
            }
            Condition::Exhausted { until, .. } => format!(" {}", countdown(self.left(*until))),
            Condition::Disabled { cause, .. } => format!(": {}", words::outcome(cause.outcome)),
            Condition::SwitchedOff { .. } => " (you)".to_owned(),
        };
        format!("{glyph} {word}{tail}")
    }

    /// The same, cut and styled.
    pub fn condition_line(&self, condition: &Condition, columns: usize) -> Line<'static> {
        Line::styled(self.fit(&self.condition(condition), columns), self.style(Role::from(condition)))
    }
}
