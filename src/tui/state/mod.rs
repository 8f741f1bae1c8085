//! What the screen remembers between two frames: where the operator is, not what the run is doing.
//!
//! Figures are never kept here: they are in the snapshot. Only [`super::update`] changes a `State`.

mod cached;
mod failures;
mod history;
mod image_viewer;
mod item_detail;
mod items;
mod overlay;
mod pending;
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
    keymap::{KeyContext, Keymap},
    layout::{LayoutInput, ScreenLayout, SizeClass, compute_layout},
    pane::Pane,
    theme::Theme,
};
use crate::domain::{AlertTracker, Query, Snapshot, WallTime};

pub use cached::DataVersion;
pub use failures::FailureList;
pub use history::{ChartPoint, ChartSeries, History};
pub use image_viewer::{ImageState, ImageViewer};
pub use item_detail::{DetailState, DetailView, ScrollPosition};
pub use items::{ItemList, WINDOW_MARGIN_ROWS};
pub use overlay::{CommandInput, InspectSubject, Overlay};
pub use pending::PendingCommands;
pub use replay::{ReplayPlan, ReplayScope};
pub use selection::{CooldownId, Selection, key_of_cooldown, sorted_cooldowns};
pub use toasts::{Toast, ToastLevel, Toasts};
pub use undo::{UndoStack, inverse};

pub struct State {
    pub theme: Theme,
    pub keymap: Keymap,
    pub glyphs: &'static Glyphs,
    /// Where the operator is; what clock times are shown in.
    pub time_zone: TimeZone,
    pub read_only: bool,
    /// The terminal's; for paging and for the mouse.
    pub terminal_size: Size,
    /// Engine time as shown: the newest snapshot's, and what has passed since.
    pub now: WallTime,
    /// Real time since the dashboard was opened; what toasts and acknowledgements are measured in.
    pub ui_elapsed: Duration,
    /// Nobody publishes snapshots any more.
    pub engine_gone: bool,
    pub focus: Pane,
    /// The tab that is open, at sizes that have tabs.
    pub tab: Pane,
    pub is_zoomed: bool,
    pub selection: Selection,
    pub items: ItemList,
    pub failures: FailureList,
    pub detail: Option<DetailView>,
    pub images: ImageViewer,
    /// A group of failures is being written to a file.
    pub is_exporting: bool,
    pub overlay: Option<Overlay>,
    pub toasts: Toasts,
    pub pending_commands: PendingCommands,
    pub undo: UndoStack,
    pub leaving: Option<Leaving>,
    pub history: History,
    pub announced: Announcements,
    pub log_widget: TuiWidgetState,
    /// The mouse is ours rather than the terminal's.
    pub mouse_captured: bool,
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
pub struct Announcements {
    pub last_title: String,
    pub alert_tracker: AlertTracker,
    /// When the bell last rang, in [`State::ui`].
    pub bell_rang_at: Option<Duration>,
}

/// A question for the run's database, and the state of the run it was asked in.
#[derive(Clone, PartialEq, Debug)]
pub struct PendingQuery {
    pub query: Query,
    pub data_version: DataVersion,
}

impl State {
    pub fn new(theme: Theme, ascii: bool, time_zone: TimeZone, terminal_size: Size, snapshot: &Snapshot) -> Self {
        Self {
            theme,
            keymap: Keymap::default(),
            glyphs: Glyphs::new(ascii),
            time_zone,
            read_only: false,
            terminal_size,
            now: snapshot.at,
            ui_elapsed: Duration::ZERO,
            engine_gone: false,
            focus: Pane::Keys,
            tab: Pane::Events,
            is_zoomed: false,
            selection: Selection::default(),
            items: ItemList::automatic(),
            failures: FailureList::default(),
            detail: None,
            images: ImageViewer::default(),
            is_exporting: false,
            overlay: None,
            toasts: Toasts::default(),
            pending_commands: PendingCommands::default(),
            undo: UndoStack::default(),
            leaving: None,
            history: History::default(),
            announced: Announcements {
                alert_tracker: AlertTracker::after_snapshot(snapshot),
                ..Announcements::default()
            },
            log_widget: TuiWidgetState::new(),
            mouse_captured: false,
        }
    }

    /// The pane that has the whole body, if one has: because it was zoomed, or has no place of its own.
    pub fn fullscreen_pane(&self) -> Option<Pane> {
        (self.is_zoomed || self.is_focus_off_dashboard()).then_some(self.focus)
    }

    /// The focused pane has no place on the dashboard.
    fn is_focus_off_dashboard(&self) -> bool {
        !SizeClass::of(self.terminal_size).dashboard_panes().contains(&self.focus)
    }

    /// The focused pane full screen, and back; what has no place of its own is that already.
    pub fn toggle_zoom(&mut self) {
        self.is_zoomed ^= !self.is_focus_off_dashboard();
    }

    pub fn layout_input(&self, snapshot: &Snapshot) -> LayoutInput {
        LayoutInput {
            zoomed: self.fullscreen_pane(),
            tab: self.tab,
            keys: snapshot.keys.len(),
            models: snapshot.models.len(),
        }
    }

    /// Where everything is at the size that was last heard of.
    pub fn layout(&self, snapshot: &Snapshot) -> ScreenLayout {
        compute_layout(Rect::from((ratatui::layout::Position::ORIGIN, self.terminal_size)), self.layout_input(snapshot))
    }

    /// Who has the keyboard, nearest first.
    pub fn key_contexts(&self) -> Vec<KeyContext> {
        let overlay = self.overlay.as_ref().map(|overlay| match overlay {
            Overlay::Help(_) | Overlay::Inspect { .. } => KeyContext::TextOverlay,
            Overlay::HardPause => KeyContext::ConfirmDialog,
            Overlay::Replay(_) => KeyContext::ReplayDialog,
            Overlay::Quit => KeyContext::QuitDialog,
            Overlay::StrategyMenu { .. } => KeyContext::Menu,
            Overlay::Filter { .. } | Overlay::CommandLine(_) => KeyContext::TextInput,
        });
        match (overlay, &self.detail) {
            (Some(overlay), _) => vec![overlay, KeyContext::Always],
            (None, Some(_)) => vec![KeyContext::ItemDetail, KeyContext::Global, KeyContext::Always],
            (None, None) => vec![KeyContext::Pane(self.focus), KeyContext::Global, KeyContext::Always],
        }
    }

    /// What is out of date on the screen and has to be asked for; the nearest first.
    pub fn pending_queries(&self, snapshot: &Snapshot) -> impl Iterator<Item = PendingQuery> + use<> {
        let totals = &snapshot.totals;
        if let Some(Overlay::Replay(plan)) = &self.overlay {
            // What lies under it waits: by turns, two groupings of the failed items would leave the database no rest.
            return [plan.pending_query(totals), None].into_iter().flatten();
        }
        let item = self.detail.as_ref().and_then(|detail| detail.pending_query(totals));
        let list = match (self.focus, self.layout(snapshot).list_rows(Pane::Items)) {
            (Pane::Failures, _) => self.failures.pending_query(totals),
            (_, 0) => None,
            (_, rows) => self.items.pending_query(rows, totals),
        };
        [item, list].into_iter().flatten()
    }

    /// Time since the run began, as shown.
    pub fn run_elapsed(&self, snapshot: &Snapshot) -> Duration {
        snapshot.elapsed + self.now.since(snapshot.at)
    }
}
