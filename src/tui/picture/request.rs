//! A request for a picture: which one, how large, and what the terminal can do.

use ratatui::layout::Size;

use crate::tui::colour::ColourDepth;

/// Size of one cell in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CellPixels {
    pub width: u16,
    pub height: u16,
}

impl CellPixels {
    /// The cell size from the window size in cells and pixels; `None` if it isn't plausible. Many terminals report
    /// zero, and some report wrong values.
    pub fn from_window_size(columns: u16, rows: u16, width: u16, height: u16) -> Option<Self> {
        let cell = Self { width: width.checked_div(columns)?, height: height.checked_div(rows)? };
        let plausible = |pixels: u16| (3..=200).contains(&pixels);
        (plausible(cell.width) && plausible(cell.height)).then_some(cell)
    }
}

/// A way to send a picture to the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GraphicsProtocol {
    /// kitty's protocol with Unicode placeholders: kitty, Ghostty.
    Kitty,
    /// iTerm2's inline images: iTerm2, `WezTerm`, mintty.
    Iterm2,
    /// Sixels: foot, and many more.
    Sixel,
}

/// The capabilities of the terminal for pictures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageCaps {
    pub colour_depth: ColourDepth,
    /// Use only ASCII glyphs.
    pub ascii_only: bool,
    /// True if the background is light, so that an empty cell is bright.
    pub light_background: bool,
    /// Graphics protocol, if the terminal has one.
    pub protocol: Option<GraphicsProtocol>,
    /// True inside tmux: sequences must be wrapped, or tmux would drop them.
    pub inside_tmux: bool,
    /// `None` if the terminal doesn't report it; a cell is then taken to be twice as high as wide.
    pub cell_size: Option<CellPixels>,
}

/// A request to render a picture for a size and a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageRequest {
    pub seq: u64,
    /// Index among the item's pictures.
    pub index: usize,
    /// Maximum size in cells.
    pub max_cells: Size,
    pub caps: ImageCaps,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implausible_cell_sizes_are_ignored() {
        assert_eq!(CellPixels::from_window_size(120, 36, 1_200, 720), Some(CellPixels { width: 10, height: 20 }));
        for (columns, rows, width, height) in
            [(120, 36, 0, 0), (0, 0, 800, 600), (120, 36, 65_535, 720), (120, 36, 240, 72)]
        {
            assert_eq!(CellPixels::from_window_size(columns, rows, width, height), None);
        }
    }
}
