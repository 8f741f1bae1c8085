//! The glyphs on the screen, each with a replacement for terminals that have only ASCII.

use ratatui::symbols::border;

use crate::domain::{ItemState, event::EventLevel, snapshot::Condition, snapshot::RunState};

/// A set of glyphs. Every glyph is one column wide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Glyphs {
    pub ascii_only: bool,
    pub ellipsis: &'static str,
    pub arrow: &'static str,
    /// Marks the key and the model of the current route. It is shown after the name: before it, it would look like a
    /// cursor.
    pub current_marker: &'static str,
    pub separator: &'static str,
    pub times: &'static str,
    /// Shown for a marked item.
    pub marked: &'static str,
    pub bar_full: &'static str,
    pub bar_empty: &'static str,
    /// Partly filled cells, from the smallest to the largest; empty if only whole cells can be drawn.
    pub bar_partials: &'static [&'static str],
    /// Glyphs of the bolder bar for the progress of the run.
    pub progress_full: &'static str,
    pub progress_empty: &'static str,
    pub progress_partials: &'static [&'static str],
    /// Glyphs for the height of a chart column within a cell, from one eighth to full.
    pub column_heights: &'static [&'static str],
    pub border: border::Set<'static>,
}

static UNICODE: Glyphs = Glyphs {
    ascii_only: false,
    ellipsis: "…",
    arrow: "→",
    current_marker: "◂",
    separator: "·",
    times: "×",
    marked: "◉",
    bar_full: "━",
    bar_empty: "─",
    bar_partials: &["╸"],
    progress_full: "█",
    progress_empty: "░",
    progress_partials: &["▏", "▎", "▍", "▌", "▋", "▊", "▉"],
    column_heights: &["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    border: border::ROUNDED,
};

static ASCII: Glyphs = Glyphs {
    ascii_only: true,
    ellipsis: "~",
    arrow: ">",
    current_marker: "<",
    separator: "|",
    times: "x",
    marked: "+",
    bar_full: "#",
    bar_empty: ".",
    bar_partials: &[],
    progress_full: "#",
    progress_empty: ".",
    progress_partials: &[],
    column_heights: &["_", ".", "-", "=", "+", "*", "%", "#"],
    border: border::Set {
        top_left: "+",
        top_right: "+",
        bottom_left: "+",
        bottom_right: "+",
        vertical_left: "|",
        vertical_right: "|",
        horizontal_top: "-",
        horizontal_bottom: "-",
    },
};

impl Glyphs {
    pub const fn new(ascii_only: bool) -> &'static Self {
        if ascii_only { &ASCII } else { &UNICODE }
    }

    const fn pick(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii_only { ascii } else { unicode }
    }

    /// The glyph of a condition. Every condition has a different one, so that a column of glyphs can be read without
    /// words.
    pub const fn condition(&self, condition: &Condition) -> &'static str {
        match condition {
            Condition::Ready => self.pick("●", "o"),
            Condition::Limited { .. } => self.pick("◐", "="),
            Condition::CoolingDown { .. } => self.pick("◌", "~"),
            Condition::Exhausted { .. } => self.pick("○", "z"),
            Condition::CircuitOpen { .. } => self.pick("▲", "!"),
            Condition::Disabled { .. } => self.pick("✗", "x"),
            Condition::SwitchedOff { .. } => self.pick("–", "-"),
        }
    }

    pub const fn run_state(&self, state: &RunState) -> &'static str {
        match state {
            RunState::Running => self.pick("●", "o"),
            RunState::Waiting { .. } => self.pick("◌", "~"),
            RunState::Pausing | RunState::Paused => self.pick("‖", "="),
            RunState::NeedsOperator { .. } => self.pick("▲", "!"),
            RunState::Draining => self.pick("▽", "v"),
            RunState::Stopped { .. } => self.pick("■", "#"),
            RunState::Finished => self.pick("✓", "*"),
        }
    }

    pub const fn item_state(&self, state: ItemState) -> &'static str {
        match state {
            ItemState::Waiting => self.pick("◌", "~"),
            ItemState::InFlight => self.pick("▸", ">"),
            ItemState::Done => self.pick("✓", "*"),
            ItemState::Failed => self.pick("✗", "x"),
        }
    }

    pub const fn event_level(&self, level: EventLevel) -> &'static str {
        match level {
            EventLevel::Info => self.pick("·", "."),
            EventLevel::Operator => self.pick("◆", "@"),
            EventLevel::Warn => self.pick("▲", "!"),
            EventLevel::Alert => self.pick("✗", "X"),
        }
    }

    pub const fn on_off(&self, on: bool) -> &'static str {
        if on { self.pick("●", "o") } else { self.pick("–", "-") }
    }

    pub const fn radio_button(&self, chosen: bool) -> &'static str {
        if chosen { self.pick("●", "*") } else { self.pick("○", " ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            Outcome,
            snapshot::{Cause, CauseSource},
        },
        tui::text::width,
    };

    #[test]
    fn condition_glyphs_are_distinct_and_contain_no_digits() {
        let at = crate::domain::WallTime(0);
        let cause = || Cause {
            outcome: Outcome::Timeout,
            since: at,
            source: CauseSource::Backoff,
            message: String::new(),
            status: None,
        };
        let conditions = [
            Condition::Ready,
            Condition::Limited { limit: "RPM limit reached".to_owned(), until: None },
            Condition::CoolingDown { until: at, cause: cause() },
            Condition::Exhausted { until: at, cause: cause() },
            Condition::CircuitOpen { until: at, cause: cause() },
            Condition::Disabled { since: at, cause: cause() },
            Condition::SwitchedOff { since: at },
        ];
        for ascii in [false, true] {
            let signs = conditions.iter().map(|condition| Glyphs::new(ascii).condition(condition));
            let signs: std::collections::BTreeSet<_> = signs.collect();
            assert_eq!(signs.len(), conditions.len(), "{signs:?}");
            assert!(signs.iter().all(|sign| !sign.contains(|sign: char| sign.is_ascii_digit())), "{signs:?}");
        }
    }

    #[test]
    fn every_glyph_is_one_column_wide_and_ascii_glyphs_are_ascii() {
        for ascii in [false, true] {
            let glyphs = Glyphs::new(ascii);
            let signs = [
                glyphs.ellipsis,
                glyphs.arrow,
                glyphs.current_marker,
                glyphs.separator,
                glyphs.bar_full,
                glyphs.bar_empty,
            ];
            let more = [glyphs.times, glyphs.marked, glyphs.progress_full, glyphs.progress_empty];
            let bars = glyphs.bar_partials.iter().chain(glyphs.progress_partials);
            for sign in signs.iter().chain(&more).chain(bars).chain(glyphs.column_heights) {
                assert_eq!(width(sign), 1, "{sign}");
                assert!(!ascii || sign.is_ascii(), "{sign}");
            }
        }
    }
}
