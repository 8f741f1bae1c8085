//! The state of the screen between two frames: what the operator has selected and opened, not the state of the run.
//!
//! The figures on the screen come from the snapshot. Stored here are only samples for the charts ([`History`]) and the
//! latest answers of the run's database. Only [`super::update`] changes a [`State`], apart from the two clocks, which
//! the event loop sets.

mod cached;
mod cooldowns;
mod failures;
mod history;
mod image_viewer;
mod item_detail;
mod items;
mod leaving;
mod lists;
mod overlay;
mod pending;
mod replay;
mod selection;
mod strategy_menu;
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
use crate::domain::{AlertTracker, Snapshot, WallTime};

pub use cached::{DataVersion, PendingQuery};
pub use cooldowns::{CooldownId, key_of_cooldown, sorted_cooldowns};
pub use failures::FailureList;
pub use history::{ChartPoint, ChartSeries, History};
pub use image_viewer::{ImageState, ImageViewer};
pub use item_detail::{DetailState, DetailView, ScrollPosition};
pub use items::{ITEM_LISTS, ItemList, WINDOW_MARGIN_ROWS};
pub use leaving::{ExitReason, Leaving};
pub use overlay::{CommandInput, InspectSubject, Overlay};
pub use pending::PendingCommands;
pub use replay::{ReplayPlan, ReplayScope};
pub use selection::Selection;
pub use strategy_menu::{MenuChoice, menu_choices};
pub use toasts::{Toast, ToastLevel, Toasts};
pub use undo::{UndoStack, find_inverse};

pub struct State {
    pub theme: Theme,
    pub keymap: Keymap,
    pub glyphs: &'static Glyphs,
    /// The operator's time zone; clock times are shown in it.
    pub time_zone: TimeZone,
    pub read_only: bool,
    /// Size of the terminal in cells, for paging and for the mouse.
    pub terminal_size: Size,
    /// Engine time as shown: that of the newest snapshot plus the time since.
    pub now: WallTime,
    /// Real time since the dashboard was opened; the ages of toasts and acknowledgements are measured with it.
    pub ui_elapsed: Duration,
    /// True if no more snapshots will come.
    pub engine_gone: bool,
    pub focus: Pane,
    /// The open tab, at sizes that have tabs.
    pub tab: Pane,
    pub is_zoomed: bool,
    pub selection: Selection,
    pub items: ItemList,
    pub failures: FailureList,
    pub detail: Option<DetailView>,
    pub images: ImageViewer,
    /// True while a group of failures is being written to a file.
    pub is_exporting: bool,
    pub overlay: Option<Overlay>,
    pub toasts: Toasts,
    pub pending_commands: PendingCommands,
    pub undo: UndoStack,
    pub leaving: Option<Leaving>,
    pub history: History,
    pub announced: Announcements,
    pub log_widget_state: TuiWidgetState,
    /// True if the dashboard handles the mouse; otherwise the terminal does.
    pub mouse_captured: bool,
}

/// Announcements already made outside the dashboard, so that none is made twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Announcements {
    pub last_title: String,
    pub alert_tracker: AlertTracker,
    /// When the bell last rang, on the clock of [`State::ui_elapsed`].
    pub bell_rang_at: Option<Duration>,
}

impl State {
    pub fn new(theme: Theme, ascii_only: bool, time_zone: TimeZone, terminal_size: Size, snapshot: &Snapshot) -> Self {
        Self {
            theme,
            keymap: Keymap::default(),
            glyphs: Glyphs::new(ascii_only),
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
            log_widget_state: TuiWidgetState::new(),
            mouse_captured: false,
        }
    }

    /// The pane that fills the whole body, if there is one: a zoomed pane, or one that is not on the dashboard.
    pub fn fullscreen_pane(&self) -> Option<Pane> {
        (self.is_zoomed || self.is_focused_pane_off_dashboard()).then_some(self.focus)
    }

    /// Whether the focused pane is not on the dashboard.
    fn is_focused_pane_off_dashboard(&self) -> bool {
        !SizeClass::of(self.terminal_size).dashboard_panes().contains(&self.focus)
    }

    /// Switches the focused pane between full screen and its place on the dashboard. A pane that is not on the
    /// dashboard is always full screen.
    pub fn toggle_zoom(&mut self) {
        self.is_zoomed ^= !self.is_focused_pane_off_dashboard();
    }

    pub fn layout_input(&self, snapshot: &Snapshot) -> LayoutInput {
        LayoutInput {
            zoomed: self.fullscreen_pane(),
            tab: self.tab,
            key_count: snapshot.keys.len(),
            model_count: snapshot.models.len(),
        }
    }

    /// The layout at the last known size of the terminal.
    pub fn layout(&self, snapshot: &Snapshot) -> ScreenLayout {
        compute_layout(Rect::from((ratatui::layout::Position::ORIGIN, self.terminal_size)), self.layout_input(snapshot))
    }

    /// The contexts that have the keyboard, the most specific first.
    pub fn key_contexts(&self) -> Vec<KeyContext> {
        let overlay = self.overlay.as_ref().map(|overlay| match overlay {
            Overlay::Help(_) | Overlay::Inspect { .. } => KeyContext::TextOverlay,
            Overlay::HardPause | Overlay::GiveUp(_) => KeyContext::ConfirmDialog,
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

    /// The queries for data on the screen that is out of date, most important first.
    pub fn pending_queries(&self, snapshot: &Snapshot) -> impl Iterator<Item = PendingQuery> + use<> {
        let totals = &snapshot.totals;
        if let Some(Overlay::Replay(plan)) = &self.overlay {
            // Data under the dialog is not refreshed: both need queries that group the failed items, and sending the
            // two in turn would keep the database busy all the time.
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

    /// Whether nothing more will happen in the run, as far as this screen can know.
    pub const fn is_run_over(&self, snapshot: &Snapshot) -> bool {
        self.engine_gone || snapshot.state.is_over()
    }

    /// Whether the terminal has room only for the status lines.
    pub fn is_terminal_too_small(&self) -> bool {
        SizeClass::of(self.terminal_size) == SizeClass::TooSmall
    }

    /// Time since the run began, as shown.
    pub fn run_elapsed(&self, snapshot: &Snapshot) -> Duration {
        snapshot.elapsed + self.now.since(snapshot.at)
    }
}
