//! What the screen remembers between two frames: where the operator is, not what the run is doing.
//!
//! Figures are never kept here: they are in the snapshot. Only [`super::update`] changes a `State`.

mod answer;
mod detail;
mod failures;
mod history;
mod items;
mod overlay;
mod pending;
mod pictures;
mod replay;
mod selection;
mod toasts;
mod undo;

use std::time::Duration;

use jiff::tz::TimeZone;
use ratatui::layout::{Rect, Size};
use tui_logger::TuiWidgetState;

use super::{
    glyphs::Glyphs,
    keymap::{Context, Keymap},
    layout::{Arrangement, Shape, View, arrange},
    pane::Pane,
    theme::Theme,
};
use crate::domain::{AlertTracker, Query, Snapshot, WallTime};

pub use answer::Stamp;
pub use detail::{Detail, Known, Reading};
pub use failures::Failures;
pub use history::{History, Step, Steps};
pub use items::{Items, WINDOW_MARGIN};
pub use overlay::{Line, Overlay, Subject};
pub use pending::Pending;
pub use pictures::{Pictures, Sight};
pub use replay::{ReplayPlan, Scope};
pub use selection::{Selection, Timer, cooldowns, key_behind};
pub use toasts::{Toast, ToastLevel, Toasts};
pub use undo::{Undo, inverse};

pub struct State {
    pub theme: Theme,
    pub keymap: Keymap,
    pub glyphs: &'static Glyphs,
    /// Where the operator is; what clock times are shown in.
    pub zone: TimeZone,
    pub read_only: bool,
    /// The terminal's; for paging and for the mouse.
    pub size: Size,
    /// Engine time as shown: the newest snapshot's, and what has passed since.
    pub now: WallTime,
    /// Real time since the dashboard was opened; what toasts and acknowledgements are measured in.
    pub ui: Duration,
    /// Nobody publishes snapshots any more.
    pub gone: bool,
    pub focus: Pane,
    /// The tab that is open, at sizes that have tabs.
    pub tab: Pane,
    pub zoomed: bool,
    pub selection: Selection,
    pub items: Items,
    pub failures: Failures,
    pub detail: Option<Detail>,
    pub pictures: Pictures,
    /// A group of failures is being written to a file.
    pub exporting: bool,
    pub overlay: Option<Overlay>,
    pub toasts: Toasts,
    pub pending: Pending,
    pub undo: Undo,
    pub leaving: Option<Leaving>,
    pub history: History,
    pub announced: Announced,
    pub log: TuiWidgetState,
    /// The mouse is ours rather than the terminal's.
    pub mouse: bool,
}

/// The operator has decided to go, and the engine has been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// Stays until what is in flight has finished.
    Draining,
    /// Stays until the engine has heard it, or for a few seconds from `since`.
    Stopping { since: Duration },
}

/// What was already said outside the window: nothing is said twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    pub title: String,
    pub watch: AlertTracker,
    /// When the bell last rang, in [`State::ui`].
    pub rang: Option<Duration>,
}

/// A question for the run's database, and the state of the run it was asked in.
#[derive(Clone, PartialEq, Debug)]
pub struct Wanted {
    pub query: Query,
    pub stamp: Stamp,
}

impl State {
    pub fn new(theme: Theme, ascii: bool, zone: TimeZone, size: Size, snapshot: &Snapshot) -> Self {
        Self {
            theme,
            keymap: Keymap::default(),
            glyphs: Glyphs::new(ascii),
            zone,
            read_only: false,
            size,
            now: snapshot.at,
            ui: Duration::ZERO,
            gone: false,
            focus: Pane::Keys,
            tab: Pane::Events,
            zoomed: false,
            selection: Selection::default(),
            items: Items::unchosen(),
            failures: Failures::default(),
            detail: None,
            pictures: Pictures::default(),
            exporting: false,
            overlay: None,
            toasts: Toasts::default(),
            pending: Pending::default(),
            undo: Undo::default(),
            leaving: None,
            history: History::default(),
            announced: Announced { watch: AlertTracker::after_snapshot(snapshot), ..Announced::default() },
            log: TuiWidgetState::new(),
            mouse: false,
        }
    }

    /// The pane that has the whole body, if one has: because it was zoomed, or has no place of its own.
    pub fn whole_body(&self) -> Option<Pane> {
        (self.zoomed || self.is_homeless()).then_some(self.focus)
    }

    /// The focused pane has no place on the dashboard.
    fn is_homeless(&self) -> bool {
        !Shape::of(self.size).dashboard().contains(&self.focus)
    }

    /// The focused pane full screen, and back; what has no place of its own is that already.
    pub fn zoom(&mut self) {
        self.zoomed ^= !self.is_homeless();
    }

    pub fn view(&self, snapshot: &Snapshot) -> View {
        View { zoomed: self.whole_body(), tab: self.tab, keys: snapshot.keys.len(), models: snapshot.models.len() }
    }

    /// Where everything is at the size that was last heard of.
    pub fn arrangement(&self, snapshot: &Snapshot) -> Arrangement {
        arrange(Rect::from((ratatui::layout::Position::ORIGIN, self.size)), self.view(snapshot))
    }

    /// Who has the keyboard, nearest first.
    pub fn contexts(&self) -> Vec<Context> {
        let overlay = self.overlay.as_ref().map(|overlay| match overlay {
            Overlay::Help(_) | Overlay::Why { .. } => Context::Reading,
            Overlay::HardPause => Context::Confirm,
            Overlay::Replay(_) => Context::Replay,
            Overlay::Quit => Context::Quit,
            Overlay::Menu { .. } => Context::Menu,
            Overlay::Filter { .. } | Overlay::CommandLine(_) => Context::Typing,
        });
        match (overlay, &self.detail) {
            (Some(overlay), _) => vec![overlay, Context::Always],
            (None, Some(_)) => vec![Context::Detail, Context::Global, Context::Always],
            (None, None) => vec![Context::Pane(self.focus), Context::Global, Context::Always],
        }
    }

    /// What is out of date on the screen and has to be asked for; the nearest first.
    pub fn wanted(&self, snapshot: &Snapshot) -> impl Iterator<Item = Wanted> + use<> {
        let totals = &snapshot.totals;
        if let Some(Overlay::Replay(plan)) = &self.overlay {
            // What lies under it waits: by turns, two groupings of the failed items would leave the database no rest.
            return [plan.wanted(totals), None].into_iter().flatten();
        }
        let item = self.detail.as_ref().and_then(|detail| detail.wanted(totals));
        let list = match (self.focus, self.arrangement(snapshot).list_rows(Pane::Items)) {
            (Pane::Failures, _) => self.failures.wanted(totals),
            (_, 0) => None,
            (_, rows) => self.items.wanted(rows, totals),
        };
        [item, list].into_iter().flatten()
    }

    /// Time since the run began, as shown.
    pub fn elapsed(&self, snapshot: &Snapshot) -> Duration {
        snapshot.elapsed + self.now.since(snapshot.at)
    }
}
