//! The operator's dashboard: draws snapshots, sends commands, queries the run's database.
//!
//! It reaches the engine only through an [`EngineHandle`](crate::engine::EngineHandle). The remembered state
//! ([`state`]), the handling of events ([`update`]) and the drawing ([`draw`]) are separate. None of them does I/O, so
//! that the whole screen is tested without a terminal. [`terminal`], [`input`] and [`event_loop`] do the I/O of the
//! running dashboard, [`picture`] reads picture files on its own thread, and [`theme`] reads a theme file at the start.
//!
//! The files import downwards only. From the bottom: plain data ([`pane`], [`action`], [`keymap`], [`layout`],
//! [`theme`]), the remembered [`state`], [`commands`] and [`command_line`] that read it, [`widgets`], [`overlays`] and
//! [`panes`], [`draw`] and [`update`], [`event_loop`] and [`terminal`].
//!
//! Key bindings are data ([`keymap`]); footer and help are generated from them. Text from outside is sanitized in
//! [`text`] before it is drawn.

pub mod action;
mod colour;
mod command_line;
mod commands;
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
mod options;
mod overlays;
pub mod pane;
mod panes;
pub mod picture;
mod render_ctx;
pub mod screen;
pub mod state;
mod style_role;
pub mod terminal;
mod text;
pub mod theme;
pub mod update;
mod widgets;

use std::{panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context as _, anyhow};
use futures_util::FutureExt as _;

use crate::{
    domain::{Page, Query},
    engine::EngineHandle,
    telemetry::panics,
};
use state::History;

pub use draw::draw;
pub use options::DashboardOptions;
pub use state::{ExitReason, State};
pub use update::{Effect, UiEvent, update};

/// How long the first frame waits for what was recorded for the charts.
const MAX_HISTORY_WAIT: Duration = Duration::from_millis(300);

/// Acquires the terminal, shows the run until the operator leaves, and always releases the terminal.
///
/// # Errors
/// If there is no terminal, the theme or a key binding is invalid, or the dashboard panics. None of these affects the
/// run: the caller may continue as for [`ExitReason::Detached`].
pub async fn run(handle: EngineHandle, options: DashboardOptions) -> anyhow::Result<ExitReason> {
    let size = crossterm::terminal::size().context("can't get the size of the terminal")?;
    let mut state = options.build_state(&handle, size.into())?;
    state.history = load_history(&handle).await;
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

/// The history of the run before this dashboard. Empty if it can't be read at once: no dashboard waits for it.
async fn load_history(handle: &EngineHandle) -> History {
    match tokio::time::timeout(MAX_HISTORY_WAIT, handle.query(Query::Samples)).await {
        Ok(Ok(Page::Samples { samples })) => History::from_recorded(samples),
        other => {
            tracing::warn!("the charts begin now, since what was recorded for them can't be read: {other:?}");
            History::default()
        }
    }
}
