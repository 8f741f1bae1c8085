//! The operator's dashboard: draws snapshots, sends commands, queries the run's database.
//!
//! It reaches the engine only through an [`EngineHandle`](crate::engine::EngineHandle). The remembered state
//! ([`state`]), the handling of events ([`update`]) and the drawing ([`draw`]) are separate. None of them does I/O, so
//! that the whole screen is tested without a terminal. [`terminal`], [`input`] and [`event_loop`] do the I/O of the
//! running dashboard, [`picture`] reads picture files on its own thread, and [`theme`] reads a theme file at the start.
//!
//! Key bindings are data ([`keymap`]); footer and help are generated from them. Text from outside is sanitized in
//! [`text`] before it is drawn.

pub mod action;
mod colour;
pub mod draw;
mod engine_clock;
pub mod event_loop;
mod forecast_text;
mod format;
pub mod glyphs;
mod input;
pub mod keymap;
mod labels;
pub mod layout;
mod overlays;
pub mod pane;
mod panes;
pub mod picture;
mod render_ctx;
pub mod state;
pub mod terminal;
mod text;
pub mod theme;
pub mod update;
mod widgets;

use std::{panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context as _, anyhow};
use futures_util::FutureExt as _;
use jiff::tz::TimeZone;

use crate::{engine::EngineHandle, telemetry::panics};

pub use draw::draw;
pub use state::State;
pub use update::{Effect, UiEvent, update};

/// Settings of the dashboard.
#[derive(Clone, Debug)]
pub struct DashboardOptions {
    /// Use only ASCII glyphs, for terminals without box drawing.
    pub ascii_only: bool,
    /// Name of a built-in theme, or path of a theme file; `None`: the default.
    pub theme: Option<String>,
    /// Colours the terminal can show; `None`: detect from the environment (`NO_COLOR`, `COLORTERM`, `TERM`).
    pub colour_depth: Option<theme::ColourDepth>,
    /// How the pictures of items are shown.
    pub image_mode: picture::ImageMode,
    /// Maximum frames a second, 1 to 120; other values are limited to this range.
    pub max_fps: u16,
    /// Commands are neither offered nor sent.
    pub read_only: bool,
    /// Clicks and the wheel go to the dashboard; `m` gives them back to the terminal.
    pub capture_mouse: bool,
    /// Ring the bell and send a desktop notification when the run ends or needs attention.
    pub notifications: bool,
    /// The operator's own key bindings.
    pub key_overrides: Vec<keymap::KeyOverride>,
}

impl Default for DashboardOptions {
    fn default() -> Self {
        Self {
            ascii_only: false,
            theme: None,
            colour_depth: None,
            image_mode: picture::ImageMode::Auto,
            max_fps: 30,
            read_only: false,
            capture_mouse: true,
            notifications: true,
            key_overrides: Vec::new(),
        }
    }
}

/// The reason why the dashboard was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitReason {
    /// The run is over and the operator has left.
    RunEnded,
    /// The run goes on: the operator chose plain progress or left a read-only screen, or the terminal is gone.
    Detached,
    /// The engine was told to drain, and has ended.
    Drained,
    /// The engine was told to stop at once, and may not have stopped yet.
    Stopped,
}

impl DashboardOptions {
    /// The initial state of the dashboard.
    pub fn build_state(&self, handle: &EngineHandle, size: ratatui::layout::Size) -> anyhow::Result<State> {
        let depth = self.colour_depth.unwrap_or_else(|| theme::ColourDepth::detect(|name| std::env::var(name).ok()));
        let environment = |name: &str| std::env::var(name).ok();
        let theme = self.theme.as_deref().or_else(|| theme::theme_for_background(environment));
        let is_light_background = theme == Some("light") || theme::theme_for_background(environment) == Some("light");
        // A theme without colours applies to pictures too.
        let depth = if theme == Some("mono") { theme::ColourDepth::Mono } else { depth };
        let theme = theme::Theme::load(theme, depth)?;
        let mut state = State::new(theme, self.ascii_only, TimeZone::system(), size, &handle.snapshot());
        state.read_only = self.read_only;
        state.mouse_captured = self.capture_mouse;
        state.images.caps = self.image_mode.image_caps(depth, self.ascii_only, is_light_background, environment);
        state.keymap = keymap::Keymap::with_overrides(&self.key_overrides).map_err(anyhow::Error::msg)?;
        Ok(state)
    }

    /// Checks the theme and the key bindings.
    ///
    /// # Errors
    /// If one of them is invalid; the message has the location if it is known.
    pub fn validate(&self) -> anyhow::Result<()> {
        keymap::Keymap::with_overrides(&self.key_overrides).map_err(anyhow::Error::msg)?;
        theme::Theme::load(self.theme.as_deref(), theme::ColourDepth::True).map(drop)
    }

    fn frame_interval(&self) -> Duration {
        Duration::from_secs(1) / u32::from(self.max_fps.clamp(1, 120))
    }
}

/// Acquires the terminal, shows the run until the operator leaves, and always releases the terminal.
///
/// # Errors
/// If there is no terminal, the theme or a key binding is invalid, or the dashboard panics. None of these affects the
/// run: the caller may continue as for [`ExitReason::Detached`].
pub async fn run(handle: EngineHandle, options: DashboardOptions) -> anyhow::Result<ExitReason> {
    let size = crossterm::terminal::size().context("can't get the size of the terminal")?;
    let state = options.build_state(&handle, size.into())?;
    // Held until the terminal is released below, so that no panic message is printed into the dashboard.
    let panic_guard = panics::defer_panic_output();
    let cleanup_sequence = state.images.caps.map(picture::cleanup_sequence).unwrap_or_default();
    let mut screen = terminal::Terminal::enter(&options, cleanup_sequence).context("can't set up the terminal")?;
    let signals = terminal::signal_stream().context("can't listen for signals")?;
    let input = input::event_stream().context("can't read from the terminal")?;
    let dashboard = event_loop::run_event_loop(&mut screen, input, signals, handle, state, options.frame_interval());
    let outcome = AssertUnwindSafe(dashboard).catch_unwind().await;
    drop(screen);
    drop(panic_guard);
    input::stop_input();
    match outcome {
        Ok(exit) => Ok(exit),
        Err(panic) => Err(anyhow!(
            "the dashboard failed ({}); the run itself is not affected. Please report this.",
            panics::panic_message(panic.as_ref())
        )),
    }
}
