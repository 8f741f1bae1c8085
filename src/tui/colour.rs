//! How many colours a terminal has, and the colours of those with a limited palette: xterm's 16 named colours, its
//! 6x6x6 cube and its grey ramp.
//!
//! Finds the nearest available colour for an RGB colour, and the RGB value of an available one.

use ratatui::style::Color;

/// The colours that the terminal can show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ColourDepth {
    Mono,
    Ansi16,
    Ansi256,
    True,
}

impl ColourDepth {
    /// Detects the depth from environment variables. `NO_COLOR` overrides all others.
    pub fn detect(environment: impl Fn(&str) -> Option<String>) -> Self {
        let word = |name: &str| environment(name).unwrap_or_default().to_ascii_lowercase();
        let (term, colorterm) = (word("TERM"), word("COLORTERM"));
        if !word("NO_COLOR").is_empty() || term == "dumb" {
            Self::Mono
        } else if colorterm.contains("truecolor") || colorterm.contains("24bit") || term.contains("direct") {
            Self::True
        } else if term.contains("256") || term.contains("kitty") || term.contains("alacritty") {
            Self::Ansi256
        } else {
            Self::Ansi16
        }
    }
}

/// The 16 named colours with their RGB values in xterm. Those of other terminals are close enough.
pub const ANSI_16: [(Color, [u8; 3]); 16] = [
    (Color::Black, [0, 0, 0]),
    (Color::Red, [205, 0, 0]),
    (Color::Green, [0, 205, 0]),
    (Color::Yellow, [205, 205, 0]),
    (Color::Blue, [0, 0, 238]),
    (Color::Magenta, [205, 0, 205]),
    (Color::Cyan, [0, 205, 205]),
    (Color::Gray, [229, 229, 229]),
    (Color::DarkGray, [127, 127, 127]),
    (Color::LightRed, [255, 0, 0]),
    (Color::LightGreen, [0, 255, 0]),
    (Color::LightYellow, [255, 255, 0]),
    (Color::LightBlue, [92, 92, 255]),
    (Color::LightMagenta, [255, 0, 255]),
    (Color::LightCyan, [0, 255, 255]),
    (Color::White, [255, 255, 255]),
];

/// Brightness of the six levels of the colour cube.
const CUBE_LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// Brightness of entry `at` (0 to 23) of the grey ramp.
const fn grey_level(at: u8) -> u8 {
    8 + 10 * at
}

/// The RGB value of a colour; `None` for a named colour.
pub fn rgb_of(colour: Color) -> Option<[u8; 3]> {
    match colour {
        Color::Rgb(red, green, blue) => Some([red, green, blue]),
        Color::Indexed(at @ 0..16) => Some(ANSI_16[usize::from(at)].1),
        Color::Indexed(at @ 16..232) => {
            let at = at - 16;
            Some([at / 36, at / 6 % 6, at % 6].map(|step| CUBE_LEVELS[usize::from(step)]))
        }
        Color::Indexed(at) => Some([grey_level(at - 232); 3]),
        _ => None,
    }
}

/// The nearest of the 16 colours. A named colour stays as it is.
pub fn nearest_ansi16(colour: Color) -> Color {
    let Some(wanted) = rgb_of(colour) else { return colour };
    ANSI_16.into_iter().min_by_key(|(_, shown)| squared_distance(wanted, *shown)).map_or(colour, |(nearest, _)| nearest)
}

/// The nearest entry of the cube or the grey ramp. A colour that is not RGB stays as it is.
pub fn nearest_ansi256(colour: Color) -> Color {
    let Color::Rgb(red, green, blue) = colour else { return colour };
    let wanted = [red, green, blue];
    let step = |value: u8| (0..6_u8).min_by_key(|&at| CUBE_LEVELS[usize::from(at)].abs_diff(value)).unwrap_or_default();
    let [r, g, b] = wanted.map(step);
    let cube = [r, g, b].map(|at| CUBE_LEVELS[usize::from(at)]);
    let distance_to_grey = |at: u8| squared_distance(wanted, [grey_level(at); 3]);
    let nearest = (0..24_u8).min_by_key(|&at| distance_to_grey(at)).unwrap_or_default();
    if squared_distance(wanted, cube) <= distance_to_grey(nearest) {
        Color::Indexed(16 + 36 * r + 6 * g + b)
    } else {
        Color::Indexed(232 + nearest)
    }
}

fn squared_distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.into_iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greys_use_the_ramp_and_white_uses_the_cube() {
        assert_eq!(nearest_ansi256(Color::Rgb(0x8a, 0x8a, 0x8a)), Color::Indexed(245));
        assert_eq!(nearest_ansi256(Color::Rgb(255, 255, 255)), Color::Indexed(231));
    }

    #[test]
    fn colour_depth_is_detected_from_the_environment() {
        let cases: [(&[(&str, &str)], ColourDepth); 6] = [
            (&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")], ColourDepth::True),
            (&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("NO_COLOR", "1")], ColourDepth::Mono),
            (&[("TERM", "xterm-256color"), ("NO_COLOR", "")], ColourDepth::Ansi256),
            (&[("TERM", "tmux-256color")], ColourDepth::Ansi256),
            (&[("TERM", "linux")], ColourDepth::Ansi16),
            (&[("TERM", "dumb")], ColourDepth::Mono),
        ];
        for (environment, want) in cases {
            let lookup = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
            assert_eq!(ColourDepth::detect(lookup), want, "{environment:?}");
        }
    }

    #[test]
    fn rgb_of_an_indexed_colour_maps_back_to_the_same_colour() {
        for at in 16..=255_u8 {
            let [red, green, blue] = rgb_of(Color::Indexed(at)).unwrap();
            let named = nearest_ansi256(Color::Rgb(red, green, blue));
            assert_eq!(rgb_of(named), Some([red, green, blue]), "{at}");
        }
    }
}
