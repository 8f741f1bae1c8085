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
mod engine_time;
pub mod event_loop;
mod figures;
pub mod glyphs;
mod input;
pub mod keymap;
pub mod layout;
mod outlook;
mod overlays;
pub mod pane;
mod panes;
pub mod picture;
mod scene;
pub mod state;
pub mod terminal;
mod text;
pub mod theme;
pub mod update;
mod widgets;
mod words;

use std::{panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context as _, anyhow};
use futures_util::FutureExt as _;
use jiff::tz::TimeZone;

use crate::{engine::EngineHandle, telemetry::panics};

pub use draw::draw;
pub use state::State;
pub use update::{Effect, Message, update};

/// How the dashboard looks and what it may do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only ASCII signs, for terminals without box drawing.
    pub ascii: bool,
    /// A built-in theme's name or a theme file; `None`: the default.
    pub theme: Option<String>,
    /// Colours the terminal can show; `None`: as the environment says (`NO_COLOR`, `COLORTERM`, `TERM`).
    pub depth: Option<theme::Depth>,
    /// How items' pictures are shown.
    pub pictures: picture::Wish,
    /// Most frames a second.
    pub fps: u16,
    /// Commands are neither offered nor sent.
    pub read_only: bool,
    /// Clicks and the wheel are the dashboard's; `m` gives them back.
    pub mouse: bool,
    /// Bell and desktop notification when the run ends or wants attention.
    pub notify: bool,
    /// Other keys for actions.
    pub keys: Vec<keymap::Rebinding>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ascii: false,
            theme: None,
            depth: None,
            pictures: picture::Wish::Auto,
            fps: 30,
            read_only: false,
            mouse: true,
            notify: true,
            keys: Vec::new(),
        }
    }
}

/// Why the dashboard was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The run is over, and the operator has seen it.
    Over,
    /// The run goes on: by the operator's wish with plain progress in the foreground, or because the terminal
    /// is gone.
    Detach,
    /// The engine was told to drain, and has ended.
    Drained,
    /// The engine was told to stop at once; it may still be about to.
    StopNow,
}

impl Options {
    /// The state a dashboard begins with.
    pub fn state(&self, handle: &EngineHandle, size: ratatui::layout::Size) -> anyhow::Result<State> {
        let depth = self.depth.unwrap_or_else(|| theme::Depth::detect(|name| std::env::var(name).ok()));
        let environment = |name: &str| std::env::var(name).ok();
        let theme = self.theme.as_deref().or_else(|| theme::fitting(environment));
        let light = theme == Some("light") || theme::fitting(environment) == Some("light");
        // Who wants no colours means pictures too.
        let depth = if theme == Some("mono") { theme::Depth::Mono } else { depth };
        let theme = theme::Theme::load(theme, depth)?;
        let mut state = State::new(theme, self.ascii, TimeZone::system(), size, &handle.snapshot());
        state.read_only = self.read_only;
        state.mouse = self.mouse;
        state.pictures.canvas = self.pictures.canvas(depth, self.ascii, light, environment);
        state.keymap = keymap::Keymap::rebound(&self.keys).map_err(anyhow::Error::msg)?;
        Ok(state)
    }

    /// Whether theme and keys are understood.
    ///
    /// # Errors
    /// What is wrong with them, with its place where it has one.
    pub fn check(&self) -> anyhow::Result<()> {
        keymap::Keymap::rebound(&self.keys).map_err(anyhow::Error::msg)?;
        theme::Theme::load(self.theme.as_deref(), theme::Depth::True).map(drop)
    }

    fn frame_time(&self) -> Duration {
        Duration::from_secs(1) / u32::from(self.fps.clamp(1, 120))
    }
}

/// Takes the terminal, shows the run until the operator leaves, and gives the terminal back, whatever happens.
///
/// # Errors
/// Where there is no terminal, the theme is not understood, or the dashboard itself has failed. The run is
/// not touched by any of these: the caller may go on as for [`Exit::Detach`].
pub async fn run(handle: EngineHandle, options: Options) -> anyhow::Result<Exit> {
    let size = crossterm::terminal::size().context("can't ask the terminal for its size")?;
    let state = options.state(&handle, size.into())?;
    // Held until the terminal is restored below, so that no panic is printed into the dashboard.
    let hold = panics::defer_panic_output();
    let farewell = state.pictures.canvas.map(picture::farewell).unwrap_or_default();
    let mut screen = terminal::Terminal::enter(&options, farewell).context("can't take the terminal")?;
    let signals = terminal::signals().context("can't listen for signals")?;
    let input = input::events().context("can't listen to the terminal")?;
    let shown = event_loop::drive(&mut screen, input, signals, handle, state, options.frame_time());
    let outcome = AssertUnwindSafe(shown).catch_unwind().await;
    drop(screen);
    drop(hold);
    input::let_go();
    match outcome {
        Ok(exit) => Ok(exit),
        Err(panic) => Err(anyhow!(
            "the dashboard failed ({}); the run itself is not affected. Please report this.",
            panics::panic_message(panic.as_ref())
        )),
    }
}
