//! Themes. Panes ask for the style of a role; the theme decides on the colours.
//!
//! Colour is never the only signal: every state has a glyph and a word too, so that the mono theme loses nothing. Mono
//! uses no colour at all, because crossterm 0.29 under `NO_COLOR` turns each colour change into a full reset, which
//! would also reset bold and reverse.

use std::{io::Read as _, path::Path};

use anyhow::{Context as _, bail};
use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use super::colour::{nearest_ansi16, nearest_ansi256};

pub use super::{colour::ColourDepth, style_role::StyleRole};

/// The theme for the background that the terminal reports in `COLORFGBG`: `light` or none. Most terminals report
/// nothing.
pub fn theme_for_background(environment: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let colours = environment("COLORFGBG")?;
    let background: u8 = colours.rsplit(';').next()?.parse().ok()?;
    matches!(background, 7 | 9..=15).then_some("light")
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Theme {
    roles: Roles<Style>,
}

/// One value for each role. The fields are named as in a theme file.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Roles<T> {
    text: T,
    muted: T,
    title: T,
    border: T,
    focus: T,
    selection: T,
    ok: T,
    warn: T,
    bad: T,
    cooling: T,
    exhausted: T,
    disabled: T,
    #[serde(rename = "you")]
    operator: T,
    bar: T,
    track: T,
    key: T,
}

impl<T> Roles<T> {
    fn map<U>(&self, with: impl Fn(&T) -> U) -> Roles<U> {
        Roles {
            text: with(&self.text),
            muted: with(&self.muted),
            title: with(&self.title),
            border: with(&self.border),
            focus: with(&self.focus),
            selection: with(&self.selection),
            ok: with(&self.ok),
            warn: with(&self.warn),
            bad: with(&self.bad),
            cooling: with(&self.cooling),
            exhausted: with(&self.exhausted),
            disabled: with(&self.disabled),
            operator: with(&self.operator),
            bar: with(&self.bar),
            track: with(&self.track),
            key: with(&self.key),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThemeFile {
    roles: Roles<RoleStyle>,
}

/// The style of a role in a theme file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RoleStyle {
    fg: Option<ThemeColour>,
    bg: Option<ThemeColour>,
    fg16: Option<ThemeColour>,
    bg16: Option<ThemeColour>,
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
    reversed: bool,
}

/// A colour as ratatui writes it: `#rrggbb`, `lightcyan`, or an index.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct ThemeColour(Color);

impl TryFrom<String> for ThemeColour {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
            .map(Self)
            .map_err(|_| format!("`{name}` is not a colour: use \"#rrggbb\" or a name like \"lightcyan\""))
    }
}

const BUILT_IN_THEMES: [(&str, &str); 3] = [
    ("okabe-ito", include_str!("../../assets/themes/okabe-ito.toml")),
    ("light", include_str!("../../assets/themes/light.toml")),
    ("mono", include_str!("../../assets/themes/mono.toml")),
];

impl Theme {
    /// Loads a built-in theme by its name, or else a theme file. `None` is the default theme. At depth mono it is
    /// always the mono theme.
    ///
    /// # Errors
    /// If there is no such theme, or its file is invalid.
    pub fn load(name: Option<&str>, depth: ColourDepth) -> anyhow::Result<Self> {
        let name = if depth == ColourDepth::Mono { "mono" } else { name.unwrap_or(BUILT_IN_THEMES[0].0) };
        if let Some((_, source)) = BUILT_IN_THEMES.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(source, depth).with_context(|| format!("the built-in theme {name} is invalid"));
        }
        let path = Path::new(name);
        if !path.exists() {
            let names = BUILT_IN_THEMES.map(|(name, _)| name).join(", ");
            bail!("there is no theme {name}: use {names}, or the path of a theme file");
        }
        let source = read_theme(path).with_context(|| format!("can't read the theme {name}"))?;
        Self::parse(&source, depth).with_context(|| format!("the theme {name} is invalid"))
    }

    fn parse(source: &str, depth: ColourDepth) -> anyhow::Result<Self> {
        let file: ThemeFile = toml::from_str(source)?;
        Ok(Self { roles: file.roles.map(|role_style| role_style.style(depth)) })
    }

    pub const fn style(&self, role: StyleRole) -> Style {
        match role {
            StyleRole::Text => self.roles.text,
            StyleRole::Muted => self.roles.muted,
            StyleRole::Title => self.roles.title,
            StyleRole::Border => self.roles.border,
            StyleRole::Focus => self.roles.focus,
            StyleRole::Selection => self.roles.selection,
            StyleRole::Ok => self.roles.ok,
            StyleRole::Warn => self.roles.warn,
            StyleRole::Bad => self.roles.bad,
            StyleRole::Cooling => self.roles.cooling,
            StyleRole::Exhausted => self.roles.exhausted,
            StyleRole::Disabled => self.roles.disabled,
            StyleRole::Operator => self.roles.operator,
            StyleRole::Bar => self.roles.bar,
            StyleRole::Track => self.roles.track,
            StyleRole::Key => self.roles.key,
        }
    }
}

fn read_theme(path: &Path) -> std::io::Result<String> {
    const MAX_THEME_BYTES: u64 = 1 << 20;
    let mut source = String::new();
    std::fs::File::open(path)?.take(MAX_THEME_BYTES + 1).read_to_string(&mut source)?;
    if source.len() as u64 > MAX_THEME_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is larger than the limit of 1 MiB"));
    }
    Ok(source)
}

impl RoleStyle {
    fn style(&self, depth: ColourDepth) -> Style {
        let mut style = Style::new();
        style.fg = colour_at_depth(self.fg, self.fg16, depth);
        style.bg = colour_at_depth(self.bg, self.bg16, depth);
        let modifiers = [
            (self.bold, Modifier::BOLD),
            (self.dim, Modifier::DIM),
            (self.italic, Modifier::ITALIC),
            (self.underlined, Modifier::UNDERLINED),
            (self.reversed, Modifier::REVERSED),
        ];
        for (_, modifier) in modifiers.into_iter().filter(|(on, _)| *on) {
            style = style.add_modifier(modifier);
        }
        style
    }
}

fn colour_at_depth(full: Option<ThemeColour>, fallback16: Option<ThemeColour>, depth: ColourDepth) -> Option<Color> {
    match depth {
        ColourDepth::Mono => None,
        ColourDepth::Ansi16 => fallback16.or(full).map(|colour| nearest_ansi16(colour.0)),
        ColourDepth::Ansi256 => full.or(fallback16).map(|colour| nearest_ansi256(colour.0)),
        ColourDepth::True => full.or(fallback16).map(|colour| colour.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reported_light_background_selects_the_light_theme() {
        let said = |words: &'static str| theme_for_background(move |_| Some(words.to_owned()));
        assert_eq!(
            [said("0;15"), said("15;0"), said("0;default;7"), said("")],
            [Some("light"), None, Some("light"), None]
        );
        assert_eq!(theme_for_background(|_| None), None);
    }

    #[test]
    fn every_built_in_theme_loads_at_every_depth() {
        for (name, _) in BUILT_IN_THEMES {
            for depth in [ColourDepth::Mono, ColourDepth::Ansi16, ColourDepth::Ansi256, ColourDepth::True] {
                Theme::load(Some(name), depth).unwrap();
            }
        }
    }

    #[test]
    fn bars_differ_from_the_background_of_the_selected_row() {
        let bars = [
            StyleRole::Ok,
            StyleRole::Warn,
            StyleRole::Bad,
            StyleRole::Cooling,
            StyleRole::Exhausted,
            StyleRole::Bar,
            StyleRole::Track,
        ];
        for (name, _) in BUILT_IN_THEMES {
            for depth in [ColourDepth::Ansi16, ColourDepth::Ansi256, ColourDepth::True] {
                let theme = Theme::load(Some(name), depth).unwrap();
                let Some(behind) = theme.style(StyleRole::Selection).bg else { continue };
                for role in bars {
                    assert_ne!(theme.style(role).fg, Some(behind), "{role:?} of {name} at {depth:?}");
                }
            }
        }
    }

    #[test]
    fn colours_are_reduced_to_the_depth_of_the_terminal() {
        let bad = |depth| Theme::load(None, depth).unwrap().style(StyleRole::Bad).fg;
        assert_eq!(bad(ColourDepth::True), Some(Color::Rgb(0xd5, 0x5e, 0x00)));
        assert_eq!(bad(ColourDepth::Ansi256), Some(Color::Indexed(166)));
        assert_eq!(bad(ColourDepth::Ansi16), Some(Color::LightRed));
        assert_eq!(bad(ColourDepth::Mono), None);
    }

    #[test]
    fn a_colour_without_a_16_colour_variant_is_used_at_every_depth() {
        let look: RoleStyle = toml::from_str("fg = \"#d55e00\"").unwrap();
        assert_eq!(look.style(ColourDepth::Ansi16).fg, Some(Color::Red));
        assert_eq!(look.style(ColourDepth::Ansi256).fg, Some(Color::Indexed(166)));
        let look: RoleStyle = toml::from_str("fg16 = \"lightcyan\"\nbg = \"231\"").unwrap();
        for depth in [ColourDepth::Ansi16, ColourDepth::Ansi256, ColourDepth::True] {
            assert_eq!(look.style(depth).fg, Some(Color::LightCyan), "{depth:?}");
        }
        assert_eq!(look.style(ColourDepth::Ansi16).bg, Some(Color::White), "an index of the cube");
        assert_eq!(look.style(ColourDepth::Mono), Style::new());
    }

    #[test]
    fn an_unknown_theme_is_named_in_the_error() {
        let error = Theme::load(Some("solarised"), ColourDepth::True).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no theme solarised: use okabe-ito, light, mono, or the path of a theme file"
        );
        assert!(Theme::parse("[roles]\ntext = {}\n", ColourDepth::True).is_err());
    }
}
