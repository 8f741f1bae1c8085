//! Detects how the terminal can show pictures. Uses only environment variables: the response to a query would arrive as
//! input, mixed with what the operator types.

use super::request::{GraphicsProtocol, ImageCaps};
use crate::{domain::ImageMode, tui::colour::ColourDepth};

impl ImageMode {
    /// The image capabilities to render with; `None` if pictures are off.
    pub fn image_caps(
        self,
        colour_depth: ColourDepth,
        ascii_only: bool,
        light_background: bool,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Option<ImageCaps> {
        let protocol = match self {
            Self::Off => return None,
            Self::Blocks => None,
            Self::Kitty => Some(GraphicsProtocol::Kitty),
            Self::Iterm2 => Some(GraphicsProtocol::Iterm2),
            Self::Sixel => Some(GraphicsProtocol::Sixel),
            Self::Auto => detect_protocol(&environment),
        };
        // A choice of no colours or only ASCII applies to pictures too.
        let graphics = protocol.filter(|_| colour_depth != ColourDepth::Mono && !ascii_only);
        let inside_tmux = environment("TMUX").is_some_and(|socket| !socket.is_empty());
        Some(ImageCaps { colour_depth, ascii_only, light_background, protocol: graphics, inside_tmux, cell_size: None })
    }
}

/// Detects the terminal's graphics protocol. `None` inside a multiplexer, whatever the outer terminal is: few
/// multiplexers pass pictures on.
fn detect_protocol(environment: &impl Fn(&str) -> Option<String>) -> Option<GraphicsProtocol> {
    let word = |name: &str| environment(name).unwrap_or_default().to_ascii_lowercase();
    let is_set = |name: &str| !word(name).is_empty();
    let (term, program) = (word("TERM"), word("TERM_PROGRAM"));
    let is_multiplexed = ["TMUX", "STY", "ZELLIJ"].into_iter().any(is_set);
    if is_multiplexed || term.starts_with("screen") || term.starts_with("tmux") {
        None
    } else if term == "xterm-kitty" || term == "xterm-ghostty" || program == "ghostty" {
        Some(GraphicsProtocol::Kitty)
    } else if ["iterm.app", "wezterm", "mintty"].contains(&program.as_str()) || word("LC_TERMINAL") == "iterm2" {
        Some(GraphicsProtocol::Iterm2)
    } else if term == "foot" || term.starts_with("foot-") {
        Some(GraphicsProtocol::Sixel)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(wish: ImageMode, depth: ColourDepth, ascii: bool, environment: &[(&str, &str)]) -> Option<ImageCaps> {
        let lookup = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        wish.image_caps(depth, ascii, false, lookup)
    }

    fn protocol(wish: ImageMode, environment: &[(&str, &str)]) -> Option<GraphicsProtocol> {
        caps(wish, ColourDepth::True, false, environment).and_then(|canvas| canvas.protocol)
    }

    #[test]
    fn known_terminals_get_their_graphics_protocol() {
        type Variables = [(&'static str, &'static str)];
        let cases: [(&Variables, Option<GraphicsProtocol>); 12] = [
            (&[("TERM", "xterm-kitty")], Some(GraphicsProtocol::Kitty)),
            (&[("TERM", "xterm-ghostty"), ("TERM_PROGRAM", "ghostty")], Some(GraphicsProtocol::Kitty)),
            (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")], Some(GraphicsProtocol::Iterm2)),
            (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "WezTerm")], Some(GraphicsProtocol::Iterm2)),
            (&[("TERM", "xterm-256color"), ("LC_TERMINAL", "iTerm2")], Some(GraphicsProtocol::Iterm2)),
            (&[("TERM", "foot")], Some(GraphicsProtocol::Sixel)),
            (&[("TERM", "foot-extra")], Some(GraphicsProtocol::Sixel)),
            (&[("TERM", "xterm-256color")], None),
            (&[("TERM", "linux")], None),
            (&[("TERM", "tmux-256color"), ("TERM_PROGRAM", "WezTerm")], None),
            (&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/tmux-0/default,1,0")], None),
            (&[("TERM", "xterm-kitty"), ("ZELLIJ", "0")], None),
        ];
        for (environment, want) in cases {
            assert_eq!(protocol(ImageMode::Auto, environment), want, "{environment:?}");
        }
    }

    #[test]
    fn the_chosen_mode_overrides_the_detection() {
        let kitty = [("TERM", "xterm-kitty")];
        assert_eq!(protocol(ImageMode::Blocks, &kitty), None);
        assert_eq!(protocol(ImageMode::Sixel, &kitty), Some(GraphicsProtocol::Sixel));
        assert_eq!(caps(ImageMode::Off, ColourDepth::True, false, &kitty), None);
        let inside = [("TERM", "tmux-256color"), ("TMUX", "/tmp/tmux-0/default,1,0")];
        let told = caps(ImageMode::Kitty, ColourDepth::True, false, &inside).unwrap();
        assert_eq!((told.protocol, told.inside_tmux), (Some(GraphicsProtocol::Kitty), true));
    }

    #[test]
    fn mono_and_ascii_screens_use_no_graphics_protocol() {
        for (depth, ascii) in [(ColourDepth::Mono, false), (ColourDepth::True, true)] {
            for wish in [ImageMode::Auto, ImageMode::Kitty] {
                let canvas = caps(wish, depth, ascii, &[("TERM", "xterm-kitty")]).unwrap();
                assert_eq!(canvas.protocol, None, "{depth:?}, ascii {ascii}");
            }
        }
    }
}
