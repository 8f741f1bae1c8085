//! The operator's dashboard: draws snapshots, sends commands, asks for rows.
//!
//! It holds an [`engine::Handle`](crate::engine::Handle) and nothing else of the engine. Inside, what is
//! remembered ([`state`]), what happens ([`update`]) and what is seen ([`draw`]) are apart: neither of the
//! latter does I/O, so that the whole screen is tested without a terminal. Only [`terminal`], [`input`] and
//! [`event_loop`] touch the world.
//!
//! Which key does what is data ([`keymap`]); footer and help are made from it. Text from outside reaches the
//! screen through [`text`] only.

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

/// How the dashboard looks and what it may do.
#[derive(Clone, Debug)]
pub struct DashboardOptions {
    /// Only ASCII signs, for terminals without box drawing.
    pub ascii_only: bool,
    /// A built-in theme's name or a theme file; `None`: the default.
    pub theme: Option<String>,
    /// Colours the terminal can show; `None`: as the environment says (`NO_COLOR`, `COLORTERM`, `TERM`).
    pub colour_depth: Option<theme::ColourDepth>,
    /// How items' pictures are shown.
    pub image_mode: picture::ImageMode,
    /// Most frames a second.
    pub max_fps: u16,
    /// Commands are neither offered nor sent.
    pub read_only: bool,
    /// Clicks and the wheel are the dashboard's; `m` gives them back.
    pub capture_mouse: bool,
    /// Bell and desktop notification when the run ends or wants attention.
    pub notifications: bool,
    /// Other keys for actions.
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

/// Why the dashboard was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitReason {
    /// The run is over, and the operator has seen it.
    RunEnded,
    /// The run goes on: by the operator's wish with plain progress in the foreground, or because the terminal
    /// is gone.
    Detached,
    /// The engine was told to drain, and has ended.
    Drained,
    /// The engine was told to stop at once; it may still be about to.
    Stopped,
}

impl DashboardOptions {
    /// The state a dashboard begins with.
    pub fn build_state(&self, handle: &EngineHandle, size: ratatui::layout::Size) -> anyhow::Result<State> {
        let depth = self.colour_depth.unwrap_or_else(|| theme::ColourDepth::detect(|name| std::env::var(name).ok()));
        let environment = |name: &str| std::env::var(name).ok();
        let theme = self.theme.as_deref().or_else(|| theme::theme_for_background(environment));
        let light = theme == Some("light") || theme::theme_for_background(environment) == Some("light");
        // Who wants no colours means pictures too.
        let depth = if theme == Some("mono") { theme::ColourDepth::Mono } else { depth };
        let theme = theme::Theme::load(theme, depth)?;
        let mut state = State::new(theme, self.ascii_only, TimeZone::system(), size, &handle.snapshot());
        state.read_only = self.read_only;
        state.mouse_captured = self.capture_mouse;
        state.images.caps = self.image_mode.image_caps(depth, self.ascii_only, light, environment);
        state.keymap = keymap::Keymap::with_overrides(&self.key_overrides).map_err(anyhow::Error::msg)?;
        Ok(state)
    }

    /// Whether theme and keys are understood.
    ///
    /// # Errors
    /// What is wrong with them, with its place where it has one.
    pub fn validate(&self) -> anyhow::Result<()> {
        keymap::Keymap::with_overrides(&self.key_overrides).map_err(anyhow::Error::msg)?;
        theme::Theme::load(self.theme.as_deref(), theme::ColourDepth::True).map(drop)
    }

    fn frame_interval(&self) -> Duration {
        Duration::from_secs(1) / u32::from(self.max_fps.clamp(1, 120))
    }
}

/// Takes the terminal, shows the run until the operator leaves, and gives the terminal back, whatever happens.
///
/// # Errors
/// Where there is no terminal, the theme is not understood, or the dashboard itself has failed. The run is
/// not touched by any of these: the caller may go on as for [`Exit::Detach`].
pub async fn run(handle: EngineHandle, options: DashboardOptions) -> anyhow::Result<ExitReason> {
    let size = crossterm::terminal::size().context("can't ask the terminal for its size")?;
    let state = options.build_state(&handle, size.into())?;
    // Held until the terminal is restored below, so that no panic is printed into the dashboard.
    let panic_guard = panics::defer_panic_output();
    let cleanup_sequence = state.images.caps.map(picture::cleanup_sequence).unwrap_or_default();
    let mut screen = terminal::Terminal::enter(&options, cleanup_sequence).context("can't take the terminal")?;
    let signals = terminal::signal_stream().context("can't listen for signals")?;
    let input = input::event_stream().context("can't listen to the terminal")?;
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
