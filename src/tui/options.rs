//! The settings of the dashboard, and the state that it starts with.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{
    keymap::{KeyOverride, Keymap},
    picture::ImageMode,
    state::State,
    theme::{ColourDepth, Theme, theme_for_background},
};
use crate::engine::EngineHandle;

/// Settings of the dashboard.
#[derive(Clone, Debug)]
pub struct DashboardOptions {
    /// Use only ASCII glyphs, for terminals without box drawing.
    pub ascii_only: bool,
    /// Name of a built-in theme, or path of a theme file; `None`: the default.
    pub theme: Option<String>,
    /// Colours the terminal can show; `None`: detect from the environment (`NO_COLOR`, `COLORTERM`, `TERM`).
    pub colour_depth: Option<ColourDepth>,
    /// How the pictures of items are shown.
    pub image_mode: ImageMode,
    /// Maximum frames a second, 1 to 120; other values are limited to this range.
    pub max_fps: u16,
    /// Commands are neither offered nor sent.
    pub read_only: bool,
    /// Clicks and the wheel go to the dashboard; `m` gives them back to the terminal.
    pub capture_mouse: bool,
    /// Ring the bell and send a desktop notification when the run ends or needs attention.
    pub notifications: bool,
    /// The operator's own key bindings.
    pub key_overrides: Vec<KeyOverride>,
}

impl Default for DashboardOptions {
    fn default() -> Self {
        Self {
            ascii_only: false,
            theme: None,
            colour_depth: None,
            image_mode: ImageMode::Auto,
            max_fps: 30,
            read_only: false,
            capture_mouse: true,
            notifications: true,
            key_overrides: Vec::new(),
        }
    }
}

impl DashboardOptions {
    /// The initial state of the dashboard.
    pub fn build_state(&self, handle: &EngineHandle, size: ratatui::layout::Size) -> anyhow::Result<State> {
        let depth = self.colour_depth.unwrap_or_else(|| ColourDepth::detect(|name| std::env::var(name).ok()));
        let environment = |name: &str| std::env::var(name).ok();
        let theme = self.theme.as_deref().or_else(|| theme_for_background(environment));
        let is_light_background = theme == Some("light") || theme_for_background(environment) == Some("light");
        // A theme without colours applies to pictures too.
        let depth = if theme == Some("mono") { ColourDepth::Mono } else { depth };
        let theme = Theme::load(theme, depth)?;
        let mut state = State::new(theme, self.ascii_only, TimeZone::system(), size, &handle.snapshot());
        state.read_only = self.read_only;
        state.mouse_captured = self.capture_mouse;
        state.images.caps = self.image_mode.image_caps(depth, self.ascii_only, is_light_background, environment);
        state.keymap = Keymap::with_overrides(&self.key_overrides).map_err(anyhow::Error::msg)?;
        Ok(state)
    }

    /// Checks the theme and the key bindings.
    ///
    /// # Errors
    /// If one of them is invalid; the message has the location if it is known.
    pub fn validate(&self) -> anyhow::Result<()> {
        Keymap::with_overrides(&self.key_overrides).map_err(anyhow::Error::msg)?;
        Theme::load(self.theme.as_deref(), ColourDepth::True).map(drop)
    }

    pub(super) fn frame_interval(&self) -> Duration {
        Duration::from_secs(1) / u32::from(self.max_fps.clamp(1, 120))
    }
}
