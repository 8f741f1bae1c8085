//! Which terminal this is, as far as pictures go. Terminals could be asked, but the answer would come as input, in the
//! midst of what is being typed; so only what they say by themselves counts.

use super::{Canvas, CellPixels, Graphics};
use crate::tui::theme::Depth;

/// What the operator wants of pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wish {
    /// The terminal's own graphics where it is known to have some, blocks otherwise.
    #[default]
    Auto,
    /// Signs, whatever else the terminal can do.
    Blocks,
    Graphics(Graphics),
    Off,
}

impl Wish {
    /// What pictures are drawn on here; `None`: nothing.
    pub fn canvas(
        self,
        depth: Depth,
        ascii: bool,
        light: bool,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Option<Canvas> {
        let graphics = match self {
            Self::Off => return None,
            Self::Blocks => None,
            Self::Graphics(graphics) => Some(graphics),
            Self::Auto => known(&environment),
        };
        // Who wants no colours, or only ASCII, means pictures too.
        let graphics = graphics.filter(|_| depth != Depth::Mono && !ascii);
        let inside_tmux = environment("TMUX").is_some_and(|socket| !socket.is_empty());
        Some(Canvas { depth, ascii, light, graphics, inside_tmux, cell: None })
    }
}

/// The terminal's own graphics. Within a multiplexer the terminal behind it doesn't matter: it is the multiplexer that
/// places what is shown, and few let pictures through.
fn known(environment: &impl Fn(&str) -> Option<String>) -> Option<Graphics> {
    let word = |name: &str| environment(name).unwrap_or_default().to_ascii_lowercase();
    let is_set = |name: &str| !word(name).is_empty();
    let (term, program) = (word("TERM"), word("TERM_PROGRAM"));
    let multiplexed = ["TMUX", "STY", "ZELLIJ"].into_iter().any(is_set);
    if multiplexed || term.starts_with("screen") || term.starts_with("tmux") {
        None
    } else if term == "xterm-kitty" || term == "xterm-ghostty" || program == "ghostty" {
        Some(Graphics::Kitty)
    } else if ["iterm.app", "wezterm", "mintty"].contains(&program.as_str()) || word("LC_TERMINAL") == "iterm2" {
        Some(Graphics::Iterm2)
    } else if term == "foot" || term.starts_with("foot-") {
        Some(Graphics::Sixel)
    } else {
        None
    }
}

impl CellPixels {
    /// As the terminal says it to whoever asks for its size; many say nothing, and some nonsense.
    pub fn of_window(columns: u16, rows: u16, width: u16, height: u16) -> Option<Self> {
        let cell = Self { width: width.checked_div(columns)?, height: height.checked_div(rows)? };
        let plausible = |pixels: u16| (3..=200).contains(&pixels);
        (plausible(cell.width) && plausible(cell.height)).then_some(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(wish: Wish, depth: Depth, ascii: bool, environment: &[(&str, &str)]) -> Option<Canvas> {
        let lookup = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        wish.canvas(depth, ascii, false, lookup)
    }

    fn graphics(wish: Wish, environment: &[(&str, &str)]) -> Option<Graphics> {
        canvas(wish, Depth::True, false, environment).and_then(|canvas| canvas.graphics)
    }

    #[test]
    fn terminals_that_are_known_show_pictures_themselves() {
        type Variables = [(&'static str, &'static str)];
        let cases: [(&Variables, Option<Graphics>); 12] = [
            (&[("TERM", "xterm-kitty")], Some(Graphics::Kitty)),
            (&[("TERM", "xterm-ghostty"), ("TERM_PROGRAM", "ghostty")], Some(Graphics::Kitty)),
            (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")], Some(Graphics::Iterm2)),
            (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "WezTerm")], Some(Graphics::Iterm2)),
            (&[("TERM", "xterm-256color"), ("LC_TERMINAL", "iTerm2")], Some(Graphics::Iterm2)),
            (&[("TERM", "foot")], Some(Graphics::Sixel)),
            (&[("TERM", "foot-extra")], Some(Graphics::Sixel)),
            (&[("TERM", "xterm-256color")], None),
            (&[("TERM", "linux")], None),
            (&[("TERM", "tmux-256color"), ("TERM_PROGRAM", "WezTerm")], None),
            (&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/tmux-0/default,1,0")], None),
            (&[("TERM", "xterm-kitty"), ("ZELLIJ", "0")], None),
        ];
        for (environment, want) in cases {
            assert_eq!(graphics(Wish::Auto, environment), want, "{environment:?}");
        }
    }

    #[test]
    fn the_operator_knows_better() {
        let kitty = [("TERM", "xterm-kitty")];
        assert_eq!(graphics(Wish::Blocks, &kitty), None);
        assert_eq!(graphics(Wish::Graphics(Graphics::Sixel), &kitty), Some(Graphics::Sixel));
        assert_eq!(canvas(Wish::Off, Depth::True, false, &kitty), None);
        let inside = [("TERM", "tmux-256color"), ("TMUX", "/tmp/tmux-0/default,1,0")];
        let told = canvas(Wish::Graphics(Graphics::Kitty), Depth::True, false, &inside).unwrap();
        assert_eq!((told.graphics, told.inside_tmux), (Some(Graphics::Kitty), true));
    }

    #[test]
    fn no_colour_and_ascii_hold_for_pictures_too() {
        for (depth, ascii) in [(Depth::Mono, false), (Depth::True, true)] {
            for wish in [Wish::Auto, Wish::Graphics(Graphics::Kitty)] {
                let canvas = canvas(wish, depth, ascii, &[("TERM", "xterm-kitty")]).unwrap();
                assert_eq!(canvas.graphics, None, "{depth:?}, ascii {ascii}");
            }
        }
    }

    #[test]
    fn a_window_that_says_nothing_sensible_is_not_believed() {
        assert_eq!(CellPixels::of_window(120, 36, 1_200, 720), Some(CellPixels { width: 10, height: 20 }));
        for (columns, rows, width, height) in
            [(120, 36, 0, 0), (0, 0, 800, 600), (120, 36, 65_535, 720), (120, 36, 240, 72)]
        {
            assert_eq!(CellPixels::of_window(columns, rows, width, height), None);
        }
    }
}
