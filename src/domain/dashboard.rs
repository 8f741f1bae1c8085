//! The operator's choices for the dashboard that its configuration and its screen share.

use super::named::names;

/// How the pictures of items are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ImageMode {
    /// The terminal's graphics protocol if a known one is detected, otherwise block glyphs.
    #[default]
    Auto,
    /// Always block glyphs, whatever the terminal supports.
    Blocks,
    /// Always kitty's protocol, even if it is not detected. The same with the next two.
    Kitty,
    Iterm2,
    Sixel,
    /// No pictures.
    Off,
}

names!(ImageMode {
    Auto = "auto", Blocks = "blocks", Kitty = "kitty", Iterm2 = "iterm2", Sixel = "sixel", Off = "off",
});

/// Other keys for one action in all contexts, with the place in the configuration for error messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyOverride {
    pub action: String,
    pub keys: Vec<String>,
    /// For example `keys.toml:12`.
    pub location: String,
}
